// The stages of a GPU, for described devices: what is proposed can be launched, or says why it cannot.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tuning/cuda_stages.h"

namespace {

using namespace cumulus;
using namespace cumulus::tuning;

const cuda::DeviceInfo& h200() { return *cuda::find_preset("h200"); }

Problem problem(std::vector<std::int64_t> shape, int axis, DType dtype = DType::f32) {
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.axis = axis;
  args.in = args.out = {nullptr, shape.data(), nullptr, static_cast<int>(shape.size()), static_cast<int>(dtype), CUMULUS_CUDA, 0};
  Problem p;
  canonicalise(args, false, p);
  return p;
}

const std::vector<Problem>& problems() {
  static const std::vector<Problem> all = {problem({32768, 32768}, 1),           problem({32768, 4096}, 1), problem({1 << 28}, 0),
                                           problem({32768, 32768}, 0),           problem({1 << 22, 64}, 0), problem({1 << 20, 100}, 1),
                                           problem({4096, 20000}, 1, DType::f64)};
  return all;
}

TEST(CudaStages, EachParameterBelongsToOneClass) {
  const std::vector<std::set<std::string>> classes = {{"layout", "blocks"},
                                                      {"segments", "chunks", "columns"},
                                                      {"slots", "flight", "capability", "copies"},
                                                      {"warps", "flight", "reducers", "storers", "scanners", "team"}};
  for (const Problem& p : problems()) {
    const auto stages = cuda_stages(p, h200(), {1});
    ASSERT_EQ(stages.size(), 4u);
    for (std::size_t i = 0; i < stages.size(); ++i)
      for (const Parameter& parameter : stages[i].parameters) {
        EXPECT_TRUE(classes[i].count(parameter.name)) << stages[i].name << ": " << parameter.name;
        EXPECT_TRUE(std::is_sorted(parameter.values.begin(), parameter.values.end())) << parameter.name;
        EXPECT_EQ(std::count(parameter.values.begin(), parameter.values.end(), parameter.own), 1) << parameter.name;
      }
  }
}

TEST(CudaStages, ForcingThePlannersOwnChangesNothing) {
  for (const Problem& p : problems()) {
    Parameters own;
    for (const Stage& stage : cuda_stages(p, h200(), {1}))
      for (const Parameter& parameter : stage.parameters) own[parameter.name] = parameter.own;
    own.erase("blocks");  // says nothing where a grid is one of rows
    EXPECT_EQ(what_launches(p, make_plan(p, h200(), cuda_tuning(own))), what_launches(p, make_plan(p, h200())));
  }
}

TEST(CudaStages, ThePlannersOwnFitsEveryDevice) {
  for (const cuda::Preset& preset : cuda::presets())
    for (const Problem& p : problems()) EXPECT_EQ(why_unfit(p, make_plan(p, preset.device), preset.device), "") << preset.key;
}

// Every single step, on every device: it is said before the launch what no block can hold.
TEST(CudaStages, EveryStepFitsOrSaysWhyNot) {
  int fit = 0, unfit = 0;
  for (const cuda::Preset& preset : cuda::presets())
    for (const Problem& p : problems())
      for (const Stage& stage : cuda_stages(p, preset.device, {1}))
        for (const Parameter& parameter : stage.parameters)
          for (const std::int64_t value : parameter.values) {
            const cuda::Plan plan = make_plan(p, preset.device, cuda_tuning({{parameter.name, value}}));
            const bool good = why_unfit(p, plan, preset.device).empty();
            ++(good ? fit : unfit);
            if (!good) continue;
            EXPECT_LE(static_cast<int>(plan.threads), preset.device.threads_per_block) << parameter.name << " " << value;
            EXPECT_LE(plan.shared, preset.device.shared_per_block) << parameter.name << " " << value;
          }
  EXPECT_GT(fit, unfit);
  const Problem rows = problem({32768, 4096}, 1);
  EXPECT_NE(why_unfit(rows, make_plan(rows, h200(), cuda_tuning({{"segments", 3}})), h200()), "");
  EXPECT_NE(why_unfit(rows, make_plan(rows, h200(), cuda_tuning({{"warps", 1000}})), h200()), "");
}

// The scans that sessions on a GPU are proven with (bench/tuner_proof).
std::vector<std::pair<std::string, Problem>> workloads() {
  const auto scan = [](std::vector<std::int64_t> shape, int axis, Kind kind, bool reverse, bool mask) {
    std::vector<std::int64_t> out = shape;
    if (kind == Kind::prefixes) ++out[static_cast<std::size_t>(axis)];
    const auto tensor = [](const std::vector<std::int64_t>& sizes, DType dtype) {
      return cumulus_tensor{nullptr, sizes.data(), nullptr, static_cast<int>(sizes.size()), static_cast<int>(dtype), CUMULUS_CUDA, 0};
    };
    cumulus_scan_args args{};
    args.struct_size = sizeof args;
    args.kind = static_cast<decltype(args.kind)>(kind);
    args.axis = axis;
    args.flags = reverse ? CUMULUS_REVERSE : 0;
    args.in = tensor(shape, DType::f32);
    args.out = tensor(out, DType::f32);
    if (mask) args.mask = tensor(shape, DType::boolean);
    Problem p;
    canonicalise(args, false, p);
    return p;
  };
  constexpr std::int64_t kSize = 32768;
  return {{"89", scan({kSize, kSize}, 1, Kind::inclusive, false, false)},
          {"91", scan({kSize, kSize}, 1, Kind::inclusive, true, false)},
          {"92", scan({kSize, kSize}, 1, Kind::exclusive, false, false)},
          {"92-old", scan({kSize - 1, kSize}, 1, Kind::prefixes, false, false)},
          {"93-bool", scan({kSize, kSize}, 1, Kind::inclusive, false, true)},
          {"1d", scan({1 << 30}, 0, Kind::inclusive, false, false)}};
}

TEST(CudaSpace, HundredsOfLaunchesForEveryWorkload) {
  for (const auto& [name, p] : workloads()) {
    const std::vector<Parameters> space = cuda_space(p, h200());
    EXPECT_GE(space.size(), 200u) << name;
    EXPECT_LE(space.size(), 1000u) << name << ": more than a session may try";
    EXPECT_TRUE(space.front().empty()) << name << ": the planner's own";
    std::set<std::string> launches;
    for (const Parameters& parameters : space) {
      const cuda::Plan plan = make_plan(p, h200(), cuda_tuning(parameters));
      EXPECT_EQ(why_unfit(p, plan, h200()), "") << name << ": " << text_of(parameters);
      EXPECT_TRUE(launches.insert(what_launches(p, plan)).second) << name << ": " << text_of(parameters) << " is there twice";
    }
  }
}

TEST(CudaSpace, EveryParameterOfAConfigurationMatters) {
  const Problem p = problem({32768, 32768}, 1);
  for (const Parameters& parameters : cuda_space(p, h200()))
    for (const auto& [name, value] : parameters) {
      Parameters fewer = parameters;
      fewer.erase(name);
      EXPECT_NE(what_launches(p, make_plan(p, h200(), cuda_tuning(fewer))), what_launches(p, make_plan(p, h200(), cuda_tuning(parameters))))
          << text_of(parameters) << " without " << name;
    }
}

// One thread for 2^30 elements would take minutes.
TEST(CudaSpace, NothingThatLeavesTheDeviceIdle) {
  const Problem p = problem({1 << 30}, 0);
  for (const Parameters& parameters : cuda_space(p, h200()))
    EXPECT_EQ(make_plan(p, h200(), cuda_tuning(parameters)).layout, cuda::Layout::split_rows) << text_of(parameters);
  const Stage grid = cuda_stages(p, h200(), {1}).front();
  for (const Parameter& parameter : grid.parameters)
    if (parameter.name == "layout") {
      EXPECT_EQ(parameter.values, std::vector<std::int64_t>{static_cast<int>(cuda::Layout::split_rows)});
    }
}

TEST(CudaSpace, EveryLayoutThatServesIsThere) {
  std::set<cuda::Layout> layouts;
  const Problem p = problem({32768, 32768}, 0);
  for (const Parameters& parameters : cuda_space(p, h200())) layouts.insert(make_plan(p, h200(), cuda_tuning(parameters)).layout);
  for (const cuda::Layout layout : {cuda::Layout::column_ring, cuda::Layout::split_columns, cuda::Layout::columns})
    EXPECT_TRUE(layouts.count(layout)) << name(layout);
}

TEST(CudaStages, AreSkippedWhereNothingIsLeft) {
  const Problem p = problem({32768, 4096}, 1);
  for (const Stage& stage : cuda_stages(p, h200(), {0.98})) EXPECT_FALSE(stage.look({}, 1).skip.empty()) << stage.name;
  EXPECT_TRUE(cuda_stages(p, h200(), {0.5})[2].look({}, 1).skip.empty());
}

// Tiles that are wrong can keep many warps active: only a good rate shows that nothing is to be gained.
TEST(CudaStages, ActiveWarpsAreNoReasonToSkipWhereTheRateIsLow) {
  const Problem p = problem({32768, 4096}, 1);
  const auto busy = [](const Parameters&) { return std::optional(CudaCounters{0.9, 0.5, 1e9}); };
  EXPECT_TRUE(cuda_stages(p, h200(), {0.5, busy})[1].look({}, 1).skip.empty());
  EXPECT_NE(cuda_stages(p, h200(), {0.96, busy})[1].look({}, 1).skip.find("90 % of the warps are active"), std::string::npos);
}

TEST(CudaStages, LookAtCountersWhereThereAreAny) {
  const Problem p = problem({32768, 4096}, 1);
  const auto required = static_cast<double>(make_plan(p, h200()).bytes_required);
  const auto twice = [&](const Parameters&) { return std::optional(CudaCounters{0.25, 0.8, 2 * required}); };
  const Look counted = cuda_stages(p, h200(), {1, twice})[2].look({}, 1);
  EXPECT_EQ(counted.metrics.at("traffic amplification, counted"), 2);
  EXPECT_EQ(counted.metrics.at("warps active, counted"), 0.25);
  EXPECT_EQ(counted.metrics.at("DRAM throughput, counted"), 0.8);
  EXPECT_EQ(counted.skip, "") << "bytes that move twice can be saved, whatever the plan says";
  const Look planned = cuda_stages(p, h200(), {1})[2].look({}, 1);
  EXPECT_EQ(planned.metrics.at("traffic amplification, of the plan"), 1);
  EXPECT_NE(planned.skip, "");
  const auto none = [](const Parameters&) { return std::optional<CudaCounters>(); };
  EXPECT_EQ(cuda_stages(p, h200(), {1, none})[2].look({}, 1).metrics, planned.metrics);
}

TEST(CudaStages, WhatIsNotKnownIsLeftOut) {
  EXPECT_EQ(cuda_tuning({{"strip", 7}, {"layout", 99}}), cuda::Tuning{});
  EXPECT_EQ(cuda_tuning({{"slots", 5}}).slots, 5);
}

}  // namespace
