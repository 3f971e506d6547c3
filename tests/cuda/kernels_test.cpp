// The GPU kernels, run by the emulator: every layout and op, kinds and dtypes pairwise, against the reference's bits.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "cuda/plan.h"
#include "emulated.h"
#include "support.h"

namespace {

using namespace support;
using cumulus::Problem;
using cumulus::cuda::Layout;
using cumulus::cuda::Plan;
using cumulus::cuda::Tuning;

// Room for every tile that is compiled here, of the widest elements too.
cumulus::cuda::DeviceInfo device(int capability) {
  cumulus::cuda::DeviceInfo device = *cumulus::cuda::find_preset("h200");
  device.shared_per_block = 1 << 20;
  if (capability) device.capability = capability;
  return device;
}

// What a launch finds in device memory: not an initial value that it brings with it.
std::vector<emulator::Memory> memory_of(const Built& b, const emulated::Run& how) {
  std::vector<emulator::Memory> all;
  const auto put = [&](const Tensor& t, bool writable) {
    if (t) all.push_back({t.memory.data(), static_cast<std::size_t>(t.memory.size()), writable});
  };
  put(b.in, b.c.in_place), put(b.in2, false), put(b.out, true), put(b.mask, false);
  if (!how.initial_on_host) put(b.initial, b.c.total == Total::is_initial);
  put(b.total, true);
  return all;
}

std::string text(const Plan& p) {
  return std::string(name(p.layout)) +
         (p.step == 0 ? " strided"
          : p.aligned ? " aligned"
                      : "") +
         ", " + name(p.copies) + ", warps " + std::to_string(p.warps) + ", segments " + std::to_string(p.segments) + ", chunks " +
         std::to_string(p.chunks) + ", grid " + std::to_string(p.grid);
}

Plan plan_for(const Problem& problem, const Tuning& tuning) {
  Tuning shape = tuning;
  shape.capability = 0;
  cumulus::cuda::DeviceInfo on = device(tuning.capability);
  if (tuning.layout == static_cast<int>(Layout::column_ring)) on.sms = 1;  // or strips would be made narrower to have more of them
  return make_plan(problem, on, shape);
}

// Runs one case under a tuning. False: the tuning's layout cannot serve it, or no kernel for it is compiled here.
bool check(const Case& c, const Tuning& tuning, const emulated::Run& how) {
  const Built got(c);
  const Problem problem = got.problem();
  const Plan plan = plan_for(problem, tuning);
  if (plan.layout != static_cast<Layout>(tuning.layout)) return false;
  std::vector<std::string> findings;
  if (emulated::run(problem, plan, memory_of(got, how), how, findings) == emulated::Outcome::not_compiled) return false;
  const Built expected(c);
  expected.run_reference();
  const auto equal = expected.equals(got);
  if (!equal || !findings.empty()) {
    std::string all;
    for (const std::string& f : findings) all += "\n  " + f;
    ADD_FAILURE() << describe(got) << "\n  " << text(plan) << ", seed " << how.seed << "\n  " << equal.message() << all;
  }
  return true;
}

// The same with as many blocks resident as each of these.
void expect_right(const Case& c, const Tuning& tuning, std::initializer_list<std::uint32_t> residents, Random& random) {
  for (std::uint32_t resident : residents) {
    emulated::Run how;
    how.seed = random.next();
    how.resident = resident;
    EXPECT_TRUE(check(c, tuning, how));
  }
}

// A call as all tests draw them (tests/support.cpp), with this result and as many dimensions.
Case drawn_like(const Case& c, Random& random) {
  for (;;) {
    const Case drawn = support::random_case(random);
    if (drawn.out == c.out && drawn.shape.size() == c.shape.size()) return drawn;
  }
}

// Initial values and totals of other dtypes, and scalars.
void draw_terms(Case& c, Random& random) {
  const Case drawn = drawn_like(c, random);
  c.first = drawn.first, c.first_dtype = drawn.first_dtype;
  c.total = drawn.total, c.total_dtype = drawn.total_dtype;
}

// More dimensions, and tensors that lie in memory in any order, backwards, with gaps, or with one element for all of a dimension. Whether
// the layout still serves the call, its plan says.
void draw_memory(Case& c, Random& random) {
  constexpr std::int64_t kFew = 4000;  // elements
  if (std::accumulate(c.shape.begin(), c.shape.end(), std::int64_t{1}, std::multiplies<>()) <= kFew) {
    c.shape.insert(c.shape.begin(), {2, random.between(1, 3)});
    c.axis += 2;
  }
  const Case drawn = drawn_like(c, random);
  c.in_layout = drawn.in_layout, c.in2_layout = drawn.in2_layout, c.out_layout = drawn.out_layout, c.row_layout = drawn.row_layout;
  c.mask_layout = drawn.mask_layout;
  const auto missing = static_cast<std::ptrdiff_t>(drawn.shape.size() - drawn.mask_shape.size());
  c.mask_shape.assign(c.shape.begin() + missing, c.shape.end());
  for (std::size_t k = 0; k < c.mask_shape.size(); ++k)
    if (drawn.mask_shape[k] == 1) c.mask_shape[k] = 1;
  if (!may_be_in_place(c)) c.in_place = false;
}

// What few calls have, by name: of terms, and of how tensors lie in memory.
using Named = std::pair<const char*, bool>;
std::array<Named, 4> rare_terms(const Case& c, const emulated::Run& how) {
  return {{{"a scalar of the launch", how.initial_on_host},
           {"a scalar in memory", c.first == First::scalar && !how.initial_on_host},
           {"an initial value of another dtype", c.first != First::none && c.first_dtype != DType::none},
           {"a total of the result's dtype", c.total == Total::own && c.total_dtype != DType::none}}};
}
std::array<Named, 4> rare_memory(const Case& c) {
  const support::Layout& in = c.in_layout;
  return {{{"more than three dimensions", c.shape.size() > 3},
           {"a dimension backwards", std::find(in.flip.begin(), in.flip.end(), true) != in.flip.end()},
           {"another order of dimensions", !std::is_sorted(in.order.begin(), in.order.end())},
           {"one element for all of a dimension", std::find(in.gap.begin(), in.gap.end(), 0) != in.gap.end()}}};
}

// A case that a layout serves: sizes around its limits, any kind, term and alignment.
Case random_case(Layout layout, const emulated::Types& types, const Tuning& tuning, Random& random) {
  Case c;
  c.op = types.op, c.in = types.in, c.out = types.out;
  c.mask = static_cast<Mask>(types.mask);
  c.kind = random.pick(kAllKinds), c.reverse = random.chance(50);
  c.fill = natural_fill(c.op, random);
  c.seed = random.next() >> 1;
  std::int64_t length = 0;
  switch (layout) {
    case Layout::short_rows:
    case Layout::packed_rows:
      length = random.chance(50) ? random.between(1, 16) : random.between(65, 128);
      if (c.kind == Kind::prefixes) length -= length == 16 || length == 128 || length == 1 ? -1 + 2 * (length > 1) : 0;
      break;
    case Layout::rows: {
      const std::int64_t tile = tuning.warps * tuning.segments * 128;
      length = tuning.warps == 1 ? random.between(1, tile)
                                 : random.pick(std::vector<std::int64_t>{tile, tile + 1, tile - 1, 2 * tile + 133, 300});
      if (c.kind == Kind::prefixes && tuning.warps == 1 && length == tile) --length;
      if (random.chance(3)) length = 131072 + 4100;
      break;
    }
    case Layout::spread_rows:
    case Layout::split_rows:
      length = random.pick(std::vector<std::int64_t>{4096, 8192, 4095, 8193, 100, 12288 + 77, 5 * 4096 + 1});
      if (random.chance(3)) length = 131072 + 4096 * random.below(3) + random.below(2);
      break;
    default:
      length = random.chance(80) ? random.between(0, 300) : random.pick(std::vector<std::int64_t>{4096, 4097, 4095, 8192, 5000});
  }
  const bool split = layout == Layout::split_columns, ring = split || layout == Layout::column_ring,
             columns = ring || layout == Layout::columns;
  if (split) length = random.pick(std::vector<std::int64_t>{128, 129, 127, 1000, 4096, 4097, 4096 + 128, 4095, 3968, 10, 8192});
  if (split && random.chance(full() ? 4 : 1)) length = 131072 + 128 * random.below(40) + random.below(2);
  const bool strips = tuning.scanners <= 2, narrow = split && !strips && random.chance(80);  // emulated::tunings
  const std::int64_t rows = narrow    ? tuning.capability == 80 ? 12 : random.pick(Sizes{3, 20})
                               : split ? length > 100000 ? 16 : 16 * random.between(1, 4)
                               : ring ? 16 * random.between(1, length > 1000 ? 3 : 36)
                            : columns ? random.between(1, length > 1000 ? 3 : 140)
                                      : random.between(1, length > 1000 ? 3 : 80);
  if (columns) {
    c.shape = {length, rows}, c.axis = 0;
    if (random.chance(40) || (split && tuning.blocks > 0)) c.shape = {2, length, rows}, c.axis = 1;
  } else {
    c.shape = {rows, length}, c.axis = 1;
    if (random.chance(30)) c.shape = {rows, 2, length}, c.axis = 2;
  }
  if (!ring) c.in_layout.offset = random.chance(50) ? 0 : random.below(9);
  if (!ring) c.in2_layout.offset = random.chance(50) ? c.in_layout.offset : random.below(9);
  if (!ring) c.out_layout.offset = random.chance(50) ? 0 : random.below(9);
  if (!ring) c.mask_layout.offset = random.below(5);
  if (!ring && random.chance(30)) {  // gaps, between rows or between elements
    const auto rank = c.shape.size();
    c.in_layout.gap = Sizes(rank, 1);
    c.in_layout.gap[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(rank)))] = 2;
    if (random.chance(50)) c.out_layout.gap = c.in_layout.gap;
  }
  if (c.mask != Mask::none && random.chance(30)) c.mask_shape = {c.shape.back()};
  c.first = random.pick(std::vector{First::none, First::none, First::dropped, First::kept});
  c.total = random.pick(std::vector{Total::none, Total::own, c.first == First::none ? Total::own : Total::is_initial});
  if (random.chance(40)) draw_terms(c, random);
  if (may_be_in_place(c) && random.chance(25)) c.in_place = true;
  return c;
}

