// Defects seen in other libraries' scans, each a test here.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "support.h"

namespace {

using namespace support;

constexpr float kInf = std::numeric_limits<float>::infinity();

template <class T>
std::vector<T> scanned(const std::vector<T>& in, const cumulus::ScanSpec& spec) {
  std::vector<T> out(in.size());
  cumulus::scan(cumulus::view(in), cumulus::view(out), spec);
  return out;
}

void on_every_thread_count(const std::function<void(cumulus::ScanSpec)>& body) {
  for_each_target([&] {
    for (int threads : {1, 2, 5}) {
      cumulus::ScanSpec spec;
      spec.threads = threads;
      body(spec);
    }
  });
}

// Tiles of a parallel scan seeded with 0: products became 0, maxima of negative numbers 0.
TEST(KnownDefects, ParallelProductsAndMaximaOfFloats) {
  const std::size_t n = 700001;
  std::vector<float> twos(n, 1.0f), negative(n);
  twos[3] = 2, twos[300000] = 2, twos[600000] = 0.5f;
  for (std::size_t i = 0; i < n; ++i) negative[i] = -1.0f - static_cast<float>(mix(i) % 1000000);
  on_every_thread_count([&](cumulus::ScanSpec spec) {
    spec.op = Op::prod;
    const auto p = scanned(twos, spec);
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(p[i], i < 3 ? 1.0f : i < 300000 ? 2.0f : i < 600000 ? 4.0f : 2.0f) << i;
    spec.op = Op::max;
    const auto m = scanned(negative, spec);
    float largest = -kInf;
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(m[i], largest = std::max(largest, negative[i])) << i;
  });
}

// Reverse as total minus prefix: a suffix of 32 ones after 1e8s came out as 1.
TEST(KnownDefects, ASmallSuffixSurvivesReverse) {
  std::vector<float> in(100000, 1e8f);
  std::fill(in.end() - 32, in.end(), 1.0f);
  on_every_thread_count([&](cumulus::ScanSpec spec) {
    spec.reverse = true;
    const auto out = scanned(in, spec);
    for (std::size_t k = 1; k <= 32; ++k) ASSERT_EQ(out[in.size() - k], static_cast<float>(k));
  });
}

// A tree that follows the pointer's alignment: identical rows of odd width differed.
TEST(KnownDefects, IdenticalRowsHaveIdenticalBitsAtAnyAlignment) {
  for (std::int64_t width : {3, 129, 1001, 4099, 33333}) {
    const std::int64_t rows = 19;
    std::vector<float> in(static_cast<std::size_t>(rows * width)), out(in.size());
    for (std::int64_t i = 0; i < rows * width; ++i)
      in[static_cast<std::size_t>(i)] = static_cast<float>(mix(static_cast<std::uint64_t>(i % width)) % 1000003) / 997;
    on_every_thread_count([&](cumulus::ScanSpec spec) {
      spec.axis = 1;
      cumulus::scan(cumulus::view(in, {rows, width}), cumulus::view(out, {rows, width}), spec);
      for (std::int64_t row = 1; row < rows; ++row)
        ASSERT_EQ(std::memcmp(out.data(), out.data() + row * width, static_cast<std::size_t>(width) * 4), 0)
            << "row " << row << " of width " << width;
    });
  }
}

// f16 sums rounded after every addition stop at 2048; a wide accumulator reaches 65504 and then infinity.
TEST(KnownDefects, HalfPrecisionSumsOfOnesGoOn) {
  const std::int64_t n = 70000;
  std::vector<std::uint16_t> ones(n, 0x3C00), out(n), bf_ones(n, 0x3F80);
  on_every_thread_count([&](const cumulus::ScanSpec& spec) {
    cumulus::scan({ones.data(), DType::f16, {n}}, {out.data(), DType::f16, {n}}, spec);
    EXPECT_EQ(out[2048], 0x6800);   // 2049 lies between 2048 and 2050: to even
    EXPECT_EQ(out[2049], 0x6801);   // 2050
    EXPECT_EQ(out[65503], 0x7BFF);  // 65504, the largest
    EXPECT_EQ(out[65518], 0x7BFF);  // 65519 rounds down
    EXPECT_EQ(out[65519], 0x7C00);  // 65520 rounds to infinity
    EXPECT_EQ(out[static_cast<std::size_t>(n - 1)], 0x7C00);
    cumulus::scan({bf_ones.data(), DType::bf16, {n}}, {out.data(), DType::bf16, {n}}, spec);
    EXPECT_EQ(out[65535], 0x4780);  // 65536
  });
}

// Sums that start at infinity, never NaN: inf - inf must not arise inside.
TEST(KnownDefects, SumsOfInfinitiesAreInfinite) {
  for (std::int64_t n : {1, 5, 130, 5000, 300000}) {
    const std::vector<float> up(static_cast<std::size_t>(n), kInf), down(static_cast<std::size_t>(n), -kInf);
    on_every_thread_count([&](const cumulus::ScanSpec& spec) {
      ASSERT_EQ(scanned(up, spec), up) << n;
      ASSERT_EQ(scanned(down, spec), down) << n;
    });
  }
}

// One NaN or infinity changes what follows and nothing before it, nor any other row or column.
TEST(KnownDefects, ANanStaysInItsRowAndBehind) {
  const std::int64_t rows = 40, n = 5000;
  for (int axis : {0, 1}) {
    const std::int64_t length = axis ? n : rows, others = axis ? rows : n, along = axis ? 1 : n, across = axis ? n : 1;
    for (Op op : {Op::sum, Op::prod, Op::max, Op::min}) {
      std::vector<float> in(static_cast<std::size_t>(rows * n), 1.0f), out(in.size());
      const std::int64_t row = others / 2, at = length / 2;
      in[static_cast<std::size_t>(row * across + at * along)] = std::numeric_limits<float>::quiet_NaN();
      on_every_thread_count([&](cumulus::ScanSpec spec) {
        spec.op = op, spec.axis = axis;
        cumulus::scan(cumulus::view(in, {rows, n}), cumulus::view(out, {rows, n}), spec);
        for (std::int64_t k = 0; k < others; ++k)
          for (std::int64_t i = 0; i < length; ++i)
            ASSERT_EQ(std::isnan(out[static_cast<std::size_t>(k * across + i * along)]), k == row && i >= at) << k << ", " << i;
      });
    }
  }
}

// More than 128 tiles of random data; wrong results had gone unnoticed behind all-ones inputs.
TEST(KnownDefects, ManyTilesOfRandomData) {
  const std::size_t n = sanitized() ? 1 << 20 : 8000003;
  std::vector<std::uint32_t> in(n), out(n);
  for (std::size_t i = 0; i < n; ++i) in[i] = static_cast<std::uint32_t>(mix(i));
  on_every_thread_count([&](const cumulus::ScanSpec& spec) {
    cumulus::scan(cumulus::view(in), cumulus::view(out), spec);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(out[i], sum += in[i]) << i;
  });
}

// Run after run, on whatever threads come: the same bits.
TEST(KnownDefects, RepeatedRunsHaveTheSameBits) {
  const std::size_t n = 3000001;
  std::vector<float> in(n);
  for (std::size_t i = 0; i < n; ++i) in[i] = static_cast<float>(mix(i) % 1000003) / 1000003;
  cumulus::ScanSpec spec;
  const auto first = scanned(in, spec);
  for (int repeat = 0; repeat < (sanitized() ? 3 : 20); ++repeat) ASSERT_EQ(scanned(in, spec), first);
}

// Errors far below a serial f32 sum's (5.8e-5 at 2^24): the order's own figure is 2.3e-7 on uniform data.
TEST(KnownDefects, FloatSumsAreAccurate) {
  const std::size_t n = sanitized() ? 1 << 20 : 1 << 24;
  std::vector<float> in(n);
  for (std::size_t i = 0; i < n; ++i) in[i] = static_cast<float>(mix(i) >> 40) * 0x1p-24f;
  const auto out = scanned(in, {});
  double exact = 0, worst = 0;
  for (std::size_t i = 0; i < n; ++i) {
    exact += static_cast<double>(in[i]);
    worst = std::max(worst, std::fabs(out[i] - exact) / exact);
  }
  EXPECT_LT(worst, 5e-7);
}

// Masked-out elements hide NaN and infinity; a mask broadcast by stride 0 is not materialised wrongly.
TEST(KnownDefects, AMaskHidesNan) {
  const std::int64_t n = 100003;
  std::vector<float> in(n, 1.0f), out(n);
  std::unique_ptr<bool[]> mask(new bool[n]);
  for (std::int64_t i = 0; i < n; ++i) {
    mask[static_cast<std::size_t>(i)] = i % 3 != 0;
    if (i % 3 == 0) in[static_cast<std::size_t>(i)] = i % 2 ? kInf : NAN;
  }
  on_every_thread_count([&](cumulus::ScanSpec spec) {
    spec.mask = cumulus::view(mask.get(), {n});
    cumulus::scan(cumulus::view(in), cumulus::view(out), spec);
    for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(out[static_cast<std::size_t>(i)], static_cast<float>(i + 1 - (i / 3 + 1))) << i;
  });
}

// Zeros of both signs: a sum of -0s is -0, one +0 makes it +0; max and min tell them apart; what is shown first is +0.
TEST(KnownDefects, SignedZeros) {
  std::vector<float> in(5000, -0.0f);
  in[4500] = 0.0f;
  on_every_thread_count([&](cumulus::ScanSpec spec) {
    for (Op op : {Op::sum, Op::max}) {
      spec.op = op;
      const auto out = scanned(in, spec);
      for (std::size_t i = 0; i < in.size(); ++i) ASSERT_EQ(std::signbit(out[i]), i < 4500) << cumulus::name(op) << " " << i;
    }
    spec.op = Op::sum, spec.kind = Kind::exclusive;
    const auto out = scanned(in, spec);
    EXPECT_FALSE(std::signbit(out[0]));
    EXPECT_TRUE(std::signbit(out[1]));
  });
}

}  // namespace
