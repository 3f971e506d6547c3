// f16 and bf16 in and out, on every SIMD target: all 65536 values widened, and every rounding boundary narrowed.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "reference.h"
#include "support.h"

namespace {

using namespace support;

class Half : public testing::TestWithParam<DType> {
 protected:
  DType t() const { return GetParam(); }
  float widened(std::uint16_t bits) const { return t() == DType::f16 ? reference::from_f16(bits) : reference::from_bf16(bits); }
  std::uint16_t narrowed(float v) const { return t() == DType::f16 ? reference::to_f16(v) : reference::to_bf16(v); }

  // Every finite value, the f32 midpoint to the next, and the f32 values around both; with both signs.
  std::vector<float> boundaries() const {
    std::vector<float> all;
    const int infinity = t() == DType::f16 ? 0x7C00 : 0x7F80;
    for (int bits = 0; bits < infinity; ++bits) {
      const float low = widened(static_cast<std::uint16_t>(bits));
      // The next value, or what it would be if the exponents went on.
      const double high = bits + 1 < infinity ? static_cast<double>(widened(static_cast<std::uint16_t>(bits + 1)))
                                              : 2.0 * low - static_cast<double>(widened(static_cast<std::uint16_t>(bits - 1)));
      const auto middle = static_cast<float>((low + high) / 2);
      for (float v : {low, middle})
        for (float near : {std::nextafter(v, -INFINITY), v, std::nextafter(v, INFINITY)}) all.insert(all.end(), {near, -near});
    }
    all.insert(all.end(), {INFINITY, -INFINITY, NAN, 65519.996f, 65520.0f, -65520.0f, 65536.0f, 3.4028235e38f, -3.4028235e38f});
    return all;
  }
};

// A scan of one element shows the element: to its own dtype, to f32 and to f64, as rows and as columns.
TEST_P(Half, WidensEveryValue) {
  const std::int64_t n = 65536;
  Tensor in(t(), {n});
  for (std::int64_t i = 0; i < n; ++i) std::memcpy(in.memory.data() + 2 * i, &i, 2);
  for_each_target([&] {
    for (DType out_type : {t(), DType::f32, DType::f64})
      for (int axis : {0, 1}) {
        const Sizes shape = axis ? Sizes{n, 1} : Sizes{1, n};
        Tensor x = in, out(out_type, shape);
        x.shape = shape, x.strides = out.strides;
        cumulus::ScanSpec spec;
        spec.axis = axis;
        cumulus::scan(x.view(), out.view(), spec);
        for (std::int64_t i = 0; i < n; ++i) {
          const char* got = out.memory.data() + i * cumulus::bytes(out_type);
          const float single = widened(static_cast<std::uint16_t>(i));
          const double wide = single;
          const char* expected = out_type == t()          ? x.memory.data() + 2 * i
                                 : out_type == DType::f32 ? reinterpret_cast<const char*>(&single)
                                                          : reinterpret_cast<const char*>(&wide);
          ASSERT_TRUE(same_element(out_type, expected, got))
              << "value 0x" << std::hex << i << " to " << cumulus::name(out_type) << ", axis " << axis;
        }
      }
  });
}

// The same along a long row, where whole vectors are converted: R(i) shows element i when all others are -0.
TEST_P(Half, NarrowsEveryBoundary) {
  const std::vector<float> values = boundaries();
  const auto n = static_cast<std::int64_t>(values.size());
  for_each_target([&] {
    for (int axis : {0, 1}) {
      // One element of -0 after an initial value: the sum is the initial value, narrowed.
      const Sizes shape = axis ? Sizes{n, 1} : Sizes{1, n};
      Tensor in(t(), shape), out(t(), shape), total(t(), {n});
      for (std::int64_t i = 0; i < n; ++i) in.memory.data()[2 * i + 1] = static_cast<char>(0x80);
      cumulus::ScanSpec spec;
      spec.axis = axis;
      spec.initial = cumulus::view(values.data(), {n});
      spec.total = total.view();
      for (Kind kind : {Kind::inclusive, Kind::exclusive}) {
        spec.kind = kind;
        cumulus::scan(in.view(), out.view(), spec);
        for (std::int64_t i = 0; i < n; ++i) {
          const std::uint16_t expected = narrowed(values[static_cast<std::size_t>(i)]);
          for (const Tensor* got : {&out, &total})
            ASSERT_TRUE(same_element(t(), reinterpret_cast<const char*>(&expected), got->memory.data() + 2 * i))
                << values[static_cast<std::size_t>(i)] << " should be 0x" << std::hex << expected << (got == &total ? " (total)" : "")
                << ", axis " << axis;
        }
      }
    }
  });
}

// In the middle of a long row: quads h, u, -u, -h, where h + u is half way between two values, or just beside.
TEST_P(Half, NarrowsMidpointsInsideLongRows) {
  std::vector<std::uint16_t> in;
  const int infinity = t() == DType::f16 ? 0x7C00 : 0x7F80;
  for (int bits = 1; bits < infinity - 1; ++bits) {
    const float h = widened(static_cast<std::uint16_t>(bits)), next = widened(static_cast<std::uint16_t>(bits + 1));
    const float half = (next - h) / 2;
    const std::uint16_t u = narrowed(half);
    if (widened(u) != half) continue;  // half of the smallest subnormal is no value
    for (std::uint16_t v :
         {static_cast<std::uint16_t>(bits), u, static_cast<std::uint16_t>(u ^ 0x8000), static_cast<std::uint16_t>(bits ^ 0x8000)})
      in.push_back(v);
  }
  ASSERT_GT(in.size(), 100000u);
  const auto n = static_cast<std::int64_t>(in.size());
  for_each_target([&] {
    for (bool reverse : {false, true}) {
      std::vector<std::uint16_t> out(in.size());
      cumulus::ScanSpec spec;
      spec.reverse = reverse;
      cumulus::scan({in.data(), t(), {n}}, {out.data(), t(), {n}}, spec);
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t quad = i / 4 * 4;
        float sum = 0;
        for (std::int64_t k = quad; k < quad + 4; ++k)
          if (reverse ? k >= i : k <= i) sum += widened(in[static_cast<std::size_t>(k)]);
        ASSERT_EQ(widened(out[static_cast<std::size_t>(i)]), widened(narrowed(sum))) << i;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Of, Half, testing::Values(DType::f16, DType::bf16),
                         [](const auto& info) { return std::string(cumulus::name(info.param)); });

// Integers and doubles round once, to nearest even, on the way into f32 and f64.
TEST(Conversion, OfIntegersAndDoublesIsNearestEven) {
  const std::int64_t edges[] = {
      0,         1,         (1 << 24) - 1,     (1 << 24) + 1, (1 << 24) + 3, (1ll << 53) + 1, (1ll << 53) + 3, (1ll << 62) + (1ll << 38),
      INT64_MAX, INT64_MIN, -((1ll << 24) + 1)};
  std::vector<std::int64_t> in;
  for (int repeat = 0; repeat < 9; ++repeat) in.insert(in.end(), std::begin(edges), std::end(edges));
  const auto n = static_cast<std::int64_t>(in.size());
  std::vector<std::uint64_t> in_unsigned(in.begin(), in.end());
  std::vector<double> in_double;
  for (int k = 0; k < n; ++k) in_double.push_back(1 + std::ldexp(1.0 + k % 4, -25));
  for_each_target([&] {
    std::vector<float> f(in.size());
    std::vector<double> d(in.size());
    cumulus::ScanSpec spec;
    spec.axis = 1;
    cumulus::scan(cumulus::view(in, {n, 1}), cumulus::view(f, {n, 1}), spec);
    cumulus::scan(cumulus::view(in, {n, 1}), cumulus::view(d, {n, 1}), spec);
    for (std::size_t i = 0; i < in.size(); ++i) {
      EXPECT_EQ(f[i], static_cast<float>(in[i])) << in[i];
      EXPECT_EQ(d[i], static_cast<double>(in[i])) << in[i];
    }
    cumulus::scan(cumulus::view(in_unsigned, {n, 1}), cumulus::view(f, {n, 1}), spec);
    cumulus::scan(cumulus::view(in_unsigned, {n, 1}), cumulus::view(d, {n, 1}), spec);
    for (std::size_t i = 0; i < in.size(); ++i) {
      EXPECT_EQ(f[i], static_cast<float>(in_unsigned[i])) << in_unsigned[i];
      EXPECT_EQ(d[i], static_cast<double>(in_unsigned[i])) << in_unsigned[i];
    }
    cumulus::scan(cumulus::view(in_double, {n, 1}), cumulus::view(f, {n, 1}), spec);
    for (std::size_t i = 0; i < in.size(); ++i) EXPECT_EQ(f[i], static_cast<float>(in_double[i]));
  });
}

}  // namespace