class Layouts : public testing::TestWithParam<Layout> {};

TEST_P(Layouts, every_type_has_the_references_bits) {
  Random random(seed());
  const Layout layout = GetParam();
  const bool slow = layout == Layout::split_columns,  // scanners poll, and the emulator gives every poll its turn
      quick = layout == Layout::short_rows || layout == Layout::packed_rows || layout == Layout::columns,
             may_lie_anyhow = !slow && layout != Layout::column_ring && layout != Layout::packed_rows;
  const int rounds = full() ? 40 : slow ? 1 : quick ? 12 : 4;
  std::map<std::string, int> seen;
  for (const emulated::Types& types : emulated::kTypes) {
    const bool wide = cumulus::bytes(types.in) > 4 || cumulus::bytes(types.out) > 4 || types.op == Op::recurrence;
    for (const Tuning& tuning : emulated::tunings(layout)) {
      if (layout == Layout::rows && tuning.segments == 4) continue;  // compiled with a tail only: Rows tests it
      if (layout == Layout::split_columns && tuning.columns == 2 && tuning.scanners <= 2 && wide) continue;  // two of a lane are narrow
      int done = 0;
      for (int tries = 0; done < rounds && tries < 400 * rounds; ++tries) {
        Case c = random_case(layout, types, tuning, random);
        if (random.chance(30)) draw_memory(c, random);
        emulated::Run how;
        how.seed = random.next();
        how.epoch = random.chance(50) ? 0 : static_cast<std::uint32_t>(0xfffffffeu - static_cast<std::uint32_t>(random.below(3)));
        how.dirty = random.chance(50);
        how.initial_on_host = c.first == First::scalar && random.chance(50);
        if (!check(c, tuning, how)) continue;
        ++done;
        for (const auto& [term, has] : rare_terms(c, how)) seen[term] += has;
        if (may_lie_anyhow)
          for (const auto& [term, has] : rare_memory(c)) seen[term] += has;
        if (HasFailure()) return;
      }
      EXPECT_EQ(done, rounds) << name(types.op) << " " << cumulus::name(types.in) << " to " << cumulus::name(types.out);
    }
  }
  for (const auto& [term, times] : seen) EXPECT_GT(times, 0) << term;
}

