// The table of benchmark cases: sizes and bytes, and that every case names a call the library accepts.
#include "bench_cases.h"

#include <gtest/gtest.h>

#include <set>

#include "commands.h"
#include "types.h"

namespace cumulus::cli {
namespace {

const BenchCase& find(const char* name, const std::vector<BenchCase>& cases = bench_cases()) {
  for (const BenchCase& c : cases)
    if (c.name == name) return c;
  throw std::runtime_error(name);
}

TEST(BenchCases, BytesAreThoseThatMustMove) {
  EXPECT_EQ(find("1d/2^6").bytes(), 64 * 8);
  EXPECT_EQ(find("rows/4096x4096-prefixes").bytes(), 4096LL * (4096 + 4097) * 4);
  EXPECT_EQ(find("workload/93-mask-bool").bytes(), 8192LL * 8192 * 9);
  EXPECT_EQ(find("workload/93-mask-f32").bytes(), 8192LL * 8192 * 12);
  EXPECT_EQ(find("op/recurrence").bytes(), 4096LL * 8192 * 12);
  EXPECT_EQ(find("dtype/u8-i64").bytes(), 4096LL * 4096 * 9);
}

TEST(BenchCases, EveryCaseIsACallTheLibraryTakes) {
  for (const auto* cases : {&bench_cases(), &cuda_bench_cases()}) {
    std::set<std::string> names;
    for (const BenchCase& c : *cases) {
      SCOPED_TRACE(c.name);
      EXPECT_TRUE(names.insert(c.name).second);
      EXPECT_TRUE(supported_pair(c.in, c.out));
      EXPECT_TRUE(has_kernel(c.op, kernel_accumulator(c.op, c.out)));
      EXPECT_LT(c.axis, static_cast<int>(c.shape.size()));
    }
  }
}

TEST(BenchCases, OfAGpuAreContiguousAndLargeUnlessTheyAreSmallByName) {
  for (const BenchCase& c : cuda_bench_cases()) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(c.layout, InputLayout::contiguous);
    if (!c.name.starts_with("small/") && !c.name.starts_with("middle/")) {
      EXPECT_GE(c.bytes(), std::int64_t{4} << 30);
    }
    EXPECT_LE(c.to_reach, 1);
  }
  EXPECT_EQ(find("workload/92-prefixes", cuda_bench_cases()).out_shape(), (std::vector<std::int64_t>{32767, 32769}));
  EXPECT_EQ(find("small/2^10", cuda_bench_cases()).to_reach_us, 5);
  EXPECT_EQ(find("middle/2^27", cuda_bench_cases()).to_reach, 0.95);
}

TEST(BenchCases, EveryPairOfOneDtypeIsMeasured) {
#define CUMULUS_DTYPE(name, text, value, bytes, family) \
  if (supported_pair(DType::name, DType::name)) {       \
    EXPECT_EQ(find("dtype/" text).in, DType::name);     \
  }
#include "cumulus/list.inc"
}

TEST(BenchCases, AreSelectedByGlobs) {
  const auto select = [](const std::vector<std::string>& globs) { return select_cases(bench_cases(), globs); };
  EXPECT_EQ(select({}).size(), bench_cases().size());
  EXPECT_EQ(select({"1d/2^6"}).size(), 1u);
  EXPECT_EQ(select({"workload/*", "workload/9*"}).size(), 7u);
  EXPECT_THROW(select({"workload/*", "none/*"}), CliError);
  EXPECT_EQ(select_cases(cuda_bench_cases(), {"small/*"}).size(), 11u);
}

}  // namespace
}  // namespace cumulus::cli
