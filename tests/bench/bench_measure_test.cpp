// Rounds and statistics of the benchmark. What is measured counts calls: no test here looks at a time.
#include "bench_measure.h"

#include <gtest/gtest.h>

#include <string>

namespace cumulus::cli {
namespace {

TEST(BenchMeasure, SummaryIsMedianAndRelativeSpread) {
  const Summary odd = summarise({5, 1, 3, 2, 4, 11, 6, 8, 7, 10, 9});  // 1 to 11
  EXPECT_EQ(odd.median_us, 6);
  EXPECT_DOUBLE_EQ(odd.spread, 8.0 / 6);
  EXPECT_EQ(summarise({4, 1, 3, 2}).median_us, 2.5);
  EXPECT_EQ(summarise({7}).spread, 0);
}

TEST(BenchMeasure, ContestantsTakeTurns) {
  std::string turns;
  const auto turn = [&turns](char name) {
    return [&turns, name](int) {
      if (turns.empty() || turns.back() != name) turns += name;
    };
  };
  std::vector<Contestant> both(2);
  both[0].run = turn('a');
  both[1].run = turn('b');
  measure(both, {.rounds = 4, .seconds = 0});
  EXPECT_EQ(turns, "ababababab");  // warm-up and calibration, then four rounds
  EXPECT_EQ(both[0].us.size(), 4u);
  EXPECT_EQ(both[1].us.size(), 4u);
}

TEST(BenchMeasure, ShortWorkIsTimedInBatches) {
  long work = 0;
  std::vector<Contestant> one;
  one.push_back(contestant("one", [&work] { ++work; }));
  measure(one, {.rounds = 3, .seconds = 0});
  EXPECT_GT(one[0].calls, 1);
  EXPECT_GE(work, 3L * one[0].calls);
}

}  // namespace
}  // namespace cumulus::cli