INSTANTIATE_TEST_SUITE_P(kernels, Layouts,
                         testing::Values(Layout::short_rows, Layout::rows, Layout::split_rows, Layout::columns, Layout::column_ring,
                                         Layout::split_columns, Layout::packed_rows, Layout::spread_rows),
                         [](const auto& tested) { return std::string(name(tested.param)); });

// Tiles of columns that one copy brings, with zeros where the tensor ends, in both directions.
class TensorCopies : public testing::TestWithParam<Layout> {};

TEST_P(TensorCopies, bring_every_type) {
  Random random(seed());
  Tuning tuning = emulated::tunings(GetParam()).front();
  if (GetParam() == Layout::split_columns) tuning.scanners = 1;
  tuning.copies = static_cast<int>(cumulus::cuda::Copies::tensor);
  const int rounds = full() ? 40 : 6;
  for (const emulated::Types& types : emulated::kTypes) {
    if (types.mask != 0 || cumulus::inputs(types.op) == 2) continue;  // copied piece by piece
    int done = 0;
    for (int tries = 0; done < rounds && tries < 400 * rounds; ++tries) {
      Case c = random_case(GetParam(), types, tuning, random);
      if (c.shape.back() % 16 != 0) continue;  // rows are not aligned
      c.kind = kAllKinds[done % 3], c.reverse = done / 3 % 2 != 0;
      if (!may_be_in_place(c)) c.in_place = false;
      if (!c.in_place && random.chance(50)) {  // no row follows another
        c.in_layout.gap = Sizes(c.shape.size(), 1);
        c.in_layout.gap[static_cast<std::size_t>(c.axis)] = 2;
      }
      const Built built(c);
      const Plan plan = plan_for(built.problem(), tuning);
      if (plan.narrow > 0 || built.problem().n < 2) continue;  // tiles are pieces of memory; there are none, or no step between rows
      EXPECT_EQ(plan.copies, cumulus::cuda::Copies::tensor) << describe(built);
      EXPECT_EQ(plan.backward, built.problem().axis.in < 0);
      emulated::Run how;
      how.seed = random.next();
      done += check(c, tuning, how);  // strips that are not shared are compiled without tensor copies
      if (HasFailure()) return;
    }
    EXPECT_EQ(done, rounds) << name(types.op) << " " << cumulus::name(types.in) << " to " << cumulus::name(types.out);
  }
}

INSTANTIATE_TEST_SUITE_P(kernels, TensorCopies, testing::Values(Layout::column_ring, Layout::split_columns),
                         [](const auto& tested) { return std::string(name(tested.param)); });

