// Cumulus: prefix scans of tensors. The C++ interface, a header-only layer over cumulus.h.
//
//   std::vector<float> x(n), y(n);
//   cumulus::scan(cumulus::view(x), cumulus::view(y));                                  // inclusive sum
//   cumulus::scan(cumulus::view(x, {rows, columns}), cumulus::view(y, {rows, columns}),
//                 {.op = cumulus::Op::max, .kind = cumulus::Kind::exclusive, .axis = 0, .reverse = true});
#ifndef CUMULUS_CUMULUS_HPP_
#define CUMULUS_CUMULUS_HPP_

#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "cumulus/cumulus.h"

namespace cumulus {

enum class DType : std::int32_t {
  none = 0,
#define CUMULUS_DTYPE(name, text, value, bytes, family) name = value,
#include "cumulus/list.inc"
};

enum class Op : std::int32_t {
#define CUMULUS_OP(name, value, inputs) name = value,
#include "cumulus/list.inc"
};

enum class Kind : std::int32_t { inclusive = 0, exclusive = 1, prefixes = 2 };

enum class Device : std::int32_t { cpu = 0, cuda = 1 };

enum class Status : std::int32_t { ok = 0, invalid_argument = 1, unsupported = 2, out_of_memory = 3, device_error = 4, internal = 5 };

// A failed call: code() says which kind of failure, what() which value broke which rule and the way out.
class Error : public std::runtime_error {
 public:
  Error(Status code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Status code() const noexcept { return code_; }

 private:
  Status code_;
};

// A short list of sizes or strides; on the heap only beyond kInline entries.
class Dims {
 public:
  static constexpr int kInline = 6;

  Dims() = default;
  Dims(std::initializer_list<std::int64_t> values) { assign(values.begin(), static_cast<int>(values.size())); }
  Dims(const std::int64_t* values, int count) { assign(values, count); }
  Dims(const Dims& other) { assign(other.data(), other.size_); }
  Dims(Dims&&) noexcept = default;
  Dims& operator=(const Dims& other) {
    if (this != &other) assign(other.data(), other.size_);
    return *this;
  }
  Dims& operator=(Dims&&) noexcept = default;
  ~Dims() = default;

  int size() const noexcept { return size_; }
  const std::int64_t* data() const noexcept { return heap_ ? heap_.get() : inline_; }
  std::int64_t operator[](int i) const noexcept { return data()[i]; }
  const std::int64_t* begin() const noexcept { return data(); }
  const std::int64_t* end() const noexcept { return data() + size_; }

 private:
  void assign(const std::int64_t* values, int count) {
    heap_.reset(count > kInline ? new std::int64_t[static_cast<std::size_t>(count)] : nullptr);
    std::int64_t* to = heap_ ? heap_.get() : inline_;
    for (int i = 0; i < count; ++i) to[i] = values[i];
    size_ = count;
  }

  int size_ = 0;
  std::int64_t inline_[kInline] = {};
  std::unique_ptr<std::int64_t[]> heap_;
};

// A view of memory the caller owns: data, dtype, shape, strides in elements (none: C-contiguous), device.
// Pointer is void* (TensorView, results) or const void* (ConstTensorView, inputs).
template <class Pointer>
struct BasicTensorView {
  Pointer data = nullptr;
  DType dtype = DType::none;
  Dims shape;
  Dims strides;
  Device device = Device::cpu;
  std::int32_t device_index = 0;

  BasicTensorView() = default;
  BasicTensorView(Pointer data_, DType dtype_, Dims shape_, Dims strides_ = {}, Device device_ = Device::cpu,
                  std::int32_t device_index_ = 0)
      : data(data_), dtype(dtype_), shape(std::move(shape_)), strides(std::move(strides_)), device(device_), device_index(device_index_) {}

  // A mutable view serves where an input is wanted.
  template <class Other, class = std::enable_if_t<std::is_convertible_v<Other, Pointer> && !std::is_same_v<Other, Pointer>>>
  BasicTensorView(const BasicTensorView<Other>& other)  // NOLINT(google-explicit-constructor)
      : data(other.data),
        dtype(other.dtype),
        shape(other.shape),
        strides(other.strides),
        device(other.device),
        device_index(other.device_index) {}
};

using TensorView = BasicTensorView<void*>;
using ConstTensorView = BasicTensorView<const void*>;

// The dtype of a C++ type. f16 and bf16 have no standard type: name the dtype in the view.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, bool>) return DType::boolean;
  else if constexpr (std::is_same_v<T, float>) return DType::f32;
  else if constexpr (std::is_same_v<T, double>) return DType::f64;
  else if constexpr (std::is_same_v<T, std::complex<float>>) return DType::c64;
  else if constexpr (std::is_same_v<T, std::complex<double>>) return DType::c128;
  else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>)
    return sizeof(T) == 1 ? DType::i8 : sizeof(T) == 2 ? DType::i16 : sizeof(T) == 4 ? DType::i32 : DType::i64;
  else if constexpr (std::is_integral_v<T>)
    return sizeof(T) == 1 ? DType::u8 : sizeof(T) == 2 ? DType::u16 : sizeof(T) == 4 ? DType::u32 : DType::u64;
  else static_assert(sizeof(T) == 0, "no Cumulus dtype for this type: build the TensorView with a DType");
}

