// What an operation is: its element as a tuple of planes, and combine(earlier, later) on vectors of such tuples.
// The same definition serves vectors, single carry values and every SIMD target. Included once per target.
#if defined(CUMULUS_CPU_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CUMULUS_CPU_OPS_INL_H_
#undef CUMULUS_CPU_OPS_INL_H_
#else
#define CUMULUS_CPU_OPS_INL_H_
#endif

#include <complex>
#include <cstdint>
#include <type_traits>

#include "cpu/kernels.h"
#include "hwy/highway.h"
#include "types.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, int K>
struct Tuple {
  hn::Vec<D> v[K];
};

// The number underneath an accumulator: the type of one plane, and how many planes.
template <DType acc>
struct Number;
template <>
struct Number<DType::f32> {
  using Lane = float;
  using Wide = double;
  static constexpr int kPlanes = 1;
};
template <>
struct Number<DType::f64> {
  using Lane = double;
  using Wide = double;
  static constexpr int kPlanes = 1;
};
template <>
struct Number<DType::i32> {
  using Lane = std::int32_t;
  using Wide = std::int32_t;
  static constexpr int kPlanes = 1;
};
template <>
struct Number<DType::i64> {
  using Lane = std::int64_t;
  using Wide = std::int64_t;
  static constexpr int kPlanes = 1;
};
template <>
struct Number<DType::u32> {
  using Lane = std::uint32_t;
  using Wide = std::uint32_t;
  static constexpr int kPlanes = 1;
};
template <>
struct Number<DType::u64> {
  using Lane = std::uint64_t;
  using Wide = std::uint64_t;
  static constexpr int kPlanes = 1;
};
template <>
struct Number<DType::c64> {
  using Lane = float;
  using Wide = double;
  static constexpr int kPlanes = 2;
};
template <>
struct Number<DType::c128> {
  using Lane = double;
  using Wide = double;
  static constexpr int kPlanes = 2;
};

// Complex product by the plain formula, every operation rounded.
template <class D>
HWY_INLINE Tuple<D, 2> ComplexMul(Tuple<D, 2> a, Tuple<D, 2> b) {
  return {{hn::Sub(hn::Mul(a.v[0], b.v[0]), hn::Mul(a.v[1], b.v[1])), hn::Add(hn::Mul(a.v[0], b.v[1]), hn::Mul(a.v[1], b.v[0]))}};
}

// The larger or smaller; b where either is a NaN. x86's instructions do just that, those that Highway takes on NEON prefer numbers.
template <bool kMax, class V>
HWY_INLINE V ExtremeElseSecond(V a, V b) {
#if HWY_ARCH_X86
  return kMax ? hn::Max(a, b) : hn::Min(a, b);
#else
  return hn::IfThenElse(kMax ? hn::Gt(a, b) : hn::Lt(a, b), a, b);
#endif
}

// IEEE 754-2019 maximum and minimum: NaN sticks and -0 < +0. Hardware Max leaves both to the operand order.
template <bool kMax, class D>
HWY_INLINE hn::Vec<D> Extreme(D, hn::Vec<D> a, hn::Vec<D> b) {
  if constexpr (hwy::IsFloat<hn::TFromD<D>>()) {
    const auto either = ExtremeElseSecond<kMax>(a, b);
    const auto tie = kMax ? hn::And(a, b) : hn::Or(a, b);  // equal values: the same bits, or zeros of either sign
    const auto ordered = hn::IfThenElse(hn::Eq(a, b), tie, either);
    return hn::IfThenElse(hn::IsNaN(a), a, ordered);
  } else {
    return kMax ? hn::Max(a, b) : hn::Min(a, b);
  }
}

// Every operation states: its planes, its carry type, whether a missing start is skipped rather than combined, and combine.
template <Op op, DType acc>
struct Scan {
  using N = Number<acc>;
  using Lane = typename N::Lane;
  using Wide = typename N::Wide;
  static constexpr int kPlanes = N::kPlanes;
  static constexpr bool kSkipsMissingStart = false;

