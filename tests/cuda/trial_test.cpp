// What the tuner runs on a GPU: results compared in device memory, kernels compiled together, counters. Skipped where there is no GPU.
#include "cuda/trial.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "cuda/driver.h"
#include "cumulus/cumulus.hpp"
#include "error.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;

class GpuTrial : public testing::Test {
 protected:
  static constexpr std::int64_t kRows = 301, kLength = 5003;  // no multiple of a vector's bytes

  GpuTrial()
      : x(static_cast<std::size_t>(kRows * kLength)),
        right(x.size()),
        out(x.size()),
        in(x.data(), DType::f32, {kRows, kLength}),
        result(out.data(), DType::f32, {kRows, kLength}) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 2654435761u % 1000) * 0.001f;
    scan(in, TensorView(right.data(), DType::f32, {kRows, kLength}), spec);
  }
  void SetUp() override {
    try {
      driver();
    } catch (const Failure& failure) {
      GTEST_SKIP() << failure.message;
    }
  }

  cumulus_scan_args args() { return detail::to_c(in, nullptr, result, spec); }  // refers to this fixture's shapes

  const ScanSpec spec{.axis = 1};
  std::vector<float> x, right, out;
  const ConstTensorView in;
  const TensorView result;
};

std::vector<Tuning> layouts() {
  std::vector<Tuning> all(3);
  all[1].layout = static_cast<int>(Layout::rows), all[1].warps = 4;
  all[2].layout = static_cast<int>(Layout::split_rows), all[2].chunks = 1;
  return all;
}

TEST_F(GpuTrial, TheCpusResultIsEveryLayouts) {
  Trial trial(args(), 0);
  ASSERT_TRUE(trial.keep_reference(right.data()));
  trial.compile(layouts());
  for (const Tuning& tuning : layouts()) {
    EXPECT_EQ(trial.first_difference(tuning), std::nullopt) << tuning.layout;
    trial.result(tuning, out.data());
    EXPECT_TRUE(std::equal(out.begin(), out.end(), right.begin())) << tuning.layout;
    EXPECT_GT(trial.scan_ms(tuning), 0);
  }
  EXPECT_GT(trial.copy_ms(), 0);
}

TEST_F(GpuTrial, NamesTheFirstElementThatDiffers) {
  const auto last = static_cast<std::int64_t>(right.size()) - 1;
  for (const std::int64_t place : {std::int64_t{0}, std::int64_t{1}, last / 2, last}) {
    std::vector<float> wrong = right;
    wrong[static_cast<std::size_t>(place)] += 1;
    wrong.back() += 1;
    Trial trial(args(), 0);
    ASSERT_TRUE(trial.keep_reference(wrong.data()));
    EXPECT_EQ(trial.first_difference({}), place);
  }
}

TEST_F(GpuTrial, CountsBytesOrSaysWhyNot) {
  const Trial trial(args(), 0);
  constexpr Quantity kBytes[] = {Quantity::bytes_read, Quantity::bytes_written};
  std::string why;
  const auto counted = trial.counters({}, kBytes, why);
  if (counted) {
    EXPECT_GT(counted->values[static_cast<std::size_t>(Quantity::bytes_read)].value_or(0), 0);
  } else {
    EXPECT_FALSE(why.empty());
  }
}

}  // namespace
