#include "tuning/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <set>
#include <stdexcept>
#include <tuple>

#include <fmt/format.h>

namespace cumulus::tuning {
namespace {

constexpr std::size_t kMostCandidates = 6;  // of a stage, the incumbent and the original among them
constexpr std::size_t kBestFew = 3;         // of all stages, compared once more in the last round
constexpr int kPasses = 8;                  // of a stage, each around a new incumbent
constexpr int kLastPairs = 5;               // the incumbent measured again last
constexpr int kCycles = 3;                  // through all stages, as long as the last one saved more than kCycleGain
constexpr double kCycleGain = 0.10;         // by then, what the first stages decided was decided around something quite different
constexpr int kScreeningRounds = 3;         // of an exhaustive or random search
constexpr std::size_t kScreened = 8;        // configurations in one such round
constexpr std::size_t kPrepared = 64;       // configurations that are compiled together
constexpr std::size_t kBestScreened = 6;    // of such a search, compared in the last round
constexpr double kHopeless = -0.25;         // a gain as bad as this in the first rounds ends a candidate
constexpr int kHopelessRounds = 2;
constexpr double kLastAccept = 0.2;            // of Rule::accept in the last round: it alone stands between chance and the user
constexpr double kStagesPart = 0.75;           // of the time; the rest is the last round's
constexpr std::uint64_t kMostSpace = 1 << 20;  // configurations that a search can number

double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What a gain saves of the time.
std::string percent(double gain) { return fmt::format("{:+.1f} %", 100 * (1 - std::exp(-gain))); }

void set(Parameters& parameters, const Parameter& parameter, std::int64_t value) {
  if (value == parameter.own) parameters.erase(parameter.name);
  else parameters[parameter.name] = value;
}

std::int64_t value_of(const Parameters& parameters, const Parameter& parameter) {
  const auto found = parameters.find(parameter.name);
  return found == parameters.end() ? parameter.own : found->second;
}

Candidate untried(const Parameters& parameters) { return {parameters, {}, {}, Decision::refused, ""}; }

class Tuner {
 public:
  Tuner(const Subject& subject, const std::vector<Stage>& stages, const Options& options)
      : subject_(subject),
        stages_(stages),
        options_(options),
        rule_(options.rule),
        clock_(options.clock ? options.clock : seconds_now),
        start_(clock_()) {}

  Session run() {
    session_.original = session_.result = incumbent_ = options_.start;
    measure_original();
    if (options_.search == Search::staged) run_stages();
    else screen_space();
    last_round();
    session_.seconds = elapsed();
    return std::move(session_);
  }

 private:
  // A candidate that may meet the original once more: how it stands to it by then, and what it changed.
  struct Standing {
    Parameters parameters;
    double gain;         // estimated, against the original
    Parameters changed;  // names with the values that made the gain; of refused candidates only
  };

  double elapsed() const { return clock_() - start_; }

  bool ended() {
    if (!session_.stopped.empty()) return true;
    if (options_.stop && options_.stop()) session_.stopped = "interrupted";
    return !session_.stopped.empty();
  }
  bool out_of_time() { return ended() || elapsed() > time_limit_; }

  void show(const std::string& what) const {
    if (options_.progress) options_.progress(what, options_.seconds > 0 ? std::min(1.0, elapsed() / options_.seconds) : 0);
  }

  void measure_original() {
    show("the original");
    if (const std::string wrong = subject_.check(incumbent_); !wrong.empty())
      throw std::runtime_error("the original's own result is wrong: " + wrong);
    std::vector<double> times;
    subject_.measure_ms(incumbent_);  // warms up
    for (int i = 0; i < kLastPairs; ++i) times.push_back(subject_.measure_ms(incumbent_));
    session_.original_ms = session_.result_ms = incumbent_ms_ = median(times);
    ++session_.evaluations;
  }

  // ---- Comparing ----

  // Bits before any timing. False: the candidate is out.
  bool admit(Candidate& candidate) {
    ++session_.evaluations;
    try {
      const std::string wrong = subject_.check(candidate.parameters);
      if (wrong.empty()) return true;
      candidate.decision = Decision::wrong_bits;
      candidate.reason = wrong;
    } catch (const std::exception& error) {
      fail(candidate, error);
    }
    return false;
  }

