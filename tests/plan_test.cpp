// Plans for described machines: pure functions, nothing is run.
#include "plan.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cpu/cpu_info.h"
#include "support.h"

namespace {

using namespace support;
using cumulus::Algorithm;
using cumulus::Plan;
using cumulus::ShapeCase;

constexpr cumulus::cpu::CpuInfo kOneCore = {1, 32 << 10, 512 << 10, 16 << 20, 32, "AVX2"};
constexpr cumulus::cpu::CpuInfo kTwoCores = {2, 48 << 10, 1 << 20, 32 << 20, 64, "AVX3"};
constexpr cumulus::cpu::CpuInfo kServer = {64, 48 << 10, 2 << 20, 256 << 20, 64, "AVX3"};

// A problem too large to allocate: pointers are null, only the plan is made.
cumulus::Problem problem(Sizes shape, int axis, DType t = DType::f32, const std::function<void(cumulus_scan_args&)>& more = {}) {
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.axis = axis;
  args.in = args.out = {nullptr, shape.data(), nullptr, static_cast<int>(shape.size()), static_cast<int>(t), CUMULUS_CPU, 0};
  if (more) more(args);
  cumulus::Problem p;
  cumulus::canonicalise(args, false, p);
  return p;
}

TEST(Plan, LongVectorsAreSplitOnlyAmongSeveralThreads) {
  const auto p = problem({1 << 28}, 0);
  const Plan one = make_plan(p, kOneCore), two = make_plan(p, kTwoCores);
  EXPECT_EQ(one.algorithm, Algorithm::rows);
  EXPECT_EQ(one.threads, 1);
  EXPECT_EQ(two.algorithm, Algorithm::split_rows);
  EXPECT_EQ(two.threads, 2);
  EXPECT_EQ(two.tile % 4096, 0);
  EXPECT_LE(two.tile * 4, kTwoCores.l2);
  EXPECT_TRUE(two.streaming);
  EXPECT_FALSE(two.staged);
  EXPECT_EQ(two.shape, ShapeCase::rows);
}

TEST(Plan, RowsAndColumns) {
  EXPECT_EQ(make_plan(problem({4096, 4096}, 1), kTwoCores).algorithm, Algorithm::rows);
  EXPECT_EQ(make_plan(problem({1 << 20, 64}, 1), kTwoCores).algorithm, Algorithm::short_rows);
  EXPECT_EQ(make_plan(problem({1 << 20, 128}, 1), kTwoCores).algorithm, Algorithm::short_rows);
  EXPECT_EQ(make_plan(problem({1 << 20, 129}, 1), kTwoCores).algorithm, Algorithm::rows);
  EXPECT_EQ(make_plan(problem({2, 1 << 26}, 1), kServer).algorithm, Algorithm::split_rows);
  const Plan columns = make_plan(problem({4096, 4096}, 0), kTwoCores);
  EXPECT_EQ(columns.algorithm, Algorithm::columns);
  EXPECT_EQ(columns.shape, ShapeCase::columns);
  EXPECT_EQ(make_plan(problem({64, 1024, 512}, 1), kTwoCores).algorithm, Algorithm::columns);
  EXPECT_EQ(make_plan(problem({1 << 22, 8}, 0), kTwoCores).algorithm, Algorithm::split_columns);
}

TEST(Plan, SmallProblemsStayOnTheirThread) {
  for (std::int64_t n : {1, 64, 4096, 100000}) EXPECT_EQ(make_plan(problem({n}, 0), kServer).threads, 1) << n;
  EXPECT_EQ(make_plan(problem({100, 100}, 0), kServer).threads, 1);
  EXPECT_EQ(make_plan(problem({1 << 24}, 0), kServer).threads, 64);
}

TEST(Plan, AskedForThreadsAreAnUpperLimit) {
  const auto threads = [](int asked, std::int64_t n) {
    return make_plan(problem({n}, 0, DType::f32, [asked](auto& args) { args.threads = asked; }), kTwoCores).threads;
  };
  EXPECT_EQ(threads(1, 1 << 26), 1);
  EXPECT_GE(threads(5, 1 << 26), 2);
  EXPECT_LE(threads(5, 1 << 26), 5);
  EXPECT_EQ(threads(5, 100), 1);
}

TEST(Plan, WhatNeedsStaging) {
  EXPECT_FALSE(make_plan(problem({1000, 1000}, 1), kTwoCores).staged);
  EXPECT_TRUE(make_plan(problem({1000, 1000}, 1, DType::bf16), kTwoCores).staged);
  EXPECT_FALSE(make_plan(problem({1000, 1000}, 1, DType::f32, [](auto& args) { args.flags = CUMULUS_REVERSE; }), kTwoCores).staged);
  EXPECT_TRUE(make_plan(problem({1000, 100}, 1, DType::f32, [](auto& args) { args.flags = CUMULUS_REVERSE; }), kTwoCores).staged);
  // Masks: the kernels apply those that lie as the elements do, bool ones and, for floats, those that multiply.
  static constexpr std::int64_t kTransposed[] = {1, 1000};
  const auto masked = [](int axis, std::int32_t dtype, DType in, const std::int64_t* strides) {
    const auto add = [=](auto& args) { args.mask = args.in, args.mask.dtype = dtype, args.mask.strides = strides; };
    return make_plan(problem({1000, 1000}, axis, in, add), kTwoCores).staged;
  };
  for (int axis : {0, 1}) {
    EXPECT_FALSE(masked(axis, CUMULUS_DTYPE_boolean, DType::f32, nullptr));
    EXPECT_FALSE(masked(axis, CUMULUS_DTYPE_boolean, DType::i64, nullptr));
    EXPECT_FALSE(masked(axis, CUMULUS_DTYPE_f32, DType::f32, nullptr));
    EXPECT_TRUE(masked(axis, CUMULUS_DTYPE_i64, DType::i64, nullptr));
    EXPECT_TRUE(masked(axis, CUMULUS_DTYPE_boolean, DType::f32, kTransposed));
  }
  EXPECT_FALSE(make_plan(problem({1000, 1000}, 0, DType::f32, [](auto& args) { args.flags = CUMULUS_REVERSE; }), kTwoCores).staged);
}

TEST(Plan, NothingToDo) {
  EXPECT_EQ(make_plan(problem({0, 5}, 0), kServer).algorithm, Algorithm::none);
  EXPECT_EQ(make_plan(problem({0, 5}, 1), kServer).algorithm, Algorithm::none);
  EXPECT_EQ(make_plan(problem({0, 5}, 1), kServer).shape, ShapeCase::empty);
}

// For any call and machine: a plan is a function of both, moves what must move, and uses no more threads than it may.
TEST(Plan, Invariants) {
  Random random(seed() + 4);
  for (int repeat = 0; repeat < 500; ++repeat) {
    const Built b(random_case(random));
    const cumulus::Problem p = b.problem();
    for (const auto& machine : {kOneCore, kTwoCores, kServer}) {
      const Plan plan = make_plan(p, machine);
      EXPECT_TRUE(plan == make_plan(p, machine));
      EXPECT_GE(plan.threads, 1);
      EXPECT_LE(plan.threads, p.threads > 0 ? p.threads : machine.cores);
      EXPECT_EQ(plan.bytes_required, bytes_required(p));
      EXPECT_GE(plan.bytes_moved, plan.bytes_required);
      EXPECT_STRNE(plan.reason, "");
      if (plan.algorithm == Algorithm::columns || plan.algorithm == Algorithm::split_columns) {
        ASSERT_LT(plan.lane_dim, p.dims);
        EXPECT_GE(plan.lane_dim, 0);
        EXPECT_GE(plan.strip, 1);
        EXPECT_LE(plan.strip, p.dim[plan.lane_dim].size);
      }
      if (plan.algorithm == Algorithm::split_rows) {
        EXPECT_EQ(plan.tile % 4096, 0);
        EXPECT_GT(plan.tile, 0);
      }
    }
  }
}

// The most that a call may move: what the plan adds must still be counted.
TEST(Plan, TheLargestCallsHaveRightFigures) {
  const auto p = problem({std::int64_t{1} << 59}, 0, DType::f32);
  for (const int streaming : {0, 1}) {
    cumulus::cpu::Tuning tuning;
    tuning.streaming = streaming;
    const Plan plan = make_plan(p, kServer, tuning);
    EXPECT_EQ(plan.bytes_required, std::int64_t{1} << 62);
    EXPECT_EQ(plan.bytes_moved, (streaming ? 2 : 3) * (std::int64_t{1} << 61));
    EXPECT_EQ(plan.threads, 64);
  }
}

TEST(Plan, AsJson) {
  const auto p = problem({4096, 4096}, 0, DType::f16);
  const auto json = nlohmann::json::parse(to_json(p, make_plan(p, kTwoCores), kTwoCores));
  EXPECT_EQ(json["op"], "sum");
  EXPECT_EQ(json["accumulator"], "f32");
  EXPECT_EQ(json["shape_case"], "columns");
  EXPECT_EQ(json["algorithm"], "columns");
  EXPECT_EQ(json["bytes_required"], 2 * 2 * 4096 * 4096);
  EXPECT_EQ(json["simd"], "AVX3");
  EXPECT_FALSE(json["reason"].get<std::string>().empty());
}

}  // namespace
