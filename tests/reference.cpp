#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace reference {

using cumulus::ConstTensorView;
using cumulus::DType;
using cumulus::Kind;
using cumulus::Op;
using cumulus::ScanSpec;
using cumulus::TensorView;

namespace {

// ---- numbers ----

template <class T>
struct Complex {
  T re, im;
};
template <class T>
struct Pair {  // the recurrence's element: h -> a h + b
  T a, b;
};

template <class T>
constexpr bool is_complex = false;
template <class T>
constexpr bool is_complex<Complex<T>> = true;

template <class T>
struct WideOf {  // the carry type of levels 3 and above
  using type = T;
};
template <>
struct WideOf<float> {
  using type = double;
};
template <>
struct WideOf<Complex<float>> {
  using type = Complex<double>;
};

// Plain casts: integers wrap, floats round to nearest even, a real becomes a complex with imaginary part 0.
template <class To, class From>
To cast(From v) {
  if constexpr (is_complex<To>) {
    using T = decltype(To::re);
    if constexpr (is_complex<From>) return {static_cast<T>(v.re), static_cast<T>(v.im)};
    else return {static_cast<T>(v), T(0)};
  } else if constexpr (is_complex<From> || (std::is_integral_v<To> && std::is_floating_point_v<From>)) {
    return To{};  // refused by the library: never asked for
  } else {
    return static_cast<To>(v);
  }
}

template <class T>
T add(T a, T b) {
  if constexpr (is_complex<T>) return {a.re + b.re, a.im + b.im};
  else if constexpr (std::is_integral_v<T>) return static_cast<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  else return a + b;
}

template <class T>
T multiply(T a, T b) {
  if constexpr (is_complex<T>) {
    const auto p = a.re * b.re, q = a.im * b.im, s = a.re * b.im, t = a.im * b.re;
    return {p - q, s + t};
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  } else {
    return a * b;
  }
}

// IEEE 754-2019 maximum and minimum.
template <class T>
T pick(T a, T b, bool larger) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<T>::quiet_NaN();
    if (a == b) return std::signbit(a) == larger ? b : a;
  }
  return (a > b) == larger ? a : b;
}

// ---- ops: combine, the identity R starts from, and what an empty prefix and a masked-out element show ----

struct Sum {
  static constexpr bool kStartsEmpty = false;
  template <class T>
  static T combine(T a, T b) {
    return add(a, b);
  }
  template <class T>
  static T start() {
    if constexpr (is_complex<T>) return {-0.0f, -0.0f};
    else if constexpr (std::is_integral_v<T>) return 0;
    else return -T(0);
  }
  template <class T>
  static T shown() {
    return cast<T>(0);
  }
};

struct Prod {
  static constexpr bool kStartsEmpty = false;
  template <class T>
  static T combine(T a, T b) {
    return multiply(a, b);
  }
  template <class T>
  static T start() {
    return cast<T>(1);
  }
  template <class T>
  static T shown() {
    return cast<T>(1);
  }
};

template <bool kLarger>
struct Extreme {
  static constexpr bool kStartsEmpty = false;
  template <class T>
  static T combine(T a, T b) {
    return pick(a, b, kLarger);
  }
  template <class T>
  static T start() {
    using L = std::numeric_limits<T>;
    if constexpr (L::has_infinity) return kLarger ? -L::infinity() : L::infinity();
    else return kLarger ? L::lowest() : L::max();
  }
  template <class T>
  static T shown() {
    return start<T>();
  }
};

struct Recurrence {  // over pairs; R starts from nothing, not from (1, 0)
  static constexpr bool kStartsEmpty = true;
  template <class T>
  static Pair<T> combine(Pair<T> e, Pair<T> l) {
    return {multiply(e.a, l.a), add(multiply(l.a, e.b), l.b)};
  }
};

// ---- the order ----

// Inclusive prefixes of `count` <= size children: the left half's, then the left half's total with the right half's.
template <class O, class T>
void halving(T* v, int count, int size) {
  const int half = size / 2;
  if (half == 0 || count == 0) return;
  halving<O>(v, count < half ? count : half, half);
  if (count <= half) return;
  halving<O>(v + half, count - half, half);
  for (int i = half; i < count; ++i) v[i] = O::combine(v[half - 1], v[i]);
}

// Prefixes of the children of every node of one level, from the children's totals.
template <class O, class T>
std::vector<T> level(std::vector<T> children) {
  for (std::size_t at = 0; at < children.size(); at += 32) {
    const std::size_t left = children.size() - at;
    halving<O>(children.data() + at, left < 32 ? static_cast<int>(left) : 32, 32);
  }
  return children;
}