  static void fail(Candidate& candidate, const std::exception& error) {
    candidate.decision = Decision::failed;
    candidate.reason = error.what();
  }

  bool time(Candidate& candidate) {
    try {
      candidate.times.push_back(subject_.measure_ms(candidate.parameters));
      return true;
    } catch (const std::exception& error) {
      fail(candidate, error);
      return false;
    }
  }

  void prepare(const std::vector<Candidate>& candidates) {
    if (!subject_.prepare || candidates.empty() || out_of_time()) return;
    show(fmt::format("compiling {}", candidates.size()));
    std::vector<Parameters> all;
    for (const Candidate& candidate : candidates) all.push_back(candidate.parameters);
    subject_.prepare(all);
  }

  // Rounds of the reference and all candidates that are not decided, forwards and backwards by turns, until all are or time is up.
  // False: time was up.
  bool compare(const Parameters& reference, std::vector<Candidate>& all, int most_rounds) {
    prepare(all);
    std::vector<Candidate*> active;
    for (Candidate& candidate : all)
      if (!out_of_time() && admit(candidate)) active.push_back(&candidate);
      else if (candidate.reason.empty()) candidate.reason = "not tried: " + why_ended(), session_.cut = true;
    Candidate base = untried(reference);
    for (int round = 1; round <= most_rounds && !active.empty() && !out_of_time(); ++round) {
      show(fmt::format("{} candidates, round {}", active.size(), round));
      std::vector<Candidate*> order = active;
      order.push_back(&base);
      if (round % 2 == 0) std::reverse(order.begin(), order.end());
      for (Candidate* candidate : order)
        if (!time(*candidate)) std::erase(active, candidate);
      if (base.decision == Decision::failed) throw std::runtime_error(base.reason);
      for (Candidate* candidate : active) candidate->gains.push_back(std::log(base.times.back() / candidate->times.back()));
      session_.judged += static_cast<int>(std::erase_if(active, [&](Candidate* candidate) { return decided(*candidate); }));
    }
    if (out_of_time() && !active.empty()) session_.cut = true;
    else session_.judged += static_cast<int>(active.size());
    for (Candidate* candidate : active) {
      candidate->reason = candidate->gains.empty()          ? "not timed: " + why_ended()
                          : most_rounds <= kScreeningRounds ? "screened"
                          : out_of_time()                   ? "not proven when it ended: " + why_ended()
                                                            : "not proven: " + evidence(*candidate);
    }
    if (!base.times.empty()) reference_ms_ = base.ms();
    return active.empty() || !out_of_time();
  }

  std::string why_ended() const { return session_.stopped.empty() ? "the time was used up" : session_.stopped; }

  std::string evidence(const Candidate& candidate) const {
    const auto wins = std::count_if(candidate.gains.begin(), candidate.gains.end(), [&](double g) { return g > rule_.margin; });
    return fmt::format("saves {} at the median, more than {:.1f} % in {} of {} rounds", percent(median(candidate.gains)),
                       100 * rule_.margin, wins, candidate.gains.size());
  }

  bool decided(Candidate& candidate) const {
    const auto& gains = candidate.gains;
    const int rounds = static_cast<int>(gains.size());
    if (rounds == kHopelessRounds && *std::max_element(gains.begin(), gains.end()) < kHopeless) {
      candidate.decision = Decision::stopped_early;
      candidate.reason = fmt::format("took {:.2f} times as long in each of the first {} rounds, or longer",
                                     std::exp(-*std::max_element(gains.begin(), gains.end())), rounds);
      return true;
    }
    const Verdict verdict = is_look(rounds) ? judge(gains, rule_) : Verdict::undecided;
    if (verdict == Verdict::undecided) return false;
    candidate.decision = verdict == Verdict::faster ? Decision::accepted : Decision::refused;
    candidate.reason = evidence(candidate);
    return true;
  }

