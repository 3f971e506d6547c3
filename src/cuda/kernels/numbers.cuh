// What dtypes and operations are to a kernel: conversions, elements, combine(earlier, later), identities.
#pragma once

#include "args.h"
#include "device.cuh"

namespace cumulus::cuda {

template <class T>
struct Complex {
  T re, im;
};
template <class T>
struct Pair {  // the recurrence's element: h -> a h + b
  T a, b;
};

template <class T>
struct Traits {
  static constexpr bool kComplex = false, kFloat = false;
};
template <>
struct Traits<float> {
  static constexpr bool kComplex = false, kFloat = true;
};
template <>
struct Traits<double> {
  static constexpr bool kComplex = false, kFloat = true;
};
template <class T>
struct Traits<Complex<T>> {
  static constexpr bool kComplex = true, kFloat = false;
};

// Integers wrap, floats round to nearest even, a real becomes a complex number with imaginary part 0.
template <class To, class From>
CUMULUS_DEVICE To cast(const From& v) {
  if constexpr (Traits<To>::kComplex) {
    using T = decltype(To::re);
    if constexpr (Traits<From>::kComplex) return {static_cast<T>(v.re), static_cast<T>(v.im)};
    else return {static_cast<T>(v), T(0)};
  } else if constexpr (Traits<From>::kComplex || (Traits<From>::kFloat && !Traits<To>::kFloat)) {
    return To{};  // refused by the host: never asked for
  } else {
    return static_cast<To>(v);
  }
}

// ---- dtypes, by their values in cumulus/list.inc ----

enum DTypeValue { kF16 = 1, kBf16, kF32, kF64, kI8, kI16, kI32, kI64, kU8, kU16, kU32, kU64, kBool, kC64, kC128 };

// A dtype's number as kernels compute with it, and as it lies in memory.
template <class T>
struct PlainFormat {
  using Number = T;
  static constexpr int kBytes = sizeof(T);
  static CUMULUS_DEVICE T decode(Bits<kBytes> bits) { return bit_cast<T>(bits); }
  static CUMULUS_DEVICE Bits<kBytes> encode(T v) { return bit_cast<Bits<kBytes>>(v); }
};

template <int dtype>
struct Format;
template <>
struct Format<kF16> {
  using Number = float;
  static constexpr int kBytes = 2;
  static CUMULUS_DEVICE float decode(u16 bits) { return f16_to_f32(bits); }
  static CUMULUS_DEVICE u16 encode(float v) { return f32_to_f16(v); }
};
template <>
struct Format<kBf16> {
  using Number = float;
  static constexpr int kBytes = 2;
  static CUMULUS_DEVICE float decode(u16 bits) { return bit_cast<float>(static_cast<u32>(bits) << 16); }
  static CUMULUS_DEVICE u16 encode(float v) { return f32_to_bf16(v); }
};
template <>
struct Format<kBool> {
  using Number = u8;
  static constexpr int kBytes = 1;
  static CUMULUS_DEVICE u8 decode(u8 bits) { return bits != 0; }
  static CUMULUS_DEVICE u8 encode(u8 v) { return v; }
};
template <>
struct Format<kF32> : PlainFormat<float> {};
template <>
struct Format<kF64> : PlainFormat<double> {};
template <>
struct Format<kI8> : PlainFormat<signed char> {};
template <>
struct Format<kI16> : PlainFormat<short> {};
template <>
struct Format<kI32> : PlainFormat<int> {};
template <>
struct Format<kI64> : PlainFormat<i64> {};
template <>
struct Format<kU8> : PlainFormat<u8> {};
template <>
struct Format<kU16> : PlainFormat<u16> {};
template <>
struct Format<kU32> : PlainFormat<u32> {};
template <>
struct Format<kU64> : PlainFormat<u64> {};
template <>
struct Format<kC64> : PlainFormat<Complex<float>> {};
template <>
struct Format<kC128> : PlainFormat<Complex<double>> {};

// Any dtype to To: for the one value that a row has, where the dtype is not worth a kernel of its own.
template <class To, int dtype>
CUMULUS_DEVICE To decode_as(Bits128 bits) {
  using F = Format<dtype>;
  if constexpr (F::kBytes == 16) return cast<To>(F::decode(bits));
  else return cast<To>(F::decode(static_cast<Bits<F::kBytes>>(bits.low)));
}
template <class To>
CUMULUS_DEVICE To decode_any(int dtype, Bits128 p) {
  switch (dtype) {
    case kF16:
      return decode_as<To, kF16>(p);
    case kBf16:
      return decode_as<To, kBf16>(p);
    case kF32:
      return decode_as<To, kF32>(p);
    case kF64:
      return decode_as<To, kF64>(p);
    case kI8:
      return decode_as<To, kI8>(p);
    case kI16:
      return decode_as<To, kI16>(p);
    case kI32:
      return decode_as<To, kI32>(p);
    case kI64:
      return decode_as<To, kI64>(p);
    case kU8:
      return decode_as<To, kU8>(p);
    case kU16:
      return decode_as<To, kU16>(p);
    case kU32:
      return decode_as<To, kU32>(p);
    case kU64:
      return decode_as<To, kU64>(p);
    case kBool:
      return decode_as<To, kBool>(p);
    case kC64:
      return decode_as<To, kC64>(p);
    default:
      return decode_as<To, kC128>(p);
  }
}

// ---- complex numbers need only be aligned to their parts ----

template <int kBytes>
CUMULUS_DEVICE Bits<kBytes> load_halves(const void* p) {
  if constexpr (kBytes == 16) return {load_global<8>(p), load_global<8>(static_cast<const u8*>(p) + 8)};
  else if constexpr (kBytes == 8) return load_global<4>(p) | static_cast<u64>(load_global<4>(static_cast<const u8*>(p) + 4)) << 32;
  else return load_global<kBytes>(p);
}
template <int kBytes>
CUMULUS_DEVICE void store_halves(void* p, Bits<kBytes> v) {
  if constexpr (kBytes == 16) {
    store_global<8>(p, v.low);
    store_global<8>(static_cast<u8*>(p) + 8, v.high);
  } else if constexpr (kBytes == 8) {
    store_global<4>(p, static_cast<u32>(v));
    store_global<4>(static_cast<u8*>(p) + 4, static_cast<u32>(v >> 32));
  } else {
    store_global<kBytes>(p, v);
  }
}

// The size of a dtype, and an element's bits.
CUMULUS_DEVICE int bytes_of(int dtype) {
  switch (dtype) {
    case kI8:
    case kU8:
    case kBool:
      return 1;
    case kF16:
    case kBf16:
    case kI16:
    case kU16:
      return 2;
    case kF32:
    case kI32:
    case kU32:
      return 4;
    case kC128:
      return 16;
    default:
      return 8;
  }
}
CUMULUS_DEVICE Bits128 load_bits(int dtype, const void* p) {
  if (dtype == kC128) return load_halves<16>(p);
  if (dtype == kC64) return {load_halves<8>(p), 0};
  switch (bytes_of(dtype)) {
    case 8:
      return {load_global<8>(p), 0};
    case 4:
      return {load_global<4>(p), 0};
    case 2:
      return {load_global<2>(p), 0};
    default:
      return {load_global<1>(p), 0};
  }
}

// ---- accumulators: narrow integers ride in 32 bits, and sums of signed and unsigned ones wrap to the same bits ----

template <class Number, bool kOrdered>
struct LaneOf {
  using type = Number;
};
template <>
struct LaneOf<signed char, false> {
  using type = u32;
};
template <>
struct LaneOf<short, false> {
  using type = u32;
};
template <>
struct LaneOf<int, false> {
  using type = u32;
};
template <>
struct LaneOf<i64, false> {
  using type = u64;
};
template <>
struct LaneOf<u8, false> {
  using type = u32;
};
template <>
struct LaneOf<u16, false> {
  using type = u32;
};
template <>
struct LaneOf<signed char, true> {
  using type = int;
};
template <>
struct LaneOf<short, true> {
  using type = int;
};
template <>
struct LaneOf<u8, true> {
  using type = int;
};
template <>
struct LaneOf<u16, true> {
  using type = int;
};

// The carry type of levels 3 and up.
template <class T>
struct WideOf {
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

// The least (or greatest) value of a type.
template <class T>
CUMULUS_DEVICE T limit(bool least) {
  if constexpr (sizeof(T) == 4 && Traits<T>::kFloat) return bit_cast<float>(least ? 0xff800000u : 0x7f800000u);
  else if constexpr (Traits<T>::kFloat) return bit_cast<double>(least ? 0xfff0000000000000ull : 0x7ff0000000000000ull);
  else if constexpr (Traits<T>::kComplex) return T{};
  else if constexpr (T(-1) > T(0)) return least ? T(0) : T(-1);
  else return static_cast<T>((least ? 0ull : ~0ull) ^ (1ull << (8 * sizeof(T) - 1)));
}

// ---- operations ----

// Integers wrap, so they are computed without a sign.
template <class T>
struct Wrapping {
  using type = T;
};
template <>
struct Wrapping<int> {
  using type = u32;
};
template <>
struct Wrapping<i64> {
  using type = u64;
};

template <class T>
CUMULUS_DEVICE T add(const T& a, const T& b) {
  if constexpr (Traits<T>::kComplex) return {a.re + b.re, a.im + b.im};
  else return static_cast<T>(static_cast<typename Wrapping<T>::type>(a) + static_cast<typename Wrapping<T>::type>(b));
}

template <class T>
CUMULUS_DEVICE T multiply(const T& a, const T& b) {
  if constexpr (Traits<T>::kComplex) {
    const auto p = a.re * b.re, q = a.im * b.im, s = a.re * b.im, t = a.im * b.re;
    return {p - q, s + t};
  } else {
    return static_cast<T>(static_cast<typename Wrapping<T>::type>(a) * static_cast<typename Wrapping<T>::type>(b));
  }
}

// IEEE 754-2019 maximum and minimum: NaN sticks, -0 < +0.
template <class T, bool kLarger>
CUMULUS_DEVICE T extreme(const T& a, const T& b) {
  if constexpr (sizeof(T) == 4 && Traits<T>::kFloat) {
    return kLarger ? maximum(a, b) : minimum(a, b);
  } else if constexpr (Traits<T>::kFloat) {
    const u64 x = bit_cast<u64>(a), y = bit_cast<u64>(b);
    const T tie = bit_cast<T>(kLarger ? x & y : x | y);  // equal values: the same bits, or zeros of either sign
    const T larger = a == b ? tie : (a > b) == kLarger ? a : b;
    return a != a ? a : b != b ? b : larger;
  } else {
    return (a > b) == kLarger ? a : b;
  }
}

enum OpValue { kSum, kProd, kMax, kMin, kRecurrence };
enum MaskValue { kNoMask, kSelect, kMultiply };

// What a kernel is compiled for besides types; whatever is left open here is a flag at run time.
//   step       along the axis: 1, -1; 2 for either of the two; 0 for any
//   aligned    every row begins where a vector of four does, and lengths are multiples of four
//   exclusive, total  1 or 0; -1 for either
//   halves     complex numbers that are aligned to their parts only, read and written in halves
template <int step, bool aligned, int exclusive, int total, bool halves>
struct Variant {
  static_assert(step == 0 ? !aligned : !halves);
  static constexpr int kStep = step;
  static constexpr bool kAligned = aligned, kHalves = halves;
  static CUMULUS_DEVICE bool is_exclusive(u32 flags) { return exclusive < 0 ? flags & kExclusive : exclusive != 0; }
  static CUMULUS_DEVICE bool has_total(u32 flags) { return total < 0 ? flags & kHasTotal : total != 0; }
};

// One scan's types and arithmetic.
template <int op, int in_dtype, int out_dtype, int mask, class V>
struct Scan : V {
  using Mode = V;
  static constexpr int kOp = op, kMask = mask;
  static constexpr bool kTwoInputs = op == kRecurrence;
  static constexpr bool kStartsEmpty = op == kRecurrence;  // without an initial value R starts from nothing, which is not combined
  using In = Format<in_dtype>;
  using Out = Format<out_dtype>;
  static constexpr int kMaskDType = mask == kSelect ? kBool : in_dtype;
  using Mask = Format<kMaskDType>;
  using InBits = Bits<In::kBytes>;
  using OutBits = Bits<Out::kBytes>;
  using MaskBits = Bits<Mask::kBytes>;
  using Accumulator = typename Out::Number;
  using Lane = typename LaneOf<Accumulator, op == kMax || op == kMin>::type;