// Views of a pointer with a shape, or of a whole contiguous container (std::vector, std::array, std::span ...).
template <class T>
TensorView view(T* data, Dims shape, Dims strides = {}) {
  return {data, dtype_of<T>(), std::move(shape), std::move(strides)};
}
template <class T>
ConstTensorView view(const T* data, Dims shape, Dims strides = {}) {
  return {data, dtype_of<T>(), std::move(shape), std::move(strides)};
}
template <class C, class = decltype(std::declval<C&>().data())>
auto view(C& container) {
  return view(container.data(), Dims{static_cast<std::int64_t>(container.size())});
}
template <class C, class = decltype(std::declval<C&>().data())>
auto view(C& container, Dims shape, Dims strides = {}) {
  return view(container.data(), std::move(shape), std::move(strides));
}

// R(0) of every row: nothing, one number, or a tensor (in's shape with the axis dropped or of size 1).
class Initial {
 public:
  Initial() = default;
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  Initial(T value) : dtype_(dtype_of<T>()) {  // NOLINT(google-explicit-constructor)
    std::memcpy(scalar_, &value, sizeof value);
  }
  Initial(std::complex<float> value) : dtype_(DType::c64) {
    std::memcpy(scalar_, &value, sizeof value);
  }  // NOLINT(google-explicit-constructor)
  Initial(std::complex<double> value) : dtype_(DType::c128) {
    std::memcpy(scalar_, &value, sizeof value);
  }  // NOLINT(google-explicit-constructor)
  Initial(ConstTensorView tensor)
      : tensor_(std::make_shared<const ConstTensorView>(std::move(tensor))) {}  // NOLINT(google-explicit-constructor)
  Initial(const TensorView& tensor) : Initial(ConstTensorView(tensor)) {}       // NOLINT(google-explicit-constructor)

  const ConstTensorView* tensor() const noexcept { return tensor_.get(); }
  DType dtype() const noexcept { return dtype_; }
  const void* scalar() const noexcept { return scalar_; }

 private:
  DType dtype_ = DType::none;
  alignas(16) unsigned char scalar_[16] = {};
  std::shared_ptr<const ConstTensorView> tensor_;
};

// Everything about a scan but its input and output; see cumulus_scan_args for each term.
struct ScanSpec {
  Op op = Op::sum;
  Kind kind = Kind::inclusive;
  std::int32_t axis = -1;
  bool reverse = false;
  ConstTensorView mask = {};
  Initial initial = {};
  TensorView total = {};
  std::int32_t threads = 0;
  bool pin_threads = false;
  void* stream = nullptr;
  void* workspace = nullptr;  // on a GPU, of workspace_bytes() at least: see cumulus_workspace_bytes
  std::size_t workspace_bytes = 0;
};