  // The reference is measured again last, in pairs with the candidate: a gain that is gone by then was none.
  bool holds(const Parameters& reference, Candidate& candidate) {
    std::vector<double> gains;
    for (int i = 0; i < kLastPairs && !ended(); ++i) {
      const double ms = subject_.measure_ms(candidate.parameters);
      gains.push_back(std::log(subject_.measure_ms(reference) / ms));
    }
    if (!gains.empty() && median(gains) > 0) return true;
    candidate.decision = Decision::refused;
    candidate.reason = gains.empty() ? "not measured again: " + why_ended()
                                     : fmt::format("unstable, reverted: {}; but {} when what it should replace was measured again last",
                                                   candidate.reason, percent(median(gains)));
    return false;
  }

  // The fastest of the accepted ones that holds; of those within the margin of it, the one that forces the least. The others are
  // refused in its favour.
  Candidate* choose(const Parameters& reference, std::vector<Candidate>& all) {
    std::vector<Candidate*> accepted;
    for (Candidate& candidate : all)
      if (candidate.decision == Decision::accepted) accepted.push_back(&candidate);
    double best = 1;
    for (const Candidate* candidate : accepted) best = std::min(best, candidate->ratio());
    const auto rank = [&](const Candidate* c) {
      const bool near = c->ratio() <= best * (1 + rule_.margin);
      return std::tuple(!near, near ? c->parameters.size() : 0, c->ratio());
    };
    std::sort(accepted.begin(), accepted.end(), [&](const Candidate* a, const Candidate* b) { return rank(a) < rank(b); });
    Candidate* chosen = nullptr;
    for (Candidate* candidate : accepted) {
      if (!chosen && holds(reference, *candidate)) {
        chosen = candidate;
      } else if (chosen) {
        candidate->decision = Decision::refused;
        candidate->reason += "; another saves more, or as much by forcing less";
      }
    }
    return chosen;
  }

  // ---- Stages ----

  // Neighbours of the incumbent, one parameter moved by one or two steps, nearest first; what comes to the same plan is left out.
  std::vector<Candidate> near(const Stage& stage, std::set<std::string>& tried) {
    std::vector<Candidate> found;
    const auto add = [&](const Parameters& parameters) {
      if (found.size() + 1 < kMostCandidates && tried.insert(subject_.plan(parameters)).second) found.push_back(untried(parameters));
    };
    add(session_.original);
    if (options_.planner) add({});
    for (const std::ptrdiff_t step : {1, -1, 2, -2}) {
      for (const Parameter& parameter : stage.parameters) {
        const auto& values = parameter.values;
        const auto at = std::lower_bound(values.begin(), values.end(), value_of(incumbent_, parameter)) - values.begin() + step;
        if (at < 0 || at >= static_cast<std::ptrdiff_t>(values.size())) continue;
        Parameters moved = incumbent_;
        set(moved, parameter, values[static_cast<std::size_t>(at)]);
        add(moved);
      }
    }
    return found;
  }

  void run_stages() {
    for (int cycle = 1; cycle <= kCycles; ++cycle) {
      const double before = incumbent_gain_;
      for (const Stage& stage : stages_) run_stage(stage);
      const bool used_up = out_of_time() || session_.evaluations >= options_.evaluations;
      if (used_up || incumbent_gain_ - before <= kCycleGain) return;
    }
  }

  void run_stage(const Stage& stage) {
    StageReport report{stage.name, {}, std::nullopt, {}};
    time_limit_ = kStagesPart * options_.seconds;
    if (out_of_time() || session_.evaluations >= options_.evaluations) {
      report.skipped = out_of_time() ? why_ended() : "all evaluations were used";
      session_.cut = true;
      session_.stages.push_back(std::move(report));
      return;
    }
    const Look look = stage.look(incumbent_, incumbent_ms_);
    report.metrics = look.metrics;
    if (!look.skip.empty()) report.skipped = look.skip;
    std::set<std::string> tried = {subject_.plan(incumbent_)};
    for (int pass = 0; pass < kPasses && !report.skipped; ++pass) {
      std::vector<Candidate> candidates = near(stage, tried);
      limit(candidates);
      if (candidates.empty() && pass == 0) report.skipped = "there is nothing to choose for this problem";
      if (candidates.empty()) break;
      compare(incumbent_, candidates, kMostRounds);
      const Candidate* chosen = choose(incumbent_, candidates);
      for (const Candidate& candidate : candidates) remember(candidate);
      if (chosen) adopt(*chosen);
      const bool moved = chosen != nullptr;
      for (Candidate& candidate : candidates) report.candidates.push_back(std::move(candidate));
      if (!moved) break;
    }
    session_.stages.push_back(std::move(report));
  }