  template <class D>
  static HWY_INLINE Tuple<D, kPlanes> Combine(D d, Tuple<D, kPlanes> a, Tuple<D, kPlanes> b) {
    Tuple<D, kPlanes> r;
    if constexpr (op == Op::prod && kPlanes == 2) {
      r = ComplexMul<D>(a, b);
    } else {
      for (int k = 0; k < kPlanes; ++k) {
        if constexpr (op == Op::sum) r.v[k] = hn::Add(a.v[k], b.v[k]);
        if constexpr (op == Op::prod) r.v[k] = hn::Mul(a.v[k], b.v[k]);
        if constexpr (op == Op::max) r.v[k] = Extreme<true>(d, a.v[k], b.v[k]);
        if constexpr (op == Op::min) r.v[k] = Extreme<false>(d, a.v[k], b.v[k]);
      }
    }
    return r;
  }
};

// Pairs (a, b) of h[i] = a h[i-1] + b: (a1, b1)(a2, b2) = (a1 a2, a2 b1 + b2). Every level stays in the accumulator.
template <DType acc>
struct Scan<Op::recurrence, acc> {
  using N = Number<acc>;
  using Lane = typename N::Lane;
  using Wide = Lane;
  static constexpr int kPlanes = 2 * N::kPlanes;
  static constexpr bool kSkipsMissingStart = true;

  template <class D>
  static HWY_INLINE Tuple<D, kPlanes> Combine(D, Tuple<D, kPlanes> e, Tuple<D, kPlanes> l) {
    if constexpr (kPlanes == 2) {
      return {{hn::Mul(e.v[0], l.v[0]), hn::Add(hn::Mul(l.v[0], e.v[1]), l.v[1])}};
    } else {
      const Tuple<D, 2> a = ComplexMul<D>({{e.v[0], e.v[1]}}, {{l.v[0], l.v[1]}});
      const Tuple<D, 2> b = ComplexMul<D>({{l.v[0], l.v[1]}}, {{e.v[2], e.v[3]}});
      return {{a.v[0], a.v[1], hn::Add(b.v[0], l.v[2]), hn::Add(b.v[1], l.v[3])}};
    }
  }
};

template <class O, class D>
using TupleOf = Tuple<D, O::kPlanes>;

template <class O, class D>
HWY_INLINE TupleOf<O, D> Broadcast(D d, const hn::TFromD<D>* values) {
  TupleOf<O, D> r;
  for (int k = 0; k < O::kPlanes; ++k) r.v[k] = hn::Set(d, values[k]);
  return r;
}

template <class O, class D, class M>
HWY_INLINE TupleOf<O, D> Choose(M mask, TupleOf<O, D> yes, TupleOf<O, D> no) {
  TupleOf<O, D> r;
  for (int k = 0; k < O::kPlanes; ++k) r.v[k] = hn::IfThenElse(mask, yes.v[k], no.v[k]);
  return r;
}

// Applies a mask to a vector just loaded. `at`: its place in the mask; backward: the vector goes down in memory from there.
template <class O, class D>
HWY_INLINE TupleOf<O, D> Masked(D d, TupleOf<O, D> x, const Mask& mask, std::int64_t at, bool backward) {
  using T = typename O::Lane;
  const std::int64_t lowest = backward ? -at - static_cast<std::int64_t>(hn::Lanes(d) - 1) : at;
  if (mask.select) {
    const hn::RebindToUnsigned<D> du;
    const hn::Rebind<std::uint32_t, D> d32;
    const auto bytes = hn::PromoteTo(d32, hn::LoadU(hn::Rebind<std::uint8_t, D>(), mask.select + lowest));
    auto wide = [&] {
      if constexpr (sizeof(T) == 4) return bytes;
      else return hn::PromoteTo(du, bytes);
    }();
    if (backward) wide = hn::Reverse(du, wide);
    T hidden[O::kPlanes];
    for (int k = 0; k < O::kPlanes; ++k) hidden[k] = *static_cast<const T*>(mask.hidden[k]);
    x = Choose<O, D>(hn::RebindMask(d, hn::Ne(wide, hn::Zero(du))), x, Broadcast<O>(d, hidden));
  }
  if constexpr (O::kPlanes == 1 && std::is_floating_point_v<T>) {
    if (mask.factor) {
      auto factor = hn::LoadU(d, static_cast<const T*>(mask.factor) + lowest);
      if (backward) factor = hn::Reverse(d, factor);
      x.v[0] = hn::Mul(x.v[0], factor);
    }
  }
  return x;
}

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
