// Sessions with invented timings: nothing is run and nothing waits, so every outcome is the same each time.
#include "tuning/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <set>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace {

using namespace cumulus::tuning;

// Timings as they were really measured one after the other, so that bursts and drifts stay what they are.
const std::vector<double>& measured_us() {
  static const std::vector<double> all = [] {
    std::ifstream file(CUMULUS_TEST_DATA "/call_times.json");
    return nlohmann::json::parse(file).at("us").get<std::vector<double>>();
  }();
  return all;
}

// A machine of which a test says how long each configuration takes. Its clock counts what was measured.
struct Machine {
  std::function<double(const Parameters&)> ms = [](const Parameters&) { return 10.0; };
  std::function<std::string(const Parameters&)> check = [](const Parameters&) { return std::string(); };
  std::function<double()> noise = [] { return 1.0; };
  double seconds = 0;
  int timings = 0;

  Subject subject() {
    return {text_of, check, [this](const Parameters& parameters) {
              const double time = ms(parameters) * noise();
              seconds += time / 1e3;
              ++timings;
              return time;
            }};
  }
  Options options() {
    Options options;
    options.clock = [this] { return seconds; };
    return options;
  }
};

std::int64_t get(const Parameters& parameters, const std::string& name, std::int64_t own) {
  const auto found = parameters.find(name);
  return found == parameters.end() ? own : found->second;
}

Look always(const Parameters&, double) { return {{{"rate", 0.5}}, ""}; }

std::vector<Stage> four_stages() {
  return {{"grid", {{"threads", {1, 2, 4}, 2}}, always},
          {"tiling", {{"tile", {4, 8, 16, 32, 64, 128}, 8}}, always},
          {"memory", {{"depth", {1, 2, 3, 4}, 2}}, always},
          {"micro", {{"warps", {2, 4, 8, 16}, 4}}, always}};
}

// The noise of the recorded timings from a random place on: the shortest of three calls, as the command measures.
std::function<double()> recorded_noise(std::mt19937_64& random) {
  const auto& us = measured_us();
  return [&us, at = random() % us.size()]() mutable {
    double least = us[at % us.size()];
    for (int call = 1; call < 3; ++call) least = std::min(least, us[(at + static_cast<std::size_t>(call)) % us.size()]);
    at += 3;
    return least;
  };
}

const Candidate* find(const Session& session, const std::string& stage, const Parameters& parameters) {
  for (const StageReport& report : session.stages)
    for (const Candidate& candidate : report.candidates)
      if (report.name == stage && candidate.parameters == parameters) return &candidate;
  return nullptr;
}

// ---- What a session does ----

TEST(Engine, FindsTheFastestStepByStep) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return 10 + 2 * std::abs(std::log2(static_cast<double>(get(p, "tile", 8)) / 128)); };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  EXPECT_EQ(session.result, (Parameters{{"tile", 128}}));
  EXPECT_NEAR(session.ratio, 10.0 / 18, 1e-9);
  EXPECT_EQ(session.original_ms, 18);
  EXPECT_EQ(session.result_ms, 10);
  ASSERT_EQ(session.stages.size(), 9u) << "four stages, once more for so great a gain, and the last round";
  EXPECT_EQ(session.stages.back().name, "last round");
  EXPECT_EQ(session.stages[1].metrics.at("rate"), 0.5);
}

TEST(Engine, StaysWithTheOriginalWhereNothingIsFaster) {
  Machine machine;
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  EXPECT_TRUE(session.result.empty());
  EXPECT_EQ(session.ratio, 1);
  EXPECT_EQ(session.stages.back().skipped, "nothing was faster than the original");
  for (const StageReport& stage : session.stages) EXPECT_LE(stage.candidates.size(), 5u) << stage.name;
}

TEST(Engine, AStageTouchesItsOwnParametersOnly) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return get(p, "threads", 2) == 4 ? 5.0 : 10.0; };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  const auto stages = four_stages();
  Parameters incumbent;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    for (const Candidate& candidate : session.stages[i].candidates) {
      if (candidate.parameters.empty()) continue;  // the original
      Parameters mine = candidate.parameters, other = incumbent;
      for (const Parameter& parameter : stages[i].parameters) mine.erase(parameter.name), other.erase(parameter.name);
      EXPECT_EQ(mine, other) << stages[i].name;
    }
    if (i == 0) incumbent = {{"threads", 4}};
    else EXPECT_NE(find(session, stages[i].name, {}), nullptr) << "the original is always among them";
  }
  EXPECT_EQ(session.result, incumbent);
}

