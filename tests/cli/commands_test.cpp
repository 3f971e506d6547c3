// The other subcommands: they run, their JSON parses, their exit codes and scripts hold.
#include <gtest/gtest.h>

#include <cstdlib>

#include <nlohmann/json.hpp>

#include "process.h"

namespace {

using cli_test::Folder;
using cli_test::Outcome;
using nlohmann::json;

json json_of(const std::vector<std::string>& arguments) {
  const Folder folder;
  const Outcome outcome = folder.run(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

std::string text_of(const std::vector<std::string>& arguments, int code = 0) {
  const Folder folder;
  const Outcome outcome = folder.run(arguments);
  EXPECT_EQ(outcome.code, code) << outcome.err;
  return code == 0 ? outcome.out : outcome.err;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Main, HelpTeachesByExample) {
  EXPECT_TRUE(has(text_of({"--help"}), "Exit codes"));
  for (const char* command : {"run", "demo", "plan", "device", "advise", "tune", "profile", "doctor", "pack", "completion"}) {
    const std::string help = text_of({command, "--help"});
    EXPECT_TRUE(has(help, "Examples:")) << command;
    EXPECT_TRUE(has(help, "--json")) << command;
  }
}

TEST(Main, TellsItsVersions) {
  const std::string version = text_of({"--version"});
  EXPECT_TRUE(has(version, "cumulus ")) << version;
  EXPECT_TRUE(has(version, "ABI")) << version;
  EXPECT_TRUE(has(version, "order 1")) << version;
}

TEST(Main, NoticesThatStdoutIsFull) {
  const Folder folder;
  std::string command;
  for (const std::string& word : support::command_line(CUMULUS_CLI_PATH, {"plan", "--shape", "8"})) command += "'" + word + "' ";
  const Outcome outcome = folder.run({"-c", command + "> /dev/full"}, -1, "/bin/sh");
  EXPECT_EQ(outcome.code, 3);
  EXPECT_TRUE(has(outcome.err, "stdout")) << outcome.err;
}

TEST(Plan, TellsWhatAndWhy) {
  const std::string text = text_of({"plan", "--shape", "32768x32768", "--axis", "1", "--dtype", "f32"});
  for (const char* part : {"shape case", "algorithm", "8589934592 that must move", "why"})
    EXPECT_TRUE(has(text, part)) << part << " in\n" << text;
  const json plan = json_of({"plan", "--shape", "2^15x2^15", "--axis", "-1", "--json"});
  EXPECT_EQ(plan.at("bytes_required"), 8589934592);
  EXPECT_TRUE(plan.contains("algorithm"));
  EXPECT_TRUE(plan.contains("reason"));
}

TEST(Plan, KnowsMasksStridesAndFiles) {
  const json gpu = json_of({"plan", "--shape", "32768x32768", "--axis", "1", "--device", "4090", "--json"});
  EXPECT_NEAR(gpu.at("floor_us").get<double>(), 8522, 1);
  EXPECT_TRUE(has(text_of({"plan", "--shape", "32768x32768", "--axis", "1", "--device", "rtx 4090"}), "floor time"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "32768x32768", "--axis", "1", "--device", "rtx 4090"}), "not measured"));
  EXPECT_FALSE(has(text_of({"plan", "--shape", "32768x32768", "--axis", "1", "--device", "h200"}), "not measured"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "8", "--device", "4091"}, 2), "4090"));
  EXPECT_EQ(json_of({"plan", "--shape", "32768x32768", "--axis", "1", "--mask", "bool", "--json"}).at("bytes_required"), 9663676416);
  EXPECT_EQ(json_of({"plan", "--shape", "32768x32768", "--axis", "1", "--mask", "same", "--json"}).at("bytes_required"), 12884901888);
  EXPECT_EQ(json_of({"plan", "--shape", "4096x4096", "--axis", "1", "--strides", "1,4096", "--json"}).at("rows"), 4096);
  EXPECT_EQ(json_of({"plan", "--shape", "100x7", "--axis", "flat", "--json"}).at("length"), 700);
  EXPECT_EQ(json_of({"plan", "--shape", "8x8", "--axis", "0", "--in-dtype", "i8", "--json"}).at("out_dtype"), "i64");
  const Folder folder;
  cli_test::write_file(folder / "x.npy", cli_test::npy("<f8", true, "(3, 5)", std::string(120, '\0')));
  const Outcome outcome = folder.run({"plan", "x.npy", "--axis", "1", "--json"});
  EXPECT_EQ(json::parse(outcome.out).at("in_dtype"), "f64");
}

