// Canonical forms: what is merged, dropped, sorted and turned around, and that no element is lost on the way.
#include "shape.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "error.h"
#include "support.h"

namespace {

using namespace support;
using cumulus::Problem;

Case plain(Sizes shape, int axis) {
  Case c;
  c.shape = std::move(shape);
  c.axis = axis;
  return c;
}

TEST(Shape, ContiguousNeighboursMerge) {
  const Problem last = Built(plain({2, 3, 4, 5}, 3)).problem();
  EXPECT_EQ(last.n, 5);
  EXPECT_EQ(last.rows, 24);
  ASSERT_EQ(last.dims, 1);
  EXPECT_EQ(last.dim[0].size, 24);
  EXPECT_EQ(last.dim[0].in, 5);
  EXPECT_EQ(last.dim[0].out, 5);
  EXPECT_EQ(last.axis.in, 1);

  const Problem middle = Built(plain({2, 3, 4, 5}, 1)).problem();
  EXPECT_EQ(middle.n, 3);
  ASSERT_EQ(middle.dims, 2);
  EXPECT_EQ(middle.dim[0].size, 2);
  EXPECT_EQ(middle.dim[0].out, 60);
  EXPECT_EQ(middle.dim[1].size, 20);
  EXPECT_EQ(middle.dim[1].out, 1);
  EXPECT_EQ(middle.axis.in, 20);
}

TEST(Shape, SizeOneIsDropped) {
  const Problem p = Built(plain({1, 7, 1, 5, 1}, 3)).problem();
  EXPECT_EQ(p.n, 5);
  ASSERT_EQ(p.dims, 1);
  EXPECT_EQ(p.dim[0].size, 7);
  const Problem scalar = Built(plain({1}, 0)).problem();
  EXPECT_EQ(scalar.dims, 0);
  EXPECT_EQ(scalar.rows, 1);
}

// A contiguous row takes a way of its own through the checks: what it yields, and what it leaves to the others, must not differ.
TEST(Shape, ThePlainRowIsNoSpecialCase) {
  alignas(16) unsigned char from[256] = {}, to[256] = {};
  int plain_rows = 0;
  for (int op = 0; op < cumulus::kOps; ++op)
    for (int dtype = 1; dtype < cumulus::kDTypes; ++dtype)
      for (int kind : {CUMULUS_INCLUSIVE, CUMULUS_EXCLUSIVE})
        for (std::int64_t n : {1, 2, 7})
          for (const std::int64_t overlap : {-1, 0, 1}) {  // apart, in place, one element further
            const std::int64_t row[] = {n}, matrix[] = {1, n};
            const auto size = static_cast<std::int64_t>(cumulus_dtype_size(dtype));
            const auto canonical = [&](const std::int64_t* shape, int rank, Problem& p) -> std::string {
              cumulus_scan_args args{};
              args.struct_size = sizeof args;
              args.op = op, args.kind = kind, args.axis = rank - 1, args.threads = 3;
              args.in = {from, shape, nullptr, rank, dtype, CUMULUS_CPU, 0};
              args.out = {overlap < 0 ? to : from + overlap * size, shape, nullptr, rank, dtype, CUMULUS_CPU, 0};
              try {
                cumulus::canonicalise(args, true, p);
              } catch (const cumulus::Failure&) {
                return "refused";
              }
              return "accepted";
            };
            Problem a, b;
            const std::string verdict = canonical(row, 1, a);
            ASSERT_EQ(verdict, canonical(matrix, 2, b)) << op << ' ' << dtype << ' ' << n << ' ' << overlap;
            if (verdict == "refused") continue;
            ++plain_rows;
            const auto fields = [](const Problem& p) {
              return std::make_tuple(p.op, p.kind, p.in_dtype, p.out_dtype, p.mask_dtype, p.initial_dtype, p.total_dtype, p.acc, p.kernel,
                                     p.in, p.in2, p.mask, p.initial, p.out, p.total, p.n, p.n_out, p.rows, p.axis.size, p.axis.in,
                                     p.axis.in2, p.axis.out, p.axis.mask, p.axis.initial, p.axis.total, p.dims, p.threads, p.flags,
                                     p.stream, p.device);
            };
            EXPECT_TRUE(fields(a) == fields(b)) << op << ' ' << dtype << ' ' << n << ' ' << overlap;
          }
  EXPECT_GT(plain_rows, 400);
}

TEST(Shape, DifferentStridesDoNotMerge) {
  Case c = plain({2, 3, 5}, 2);
  c.in_layout.gap = {1, 2, 1};
  const Built b(c);
  const Problem p = b.problem();
  EXPECT_EQ(p.dims, 1);  // (2, 3) with strides 30, 10: still one
  c.in_layout.order = {1, 0, 2};
  EXPECT_EQ(Built(c).problem().dims, 2);
}

TEST(Shape, PrefixesAreOneLongerInTheOutputAlone) {
  Case c = plain({2, 3, 5}, 1);
  c.kind = Kind::prefixes;
  const Problem p = Built(c).problem();
  EXPECT_EQ(p.n, 3);
  EXPECT_EQ(p.n_out, 4);
  EXPECT_EQ(p.dims, 2);
  EXPECT_EQ(p.dim[0].in, 15);
  EXPECT_EQ(p.dim[0].out, 20);
}

TEST(Shape, DimensionsAreSortedByTheOutput) {
  Case c = plain({2, 9, 3}, 1);
  c.out_layout.order = {2, 1, 0};  // axis 2 is outermost in memory, axis 0 innermost
  const Problem p = Built(c).problem();
  ASSERT_EQ(p.dims, 2);
  EXPECT_EQ(p.dim[0].size, 3);
  EXPECT_EQ(p.dim[0].out, 18);
  EXPECT_EQ(p.dim[1].size, 2);
  EXPECT_EQ(p.dim[1].out, 1);
  EXPECT_EQ(p.dim[1].in, 27);
}

TEST(Shape, NegativeOutputStridesAreTurnedAround) {
  Case c = plain({6, 9}, 1);
  c.out_layout.flip = {true, false};
  const Built b(c);
  const Problem p = b.problem();
  EXPECT_EQ(p.dim[0].out, 9);
  EXPECT_EQ(p.dim[0].in, -9);
  EXPECT_EQ(p.out, b.out.memory.data());
  EXPECT_EQ(p.in, b.in.first() + 5 * 9 * 4);

  c.in_layout.flip = {true, false};  // both: plain rows again
  const Problem both = Built(c).problem();
  EXPECT_EQ(both.dim[0].in, 9);
  EXPECT_EQ(both.dim[0].out, 9);
}

TEST(Shape, ReverseBecomesStrides) {
  Case c = plain({3, 8}, 1);
  c.reverse = true, c.kind = Kind::prefixes;
  const Built b(c);
  const Problem p = b.problem();
  EXPECT_EQ(p.axis.in, -1);
  EXPECT_EQ(p.axis.out, -1);
  EXPECT_EQ(p.in, b.in.first() + 7 * 4);
  EXPECT_EQ(p.out, b.out.first() + 8 * 4);

  c.kind = Kind::inclusive;
  c.in_layout.flip = c.out_layout.flip = {false, true};  // a reversed scan of flipped memory runs forwards
  const Built flipped(c);
  const Problem forward = flipped.problem();
  EXPECT_EQ(forward.axis.in, 1);
  EXPECT_EQ(forward.in, flipped.in.memory.data());
}

TEST(Shape, MasksMergeWhereTheyAreBroadcastAlike) {
  Case c = plain({4, 5, 6}, 2);
  c.mask = Mask::select;
  EXPECT_EQ(Built(c).problem().dims, 1);
  c.mask_shape = {6};  // the same for all rows
  const Problem all = Built(c).problem();
  EXPECT_EQ(all.dims, 1);
  EXPECT_EQ(all.dim[0].mask, 0);
  EXPECT_EQ(all.axis.mask, 1);
  c.mask_shape = {5, 6};  // the same for the first axis only
  const Problem some = Built(c).problem();
  EXPECT_EQ(some.dims, 2);
  EXPECT_EQ(some.dim[0].mask, 0);
  EXPECT_EQ(some.dim[1].mask, 6);
  c.mask_shape = {4, 5, 1};
  EXPECT_EQ(Built(c).problem().axis.mask, 0);
}

TEST(Shape, InitialAndTotalFollowTheRows) {
  for (First first : {First::dropped, First::kept}) {
    Case c = plain({4, 9, 6}, 1);
    c.first = first, c.total = Total::own;
    const Problem p = Built(c).problem();
    ASSERT_EQ(p.dims, 2);
    EXPECT_EQ(p.dim[0].initial, 6);
    EXPECT_EQ(p.dim[0].total, 6);
    EXPECT_EQ(p.dim[1].initial, 1);
    EXPECT_EQ(p.axis.initial, 0);
  }
  Case c = plain({4, 9, 6}, 2);
  c.first = First::scalar;
  EXPECT_EQ(Built(c).problem().dims, 1);
  EXPECT_EQ(Built(c).problem().dim[0].initial, 0);
}

TEST(Shape, AccumulatorsAndKernels) {
  const std::tuple<Op, DType, DType, DType, DType> cases[] = {
      {Op::sum, DType::f16, DType::f16, DType::f32, DType::f32}, {Op::max, DType::u8, DType::u8, DType::u8, DType::i32},
      {Op::sum, DType::u64, DType::u64, DType::u64, DType::i64}, {Op::min, DType::u64, DType::u64, DType::u64, DType::u64},
      {Op::max, DType::u32, DType::u32, DType::u32, DType::u32}, {Op::sum, DType::boolean, DType::f64, DType::f64, DType::f64}};
  for (const auto& [op, in, out, acc, kernel] : cases) {
    Case c = plain({8}, 0);
    c.op = op, c.in = in, c.out = out;
    const Problem p = Built(c).problem();
    EXPECT_EQ(p.acc, acc);
    EXPECT_EQ(p.kernel, kernel);
  }
}

TEST(Shape, BytesRequired) {
  Case c = plain({100, 10}, 1);
  EXPECT_EQ(bytes_required(Built(c).problem()), 8000);
  c.mask = Mask::select;
  EXPECT_EQ(bytes_required(Built(c).problem()), 9000);
  c.mask_shape = {10};
  EXPECT_EQ(bytes_required(Built(c).problem()), 8010);
  c.mask = Mask::none, c.first = First::dropped, c.total = Total::own;
  EXPECT_EQ(bytes_required(Built(c).problem()), 8800);
  c = plain({100, 10}, 0);
  c.op = Op::recurrence, c.in = c.out = DType::f64, c.kind = Kind::prefixes;
  EXPECT_EQ(bytes_required(Built(c).problem()), 2 * 8000 + 8080);
}

// The tensors of a call may each have less than 2^63 bytes and more together: then no figure of a plan could be right.
TEST(Shape, TensorsThatTogetherPass63BitsAreRefused) {
  struct Huge {
    Sizes shape;
    DType dtype, mask;
    bool fits;
  };
  const auto two = [](int exponent) { return std::int64_t{1} << exponent; };
  for (const Huge& huge : std::vector<Huge>{{{two(60)}, DType::f32, DType::none, false},
                                            {{two(58)}, DType::f32, DType::none, true},
                                            {{two(59)}, DType::f64, DType::boolean, false},
                                            {{two(57)}, DType::f64, DType::boolean, true},
                                            {{7, two(57)}, DType::f32, DType::f32, false},
                                            {{two(30), two(30)}, DType::f32, DType::none, false}}) {
    const auto dims = [&] { return cumulus::Dims(huge.shape.data(), static_cast<int>(huge.shape.size())); };
    const cumulus::ConstTensorView in(nullptr, huge.dtype, dims());
    const cumulus::TensorView out(nullptr, huge.dtype, dims());
    cumulus::ScanSpec spec;
    spec.axis = 0;
    if (huge.mask != DType::none) spec.mask = cumulus::ConstTensorView(nullptr, huge.mask, dims());
    Problem p;
    std::string refused;
    try {
      cumulus::canonicalise(cumulus::detail::to_c(in, nullptr, out, spec), false, p);
    } catch (const cumulus::Failure& failure) {
      refused = failure.message;
    }
    EXPECT_EQ(refused.empty(), huge.fits) << refused << huge.shape[0];
    if (huge.fits) EXPECT_GT(bytes_required(p), two(60));
    else EXPECT_NE(refused.find("more bytes than 63 bits count"), refused.npos) << refused;
  }
}

// Every element of a random call has the same partners, and the same place in its row, before and after.
using Place = std::tuple<std::int64_t, const void*, const void*, const void*, const void*, const void*, const void*>;

std::int64_t reach(const Sizes& index, const Tensor& t, int dropped) {
  std::int64_t at = 0;
  const auto rank = static_cast<int>(index.size());
  for (int k = 0; k < t.rank(); ++k) {
    const bool lacks = t.rank() < rank && dropped >= 0;
    const int axis = lacks ? k + (k >= dropped) : k + rank - t.rank();
    at += (t.shape[static_cast<std::size_t>(k)] == 1 ? 0 : index[static_cast<std::size_t>(axis)]) * t.strides[static_cast<std::size_t>(k)];
  }
  return at;
}

const void* address(const Tensor& t, std::int64_t at) { return t ? t.first() + at * cumulus::bytes(t.dtype) : nullptr; }

TEST(Shape, NoElementIsLost) {
  Random random(seed() + 9);
  for (int repeat = 0; repeat < (sanitized() ? 100 : 1000); ++repeat) {
    Case c = random_case(random);
    for (std::int64_t& size : c.shape) size = std::min<std::int64_t>(size, 6);
    c.mask_shape.clear(), c.mask_layout = {};
    const Built b(c);
    const Problem p = b.problem();
    std::set<Place> before, after;
    std::int64_t elements = 1;
    for (std::int64_t size : c.shape) elements *= size;
    Sizes index(c.shape.size(), 0);
    const auto axis = static_cast<std::size_t>(c.axis);
    for (std::int64_t e = 0; e < elements; ++e) {
      const std::int64_t i = c.reverse ? c.shape[axis] - 1 - index[axis] : index[axis];
      Sizes to = index;
      if (c.reverse) to[axis] += c.kind == Kind::prefixes;
      const Tensor& out = c.in_place ? b.in : b.out;
      before.insert({i, address(b.in, reach(index, b.in, -1)), address(b.in2, reach(index, b.in2, -1)), address(out, reach(to, out, -1)),
                     address(b.mask, reach(index, b.mask, -1)), address(b.initial, reach(index, b.initial, c.axis)),
                     address(b.total_memory(), reach(index, b.total_memory(), c.axis))});
      for (std::size_t k = index.size(); k-- > 0 && ++index[k] == c.shape[k];) index[k] = 0;
    }
    const auto moved = [](const void* data, DType t, std::int64_t at) {
      return t == DType::none ? nullptr : static_cast<const void*>(static_cast<const char*>(data) + at * cumulus::bytes(t));
    };
    for (std::int64_t row = 0; row < p.rows; ++row)
      for (std::int64_t i = 0; i < p.n; ++i) {
        cumulus::Dim at{};
        at.in = i * p.axis.in, at.in2 = i * p.axis.in2, at.out = i * p.axis.out, at.mask = i * p.axis.mask;
        std::int64_t left = row;
        for (int k = p.dims - 1; k >= 0; left /= p.dim[k].size, --k) {
          const std::int64_t step = left % p.dim[k].size;
          at.in += step * p.dim[k].in, at.in2 += step * p.dim[k].in2, at.out += step * p.dim[k].out;
          at.mask += step * p.dim[k].mask, at.initial += step * p.dim[k].initial, at.total += step * p.dim[k].total;
        }
        after.insert({i, moved(p.in, p.in_dtype, at.in), p.op == Op::recurrence ? moved(p.in2, p.in_dtype, at.in2) : nullptr,
                      moved(p.out, p.out_dtype, at.out), moved(p.mask, p.mask_dtype, at.mask),
                      moved(p.initial, p.initial_dtype, at.initial), moved(p.total, p.total_dtype, at.total)});
      }
    ASSERT_EQ(before.size(), static_cast<std::size_t>(elements));
    ASSERT_TRUE(before == after) << describe(b);
    for (int k = 1; k < p.dims; ++k) EXPECT_GE(p.dim[k - 1].out, p.dim[k].out);
  }
}

// A launch writes all over its workspace. Addresses are compared, never followed.
TEST(Shape, AGivenWorkspaceLiesApartFromEveryTensor) {
  Case c = plain({4, 100}, 1);
  c.mask = Mask::select, c.first = First::dropped, c.total = Total::own;
  const Built built(c);
  const cumulus::ConstTensorView in = built.in.view();
  const cumulus::TensorView out = built.result();
  const cumulus::ScanSpec spec = built.spec();
  cumulus_scan_args args = cumulus::detail::to_c(in, nullptr, out, spec);
  for (cumulus_tensor* t : {&args.in, &args.out, &args.mask, &args.initial, &args.total}) {
    const auto refused = [&](std::intptr_t from_begin, std::size_t bytes) {
      args.workspace = static_cast<char*>(t->data) + from_begin, args.workspace_bytes = bytes;
      Problem problem;
      try {
        cumulus::canonicalise(args, true, problem);
        return std::string();
      } catch (const cumulus::Failure& failure) {
        return failure.message;
      }
    };
    EXPECT_NE(refused(0, 16).find("workspace overlaps"), std::string::npos);
    EXPECT_NE(refused(-16, 17).find("workspace overlaps"), std::string::npos);
    EXPECT_EQ(refused(-16, 16), "");
  }
}

}  // namespace
