#include "shape.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include <fmt/format.h>

#include "error.h"
#include "given_workspace.h"

namespace cumulus {
namespace {

constexpr std::uint32_t kKnownFlags = std::uint32_t{CUMULUS_REVERSE} | std::uint32_t{CUMULUS_PIN_THREADS};

std::string text_of(const std::int64_t* values, int count) {
  std::string text = "(";
  for (int i = 0; i < count; ++i) text += fmt::format("{}{}", i ? ", " : "", values[i]);
  return text + (count == 1 ? ",)" : ")");
}

// A tensor of the call, with its strides written out and its extent in bytes.
struct Tensor {
  const cumulus_tensor* c = nullptr;
  const char* role = "";
  DType dtype = DType::none;
  std::int64_t elements = 0;
  std::int64_t stride[CUMULUS_MAX_RANK];  // filled for all axes
  std::uintptr_t begin = 0, end = 0;      // bytes touched; equal when there is none

  bool present() const { return dtype != DType::none; }
  std::int64_t size(int axis) const { return c->shape[axis]; }
  std::string shape_text() const { return text_of(c->shape, c->rank); }
};

bool multiply(std::int64_t a, std::int64_t b, std::int64_t& product) { return !__builtin_mul_overflow(a, b, &product); }

// Checks everything about one tensor that does not depend on the others.
void read_tensor(const cumulus_tensor& c, const char* role, bool require_data, Tensor& t) {
  t.c = &c;
  t.role = role;
  if (c.dtype == 0) return;
  t.dtype = static_cast<DType>(c.dtype);
  if (!valid(t.dtype)) fail_invalid(fmt::format("{}: {} is no dtype: use one of CUMULUS_DTYPE_*", role, c.dtype));
  if (c.rank < 0 || c.rank > CUMULUS_MAX_RANK)
    fail_invalid(fmt::format("{}: rank {} is not between 0 and {}", role, c.rank, int{CUMULUS_MAX_RANK}));
  if (c.rank > 0 && !c.shape) fail_invalid(fmt::format("{}: rank is {} but shape is null", role, c.rank));
  if (c.device != CUMULUS_CPU && c.device != CUMULUS_CUDA)
    fail_invalid(fmt::format("{}: {} is no device: use CUMULUS_CPU or CUMULUS_CUDA", role, c.device));
  if (c.device_index < 0 || (c.device == CUMULUS_CPU && c.device_index != 0))
    fail_invalid(fmt::format("{}: device_index {} does not exist: it is 0 on the CPU", role, c.device_index));

  t.elements = 1;
  bool fits = true;
  for (int i = 0; i < c.rank; ++i) {
    if (c.shape[i] < 0) fail_invalid(fmt::format("{}: size {} of axis {} is negative", role, c.shape[i], i));
    fits = fits && multiply(t.elements, std::max<std::int64_t>(c.shape[i], 1), t.elements);
  }
  std::int64_t all_bytes = 0;
  if (!fits || !multiply(t.elements, bytes(t.dtype), all_bytes))
    fail_invalid(fmt::format("{}: shape {} has more bytes than 63 bits count", role, t.shape_text()));
  for (int i = 0; i < c.rank; ++i)
    if (c.shape[i] == 0) t.elements = 0;

  // Strides, and how far below and above `data` they reach.
  std::int64_t contiguous = 1, low = 0, high = 0;
  for (int i = c.rank - 1; i >= 0; --i) {
    const std::int64_t size = c.shape[i];
    t.stride[i] = c.strides ? c.strides[i] : contiguous;
    contiguous *= std::max<std::int64_t>(size, 1);
    std::int64_t reach = 0;
    if (size > 1 && t.elements > 0) {
      if (!multiply(t.stride[i], size - 1, reach) || !multiply(reach, 2 * bytes(t.dtype), all_bytes) ||
          __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high))
        fail_invalid(fmt::format("{}: stride {} of axis {} reaches beyond 63 bits", role, t.stride[i], i));
    }
  }
  if (!require_data || t.elements == 0) return;
  if (!c.data) fail_invalid(fmt::format("{}: data is null but shape {} has elements", role, t.shape_text()));
  const auto address = reinterpret_cast<std::uintptr_t>(c.data);
  const auto alignment = static_cast<std::uintptr_t>(family(t.dtype) == Family::complex ? bytes(t.dtype) / 2 : bytes(t.dtype));
  if (address % alignment != 0)
    fail_invalid(fmt::format("{}: address {:#x} is not aligned to {} bytes, the size of {}: copy it to aligned memory", role, address,
                             alignment, name(t.dtype)));
  std::int64_t low_bytes = 0, high_bytes = 0;
  if (!multiply(low, bytes(t.dtype), low_bytes) || !multiply(high, bytes(t.dtype), high_bytes) ||
      __builtin_add_overflow(high_bytes, bytes(t.dtype), &high_bytes))
    fail_invalid(fmt::format("{}: strides reach beyond 63 bits", role));
  t.begin = address + static_cast<std::uintptr_t>(low_bytes);
  t.end = address + static_cast<std::uintptr_t>(high_bytes);
}

struct Call {
  Tensor in, in2, out, mask, initial, total;
  Op op;
  Kind kind;
  int rank;
  int axis;
  std::int64_t n;
};

void check_dtypes(const Call& call) {
  const DType in = call.in.dtype, out = call.out.dtype;
  if (!supported_pair(in, out))
    fail_unsupported(
        fmt::format("no scan from {} to {}: supported are the same dtype (bool excepted), an integer or bool to i64, u64, f32, f64, and a "
                    "real to f32, f64; "
                    "convert the input first",
                    name(in), name(out)));
  if (!has_kernel(call.op, kernel_accumulator(call.op, out)))
    fail_unsupported(fmt::format("op {} is not defined for {}: complex numbers have no order", name(call.op), name(out)));
  if (call.in2.present() && call.in2.dtype != in)
    fail_unsupported(
        fmt::format("in2 is {} but in is {}: both inputs of {} need one dtype", name(call.in2.dtype), name(in), name(call.op)));
  if (call.mask.present() && call.mask.dtype != DType::boolean) {
    if (call.op == Op::recurrence)
      fail_unsupported("a mask that multiplies has no meaning for the recurrence: give a bool mask, or multiply the inputs");
    if (call.mask.dtype != in)
      fail_unsupported(fmt::format("mask is {}: it must be bool (selects) or in's dtype {} (multiplies)", name(call.mask.dtype), name(in)));
  }
  if (call.initial.present() && !convertible(call.initial.dtype, accumulator(out)))
    fail_unsupported(fmt::format("initial is {}, which does not convert to the accumulator {}: convert it first", name(call.initial.dtype),
                                 name(accumulator(out))));
  if (call.total.present() && call.total.dtype != out && call.total.dtype != accumulator(out))
    fail_unsupported(fmt::format("total is {}: it must have out's dtype {} or the accumulator's {}", name(call.total.dtype), name(out),
                                 name(accumulator(out))));
}

void require_shape(const Tensor& t, const Call& call, std::int64_t along_axis, const char* rule) {
  bool same = t.c->rank == call.rank;
  for (int i = 0; same && i < call.rank; ++i) same = t.size(i) == (i == call.axis ? along_axis : call.in.size(i));
  if (!same)
    fail_invalid(fmt::format("{} has shape {} but in has {} (axis {}): {}", t.role, t.shape_text(), call.in.shape_text(), call.axis, rule));
}

// Stride of a per-row tensor (initial, total) along axis i of the input: the axis may be dropped or of size 1.
std::int64_t row_stride(const Tensor& t, const Call& call, int i) {
  if (!t.present() || t.c->rank == 0 || i == call.axis) return 0;
  const bool dropped = t.c->rank == call.rank - 1;
  const int own = dropped && i > call.axis ? i - 1 : i;
  return t.stride[own];
}

void check_row_tensor(const Tensor& t, const Call& call) {
  if (!t.present()) return;
  const int rank = t.c->rank;
  if (rank == 0 && (t.role[0] == 'i' || call.rank <= 1)) return;
  bool fits = rank == call.rank || rank == call.rank - 1;
  for (int i = 0; fits && i < rank; ++i) {
    if (rank == call.rank) fits = t.size(i) == (i == call.axis ? 1 : call.in.size(i));
    else fits = t.size(i) == call.in.size(i < call.axis ? i : i + 1);
  }
  if (!fits)
    fail_invalid(fmt::format("{} has shape {} but in has {}: it needs that shape with axis {} dropped or of size 1{}", t.role,
                             t.shape_text(), call.in.shape_text(), call.axis, t.role[0] == 'i' ? ", or rank 0" : ""));
}

// Stride of the mask along axis i of the input, broadcast by NumPy's rule.
std::int64_t mask_stride(const Call& call, int i) {
  const Tensor& m = call.mask;
  if (!m.present()) return 0;
  const int own = i - (call.rank - m.c->rank);
  return own < 0 || m.size(own) == 1 ? 0 : m.stride[own];
}

void check_mask(const Call& call) {
  const Tensor& m = call.mask;
  if (!m.present()) return;
  bool fits = m.c->rank <= call.rank;
  for (int own = 0; fits && own < m.c->rank; ++own) {
    const std::int64_t size = call.in.size(own + call.rank - m.c->rank);
    fits = m.size(own) == 1 || m.size(own) == size;
  }
  if (!fits) fail_invalid(fmt::format("mask has shape {} which does not broadcast to in's {}", m.shape_text(), call.in.shape_text()));
}

bool overlap(const Tensor& a, const Tensor& b) { return a.present() && b.present() && a.begin < b.end && b.begin < a.end; }

bool same_view(const Tensor& a, const Tensor& b) {
  if (a.c->data != b.c->data || bytes(a.dtype) != bytes(b.dtype) || a.c->rank != b.c->rank) return false;
  for (int i = 0; i < a.c->rank; ++i)
    if (a.size(i) != b.size(i) || (a.size(i) > 1 && a.stride[i] != b.stride[i])) return false;
  return true;
}

void check_written(const Tensor& t) {
  for (int i = 0; i < t.c->rank; ++i)
    if (t.size(i) > 1 && t.stride[i] == 0 && t.elements > 0)
      fail_invalid(fmt::format("{} has stride 0 along axis {} of size {}: every result needs a place of its own", t.role, i, t.size(i)));
}

void check_overlap(const Call& call) {
  for (const Tensor* in : {&call.in, &call.in2})
    if (overlap(call.out, *in) && !same_view(call.out, *in))
      fail_invalid(fmt::format("out overlaps {}: out must be {} itself, with the same shape, strides and element size, or separate memory",
                               in->role, in->role));
  for (const Tensor* t : {&call.mask, &call.initial, &call.total})
    if (overlap(call.out, *t)) fail_invalid(fmt::format("out overlaps {}: give one of them separate memory", t->role));
  for (const Tensor* t : {&call.in, &call.in2, &call.mask})
    if (overlap(call.total, *t)) fail_invalid(fmt::format("total overlaps {}: give it separate memory", t->role));
  if (overlap(call.total, call.initial)) {
    bool same = call.total.c->data == call.initial.c->data && call.total.dtype == call.initial.dtype;
    for (int i = 0; same && i < call.rank; ++i)
      same = i == call.axis || call.in.size(i) <= 1 || row_stride(call.total, call, i) == row_stride(call.initial, call, i);
    if (!same) fail_invalid("total overlaps initial: it must be the same memory with the same strides and dtype, or separate");
  }
}

// The launch writes all over it, before and after it reads the tensors.
void check_workspace_apart(const GivenWorkspace& workspace, const Call& call) {
  const auto begin = reinterpret_cast<std::uintptr_t>(workspace.memory), end = begin + static_cast<std::uintptr_t>(workspace.bytes);
  for (const Tensor* t : {&call.in, &call.in2, &call.out, &call.mask, &call.initial, &call.total})
    if (begin != 0 && t->present() && begin < t->end && t->begin < end)
      fail_invalid(fmt::format("workspace overlaps {}: give it separate memory, or none", t->role));
}

void check_device(const Call& call) {
  for (const Tensor* t : {&call.in, &call.in2, &call.out, &call.mask, &call.initial, &call.total}) {
    if (!t->present()) continue;
    const bool host_scalar = t == &call.initial && t->c->rank == 0 && t->c->device == CUMULUS_CPU;
    if (!host_scalar && (t->c->device != call.out.c->device || t->c->device_index != call.out.c->device_index))
      fail_invalid(fmt::format("{} is on device {}:{} but out on {}:{}: move them to one device", t->role, t->c->device, t->c->device_index,
                               call.out.c->device, call.out.c->device_index));
  }
}

void check(const cumulus_scan_args& args, bool require_data, Call& call) {
  if (args.op < 0 || args.op >= kOps) fail_invalid(fmt::format("{} is no op: use one of CUMULUS_OP_*", args.op));
  if (args.kind < 0 || args.kind > CUMULUS_PREFIXES)
    fail_invalid(fmt::format("{} is no kind: use inclusive 0, exclusive 1 or prefixes 2", args.kind));
  if (args.flags & ~kKnownFlags) fail_invalid(fmt::format("flags {:#x} has bits that this version does not know", args.flags));
  if (args.threads < 0) fail_invalid(fmt::format("threads is {}: give 0 for all, or how many", args.threads));
  call.op = static_cast<Op>(args.op);
  call.kind = static_cast<Kind>(args.kind);
  read_tensor(args.in, "in", require_data, call.in);
  read_tensor(args.in2, "in2", require_data, call.in2);
  read_tensor(args.out, "out", require_data, call.out);
  read_tensor(args.mask, "mask", require_data, call.mask);
  read_tensor(args.initial, "initial", require_data, call.initial);
  read_tensor(args.total, "total", require_data, call.total);
  if (!call.in.present()) fail_invalid("in is missing: its dtype is 0");
  if (!call.out.present()) fail_invalid("out is missing: its dtype is 0");
  if (call.in2.present() != (inputs(call.op) == 2))
    fail_invalid(fmt::format("op {} takes {} input{}: in2 must be {}", name(call.op), inputs(call.op), inputs(call.op) == 2 ? "s" : "",
                             inputs(call.op) == 2 ? "given" : "absent"));

  call.rank = call.in.c->rank;
  const int least = call.rank == 0 ? 1 : call.rank;  // a scalar has the axes 0 and -1, as in NumPy
  if (args.axis < -least || args.axis >= least)
    fail_invalid(fmt::format("axis {} is out of range for rank {}: give {} to {}", args.axis, call.rank, -least, least - 1));
  call.axis = call.rank == 0 ? 0 : args.axis < 0 ? args.axis + call.rank : args.axis;
  call.n = call.rank == 0 ? 1 : call.in.size(call.axis);

  check_dtypes(call);
  if (call.in2.present()) require_shape(call.in2, call, call.n, "both inputs need one shape");
  if (call.kind == Kind::prefixes && call.rank == 0) {
    if (call.out.c->rank != 1 || call.out.size(0) != 2)
      fail_invalid(fmt::format("out has shape {}: the prefixes of a scalar have shape (2,)", call.out.shape_text()));
  } else if (call.kind == Kind::prefixes) {
    require_shape(call.out, call, call.n + 1, "out of prefixes must be one longer along the axis");
  } else {
    require_shape(call.out, call, call.n, "out must have in's shape");
  }
  check_mask(call);
  check_row_tensor(call.initial, call);
  check_row_tensor(call.total, call);
  check_written(call.out);
  if (call.total.present()) check_written(call.total);
  if (require_data) {
    check_overlap(call);
    check_workspace_apart(given_workspace(args), call);
  }
  check_device(call);
}

// Moves a pointer by elements.
template <class P>
P moved(P data, DType dtype, std::int64_t elements) {
  return data && elements ? static_cast<P>(const_cast<char*>(static_cast<const char*>(data)) + elements * bytes(dtype)) : data;
}

// Turns a dimension around, so that index 0 is what was the last.
void flip(Dim& dim, std::int64_t length, std::int64_t out_length, Problem& p) {
  p.in = moved(p.in, p.in_dtype, dim.in * (length - 1));
  p.in2 = moved(p.in2, p.in_dtype, dim.in2 * (length - 1));
  p.mask = moved(p.mask, p.mask_dtype, dim.mask * (length - 1));
  p.out = moved(p.out, p.out_dtype, dim.out * (out_length - 1));
  p.initial = moved(p.initial, p.initial_dtype, dim.initial * (length - 1));
  p.total = moved(p.total, p.total_dtype, dim.total * (length - 1));
  dim.in = -dim.in, dim.in2 = -dim.in2, dim.out = -dim.out, dim.mask = -dim.mask, dim.initial = -dim.initial, dim.total = -dim.total;
}

bool mergeable(const Dim& outer, const Dim& inner) {
  return outer.in == inner.in * inner.size && outer.in2 == inner.in2 * inner.size && outer.out == inner.out * inner.size &&
         outer.mask == inner.mask * inner.size && outer.initial == inner.initial * inner.size && outer.total == inner.total * inner.size;
}

// Sorts the other dimensions by |out stride|, largest first, and merges neighbours that are one in memory.
void merge(Problem& p) {
  std::stable_sort(p.dim, p.dim + p.dims, [](const Dim& a, const Dim& b) { return a.out > b.out; });
  int kept = 0;
  for (int i = 0; i < p.dims; ++i) {
    if (kept > 0 && mergeable(p.dim[kept - 1], p.dim[i])) {
      const std::int64_t size = p.dim[kept - 1].size * p.dim[i].size;
      p.dim[kept - 1] = p.dim[i];
      p.dim[kept - 1].size = size;
    } else {
      p.dim[kept++] = p.dim[i];
    }
  }
  p.dims = kept;
}

// What a call reads and writes of each tensor. Each fits 63 bits: read_tensor saw to it.
struct Bytes {
  std::int64_t in, in2, out, mask, initial, total;
};

Bytes bytes_of(const Problem& p) {
  Bytes b{};
  b.in = p.rows * p.n * bytes(p.in_dtype);
  b.in2 = inputs(p.op) == 2 ? b.in : 0;
  b.out = p.rows * p.n_out * bytes(p.out_dtype);
  b.total = p.total_dtype == DType::none ? 0 : p.rows * bytes(p.total_dtype);
  b.initial = p.initial_dtype == DType::none ? 0 : bytes(p.initial_dtype);
  b.mask = p.masked() ? bytes(p.mask_dtype) * (p.axis.mask != 0 ? p.n : 1) : 0;
  for (int i = 0; i < p.dims; ++i) {
    if (p.dim[i].initial != 0) b.initial *= p.dim[i].size;
    if (p.dim[i].mask != 0) b.mask *= p.dim[i].size;
  }
  return b;
}

// Together they may not fit; then every figure of a plan would be wrong. `out` counts twice, as a plan may read its lines before it
// writes them. Nothing that memory holds is refused: inputs may be broadcast, but every result has a place of its own.
void check_bytes(const Problem& p, const Call& call) {
  const Bytes b = bytes_of(p);
  std::int64_t sum = 0;
  bool fits = true;
  for (const std::int64_t part : {b.in, b.in2, b.out, b.out, b.mask, b.initial, b.total})
    fits = fits && !__builtin_add_overflow(sum, part, &sum);
  if (!fits)
    fail_invalid(fmt::format("in: with shape {} the call's tensors together have more bytes than 63 bits count: give a smaller shape",
                             call.in.shape_text()));
}

// The most frequent small call, recognised at little cost: one contiguous row of at least two elements, of one dtype, in and
// out, and nothing else. Whatever is not as it should be is left to the general way, which also says what is wrong.
bool read_plain_row(const cumulus_scan_args& args, Problem& p) {
  const cumulus_tensor &in = args.in, &out = args.out;
  const DType dtype = static_cast<DType>(in.dtype);
  const bool only_in_out = (args.in2.dtype | args.mask.dtype | args.initial.dtype | args.total.dtype) == 0;
  if (!only_in_out || args.flags != 0 || args.threads < 0 || args.op < 0 || args.op >= kOps || inputs(static_cast<Op>(args.op)) != 1 ||
      (args.kind != CUMULUS_INCLUSIVE && args.kind != CUMULUS_EXCLUSIVE) || (args.axis != 0 && args.axis != -1))
    return false;
  if (in.dtype != out.dtype || in.dtype == 0 || !valid(dtype) || dtype == DType::boolean || in.rank != 1 || out.rank != 1 || !in.shape ||
      !out.shape || in.device != CUMULUS_CPU || out.device != CUMULUS_CPU || in.device_index != 0 || out.device_index != 0)
    return false;
  constexpr std::int64_t kMost = std::int64_t{1} << 48;  // far from any overflow
  const std::int64_t n = in.shape[0];
  if (n < 2 || n > kMost || out.shape[0] != n || (in.strides && in.strides[0] != 1) || (out.strides && out.strides[0] != 1)) return false;
  const auto from = reinterpret_cast<std::uintptr_t>(in.data), to = reinterpret_cast<std::uintptr_t>(out.data);
  const auto size = static_cast<std::uintptr_t>(bytes(dtype)), extent = size * static_cast<std::uintptr_t>(n);
  const bool apart = from == to || from + extent <= to || to + extent <= from;
  if (from == 0 || to == 0 || (from | to) % size != 0 || !apart) return false;
  const Op op = static_cast<Op>(args.op);
  const DType kernel = kernel_accumulator(op, dtype);
  if (!has_kernel(op, kernel)) return false;

  p.op = op, p.kind = static_cast<Kind>(args.kind);
  p.in_dtype = p.out_dtype = dtype;
  p.mask_dtype = p.initial_dtype = p.total_dtype = DType::none;
  p.acc = accumulator(dtype), p.kernel = kernel;
  p.in = in.data, p.out = out.data;
  p.in2 = p.mask = p.initial = nullptr;
  p.total = nullptr;
  p.n = p.n_out = n;
  p.rows = 1;
  p.axis = {n, 1, 0, 1, 0, 0, 0};
  p.dims = 0;
  p.threads = args.threads, p.flags = 0, p.stream = args.stream;
  p.device = Device::cpu;
  return true;
}

}  // namespace