TEST(Engine, FasterButWrongIsRefusedBeforeItIsTimed) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return get(p, "tile", 8) == 16 ? 1.0 : 10.0; };
  machine.check = [](const Parameters& p) { return get(p, "tile", 8) == 16 ? std::string("element 5 differs") : std::string(); };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  EXPECT_TRUE(session.result.empty());
  const Candidate* planted = find(session, "tiling", {{"tile", 16}});
  ASSERT_NE(planted, nullptr);
  EXPECT_EQ(planted->decision, Decision::wrong_bits);
  EXPECT_EQ(planted->reason, "element 5 differs");
  EXPECT_TRUE(planted->times.empty());
}

TEST(Engine, AGainThatIsGoneAtTheEndIsReverted) {
  Machine machine;
  int calls = 0;  // of the planted one: fast until it has been judged
  machine.ms = [&](const Parameters& p) { return get(p, "tile", 8) != 16 ? 10.0 : ++calls <= 8 ? 8.0 : 10.5; };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  EXPECT_TRUE(session.result.empty());
  const Candidate* planted = find(session, "tiling", {{"tile", 16}});
  ASSERT_NE(planted, nullptr);
  EXPECT_EQ(planted->decision, Decision::refused);
  EXPECT_NE(planted->reason.find("unstable, reverted"), std::string::npos) << planted->reason;
}

TEST(Engine, NoiseWithoutAGainEndsInTheOriginal) {
  Machine machine;
  bool fast = false;  // one candidate jumps between half and twice the time
  machine.ms = [&](const Parameters& p) { return get(p, "depth", 2) != 3 ? 10.0 : (fast = !fast) ? 5.0 : 20.0; };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  EXPECT_TRUE(session.result.empty());
  EXPECT_EQ(find(session, "memory", {{"depth", 3}})->decision, Decision::refused);
}

TEST(Engine, HopelessCandidatesAreStoppedEarly) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return get(p, "threads", 2) == 1 ? 20.0 : 10.0; };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  const Candidate* slow = find(session, "grid", {{"threads", 1}});
  ASSERT_NE(slow, nullptr);
  EXPECT_EQ(slow->decision, Decision::stopped_early);
  EXPECT_EQ(slow->times.size(), 2u);
}

TEST(Engine, SmallRefusedGainsThatAddUpAreFound) {
  Machine machine;
  machine.ms = [](const Parameters& p) {
    return 10 * (get(p, "tile", 8) == 16 ? 0.99 : 1) * (get(p, "depth", 2) == 3 ? 0.99 : 1) * (get(p, "warps", 4) == 8 ? 0.99 : 1);
  };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  for (std::size_t i = 0; i < 4; ++i)
    for (const Candidate& candidate : session.stages[i].candidates) EXPECT_NE(candidate.decision, Decision::accepted);
  EXPECT_EQ(session.result, (Parameters{{"tile", 16}, {"depth", 3}, {"warps", 8}}));
  EXPECT_NEAR(session.ratio, 0.99 * 0.99 * 0.99, 1e-9);
}

TEST(Engine, SkipsAStageForItsReason) {
  Machine machine;
  auto stages = four_stages();
  stages[0].look = [](const Parameters&, double ms) { return Look{{{"busy", ms}}, "busy enough"}; };
  const Session session = tune(machine.subject(), stages, machine.options());
  EXPECT_EQ(session.stages[0].skipped, "busy enough");
  EXPECT_EQ(session.stages[0].metrics.at("busy"), 10);
  EXPECT_TRUE(session.stages[0].candidates.empty());
  EXPECT_FALSE(session.stages[1].skipped);
}

TEST(Engine, WhatCannotRunFailsAlone) {
  Machine machine;
  machine.ms = [](const Parameters& p) -> double {
    if (get(p, "tile", 8) == 16) throw std::runtime_error("no memory");
    return get(p, "tile", 8) == 4 ? 5 : 10;
  };
  const Session session = tune(machine.subject(), four_stages(), machine.options());
  EXPECT_EQ(find(session, "tiling", {{"tile", 16}})->decision, Decision::failed);
  EXPECT_EQ(find(session, "tiling", {{"tile", 16}})->reason, "no memory");
  EXPECT_EQ(session.result, (Parameters{{"tile", 4}}));
}

TEST(Engine, AWrongOriginalIsAnError) {
  Machine machine;
  machine.check = [](const Parameters&) { return std::string("all zero"); };
  EXPECT_THROW(tune(machine.subject(), four_stages(), machine.options()), std::runtime_error);
}

