// What may be forced of a CPU plan: it takes effect, stays within bounds, and changes no bit.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "cpu/tuning.h"
#include "cumulus/cumulus.hpp"
#include "support.h"
#include "tuning/cpu_stages.h"

namespace {

using namespace cumulus;
using namespace cumulus::tuning;

constexpr cpu::CpuInfo kMachine = {4, 48 << 10, 1 << 20, 32 << 20, 64, "AVX3"};

Problem problem(std::vector<std::int64_t> shape, int axis) {
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.axis = axis;
  args.in = args.out = {nullptr, shape.data(), nullptr, static_cast<int>(shape.size()), static_cast<int>(DType::f32), CUMULUS_CPU, 0};
  Problem p;
  canonicalise(args, false, p);
  return p;
}

Plan plan_with(const Problem& p, const Parameters& parameters) { return make_plan(p, kMachine, cpu_tuning(parameters)); }

TEST(CpuTuning, EachChoiceTakesEffect) {
  const Problem rows = problem({4096, 16384}, 1), columns = problem({16384, 4096}, 0);
  EXPECT_EQ(plan_with(rows, {{"threads", 3}}).threads, 3);
  EXPECT_EQ(plan_with(rows, {{"split", 1}}).algorithm, Algorithm::split_rows);
  EXPECT_EQ(plan_with(rows, {{"split", 1}, {"tile", 8192}}).tile, 8192);
  EXPECT_EQ(plan_with(rows, {{"batch", 65536}}).batch, 65536);
  EXPECT_EQ(plan_with(rows, {{"ahead", 512}}).ahead, 512);
  EXPECT_TRUE(make_plan(rows, kMachine).streaming);
  EXPECT_FALSE(plan_with(rows, {{"streaming", 0}}).streaming);
  EXPECT_TRUE(plan_with(rows, {{"staged", 1}}).staged);
  EXPECT_EQ(plan_with(columns, {{"strip", 64}}).strip, 64);
  EXPECT_EQ(plan_with(columns, {{"split", 1}}).algorithm, Algorithm::split_columns);
  EXPECT_EQ(plan_with(problem({3, 1 << 24}, 1), {{"split", 0}}).algorithm, Algorithm::rows);
}

TEST(CpuTuning, WhatCannotBeIsCut) {
  Problem p = problem({4096, 16384}, 1);
  EXPECT_EQ(plan_with(p, {{"threads", 1000}}).threads, 4);
  EXPECT_EQ(plan_with(p, {{"threads", 0}}).threads, 1);
  p.threads = 2;
  EXPECT_EQ(plan_with(p, {{"threads", 3}}).threads, 2);
  EXPECT_EQ(plan_with(p, {{"split", 1}, {"tile", 5000}}).tile, 4096);
  EXPECT_EQ(plan_with(p, {{"split", 1}, {"tile", 1LL << 40}}).tile, 16384);
  EXPECT_GE(plan_with(p, {{"batch", 0}}).batch, 1);
  EXPECT_LE(plan_with(p, {{"ahead", 1LL << 40}}).ahead, 1 << 20);
  const Problem wide = problem({16, 1 << 24}, 0);
  EXPECT_LE(plan_with(wide, {{"strip", 1LL << 40}}).strip, 16384);
  EXPECT_GE(plan_with(wide, {{"strip", 0}}).strip, 1);
  EXPECT_TRUE(plan_with(p, {{"from another version", 7}}) == make_plan(p, kMachine));
}

TEST(CpuTuning, EmptyProblemsHaveNothingToChoose) {
  EXPECT_TRUE(plan_with(problem({0, 5}, 0), {{"split", 1}, {"strip", 3}}) == make_plan(problem({0, 5}, 0), kMachine));
  EXPECT_TRUE(cpu_stages(problem({0, 5}, 0), kMachine, {}).empty());
}

TEST(CpuTuning, NoChoiceChangesABit) {
  for (const auto& [shape, axis] : std::vector<std::pair<std::vector<std::int64_t>, int>>{
           {{7, 20001}, 1}, {{40, 4096}, 1}, {{300, 100}, 1}, {{20001, 7}, 0}, {{9000, 40}, 0}, {{3, 9001, 5}, 1}, {{65536}, 0}}) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    std::vector<float> x(static_cast<std::size_t>(count)), expected(x.size()), y(x.size());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u % 1000) * 0.37f - 100;
    const Dims dims(shape.data(), static_cast<int>(shape.size()));
    const auto run = [&](std::vector<float>& to, const Parameters& parameters) {
      const cpu::ForceTuning forced(cpu_tuning(parameters));
      std::fill(to.begin(), to.end(), -1.0f);
      scan(ConstTensorView(x.data(), DType::f32, dims), TensorView(to.data(), DType::f32, dims), {.axis = axis, .threads = 3});
    };
    run(expected, {});
    for (const std::int64_t threads : {1, 3})
      for (const std::int64_t split : {0, 1})
        for (const std::int64_t streaming : {0, 1})
          for (const std::int64_t staged : {0, 1})
            for (const auto& [tile, strip, batch, ahead] : std::vector<std::array<std::int64_t, 4>>{
                     {4096, 1, 1, 0}, {8192, 3, 70000, 1}, {1 << 20, 16, 1 << 20, 64}, {4096, 100000, 1 << 12, 1 << 19}}) {
              const Parameters parameters = {{"threads", threads}, {"split", split}, {"streaming", streaming}, {"staged", staged},
                                             {"tile", tile},       {"strip", strip}, {"batch", batch},         {"ahead", ahead}};
              run(y, parameters);
              ASSERT_EQ(std::memcmp(y.data(), expected.data(), x.size() * sizeof(float)), 0) << text_of(parameters) << ", axis " << axis;
            }
  }
}

