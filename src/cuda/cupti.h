// CUPTI, NVIDIA's profiling library: found and opened at run time, the metrics that a chip has, and counters of a piece of work.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/cupti_api.h"
#include "cuda/nvrtc.h"

namespace cumulus::cuda {

// As find_nvrtc; the variable is CUMULUS_CUPTI.
std::vector<LibraryFile> find_cupti(System& system);

// Why there are no counters. Each has its own way out, which the message names.
enum class CuptiProblem { missing, no_rights, busy, unsupported, failed };
struct CuptiFailure {
  CuptiProblem problem;
  std::string message;
};

// Its functions. Never closed: the library keeps hooks in the driver.
struct Cupti {
  CUptiResult (*cuptiGetResultString)(CUptiResult, const char**);
#define CUMULUS_CUPTI(name, Params) CUptiResult (*name)(Params*);
#include "cuda/cupti_functions.inc"
  std::string path;
};

// Opens one; throws CuptiFailure (missing).
Cupti open_cupti(System& system, const LibraryFile& file);

// The first that was found, suits a driver for CUDA `driver_version`, and opens; throws CuptiFailure.
Cupti open_cupti(System& system, int driver_version);

// ---- without a GPU ----

// Names of chips that it knows, as "GH100".
std::vector<std::string> chips(const Cupti& cupti);

// What a chip measures in how many runs of the work. Metrics that the chip lacks are left out and named.
struct CounterPlan {
  std::vector<const char*> metrics;
  std::vector<const char*> missing;
  int passes;
};
CounterPlan plan_counters(const Cupti& cupti, const std::string& chip, std::span<const char* const> metrics);

// ---- on a GPU ----

struct Counters {
  std::vector<const char*> metrics;
  std::vector<double> values;  // one for each metric
  std::vector<const char*> missing;
  int passes;
  std::string chip;
};

// Runs `work` once for each pass, `before` in front of each (not counted). Both wait until the device has done. `context` is current and
// on CUDA device `device`. Throws CuptiFailure; what the work throws passes.
Counters measure_counters(const Cupti& cupti, CUcontext context, int device, std::span<const char* const> metrics,
                          const std::function<void()>& before, const std::function<void()>& work);

}  // namespace cumulus::cuda