  void limit(std::vector<Candidate>& candidates) {
    const auto left = static_cast<std::size_t>(std::max(0, options_.evaluations - session_.evaluations));
    if (candidates.size() <= left) return;
    candidates.resize(left);
    session_.cut = true;
  }

  void remember(const Candidate& candidate) {
    if (candidate.gains.empty() || candidate.decision == Decision::stopped_early || candidate.decision == Decision::failed) return;
    const double gain = median(candidate.gains);
    Parameters changed;
    if (candidate.decision == Decision::refused)
      for (const auto& [name, value] : candidate.parameters)
        if (const auto found = incumbent_.find(name); found == incumbent_.end() || found->second != value) changed[name] = value;
    standings_.push_back({candidate.parameters, incumbent_gain_ + gain, std::move(changed)});
    if (gain > 0 && candidate.decision == Decision::refused)
      small_gains_.push_back({candidate.parameters, gain, standings_.back().changed});
  }

  void adopt(const Candidate& chosen) {
    incumbent_gain_ += median(chosen.gains);
    incumbent_ = chosen.parameters;
    incumbent_ms_ = chosen.ms();
    session_.result = incumbent_;
    session_.result_ms = incumbent_ms_;
    session_.ratio = std::exp(-incumbent_gain_);
  }

  // ---- Searches without stages ----

  Parameters configuration(std::uint64_t number) const {
    Parameters parameters;
    for (const Stage& stage : stages_)
      for (const Parameter& parameter : stage.parameters) {
        set(parameters, parameter, parameter.values[number % parameter.values.size()]);
        number /= parameter.values.size();
      }
    return parameters;
  }

  std::uint64_t space_size() const {
    if (!options_.space.empty()) return options_.space.size();
    std::uint64_t size = 1;
    for (const Stage& stage : stages_)
      for (const Parameter& parameter : stage.parameters) size = std::min<std::uint64_t>(kMostSpace, size * parameter.values.size());
    return size;
  }

  std::vector<std::uint64_t> numbers() const {
    const std::uint64_t size = space_size();
    std::vector<std::uint64_t> all(size);
    for (std::uint64_t i = 0; i < size; ++i) all[i] = i;
    std::mt19937_64 random(options_.seed);
    if (options_.search == Search::random)
      for (std::uint64_t i = size; i > 1; --i) std::swap(all[i - 1], all[random() % i]);
    return all;
  }

  // What a search tries: all that differ in what runs, in its order.
  std::vector<Candidate> space() const {
    std::set<std::string> seen = {subject_.plan(session_.original)};
    std::vector<Candidate> all;
    const auto full = [&] { return session_.evaluations + all.size() >= static_cast<std::size_t>(options_.evaluations); };
    const auto add = [&](const Parameters& parameters) {
      if (!full() && seen.insert(subject_.plan(parameters)).second) all.push_back(untried(parameters));
    };
    if (options_.planner) add({});
    for (const std::uint64_t number : numbers()) {
      if (full()) break;
      add(options_.space.empty() ? configuration(number) : options_.space[number]);
    }
    return all;
  }

