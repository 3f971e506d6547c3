// The other subcommands: they run, their JSON parses, their exit codes and scripts hold.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

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

TEST(Plan, RefusesTheCpusOptionsForAGpu) {
  for (const char* option : {"--threads=5", "--pin"})
    EXPECT_TRUE(
        has(text_of({"plan", "--shape", "64", "--device", "h200", option}, 2), "is an option of the CPU, and --device h200 means a GPU"));
}

TEST(Plan, SaysThatAnAxisHasNoElements) {
  const std::string text = text_of({"plan", "--shape", "5x0", "--axis", "1", "--kind", "prefixes", "--device", "h200"});
  EXPECT_TRUE(has(text, "no elements along the axis")) << text;
}

TEST(Plan, RefusesCallsThatMoveMoreThan63BitsCount) {
  for (const std::vector<std::string>& call :
       std::vector<std::vector<std::string>>{{"--shape", "2^60", "--axis", "0", "--device", "h200"},
                                             {"--shape", "2^60", "--axis", "0", "--device", "h200", "--json"},
                                             {"--shape", "2^60", "--axis", "0"},
                                             {"--shape", "2^59", "--dtype", "f64", "--mask", "bool"},
                                             {"--shape", "7x144115188075855872", "--axis", "0", "--mask", "same"},
                                             {"--shape", "2^61"}}) {
    std::vector<std::string> words = {"plan"};
    words.insert(words.end(), call.begin(), call.end());
    EXPECT_TRUE(has(text_of(words, 2), "more bytes than 63 bits count")) << call[1];
  }
  EXPECT_EQ(json_of({"plan", "--shape", "2^59", "--json"}).at("bytes_required"), std::int64_t{1} << 62);
  EXPECT_GT(json_of({"plan", "--shape", "2^59", "--device", "h200", "--json"}).at("floor_us").get<double>(), 0);
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

// A variable of the processes started from here, while this lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(Doctor, SaysThatAWantedTargetIsNotThere) {
  const Variable simd("CUMULUS_SIMD", "AVX9");
  const std::string text = text_of({"doctor"});
  EXPECT_TRUE(has(text, "CUMULUS_SIMD=AVX9 asks for a choice that this processor does not have: choose one of")) << text;
}

constexpr const char* kEmptyPack = "cumulus pack 1\n";

bool without_cuda(const Outcome& outcome) { return has(outcome.err, "no CUDA backend"); }

// Refusals come before anything is compiled: no compiler is found here, and none of them says so.
TEST(Pack, LeavesWhatIsNotItsOwn) {
  const Variable nowhere("CUMULUS_NVRTC", "/nowhere");
  const Folder folder;
  cli_test::write_file(folder / "notes.txt", "notes of somebody's, longer than a pack's beginning");
  cli_test::write_file(folder / "empty", "");
  std::filesystem::create_directory(folder / "folder");
  std::filesystem::create_symlink("notes.txt", folder / "link");
  std::filesystem::create_symlink("nowhere", folder / "dangling");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const std::vector<std::string> names = folder.names();
  if (without_cuda(folder.run({"pack", "new.pack", "--arch", "90"}))) GTEST_SKIP() << "a build without CUDA";
  const auto expect = [&](const std::string& out, int code, const char* part) {
    const Outcome outcome = folder.run({"pack", out, "--arch", "90"});
    EXPECT_EQ(outcome.code, code) << out << ": " << outcome.err;
    EXPECT_TRUE(has(outcome.err, part)) << out << ": " << outcome.err;
  };
  expect("notes.txt", 2, "notes.txt exists and is no pack");
  expect("link", 2, "is no pack");
  expect("empty", 2, "is no pack");
  expect("", 2, "is empty");
  expect("folder", 3, "directory");
  expect("pipe", 3, "not a regular file");
  expect("dangling", 3, "leads nowhere");
  expect("no/such/x.pack", 3, "no/such/x.pack: No such file");
  expect("notes.txt/x.pack", 3, "Not a directory");
  EXPECT_EQ(folder.names(), names);
  EXPECT_EQ(cli_test::read_file(folder / "notes.txt"), "notes of somebody's, longer than a pack's beginning");
}

