// The search: stages of few candidates near the incumbent, judged by paired rounds. Knows nothing of scans: what is tuned is three
// functions, so that tests can plant candidates that are fast but wrong, and noise.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tuning/parameters.h"
#include "tuning/statistics.h"

namespace cumulus::tuning {

// What is tuned. Each function may throw: then the candidate failed.
struct Subject {
  std::function<std::string(const Parameters&)> plan;   // what the parameters come to; those that come to the same are tried once
  std::function<std::string(const Parameters&)> check;  // "" if the result's bits are right, else what is wrong
  std::function<double(const Parameters&)> measure_ms;  // one timing, with a cold cache

  // Null, or what makes the checks and timings of all these quick: it compiles them, together. A failure is left to the check.
  std::function<void(const std::vector<Parameters>&)> prepare = nullptr;
};

struct Parameter {
  std::string name;
  std::vector<std::int64_t> values;  // ascending, the planner's own among them
  std::int64_t own;
};

// What a stage sees of the incumbent, and why it is not needed; "" where it is.
struct Look {
  std::map<std::string, double> metrics;
  std::string skip;
};

struct Stage {
  std::string name;
  std::vector<Parameter> parameters;  // the only ones that it may touch
  std::function<Look(const Parameters& incumbent, double ms)> look;
};

enum class Decision { accepted, refused, wrong_bits, stopped_early, failed };
const char* name(Decision decision);

struct Candidate {
  Parameters parameters;
  std::vector<double> gains, times;  // of each round: log(incumbent / candidate), ms
  Decision decision = Decision::refused;
  std::string reason;

  double ms() const;      // median; 0 where it was not timed
  double ratio() const;   // of its time to the incumbent's, the median of the rounds; 1 where it was not timed
  double spread() const;  // 90th less 10th percentile of that ratio
};

struct StageReport {
  std::string name;
  std::map<std::string, double> metrics;
  std::optional<std::string> skipped;
  std::vector<Candidate> candidates;
};

enum class Search { staged, exhaustive, random };
const char* name(Search search);

struct Options {
  Search search = Search::staged;
  Rule rule;
  double seconds = 60;
  int evaluations = 1000;  // configurations to try at most
  Parameters start;        // the original
  bool planner = true;     // its own choice is among the candidates of every stage and search
  std::uint64_t seed = 1;  // of the random search

  // What the exhaustive and the random search try; empty: every combination of the stages' values.
  std::vector<Parameters> space;

  std::function<double()> clock;  // seconds; null: the steady clock
  std::function<bool()> stop;     // asked before every timing; what is proven by then stays
  std::function<void(const std::string& what, double part)> progress;
};

struct Session {
  Parameters original, result;
  double original_ms = 0, result_ms = 0, ratio = 1;
  std::vector<StageReport> stages;
  double seconds = 0;
  int evaluations = 0;
  std::string stopped;  // why it ended early; "" if it did not
  int judged = 0;       // candidates that were timed often enough for a decision
  bool cut = false;     // something was left out because the time or the evaluations were used up, or because it was stopped

  // Is the result more than what it began with for lack of anything else?
  bool proven() const { return judged > 0 || !cut; }
};

// Throws std::runtime_error if the original itself fails or has wrong bits.
Session tune(const Subject& subject, const std::vector<Stage>& stages, const Options& options);

}  // namespace cumulus::tuning