TEST(CpuTuning, ForcingEndsWithItsScope) {
  EXPECT_EQ(cpu::ForceTuning::current(), nullptr);
  {
    const cpu::ForceTuning outer(cpu_tuning({{"threads", 1}}));
    {
      const cpu::ForceTuning inner(cpu_tuning({{"threads", 2}}));
      EXPECT_EQ(cpu::ForceTuning::current()->threads, 2);
    }
    EXPECT_EQ(cpu::ForceTuning::current()->threads, 1);
  }
  EXPECT_EQ(cpu::ForceTuning::current(), nullptr);
}

// ---- Stages ----

CpuFigures figures(double copy_ms, double busy) {
  return {copy_ms, [busy](const Parameters&) { return busy; }};
}

TEST(CpuStages, EachHasItsOwnClassOfParameters) {
  const auto stages = cpu_stages(problem({4096, 16384}, 1), kMachine, figures(1, 0.5));
  ASSERT_EQ(stages.size(), 4u);
  const std::vector<std::vector<std::string>> names = {
      {"threads", "split"}, {"tile", "batch"}, {"streaming", "ahead"}, {"ahead", "staged"}};
  for (std::size_t i = 0; i < stages.size(); ++i) {
    ASSERT_EQ(stages[i].parameters.size(), names[i].size()) << stages[i].name;
    for (std::size_t k = 0; k < names[i].size(); ++k) {
      const Parameter& parameter = stages[i].parameters[k];
      EXPECT_EQ(parameter.name, names[i][k]);
      EXPECT_TRUE(std::is_sorted(parameter.values.begin(), parameter.values.end()));
      EXPECT_EQ(std::count(parameter.values.begin(), parameter.values.end(), parameter.own), 1) << parameter.name;
    }
  }
  EXPECT_EQ(cpu_stages(problem({16384, 4096}, 0), kMachine, figures(1, 0.5))[1].parameters[0].name, "strip");
}

TEST(CpuStages, AreSkippedByTheirRules) {
  const Problem p = problem({4096, 16384}, 1);  // streams: every byte moves once
  const auto skips = [&](double copy_ms, double busy) {
    std::vector<bool> skipped;
    for (const Stage& stage : cpu_stages(p, kMachine, figures(copy_ms, busy))) skipped.push_back(!stage.look({}, 1).skip.empty());
    return skipped;
  };
  EXPECT_EQ(skips(0.5, 0.5), (std::vector<bool>{false, false, false, false}));
  EXPECT_EQ(skips(0.92, 0.5), (std::vector<bool>{false, false, false, false})) << "cores are idle";
  EXPECT_EQ(skips(0.92, 0.8), (std::vector<bool>{true, false, false, false}));
  EXPECT_EQ(skips(0.96, 0.8), (std::vector<bool>{true, true, false, false}));
  EXPECT_EQ(skips(0.98, 0.1), (std::vector<bool>{true, true, true, true})) << "nothing is left to gain";
}

TEST(CpuStages, TrafficThatIsNotNeededKeepsThemGoing) {
  const Problem p = problem({2048, 4096}, 1);  // 64 MiB: lines are read before they are written
  ASSERT_FALSE(make_plan(p, kMachine).streaming);
  const auto stages = cpu_stages(p, kMachine, figures(1, 0.9));
  EXPECT_DOUBLE_EQ(stages[2].look({}, 1).metrics.at("traffic amplification"), 1.5);
  EXPECT_TRUE(stages[2].look({}, 1).skip.empty());
  EXPECT_DOUBLE_EQ(stages[2].look({{"streaming", 1}}, 1).metrics.at("traffic amplification"), 1.0);
}

TEST(CpuStages, PlansThatRunAlikeAreOne) {
  const Problem p = problem({2048, 4096}, 1);
  const auto runs = [&](const Parameters& parameters) { return what_runs(p, plan_with(p, parameters)); };
  EXPECT_EQ(runs({}), runs({{"tile", 65536}})) << "nothing is split";
  EXPECT_EQ(runs({}), runs({{"ahead", 512}})) << "nothing is asked for ahead";
  EXPECT_NE(runs({{"streaming", 1}}), runs({{"streaming", 1}, {"ahead", 512}}));
  EXPECT_NE(runs({}), runs({{"batch", 65536}}));
}

}  // namespace