  template <class Single, class Paired, bool kPaired>
  struct Choose {
    using type = Single;
  };
  template <class Single, class Paired>
  struct Choose<Single, Paired, true> {
    using type = Paired;
  };
  using Element = typename Choose<Lane, Pair<Lane>, kTwoInputs>::type;
  using Wide = typename Choose<typename WideOf<Lane>::type, Pair<Lane>, kTwoInputs>::type;

  template <class E>
  static CUMULUS_DEVICE E combine(const E& earlier, const E& later) {
    if constexpr (op == kRecurrence) return {multiply(earlier.a, later.a), add(multiply(later.a, earlier.b), later.b)};
    else if constexpr (op == kSum) return add(earlier, later);
    else if constexpr (op == kProd) return multiply(earlier, later);
    else return extreme<E, op == kMax>(earlier, later);
  }

  static CUMULUS_DEVICE Wide widen(const Element& v) {
    if constexpr (kTwoInputs) return v;
    else return cast<Wide>(v);
  }
  // Element or Wide: where they differ their sizes do.
  template <class E>
  static CUMULUS_DEVICE E to(const Element& v) {
    if constexpr (sizeof(E) == sizeof(Element)) return v;
    else return widen(v);
  }
  static CUMULUS_DEVICE Element narrow(const Wide& v) {
    if constexpr (kTwoInputs) return v;
    else return cast<Element>(v);
  }