TEST(Plan, RefusesNonsense) {
  EXPECT_TRUE(has(text_of({"plan"}, 2), "--shape"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "3x-4"}, 2), "3x-4"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "3x"}, 2), "3x"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "2^64"}, 2), "2^64"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "4x4"}, 2), "--axis"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "4x4", "--axis", "0", "--strides", "1"}, 2), "--strides"));
  EXPECT_TRUE(has(text_of({"plan", "--shape", "4", "--op", "max", "--dtype", "c64"}, 4), "no order"));
}

TEST(Device, MeasuresCopies) {
  const json device = json_of({"device", "--size", "1", "--rounds", "1", "--json"});
  EXPECT_GE(device.at("cores"), 1);
  EXPECT_FALSE(device.at("simd").get<std::string>().empty());
  EXPECT_GE(device.at("copy").size(), 2u);
  for (const json& copy : device.at("copy")) EXPECT_GT(copy.at("gbps"), 0);
  EXPECT_TRUE(json_of({"device", "--no-measure", "--json"}).at("copy").empty());
  EXPECT_TRUE(has(text_of({"device", "--no-measure"}), "SIMD target"));
}

TEST(Doctor, FindsThisMachineUsable) {
  const json doctor = json_of({"doctor", "--json"});
  EXPECT_EQ(doctor.at("usable"), true);
  for (const json& finding : doctor.at("findings")) EXPECT_NE(finding.at("state"), "fail") << finding;
  EXPECT_TRUE(has(text_of({"doctor"}), "usable here"));
}

TEST(Doctor, SaysThatAWantedTargetIsNotThere) {
  const char* before = std::getenv("CUMULUS_SIMD");
  const std::string kept = before ? before : "";
  setenv("CUMULUS_SIMD", "AVX9", 1);  // processes started from here inherit it
  const std::string text = text_of({"doctor"});
  before ? setenv("CUMULUS_SIMD", kept.c_str(), 1) : unsetenv("CUMULUS_SIMD");
  EXPECT_TRUE(has(text, "CUMULUS_SIMD=AVX9 asks for a choice that this processor does not have: choose one of")) << text;
}

TEST(Demo, ChecksEveryWorkload) {
  for (const char* size : {"2", "129", "260"}) {
    const json demo = json_of({"demo", "--size", size, "--rounds", "1", "--json"});
    EXPECT_EQ(demo.at("ok"), true) << demo;
    EXPECT_EQ(demo.at("cases").size(), 7u);
    for (const json& one : demo.at("cases")) EXPECT_EQ(one.at("bits_equal"), true) << one;
  }
  const json old_definition = json_of({"demo", "--size", "33", "--rounds", "1", "--threads", "1", "--json"}).at("cases").at(4);
  EXPECT_EQ(old_definition.at("out_shape"), json({32, 34}));
  EXPECT_TRUE(has(text_of({"demo", "--size", "64", "--rounds", "1"}), "All results are right"));
  EXPECT_TRUE(has(text_of({"demo", "--size", "1000000"}, 4), "--size"));
}

TEST(Completion, KnowsEveryCommandAndOption) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = text_of({"completion", shell});
    for (const char* word : {"run", "bench", "doctor", "recurrence", "prefixes"})
      EXPECT_TRUE(has(script, word)) << word << " for " << shell;
    EXPECT_TRUE(has(script, std::string(shell) == "fish" ? "-l in-dtype" : "--in-dtype")) << shell;
  }
  EXPECT_EQ(json_of({"completion", "bash", "--json"}).at("shell"), "bash");
  EXPECT_TRUE(has(text_of({"completion", "tcsh"}, 2), "tcsh"));
}

// Checks a script with its own shell, where that is installed.
void check_syntax(const std::string& shell, const std::vector<std::string>& arguments) {
  const Folder folder;
  cli_test::write_file(folder / "script", folder.run({"completion", shell}).out);
  const Outcome outcome = folder.run(arguments, -1, shell);
  if (outcome.code == 127) GTEST_SKIP() << shell << " is not installed";
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
}

TEST(Completion, BashAcceptsIt) { check_syntax("bash", {"-n", "script"}); }
TEST(Completion, ZshAcceptsIt) { check_syntax("zsh", {"-n", "script"}); }
TEST(Completion, FishAcceptsIt) { check_syntax("fish", {"-n", "script"}); }

TEST(Completion, BashCompletes) {
  const Folder folder;
  cli_test::write_file(folder / "script", folder.run({"completion", "bash"}).out +
                                              "COMP_WORDS=(cumulus run --op p); COMP_CWORD=3; _cumulus; echo \"${COMPREPLY[*]}\"\n"
                                              "COMP_WORDS=(cumulus do); COMP_CWORD=1; _cumulus; echo \"${COMPREPLY[*]}\"\n");
  EXPECT_EQ(folder.run({"script"}, -1, "bash").out, "prod\ndoctor\n");
}

}  // namespace
