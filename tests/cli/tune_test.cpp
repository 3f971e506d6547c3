// cumulus tune as a user types it. Scans are small and budgets in configurations: what is found may differ, what is said may not.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "process.h"
#include "tune_cache.h"

namespace {

using cli_test::Folder;
using cli_test::Outcome;
using nlohmann::json;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A folder whose tuning file is the one that commands in it use.
class Tune : public testing::Test {
 protected:
  Tune() { setenv("CUMULUS_TUNING_FILE", file().c_str(), 1); }
  ~Tune() override {
    unsetenv("CUMULUS_TUNING_FILE");
    unsetenv("CUMULUS_TUNING");
  }
  std::string file() const { return folder / "folder/tuning.json"; }

  std::string out(std::vector<std::string> words, int code = 0) const {
    const Outcome outcome = folder.run(words);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    return code == 0 ? outcome.out : outcome.err;
  }

  std::vector<std::string> small(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"tune", "--shape", "256x1024", "--axis", "1", "--evaluations", "6", "--budget", "2s"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // The same with so many configurations and all the time they need, which the margin keeps short: nothing saves half.
  static std::vector<std::string> tries(int evaluations, const std::vector<std::string>& more = {}, const std::string& shape = "256x1024") {
    std::vector<std::string> words = {"tune",     "--shape", shape,      "--axis", "1", "--evaluations", std::to_string(evaluations),
                                      "--budget", "10min",   "--margin", "50"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // A tuning file whose one entry is made for this very machine and for the plan's shape.
  void save_entry(const std::map<std::string, int>& tuning) const {
    out(tries(2));
    json cache = json::parse(cli_test::read_file(file()));
    ASSERT_EQ(cache.at("entries").size(), 1u);
    cache["entries"][0]["tuning"] = tuning;
    cli_test::write_file(file(), cache.dump());
  }

  json plan(const std::string& shape = "256x1024") const { return json::parse(out({"plan", "--shape", shape, "--axis", "1", "--json"})); }

  const Folder folder;
};

TEST_F(Tune, DryRunShowsTheStagesAndMeasuresNothing) {
  const std::string text = out({"tune", "--shape", "32768x32768", "--axis", "1", "--dry-run"});
  for (const char* part : {"1. grid and parallel mapping", "2. block tiling", "3. memory efficiency and latency hiding",
                           "4. final micro-tuning", "threads", "streaming", "["})
    EXPECT_TRUE(has(text, part)) << part << " in\n" << text;
  EXPECT_TRUE(folder.names().empty());
}

TEST_F(Tune, WritesASessionThatReportsCanRead) {
  out(small({"--json", "session.json", "--no-save", "--commit", "abc"}));
  const json session = json::parse(cli_test::read_file(folder / "session.json"));
  EXPECT_EQ(session.at("kind"), "tune");
  EXPECT_EQ(session.at("version"), 1);
  EXPECT_EQ(session.at("commit"), "abc");
  EXPECT_TRUE(session.at("machine").at("cpu").is_string());
  EXPECT_EQ(session.at("problem").at("length"), 1024);
  EXPECT_EQ(session.at("search"), "staged");
  EXPECT_GT(session.at("original").at("ms").get<double>(), 0);
  ASSERT_EQ(session.at("stages").size() % 4, 1u) << "four stages, more than once after a great gain, and the last round";
  const std::set<std::string> decisions = {"accepted", "refused", "wrong bits", "stopped early", "failed"};
  for (const json& stage : session.at("stages"))
    for (const json& candidate : stage.at("candidates")) {
      EXPECT_TRUE(decisions.count(candidate.at("decision"))) << candidate;
      EXPECT_NE(candidate.at("decision"), "wrong bits") << candidate;
      EXPECT_NE(candidate.at("decision"), "failed") << candidate;
      EXPECT_FALSE(candidate.at("reason").get<std::string>().empty());
      for (const char* key : {"tuning", "ms", "ratio", "spread"}) EXPECT_TRUE(candidate.contains(key)) << key;
    }
  EXPECT_GT(session.at("result").at("ratio").get<double>(), 0);
  EXPECT_LE(session.at("evaluations").get<int>(), 6 + 5) << "the last round's are few";
  EXPECT_EQ(folder.names(), std::vector<std::string>{"session.json"}) << "nothing was saved";
}

TEST_F(Tune, AFileInTheSessionsPlaceIsRefusedBeforeAnythingIsMeasured) {
  cli_test::write_file(folder / "session.json", "mine");
  EXPECT_TRUE(has(out(small({"--json", "session.json"}), 2), "session.json exists"));
  EXPECT_EQ(cli_test::read_file(folder / "session.json"), "mine");
  EXPECT_EQ(folder.names(), std::vector<std::string>{"session.json"}) << "a session was run, and saved";
  out(small({"--json", "session.json", "--no-save", "--force"}));
  EXPECT_TRUE(json::parse(cli_test::read_file(folder / "session.json")).contains("stages"));
}

TEST_F(Tune, EveryKindOfScanIsTuned) {
  for (const std::vector<std::string>& scan :
       std::vector<std::vector<std::string>>{{"--shape", "2048x64", "--axis", "0"},
                                             {"--shape", "512x100", "--axis", "1", "--kind", "prefixes", "--reverse"},
                                             {"--shape", "100000", "--op", "max", "--dtype", "i32", "--kind", "exclusive"},
                                             {"--shape", "64x2000", "--axis", "1", "--op", "recurrence", "--dtype", "f64"},
                                             {"--shape", "30x40x50", "--axis", "1", "--mask", "bool", "--dtype", "bf16"},
                                             {"--shape", "64x2000", "--axis", "flat", "--mask", "same"}}) {
    std::vector<std::string> words = {"tune", "--evaluations", "4", "--budget", "2s", "--json", "-", "--no-save", "--threads", "2"};
    words.insert(words.end(), scan.begin(), scan.end());
    const json session = json::parse(out(words), nullptr, false);
    ASSERT_TRUE(session.is_object()) << scan[1];
    for (const json& stage : session.at("stages"))
      for (const json& candidate : stage.at("candidates")) EXPECT_NE(candidate.at("decision"), "wrong bits") << scan[1];
  }
}

TEST_F(Tune, OtherSearches) {
  for (const char* search : {"exhaustive", "random"}) {
    const json session = json::parse(out(tries(6, {"--search", search, "--json", "-", "--no-save"})));
    EXPECT_EQ(session.at("stages").at(0).at("name"), search);
    EXPECT_EQ(session.at("stages").at(0).at("candidates").size(), 5u);
  }
}

TEST_F(Tune, WhatIsSavedIsLookedUp) {
  EXPECT_EQ(plan().at("source"), "default");
  save_entry({{"staged", 1}, {"threads", 1}});
  EXPECT_EQ(plan().at("source"), "exact entry");
  EXPECT_EQ(plan().at("staged"), true);
  EXPECT_EQ(plan().at("threads"), 1);
  EXPECT_EQ(plan("300x2000").at("source"), "nearest bucket");
  EXPECT_EQ(plan("256x16384").at("source"), "default");
  EXPECT_TRUE(has(out({"plan", "--shape", "256x1024", "--axis", "1"}), "exact entry: staged 1, threads 1 saved"));
  EXPECT_TRUE(has(out({"tune", "--list"}), "staged 1, threads 1"));
  setenv("CUMULUS_TUNING", "off", 1);
  EXPECT_EQ(plan().at("source"), "default");
}

TEST_F(Tune, TunedScansHaveTheSameBits) {
  save_entry({{"staged", 1}, {"threads", 2}, {"split", 1}, {"streaming", 1}});
  std::vector<float> x(256 * 1024);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 1000) * 0.1f;
  cli_test::write_file(folder / "x.npy", cli_test::npy("<f4", false, "(256, 1024)", cli_test::bytes_of(x)));
  EXPECT_EQ(plan().at("algorithm"), "split_rows");
  out({"run", "x.npy", "tuned.npy", "--axis", "1"});
  setenv("CUMULUS_TUNING", "off", 1);
  out({"run", "x.npy", "plain.npy", "--axis", "1"});
  EXPECT_EQ(cli_test::read_file(folder / "tuned.npy"), cli_test::read_file(folder / "plain.npy"));
}

TEST_F(Tune, AnotherMachinesEntryIsANeighboursOrAMiss) {
  save_entry({{"staged", 1}});
  json cache = json::parse(cli_test::read_file(file()));
  cache["entries"][0]["machine"]["device"] = "another processor";
  cli_test::write_file(file(), cache.dump());
  EXPECT_EQ(plan().at("source"), "neighbouring architecture");
  cache["entries"][0]["machine"]["library"] = "0.0.1 order 1";
  cli_test::write_file(file(), cache.dump());
  EXPECT_EQ(plan().at("source"), "default");
}

TEST_F(Tune, ABrokenFileIsAMissAndIsLeftAsItIs) {
  out(tries(2));
  cli_test::write_file(file(), "{\"kind\": \"cumulus-tuning\", \"form");
  EXPECT_EQ(plan().at("source"), "default");
  EXPECT_TRUE(has(out({"plan", "--shape", "256x1024", "--axis", "1"}), "is not used"));
  EXPECT_TRUE(has(out(small({}), 2), "is left as it is"));
  EXPECT_EQ(cli_test::read_file(file()), "{\"kind\": \"cumulus-tuning\", \"form");
}

TEST_F(Tune, ExportImportMergeFreeze) {
  save_entry({{"staged", 1}});
  out({"tune", "--export", "mine.json"});
  EXPECT_TRUE(has(out({"tune", "--export", "mine.json"}, 2), "exists"));
  json other = json::parse(cli_test::read_file(folder / "mine.json"));
  other["entries"][0]["tuning"] = {{"threads", 1}};
  other["entries"][0]["date"] = "2999-01-01T00:00:00Z";
  cli_test::write_file(folder / "other.json", other.dump());

  EXPECT_TRUE(has(out({"tune", "--import", "other.json"}), "0 of 1"));
  EXPECT_EQ(plan().at("staged"), true) << "import replaces nothing";
  out({"tune", "--freeze"});
  EXPECT_TRUE(has(out({"tune", "--merge", "other.json"}, 2), "frozen"));
  EXPECT_TRUE(has(out(small({})), "not saved"));
  EXPECT_EQ(plan().at("staged"), true) << "a frozen file is looked up";
  out({"tune", "--unfreeze"});
  out({"tune", "--merge", "other.json"});
  EXPECT_EQ(plan().at("staged"), false) << "the later measured one stays";
  EXPECT_TRUE(has(out({"tune", "--import", "nowhere.json"}, 3), "nowhere.json"));
}

TEST_F(Tune, ManyProcessesLoseNothing) {
  constexpr int kProcesses = 6, kEach = 10;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      cumulus::tuning::Entry entry{};
      entry.call.rows_log2 = i;
      for (int& k = entry.call.length_log2; k < kEach; ++k) cumulus::cli::save_tuning(file(), entry);
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(json::parse(cli_test::read_file(file())).at("entries").size(), static_cast<std::size_t>(kProcesses * kEach));
}

TEST_F(Tune, RefusesWhatItCannotDo) {
  EXPECT_TRUE(has(out({"tune"}, 2), "--shape"));
  EXPECT_TRUE(has(out(small({"--start", "tiles=4"}), 2), "--start tiles=4"));
  EXPECT_TRUE(has(out(small({"--start", "tile=x"}), 2), "threads, split, tile"));
  EXPECT_TRUE(has(out(small({"--start", "tile 8 threads"}), 2), "--start tile 8 threads"));
  EXPECT_TRUE(has(out(small({"--start", "tile -1"}), 2), "--start tile -1"));
  EXPECT_TRUE(has(out({"tune", "--shape", "2^20", "--memory", "1MB"}, 2), "--memory"));
  EXPECT_TRUE(has(out({"tune", "--shape", "2^50"}, 4), "of memory"));
  EXPECT_EQ(folder.run({"tune", "--shape", "8", "--search", "guess"}).code, 2);
}

TEST_F(Tune, SaysTheRuleOfATimeAndOfASize) {
  for (const char* budget : {"-1", "0", "0s", "1e400", "1001h", "nan", "inf", "soon", "5days"})
    EXPECT_TRUE(has(out({"tune", "--shape", "2^20", "--budget", budget, "--dry-run"}, 2),
                    std::string("--budget: ") + budget + " is no time that tuning can take: give one above 0 and up to 1000h"))
        << budget;
  for (const char* memory : {"-4GB", "-4", "0", "99999999999TB", "much"})
    EXPECT_TRUE(has(out({"tune", "--shape", "2^20", "--memory", memory, "--dry-run"}, 2),
                    std::string("--memory: ") + memory + " is no amount of memory: give one above 0, such as 4GB"))
        << memory;
  for (const char* budget : {"20", "0.5s", "3min", "1000h"})
    EXPECT_EQ(folder.run({"tune", "--shape", "2^20", "--budget", budget, "--memory", "4GB", "--dry-run"}).code, 0) << budget;
}

// The rule is that of look-ups: what `plan` says of the same calls.
TEST_F(Tune, RefusesToSaveWhatNoCallLooksUp) {
  for (const auto& [shape, small] : {std::pair{"131071", true}, std::pair{"131072", false}}) {
    const Outcome outcome = folder.run({"tune", "--shape", shape, "--dry-run"});
    EXPECT_EQ(outcome.code, small ? 2 : 0) << outcome.err;
    EXPECT_EQ(has(outcome.err, "less than 1 MiB looks nothing up"), small) << outcome.err;
    EXPECT_EQ(has(out({"plan", "--shape", shape}), "less than 1 MiB are not tuned"), small) << shape;
  }
  EXPECT_TRUE(has(out(tries(2, {"--no-save"}, "64x64")), "not saved: --no-save"));
  EXPECT_TRUE(has(out(tries(2, {"--start", "threads 1"}, "64x64")), "not saved: --start"));
  EXPECT_TRUE(has(out(tries(2, {"--no-save"}, "0x4"), 2), "--shape 0 x 4: there is nothing to scan"));
  EXPECT_TRUE(has(out({"tune", "--shape", "2^60"}, 2), "more bytes than 63 bits count"));
  EXPECT_TRUE(has(out({"tune", "--shape", "2^58"}, 2), "no memory holds it"));
  EXPECT_TRUE(folder.names().empty());
}

TEST_F(Tune, RefusesTheCpusOptionsForAGpu) {
  for (const char* option : {"--threads=2", "--pin"})
    EXPECT_TRUE(
        has(out({"tune", "--shape", "2^20", "--cuda", "0", option, "--dry-run"}, 2), "is an option of the CPU, and --cuda 0 means a GPU"));
}

TEST_F(Tune, SaysWhatIsWrongWithAFileInItsOwnWords) {
  const std::string rest = " is no tuning file of this version and is left as it is: ";
  for (const auto& [text, why] :
       {std::pair{"[{\"case\": \"1d/2^6\"}]", "this is array, no object: name what `cumulus tune` or its --export wrote"},
        std::pair{"root:x:0:0:", "parse error at line 1, column 1"}, std::pair{"{}", "key 'kind' not found"},
        std::pair{"{\"kind\": \"tune\"}", "it is no tuning file"},
        std::pair{"{\"kind\": \"cumulus-tuning\", \"format\": 1, \"frozen\": false}", "key 'entries' not found"}}) {
    cli_test::write_file(folder / "other.json", text);
    for (const char* how : {"--import", "--merge"}) {
      const std::string error = out({"tune", how, "other.json"}, 2);
      EXPECT_TRUE(has(error, "other.json" + rest + why)) << error;
      EXPECT_FALSE(has(error, "json.exception")) << error;
    }
  }
}

TEST_F(Tune, ListsAsJson) {
  EXPECT_EQ(json::parse(out({"tune", "--list", "--json"})).at("entries"), json::array());
  save_entry({{"staged", 1}});
  const json list = json::parse(out({"tune", "--list", "--json"}));
  EXPECT_EQ(list.at("file"), file());
  EXPECT_EQ(list.at("frozen"), false);
  EXPECT_EQ(list.at("entries").at(0).at("tuning"), (json{{"staged", 1}}));
  out({"tune", "--list", "--json", "list.json"});
  EXPECT_EQ(json::parse(cli_test::read_file(folder / "list.json")), list);
  EXPECT_TRUE(has(out({"tune", "--list", "--json", "list.json"}, 2), "list.json exists"));
}

TEST_F(Tune, OneTuningAtATimeOnAGpu) {
  setenv("XDG_RUNTIME_DIR", (folder / "").c_str(), 1);
  {
    const cumulus::cli::TuningTurn first(3);
    EXPECT_THROW(cumulus::cli::TuningTurn(3), cumulus::cli::CliError);
    EXPECT_NO_THROW(cumulus::cli::TuningTurn(4));
  }
  EXPECT_NO_THROW(cumulus::cli::TuningTurn(3));
  unsetenv("XDG_RUNTIME_DIR");
}

TEST_F(Tune, SaysThatThereIsNoGpu) {
  if (json::parse(out({"device", "--no-measure", "--json"})).at("gpus").empty()) {
    const std::string why = out({"tune", "--shape", "4096x4096", "--axis", "1", "--cuda", "0"}, 4);
    EXPECT_TRUE(has(why, "CUDA") || has(why, "driver")) << why;
  }
}

TEST_F(Tune, StartsOfItsOwnAreNotSaved) {
  EXPECT_TRUE(has(out(small({"--start", "staged=1"})), "not saved"));
  EXPECT_EQ(plan().at("source"), "default");
}

TEST_F(Tune, StartsAreReadAsTablesPrintThem) {
  for (const char* text : {"staged 1, threads 1", "threads=1,staged=1", " staged 1 ,threads 1"}) {
    const json session = json::parse(out(small({"--start", text, "--json", "-"})));
    EXPECT_EQ(session.at("original").at("tuning"), (json{{"staged", 1}, {"threads", 1}})) << text;
  }
  EXPECT_TRUE(has(out(small({"--start", "staged 1, threads 1"})), "original: staged 1, threads 1"));
}

TEST_F(Tune, ThePlannersChoiceIsTriedFromAnyStartUnlessItIsLeftOut) {
  const auto tried = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"--start", "staged 1", "--search", "exhaustive", "--json", "-"};
    words.insert(words.end(), more.begin(), more.end());
    const json session = json::parse(out(small(words)));
    return session.at("stages").at(0).at("candidates").at(0).at("tuning");
  };
  EXPECT_EQ(tried({}), json::object());
  EXPECT_NE(tried({"--without-planner"}), json::object());
}

TEST_F(Tune, NothingIsSavedBeforeAnythingWasTried) {
  EXPECT_TRUE(has(out(tries(1)), "not saved: nothing was proven"));
  EXPECT_FALSE(has(out(tries(2)), "not saved"));
}

TEST_F(Tune, RepeatedSessionsAreAnArray) {
  const json sessions = json::parse(out(small({"--repeat", "3", "--json", "-", "--no-save"})));
  ASSERT_EQ(sessions.size(), 3u);
  for (const json& session : sessions) EXPECT_EQ(session.at("kind"), "tune");
}

}  // namespace
