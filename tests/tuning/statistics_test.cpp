// The rule that calls a candidate faster, on known numbers.
#include "tuning/statistics.h"

#include <gtest/gtest.h>

namespace {

using namespace cumulus::tuning;

std::vector<double> gains(int wins, int losses) {
  std::vector<double> all(static_cast<std::size_t>(wins), 0.04);
  all.insert(all.end(), static_cast<std::size_t>(losses), -0.01);
  return all;
}

TEST(Statistics, SignTestCountsCoins) {
  EXPECT_NEAR(sign_test(5, 5), 1.0 / 32, 1e-12);
  EXPECT_NEAR(sign_test(4, 5), 6.0 / 32, 1e-12);
  EXPECT_NEAR(sign_test(0, 5), 1, 1e-12);
  EXPECT_NEAR(sign_test(3, 4), 5.0 / 16, 1e-12);
  EXPECT_NEAR(sign_test(68, 136), 0.5342, 1e-4);
}

TEST(Statistics, FewRoundsProveNothing) {
  const Rule rule;
  EXPECT_EQ(judge({}, rule), Verdict::undecided);
  EXPECT_EQ(judge(gains(5, 0), rule), Verdict::undecided) << "1 in 32 is not rare enough";
  EXPECT_EQ(judge(gains(8, 0), rule), Verdict::faster);
  EXPECT_EQ(judge(gains(7, 1), rule), Verdict::undecided);
  EXPECT_EQ(judge(gains(0, 5), rule), Verdict::not_faster);
}

TEST(Statistics, AGainMustExceedTheMargin) {
  const std::vector<double> small(40, 0.01);
  EXPECT_EQ(judge(small, Rule{}), Verdict::not_faster);
  EXPECT_EQ(judge(small, {.margin = 0.005}), Verdict::faster);
}

TEST(Statistics, OneLargeOutlierDecidesNothing) {
  std::vector<double> all = gains(0, 12);
  all[3] = 100;
  EXPECT_EQ(judge(all, Rule{}), Verdict::not_faster);
}

TEST(Statistics, Quantiles) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2);
  EXPECT_EQ(quantile({1, 2, 3, 4, 5}, 1), 5);
  EXPECT_EQ(quantile({1, 2, 3, 4, 5}, 0), 1);
}

}  // namespace
