// The CPU backend's entry.
#pragma once

#include "plan.h"
#include "shape.h"

namespace cumulus::cpu {

// Plans and runs a checked problem on the calling thread and, where the plan says so, others.
void run(const Problem& problem);

// The same with a given plan; tests use it to reach every algorithm.
void run(const Problem& problem, const Plan& plan);

}  // namespace cumulus::cpu
