// Task documents and spec tables, without the command around them: what is read, what is refused and where, and that nothing breaks it.
#include "document.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "advice.h"
#include "process.h"
#include "text_lines.h"

namespace {

using namespace cumulus::cli;
namespace cuda = cumulus::cuda;

std::string fixture(const std::string& name) {
  const std::string text = cli_test::read_file(std::filesystem::path(CUMULUS_TEST_DATA) / "../cli/data" / name);
  EXPECT_FALSE(text.empty()) << name;
  return text;
}

const char* const kFixtures[] = {"inclusive.txt", "reverse.txt", "exclusive_two_pass.txt", "exclusive_rowwise.txt", "masked.txt"};

// The document with one piece of text replaced.
std::string changed(const std::string& name, const std::string& from, const std::string& to) {
  std::string text = fixture(name);
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string error_of(const std::string& text) {
  try {
    parse_document(text);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

int line_number(const std::string& text, const std::string& part) {
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(text.find(part)), '\n'));
}

// The error names the line on which `to` stands, and says `rule`.
void expect_refused(const std::string& name, const std::string& from, const std::string& to, const std::string& rule) {
  const std::string text = changed(name, from, to), error = error_of(text);
  EXPECT_TRUE(error.starts_with("line " + std::to_string(line_number(text, to)) + ": ")) << error << " for " << to;
  EXPECT_NE(error.find(rule), std::string::npos) << error << " for " << to;
}

TEST(Document, ReadsTheSpecTable) {
  for (const char* name : kFixtures) {
    const Document document = parse_document(fixture(name));
    EXPECT_EQ(document.gpu_name, "4090");
    cuda::DeviceInfo expected = *cuda::find_preset("4090");
    expected.name = "4090";
    expected.memory = 0;  // the table has none
    EXPECT_EQ(document.gpu, expected) << name;
  }
}

TEST(Document, ReadsStagesInBothForms) {
  const StageText starred = parse_document(fixture("inclusive.txt")).stage, plain = parse_document(fixture("exclusive_rowwise.txt")).stage;
  for (const StageText& stage : {starred, plain}) {
    EXPECT_EQ(stage.stage, Stage::micro);
    ASSERT_EQ(stage.parameters.size(), 2u);
    EXPECT_EQ(stage.parameters[0].parameter, "num_warps");
    EXPECT_EQ(stage.parameters[0].values, (std::vector{2, 4, 8, 16}));
    EXPECT_EQ(stage.parameters[1].parameter, "num_stages");
    EXPECT_EQ(stage.parameters[1].values, (std::vector{2, 3, 4}));
  }
  EXPECT_EQ(starred.rules.size(), 2u);
  EXPECT_EQ(starred.autotune.size(), 1u);

  const Document memory = parse_document(fixture("reverse.txt"));
  EXPECT_EQ(memory.stage.stage, Stage::memory);
  EXPECT_EQ(memory.stage.metrics.size(), 3u);
  ASSERT_EQ(memory.stage.parameters.size(), 1u);
  EXPECT_EQ(memory.stage.parameters[0].values, (std::vector{1, 2, 3}));
  EXPECT_EQ(memory.dead_metrics, std::vector<std::string>{"smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct"});
  EXPECT_TRUE(parse_document(fixture("inclusive.txt")).dead_metrics.empty());

  EXPECT_EQ(parse_document(changed("reverse.txt", "Memory efficiency & latency hiding", "Grid & parallel mapping")).stage.stage,
            Stage::grid);
  EXPECT_EQ(parse_document(changed("reverse.txt", "Memory efficiency & latency hiding", "Block tiling")).stage.stage, Stage::tiles);
}

TEST(Document, ReadsTheProfile) {
  const std::vector<KernelProfile> kernels = parse_document(fixture("reverse.txt")).kernels;
  ASSERT_EQ(kernels.size(), 3u);
  EXPECT_EQ(kernels[1].name, "prefix_of_sums");
  EXPECT_EQ(kernels[1].grid, 32768);
  EXPECT_EQ(kernels[1].sm, 84.26);
  EXPECT_EQ(kernels[1].warps_active, 74.83);
  EXPECT_EQ(kernels[1].dram, 18.57);
  EXPECT_EQ(kernels[1].l2_hit, 50.96);
  EXPECT_FALSE(kernels[1].stall);
}

TEST(Document, TakesOtherLineEndsAndLettersInBothCases) {
  std::string text = fixture("masked.txt");
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) text.insert(at, 1, '\r');
  EXPECT_EQ(parse_document(text).kernels.size(), 3u);
  EXPECT_EQ(parse_document(changed("masked.txt", "[CURRENT CODE]", "[Current Code]")).kernels.size(), 3u);
}

TEST(Document, NamesTheLineOfWhatIsWrong) {
  expect_refused("reverse.txt", "Number of SMs: 128", "Number of SMs: many", "write a number");
  expect_refused("reverse.txt", "Number of SMs: 128", "Number of SMs: -128", "write a number");
  expect_refused("reverse.txt", "Number of SMs: 128", "Number of SMs: 1,280", "write a number");
  expect_refused("reverse.txt", "Number of SMs: 128", "Number of SMs: 12.5", "whole number");
  expect_refused("reverse.txt", "Bandwidth: 1008 GB/s", "Bandwidth: 1008 GHz", "GB/s");
  expect_refused("reverse.txt", "Bandwidth: 1008 GB/s", "Bandwidth: inf GB/s", "write a number");
  expect_refused("reverse.txt", "Bandwidth: 1008 GB/s", "Bandwidth: 0 GB/s", "between 1 and");
  expect_refused("reverse.txt", "Capability: 8.9", "Capability: 7.5", "needs 8.0");
  expect_refused("reverse.txt", "Capability: 8.9", "Capability: 8.95", "major.minor");
  expect_refused("reverse.txt", "threads per SM: 1536", "threads per SM: 2048", "48 warps of 32 threads are 1536");
  expect_refused("reverse.txt", "• Warp size: 32", "warp size thirty-two", "'Label: value'");
  expect_refused("reverse.txt", "Focus: Memory efficiency & latency hiding.", "Focus: Beauty.", "four stages");
  expect_refused("reverse.txt", "Rules:", "Regulations:", "unknown");
  expect_refused("reverse.txt", "num_stages ∈ {1,2,3}", "num_stages ∈ {1,two}", "positive integers");
  expect_refused("reverse.txt", "num_stages ∈ {1,2,3}", "num_stages ∈ {1,2", "add }");
  expect_refused("reverse.txt", "num_stages ∈ {1,2,3}", "num_stages ∈ {}", "empty");
  expect_refused("reverse.txt", "\"launch__grid_size\": 32768", "\"launch__grid_size\": 0.5", "whole number");
  expect_refused("reverse.txt", "18.57", "1857", "percentage");
  expect_refused("reverse.txt", "18.57", "\"high\"", "no number");
  expect_refused("reverse.txt", "[CURRENT CODE]\n", "[OPTIMIZATION STAGE]\n\n[CURRENT CODE]\n", "a second [OPTIMIZATION STAGE]");
}

TEST(Document, NamesWhatIsMissing) {
  EXPECT_EQ(error_of("").substr(0, 6), "line 1");
  EXPECT_NE(error_of("garbage\nand more\n").find("line 2: the document ends without the section # Target GPU"), std::string::npos);
  for (const char* heading : {"# Target GPU", "[OPTIMIZATION STAGE]", "[CURRENT CODE]", "[NCU PROFILING METRICS]"})
    EXPECT_NE(error_of(changed("masked.txt", heading, "")).find(heading), std::string::npos);
  for (const char* line : {"• Number of SMs: 128\n", "• Memory Bandwidth: 1008 GB/s\n", "• Compute Capability: 8.9\n", "GPU Name: 4090\n",
                           "• L2 cache (global, all SM shared): 72 MB\n"})
    EXPECT_NE(error_of(changed("masked.txt", line, "")).find("add it"), std::string::npos) << line;
  EXPECT_NE(error_of(changed("masked.txt", "Focus: ", "")).find("Focus"), std::string::npos);
  EXPECT_NE(error_of(changed("masked.txt", "```python", "")).find("not closed"), std::string::npos);
}

TEST(Document, NamesTheLineWhereJsonBreaks) {
  expect_refused("masked.txt", "10.86", "10.86.5", "no JSON");
  const std::string text = changed("masked.txt", "\"launch__grid_size\": 32768,", "\"launch__grid_size\" 32768,");
  EXPECT_TRUE(error_of(text).starts_with("line " + std::to_string(line_number(text, "\"launch__grid_size\" 32768")) + ": "))
      << error_of(text);
  EXPECT_NE(error_of(changed("masked.txt", "10.86", "1e999")).find("no computer holds"), std::string::npos);
}

// Parses, and if that works goes on to recognise and advise, as the command does. Nothing but these errors may come out.
bool survives(const std::string& text) {
  try {
    const Document document = parse_document(text);
    const Recognised recognised = recognise(document.code);
    advise(document, recognised.workload ? *recognised.workload : workloads()[0], 4096, 4096, cumulus::DType::f32);
    return true;
  } catch (const FormatError& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("line ")) << error.what();
    return false;
  }
}

