// Task documents for a kernel optimiser: the GPU as a spec table, one optimisation stage, the current code, its profile. docs/advise.md
// describes the form. Pure: text in, plain data or a FormatError out, whatever the text is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/device.h"
#include "spec_table.h"

namespace cumulus::cli {

enum class Stage : std::uint8_t { grid = 1, tiles, memory, micro };
const char* name(Stage stage);

// A line of the document, without bullet and emphasis.
struct DocumentLine {
  int number;
  std::string text;
};

// "num_stages: {1, 2, 3}": the values that the document lets a parameter take.
struct Candidates {
  std::string parameter;
  std::vector<int> values;
};

struct StageText {
  Stage stage;
  DocumentLine focus;
  std::vector<DocumentLine> metrics, rules, autotune;
  std::vector<Candidates> parameters;
};

// A kernel's counters, in per cent of the peak; absent where the profile lacks them.
struct KernelProfile {
  std::string name;
  std::optional<double> sm, warps_active, dram, l2_hit, stall;
  std::optional<std::int64_t> grid;
};

struct Document {
  std::string gpu_name;
  cuda::DeviceInfo gpu;
  StageText stage;
  std::string code;
  std::vector<KernelProfile> kernels;
  std::vector<std::string> dead_metrics;  // names in use that no GPU has, in order of appearance
};

// Throws FormatError: "line 12: ...".
Document parse_document(std::string_view text);

// The metric to use in place of one that no GPU has; null for others.
const char* replacement(std::string_view dead_metric);

}  // namespace cumulus::cli
