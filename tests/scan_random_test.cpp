// Bits of random calls: shape, rank, strides, op, dtypes, kind, mask, initial, total, threads. The seed is printed; CUMULUS_SEED sets
// it, CUMULUS_COUNT sets how many calls.
#include <gtest/gtest.h>

#include "support.h"

namespace {

using namespace support;

class ScanRandom : public testing::TestWithParam<int> {};

constexpr int kParts = 8;

TEST_P(ScanRandom, Bits) {
  Random random(seed() * kParts + static_cast<std::uint64_t>(GetParam()));
  const std::uint64_t count = setting("CUMULUS_COUNT", full() ? 100000 : sanitized() ? 400 : 4000) / kParts;
  for (std::uint64_t k = 0; k < count; ++k) ASSERT_TRUE(check(random_case(random))) << "call " << k << " with CUMULUS_SEED=" << seed();
}

// The same with every tensor against a page that faults: no kernel reads or writes outside, on any target.
TEST_P(ScanRandom, StaysInside) {
  Random random(seed() * kParts + static_cast<std::uint64_t>(GetParam()) + 1000);
  const std::uint64_t count = setting("CUMULUS_COUNT", full() ? 20000 : sanitized() ? 100 : 600) / kParts;
  for (std::uint64_t k = 0; k < count; ++k) {
    Case c = random_case(random);
    for (Layout* layout : {&c.in_layout, &c.in2_layout, &c.out_layout, &c.mask_layout, &c.row_layout}) layout->offset = 0;
    const GuardPages guard(k % 2 ? GuardPages::behind : GuardPages::before);
    ASSERT_TRUE(check(c)) << "call " << k << " with CUMULUS_SEED=" << seed();
  }
}

INSTANTIATE_TEST_SUITE_P(Part, ScanRandom, testing::Range(0, kParts));

}  // namespace