  // All configurations, a few at a time, meet the original in three rounds each; the best few go to the last round.
  void screen_space() {
    StageReport report{name(options_.search), {}, std::nullopt, space()};
    time_limit_ = kStagesPart * options_.seconds;
    auto& all = report.candidates;
    for (std::size_t at = 0; at < all.size(); at += kScreened) {
      const auto from = [&](std::size_t count) {
        const auto first = all.begin() + static_cast<std::ptrdiff_t>(at);
        return std::vector(first, first + static_cast<std::ptrdiff_t>(std::min(count, all.size() - at)));
      };
      if (at % kPrepared == 0) prepare(from(kPrepared));
      std::vector<Candidate> group = from(kScreened);
      compare(session_.original, group, kScreeningRounds);
      for (const Candidate& candidate : group) remember(candidate);
      std::move(group.begin(), group.end(), all.begin() + static_cast<std::ptrdiff_t>(at));
    }
    small_gains_.clear();  // whole configurations, not steps that could be added up
    session_.stages.push_back(std::move(report));
  }

  // ---- The last round ----

  // All small refused gains together, the largest first: none was worth a change, they may be.
  Parameters together() const {
    std::vector<Standing> gains = small_gains_;
    std::stable_sort(gains.begin(), gains.end(), [](const Standing& a, const Standing& b) { return a.gain > b.gain; });
    Parameters sum = incumbent_, moved;
    for (const Standing& gain : gains)
      for (const auto& [name, value] : gain.changed)
        if (moved.emplace(name, value).second) sum[name] = value;
    return sum;
  }

  std::vector<Candidate> finalists() {
    std::set<std::string> seen = {subject_.plan(session_.original)};
    std::vector<Candidate> found;
    const auto add = [&](const Parameters& parameters) {
      if (seen.insert(subject_.plan(parameters)).second) found.push_back(untried(parameters));
    };
    add(incumbent_);
    add(together());
    std::stable_sort(standings_.begin(), standings_.end(), [](const Standing& a, const Standing& b) { return a.gain > b.gain; });
    std::size_t few = 0;
    for (const Standing& standing : standings_) {
      if (standing.gain <= 0 || few++ == (options_.search == Search::staged ? kBestFew : kBestScreened)) break;
      add(standing.parameters);
    }
    return found;
  }

  void last_round() {
    StageReport report{"last round", {}, std::nullopt, {}};
    time_limit_ = options_.seconds;
    rule_.accept *= kLastAccept;
    if (ended()) {
      report.skipped = session_.stopped;
    } else if (report.candidates = finalists(); report.candidates.empty()) {
      report.skipped = "nothing was faster than the original";
    } else {
      const bool complete = compare(session_.original, report.candidates, kMostRounds);
      const Candidate* best = choose(session_.original, report.candidates);
      if (best) settle(*best);
      else if (complete && !ended()) settle_original();  // else what the stages proved stands
    }
    session_.stages.push_back(std::move(report));
  }

  void settle(const Candidate& best) {
    session_.result = best.parameters;
    session_.result_ms = best.ms();
    session_.ratio = best.ratio();
  }
  void settle_original() {
    session_.result = session_.original;
    session_.result_ms = reference_ms_ > 0 ? reference_ms_ : session_.original_ms;
    session_.ratio = 1;
  }

  const Subject& subject_;
  const std::vector<Stage>& stages_;
  const Options& options_;
  Rule rule_;
  const std::function<double()> clock_;
  const double start_;
  double time_limit_ = 0;
  Session session_;
  Parameters incumbent_;
  double incumbent_ms_ = 0, reference_ms_ = 0;
  double incumbent_gain_ = 0;  // against the original
  std::vector<Standing> standings_, small_gains_;
};

}  // namespace

const char* name(Decision decision) {
  constexpr const char* kNames[] = {"accepted", "refused", "wrong bits", "stopped early", "failed"};
  return kNames[static_cast<int>(decision)];
}

const char* name(Search search) {
  constexpr const char* kNames[] = {"staged", "exhaustive", "random"};
  return kNames[static_cast<int>(search)];
}

double Candidate::ms() const { return times.empty() ? 0 : median(times); }
double Candidate::ratio() const { return gains.empty() ? 1 : std::exp(-median(gains)); }
double Candidate::spread() const { return gains.empty() ? 0 : std::exp(-quantile(gains, 0.1)) - std::exp(-quantile(gains, 0.9)); }

Session tune(const Subject& subject, const std::vector<Stage>& stages, const Options& options) {
  return Tuner(subject, stages, options).run();
}

}  // namespace cumulus::tuning
