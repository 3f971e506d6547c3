// Identities of scans, as properties of the public interface alone: no reference, so sizes can be large and the checks are independent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "support.h"

namespace {

using namespace support;

struct Sample {
  Op op;
  DType t;
  Fill fill;
};
const Sample kSamples[] = {{Op::sum, DType::f32, Fill::uniform},         {Op::sum, DType::f64, Fill::wide},
                           {Op::sum, DType::bf16, Fill::uniform},        {Op::sum, DType::u8, Fill::uniform},
                           {Op::sum, DType::i64, Fill::uniform},         {Op::sum, DType::c64, Fill::uniform},
                           {Op::prod, DType::f32, Fill::near_one},       {Op::prod, DType::i32, Fill::near_one},
                           {Op::prod, DType::c128, Fill::near_one},      {Op::max, DType::f32, Fill::wide},
                           {Op::min, DType::i16, Fill::uniform},         {Op::max, DType::u64, Fill::uniform},
                           {Op::recurrence, DType::f32, Fill::near_one}, {Op::recurrence, DType::c64, Fill::near_one}};

class Identity : public testing::TestWithParam<Sample> {
 protected:
  Case plain(Sizes shape, int axis = 0) const {
    Case c;
    c.op = GetParam().op, c.in = c.out = GetParam().t, c.fill = GetParam().fill, c.seed = 42, c.shape = std::move(shape), c.axis = axis;
    return c;
  }
  static Built run(const Case& c, int threads = 2) {
    Built b(c);
    b.run_product(threads);
    return b;
  }
  std::int64_t width() const { return cumulus::bytes(GetParam().t); }
};

std::int64_t large() { return sanitized() ? 140001 : 1000003; }

testing::AssertionResult equal(DType t, const char* a, const char* b, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i)
    if (!same_element(t, a + i * cumulus::bytes(t), b + i * cumulus::bytes(t)))
      return testing::AssertionFailure() << "element " << i << " of " << count;
  return testing::AssertionSuccess();
}

// A copy with the order of elements reversed.
Tensor flipped(const Tensor& x) {
  Tensor y = x;
  const std::int64_t size = cumulus::bytes(x.dtype), n = x.memory.size() / size;
  for (std::int64_t i = 0; i < n; ++i)
    std::memcpy(y.memory.data() + i * size, x.memory.data() + (n - 1 - i) * size, static_cast<std::size_t>(size));
  return y;
}

TEST_P(Identity, ExclusiveAndPrefixesAreShiftedInclusive) {
  for (std::int64_t n : {std::int64_t{1}, std::int64_t{130}, std::int64_t{5000}, large()}) {
    Case c = plain({n});
    c.first = First::scalar;
    c.total = Total::own;
    const Built inclusive = run(c);
    c.kind = Kind::exclusive;
    const Built exclusive = run(c);
    c.kind = Kind::prefixes;
    const Built prefixes = run(c);
    EXPECT_TRUE(equal(c.out, exclusive.out.first() + width(), inclusive.out.first(), n - 1));
    EXPECT_TRUE(equal(c.out, prefixes.out.first() + width(), inclusive.out.first(), n));
    EXPECT_TRUE(equal(c.out, prefixes.out.first(), exclusive.out.first(), n));
    EXPECT_TRUE(same(inclusive.total, exclusive.total));
    EXPECT_TRUE(same(inclusive.total, prefixes.total));
    if (cumulus::accumulator(c.out) == c.out) {
      EXPECT_TRUE(equal(c.out, inclusive.total.first(), inclusive.out.first() + (n - 1) * width(), 1));
      EXPECT_TRUE(equal(c.out, exclusive.out.first(), exclusive.initial.first(), 1));
    }
  }
}

TEST_P(Identity, ReverseIsTheFlippedScanOfTheFlippedSequence) {
  for (std::int64_t n : {std::int64_t{7}, std::int64_t{4099}, large()})
    for (Kind kind : kAllKinds) {
      Case c = plain({n});
      c.kind = kind;
      Built forward(c);
      forward.in = flipped(forward.in);
      if (forward.in2) forward.in2 = flipped(forward.in2);
      forward.run_product(2);
      c.reverse = true;
      EXPECT_TRUE(same(flipped(forward.out), run(c).out)) << n;
    }
}

TEST_P(Identity, ALongerScanKeepsTheBitsOfItsPrefix) {
  const Built whole = run(plain({large()}));
  for (std::int64_t n : {1, 5, 127, 4097, 70000, 131072, 131077})
    EXPECT_TRUE(equal(whole.c.out, run(plain({n})).out.first(), whole.out.first(), n)) << n;
}