// Totals of the whole nodes of one level: the children of the next.
template <class To, class T, class Convert>
std::vector<To> totals(const std::vector<T>& prefixes, std::size_t width, Convert convert) {
  std::vector<To> out;
  for (std::size_t i = width - 1; i < prefixes.size(); i += width) out.push_back(convert(prefixes[i]));
  return out;
}

// Level 0: serial prefixes inside each quad.
template <class O, class T>
std::vector<T> quads(std::vector<T> x) {
  for (std::size_t i = 0; i < x.size(); ++i)
    if (i % 4) x[i] = O::combine(x[i - 1], x[i]);
  return x;
}

// R(0..n). `first` is R(0) as combined from (ignored when `empty`), W the carry type, narrow and widen the casts between them.
template <class O, class W, class T, class Narrow, class Widen>
std::vector<T> prefixes(const std::vector<T>& x, bool empty, W first, T shown, Narrow narrow, Widen widen) {
  const std::vector<T> quad = quads<O>(x);
  const std::vector<T> segment = level<O>(totals<T>(quad, 4, [](T v) { return v; }));
  const std::vector<T> chunk = level<O>(totals<T>(segment, 32, [](T v) { return v; }));
  std::vector<std::vector<W>> high;  // levels 3, 4, ...
  for (std::vector<W> v = totals<W>(chunk, 32, widen); !v.empty(); v = totals<W>(high.back(), 32, [](W w) { return w; }))
    high.push_back(level<O>(v));

  std::vector<T> r(x.size() + 1);
  r[0] = shown;
  for (std::size_t i = 1; i <= x.size(); ++i) {
    bool nothing = empty;
    W wide = first;
    for (std::size_t k = high.size(); k-- > 0;) {
      const std::size_t node = i >> (12 + 5 * k), digit = node % 32;
      if (digit == 0) continue;
      wide = nothing ? high[k][node - 1] : O::combine(wide, high[k][node - 1]);
      nothing = false;
    }
    T v = nothing ? T{} : narrow(wide);
    const auto take = [&](const std::vector<T>& nodes, std::size_t node, std::size_t base) {
      if (node % base == 0) return;
      v = nothing ? nodes[node - 1] : O::combine(v, nodes[node - 1]);
      nothing = false;
    };
    take(chunk, i >> 7, 32);
    take(segment, i >> 2, 32);
    take(quad, i, 4);
    r[i] = v;
  }
  return r;
}

// ---- memory ----

// Calls f with a typed pointer to the element; f16 and bf16 arrive as float.
template <class A>
A load(DType t, const char* p) {
  const auto as = [p](auto v) {
    std::memcpy(&v, p, sizeof v);
    return cast<A>(v);
  };
  switch (t) {
    case DType::f16: {
      std::uint16_t v;
      std::memcpy(&v, p, sizeof v);
      return cast<A>(from_f16(v));
    }
    case DType::bf16: {
      std::uint16_t v;
      std::memcpy(&v, p, sizeof v);
      return cast<A>(from_bf16(v));
    }
    case DType::f32:
      return as(float{});
    case DType::f64:
      return as(double{});
    case DType::i8:
      return as(std::int8_t{});
    case DType::i16:
      return as(std::int16_t{});
    case DType::i32:
      return as(std::int32_t{});
    case DType::i64:
      return as(std::int64_t{});
    case DType::u8:
      return as(std::uint8_t{});
    case DType::u16:
      return as(std::uint16_t{});
    case DType::u32:
      return as(std::uint32_t{});
    case DType::u64:
      return as(std::uint64_t{});
    case DType::boolean:
      return cast<A>(static_cast<std::uint8_t>(*p != 0));
    case DType::c64:
      return as(Complex<float>{});
    case DType::c128:
      return as(Complex<double>{});
    case DType::none:
      break;
  }
  return A{};
}

template <class A>
void store(DType t, char* p, A v) {
  if constexpr (std::is_same_v<A, float>) {
    if (t == DType::f16 || t == DType::bf16) {
      const std::uint16_t bits = t == DType::f16 ? to_f16(v) : to_bf16(v);
      std::memcpy(p, &bits, sizeof bits);
      return;
    }
  }
  std::memcpy(p, &v, sizeof v);
}

std::int64_t size_of(DType t) { return static_cast<std::int64_t>(cumulus_dtype_size(static_cast<std::int32_t>(t))); }