namespace detail {

template <class Pointer>
cumulus_tensor to_c(const BasicTensorView<Pointer>& view) noexcept {
  return {const_cast<void*>(static_cast<const void*>(view.data)),
          view.shape.data(),
          view.strides.size() == 0 && view.shape.size() != 0 ? nullptr : view.strides.data(),
          view.shape.size(),
          static_cast<std::int32_t>(view.dtype),
          static_cast<std::int32_t>(view.device),
          view.device_index};
}

// Strides of another count than the shape cannot be told through the C structure: refuse them here.
template <class Pointer>
bool consistent(const BasicTensorView<Pointer>& view) noexcept {
  return view.strides.size() == 0 || view.strides.size() == view.shape.size();
}

inline cumulus_scan_args to_c(const ConstTensorView& in, const ConstTensorView* in2, const TensorView& out, const ScanSpec& spec) noexcept {
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.op = static_cast<std::int32_t>(spec.op);
  args.kind = static_cast<std::int32_t>(spec.kind);
  args.axis = spec.axis;
  args.flags = (spec.reverse ? std::uint32_t{CUMULUS_REVERSE} : 0u) | (spec.pin_threads ? std::uint32_t{CUMULUS_PIN_THREADS} : 0u);
  args.threads = spec.threads;
  args.stream = spec.stream;
  args.workspace = spec.workspace;
  args.workspace_bytes = spec.workspace_bytes;
  args.in = to_c(in);
  if (in2) args.in2 = to_c(*in2);
  args.out = to_c(out);
  if (spec.mask.dtype != DType::none) args.mask = to_c(spec.mask);
  if (spec.total.dtype != DType::none) args.total = to_c(spec.total);
  if (spec.initial.tensor()) args.initial = to_c(*spec.initial.tensor());
  else if (spec.initial.dtype() != DType::none) {
    args.initial.data = const_cast<void*>(spec.initial.scalar());
    args.initial.dtype = static_cast<std::int32_t>(spec.initial.dtype());
  }
  return args;
}

inline bool consistent(const ConstTensorView& in, const ConstTensorView* in2, const TensorView& out, const ScanSpec& spec) noexcept {
  return consistent(in) && (!in2 || consistent(*in2)) && consistent(out) && consistent(spec.mask) && consistent(spec.total) &&
         (!spec.initial.tensor() || consistent(*spec.initial.tensor()));
}

inline constexpr const char* kInconsistent = "a view has strides of another length than its shape: give one stride per axis, or none";

inline void run(const ConstTensorView& in, const ConstTensorView* in2, const TensorView& out, const ScanSpec& spec) {
  if (!consistent(in, in2, out, spec)) throw Error(Status::invalid_argument, kInconsistent);
  const cumulus_scan_args args = to_c(in, in2, out, spec);
  if (const cumulus_status status = cumulus_scan(&args); status != CUMULUS_OK)
    throw Error(static_cast<Status>(status), cumulus_last_error());
}

inline std::size_t workspace_bytes(const ConstTensorView& in, const ConstTensorView* in2, const TensorView& out, const ScanSpec& spec) {
  if (!consistent(in, in2, out, spec)) throw Error(Status::invalid_argument, kInconsistent);
  const cumulus_scan_args args = to_c(in, in2, out, spec);
  std::size_t bytes = 0;
  if (const cumulus_status status = cumulus_workspace_bytes(&args, &bytes); status != CUMULUS_OK)
    throw Error(static_cast<Status>(status), cumulus_last_error());
  return bytes;
}

}  // namespace detail

// Scans in into out; throws Error. out must have in's shape (one longer along the axis for prefixes).
inline void scan(const ConstTensorView& in, const TensorView& out, const ScanSpec& spec = {}) { detail::run(in, nullptr, out, spec); }

// The same without exceptions; the message of a failure is cumulus_last_error(), except for inconsistent strides.
inline Status try_scan(const ConstTensorView& in, const TensorView& out, const ScanSpec& spec = {}) noexcept {
  if (!detail::consistent(in, nullptr, out, spec)) return Status::invalid_argument;
  const cumulus_scan_args args = detail::to_c(in, nullptr, out, spec);
  return static_cast<Status>(cumulus_scan(&args));
}

// h[i] = a[i] h[i-1] + b[i], with h[-1] = spec.initial or nothing; throws Error. spec.op is ignored.
inline void linear_recurrence(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out, ScanSpec spec = {}) {
  spec.op = Op::recurrence;
  detail::run(a, &b, out, spec);
}

// Bytes of ScanSpec::workspace that the same call of scan or linear_recurrence needs, 0 if none; throws Error.
inline std::size_t workspace_bytes(const ConstTensorView& in, const TensorView& out, const ScanSpec& spec = {}) {
  return detail::workspace_bytes(in, nullptr, out, spec);
}
inline std::size_t linear_recurrence_workspace_bytes(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out,
                                                     ScanSpec spec = {}) {
  spec.op = Op::recurrence;
  return detail::workspace_bytes(a, &b, out, spec);
}

// What scan would do, as JSON; throws Error. Data pointers may be null.
inline std::string plan(const ConstTensorView& in, const TensorView& out, const ScanSpec& spec = {}) {
  if (!detail::consistent(in, nullptr, out, spec)) throw Error(Status::invalid_argument, detail::kInconsistent);
  const cumulus_scan_args args = detail::to_c(in, nullptr, out, spec);
  std::size_t needed = 0;
  if (const cumulus_status status = cumulus_plan(&args, nullptr, 0, &needed); status != CUMULUS_OK)
    throw Error(static_cast<Status>(status), cumulus_last_error());
  std::string text(needed, '\0');
  cumulus_plan(&args, text.data(), text.size(), nullptr);
  text.resize(needed - 1);
  return text;
}

}  // namespace cumulus

#endif  // CUMULUS_CUMULUS_HPP_
