// Bits of the public interface against the reference: every op, pair of dtypes, kind and layout at sizes up to 4097, then sizes
// around every internal limit. A dtype or op added to cumulus/list.inc joins by itself. CUMULUS_FULL=1 runs the whole product.
#include <gtest/gtest.h>

#include <string>

#include "support.h"

namespace {

using namespace support;

struct Arrangement {
  const char* name;
  void (*apply)(Case& c, std::int64_t n);
};

const Arrangement kArrangements[] = {
    {"contiguous", [](Case& c, std::int64_t n) { c.shape = {n}; }},
    {"rows",
     [](Case& c, std::int64_t n) {
       c.shape = {3, n}, c.axis = 1;
     }},
    {"many_rows",
     [](Case& c, std::int64_t n) {
       c.shape = {n < 200 ? 67 : 5, n}, c.axis = 1;
     }},
    {"columns",
     [](Case& c, std::int64_t n) {
       c.shape = {n, n < 200 ? 131 : 19}, c.axis = 0;
     }},
    {"narrow",
     [](Case& c, std::int64_t n) {
       c.shape = {2, n, static_cast<std::int64_t>(2 + c.seed % 3)}, c.axis = 1;
     }},
    {"middle",
     [](Case& c, std::int64_t n) {
       c.shape = {2, n, 9}, c.axis = 1;
     }},
    {"reversed",
     [](Case& c, std::int64_t n) {
       c.shape = {2, n}, c.axis = 1;
       c.in_layout.flip = {false, true}, c.out_layout.flip = {c.seed % 2 == 0, true};
     }},
    {"strided",
     [](Case& c, std::int64_t n) {
       c.shape = {2, n}, c.axis = 1;
       c.in_layout.gap = {1, 2}, c.out_layout.gap = {2, 3}, c.row_layout.gap = {3, 1};
     }},
    {"negative_strides",
     [](Case& c, std::int64_t n) {
       c.shape = {n, 6}, c.axis = 0;
       c.in_layout.gap = {2, 1}, c.in_layout.flip = {true, false}, c.out_layout.flip = {false, true}, c.row_layout.flip = {false, true};
     }},
    {"transposed",
     [](Case& c, std::int64_t n) {
       c.shape = {7, n}, c.axis = 1;
       (c.seed % 2 ? c.in_layout : c.out_layout).order = {1, 0};
     }},
    {"unaligned",
     [](Case& c, std::int64_t n) {
       c.shape = {3, n}, c.axis = 1;
       c.in_layout.offset = 1 + static_cast<std::int64_t>(c.seed % 7), c.out_layout.offset = static_cast<std::int64_t>(c.seed % 5);
     }},
    {"broadcast",
     [](Case& c, std::int64_t n) {
       c.shape = {3, n, 4}, c.axis = 1;
       c.in_layout.gap = {0, 1, 1};
       c.mask_shape = c.seed % 3 == 0 ? Sizes{n, 1} : c.seed % 3 == 1 ? Sizes{1, n, 4} : Sizes{4};
     }},
    {"in_place",
     [](Case& c, std::int64_t n) {
       c.shape = c.seed % 2 ? Sizes{3, n} : Sizes{n, 11}, c.axis = c.seed % 2 ? 1 : 0;
       c.in_place = may_be_in_place(c);
     }},
};

// What the arrangement leaves open: mask, initial, total and fill.
void decorate(Case& c, Random& random) {
  c.fill = natural_fill(c.op, random);
  const bool may_multiply = c.in != DType::boolean && c.op != Op::recurrence;
  c.mask = random.chance(55) ? Mask::none : may_multiply && random.chance(40) ? Mask::multiply : Mask::select;
  c.first = random.chance(50) ? First::none : random.pick(std::vector{First::scalar, First::dropped, First::kept});
  if (random.chance(40)) c.total = c.first == First::none || c.first == First::scalar || random.chance(50) ? Total::own : Total::is_initial;
  if (c.total == Total::own && random.chance(50)) c.total_dtype = c.out;
  std::vector<DType> convertible;
  for (DType t : kAllDTypes)
    if (cumulus::convertible(t, cumulus::accumulator(c.out))) convertible.push_back(t);
  if (c.total != Total::is_initial && random.chance(40)) c.first_dtype = random.pick(convertible);
}

const std::int64_t kSizes[] = {0, 1, 2, 3, 4, 5, 7, 31, 33, 63, 64, 127, 128, 129, 257, 1009, 4095, 4096, 4097};

class Scan : public testing::TestWithParam<Supported> {};

TEST_P(Scan, BitsOfEveryKindAndLayout) {
  const auto [op, in, out] = GetParam();
  Random random(seed() + static_cast<std::uint64_t>(op) * 10007 + static_cast<std::uint64_t>(in) * 101 + static_cast<std::uint64_t>(out));
  const int percent = full() ? 100 : sanitized() ? 1 : 9;
  for (const Arrangement& arrangement : kArrangements)
    for (std::int64_t n : kSizes)
      for (Kind kind : kAllKinds)
        for (bool reverse : {false, true}) {
          Case c;
          c.seed = random.next() >> 1;
          if (!random.chance(percent)) continue;
          c.op = op, c.in = in, c.out = out, c.kind = kind, c.reverse = reverse;
          c.threads = {random.pick(std::vector{1, 1, 2, 5})};
          arrangement.apply(c, n);
          decorate(c, random);
          ASSERT_TRUE(check(c)) << arrangement.name;
        }
}

// Long sequences, where threads share one row: the sizes at which levels 3 and 4 of the order begin and end.
TEST_P(Scan, BitsAroundEveryLimit) {
  const auto [op, in, out] = GetParam();
  Random random(seed() + 77 + static_cast<std::uint64_t>(op) * 10007 + static_cast<std::uint64_t>(in) * 101 +
                static_cast<std::uint64_t>(out));
  std::vector<std::int64_t> sizes = {131071, 131072, 131073, 65537, 262144 + 4096, 1000003};
  if (full()) sizes.insert(sizes.end(), {4194303, 4194304, 4194305});
  else if (sanitized()) sizes = {131073};
  else sizes = {random.pick(std::vector{131071, 131072, 131073}), random.pick(std::vector{65537, 262144 + 4096, 500009})};
  for (std::int64_t n : sizes) {
    Case c;
    c.op = op, c.in = in, c.out = out, c.kind = random.pick(kAllKinds), c.reverse = random.chance(50);
    c.seed = random.next() >> 1;
    c.threads = full() ? std::vector{1, 2, 5} : std::vector{random.pick(std::vector{1, 2, 5})};
    (n > 1000000 ? kArrangements[0] : random.pick(kArrangements)).apply(c, n);
    if (n < 1000000 && c.shape.size() == 2 && c.shape[0] == n) c.shape[1] = 1 + random.below(6);  // columns: keep it small
    decorate(c, random);
    ASSERT_TRUE(check(c));
  }
}

INSTANTIATE_TEST_SUITE_P(Each, Scan, testing::ValuesIn(supported()), [](const auto& info) {
  return std::string(cumulus::name(info.param.op)) + "_" + cumulus::name(info.param.in) + "_" + cumulus::name(info.param.out);
});

// A level-4 node is 4194304 elements: few cases, chosen by accumulator, each with every thread count.
TEST(ScanSizes, BitsAroundLevelFour) {
  Random random(seed() + 5);
  const Supported chosen[] = {
      {Op::sum, DType::f32, DType::f32}, {Op::sum, DType::bf16, DType::bf16},      {Op::prod, DType::f64, DType::f64},
      {Op::sum, DType::i8, DType::i8},   {Op::recurrence, DType::f32, DType::f32}, {Op::sum, DType::c64, DType::c64},
      {Op::max, DType::f32, DType::f32}, {Op::prod, DType::c64, DType::c64},       {Op::sum, DType::i32, DType::i64}};
  for (const auto& [op, in, out] : chosen) {
    Case c;
    c.op = op, c.in = in, c.out = out, c.kind = random.pick(kAllKinds), c.reverse = random.chance(50), c.seed = random.next() >> 1;
    c.shape = {sanitized() ? 300007 : random.pick(std::vector{4194303, 4194304, 4194305})};
    c.threads = {1, 2, 5};
    decorate(c, random);
    c.fill = op == Op::prod || op == Op::recurrence ? Fill::near_one : op == Op::max ? Fill::wide : Fill::uniform;
    ASSERT_TRUE(check(c));
  }
}

// Every length up to two segments and a bit, and rows of every width: where partial quads and vectors end.
TEST(ScanSizes, EveryShortLength) {
  for (std::int64_t n = 0; n <= 300; ++n)
    for (const auto& [op, in, out] : {Supported{Op::sum, DType::f32, DType::f32},
                                      {Op::sum, DType::u8, DType::u8},
                                      {Op::prod, DType::c64, DType::c64},
                                      {Op::recurrence, DType::f64, DType::f64},
                                      {Op::sum, DType::f16, DType::f16}}) {
      Case c;
      c.op = op, c.in = in, c.out = out, c.seed = static_cast<std::uint64_t>(n);
      c.kind = kAllKinds[n % 3], c.reverse = n / 3 % 2 == 1;
      c.fill = op == Op::sum ? Fill::uniform : Fill::near_one;
      for (int shape = 0; shape < 3; ++shape) {
        c.shape = shape == 0 ? Sizes{n} : shape == 1 ? Sizes{9, n} : Sizes{17, n + 1};
        c.axis = shape == 0 ? 0 : shape == 1 ? 1 : 0;
        ASSERT_TRUE(check(c));
      }
    }
}

// Every short length of every dtype, against a page that faults.
TEST(ScanSizes, NothingOutsideIsTouched) {
  const auto all = supported();
  for (std::int64_t n = 0; n <= 140; ++n)
    for (std::size_t k = static_cast<std::size_t>(n) % 5; k < all.size(); k += sanitized() ? 50 : 5)
      for (auto place : {GuardPages::behind, GuardPages::before}) {
        const GuardPages guard(place);
        Case c;
        c.op = all[k].op, c.in = all[k].in, c.out = all[k].out, c.seed = static_cast<std::uint64_t>(n) + k;
        c.kind = kAllKinds[(static_cast<std::size_t>(n) / 5 + k) % 3], c.reverse = k % 2 == 1;
        const std::int64_t others = 1 + static_cast<std::int64_t>(k) % 7;
        c.shape = c.seed % 3 == 0 ? Sizes{n} : c.seed % 3 == 1 ? Sizes{others, n} : Sizes{n, others};
        c.axis = c.seed % 3 == 1 ? 1 : 0;
        c.mask = n % 4 == 0 ? Mask::select : Mask::none;
        ASSERT_TRUE(check(c));
      }
}

TEST(ScanShapes, Scalar) {
  for (Kind kind : {Kind::inclusive, Kind::exclusive}) {
    const float x = 3, first = 0.5f;
    float y = -1, total = -1;
    cumulus::ScanSpec spec;
    spec.kind = kind;
    spec.initial = first;
    spec.total = cumulus::view(&total, {});
    cumulus::scan(cumulus::view(&x, {}), cumulus::view(&y, {}), spec);
    EXPECT_EQ(y, kind == Kind::inclusive ? 3.5f : 0.5f);
    EXPECT_EQ(total, 3.5f);
  }
}

// Zero-size axes: nothing is written but totals and first prefixes.
TEST(ScanShapes, Empty) {
  for (const Sizes& shape : {Sizes{0}, Sizes{0, 5}, Sizes{5, 0}, Sizes{3, 0, 2}, Sizes{0, 0}})
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis)
      for (Kind kind : kAllKinds)
        for (First first : {First::none, First::scalar, First::dropped})
          for (Op op : kAllOps) {
            Case c;
            c.op = op, c.shape = shape, c.axis = axis, c.kind = kind, c.first = first, c.total = Total::own;
            ASSERT_TRUE(check(c));
          }
}