// A view by axis of the input: byte strides, 0 where the view has size 1 or no such axis (NumPy's broadcasting).
template <class View>
std::vector<std::int64_t> steps(const View& view, int rank, int dropped) {
  std::vector<std::int64_t> step(static_cast<std::size_t>(rank), 0);
  std::int64_t contiguous = 1;
  const bool drops = dropped >= 0 && view.shape.size() < rank;  // the view lacks the scan axis
  for (int k = view.shape.size() - 1; k >= 0; --k) {
    const int axis = drops ? k + (k >= dropped) : k + rank - view.shape.size();
    const std::int64_t stride = view.strides.size() ? view.strides[k] : contiguous;
    contiguous *= view.shape[k];
    step[static_cast<std::size_t>(axis)] = view.shape[k] == 1 ? 0 : stride * size_of(view.dtype);
  }
  return step;
}

// ---- one call ----

struct Call {
  ConstTensorView in, in2, mask, initial;
  TensorView out, total;
  Op op;
  Kind kind;
  bool reverse;
  int rank, axis;
};

// The elements of a row in scan order, cast and masked.
template <class O, class A>
std::vector<A> elements(const Call& c, const char* in, std::int64_t in_step, const char* mask, std::int64_t mask_step, std::int64_t n,
                        A outside) {
  std::vector<A> x(static_cast<std::size_t>(n));
  for (std::int64_t k = 0; k < n; ++k) {
    const std::int64_t i = c.reverse ? n - 1 - k : k;
    A v = load<A>(c.in.dtype, in + i * in_step);
    if (mask && c.mask.dtype == DType::boolean) v = mask[i * mask_step] ? v : outside;
    else if (mask) v = multiply(v, load<A>(c.mask.dtype, mask + i * mask_step));
    x[static_cast<std::size_t>(k)] = v;
  }
  return x;
}

template <class O, class A>
void run(const Call& c) {
  using W = typename WideOf<A>::type;
  const auto in_step = steps(c.in, c.rank, -1), in2_step = steps(c.in2, c.rank, -1), mask_step = steps(c.mask, c.rank, -1);
  const auto initial_step = steps(c.initial, c.rank, c.axis), total_step = steps(c.total, c.rank, c.axis),
             out_step = steps(c.out, c.rank, -1);
  const auto axis = static_cast<std::size_t>(c.axis);
  std::vector<std::int64_t> index(static_cast<std::size_t>(c.rank), 0);
  for (int k = 0; k < c.rank; ++k)
    if (k != c.axis && c.in.shape[k] == 0) return;
  const std::int64_t n = c.in.shape[c.axis];

  for (;;) {
    const auto at = [&](const auto& view, const std::vector<std::int64_t>& step) {
      auto p = static_cast<std::conditional_t<std::is_const_v<std::remove_pointer_t<decltype(view.data)>>, const char*, char*>>(view.data);
      for (std::size_t k = 0; k < index.size(); ++k) p += index[k] * step[k];
      return p;
    };
    const bool has_initial = c.initial.dtype != DType::none;
    const char* mask = c.mask.dtype == DType::none ? nullptr : at(c.mask, mask_step);
    const A initial = has_initial ? load<A>(c.initial.dtype, at(c.initial, initial_step)) : A{};
    std::vector<A> r;
    if constexpr (O::kStartsEmpty) {
      const auto a = elements<O, A>(c, at(c.in, in_step), in_step[axis], mask, mask_step[axis], n, cast<A>(1));
      const auto b = elements<O, A>({c.in2, {}, c.mask, {}, {}, {}, c.op, c.kind, c.reverse, c.rank, c.axis}, at(c.in2, in2_step),
                                    in2_step[axis], mask, mask_step[axis], n, cast<A>(0));
      std::vector<Pair<A>> x;
      for (std::size_t k = 0; k < a.size(); ++k) x.push_back({a[k], b[k]});
      const Pair<A> first{cast<A>(1), initial};
      const auto same = [](Pair<A> v) { return v; };
      for (const Pair<A>& h : prefixes<O, Pair<A>>(x, !has_initial, first, first, same, same)) r.push_back(h.b);
    } else {
      const A shown = O::template shown<A>();
      const auto x = elements<O, A>(c, at(c.in, in_step), in_step[axis], mask, mask_step[axis], n, shown);
      const W first = has_initial ? cast<W>(initial) : O::template start<W>();
      r = prefixes<O, W>(
          x, false, first, has_initial ? initial : shown, [](W v) { return cast<A>(v); }, [](A v) { return cast<W>(v); });
    }
    if (c.total.dtype != DType::none) store(c.total.dtype, at(c.total, total_step), r.back());
    char* out = at(c.out, out_step);
    const std::int64_t length = n + (c.kind == Kind::prefixes);
    const auto skip = static_cast<std::size_t>(c.kind == Kind::inclusive);
    for (std::int64_t k = 0; k < length; ++k)
      store(c.out.dtype, out + (c.reverse ? length - 1 - k : k) * out_step[axis], r[static_cast<std::size_t>(k) + skip]);

    int k = c.rank - 1;  // the next row
    for (; k >= 0; --k) {
      if (k == c.axis) continue;
      if (++index[static_cast<std::size_t>(k)] < c.in.shape[k]) break;
      index[static_cast<std::size_t>(k)] = 0;
    }
    if (k < 0) return;
  }
}