// A segment or less that is left over after whole tiles is done with the last tile (the `tail` of kernels/rows.cuh); more is not.
TEST(Rows, what_is_left_after_whole_tiles) {
  Random random(seed());
  int wanted = 0, tails = 0;
  for (const emulated::Types& types : emulated::kTypes) {
    const bool first = &types == &emulated::kTypes[0];  // every kind, direction and total
    for (const Tuning& tuning : emulated::tunings(Layout::rows)) {
      if (tuning.warps < 8) continue;
      const bool walks = tuning.segments == 4;  // what is compiled with a tail (emulated_kernels.h): several tiles, and one that is held
      const std::int64_t tile = tuning.warps * tuning.segments * 128;
      for (std::int64_t rest : {0, 1, 2, 4, 5, 127, 128, 129}) {
        if (walks && (rest == 0 || rest == 129)) continue;
        for (int round = 0; round < (first ? 12 : full() ? 6 : 1); ++round) {
          Case c = random_case(Layout::rows, types, tuning, random);
          if (first) c.kind = kAllKinds[round % 3], c.reverse = round / 3 % 2 != 0;
          if (first) c.total = round >= 6 ? Total::own : Total::none;
          // 32: what is left begins a node of level 3. Tiles of two chunks are held, and now and then walked.
          const int tiles = !walks ? (rest > 0 && rest < 129 && random.chance(30) ? 2 : 1) : first && round == 11 ? 32 : 2;
          c.shape.front() = 2, c.shape.back() = tiles * tile + rest - (c.kind == Kind::prefixes);
          if (!c.mask_shape.empty()) c.mask_shape = {c.shape.back()};
          if (!may_be_in_place(c)) c.in_place = false;
          emulated::Run how;
          how.seed = random.next();
          const Plan plan = plan_for(Built(c).problem(), tuning);
          const int tail = rest == 0 || rest == 129 ? 0 : rest <= 4 ? 4 : 128;
          const bool leaves_room = first || tiles == 1 || rest <= 4;  // for the tail, whatever elements are
          EXPECT_TRUE(plan.tail == tail || (!leaves_room && plan.tail == 0)) << rest << " left: tail " << plan.tail;
          const bool done = check(c, tuning, how);
          EXPECT_TRUE(done || (walks && plan.tail == 0)) << describe(Built(c)) << "\n  " << text(plan) << ": not compiled";
          if (HasFailure()) return;
          wanted += tail > 0, tails += done && plan.tail > 0;
        }
      }
    }
  }
  EXPECT_GT(10 * tails, 9 * wanted) << "of the largest elements, rows that are walked have none";
}

// Neighbouring blocks take rows of different parts of the tensors, whether these are whole parts or not.
TEST(Rows, may_be_scattered) {
  Random random(seed());
  for (std::int64_t rows : {1, 3, 4, 7, 9}) {
    Case c;
    c.shape = {rows, 200}, c.axis = 1;
    c.first = First::kept, c.total = Total::own;
    const Tuning tuning = emulated::tunings(Layout::rows).front();
    Plan plan = plan_for(Built(c).problem(), tuning);
    ASSERT_EQ(plan.layout, Layout::rows);
    plan.scatters = true;
    for (std::uint32_t blocks : {4u, 12u}) {
      plan.grid = blocks;
      Built expected(c), got(c);
      emulated::Run how;
      how.seed = random.next();
      std::vector<std::string> findings;
      ASSERT_EQ(emulated::run(got.problem(), plan, memory_of(got, how), how, findings), emulated::Outcome::done);
      expected.run_reference();
      EXPECT_TRUE(expected.equals(got)) << rows << " rows, " << blocks << " blocks";
      EXPECT_EQ(findings, std::vector<std::string>{});
    }
  }
}

// Levels 4 and 5 of the order, groups of the scanners, with as few as one resident block.
TEST(SplitRows, go_through_all_levels_with_one_resident_block) {
  Random random(seed());
  Case c;
  c.shape = {2, 32 * 131072 + 4096 * 33 + 5}, c.axis = 1;
  c.total = Total::own;
  for (const Tuning& tuning : emulated::tunings(Layout::split_rows)) {
    if (tuning.team == 1 || tuning.scanners == 0) continue;  // compiled for strided rows, or for rows of a block's own
    expect_right(c, tuning, {1}, random);
    if (!full()) break;
  }
}

// Of many blocks the first one has no tiles where elements are narrow, but for one that is alone.
TEST(SplitRows, the_scanning_block_may_have_no_tiles) {
  Random random(seed());
  Case c;
  c.in = c.out = DType::f16;
  c.shape = {2, 40 * 4096 + 77}, c.axis = 1;
  for (const Tuning& tuning : emulated::tunings(Layout::split_rows)) {
    if (tuning.team == 1 || tuning.scanners == 0) continue;  // compiled for strided rows, or for rows of a block's own
    expect_right(c, tuning, {1, 2, 8}, random);
  }
}

// A copy brings the vectors that a tile shares with the rest of its row, and none that lies beyond the row's ends: a tile may end close to
// them. The emulator reports what is read outside of a tensor.
TEST(SplitRows, no_copy_reaches_beyond_its_row) {
  Random random(seed());
  for (const auto& [dtype, mask] : {std::pair{DType::f32, support::Mask::select}, {DType::u8, support::Mask::none}})
    for (const Tuning& tuning : emulated::tunings(Layout::split_rows)) {
      if (tuning.team == 1) continue;  // compiled for strided rows
      for (std::int64_t more : {1, 2, 3, 7, 15, 16, 17})
        for (bool reverse : {false, true}) {
          Case c;
          c.in = dtype, c.out = dtype == DType::u8 ? DType::i64 : dtype;
          c.mask = mask, c.reverse = reverse;
          c.shape = {3, 2 * 4096 * tuning.chunks + more}, c.axis = 1;
          expect_right(c, tuning, {2}, random);
        }
    }
}

