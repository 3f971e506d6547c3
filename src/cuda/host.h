// Scans of host tensors on a GPU, for the command line and for checks: copies there, the scan, copies back.
#pragma once

#include "cuda/plan.h"
#include "cumulus/cumulus.h"

namespace cumulus::cuda {

struct HostRunSeconds {
  double copies_in, scan, copies_out;
};

// Runs the scan of `args`, whose tensors are in host memory, on CUDA device `device`, and waits for it. Throws Failure.
HostRunSeconds run_from_host(const cumulus_scan_args& args, int device, const Tuning& tuning = {});

}  // namespace cumulus::cuda
