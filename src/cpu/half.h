// f16 and bf16 to f32 and back, to nearest even, subnormals and infinities kept, NaN stays NaN. Branch-free, so that loops over
// them vectorise on every target. (Highway 1.0.3's DemoteTo truncates to bf16, and to f16 below AVX2.)
#pragma once

#include <bit>
#include <cstdint>

namespace cumulus::cpu {

struct F16 {
  std::uint16_t bits;
};
struct Bf16 {
  std::uint16_t bits;
};

inline float to_f32(Bf16 h) { return std::bit_cast<float>(static_cast<std::uint32_t>(h.bits) << 16); }

inline Bf16 to_bf16(float f) {
  const auto u = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
  return {static_cast<std::uint16_t>(nan ? (u >> 16) | 0x40u : rounded)};
}

inline float to_f32(F16 h) {
  const std::uint32_t sign = (h.bits & 0x8000u) << 16, magnitude = h.bits & 0x7fffu;
  // The magnitude's bits at f32's place stand for value * 2^-112, subnormals included.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const std::uint32_t special = (magnitude << 13) | 0x7f800000u;
  const std::uint32_t bits = magnitude >= 0x7c00u ? special : std::bit_cast<std::uint32_t>(scaled);
  return std::bit_cast<float>(bits | sign);
}

inline F16 to_f16(float f) {
  const auto u = std::bit_cast<std::uint32_t>(f);
  const std::uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  const std::uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;  // rebias by -112, round
  // Below 2^-14 the sum with 0.5 rounds at 2^-24, the last place of an f16 subnormal.
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  std::uint32_t bits = magnitude < 0x38800000u ? subnormal : normal;
  bits = magnitude >= 0x477ff000u ? 0x7c00u : bits;  // 65520 and above round to infinity
  bits = magnitude > 0x7f800000u ? 0x7e00u : bits;
  return {static_cast<std::uint16_t>(bits | sign)};
}

}  // namespace cumulus::cpu