template <class A>
void dispatch(const Call& c) {
  switch (c.op) {
    case Op::sum:
      return run<Sum, A>(c);
    case Op::prod:
      return run<Prod, A>(c);
    case Op::recurrence:
      return run<Recurrence, A>(c);
    case Op::max:
      if constexpr (!is_complex<A>) return run<Extreme<true>, A>(c);
      return;
    case Op::min:
      if constexpr (!is_complex<A>) return run<Extreme<false>, A>(c);
      return;
  }
}

// f16 and bf16 are one format with other widths: the nearest multiple of the quantum, then its code.
template <int kMantissa, int kExponent>
std::uint16_t narrow(float value) {
  constexpr int bias = (1 << (kExponent - 1)) - 1;
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  constexpr int infinity = ((1 << kExponent) - 1) << kMantissa;
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | infinity | (1 << (kMantissa - 1)));
  const double v = std::fabs(static_cast<double>(value));
  if (std::isinf(v)) return static_cast<std::uint16_t>(sign | infinity);
  const int exponent = v == 0 ? 1 - bias : std::max(std::ilogb(v), 1 - bias);       // of the quantum's binade
  const double units = std::nearbyint(std::ldexp(v, kMantissa - exponent));         // to nearest even
  const int code = ((exponent + bias - 1) << kMantissa) + static_cast<int>(units);  // a carry moves to the next binade by itself
  return static_cast<std::uint16_t>(sign | std::min(code, infinity));
}

}  // namespace

float from_f16(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const float sign = bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? std::numeric_limits<float>::quiet_NaN() : sign * std::numeric_limits<float>::infinity();
  return sign * (exponent ? std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25) : std::ldexp(static_cast<float>(mantissa), -24));
}

float from_bf16(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float v;
  std::memcpy(&v, &wide, sizeof v);
  return v;
}

std::uint16_t to_f16(float value) { return narrow<10, 5>(value); }
std::uint16_t to_bf16(float value) { return narrow<7, 8>(value); }

void scan(const ConstTensorView& in, const ConstTensorView* in2, const TensorView& out, const ScanSpec& spec) {
  Call c{in,         in2 ? *in2 : ConstTensorView{}, spec.mask, {},           out,
         spec.total, in2 ? Op::recurrence : spec.op, spec.kind, spec.reverse, in.shape.size(),
         0};
  if (spec.initial.tensor()) c.initial = *spec.initial.tensor();
  else if (spec.initial.dtype() != DType::none) c.initial = {spec.initial.scalar(), spec.initial.dtype(), {}};
  if (c.rank == 0) {  // a scalar is one row of one element
    c.rank = 1;
    c.in.shape = {1};
    if (in2) c.in2.shape = {1};
  }
  c.axis = spec.axis < 0 ? spec.axis + c.rank : spec.axis;
  switch (out.dtype) {
    case DType::f16:
    case DType::bf16:
    case DType::f32:
      return dispatch<float>(c);
    case DType::f64:
      return dispatch<double>(c);
    case DType::i8:
      return dispatch<std::int8_t>(c);
    case DType::i16:
      return dispatch<std::int16_t>(c);
    case DType::i32:
      return dispatch<std::int32_t>(c);
    case DType::i64:
      return dispatch<std::int64_t>(c);
    case DType::u8:
      return dispatch<std::uint8_t>(c);
    case DType::u16:
      return dispatch<std::uint16_t>(c);
    case DType::u32:
      return dispatch<std::uint32_t>(c);
    case DType::u64:
      return dispatch<std::uint64_t>(c);
    case DType::c64:
      return dispatch<Complex<float>>(c);
    case DType::c128:
      return dispatch<Complex<double>>(c);
    case DType::boolean:
    case DType::none:
      return;
  }
}

}  // namespace reference
