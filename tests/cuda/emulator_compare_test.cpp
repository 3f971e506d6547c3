// The tuner's comparison of results, on the emulator: every place of a difference, every length of a rest, any number of blocks.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "cuda/kernels/compare.cuh"
#include "emulator/emulator.h"

namespace {

using namespace cumulus::cuda;

constexpr u64 kNone = std::numeric_limits<u64>::max();

struct alignas(16) Block {
  u8 byte[16];
};

// What the kernel says of two pieces of memory of `bytes` bytes; neither a byte more is read, nor one written.
u64 first_difference(const std::vector<Block>& a, const std::vector<Block>& b, u64 bytes, u32 blocks, u32 threads, std::uint64_t seed) {
  u64 first = kNone;
  emulator::Launch launch;
  launch.blocks = blocks, launch.threads = threads, launch.seed = seed;
  launch.memory = {{a.data(), bytes, false}, {b.data(), bytes, false}, {&first, sizeof first, true}};
  EXPECT_EQ(emulator::launch(launch, [&] { compare(a.data()->byte, b.data()->byte, bytes, &first); }), std::vector<std::string>{});
  return first;
}

TEST(Compare, FindsTheFirstByteThatDiffers) {
  constexpr u64 kBytes = 16 * 40 + 5;
  const std::vector<Block> a(41);
  for (u64 at = 0; at < kBytes; ++at) {
    std::vector<Block> b = a;
    b[at / 16].byte[at % 16] = 1;
    b[40].byte[4] ^= 0x80;  // the last byte, whatever else
    EXPECT_EQ(first_difference(a, b, kBytes, 1 + at % 3, 32 * (1 + at % 2), at), at);
  }
}

TEST(Compare, EqualBitsAreEqualWhateverLiesBehind) {
  for (u64 bytes = 0; bytes <= 48; ++bytes) {
    const std::vector<Block> a(4);
    std::vector<Block> b = a;
    for (u64 i = bytes; i < 64; ++i) b[i / 16].byte[i % 16] = 7;
    EXPECT_EQ(first_difference(a, b, bytes, 2, 32, bytes), kNone) << bytes;
  }
}

TEST(Compare, EverythingDiffers) {
  const std::vector<Block> a(100), b(100, Block{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}});
  for (std::uint64_t seed = 1; seed <= 20; ++seed) EXPECT_EQ(first_difference(a, b, 1600, 4, 64, seed), 0u);
}

}  // namespace