// Rows that are one block's each: more of them than blocks, and blocks that come late.
TEST(SplitRows, rows_may_be_a_blocks_own) {
  Random random(seed());
  for (Tuning tuning : emulated::tunings(Layout::split_rows)) {
    if (tuning.team == 1 || tuning.scanners > 0) continue;
    tuning.blocks = 3;
    for (std::int64_t length : {12288, 4095, 5 * 4096 + 77}) {
      Case c;
      c.shape = {7, length}, c.axis = 1;
      c.first = First::kept, c.total = Total::own;
      EXPECT_EQ(plan_for(Built(c).problem(), tuning).scanners, 0);
      expect_right(c, tuning, {1, 2, 3}, random);
    }
  }
}

// The same levels of a few long columns, whose nodes of level 3 some warps of the first block hand on to each other.
TEST(SplitColumns, go_through_all_levels) {
  if (!full()) GTEST_SKIP() << "13 million elements: with CUMULUS_FULL";
  Random random(seed());
  Case c;
  c.shape = {32 * 131072 + 4096 * 33 + 5, 3}, c.axis = 0;
  c.total = Total::own;
  expect_right(c, emulated::tunings(Layout::split_columns).front(), {1, 4}, random);
}

// Strips that blocks share, with fewer blocks at a time than scan, as many, and more: then one block alone keeps to its own.
TEST(SplitColumns, strips_are_shared_only_by_blocks_that_run_together) {
  Random random(seed());
  for (const Tuning& tuning : emulated::tunings(Layout::split_columns)) {
    if (tuning.scanners > 2) continue;  // few columns
    Case c;
    c.shape = {4096 + 300, tuning.columns == 1 ? 48 : tuning.blocks ? 128 : 64}, c.axis = 0;
    c.first = First::kept, c.total = Total::own;
    expect_right(c, tuning, {1, 2, 8}, random);
  }
}

// More strips than their tiles are taken of together, and a ring that holds few of them, in as few blocks as can share strips.
TEST(SplitColumns, many_strips_are_shared_some_at_a_time) {
  Random random(seed());
  for (Tuning tuning : emulated::tunings(Layout::split_columns)) {
    if (tuning.scanners > 2 || tuning.blocks > 0) continue;  // few columns; a block's own
    tuning.blocks = 2 * tuning.scanners + 1;
    const int strips = tuning.scanners == 1 ? 10 : 11;  // not whole multiples of the blocks: those would keep to their own
    Case c;
    const bool whole = tuning.scanners == 1 || full();  // a chunk, or a part of one
    c.shape = {whole ? 4096 + 130 : 700, strips * 32 * tuning.columns - 16}, c.axis = 0;
    EXPECT_EQ(plan_for(Built(c).problem(), tuning).scanners, tuning.scanners);
    expect_right(c, tuning, {static_cast<std::uint32_t>(tuning.scanners) + 1}, random);
  }
}

// More nodes of level 3 than a block has warps, and R at both ends of such nodes, in f64: wider sums hide how they are bracketed. Alone on
// the device, blocks leave their tiles to the last one.
TEST(SpreadRows, go_through_all_levels_with_one_resident_block) {
  Random random(seed());
  for (const Tuning& tuning : emulated::tunings(Layout::spread_rows)) {
    Case c;
    c.in = c.out = DType::f64, c.mask = Mask::multiply;
    c.shape = {1, (tuning.warps + 1) * 131072 + (tuning.warps == 8 ? 4096 : 4095)}, c.axis = 1;
    c.total = Total::own;
    expect_right(c, tuning, {1, 4}, random);
  }
}

// The initial value is read before the total may take its place, however late a warp comes to it. Lengths of one chunk and of several
// batches; few rows or columns, so that their totals are there while others still begin.
TEST(SplitKernels, a_total_may_take_its_initial_values_place) {
  Random random(seed());
  for (Layout layout : {Layout::split_rows, Layout::spread_rows, Layout::split_columns}) {
    for (const Tuning& tuning : emulated::tunings(layout)) {
      if (tuning.team == 1) continue;  // compiled for strided rows only
      for (int round = 0; round < (full() ? 100 : 12); ++round) {
        Case c;
        const bool rows = layout == Layout::split_rows, spread = layout == Layout::spread_rows;
        const bool own = rows && tuning.scanners == 0;  // rows of a block's own
        const std::int64_t length = own      ? 2 * 4096
                                    : rows   ? 2 * 131072 + 4096
                                    : spread ? 2 * 4096 + (tuning.warps == 8 ? 4096 : 77 * random.below(2))
                                             : random.pick(std::vector<std::int64_t>{600, 4096 + 600, 2 * 4096});
        if (rows || spread) c.shape = {own ? 4 : 1, length}, c.axis = 1;
        else
          c.shape = {length, tuning.scanners > 2   ? (tuning.columns == 2 ? 12 : 3)
                             : tuning.columns == 1 ? 48
                             : tuning.blocks       ? 128
                                                   : 64},
          c.axis = 0;
        if (spread && tuning.warps == 16) c.kind = Kind::prefixes;  // one result more than whole chunks, or than a part
        c.first = First::kept, c.total = Total::is_initial;
        c.seed = random.next() >> 1;
        emulated::Run how;
        how.seed = random.next();
        EXPECT_TRUE(check(c, tuning, how));
        if (HasFailure() || (rows && round >= (full() ? 10 : 2))) break;
      }
    }
  }
}