TEST(Engine, StartsWhereItIsTold) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return 10 + std::abs(std::log2(static_cast<double>(get(p, "tile", 8)) / 16)); };
  Options options = machine.options();
  options.start = {{"tile", 128}, {"threads", 1}};
  options.planner = false;
  const Session session = tune(machine.subject(), four_stages(), options);
  EXPECT_EQ(session.original, options.start);
  EXPECT_EQ(session.original_ms, 13);
  EXPECT_EQ(session.result, (Parameters{{"tile", 16}, {"threads", 1}}));
}

TEST(Engine, ReachesThePlannersChoiceFromAnyStart) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return p.empty() ? 5.0 : 10.0; };
  Options options = machine.options();
  options.start = {{"tile", 128}, {"threads", 1}, {"depth", 4}};
  EXPECT_TRUE(tune(machine.subject(), four_stages(), options).result.empty());
  options.planner = false;
  EXPECT_EQ(tune(machine.subject(), four_stages(), options).result, options.start);
}

// Many threads are good with great tiles only, and those come in a later stage.
TEST(Engine, GoesThroughTheStagesAgainAfterAGreatGain) {
  Machine machine;
  machine.ms = [](const Parameters& p) {
    const double tiled = get(p, "tile", 8) == 128 ? 10 : 20;
    return get(p, "threads", 2) == 4 ? (get(p, "tile", 8) == 128 ? 0.5 : 2) * tiled : tiled;
  };
  auto stages = four_stages();
  stages[1].parameters = {{"tile", {8, 128}, 8}};
  const Session session = tune(machine.subject(), stages, machine.options());
  EXPECT_EQ(session.result, (Parameters{{"tile", 128}, {"threads", 4}}));
  EXPECT_EQ(session.stages.size(), 13u) << "three times four stages, and the last round";
}

// ---- Preparation ----

TEST(Engine, CandidatesArePreparedTogetherBeforeTheyAreChecked) {
  for (const Search search : {Search::staged, Search::exhaustive}) {
    Machine machine;
    std::set<std::string> prepared;
    std::size_t most = 0;
    machine.check = [&](const Parameters& p) { return p.empty() || prepared.count(text_of(p)) ? "" : "not prepared: " + text_of(p); };
    Subject subject = machine.subject();
    subject.prepare = [&](const std::vector<Parameters>& all) {
      for (const Parameters& p : all) prepared.insert(text_of(p));
      most = std::max(most, all.size());
    };
    Options options = machine.options();
    options.search = search;
    const Session session = tune(subject, four_stages(), options);
    for (const StageReport& stage : session.stages)
      for (const Candidate& candidate : stage.candidates) EXPECT_NE(candidate.decision, Decision::wrong_bits) << candidate.reason;
    EXPECT_GT(most, search == Search::staged ? 1u : 8u) << name(search);
  }
}

// ---- Budgets ----

TEST(Engine, AnInterruptKeepsWhatIsProven) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return get(p, "threads", 2) == 4 ? 8.0 : 10.0; };
  Options options = machine.options();
  bool second_stage = false;
  auto stages = four_stages();
  stages[1].look = [&](const Parameters&, double) { return second_stage = true, Look{}; };
  options.stop = [&] { return second_stage; };
  const Session session = tune(machine.subject(), stages, options);
  EXPECT_EQ(session.result, (Parameters{{"threads", 4}}));
  EXPECT_NEAR(session.ratio, 0.8, 1e-9);
  EXPECT_EQ(session.stopped, "interrupted");
  EXPECT_EQ(session.stages.back().skipped, "interrupted");
}

TEST(Engine, StopsWhenTheTimeIsUsedUp) {
  Machine machine;
  machine.noise = [at = 0]() mutable { return ++at % 2 ? 1.0 : 1.1; };  // never decided quickly
  Options options = machine.options();
  options.seconds = 1;
  const Session session = tune(machine.subject(), four_stages(), options);
  EXPECT_LT(machine.seconds, 1.2);
  EXPECT_TRUE(session.result.empty());
}

TEST(Engine, TriesNoMoreThanItsEvaluations) {
  Machine machine;
  for (const Search search : {Search::staged, Search::exhaustive, Search::random}) {
    Options options = machine.options();
    options.search = search;
    options.evaluations = 4;
    const Session session = tune(machine.subject(), four_stages(), options);
    std::size_t tried = 1;
    for (const StageReport& stage : session.stages)
      if (stage.name != "last round") tried += stage.candidates.size();
    EXPECT_EQ(tried, 4u) << name(search);
  }
}

