// What the list (cumulus/list.inc) says of dtypes and operations, as constants and small functions.
#pragma once

#include <cstdint>

#include "cumulus/cumulus.h"
#include "cumulus/cumulus.hpp"

namespace cumulus {

enum class Family : std::uint8_t { real, signed_, unsigned_, boolean, complex };

struct DTypeInfo {
  const char* name;
  std::int32_t bytes;
  Family family;
};

inline constexpr int kDTypes = 16;  // one more than the largest value
inline constexpr int kOps = 5;

namespace detail {
inline constexpr Family family_real = Family::real, family_signed = Family::signed_, family_unsigned = Family::unsigned_,
                        family_boolean = Family::boolean, family_complex = Family::complex;
}

inline constexpr DTypeInfo kDTypeInfo[kDTypes] = {
    {nullptr, 0, Family::real},
#define CUMULUS_DTYPE(name, text, value, bytes, family) {text, bytes, detail::family_##family},
#include "cumulus/list.inc"
};

inline constexpr const char* kOpName[kOps] = {
#define CUMULUS_OP(name, value, inputs) #name,
#include "cumulus/list.inc"
};

inline constexpr int kOpInputs[kOps] = {
#define CUMULUS_OP(name, value, inputs) inputs,
#include "cumulus/list.inc"
};

inline constexpr const char* kKindName[] = {"inclusive", "exclusive", "prefixes"};

constexpr bool valid(DType t) { return static_cast<int>(t) > 0 && static_cast<int>(t) < kDTypes; }
constexpr const DTypeInfo& info(DType t) { return kDTypeInfo[static_cast<int>(t)]; }
constexpr const char* name(DType t) { return valid(t) ? info(t).name : "none"; }
constexpr std::int64_t bytes(DType t) { return info(t).bytes; }
constexpr Family family(DType t) { return info(t).family; }
constexpr bool is_integer(DType t) { return family(t) == Family::signed_ || family(t) == Family::unsigned_; }

constexpr const char* name(Op op) { return kOpName[static_cast<int>(op)]; }
constexpr int inputs(Op op) { return kOpInputs[static_cast<int>(op)]; }

// The type a result dtype accumulates in.
constexpr DType accumulator(DType result) { return result == DType::f16 || result == DType::bf16 ? DType::f32 : result; }

// The accumulator whose kernels serve a result: narrow integers ride in 32-bit lanes, and wrapping sums ignore the sign.
constexpr DType kernel_accumulator(Op op, DType result) {
  const DType acc = accumulator(result);
  if (!is_integer(acc)) return acc;
  const bool ordered = op == Op::max || op == Op::min;
  if (bytes(acc) == 8) return ordered && family(acc) == Family::unsigned_ ? DType::u64 : DType::i64;
  return ordered && acc == DType::u32 ? DType::u32 : DType::i32;
}

// Planes an element is held in: a complex number is two, a pair twice as many.
constexpr int planes(Op op, DType acc) { return inputs(op) * (family(acc) == Family::complex ? 2 : 1); }

// Does `op` exist for this accumulator?
constexpr bool has_kernel(Op op, DType kernel_acc) {
#define CUMULUS_KERNEL(o, acc) \
  if (op == Op::o && kernel_acc == DType::acc) return true;
#include "cumulus/list.inc"
  return false;
}

// The supported input-to-result pairs: same dtype; integer or bool to i64, u64, f32, f64; real to f32, f64.
constexpr bool supported_pair(DType in, DType result) {
  if (result == DType::boolean) return false;
  if (in == result) return true;
  const bool to_float = result == DType::f32 || result == DType::f64;
  const bool to_wide_integer = result == DType::i64 || result == DType::u64;
  if (is_integer(in) || family(in) == Family::boolean) return to_float || to_wide_integer;
  return family(in) == Family::real && to_float;
}

// Can a value of `from` become one of `to` without a choice the core does not make (float to integer, complex to real)?
constexpr bool convertible(DType from, DType to) {
  if (family(to) == Family::complex) return true;
  if (family(from) == Family::complex) return false;
  if (family(to) == Family::real) return true;
  return family(from) != Family::real;
}

}  // namespace cumulus
