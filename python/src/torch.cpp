// The PyTorch operators, on torch's stable ABI: one library for every torch from 2.10 on, and no Python in it.
//
//   cumulus::scan(input, dim, op, kind, reverse, dtype, input2, mask, initial) -> Tensor
//   cumulus::scan_out(..., *, out) -> ()      the same into a tensor that has the result's shape
//   cumulus::_scan                            scan without a derivative: what a call that needs none costs less
//
// op and kind are numbers of cumulus.h. Gradients, shapes of fake tensors, vmap and autocast are registered in Python
// (cumulus/torch/_ops.py). Checking and broadcasting of arguments beyond what the dispatcher does is the front's business.
#include <dlfcn.h>

#include <array>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "cumulus/cumulus.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check(AOTITorchError error, const char* what) {
  if (error != TORCH_SUCCESS) throw std::runtime_error(std::string("cumulus: torch could not ") + what);
}

enum class Family { none, real, is_signed, is_unsigned, boolean, complex };

// What this file knows of a dtype. `torch` is the number that libtorch uses, which is no part of its ABI.
struct DType {
  cumulus_dtype cumulus = CUMULUS_DTYPE_none;
  Family family = Family::none;
  std::int32_t torch = -1;
  ScalarType scalar_type = ScalarType::Undefined;
};

class DTypes {
 public:
  DTypes() {
    add(CUMULUS_DTYPE_f16, Family::real, aoti_torch_dtype_float16(), ScalarType::Half);
    add(CUMULUS_DTYPE_bf16, Family::real, aoti_torch_dtype_bfloat16(), ScalarType::BFloat16);
    add(CUMULUS_DTYPE_f32, Family::real, aoti_torch_dtype_float32(), ScalarType::Float);
    add(CUMULUS_DTYPE_f64, Family::real, aoti_torch_dtype_float64(), ScalarType::Double);
    add(CUMULUS_DTYPE_i8, Family::is_signed, aoti_torch_dtype_int8(), ScalarType::Char);
    add(CUMULUS_DTYPE_i16, Family::is_signed, aoti_torch_dtype_int16(), ScalarType::Short);
    add(CUMULUS_DTYPE_i32, Family::is_signed, aoti_torch_dtype_int32(), ScalarType::Int);
    add(CUMULUS_DTYPE_i64, Family::is_signed, aoti_torch_dtype_int64(), ScalarType::Long);
    add(CUMULUS_DTYPE_u8, Family::is_unsigned, aoti_torch_dtype_uint8(), ScalarType::Byte);
    add(CUMULUS_DTYPE_u16, Family::is_unsigned, aoti_torch_dtype_uint16(), ScalarType::UInt16);
    add(CUMULUS_DTYPE_u32, Family::is_unsigned, aoti_torch_dtype_uint32(), ScalarType::UInt32);
    add(CUMULUS_DTYPE_u64, Family::is_unsigned, aoti_torch_dtype_uint64(), ScalarType::UInt64);
    add(CUMULUS_DTYPE_boolean, Family::boolean, aoti_torch_dtype_bool(), ScalarType::Bool);
    add(CUMULUS_DTYPE_c64, Family::complex, aoti_torch_dtype_complex64(), ScalarType::ComplexFloat);
    add(CUMULUS_DTYPE_c128, Family::complex, aoti_torch_dtype_complex128(), ScalarType::ComplexDouble);
  }

  const DType& operator[](std::int32_t torch) const {
    if (torch >= 0 && torch < kMost && by_torch_[torch].cumulus != CUMULUS_DTYPE_none) return by_torch_[torch];
    throw std::runtime_error("cumulus: dtype number " + std::to_string(torch) +
                             " of torch is none that scans are defined for: convert the tensor to a floating-point, integer, bool, "
                             "complex64 or complex128 dtype");
  }

 private:
  static constexpr int kMost = 128;
  void add(cumulus_dtype cumulus, Family family, std::int32_t torch, ScalarType scalar_type) {
    if (torch >= 0 && torch < kMost) by_torch_[torch] = {cumulus, family, torch, scalar_type};
  }
  std::array<DType, kMost> by_torch_;
};

const DTypes& dtypes() {
  static const DTypes table;
  return table;
}

const DType& dtype_of(const Tensor& tensor) {
  std::int32_t number = 0;
  check(aoti_torch_get_dtype(tensor.get(), &number), "read a dtype");
  return dtypes()[number];
}

// torch's rule: integers and bool give int64, the others stay; cummax and cummin keep every dtype.
const DType& result_dtype(const DType& input, std::int64_t op, std::optional<std::int32_t> asked) {
  if (asked) return dtypes()[*asked];
  const bool integer = input.family == Family::is_signed || input.family == Family::is_unsigned || input.family == Family::boolean;
  return integer && op != CUMULUS_OP_max && op != CUMULUS_OP_min ? dtypes()[aoti_torch_dtype_int64()] : input;
}

