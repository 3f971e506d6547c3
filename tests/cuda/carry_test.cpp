// Levels 3 and up as one thread keeps them: the way that asks for everything at once, and the other, give the same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "cuda/kernels/numbers.cuh"
#include "cuda/kernels/order.cuh"
#include "emulator/emulator.h"

namespace {

using namespace cumulus::cuda;

// Over more children than two levels have. How many of them differ.
template <class S>
int differences(bool has_start) {
  using Wide = typename S::Wide;
  constexpr int kLevels = 4;
  emulator::Launch launch;
  launch.threads = 32, launch.shared = 2 * kLevels * Carry<S>::kSlots * 32 * static_cast<u32>(sizeof(Wide));
  int different = 0;
  const auto findings = emulator::launch(launch, [&] {
    auto* memory = reinterpret_cast<Wide*>(shared_memory());
    const Carry<S> one{memory + lane_index(), 32, kLevels, has_start},
        other{memory + kLevels * Carry<S>::kSlots * 32 + lane_index(), 32, kLevels, has_start};
    one.begin({}), other.begin({});
    u32 state = 12345 + lane_index();
    for (i64 child = 0; child < 34000; ++child) {
      double values[2];
      for (double& v : values) state = state * 1664525u + 1013904223u, v = 0.9 + (state >> 8) * 1e-8;
      Wide total{};
      std::memcpy(&total, values, std::min(sizeof total, sizeof values));
      const Wide a = one.template advance<true>(child, 0, total), b = other.advance_quickly(child, total);
      different += std::memcmp(&a, &b, sizeof a) != 0;
    }
  });
  for (const std::string& finding : findings) ADD_FAILURE() << finding;
  return different;
}

TEST(Carry, AdvancesTheSameBothWays) {
  using Sum = Scan<kSum, kF64, kF64, kNoMask, Variant<0, false, -1, -1, false>>;
  using Recurrence = Scan<kRecurrence, kF64, kF64, kNoMask, Variant<0, false, -1, -1, false>>;
  EXPECT_EQ(differences<Sum>(true), 0);
  EXPECT_EQ(differences<Recurrence>(true), 0);
  EXPECT_EQ(differences<Recurrence>(false), 0);
}

}  // namespace
