// A scan on a GPU: the backend's entry.
#pragma once

#include <cstdint>

#include "cuda/driver.h"
#include "cuda/plan.h"
#include "cuda/workspace.h"
#include "shape.h"

namespace cumulus::cuda {

// What a call says beyond its Problem.
struct Call {
  int device = 0;                // ordinal of every tensor's device
  bool initial_on_host = false;  // the initial value is a host scalar
  GivenWorkspace workspace;      // or none: the library's own
  Tuning tuning;
  Tuning (*look_up)(const Problem& problem, int device) = nullptr;  // finds it instead: asked once for a call that is repeated
};

// Puts the scan in problem.stream: one launch, no host synchronisation. Throws Failure.
void run(const Problem& problem, const Call& call);

// Plans the call and loads its kernel, compiling it if need be, so that this thread's next run of it only launches.
void prepare(const Problem& problem, const Call& call);

// The same with a given driver and description of its device.
void run(const Driver& driver, const DeviceInfo& device, const Problem& problem, const Call& call);

// Bytes of workspace that a call needs; 0 if none.
std::int64_t workspace_bytes(const Problem& problem, const Call& call);
std::int64_t workspace_bytes(const Problem& problem, const DeviceInfo& device, const Tuning& tuning = {});

}  // namespace cumulus::cuda
