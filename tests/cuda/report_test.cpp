// What `cumulus plan` says of a GPU.
#include "cuda/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cumulus/cumulus.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;

nlohmann::json report(const char* device, std::int64_t rows, std::int64_t length, int axis, bool mask = false) {
  const std::int64_t shape[] = {rows, length};
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.axis = axis;
  args.in = {nullptr, shape, nullptr, 2, CUMULUS_DTYPE_f32, CUMULUS_CUDA, 0};
  args.out = args.in;
  if (mask) args.mask = args.in, args.mask.dtype = CUMULUS_DTYPE_boolean;
  Problem problem;
  canonicalise(args, false, problem);
  return nlohmann::json::parse(to_json(problem, make_plan(problem, *find_preset(device)), *find_preset(device)));
}

TEST(Report, FloorTimesOfTheWorkloads) {
  EXPECT_NEAR(report("4090", 32768, 32768, 1).at("floor_us").get<double>(), 8522, 1);
  EXPECT_NEAR(report("4090", 32768, 32768, 1, true).at("floor_us").get<double>(), 9587, 1);
  EXPECT_NEAR(report("h200", 32768, 32768, 1).at("floor_us").get<double>(), 1790, 1);
}

TEST(Report, HasEveryKey) {
  for (const auto& [rows, length, axis] : {std::tuple{1000000, 64, 1}, {32768, 32768, 1}, {1, 1 << 26, 1}, {4096, 4096, 0}, {0, 5, 1}}) {
    const auto json = report("h200", rows, length, axis);
    for (const char* key :
         {"op",          "kind",           "in_dtype", "out_dtype",   "accumulator", "rows",   "length",        "device",
          "capability",  "algorithm",      "copies",   "grid",        "threads",     "shared", "blocks_per_sm", "workspace_bytes",
          "bytes_moved", "bytes_required", "floor_us", "definitions", "reason"})
      EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_TRUE(report("h200", 1, 1 << 26, 1).contains("slots"));
  EXPECT_GT(report("h200", 1, 1 << 26, 1).at("workspace_bytes"), 0);
  EXPECT_EQ(report("h200", 32768, 32769, 1).at("tail"), 4);
  const auto shared = report("h200", 1 << 20, 1024, 0), own = report("h200", 1 << 17, 8192, 0), few = report("h200", 1 << 28, 4, 0);
  EXPECT_EQ(shared.at("scanners"), 4);
  EXPECT_EQ(shared.at("copies"), "tensor");
  EXPECT_EQ(own.at("scanners"), 0);
  EXPECT_EQ(few.at("narrow"), 4);
  EXPECT_EQ(few.at("side"), 8);
}

TEST(Report, AnAxisWithoutElementsLiesNowhere) {
  const std::int64_t shape[] = {5, 0}, out_shape[] = {5, 1};
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.axis = 1;
  args.kind = CUMULUS_PREFIXES;
  args.in = {nullptr, shape, nullptr, 2, CUMULUS_DTYPE_f32, CUMULUS_CUDA, 0};
  args.out = {nullptr, out_shape, nullptr, 2, CUMULUS_DTYPE_f32, CUMULUS_CUDA, 0};
  Problem problem;
  canonicalise(args, false, problem);
  const Plan plan = make_plan(problem, *find_preset("h200"));
  EXPECT_STREQ(reason(problem, plan), "no elements along the axis: only initial values are shown");
  EXPECT_STREQ(reason(problem, plan),
               nlohmann::json::parse(to_json(problem, plan, *find_preset("h200"))).at("reason").get<std::string>().c_str());
  EXPECT_EQ(report("h200", 0, 5, 1).at("reason"), "no elements: nothing to do");
  EXPECT_NE(report("h200", 32768, 32768, 0).at("reason").get<std::string>().find("not contiguous"), std::string::npos);
}

}  // namespace