// Whether the core casts from `in` to `out` itself (cumulus.h lists the pairs); torch converts before the scan otherwise.
bool core_casts(const DType& in, const DType& out) {
  if (in.cumulus == out.cumulus) return true;
  const bool to_float = out.cumulus == CUMULUS_DTYPE_f32 || out.cumulus == CUMULUS_DTYPE_f64;
  const bool to_integer = out.cumulus == CUMULUS_DTYPE_i64 || out.cumulus == CUMULUS_DTYPE_u64;
  return in.family == Family::real ? to_float : in.family != Family::complex && (to_float || to_integer);
}

Tensor converted(const Tensor& tensor, const DType& to) { return torch::stable::to(tensor, to.scalar_type); }

// The core's view of a tensor. Its sizes and strides are borrowed: `tensor` must outlive the view. A tensor that is only read keeps
// memory that it shares by copy-on-write.
cumulus_tensor view(const Tensor& tensor, const DType& dtype, bool written = false) {
  const AtenTensorHandle handle = tensor.get();
  std::int64_t rank = 0, *shape = nullptr, *strides = nullptr;
  std::int32_t device_type = 0;
  const void* data = nullptr;
  cumulus_tensor t{};
  const bool read = aoti_torch_get_dim(handle, &rank) == TORCH_SUCCESS && aoti_torch_get_sizes(handle, &shape) == TORCH_SUCCESS &&
                    aoti_torch_get_strides(handle, &strides) == TORCH_SUCCESS &&
                    aoti_torch_get_device_type(handle, &device_type) == TORCH_SUCCESS &&
                    (written ? torch_get_mutable_data_ptr(handle, &t.data) : torch_get_const_data_ptr(handle, &data)) == TORCH_SUCCESS;
  if (!read) throw std::runtime_error("cumulus: torch gave no sizes, strides or address: the tensor must be dense and strided");
  if (!written) t.data = const_cast<void*>(data);
  t.shape = shape, t.strides = strides;
  t.rank = static_cast<std::int32_t>(rank);
  t.dtype = dtype.cumulus;
  if (device_type == aoti_torch_device_type_cuda()) {
    t.device = CUMULUS_CUDA;
    check(aoti_torch_get_device_index(handle, &t.device_index), "read a device index");
  }
  return t;
}

cumulus_tensor view(const std::optional<Tensor>& tensor) { return tensor ? view(*tensor, dtype_of(*tensor)) : cumulus_tensor{}; }

// torch's current stream of a device. The function lives in libtorch_cuda, which a torch without CUDA does not have: it is looked up in
// the library that the process has loaded, and is no dependency of this one.
void* current_stream(std::int32_t device_index) {
  using Function = AOTITorchError (*)(std::int32_t, void**);
  static const Function function = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return reinterpret_cast<Function>(dlsym(library ? library : RTLD_DEFAULT, "aoti_torch_get_current_cuda_stream"));
  }();
  void* stream = nullptr;
  if (!function || function(device_index, &stream) != TORCH_SUCCESS)
    throw std::runtime_error("cumulus: this torch names no current CUDA stream: use a torch built with CUDA");
  return stream;
}

// An operator's arguments, in the schema's order.
struct Arguments {
  Tensor input;
  std::int64_t dim;
  std::int64_t op;
  std::int64_t kind;
  bool reverse;
  std::optional<std::int32_t> dtype;
  std::optional<Tensor> input2, mask, initial;

  static constexpr std::uint64_t kCount = 9;

  explicit Arguments(const StableIValue* stack)
      : input(get<Tensor>(stack[0])),
        dim(get<std::int64_t>(stack[1])),
        op(get<std::int64_t>(stack[2])),
        kind(get<std::int64_t>(stack[3])),
        reverse(get<bool>(stack[4])),
        dtype(get<std::optional<std::int32_t>>(stack[5])),
        input2(get<std::optional<Tensor>>(stack[6])),
        mask(get<std::optional<Tensor>>(stack[7])),
        initial(get<std::optional<Tensor>>(stack[8])) {}

  template <class T>
  static T get(StableIValue value) {
    return torch::stable::detail::to<T>(value);
  }
};

// Converts, to the result's dtype and before the scan, what the core does not cast itself. Returns the input's dtype then.
const DType& convert(Arguments& a, const DType& result) {
  const DType& in = dtype_of(a.input);
  if (core_casts(in, result)) return in;
  a.input = converted(a.input, result);
  if (a.input2) a.input2 = converted(*a.input2, result);
  if (a.mask && dtype_of(*a.mask).family != Family::boolean) a.mask = converted(*a.mask, result);
  return result;
}

