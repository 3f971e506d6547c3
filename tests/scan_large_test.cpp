// Beyond 2^32 elements. Slow, and needs 5 GB of memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "support.h"

namespace {

using namespace support;

std::int64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string key, rest; info >> key && std::getline(info, rest);)
    if (key == "MemAvailable:") return std::stoll(rest) * 1024;
  return 0;
}

// Eight bytes of input at a time.
void make_input(unsigned char* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 8) {
    const std::uint64_t h = mix(static_cast<std::uint64_t>(i));
    std::memcpy(to + i, &h, static_cast<std::size_t>(std::min<std::int64_t>(8, n - i)));
  }
}
unsigned char input_at(std::int64_t i) { return static_cast<unsigned char>(mix(static_cast<std::uint64_t>(i & ~7ll)) >> (8 * (i & 7))); }

class LargeOffsets : public testing::Test {
 protected:
  void SetUp() override {
    if (sanitized()) GTEST_SKIP() << "a sanitizer needs more memory and time than 2^32 elements leave";
    if (available_memory() < std::int64_t{6} << 30)
      GTEST_SKIP() << "needs 6 GiB of free memory, there are " << (available_memory() >> 20) << " MiB";
  }
};

TEST_F(LargeOffsets, BytesInPlace) {
  const std::int64_t n = (std::int64_t{1} << 32) + 5;
  const std::unique_ptr<unsigned char, decltype(&std::free)> data(static_cast<unsigned char*>(std::malloc(static_cast<std::size_t>(n))),
                                                                  &std::free);
  ASSERT_TRUE(data);
  make_input(data.get(), n);
  cumulus::scan(cumulus::view(static_cast<const unsigned char*>(data.get()), {n}), cumulus::view(data.get(), {n}));
  unsigned char sum = 0;
  for (std::int64_t i = 0; i < n; i += 8) {
    const std::uint64_t h = mix(static_cast<std::uint64_t>(i));
    for (std::int64_t k = i; k < std::min(n, i + 8); ++k) {
      sum = static_cast<unsigned char>(sum + (h >> (8 * (k - i))));
      if (data.get()[k] != sum) FAIL() << "element " << k << ": expected " << int{sum} << ", got " << int{data.get()[k]};
    }
  }
}

// Offsets beyond 2^32 along both axes of a matrix; looks at the ends and a sample.
TEST_F(LargeOffsets, Matrices) {
  if (!full()) GTEST_SKIP() << "only in the exhaustive run (CUMULUS_FULL=1)";
  const std::int64_t rows = 65537, columns = 65540, n = rows * columns;
  const std::unique_ptr<unsigned char, decltype(&std::free)> data(static_cast<unsigned char*>(std::malloc(static_cast<std::size_t>(n))),
                                                                  &std::free);
  ASSERT_TRUE(data);
  for (int axis : {0, 1}) {
    make_input(data.get(), n);
    cumulus::ScanSpec spec;
    spec.axis = axis;
    cumulus::scan(cumulus::view(static_cast<const unsigned char*>(data.get()), {rows, columns}), cumulus::view(data.get(), {rows, columns}),
                  spec);
    const std::int64_t length = axis ? columns : rows, others = axis ? rows : columns, along = axis ? 1 : columns,
                       across = axis ? columns : 1;
    for (std::int64_t row = 0; row < others; row += row < others - 3 ? 997 : 1) {
      unsigned char sum = 0;
      for (std::int64_t i = 0; i < length; ++i) {
        const std::int64_t at = row * across + i * along;
        sum = static_cast<unsigned char>(sum + input_at(at));
        if (data.get()[at] != sum) FAIL() << "axis " << axis << ", row " << row << ", element " << i;
      }
    }
  }
}

}  // namespace
