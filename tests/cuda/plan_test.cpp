// The plan of a GPU scan, for devices that nobody has here: which layout a call gets, and that what is planned fits the device.
#include "cuda/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "support.h"

namespace {

using namespace support;
using cumulus::Problem;
using cumulus::cuda::Copies;
using cumulus::cuda::DeviceInfo;
using cumulus::cuda::find_preset;
using cumulus::cuda::Layout;
using cumulus::cuda::make_plan;
using cumulus::cuda::Plan;
using cumulus::cuda::Tuning;

const DeviceInfo& h200() { return *find_preset("h200"); }
const DeviceInfo& rtx4090() { return *find_preset("4090"); }

// A sum of a C-contiguous tensor that lies nowhere.
Problem problem(Sizes shape, int axis, DType in = DType::f32, DType out = DType::none, Kind kind = Kind::inclusive, bool reverse = false) {
  if (out == DType::none) out = in;
  Sizes out_shape = shape;
  if (kind == Kind::prefixes) ++out_shape[static_cast<std::size_t>(axis)];
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.kind = static_cast<int>(kind), args.axis = axis, args.flags = reverse ? CUMULUS_REVERSE : 0;
  const auto rank = static_cast<std::int32_t>(shape.size());
  args.in = {nullptr, shape.data(), nullptr, rank, static_cast<std::int32_t>(in), 0, 0};
  args.out = {nullptr, out_shape.data(), nullptr, rank, static_cast<std::int32_t>(out), 0, 0};
  Problem p;
  canonicalise(args, false, p);
  return p;
}

TEST(CudaPlan, EachShapeGetsItsLayout) {
  const auto layout = [](Sizes shape, int axis) { return make_plan(problem(std::move(shape), axis), h200()).layout; };
  EXPECT_EQ(layout({1 << 20, 64}, 1), Layout::short_rows);
  EXPECT_EQ(layout({1 << 20, 63}, 1), Layout::packed_rows);
  EXPECT_EQ(layout({1 << 20, 1000}, 1), Layout::rows);
  EXPECT_EQ(layout({32768, 32768}, 1), Layout::rows);
  EXPECT_EQ(layout({1 << 30}, 0), Layout::split_rows);
  EXPECT_EQ(layout({16, 1 << 26}, 1), Layout::split_rows);
  EXPECT_EQ(layout({1000}, 0), Layout::rows);
  EXPECT_EQ(layout({1 << 16}, 0), Layout::spread_rows);
  EXPECT_EQ(layout({4, 1 << 18}, 1), Layout::spread_rows);
  EXPECT_EQ(layout({1 << 21}, 0), Layout::spread_rows);
  EXPECT_EQ(layout({1 << 22}, 0), Layout::split_rows);
  Tuning before_hopper;
  before_hopper.capability = 80;
  EXPECT_EQ(make_plan(problem({1 << 22}, 0), h200(), before_hopper).layout, Layout::spread_rows) << "no bulk copies";
  EXPECT_EQ(layout({100, 8192}, 1), Layout::rows) << "a block for each keeps the device busy";
  EXPECT_EQ(layout({32768, 32768}, 0), Layout::column_ring);
  EXPECT_EQ(layout({512, 1024, 2048}, 1), Layout::column_ring);
  EXPECT_EQ(layout({1000, 1001}, 0), Layout::columns) << "pieces of rows are not aligned";
  EXPECT_EQ(layout({5, 0}, 1), Layout::none);
  EXPECT_EQ(layout({0, 5}, 1), Layout::none);
}

TEST(CudaPlan, ManyRowsThatRegistersDoNotHoldGoThroughRings) {
  const auto plan = [](Sizes shape, DType t, const DeviceInfo& device) { return make_plan(problem(std::move(shape), 1, t), device); };
  for (const auto& [shape, t] :
       {std::pair{Sizes{16384, 32768}, DType::f64}, {Sizes{16384, 32768}, DType::i64}, {Sizes{26214, 40960}, DType::f32}}) {
    const Plan own = plan(shape, t, h200());
    EXPECT_EQ(own.layout, Layout::split_rows);
    EXPECT_EQ(own.scanners, 0) << "a row is one block's";
    EXPECT_EQ(own.workspace_words, cumulus::cuda::kWorkspaceHeader);
    EXPECT_EQ(plan(shape, t, rtx4090()).layout, Layout::rows) << "too little shared memory";
  }
  EXPECT_GT(plan({4096, 1 << 18}, DType::f32, h200()).scanners, 0) << "long rows are cut";
  EXPECT_EQ(plan({16384, 65536}, DType::f32, h200()).layout, Layout::rows) << "two whole steps";
}

// Measured on an H200 (docs/decisions.md): what a tile costs its readers and writers decides how many there are.
TEST(CudaPlan, RingsHaveTheRolesThatTheirRowsNeed) {
  const auto roles = [](Problem p, const Tuning& tuning = {}) {
    const Plan plan = make_plan(p, h200(), tuning);
    EXPECT_EQ(plan.layout, Layout::split_rows);
    return std::array{plan.chunks, plan.reducers, plan.storers, plan.team, plan.scanners};
  };
  const auto masked = [](Problem p, DType mask) {
    p.mask_dtype = mask, p.axis.mask = p.axis.in;
    return p;
  };
  constexpr std::array aligned = {1, 4, 3, 1, 7}, most = {1, 2, 3, 2, 7}, shifted = {1, 3, 4, 2, 8};
  EXPECT_EQ(roles(problem({1 << 30}, 0)), aligned);
  EXPECT_EQ(roles(problem({(1 << 30) - 1}, 0)), most) << "all but the last tile are aligned";
  EXPECT_EQ(roles(problem({(1 << 30) - 1}, 0, DType::f32, DType::f32, Kind::inclusive, true)), shifted) << "it begins at an odd end";
  EXPECT_EQ(roles(problem({1023, (1 << 20) + 1}, 1)), shifted);
  EXPECT_EQ(roles(masked(problem({1 << 30}, 0), DType::boolean)), most);
  EXPECT_EQ(roles(masked(problem({1 << 30}, 0), DType::f32)), (std::array{1, 1, 1, 4, 5}));
  EXPECT_EQ(roles(masked(problem({1 << 30}, 0, DType::bf16), DType::boolean))[0], 2) << "narrow elements' tiles have two chunks";
  Tuning before_hopper;
  before_hopper.capability = 80;
  EXPECT_EQ(roles(problem({1 << 30}, 0), before_hopper), (std::array{2, 2, 1, 4, 5}));
}

TEST(CudaPlan, NoElementsStillShowInitialValues) {
  const Plan plan = make_plan(problem({7, 0}, 1, DType::f32, DType::f32, Kind::prefixes), h200());
  EXPECT_EQ(plan.layout, Layout::columns);
  EXPECT_GT(plan.grid, 0u);
}

TEST(CudaPlan, WholeRowsAreHeldInRegisters) {
  const Plan plan = make_plan(problem({32768, 32768}, 1), h200());
  EXPECT_EQ(plan.warps, 8);
  EXPECT_EQ(plan.segments, 32);
  EXPECT_FALSE(plan.walks);
  EXPECT_TRUE(plan.aligned);
  EXPECT_EQ(plan.step, 1);
  EXPECT_FALSE(make_plan(problem({32768, 32767}, 1), h200()).aligned);
  EXPECT_EQ(make_plan(problem({32768, 32768}, 1, DType::f32, DType::f32, Kind::inclusive, true), h200()).step, -1);
}

// A segment or less that is left over after whole tiles has no step of its own, and no larger tile.
TEST(CudaPlan, WhatIsLeftAfterWholeTilesGoesWithTheLast) {
  const auto plan = [](std::int64_t n, Kind kind = Kind::inclusive, bool reverse = false, DType dtype = DType::f32) {
    return make_plan(problem({32768, n}, 1, dtype, dtype, kind, reverse), h200());
  };
  for (bool reverse : {false, true}) {
    for (const Plan& held : {plan(32769, Kind::inclusive, reverse), plan(32768 + 4, Kind::exclusive, reverse)}) {
      EXPECT_EQ(held.tail, 4);
      EXPECT_FALSE(held.walks);
      EXPECT_EQ(held.warps * held.segments, 256);
    }
    for (const Plan& walked : {plan(32768 + 127, Kind::exclusive, reverse), plan(32768 + 128 - 1, Kind::prefixes, reverse)}) {
      EXPECT_EQ(walked.tail, 128);
      EXPECT_TRUE(walked.walks);
      EXPECT_EQ(walked.warps * walked.segments, 128) << "two steps";
      EXPECT_EQ(walked.blocks_per_sm, 2);
    }
    for (std::int64_t n : {4096, 8192, 16384, 24576, 28672, 32768}) {
      const Plan held = plan(n, Kind::prefixes, reverse);
      EXPECT_EQ(held.tail, 4);
      EXPECT_FALSE(held.walks);
      EXPECT_EQ(held.warps * held.segments * 128, n);
    }
    Tuning two;
    two.segments = 2;
    const Problem whole = problem({32768, 8192}, 1, DType::f32, DType::f32, Kind::prefixes, reverse);
    EXPECT_EQ(make_plan(whole, h200(), two).warps, 16) << "a tile of whole chunks";
    for (std::int64_t n : {1025, 32767, 32768, 32768 + 129, 40000, 5000}) EXPECT_EQ(plan(n, Kind::inclusive, reverse).tail, 0) << n;
  }
  EXPECT_EQ(plan(32768 + 128, Kind::prefixes).tail, 0) << "129 results are left";
  EXPECT_EQ(plan(32768 + 8).tail, 128) << "aligned: 8 warps hold it, as they do 32768";
  EXPECT_EQ(plan(65536 + 8).tail, 0) << "32 segments of a warp, and walked: no registers";
  EXPECT_EQ(plan(65536 + 4).tail, 4) << "one quad has them";
  EXPECT_EQ(plan(12288 + 8, Kind::inclusive, false, DType::f64).tail, 0) << "16 segments of 8 bytes";
}

// Rows that are read 128 KiB apart, and are not written so: neighbouring blocks take them from different places, if they are alone on their
// multiprocessors.
TEST(CudaPlan, RowsThatDriftApartAreScattered) {
  const auto scatters = [](std::int64_t n, Kind kind, DType dtype = DType::f32) {
    return make_plan(problem({32768, n}, 1, dtype, dtype, kind), h200()).scatters;
  };
  EXPECT_TRUE(scatters(32768, Kind::prefixes));
  EXPECT_FALSE(scatters(32768, Kind::exclusive)) << "results lie as elements do";
  EXPECT_FALSE(scatters(32769, Kind::prefixes));
  EXPECT_FALSE(scatters(28672, Kind::prefixes)) << "112 KiB";
  EXPECT_FALSE(scatters(65536, Kind::prefixes)) << "walked";
  EXPECT_FALSE(scatters(16384, Kind::prefixes)) << "two blocks of a multiprocessor, and 64 KiB";
  for (Kind kind : {Kind::prefixes, Kind::exclusive}) {
    const Problem p = problem({32767, 32768}, 1, DType::f32, DType::f32, kind);
    const Plan plan = make_plan(p, h200());
    cumulus::cuda::HostArgs args;
    fill_args(p, plan, false, nullptr, 0, args);
    EXPECT_EQ((args.flags & cumulus::cuda::kScattersRows) != 0, kind == Kind::prefixes);
    EXPECT_EQ(plan.grid, kind == Kind::prefixes ? 32768u : 32767u);
  }
}

// Rows that are held: the tile fits them, warps and blocks are many.
TEST(CudaPlan, HeldTilesFitTheirRows) {
  const auto plan = [](std::int64_t n, bool reverse = false) {
    return make_plan(problem({100000, n}, 1, DType::f32, DType::f32, Kind::inclusive, reverse), h200());
  };
  for (std::int64_t n : {1100, 2500, 2501, 5000, 5001, 8192, 9001, 12001, 16383}) {
    for (bool reverse : {false, true}) {
      const Plan held = plan(n, reverse);
      SCOPED_TRACE(n);
      EXPECT_EQ(held.layout, Layout::rows);
      EXPECT_FALSE(held.walks);
      EXPECT_LT(held.warps * held.segments * 128 - n, 16 * 128);
      EXPECT_GE(held.blocks_per_sm * n, 12288) << "results under way";
    }
  }
  EXPECT_EQ(plan(5001).warps * plan(5001).segments, 48) << "no power of two, nor whole chunks";
  EXPECT_EQ(plan(5000, true).segments, 8) << "in reverse, 16 segments of aligned rows would spill";
}

TEST(CudaPlan, HopperCopiesInBulkOthersDoNot) {
  EXPECT_EQ(make_plan(problem({1 << 30}, 0), h200()).copies, Copies::bulk);
  EXPECT_EQ(make_plan(problem({1 << 30}, 0), rtx4090()).copies, Copies::async);
  Tuning before;
  before.capability = 80;
  const Plan forced = make_plan(problem({1 << 30}, 0), h200(), before);
  EXPECT_EQ(forced.copies, Copies::async);
  EXPECT_LE(forced.shared, 99 * 1024);
}

TEST(CudaPlan, LoadersOfLongColumnsFitTheirRing) {
  EXPECT_EQ(make_plan(problem({1 << 24, 64}, 0), h200()).loaders, 1) << "a tile is one bulk copy";
  EXPECT_EQ(make_plan(problem({1 << 20, 1024}, 0), h200()).loaders, 1) << "a tile is one tensor copy";
  EXPECT_EQ(make_plan(problem({1 << 20, 1024}, 0), rtx4090()).loaders, 2) << "rows of 256 bytes";
  EXPECT_EQ(make_plan(problem({1 << 28, 4}, 0), h200()).loaders, 2);
  Tuning one;
  one.slots = 1;
  const Plan plan = make_plan(problem({1 << 20, 1024}, 0), rtx4090(), one);
  EXPECT_EQ(plan.slots, 1);
  EXPECT_EQ(plan.loaders, 1);
}

TEST(CudaPlan, OneCopyBringsATileOfShortPieces) {
  const auto copies = [](const Problem& p, int asked = 0, const DeviceInfo& device = h200()) {
    Tuning tuning;
    tuning.copies = asked;
    return make_plan(p, device, tuning).copies;
  };
  constexpr int kAsync = static_cast<int>(Copies::async), kBulk = static_cast<int>(Copies::bulk),
                kTensor = static_cast<int>(Copies::tensor);
  const Problem strips = problem({1 << 20, 1024}, 0), pieces = problem({32768, 32768}, 0), whole = problem({1 << 24, 64}, 0);
  EXPECT_EQ(copies(strips), Copies::tensor);
  EXPECT_EQ(copies(strips, kAsync), Copies::async);
  EXPECT_EQ(copies(strips, kBulk), Copies::bulk);
  EXPECT_EQ(copies(strips, 0, rtx4090()), Copies::async);
  EXPECT_EQ(copies(strips, kTensor, rtx4090()), Copies::async);
  EXPECT_EQ(copies(pieces), Copies::bulk) << "a KiB of each row";
  EXPECT_EQ(copies(pieces, kTensor), Copies::tensor);
  EXPECT_EQ(copies(whole), Copies::bulk) << "a tile is one piece of memory";
  EXPECT_EQ(copies(whole, kTensor), Copies::tensor);
  EXPECT_EQ(copies(problem({1 << 28, 4}, 0), kTensor), Copies::bulk) << "segments side by side";
  EXPECT_EQ(copies(problem({1 << 15, 1 << 15}, 0, DType::u8, DType::i64)), Copies::async) << "a ring's rows of 128 bytes";

  // What a map cannot say, or no kernel does.
  const auto other = [&](const auto& change) {
    Problem p = strips;
    change(p);
    return copies(p, kTensor);
  };
  EXPECT_EQ(other([](Problem&) {}), Copies::tensor);
  EXPECT_EQ(other([](Problem& p) { p.mask_dtype = DType::boolean, p.mask = nullptr, p.axis.mask = 1024, p.dim[0].mask = 1; }),
            Copies::async);
  EXPECT_EQ(other([](Problem& p) { p.op = Op::recurrence, p.axis.in2 = 1024, p.dim[0].in2 = 1; }), Copies::async);
  EXPECT_EQ(other([](Problem& p) { p.axis.in = 0; }), Copies::async) << "broadcast";
  EXPECT_EQ(other([](Problem& p) { p.axis.in = std::int64_t{1} << 38; }), Copies::async) << "2^40 bytes";
  EXPECT_EQ(other([](Problem& p) { p.n = p.n_out = std::int64_t{1} << 31; }), Copies::async) << "rows have 31 bits";
  const auto outer = [&](std::int64_t stride) {
    Problem p = problem({3, 1 << 18, 1024}, 1);
    p.dim[0].in = stride;
    return copies(p, kTensor);
  };
  EXPECT_EQ(outer(1 << 28), Copies::tensor);
  EXPECT_EQ(outer((1 << 28) + 1024), Copies::tensor) << "rows between";
  EXPECT_EQ(outer((1 << 28) + 512), Copies::async) << "not whole rows";
  EXPECT_EQ(outer(-(1 << 28)), Copies::async);
  EXPECT_EQ(outer(0), Copies::async);
  Problem constant = problem({3, 1 << 18, 1024}, 1);
  constant.axis.in = 0;
  EXPECT_EQ(copies(constant, kTensor), Copies::async);
  Problem many = problem({3, 2, 1 << 18, 1024}, 2);  // its outer dimensions are merged
  EXPECT_EQ(copies(many), Copies::tensor);
}

TEST(CudaPlan, AMapSaysWhereTilesLie) {
  static float memory[4];
  for (const bool reverse : {false, true}) {
    Problem p = problem({3, 1 << 18, 1024}, 1, DType::f32, DType::f32, Kind::inclusive, reverse);
    p.in = memory;
    const Plan plan = make_plan(p, h200());
    ASSERT_EQ(plan.copies, Copies::tensor);
    EXPECT_EQ(plan.backward, reverse);
    const cumulus::cuda::TensorShape shape = tensor_shape(p, plan);
    const std::int64_t last = ((1 << 18) - 1) * 4096;
    EXPECT_EQ(shape.base, reinterpret_cast<char*>(memory) - (reverse ? last : 0)) << "the first element is the last one in memory";
    const unsigned long long sizes[] = {512, 1 << 18, 3}, strides[] = {4096, 1 << 30};
    EXPECT_TRUE(std::equal(sizes, sizes + 3, shape.size));
    EXPECT_TRUE(std::equal(strides, strides + 2, shape.stride));
    const unsigned box[] = {32, 128, 1};
    EXPECT_TRUE(std::equal(box, box + 3, shape.box)) << "64 columns of a segment";
    Problem flat = problem({1 << 20, 1024}, 0);
    EXPECT_EQ(tensor_shape(flat, make_plan(flat, h200())).size[2], 1u);
  }
  Tuning ring;
  ring.layout = static_cast<int>(Layout::column_ring), ring.copies = static_cast<int>(Copies::tensor);
  const Problem p = problem({32768, 32768}, 0);
  const cumulus::cuda::TensorShape shape = tensor_shape(p, make_plan(p, h200(), ring));
  EXPECT_EQ(shape.box[0] * cumulus::cuda::kTensorElement, 1024u);
  EXPECT_EQ(shape.box[1], 16u);
}

TEST(CudaPlan, StripsOfColumnsAreSharedWhereTheyWouldLeaveBlocksIdle) {
  const Plan own = make_plan(problem({1 << 17, 8192}, 0), h200());
  EXPECT_EQ(own.layout, Layout::split_columns);
  EXPECT_EQ(own.grid, 128u) << "a block for each strip of 64 columns";
  EXPECT_EQ(own.scanners, 0);
  EXPECT_EQ(own.workspace_words, 0);
  const Plan shared = make_plan(problem({1 << 20, 1024}, 0), h200());
  EXPECT_EQ(shared.grid, 132u);
  EXPECT_EQ(shared.scanners, 4);
  EXPECT_GT(shared.workspace_words, 0);
  EXPECT_EQ(make_plan(problem({1 << 24, 64}, 0), h200()).scanners, 2) << "no more than groups of 32 columns";
  Tuning one;
  one.blocks = 1;
  EXPECT_EQ(make_plan(problem({1 << 20, 1024}, 0), h200(), one).scanners, 0) << "nobody to share with";
  Tuning most;
  most.columns = 4, most.storers = 12;
  const Plan wide = make_plan(problem({1 << 20, 1024}, 0, DType::f64, DType::f64), h200(), most);
  EXPECT_EQ(wide.columns, 2) << "16 bytes of a row";
  EXPECT_LE(wide.warps, 32);
}

// An op of elements and results of one dtype, inputs that lie as each other.
Problem problem_of(Op op, DType dtype, Sizes shape, int axis) {
  Problem p = problem(std::move(shape), axis, dtype);
  p.op = op, p.kernel = cumulus::kernel_accumulator(op, dtype);
  p.axis.in2 = p.axis.in;
  for (int i = 0; i < p.dims; ++i) p.dim[i].in2 = p.dim[i].in;
  return p;
}

// Every preset, and slices of them that have few multiprocessors.
std::vector<DeviceInfo> large_and_small_devices() {
  std::vector<DeviceInfo> all;
  for (const auto& preset : cumulus::cuda::presets()) all.push_back(preset.device);
  for (const char* key : {"a100", "h200", "4090"})
    for (int sms : {6, 14, 16, 30, 60}) {
      all.push_back(*find_preset(key));
      all.back().sms = sms, all.back().name += ", " + std::to_string(sms) + " of its multiprocessors";
    }
  return all;
}

// Tiles that fill all rings wait for the last one of their chunk: those of a panel's chunk must find room.
TEST(CudaPlan, APanelsChunkFitsWhatBlocksHold) {
  int shared = 0, narrower = 0;
  for (const DeviceInfo& device : large_and_small_devices())
    for (const Supported& s : supported())
      for (std::int64_t columns : {64, 256, 1024, 2048}) {
        if (s.in != s.out) continue;
        const Plan plan = make_plan(problem_of(s.op, s.in, {1 << 20, columns}, 0), device);
        if (plan.layout != Layout::split_columns) continue;
        SCOPED_TRACE(device.name + ", " + cumulus::name(s.op) + " " + cumulus::name(s.in) + ", " + std::to_string(columns) + " columns");
        if (plan.scanners == 0) {
          EXPECT_EQ(plan.panel, 1);
          continue;
        }
        const bool holds = inputs(s.op) == 1 && plan.columns * bytes(cumulus::kernel_accumulator(s.op, s.out)) <= 8;
        const int held = (static_cast<int>(plan.grid) - plan.scanners) * (plan.slots + (holds ? plan.storers : 0));
        EXPECT_LE(plan.panel, 8);
        EXPECT_TRUE(plan.panel == 1 || 3 * 32 * plan.panel <= 2 * held) << plan.panel << " strips, " << held << " tiles";
        EXPECT_LE(plan.panel * plan.columns, plan.warps * plan.scanners) << "groups that no warp scans";
        if (held >= 384) {
          EXPECT_EQ(plan.panel, 8) << "room for eight strips' chunk";
        }
        ++shared, narrower += plan.panel < 8;
      }
  EXPECT_GT(narrower, 0);
  EXPECT_GT(shared, narrower);
}

TEST(CudaPlan, APanelIsEightStripsWhereBlocksHoldThem) {
  const auto panel = [](Op op, DType dtype, const DeviceInfo& device) {
    return make_plan(problem_of(op, dtype, {1 << 20, 1024}, 0), device).panel;
  };
  for (const Supported& s : supported()) {
    if (s.in != s.out) continue;
    const bool largest = s.op == Op::recurrence && s.in == DType::c128;
    EXPECT_EQ(panel(s.op, s.in, h200()), largest ? 2 : 8) << cumulus::name(s.op) << " " << cumulus::name(s.in);
  }
  EXPECT_LT(panel(Op::sum, DType::f32, *find_preset("l4")), 8);
  const Problem p = problem({1 << 20, 1024}, 0);
  Tuning tuning;
  tuning.panel = 3;
  const Plan three = make_plan(p, h200(), tuning);
  EXPECT_EQ(three.panel, 3);
  EXPECT_EQ(std::ranges::count(cumulus::cuda::definitions(p, three), "-DCUMULUS_PANEL=3"), 1);
  tuning.panel = 1000;
  EXPECT_EQ(make_plan(p, h200(), tuning).panel, 30) << "groups that no warp scans";
  EXPECT_EQ(make_plan(problem({1 << 11, 192}, 0), *find_preset("l4")).panel, make_plan(p, *find_preset("l4")).panel)
      << "a small problem would need a kernel of its own";
}

// What sequences of any length leave in shared memory: five levels above the chunk for 2^32 elements.
TEST(CudaPlan, CarriesOfLongSequencesFitEveryDevice) {
  int columns = 0;
  for (const DeviceInfo& device : large_and_small_devices())
    for (const Supported& s : supported())
      for (std::int64_t n : {std::int64_t{1} << 20, std::int64_t{1} << 32, std::int64_t{1} << 36})
        for (const Sizes& shape : {Sizes{n}, Sizes{n, 3}, Sizes{n, 67}, Sizes{n, 256}})
          for (int layout = 0; layout <= static_cast<int>(cumulus::cuda::kLastLayout); ++layout) {
            if (s.in != s.out) continue;
            Tuning tuning;
            tuning.layout = layout;
            const Plan plan = make_plan(problem_of(s.op, s.in, shape, 0), device, tuning);
            EXPECT_LE(plan.shared, device.shared_per_block)
                << device.name << ", " << cumulus::name(s.op) << " " << cumulus::name(s.in) << ", " << n << ", " << name(plan.layout);
            EXPECT_GE(plan.warps, 1);
            columns += plan.layout == Layout::columns;
          }
  EXPECT_GT(columns, 0);
  const Problem widest = problem_of(Op::recurrence, DType::c128, {std::int64_t{1} << 32, 67}, 0);
  Tuning walked;
  walked.layout = static_cast<int>(Layout::columns);
  EXPECT_EQ(make_plan(widest, h200(), walked).warps, 4);
  const Plan fewer = make_plan(widest, rtx4090(), walked);
  EXPECT_EQ(fewer.warps, 2) << "of 64 threads 60 KiB fit";
  EXPECT_EQ(fewer.grid, 2u) << "67 columns";
}

TEST(CudaPlan, WhatIsWalkedIsABalancedSubtree) {
  Tuning three;
  three.warps = 3, three.segments = 32;
  const Plan plan = make_plan(problem({100, 24576}, 1), h200(), three);
  EXPECT_TRUE(plan.walks);
  EXPECT_EQ(plan.warps, 2);
  EXPECT_EQ(make_plan(problem({100, 12288}, 1), h200(), three).warps, 3) << "held, not walked";
  Tuning five;
  five.warps = 5, five.segments = 8;
  EXPECT_EQ(make_plan(problem({100, 40 * 128}, 1), h200(), five).warps, 5) << "held: no whole chunks";
  EXPECT_EQ(make_plan(problem({100, 41 * 128 + 8}, 1), h200(), five).warps, 4) << "walked: whole chunks";
}

TEST(CudaPlan, ChunksAreSpreadOverBlocksWhereTwoLevelsReach) {
  Tuning spread;
  spread.layout = static_cast<int>(Layout::spread_rows);
  const auto forced = [&](Sizes shape, int axis, Kind kind) {
    return make_plan(problem(std::move(shape), axis, DType::f32, DType::f32, kind), h200(), spread);
  };
  const Plan most = forced({1 << 22}, 0, Kind::prefixes);
  EXPECT_EQ(most.layout, Layout::spread_rows);
  EXPECT_EQ(most.grid, 1024u) << "the last chunk's block has one result more";
  EXPECT_EQ(forced({(1 << 22) + 1}, 0, Kind::inclusive).layout, Layout::split_rows);
  EXPECT_EQ(forced({3, 5000}, 1, Kind::inclusive).grid, 6u);
  EXPECT_EQ(forced({0xffff, 100}, 1, Kind::inclusive).layout, Layout::spread_rows);
  EXPECT_EQ(forced({0x10000, 100}, 1, Kind::inclusive).layout, Layout::split_rows) << "blocks are counted in 16 bits";
}

// More rows, or tiles, than blocks or their tickets can be counted in 32 bits.
TEST(CudaPlan, WhatKernelsCountIn32BitsIsCountable) {
  constexpr std::int64_t kMany = std::int64_t{1} << 31;
  const auto forced = [](Layout layout, Sizes shape, int axis) {
    Tuning tuning;
    tuning.layout = static_cast<int>(layout), tuning.columns = 1, tuning.scanners = 2;
    return make_plan(problem(std::move(shape), axis, DType::u8), h200(), tuning);
  };
  // Short rows: 256 threads of a block, each of whose lanes has rows once.
  EXPECT_EQ(forced(Layout::short_rows, {256 * (kMany - 1), 4}, 1).layout, Layout::short_rows);
  EXPECT_EQ(forced(Layout::short_rows, {256 * (kMany - 1) + 1, 4}, 1).layout, Layout::rows) << "blocks walk rows";
  EXPECT_EQ(forced(Layout::packed_rows, {8 * (kMany - 1), 127}, 1).layout, Layout::packed_rows);
  EXPECT_EQ(forced(Layout::packed_rows, {8 * (kMany - 1) + 1, 127}, 1).layout, Layout::rows);

  EXPECT_EQ(forced(Layout::split_rows, {kMany - 1, 5}, 1).layout, Layout::split_rows);
  EXPECT_EQ(forced(Layout::split_rows, {kMany, 5}, 1).layout, Layout::rows) << "scanners' jobs";
  EXPECT_EQ(make_plan(problem({kMany, 40960}, 1, DType::f64), h200()).scanners, 0) << "nothing passes between blocks, no ticket is counted";

  EXPECT_EQ(forced(Layout::split_columns, {kMany / 2, 10, 64}, 1).layout, Layout::column_ring) << "two strips of each";
  EXPECT_EQ(forced(Layout::split_columns, {kMany / 2 - 1, 10, 64}, 1).layout, Layout::split_columns);
  EXPECT_EQ(forced(Layout::split_columns, {kMany, 300, 4}, 1).layout, Layout::split_columns) << "tickets of few columns have 64 bits";

  const Plan scattered = make_plan(problem({kMany - 2, 32768}, 1, DType::f32, DType::f32, Kind::prefixes), h200());
  EXPECT_TRUE(scattered.scatters);
  EXPECT_EQ(scattered.grid, kMany - 4) << "a grid's blocks, whole parts";
}

// What a warp of the ring has to know of the others (kernels/split_rows.cuh).
void expect_fits(const Problem& p, const DeviceInfo& device, const Tuning& tuning) {
  const Plan plan = make_plan(p, device, tuning);
  if (plan.layout == Layout::none) return;
  SCOPED_TRACE(device.name + " " + name(plan.layout));
  EXPECT_GT(plan.grid, 0u);
  EXPECT_LE(plan.grid, 0x7fffffffu);
  EXPECT_GT(plan.threads, 0u);
  EXPECT_EQ(plan.threads % 32, 0u);
  EXPECT_LE(static_cast<int>(plan.threads), device.threads_per_block);
  EXPECT_LE(plan.shared, device.shared_per_block);
  EXPECT_LE(plan.warps * plan.blocks_per_sm, device.warps_per_sm);
  EXPECT_LE((plan.shared + device.shared_reserved) * plan.blocks_per_sm, device.shared_per_sm);
  if (plan.layout == Layout::rows) {
    const int tile = plan.warps * plan.segments;
    EXPECT_EQ(plan.walks, p.n_out > tile * 128 + plan.tail);
    if (plan.tail) {
      EXPECT_EQ(tile % 32, 0) << "a tail begins a chunk";
      EXPECT_GE(p.n_out % (tile * 128), 1);
      EXPECT_LE(p.n_out % (tile * 128), plan.tail);
    }
    if (plan.walks) {
      EXPECT_EQ(tile % 32, 0) << "tiles of whole chunks";
      EXPECT_EQ(tile / 32 & (tile / 32 - 1), 0) << "what is walked is a balanced subtree";
    }
    EXPECT_LE(tile, 512);
  }
  if (plan.layout == Layout::split_rows || plan.layout == Layout::split_columns) {
    EXPECT_GE(plan.slots, 1);
    EXPECT_TRUE(plan.reducers == 1 || plan.reducers + plan.flight <= plan.slots);
    EXPECT_TRUE(plan.storers == 1 || plan.storers + plan.flight <= plan.slots);
    EXPECT_LE(plan.loaders, plan.slots);
    const bool exchanges = plan.layout == Layout::split_rows || plan.narrow > 0 || plan.scanners > 0;
    EXPECT_EQ(plan.workspace_words > 0, exchanges);
    if (plan.layout == Layout::split_columns && plan.narrow == 0 && exchanges) {
      EXPECT_LT(plan.scanners, static_cast<int>(plan.grid)) << "a block that takes tiles";
    }
  } else if (plan.layout == Layout::spread_rows) {
    EXPECT_EQ(plan.warps * plan.segments, 32) << "a chunk";
    EXPECT_LE(p.n, std::int64_t{1} << 22);
    EXPECT_GT(plan.workspace_words, 0);
  } else {
    EXPECT_EQ(plan.workspace_words, 0);
  }
  if (plan.copies == Copies::tensor) {
    for (unsigned side : tensor_shape(p, plan).box) {
      EXPECT_GE(side, 1u);
      EXPECT_LE(side, 256u);
    }
  }
  const auto definitions = cumulus::cuda::definitions(p, plan);
  EXPECT_EQ(definitions, cumulus::cuda::definitions(p, make_plan(p, device, tuning))) << "a pure function";
}

TEST(CudaPlan, RandomCallsFitEveryDevice) {
  Random random(seed());
  for (int i = 0; i < (full() ? 20000 : 1000); ++i) {
    const Case c = support::random_case(random);
    const Built b(c);
    Tuning tuning;
    if (random.chance(30)) tuning.layout = static_cast<int>(random.between(1, static_cast<int>(cumulus::cuda::kLastLayout)));
    if (random.chance(30)) tuning.capability = 80;
    if (random.chance(30)) tuning.copies = static_cast<int>(random.between(1, 3));
    expect_fits(b.problem(), random.pick(cumulus::cuda::presets()).device, tuning);
  }
}

TEST(CudaPlan, ArgumentsCarryTheProblem) {
  const Problem p = problem({3, 5, 7}, 1, DType::f32, DType::f32, Kind::exclusive);
  const Plan plan = make_plan(p, h200());
  const auto args = std::make_unique<cumulus::cuda::HostArgs>();
  cumulus::cuda::fill_args(p, plan, false, nullptr, 0, *args);
  EXPECT_EQ(args->n, 5);
  EXPECT_EQ(args->rows, 21);
  EXPECT_EQ(args->dims, 2);
  EXPECT_EQ(args->dim[1].size, 7) << "lanes walk the last dimension";
  EXPECT_EQ(args->in_step, 7);
  EXPECT_TRUE(args->flags & cumulus::cuda::kExclusive);
  EXPECT_FALSE(args->flags & cumulus::cuda::kHasTotal);
}

// Kernels know dtypes by number.
static_assert(static_cast<int>(DType::f16) == 1 && static_cast<int>(DType::bf16) == 2 && static_cast<int>(DType::f32) == 3 &&
              static_cast<int>(DType::f64) == 4 && static_cast<int>(DType::i8) == 5 && static_cast<int>(DType::u8) == 9 &&
              static_cast<int>(DType::boolean) == 13 && static_cast<int>(DType::c64) == 14 && static_cast<int>(DType::c128) == 15);

}  // namespace
