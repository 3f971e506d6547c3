// What a task document's figures say, and what Cumulus would do instead: numbers and verdicts, for a table or JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cuda/plan.h"
#include "document.h"
#include "workloads.h"

namespace cumulus::cli {

struct KernelFinding {
  std::string name;
  bool whole;                     // it walks whole tensors; else totals of blocks
  std::int64_t bytes;             // that it moves at least; 0 for totals of blocks
  double passes;                  // the same in tensors of the result's size
  std::optional<double> seconds;  // at the DRAM rate of the profile
  std::string limit;              // what holds it up
};

// A rule of the document or of the stage, and what follows from it here.
struct Decision {
  std::string rule, verdict, reason;
};

// A prediction of Cumulus's time: the bytes of its plan at the share of a GPU's bandwidth that the structure reached on an H200.
struct Prediction {
  double seconds;
  std::string basis;
};

struct Advice {
  Problem problem;
  cuda::Plan plan;
  double floor_seconds;
  std::optional<Prediction> prediction;

  std::vector<KernelFinding> kernels;
  std::int64_t torch_bytes;           // moved by flips and concatenations of whole tensors, which no profile shows
  std::string torch_calls;            // "2 flips"
  double amplification;               // bytes moved at least / bytes that must move
  std::optional<double> dram_rate;    // share of the peak, over the kernels that walk whole tensors
  std::optional<double> now_seconds;  // what is there takes at least
  double best_seconds;                // the same passes at the full bandwidth
  std::vector<Decision> decisions;
};

Advice advise(const Document& document, const Workload& workload, std::int64_t rows, std::int64_t columns, DType dtype);

}  // namespace cumulus::cli
