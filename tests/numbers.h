// Numbers from nowhere: random choices from a seed, and the sequences that tests scan, from an integer formula.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "cumulus/cumulus.hpp"

namespace support {

using cumulus::DType;

std::uint64_t mix(std::uint64_t z);

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix(seed)) {}
  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15u); }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n)); }
  std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }
  bool chance(int percent) { return below(100) < percent; }
  template <class C>
  auto pick(const C& values) {
    return values[static_cast<std::size_t>(below(static_cast<std::int64_t>(std::size(values))))];
  }

 private:
  std::uint64_t state_;
};

// The sequences that tests/data/make_fixtures.py defines. uniform: in [-1, 1); near_one: +-(1 +- 1/64), so that long products stay
// finite; wide: every finite magnitude; zeros: of both signs; tiny: subnormals; special: some NaN, inf, limits; units: powers of i.
enum class Fill { uniform, near_one, small, wide, zeros, tiny, special, units };
inline constexpr const char* kFillName[] = {"uniform", "near_one", "small", "wide", "zeros", "tiny", "special", "units"};
void fill(Fill how, DType t, std::uint64_t seed, std::int64_t n, void* to);

}  // namespace support