TEST(Document, SurvivesTruncationAtEveryLine) {
  for (const char* name : kFixtures) {
    const std::string text = fixture(name);
    int good = 0;
    for (std::size_t at = 0; at != std::string::npos; at = text.find('\n', at + 1)) good += survives(text.substr(0, at));
    EXPECT_GT(good, 1) << name << ": what follows the profile is not needed";
    EXPECT_LT(good, 20) << name;
  }
}

TEST(Document, SurvivesFlippedBytes) {
  std::mt19937 random(6);
  int good = 0, bad = 0;
  for (const char* name : kFixtures) {
    const std::string text = fixture(name);
    for (int round = 0; round < 1500; ++round) {
      std::string flipped = text;
      for (int flips = 1 << random() % 6; flips > 0; --flips) flipped[random() % flipped.size()] = static_cast<char>(random());
      survives(flipped) ? ++good : ++bad;
    }
  }
  EXPECT_GT(good, 100);
  EXPECT_GT(bad, 100);
}

TEST(Document, SurvivesDeepNesting) {
  EXPECT_FALSE(survives(changed("masked.txt", "10.86", std::string(200000, '['))));
  EXPECT_FALSE(survives(std::string(200000, '{')));
}

TEST(SpecTable, IsReadBackAsItIsWritten) {
  for (const cuda::Preset& preset : cuda::presets()) {
    std::vector<SpecFigure> figures;
    const std::string table = spec_table(preset.key, preset.device);
    for (const std::string_view line : lines_of(table)) {
      const std::size_t colon = line.find(": ");
      std::string label(line.substr(0, colon));
      if (label.starts_with("• ")) label.erase(0, std::string_view("• ").size());
      if (const SpecFigure figure = read_spec_line(label, line.substr(colon + 2), "here"); figure.field) figures.push_back(figure);
    }
    EXPECT_EQ(figures.size(), 14u) << table;
    cuda::DeviceInfo expected = preset.device;
    expected.name = preset.key;
    expected.memory = 0;
    EXPECT_EQ(device_of(preset.key, figures, "here"), expected) << table;
    EXPECT_TRUE(differences(device_of(preset.key, figures, "here"), preset.device).empty());
  }
}

TEST(SpecTable, TakesOtherUnits) {
  EXPECT_EQ(read_spec_line("memory bandwidth", "4.8 TB/s", "here").value, 4800);
  EXPECT_EQ(read_spec_line("Shared memory capacity per SM", "100 KiB", "here").value, 100);
  EXPECT_EQ(read_spec_line("Architecture", "Ada Lovelace", "here").field, nullptr);
}

}  // namespace