// When the epoch comes round, all words are cleared, also those that only larger launches use: the tags of the first launch and of the one
// after the last are the same.
TEST(SplitKernels, the_last_epoch_clears_what_larger_launches_left) {
  Random random(seed());
  for (Layout layout : {Layout::split_rows, Layout::spread_rows, Layout::split_columns}) {
    for (const Tuning& tuning : emulated::tunings(layout)) {
      if (tuning.team == 1 || tuning.blocks > 0) continue;  // compiled for strided rows only; nothing passes between blocks
      Case small, large;
      const std::int64_t odd = layout == Layout::spread_rows && tuning.warps == 16 ? 77 : 0,  // rows that are not aligned
          columns = tuning.scanners > 2   ? (tuning.columns == 2 ? 12 : 3)
                    : tuning.columns == 1 ? 48
                                          : 64;
      if (layout == Layout::split_columns) small.shape = {600, columns}, large.shape = {2 * 4096, columns}, small.axis = large.axis = 0;
      else small.shape = {1, 4096 + 100 + odd}, large.shape = {3, 3 * 4096 + odd}, small.axis = large.axis = 1;
      std::vector<std::uint64_t> workspace;
      emulated::Run how;
      how.workspace = &workspace;
      const auto launch = [&](Case& c) {
        c.seed = random.next() >> 1, how.seed = random.next();
        EXPECT_TRUE(check(c, tuning, how));
      };
      launch(large);
      ASSERT_GT(workspace.size(), std::size_t{cumulus::cuda::kWorkspaceHeader});
      workspace[cumulus::cuda::kEpoch] = std::uint64_t{0xfffffffe} << 32;  // four billion launches later
      launch(small), launch(large);
      if (HasFailure()) return;
    }
  }
}

// ---- tensors that reach beyond 2^32 elements ----

constexpr std::int64_t k32Bits = std::int64_t{1} << 32;

// The elements of a tensor far apart, in address space of which only the pages are ever touched that have some.
class Far {
 public:
  Far(const Tensor& near, Sizes strides) : near_(near), strides_(std::move(strides)) {
    if (!near) return;
    std::int64_t lowest = 0, highest = 0;
    for (std::size_t k = 0; k < near.shape.size(); ++k) {
      const std::int64_t last = strides_[k] * (near.shape[k] - 1);
      (last < 0 ? lowest : highest) += last;
    }
    bytes_ = static_cast<std::size_t>((highest - lowest + 1) * size());
    void* mapping = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<char*>(mapping);
    first_ = mapping_ - lowest * size();
    for_each([&](char* element, char* far) { std::memcpy(far, element, static_cast<std::size_t>(size())); });
  }
  ~Far() {
    if (mapping_) munmap(mapping_, bytes_);
  }
  Far(const Far&) = delete;
  Far& operator=(const Far&) = delete;

  explicit operator bool() const { return mapping_ != nullptr; }
  cumulus::TensorView view() const { return {first_, near_.dtype, {near_.shape.data(), near_.rank()}, {strides_.data(), near_.rank()}}; }
  // The whole extent: what goes astray by a multiple of 2^32 finds zeros, or is missing where it belongs.
  emulator::Memory memory(bool writable) const { return {mapping_, bytes_, writable}; }
  void bring_back() const {
    if (mapping_) for_each([&](char* element, char* far) { std::memcpy(element, far, static_cast<std::size_t>(size())); });
  }

 private:
  std::int64_t size() const { return cumulus::bytes(near_.dtype); }
  template <class Visit>
  void for_each(const Visit& visit) const {
    Sizes index(near_.shape.size(), 0);
    for (;;) {
      std::int64_t at = 0, far = 0;
      for (std::size_t d = 0; d < index.size(); ++d) at += index[d] * near_.strides[d], far += index[d] * strides_[d];
      visit(near_.first() + at * size(), first_ + far * size());
      std::size_t k = 0;
      while (k < index.size() && ++index[k] == near_.shape[k]) index[k++] = 0;
      if (k == index.size()) return;
    }
  }

  const Tensor& near_;
  Sizes strides_;
  std::size_t bytes_ = 0;
  char *mapping_ = nullptr, *first_ = nullptr;
};

// Where a layout has room for large strides: of each dimension how many units, 0 for elements that lie one behind the other. Initial values
// and totals lie units apart always.
struct FarCase {
  Tuning tuning;
  Sizes shape;
  int axis;
  Sizes units;
  std::int64_t unit = k32Bits + 16;
  bool needs_forward = false;  // tensor copies: the outer dimension runs forwards
};

