#include "tuning/statistics.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace cumulus::tuning {

bool is_look(int rounds) { return std::find(std::begin(kLooks), std::end(kLooks), rounds) != std::end(kLooks); }

double sign_test(int wins, int n) {
  double chance = 0;
  for (int k = wins; k <= n; ++k) chance += std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::log(2.0));
  return std::min(chance, 1.0);
}

Verdict judge(std::span<const double> gains, const Rule& rule) {
  const int n = static_cast<int>(gains.size());
  const int wins = static_cast<int>(std::count_if(gains.begin(), gains.end(), [&](double gain) { return gain > rule.margin; }));
  if (n == 0) return Verdict::undecided;
  if (sign_test(wins, n) <= rule.accept) return Verdict::faster;
  if (sign_test(n - wins, n) <= rule.refuse) return Verdict::not_faster;
  return Verdict::undecided;
}

double quantile(std::vector<double> values, double q) {
  const auto place = values.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

}  // namespace cumulus::tuning
