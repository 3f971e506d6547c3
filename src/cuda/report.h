// A GPU's plan for people and programs.
#pragma once

#include <string>

#include "cuda/device.h"
#include "cuda/plan.h"
#include "shape.h"

namespace cumulus::cuda {

// The least time any implementation needs: the bytes that must move, at the data sheet's bandwidth.
double floor_seconds(const Plan& plan, const DeviceInfo& device);

// Why the plan is as it is, one sentence.
const char* reason(const Problem& problem, const Plan& plan);

// The problem and its plan as one JSON object (keys as in docs/cuda.md).
std::string to_json(const Problem& problem, const Plan& plan, const DeviceInfo& device);

}  // namespace cumulus::cuda
