// When is a candidate faster? Pairs of timings taken one right after the other are compared, never two averages: whatever the machine
// does meets both of a pair. A pair's gain is log(incumbent / candidate); a sign test asks whether its median lies above the margin.
#pragma once

#include <span>
#include <vector>

namespace cumulus::tuning {

struct Rule {
  double margin = 0.015;  // a smaller gain is not worth a change: 0.015 is 1.5 %
  double accept = 0.005;  // the chance, at each look, of accepting a candidate whose median gain is the margin only
  double refuse = 0.05;   // the same of refusing it
};

enum class Verdict { undecided, faster, not_faster };

// Numbers of rounds after which a candidate is judged. Looking after every round would look too often.
inline constexpr int kLooks[] = {5, 8, 12, 18, 27, 41, 61, 91, 136};
inline constexpr int kMostRounds = 136;
bool is_look(int rounds);

// The chance of at least `wins` heads in `n` tosses of a fair coin.
double sign_test(int wins, int n);

// Gains so far; one entry a round.
Verdict judge(std::span<const double> gains, const Rule& rule);

// Values at a quantile, between 0 and 1; the lower of two in the middle. The values must not be empty.
double quantile(std::vector<double> values, double q);
inline double median(std::vector<double> values) { return quantile(std::move(values), 0.5); }

}  // namespace cumulus::tuning
