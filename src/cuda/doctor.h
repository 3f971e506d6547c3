// What works of CUDA here, what does not, and the way out: plain data for `cumulus doctor`.
#pragma once

#include <string>
#include <vector>

#include "cuda/system.h"

namespace cumulus::cuda {

struct Finding {
  enum State { ok, note, fail } state;  // note: works, or nothing to make work; fail: something is here that should work and does not
  std::string what, detail;

  bool operator==(const Finding&) const = default;
};

// Driver, devices, compiler (which it tries), cache, cubins built ahead of time; the last three without a driver too, as `cumulus pack`
// works there. Never throws for what it finds.
std::vector<Finding> doctor(System& system);

}  // namespace cumulus::cuda
