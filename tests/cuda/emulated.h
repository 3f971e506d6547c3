// The kernels of src/cuda/kernels as functions that the emulator runs: a selection of types and tile shapes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/plan.h"
#include "emulator/emulator.h"

namespace emulated {

struct Types {
  cumulus::Op op;
  cumulus::DType in, out;
  int mask;  // 0 none, 1 selects, 2 multiplies
};

// What is compiled: every op, pairwise with dtypes and masks.
inline constexpr Types kTypes[] = {
#define CUMULUS_EMULATED(op, in, out, mask) {cumulus::Op::op, cumulus::DType::in, cumulus::DType::out, mask},
#include "emulated.inc"
};

// And the tile shapes that each layout is compiled for.
std::vector<cumulus::cuda::Tuning> tunings(cumulus::cuda::Layout layout);

struct Run {
  std::uint64_t seed = 1;
  std::uint32_t resident = 0;                       // blocks at a time; 0: by the seed
  std::uint32_t epoch = 0;                          // that the workspace is at before the launch
  bool dirty = false;                               // words of earlier launches lie in the workspace
  std::vector<std::uint64_t>* workspace = nullptr;  // as earlier launches left it, made longer where it is short; none: one of its own
  bool initial_on_host = false;                     // a scalar that the launch brings with it, and that no device reads
};

enum class Outcome { done, not_compiled };

// Runs the planned kernel over `memory` (the tensors'). `findings` receives what the emulator found wrong. The workspace is longer than the
// plan asks for, as one is that others have used: what lies behind is touched by no launch but one that clears it all.
Outcome run(const cumulus::Problem& problem, const cumulus::cuda::Plan& plan, const std::vector<emulator::Memory>& memory, const Run& how,
            std::vector<std::string>& findings);

// ---- the registry, which emulated_*.cpp fill ----

using Kernel = void (*)(const cumulus::cuda::HostArgs&, const cumulus::cuda::TensorMap*);
void add(const std::vector<int>& key, Kernel kernel);

}  // namespace emulated