Sizes far_strides(const FarCase& far, const Sizes& shape, std::int64_t unit, bool backward) {
  Sizes strides(shape.size());
  std::int64_t dense = 1;
  for (std::size_t k = shape.size(); k-- > 0;) {
    strides[k] = far.units[k] ? far.units[k] * unit : dense;
    if (!far.units[k]) dense *= shape[k];
    if (backward && far.units[k] && static_cast<int>(k) != far.axis) strides[k] = -strides[k];
  }
  return strides;
}

// The most that an element's index in memory is away from the first one's.
std::int64_t reach(const Problem& p, std::int64_t cumulus::Dim::*stride, std::int64_t n) {
  std::int64_t all = std::abs(p.axis.*stride) * (n - 1);
  for (int i = 0; i < p.dims; ++i) all += std::abs(p.dim[i].*stride) * (p.dim[i].size - 1);
  return all;
}

// False: the tuning's layout cannot serve it, or no kernel for it is compiled here.
bool check_far(const FarCase& far, const emulated::Types& types, bool reverse, Random& random) {
  Case c;
  c.op = types.op, c.in = types.in, c.out = types.out, c.mask = static_cast<Mask>(types.mask);
  c.kind = random.pick(std::vector{Kind::inclusive, Kind::exclusive}), c.reverse = reverse;
  c.shape = far.shape, c.axis = far.axis;
  c.first = First::dropped, c.total = Total::own;
  c.fill = natural_fill(c.op, random), c.seed = random.next() >> 1;
  const Built got(c);
  // Tensors are not equally far apart, and some run the other way.
  const bool turned = !far.needs_forward && random.chance(50);
  const auto strides = [&](std::int64_t more, bool backward) { return far_strides(far, c.shape, far.unit + more, backward); };
  Sizes per_row(c.shape.size() - 1);
  for (std::size_t k = per_row.size(); k-- > 0;)
    per_row[k] = k + 1 == per_row.size() ? k32Bits + 80 : per_row[k + 1] * (got.initial.shape[k + 1] + 1);
  Sizes per_row_back = per_row;
  for (std::int64_t& stride : per_row_back) stride = -stride;
  const Far in(got.in, strides(0, turned)), in2(got.in2, strides(16, false)), out(got.out, strides(32, false)),
      mask(got.mask, strides(48, turned)), initial(got.initial, per_row), total(got.total, turned ? per_row_back : per_row);

  cumulus::ScanSpec spec = got.spec();
  if (mask) spec.mask = mask.view();
  spec.initial = initial.view(), spec.total = total.view();
  const cumulus::ConstTensorView a = in.view(), b = in2.view();
  Problem problem;
  cumulus::canonicalise(cumulus::detail::to_c(a, in2 ? &b : nullptr, out.view(), spec), true, problem);
  const Plan plan = plan_for(problem, far.tuning);
  if (plan.layout != static_cast<Layout>(far.tuning.layout)) return false;
  if (far.needs_forward && types.mask == 0 && cumulus::inputs(types.op) == 1) {
    EXPECT_EQ(plan.copies, cumulus::cuda::Copies::tensor);
  }
  if (plan.layout != Layout::packed_rows) {
    EXPECT_GT(reach(problem, &cumulus::Dim::in, problem.n), k32Bits);
    EXPECT_GT(reach(problem, &cumulus::Dim::out, problem.n_out), k32Bits);
  }
  EXPECT_GT(reach(problem, &cumulus::Dim::initial, 1), k32Bits);
  EXPECT_GT(reach(problem, &cumulus::Dim::total, 1), k32Bits);
  std::vector<emulator::Memory> memory = {in.memory(false), out.memory(true), initial.memory(false), total.memory(true)};
  if (in2) memory.push_back(in2.memory(false));
  if (mask) memory.push_back(mask.memory(false));
  emulated::Run how;
  how.seed = random.next();
  std::vector<std::string> findings;
  if (emulated::run(problem, plan, memory, how, findings) == emulated::Outcome::not_compiled) return false;
  for (const Far* tensor : {&in, &in2, &out, &mask, &initial, &total}) tensor->bring_back();
  const Built expected(c);
  expected.run_reference();
  EXPECT_TRUE(expected.equals(got)) << describe(got) << "\n  " << text(plan) << ", seed " << how.seed;
  EXPECT_EQ(findings, std::vector<std::string>{}) << text(plan);
  return true;
}

// Where the axis is long, elements along it are nearer to each other, and reach as far.
constexpr std::int64_t kLongUnit = (1 << 22) + 16;