TEST(Engine, ExhaustiveAndRandomSearchSeeAllOfASmallSpace) {
  for (const Search search : {Search::exhaustive, Search::random}) {
    Machine machine;  // the fastest is no neighbour of anything fast
    machine.ms = [](const Parameters& p) {
      return get(p, "tile", 8) == 128 && get(p, "depth", 2) == 4 && get(p, "threads", 2) == 1 ? 5.0 : 10.0;
    };
    Options options = machine.options();
    options.search = search;
    const Session session = tune(machine.subject(), four_stages(), options);
    EXPECT_EQ(session.result.at("tile"), 128) << name(search);
    EXPECT_NEAR(session.ratio, 0.5, 1e-9);
    EXPECT_EQ(session.stages.front().candidates.size(), 3u * 6 * 4 * 4 - 1);
  }
}

TEST(Engine, TriesTheSpaceThatItIsGiven) {
  Machine machine;
  machine.ms = [](const Parameters& p) { return get(p, "tile", 8) == 999 ? 5.0 : 10.0; };
  Options options = machine.options();
  options.search = Search::exhaustive;
  options.space = {{}, {{"tile", 999}}, {{"tile", 7}, {"warps", 3}}, {{"tile", 7}, {"warps", 3}}};
  const Session session = tune(machine.subject(), four_stages(), options);
  EXPECT_EQ(session.result, (Parameters{{"tile", 999}}));
  EXPECT_EQ(session.stages.front().candidates.size(), 2u) << "neither the original nor anything twice";
  for (const Candidate& candidate : session.stages.front().candidates) EXPECT_GT(candidate.ms(), 0);
}

TEST(Engine, NothingIsProvenBeforeAnythingWasTried) {
  Machine machine;
  Options options = machine.options();
  options.evaluations = 1;
  EXPECT_FALSE(tune(machine.subject(), four_stages(), options).proven());
  options.evaluations = 2;
  EXPECT_TRUE(tune(machine.subject(), four_stages(), options).proven());
  options.seconds = 0;
  EXPECT_FALSE(tune(machine.subject(), four_stages(), options).proven());
  auto stages = four_stages();
  for (Stage& stage : stages) stage.look = [](const Parameters&, double) { return Look{{}, "nothing is left to gain"}; };
  options.seconds = 60;
  EXPECT_TRUE(tune(machine.subject(), stages, options).proven()) << "each stage had its reason";
}

TEST(Engine, RandomSearchIsRepeatable) {
  const auto first = [](std::uint64_t seed) {
    Machine machine;
    Options options = machine.options();
    options.search = Search::random;
    options.evaluations = 9;
    options.seed = seed;
    const Session session = tune(machine.subject(), four_stages(), options);
    std::string text;
    for (const Candidate& candidate : session.stages.front().candidates) text += text_of(candidate.parameters) + "; ";
    return text;
  };
  EXPECT_EQ(first(1), first(1));
  EXPECT_NE(first(1), first(2));
}

// ---- The rule under real noise: thousands of whole sessions ----

// Results of `sessions` sessions in which one candidate, tile 16, takes `factor` times as long as the others, which are all alike.
struct Outcomes {
  int changed = 0;  // the result is not the original
  int planted = 0;  // it is the one candidate
};

Outcomes simulate(int sessions, double factor, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Outcomes outcomes;
  for (int i = 0; i < sessions; ++i) {
    Machine machine;
    machine.ms = [factor](const Parameters& p) { return (get(p, "tile", 8) == 16 ? factor : 1) * 1e-3; };
    machine.noise = recorded_noise(random);
    const Session session = tune(machine.subject(), four_stages(), machine.options());
    outcomes.changed += !session.result.empty();
    outcomes.planted += get(session.result, "tile", 8) == 16;
  }
  return outcomes;
}

constexpr int kSessions = 4000;

TEST(Engine, AcceptsNothingWithoutAGainUnderRealNoise) {
  const Outcomes outcomes = simulate(kSessions, 1, 1);
  RecordProperty("changed", outcomes.changed);
  EXPECT_LT(outcomes.changed, kSessions / 100) << "false accepts must stay under 1 %";
}

TEST(Engine, DetectsAGainOfFourPercentUnderRealNoise) {
  const Outcomes outcomes = simulate(kSessions, 0.96, 2);
  RecordProperty("planted", outcomes.planted);
  EXPECT_GT(outcomes.planted, kSessions * 90 / 100) << "detection must stay above 90 %";
}

TEST(Engine, NeverAcceptsASlowerOneUnderRealNoise) { EXPECT_EQ(simulate(kSessions, 1.02, 3).planted, 0); }

}  // namespace
