// cumulus advise and what it stands on: GPU models, recognised workloads, the figures of an answer, files it writes.
#include "advice.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "process.h"

namespace {

using namespace cumulus::cli;
using cli_test::Folder;
using cli_test::Outcome;
using nlohmann::json;

const std::filesystem::path kData = std::filesystem::path(CUMULUS_TEST_DATA) / "../cli/data";
const std::filesystem::path kModels = std::filesystem::path(CUMULUS_TEST_DATA) / "../../python/cumulus/kernelbench/models";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string data(const std::string& name) { return (kData / name).string(); }

json answer(const std::string& name, const std::vector<std::string>& options = {}) {
  const Folder folder;
  std::vector<std::string> arguments = {"advise", data(name), "--json"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  const Outcome outcome = folder.run(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

std::string refused(const Folder& folder, const std::vector<std::string>& arguments, int code = 2) {
  const Outcome outcome = folder.run(arguments);
  EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
  EXPECT_EQ(outcome.out, "");
  return outcome.err;
}

std::string verdict(const json& advice, const std::string& rule) {
  for (const json& decision : advice.at("decisions"))
    if (has(decision.at("rule").get<std::string>(), rule)) return decision.at("verdict");
  return "no such rule";
}

// --- Documents ------------------------------------------------------------------------------------------------------------------

struct Expected {
  const char* file;
  const char* workload;
  int stage;
  double floor_ms, amplification;  // by hand
};

TEST(Advise, AnswersTheFiveDocuments) {
  for (const Expected& expected :
       {Expected{"inclusive.txt", "89", 4, 8.522, 2}, Expected{"reverse.txt", "91", 3, 8.522, 3.5},
        Expected{"exclusive_two_pass.txt", "92-old", 3, 8.521, 3}, Expected{"exclusive_rowwise.txt", "92-old", 4, 8.521, 2},
        Expected{"masked.txt", "93-bool", 3, 9.587, 1.889}}) {
    const json advice = answer(expected.file);
    EXPECT_EQ(advice.at("workload"), expected.workload) << expected.file;
    EXPECT_EQ(advice.at("stage"), expected.stage) << expected.file;
    EXPECT_NEAR(advice.at("floor_ms"), expected.floor_ms, 0.002) << expected.file;
    EXPECT_NEAR(advice.at("amplification_at_least"), expected.amplification, 0.001) << expected.file;
    EXPECT_GT(advice.at("now_ms_at_least"), advice.at("same_passes_ms")) << expected.file;
    EXPECT_GT(advice.at("predicted_ms"), advice.at("floor_ms")) << expected.file;
    EXPECT_LT(advice.at("predicted_ms"), advice.at("now_ms_at_least")) << expected.file;
    EXPECT_TRUE(advice.at("gpu_differs").empty()) << expected.file;
    EXPECT_EQ(advice.at("dead_metrics").empty(), expected.stage == 4) << expected.file;
  }
}

TEST(Advise, TellsTimesFromRates) {
  const json kernels = answer("inclusive.txt").at("kernels");
  EXPECT_NEAR(kernels.at(0).at("ms_at_least"), 8589934592 / (0.8901 * 1008e9) * 1e3, 1e-6);
  const json masked = answer("masked.txt").at("kernels");
  EXPECT_TRUE(has(masked.at(0).at("limit"), "the SMs"));
  EXPECT_TRUE(has(masked.at(2).at("limit"), "DRAM bandwidth"));
  EXPECT_EQ(masked.at(1).at("walks_tensors"), false);
  EXPECT_EQ(masked.at(0).at("bytes_at_least"), 9663676416);
}

TEST(Advise, DecidesByTheStagesRules) {
  const json micro = answer("inclusive.txt");
  EXPECT_EQ(verdict(micro, "num_warps"), "keep");
  EXPECT_EQ(verdict(micro, "num_stages"), "try 2, 4") << "one beside Triton's own 3";
  EXPECT_EQ(verdict(answer("exclusive_rowwise.txt"), "num_stages in"), "try 3") << "the code has 2, and 1 is not allowed";
  const json memory = answer("reverse.txt");
  EXPECT_EQ(verdict(memory, "memory stall <= 15"), "undecided");
  EXPECT_EQ(verdict(memory, "num_stages in"), "try 1, 3");
  EXPECT_EQ(verdict(memory, "no rewrite"), "allowed");
  EXPECT_EQ(verdict(memory, "smsp__warp_issue_stalled_memory_dependency"), "dead metric");
}

TEST(Advise, RefusesShapesWhoseBytesNothingCounts) {
  const Folder folder;
  EXPECT_TRUE(has(refused(folder, {"advise", data("reverse.txt"), "--shape", "2^30x2^30"}), "more bytes than 63 bits count"));
  const std::vector<std::string> flips = {"advise", data("reverse.txt"), "--shape", "2^30x2^30", "--dtype", "f16"};
  EXPECT_TRUE(has(refused(folder, flips), "2 flips and cats of 2.31 EB each move more bytes than 63 bits count"));
  const json large = answer("inclusive.txt", {"--shape", "2^30x2^30", "--dtype", "f16"});
  EXPECT_EQ(large.at("bytes_required"), std::int64_t{1} << 62);
  EXPECT_NEAR(large.at("amplification_at_least"), 2, 1e-6);
}

TEST(Advise, SkipsWhereNothingIsLeft) {
  const Folder folder;
  std::string text = cli_test::read_file(data("exclusive_rowwise.txt"));
  const auto replace = [&](const std::string& from, const std::string& to) {
    ASSERT_TRUE(has(text, from)) << from;
    text.replace(text.find(from), from.size(), to);
  };
  replace("return launch(torch.cat((first, x), dim=dim)[:-1], dim)", "return launch(x, dim)");  // one kernel, two passes: nothing to gain
  cli_test::write_file(folder / "task.txt", text);
  const Outcome outcome = folder.run({"advise", "task.txt", "--workload", "89", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json advice = json::parse(outcome.out);
  EXPECT_NEAR(advice.at("amplification_at_least"), 1, 1e-6);
  EXPECT_EQ(verdict(advice, "skip every stage"), "skip");
  EXPECT_EQ(verdict(advice, "num_stages"), "keep");
}

TEST(Advise, UsesAStallThatIsThere) {
  const Folder folder;
  for (const auto& [stall, expected, stages] : {std::tuple{"3.5", "skip", "keep"}, std::tuple{"40", "enter", "try 1, 3"}}) {
    std::string text = cli_test::read_file(data("reverse.txt"));
    const std::string key = "\"launch__grid_size\"";
    for (std::size_t at = 0; (at = text.find(key, at)) != std::string::npos;) {
      const std::string added = std::string("\"smsp__warp_issue_stalled_long_scoreboard_per_warp_active.pct\": ") + stall + ", ";
      text.insert(at, added);
      at += added.size() + key.size();
    }
    cli_test::write_file(folder / "task.txt", text);
    const json advice = json::parse(folder.run({"advise", "task.txt", "--json"}).out);
    EXPECT_EQ(verdict(advice, "memory stall <= 15"), expected);
    EXPECT_EQ(verdict(advice, "num_stages"), stages);
  }
}

TEST(Advise, SaysItInWords) {
  const Folder folder;
  const Outcome outcome = folder.run({"advise", data("reverse.txt")});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char* part :
       {"8.52 ms", "2 flips", "at least 3.50", "dead metric", "long_scoreboard", "reverse=True", "predicted", "both measured on an H200"})
    EXPECT_TRUE(has(outcome.out, part)) << part << " in\n" << outcome.out;
}

TEST(Advise, HelpTeachesByExample) {
  const Folder folder;
  const std::string help = folder.run({"advise", "--help"}).out;
  for (const char* part : {"Examples:", "cumulus advise task.txt --emit model.py", "--json", "{89,90,91,92,92-old,93,93-bool}"})
    EXPECT_TRUE(has(help, part)) << part << " in\n" << help;
  EXPECT_TRUE(has(folder.run({"completion", "bash"}).out, "'advise --workload') mapfile -t COMPREPLY < <(compgen -W '89 90"))
      << "shells know it";
}

TEST(Advise, TakesAnotherShapeAndDtype) {
  const json advice = answer("inclusive.txt", {"--shape", "4096x8192", "--dtype", "f16"});
  EXPECT_EQ(advice.at("bytes_required"), 4096 * 8192 * 4);
  EXPECT_TRUE(advice.at("predicted_ms").is_null()) << "f16 has no measured share";
  const Folder folder;
  EXPECT_TRUE(has(refused(folder, {"advise", data("inclusive.txt"), "--shape", "8"}), "--shape"));
  EXPECT_TRUE(has(refused(folder, {"advise", data("inclusive.txt"), "--shape", "0x8"}), "--shape"));
}

TEST(Advise, RefusesWhatItCannotRead) {
  const Folder folder;
  EXPECT_TRUE(has(refused(folder, {"advise", "nothing.txt"}, 3), "nothing.txt"));
  cli_test::write_file(folder / "bad.txt", "garbage\n");
  EXPECT_TRUE(has(refused(folder, {"advise", "bad.txt"}), "bad.txt: line 1: "));
  EXPECT_TRUE(has(refused(folder, {"advise", data("inclusive.txt"), "--workload", "94"}), "94"));
  EXPECT_TRUE(has(refused(folder, {"advise", data("inclusive.txt"), "--force"}), "--emit"));
}

// --- Workloads ------------------------------------------------------------------------------------------------------------------

std::string recognised(const std::string& code) {
  const Recognised result = recognise(code);
  EXPECT_FALSE(result.evidence.empty());
  return result.workload ? result.workload->key : "";
}

std::string module(const std::string& body, const std::string& parameters = "x") {
  return "import torch\n" + body + "\nclass ModelNew(torch.nn.Module):\n    def forward(self, " + parameters +
         ") -> torch.Tensor:\n        return f(x)\n";
}

TEST(Workloads, AreRecognisedByWhatTheCodeDoes) {
  EXPECT_EQ(recognised(module("def f(x): return tl.cumsum(x, 0)")), "89");
  EXPECT_EQ(recognised(module("def f(x): return triton_cumprod(x)")), "90");
  EXPECT_EQ(recognised(module("def mul(a, b):\n    return a * b\ndef f(x): return tl.associative_scan(x, 0, mul)")), "90");
  EXPECT_EQ(recognised(module("def f(x): return cumsum(x.flip(1)).flip(1)")), "91");
  EXPECT_EQ(recognised(module("def f(x): return exclusive_cumsum(x)")), "92");
  EXPECT_EQ(recognised(module("def f(x): return cumsum(torch.cat((torch.zeros_like(x[:1]), x))[:-1])")), "92-old");
  EXPECT_EQ(recognised(module("def f(x): return cumsum(x)", "x: Tensor, mask: dict[str, Tensor]")), "93-bool");
}

TEST(Workloads, AreNotGuessed) {
  EXPECT_EQ(recognised(""), "");
  EXPECT_EQ(recognised("def f(x): return torch.cumsum(x, 0)"), "") << "no ModelNew";
  EXPECT_EQ(recognised(module("def f(x): return x + 1")), "") << "no scan";
  EXPECT_EQ(recognised(module("def f(x): return exclusive_cumsum(x.flip(1))")), "") << "two things";
  EXPECT_EQ(recognised(module("def f(x): return cumsum(x)", "x, weights")), "") << "two tensors";
  EXPECT_EQ(recognised(module("# cumsum\ndef f(x): 'cumsum'; return x")), "") << "only talked about";
  EXPECT_EQ(recognised(module("def f(x):\n    '''exclusive_cumsum, .flip('''\n    return cumsum(x)")), "89") << "docstrings say nothing";
}

TEST(Workloads, CommentsAreTakenOut) {
  EXPECT_EQ(without_comments("a # b\nc"), "a \nc");
  EXPECT_EQ(without_comments("x = 'a # b' # c"), "x = '' ");
  EXPECT_EQ(without_comments("\"\"\"a\n'b'\n\"\"\"c"), "\"\"\"\n\n\"\"\"c");
  EXPECT_EQ(without_comments("'a\\'b' c"), "'' c");
  EXPECT_EQ(without_comments("'open\nnext"), "'\nnext");
}

TEST(Workloads, HaveAModelEach) {
  for (const Workload& workload : workloads())
    EXPECT_TRUE(std::filesystem::exists(kModels / (std::string(workload.model) + ".py"))) << workload.model;
}

// --- Modules --------------------------------------------------------------------------------------------------------------------

TEST(Emit, WritesTheModelOnceAndWhole) {
  const Folder folder;
  for (const Workload& workload : workloads()) {
    const Outcome outcome =
        folder.run({"advise", data("inclusive.txt"), "--workload", workload.key, "--emit", std::string(workload.key) + ".py"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const std::string text = cli_test::read_file(folder / (std::string(workload.key) + ".py"));
    EXPECT_EQ(text, cli_test::read_file(kModels / (std::string(workload.model) + ".py"))) << workload.key;
    const std::size_t import = text.find("\nimport torch"), wrapper = text.find("\ndef "), model = text.find("\nclass ModelNew");
    EXPECT_TRUE(import < wrapper && wrapper < model && model != std::string::npos) << "the order that documents ask for";
  }
  EXPECT_EQ(folder.names().size(), workloads().size()) << "no temporary file stays";
}

TEST(Emit, LeavesWhatIsThereUnlessForced) {
  const Folder folder;
  cli_test::write_file(folder / "model.py", "mine");
  EXPECT_TRUE(has(refused(folder, {"advise", data("inclusive.txt"), "--emit", "model.py"}), "--force"));
  EXPECT_EQ(cli_test::read_file(folder / "model.py"), "mine");
  EXPECT_EQ(folder.run({"advise", data("inclusive.txt"), "--emit", "model.py", "--force"}).code, 0);
  EXPECT_TRUE(has(cli_test::read_file(folder / "model.py"), "class ModelNew"));
  EXPECT_EQ(refused(folder, {"advise", data("inclusive.txt"), "--emit", "no/such/folder.py"}, 3).empty(), false);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"model.py"});
  const Outcome full = folder.run({"advise", data("inclusive.txt"), "--emit", "other.py"}, 100);
  EXPECT_EQ(full.code, 3) << full.err;
  EXPECT_EQ(folder.names(), std::vector<std::string>{"model.py"}) << "half a file is none";
}

// --- GPU models -----------------------------------------------------------------------------------------------------------------

TEST(GpuModels, AreListedWithTheirSources) {
  const Folder folder;
  const Outcome outcome = folder.run({"device", "--list"});
  for (const char* key : {"4090", "l4", "l40s", "a100", "h100", "h200", "b200", "5090", "data sheet"})
    EXPECT_TRUE(has(outcome.out, key)) << key;
  const json models = json::parse(folder.run({"device", "--list", "--json"}).out);
  EXPECT_EQ(models.size(), 8u);
  for (const json& model : models) EXPECT_FALSE(model.at("source").get<std::string>().empty());
}

TEST(GpuModels, AreShownAsDocumentsShowThem) {
  const Folder folder;
  const std::string table = folder.run({"device", "--preset", "RTX 4090"}).out;
  EXPECT_TRUE(has(cli_test::read_file(data("masked.txt")), "# Target GPU\n" + table));
  EXPECT_TRUE(has(refused(folder, {"device", "--preset", "4091"}), "4090"));
}

TEST(GpuModels, OfAUserWorkEverywhere) {
  const Folder folder;
  std::string text = folder.run({"device", "--preset", "4090", "--json"}).out;
  json models = json::parse(text);
  models["mine"] = models.at("4090");
  models.erase("4090");
  models["mine"]["bandwidth_gbps"] = 504;
  models["mine"]["source"] = "a dream";
  cli_test::write_file(folder / "gpus.json", models.dump());
  const json plan = json::parse(
      folder.run({"plan", "--shape", "32768x32768", "--axis", "1", "--device", "mine", "--presets", "gpus.json", "--json"}).out);
  EXPECT_NEAR(plan.at("floor_us"), 17043.5, 1);
  EXPECT_TRUE(has(folder.run({"device", "--list", "--presets", "gpus.json"}).out, "a dream"));
  EXPECT_TRUE(has(folder.run({"device", "--preset", "mine", "--presets", "gpus.json"}).out, "Memory Bandwidth: 504 GB/s"));

  models["4090"] = models.at("mine");  // stands before the library's
  cli_test::write_file(folder / "gpus.json", models.dump());
  const Outcome outcome = folder.run({"advise", data("inclusive.txt"), "--presets", "gpus.json"});
  EXPECT_TRUE(has(outcome.out, "Memory Bandwidth 1008 GB/s, not 504 GB/s")) << outcome.out;
}

TEST(GpuModels, OfAUserAreCheckedByFileKeyAndRule) {
  const Folder folder;
  const std::string good = R"("compute_capability": 8.9, "sms": 76, "bandwidth_gbps": 717, "l2_mib": 64)";
  const auto error = [&](const std::string& text) {
    cli_test::write_file(folder / "gpus.json", text);
    const std::string message = refused(folder, {"device", "--list", "--presets", "gpus.json"});
    EXPECT_TRUE(has(message, "gpus.json: ")) << message;
    return message;
  };
  cli_test::write_file(folder / "gpus.json", "{\"x\": {" + good + "}}");
  EXPECT_EQ(folder.run({"device", "--preset", "x", "--presets", "gpus.json"}).code, 0) << "the four figures are enough";
  EXPECT_TRUE(has(error("{\"x\": {" + good), "line 1"));
  EXPECT_TRUE(has(error("[1]"), "no object of models"));
  EXPECT_TRUE(has(error("{\"x\": 1}"), "'x': this is number"));
  EXPECT_TRUE(has(error("{\"x\": {\"sms\": 76}}"), "is missing"));
  EXPECT_TRUE(has(error("{\"x\": {" + good + ", \"smss\": 76}}"), "key smss is unknown"));
  EXPECT_TRUE(has(error("{\"x\": {" + good + ", \"warp\": 64}}"), "key warp: Warp size is 64"));
  EXPECT_TRUE(has(error("{\"x\": {" + good + ", \"warp\": \"32\"}}"), "key warp: this is string, no number"));
  EXPECT_TRUE(has(error("{\"x\": {" + good + ", \"name\": 4}}"), "key name"));
  EXPECT_TRUE(has(error("{\"x\": {" + good + ", \"shared_per_block_kib\": 200}}"), "more than an SM's"));
  EXPECT_TRUE(has(error("{\"-\": {" + good + "}}"), "neither letters nor digits"));
  EXPECT_TRUE(has(refused(folder, {"plan", "--shape", "8", "--presets", "none.json"}, 3), "none.json"));
}

TEST(GpuModels, ThatRunHereAreShownOrExplained) {
  const Folder folder;
  const Outcome outcome = folder.run({"device", "--no-measure"});
  EXPECT_NE(has(outcome.out, "No GPU: "), has(outcome.out, "GPU Name: ")) << outcome.out;
}

// A reverse scan that is planned for without memory is planned as one of aligned memory.
TEST(GpuModels, PlanAReverseScanAsTheForwardOne) {
  const Folder folder;
  const auto reason = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"plan", "--shape", "32768x32768", "--axis", "1", "--device", "h200", "--json"});
    return json::parse(folder.run(arguments).out).at("reason");
  };
  EXPECT_EQ(reason({}), reason({"--reverse"}));
}

}  // namespace