std::vector<FarCase> far_cases(Layout layout) {
  std::vector<FarCase> all;
  for (const Tuning& t : emulated::tunings(layout)) {
    switch (layout) {
      case Layout::short_rows:
        all.push_back({t, {3, 100}, 1, {1, 0}});               // vectors
        all.push_back({t, {3, 99}, 1, {1, 0}, k32Bits + 17});  // of any phase
        all.push_back({t, {3, 100}, 1, {0, 1}});               // the axis
        break;
      case Layout::packed_rows:  // rows one behind the other: 2^32 elements would have to be scanned, so that only what is per row can be
                                 // far
        all.push_back({t, {3, 99}, 1, {0, 0}});
        break;
      case Layout::rows: {
        if (t.segments == 4) break;  // compiled with a tail only
        const std::int64_t n = t.warps == 1 ? 200 : t.warps * t.segments * 128 - 4;
        all.push_back({t, {3, n}, 1, {1, 0}});
        all.push_back({t, {3, n - 1}, 1, {1, 0}, k32Bits + 17});
        all.push_back({t, {2, n}, 1, {0, 1}, n < 300 ? k32Bits + 16 : kLongUnit});
        break;
      }
      case Layout::spread_rows:
        if (t.warps == 16) all.push_back({t, {3, 4096 + 77}, 1, {1, 0}, k32Bits + 17});
        else all.push_back({t, {3, 2 * 4096}, 1, {1, 0}}), all.push_back({t, {2, 4096 + 77}, 1, {0, 1}, kLongUnit});
        break;
      case Layout::split_rows:
        if (t.team == 1) all.push_back({t, {2, 4096 + 77}, 1, {0, 1}, kLongUnit});  // compiled for strided rows
        else {
          all.push_back({t, {3, 2 * 4096}, 1, {1, 0}});
          all.push_back({t, {3, 4096 + 77}, 1, {1, 0}, k32Bits + 17});
        }
        break;
      case Layout::columns:
        all.push_back({t, {200, 3}, 0, {1, 0}});
        all.push_back({t, {200, 3}, 0, {0, 1}});
        all.push_back({t, {2, 40, 3}, 1, {4 * 41, 1, 41}});
        break;
      case Layout::column_ring:
      case Layout::split_columns: {
        // Few columns lie one behind the other, row by row: only what is outside of them can be far.
        const bool strips = layout == Layout::split_columns && t.scanners <= 2, narrow = layout == Layout::split_columns && !strips;
        if (narrow) {
          all.push_back({t, {3, 300, t.capability == 80 ? 12 : 3}, 1, {1, 0, 0}});
          break;
        }
        const std::int64_t columns = !strips ? 64 : t.columns == 1 ? 48 : 128;
        all.push_back({t, {strips ? 300 : 40, columns}, 0, {1, 0}});
        if (strips && full() && t.capability != 80 && t.blocks == 0) all.push_back({t, {4096 + 300, columns}, 0, {1, 0}, kLongUnit});
        // Several tiles of a column, so that strips are shared where they can be; the outer stride is one that tensor copies allow.
        const std::int64_t n = strips ? 300 : 40;
        FarCase planes = {t, {2, n, columns}, 1, {n + 1, 1, 0}, strips ? (1 << 26) + 16 : k32Bits + 16};
        all.push_back(planes);
        if (t.capability != 80 && t.blocks == 0) {  // strips that are not shared are compiled without tensor copies
          planes.tuning.copies = static_cast<int>(cumulus::cuda::Copies::tensor), planes.needs_forward = true;
          all.push_back(planes);
        }
        break;
      }
      default:
        break;
    }
  }
  return all;
}

class FarTensors : public testing::TestWithParam<Layout> {};

TEST_P(FarTensors, have_the_references_bits) {
  Random random(seed());
  // One input, two, and masks of both kinds; of four bytes, and of less.
  const emulated::Types tested[] = {{Op::sum, DType::f32, DType::f32, 0},
                                    {Op::min, DType::u8, DType::u8, 1},
                                    {Op::prod, DType::f16, DType::f32, 2},
                                    {Op::recurrence, DType::f32, DType::f32, 0}};
  std::map<Op, int> done;
  for (const FarCase& far : far_cases(GetParam())) {
    int of_case = 0;
    for (const emulated::Types& types : tested)
      for (bool reverse : {false, true}) {
        const bool ran = check_far(far, types, reverse, random);
        done[types.op] += ran, of_case += ran;
        if (HasFailure()) return;
      }
    EXPECT_GT(of_case, 0) << far.shape[static_cast<std::size_t>(far.axis)] << " elements, " << far.shape.size() << " dimensions, scanners "
                          << far.tuning.scanners << ", copies " << far.tuning.copies << ": not compiled";
  }
  for (const emulated::Types& types : tested) EXPECT_GT(done[types.op], 0) << name(types.op);
}

INSTANTIATE_TEST_SUITE_P(kernels, FarTensors,
                         testing::Values(Layout::short_rows, Layout::rows, Layout::split_rows, Layout::columns, Layout::column_ring,
                                         Layout::split_columns, Layout::packed_rows, Layout::spread_rows),
                         [](const auto& tested) { return std::string(name(tested.param)); });

// ---- the selection itself ----

TEST(Selection, has_every_op_with_every_accumulator) {
#define CUMULUS_KERNEL(o, acc)                                                                                         \
  EXPECT_TRUE(std::any_of(std::begin(emulated::kTypes), std::end(emulated::kTypes), [](const emulated::Types& types) { \
    return types.op == Op::o && cumulus::kernel_accumulator(types.op, types.out) == DType::acc;                        \
  })) << #o " " #acc;
#include "cumulus/list.inc"
}

}  // namespace