  // What an empty prefix and a masked-out element show: +0, 1, or the dtype's limit.
  static CUMULUS_DEVICE Lane shown() {
    if constexpr (op == kProd) return cast<Lane>(1);
    else if constexpr (op == kMax || op == kMin) return cast<Lane>(limit<Accumulator>(op == kMax));
    else return cast<Lane>(0);
  }
  // What R starts from: the same, but -0 for a sum, so that adding it changes nothing.
  static CUMULUS_DEVICE Wide identity() {
    if constexpr (kTwoInputs) return {cast<Lane>(1), cast<Lane>(0)};
    else if constexpr (op == kSum && Traits<Lane>::kFloat) return Wide(-0.0);
    else if constexpr (op == kSum && Traits<Lane>::kComplex) return {-0.0, -0.0};
    else return cast<Wide>(shown());
  }
  static CUMULUS_DEVICE Wide initial(int dtype, Bits128 bits) {
    const Lane v = cast<Lane>(decode_any<Accumulator>(dtype, bits));
    if constexpr (kTwoInputs) return {cast<Lane>(1), v};
    else return cast<Wide>(v);
  }

  static CUMULUS_DEVICE Lane value(const Element& v) {
    if constexpr (kTwoInputs) return v.b;
    else return v;
  }
  static CUMULUS_DEVICE OutBits encode(const Element& v) { return Out::encode(cast<Accumulator>(value(v))); }
  static CUMULUS_DEVICE OutBits encode_shown() { return Out::encode(cast<Accumulator>(shown())); }

  // An element from what lies in memory: cast to the accumulator, masked.
  static CUMULUS_DEVICE Lane masked(InBits bits, MaskBits mask_bits, Lane outside) {
    Accumulator v = cast<Accumulator>(In::decode(bits));
    if constexpr (mask == kMultiply) {
      return cast<Lane>(cast<Accumulator>(multiply(cast<Lane>(v), cast<Lane>(cast<Accumulator>(Mask::decode(mask_bits))))));
    } else if constexpr (mask == kSelect) {
      return mask_bits ? cast<Lane>(v) : outside;
    } else {
      return cast<Lane>(v);
    }
  }
  static CUMULUS_DEVICE Element element(InBits in, InBits in2, MaskBits mask_bits) {
    if constexpr (kTwoInputs) return {masked(in, mask_bits, cast<Lane>(1)), masked(in2, mask_bits, cast<Lane>(0))};
    else return masked(in, mask_bits, shown());
  }
};

}  // namespace cumulus::cuda