// One sequence as a vector, a row of many, a column of many, strided, at any alignment, on any number of threads.
TEST_P(Identity, BitsDoNotDependOnLayoutBatchAlignmentOrThreads) {
  for (std::int64_t n : {std::int64_t{131}, std::int64_t{9001}, std::int64_t{140001}}) {
    const Built expected = run(plain({n}), 1);
    const auto compare = [&](const Case& c, int threads, const char* what) {
      Built got(c);
      // The same sequence everywhere along the axis.
      for (Tensor* t : {&got.in, &got.in2}) {
        if (!*t) continue;
        const Tensor& from = t == &got.in ? expected.in : expected.in2;
        const std::size_t axis = static_cast<std::size_t>(c.axis), other = 1 - axis;
        for (std::int64_t k = 0; k < (t->rank() > 1 ? t->shape[other] : 1); ++k)
          for (std::int64_t i = 0; i < n; ++i)
            std::memcpy(t->first() + (i * t->strides[axis] + (t->rank() > 1 ? k * t->strides[other] : 0)) * width(),
                        from.first() + i * width(), static_cast<std::size_t>(width()));
      }
      got.run_product(threads);
      const std::size_t axis = static_cast<std::size_t>(c.axis), other = 1 - axis;
      for (std::int64_t k = 0; k < (got.out.rank() > 1 ? got.out.shape[other] : 1); ++k)
        for (std::int64_t i = 0; i < n; ++i)
          ASSERT_TRUE(same_element(
              c.out, got.out.first() + (i * got.out.strides[axis] + (got.out.rank() > 1 ? k * got.out.strides[other] : 0)) * width(),
              expected.out.first() + i * width()))
              << what << ", element " << i << " of " << n << ", row " << k << ", " << threads << " threads";
    };
    for (int threads : {1, 2, 5}) {
      compare(plain({n}), threads, "vector");
      compare(plain({3, n}, 1), threads, "rows");
      compare(plain({n, 5}, 0), threads, "columns");
    }
    Case strided = plain({n});
    strided.in_layout.gap = {3}, strided.in2_layout.gap = {2}, strided.out_layout.gap = {2}, strided.out_layout.flip = {true};
    compare(strided, 2, "strided");
    if (n > 10000) continue;
    for (std::int64_t offset = 0; offset <= 16; ++offset) {
      Case shifted = plain({n});
      shifted.in_layout.offset = offset, shifted.out_layout.offset = 16 - offset, shifted.in2_layout.offset = offset / 2;
      compare(shifted, 1, "alignment");
      shifted = plain({2, n}, 1);
      shifted.in_layout.offset = shifted.out_layout.offset = offset;
      compare(shifted, 2, "row alignment");
    }
  }
}

TEST_P(Identity, InPlaceGivesTheSameBits) {
  for (const Sizes& shape : {Sizes{5}, Sizes{100003}, Sizes{40, 333}, Sizes{3, 20000}, Sizes{7, 6, 1000}})
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis)
      for (Kind kind : {Kind::inclusive, Kind::exclusive})
        for (bool reverse : {false, true}) {
          Case c = plain(shape, axis);
          c.kind = kind, c.reverse = reverse;
          const Built apart = run(c);
          c.in_place = true;
          const Built together = run(c);
          EXPECT_TRUE(same(apart.out, together.in)) << describe(together);
          if (apart.in2) {  // out over the second input
            c.in_place = false;
            Built second(c);
            cumulus::linear_recurrence(second.in.view(), second.in2.view(), second.in2.view(), second.spec());
            EXPECT_TRUE(same(apart.out, second.in2)) << describe(second);
          }
        }
}

// Every row's initial is read before its total is written.
TEST_P(Identity, TotalMayBeTheMemoryOfInitial) {
  for (const Sizes& shape : {Sizes{100003}, Sizes{300, 7}, Sizes{2000, 40}, Sizes{5, 9000}})
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
      Case c = plain(shape, axis);
      c.first = First::kept, c.total = Total::own;
      const Built apart = run(c);
      c.total = Total::is_initial;
      const Built together = run(c);
      EXPECT_TRUE(same(apart.out, together.out));
      EXPECT_TRUE(same(apart.total, together.initial));
    }
}

INSTANTIATE_TEST_SUITE_P(Each, Identity, testing::ValuesIn(kSamples),
                         [](const auto& info) { return std::string(cumulus::name(info.param.op)) + "_" + cumulus::name(info.param.t); });

// Chained calls are right, though only one call's bits are promised: exact for integers, close for floats.
TEST(Chaining, ByTotalIsRight) {
  const std::int64_t n = 100000, parts = 7;
  std::vector<std::int32_t> in(n), whole(n), chained(n);
  std::vector<float> in_f(n), chained_f(n);
  Random random(3);
  for (std::int64_t i = 0; i < n; ++i)
    in[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(random.next()),
    in_f[static_cast<std::size_t>(i)] = static_cast<float>(random.below(1000)) / 1000;
  cumulus::scan(cumulus::view(in), cumulus::view(whole));
  std::int32_t carry = 0;
  float carry_f = 0;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t from = n * part / parts, count = n * (part + 1) / parts - from;
    cumulus::ScanSpec spec;
    spec.initial = cumulus::view(&carry, {});
    spec.total = cumulus::view(&carry, {});
    cumulus::scan(cumulus::view(in.data() + from, {count}), cumulus::view(chained.data() + from, {count}), spec);
    spec.initial = cumulus::view(&carry_f, {});
    spec.total = cumulus::view(&carry_f, {});
    cumulus::scan(cumulus::view(in_f.data() + from, {count}), cumulus::view(chained_f.data() + from, {count}), spec);
  }
  EXPECT_EQ(whole, chained);
  double exact = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    exact += static_cast<double>(in_f[static_cast<std::size_t>(i)]);
    ASSERT_NEAR(chained_f[static_cast<std::size_t>(i)], exact, 1e-6 * exact) << i;
  }
}

// The recurrence does not commute: with a = 0 everything before is forgotten, so operands in the wrong order show at once.
TEST(NonCommutative, TheRecurrenceKeepsItsOperandsInOrder) {
  const std::int64_t n = 200000;
  std::vector<std::int64_t> a(n, 1), b(n, 1), h(n);
  for (std::int64_t i = 0; i < n; i += 1000) a[static_cast<std::size_t>(i)] = 0;
  for (int threads : {1, 2, 5}) {
    cumulus::ScanSpec spec;
    spec.threads = threads;
    for_each_target([&] {
      cumulus::linear_recurrence(cumulus::view(a), cumulus::view(b), cumulus::view(h), spec);
      for (std::int64_t i = 0; i < n; ++i) ASSERT_EQ(h[static_cast<std::size_t>(i)], i % 1000 + 1) << i;
    });
  }
}

}  // namespace