TEST(Pack, RefusesWhatHasNoKernels) {
  const Variable nowhere("CUMULUS_NVRTC", "/nowhere");
  const Folder folder;
  cli_test::write_file(folder / "x.pack", kEmptyPack);
  if (without_cuda(folder.run({"pack", "x.pack", "--arch", "90"}))) GTEST_SKIP() << "a build without CUDA";
  const auto expect = [&](std::vector<std::string> options, int code, const std::string& part) {
    options.insert(options.begin(), {"pack", "x.pack"});
    const Outcome outcome = folder.run(options);
    EXPECT_EQ(outcome.code, code) << part << ": " << outcome.err;
    EXPECT_TRUE(has(outcome.err, part)) << part << " in " << outcome.err;
  };
  expect({"--arch", "90", "--op", "max", "--dtype", "c64"}, 2, "dtype c64 has no kernels with op max");
  expect({"--arch", "90", "--dtype", "f32,bool"}, 2, "dtype bool has no kernels");
  for (const char* dtype : {"", "f33"}) expect({"--arch", "90", "--dtype", dtype}, 2, "bf16, ");
  expect({"--arch", "90", "--op", "summ"}, 2, "recurrence");
  for (const char* arch : {"-90", "90a", "sm_", "9.", "x", "1000", "90,x"}) expect({"--arch=" + std::string(arch)}, 2, "90, 9.0 or sm_90");
  expect({"--arch", ""}, 2, "--arch \"\": a compute capability");
  expect({"--arch", "75"}, 4, "too old");
  for (const char* arch : {"90", "9.0", "sm_90", "90,sm_90"}) expect({"--arch", arch}, 4, "no NVRTC");
  const std::string text = folder.run({"pack", "x.pack", "--arch", "90"}).err;
  EXPECT_TRUE(has(text, "CUMULUS_NVRTC decides alone, and is \"/nowhere\"")) << text;
  EXPECT_FALSE(has(text, "cumulus pack")) << text;
  EXPECT_EQ(cli_test::read_file(folder / "x.pack"), kEmptyPack);
}

TEST(Pack, ReplacesAPackBehindItsLink) {
  const Variable compiler("CUMULUS_NVRTC", CUMULUS_FAKE_NVRTC);
  const Folder folder;
  cli_test::write_file(folder / "old.pack", kEmptyPack);
  std::filesystem::create_symlink("old.pack", folder / "link.pack");
  const std::vector<std::string> arguments = {"pack", "link.pack", "--arch", "90,sm_90", "--op", "max", "--dtype", "uint8", "--json"};
  const Outcome outcome = folder.run(arguments);
  if (without_cuda(outcome)) GTEST_SKIP() << "a build without CUDA";
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.pack"));
  EXPECT_EQ(json::parse(outcome.out).at("bytes"), std::filesystem::file_size(folder / "old.pack"));
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"link.pack", "old.pack"}));
  const std::string before = cli_test::read_file(folder / "old.pack");
  EXPECT_EQ(folder.run(arguments, 4096).code, 3);  // as on a full disk
  EXPECT_TRUE(cli_test::read_file(folder / "old.pack") == before);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"link.pack", "old.pack"}));
}

TEST(Pack, LeavesNothingBehindWhenItIsStopped) {
  const Variable compiler("CUMULUS_NVRTC", CUMULUS_FAKE_NVRTC);
  const Folder folder;
  std::vector<std::string> words = {"-s", "TERM", "1"};
  const std::vector<std::string> pack = {"pack", "x.pack", "--arch", "90", "--threads", "1"};
  for (const std::string& word : support::command_line(CUMULUS_CLI_PATH, pack)) words.push_back(word);
  const Outcome outcome = folder.run(words, -1, "timeout");
  if (without_cuda(outcome)) GTEST_SKIP() << "a build without CUDA";
  EXPECT_EQ(outcome.code, 124) << outcome.err;
  EXPECT_TRUE(folder.names().empty()) << ::testing::PrintToString(folder.names());
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