// The scan's description, all but `out`. Checks dim here, because torch's users expect an IndexError in torch's words.
cumulus_scan_args describe(Arguments& a, const DType& result) {
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.op = static_cast<std::int32_t>(a.op);
  args.kind = static_cast<std::int32_t>(a.kind);
  if (a.reverse) args.flags = CUMULUS_REVERSE;
  const DType& in = convert(a, result);
  args.in = view(a.input, in);
  args.in2 = view(a.input2);
  args.mask = view(a.mask);
  args.initial = view(a.initial);
  const std::int64_t rank = args.in.rank > 0 ? args.in.rank : 1;
  if (a.dim < -rank || a.dim >= rank)
    throw std::out_of_range("Dimension out of range (expected to be in range of [" + std::to_string(-rank) + ", " +
                            std::to_string(rank - 1) + "], but got " + std::to_string(a.dim) + ")");
  args.axis = static_cast<std::int32_t>(a.dim);
  if (args.in.device == CUMULUS_CUDA) args.stream = current_stream(args.in.device_index);
  else args.threads = static_cast<std::int32_t>(torch::stable::get_num_threads());
  return args;
}

void run(const cumulus_scan_args& args) {
  if (cumulus_scan(&args) != CUMULUS_OK) throw std::runtime_error(std::string("cumulus: ") + cumulus_last_error());
}

// A new C-contiguous tensor for the result, as torch.cumsum's is for any input.
Tensor new_result(const cumulus_scan_args& args, const DType& dtype) {
  std::array<std::int64_t, CUMULUS_MAX_RANK> shape{}, strides{};
  std::int64_t rank = args.in.rank;
  for (std::int64_t i = 0; i < rank; ++i) shape[i] = args.in.shape[i];
  if (args.kind == CUMULUS_PREFIXES) {
    if (rank == 0) shape[rank++] = 1;  // a scalar is a sequence of one
    ++shape[args.axis < 0 ? args.axis + rank : args.axis];
  }
  std::int64_t stride = 1;
  for (std::int64_t i = rank - 1; i >= 0; --i) {
    strides[i] = stride;
    stride *= shape[i] > 1 ? shape[i] : 1;
  }
  const std::int32_t device = args.in.device == CUMULUS_CUDA ? aoti_torch_device_type_cuda() : aoti_torch_device_type_cpu();
  AtenTensorHandle handle = nullptr;
  check(aoti_torch_empty_strided(rank, shape.data(), strides.data(), dtype.torch, device, args.in.device_index, &handle),
        "allocate the result");
  return Tensor(handle);
}

// Boxed kernels: they take over the arguments on the stack and leave the result there.
void scan(StableIValue* stack, std::uint64_t, std::uint64_t) {
  Arguments arguments(stack);
  const DType& result = result_dtype(dtype_of(arguments.input), arguments.op, arguments.dtype);
  cumulus_scan_args args = describe(arguments, result);
  const Tensor out = new_result(args, result);
  args.out = view(out, result, true);
  run(args);
  stack[0] = torch::stable::detail::from(out);
}

void scan_out(StableIValue* stack, std::uint64_t, std::uint64_t) {
  Arguments arguments(stack);
  const Tensor out = Arguments::get<Tensor>(stack[Arguments::kCount]);
  const DType& result = dtype_of(out);
  cumulus_scan_args args = describe(arguments, result);
  args.out = view(out, result, true);
  run(args);
}

}  // namespace

#define CUMULUS_SCAN_ARGUMENTS                                                                \
  "Tensor input, int dim, int op=0, int kind=0, bool reverse=False, ScalarType? dtype=None, " \
  "Tensor? input2=None, Tensor? mask=None, Tensor? initial=None"

STABLE_TORCH_LIBRARY(cumulus, library) {
  library.def("scan(" CUMULUS_SCAN_ARGUMENTS ") -> Tensor");
  library.def("_scan(" CUMULUS_SCAN_ARGUMENTS ") -> Tensor");
  library.def("scan_out(" CUMULUS_SCAN_ARGUMENTS ", *, Tensor(a!) out) -> ()");
}

namespace {
void implement(torch::stable::detail::StableLibrary& library) {
  library.impl("scan", scan);
  library.impl("_scan", scan);
  library.impl("scan_out", scan_out);
}
}  // namespace

STABLE_TORCH_LIBRARY_IMPL(cumulus, CPU, library) { implement(library); }
STABLE_TORCH_LIBRARY_IMPL(cumulus, CUDA, library) { implement(library); }