void canonicalise(const cumulus_scan_args& args, bool require_data, Problem& p) {
  if (require_data && read_plain_row(args, p)) return;
  Call call;
  check(args, require_data, call);

  p.op = call.op, p.kind = call.kind;
  p.in_dtype = call.in.dtype, p.out_dtype = call.out.dtype, p.mask_dtype = call.mask.dtype;
  p.initial_dtype = call.initial.dtype, p.total_dtype = call.total.dtype;
  p.acc = accumulator(p.out_dtype), p.kernel = kernel_accumulator(p.op, p.out_dtype);
  p.in = args.in.data, p.in2 = args.in2.data, p.mask = args.mask.data, p.initial = args.initial.data;
  p.out = args.out.data, p.total = args.total.data;
  p.n = call.n, p.n_out = call.n + (call.kind == Kind::prefixes ? 1 : 0);
  p.threads = args.threads, p.flags = args.flags, p.stream = args.stream;
  p.device = static_cast<Device>(args.out.device);

  p.axis = Dim{};
  p.axis.size = p.n;
  p.axis.out = 1;
  p.axis.in = p.axis.in2 = 1;
  if (call.rank > 0)
    p.axis = {p.n,
              call.in.stride[call.axis],
              call.in2.present() ? call.in2.stride[call.axis] : 0,
              call.out.stride[call.axis],
              mask_stride(call, call.axis),
              0,
              0};
  else if (p.n_out == 2) p.axis.out = call.out.stride[0];
  if (args.flags & CUMULUS_REVERSE) flip(p.axis, p.n, p.n_out, p);
  // One element along the axis: its strides are never used, so let them look contiguous.
  if (p.n_out <= 1) p.axis.out = 1;
  if (p.n <= 1) p.axis.in = p.axis.in2 = p.axis.out < 0 ? -1 : 1;

  p.rows = 1;
  p.dims = 0;
  for (int i = 0; i < call.rank; ++i) {
    if (i == call.axis) continue;
    const std::int64_t size = call.in.size(i);
    p.rows *= size;
    if (size == 1) continue;
    Dim& dim = p.dim[p.dims++];
    dim = {size,
           call.in.stride[i],
           call.in2.present() ? call.in2.stride[i] : 0,
           call.out.stride[i],
           mask_stride(call, i),
           row_stride(call.initial, call, i),
           row_stride(call.total, call, i)};
    if (dim.out < 0 && size > 0) flip(dim, size, size, p);
  }
  if (p.dims > 1) merge(p);
  check_bytes(p, call);
}

GivenWorkspace given_workspace(const cumulus_scan_args& args) {
  if (args.struct_size == kFirstArgsSize) return {};
  if (!args.workspace && args.workspace_bytes > 0)
    fail_invalid(
        fmt::format("workspace is null but workspace_bytes is {}: give its memory, or 0 for the library's own", args.workspace_bytes));
  return {args.workspace, static_cast<std::int64_t>(std::min<std::size_t>(args.workspace_bytes, INT64_MAX))};
}

std::int64_t bytes_required(const Problem& p) {
  const Bytes bytes = bytes_of(p);
  return bytes.in + bytes.in2 + bytes.out + bytes.total + bytes.mask + bytes.initial;
}

}  // namespace cumulus
