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
  const std::vector<std::set<std::string>> classes = {{"layout", "blocks", "scanning"},
                                                      {"segments", "chunks", "columns", "panel"},
                                                      {"slots", "flight", "capability"},
                                                      {"warps", "flight", "reducers", "storers", "scanners"}};
  for (const Problem& p : problems()) {
    const auto stages = cuda_stages(p, h200(), 1);
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
    for (const Stage& stage : cuda_stages(p, h200(), 1))
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
      for (const Stage& stage : cuda_stages(p, preset.device, 1))
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

TEST(CudaStages, ManyDifferentLaunches) {
  const Problem p = problem({1 << 28}, 0);
  std::set<std::string> launches;
  const auto stages = cuda_stages(p, h200(), 1);
  for (const Parameter& slots : stages[2].parameters)
    for (const Parameter& other : stages[3].parameters)
      for (const std::int64_t a : slots.values)
        for (const std::int64_t b : other.values)
          launches.insert(what_launches(p, make_plan(p, h200(), cuda_tuning({{slots.name, a}, {other.name, b}}))));
  EXPECT_GT(launches.size(), 50u);
}

TEST(CudaStages, AreSkippedWhereNothingIsLeft) {
  const Problem p = problem({32768, 4096}, 1);
  for (const Stage& stage : cuda_stages(p, h200(), 0.98)) EXPECT_FALSE(stage.look({}, 1).skip.empty()) << stage.name;
  EXPECT_TRUE(cuda_stages(p, h200(), 0.5)[2].look({}, 1).skip.empty());
}

TEST(CudaStages, WhatIsNotKnownIsLeftOut) {
  EXPECT_EQ(cuda_tuning({{"strip", 7}, {"layout", 99}}), cuda::Tuning{});
  EXPECT_EQ(cuda_tuning({{"slots", 5}}).slots, 5);
}

}  // namespace