// Rows of the input may share memory: windows that slide by one element, forwards and backwards.
TEST(ScanShapes, SlidingWindows) {
  for (const Sizes& shape : {Sizes{50, 9}, Sizes{9, 5000}, Sizes{300, 300}})
    for (int axis : {0, 1})
      for (std::int64_t slide : {1, -1}) {
        Case c;
        c.shape = shape, c.axis = axis;
        Built expected(c);
        expected.in.strides = {slide, 1};
        expected.in.start = slide < 0 ? shape[0] : 0;
        const Built fresh = expected;
        expected.run_reference();
        for_each_target([&] {
          const Built got = fresh;
          got.run_product(2);
          EXPECT_TRUE(expected.equals(got)) << describe(got);
        });
      }
}

// The most dimensions a tensor may have, with elements in a few of them.
TEST(ScanShapes, Rank64) {
  for (int axis : {0, 20, 40, 63}) {
    Case c;
    c.shape = Sizes(64, 1);
    c.shape[0] = 3, c.shape[20] = 4, c.shape[40] = 130, c.shape[63] = 2, c.axis = axis;
    ASSERT_TRUE(check(c));
    std::vector<int> order(64);
    for (int k = 0; k < 64; ++k) order[static_cast<std::size_t>(k)] = 63 - k;
    c.in_layout.order = order;
    ASSERT_TRUE(check(c));
  }
}

}  // namespace
