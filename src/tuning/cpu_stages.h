// The four stages for a scan on the CPU: which of its parameters each may touch, what it looks at, and when it is not needed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "plan.h"
#include "tuning/engine.h"

namespace cumulus::tuning {

// What is measured of the machine and of an incumbent. No hardware counter is read: they are not permitted everywhere.
struct CpuFigures {
  double copy_ms;                                 // the best copy of as many bytes
  std::function<double(const Parameters&)> busy;  // part of the allowed cores' time that one call keeps busy, 0 to 1
};

// A plan's parameters that change what is run; plans that agree here run alike.
std::string what_runs(const Problem& problem, const Plan& plan);

std::vector<Stage> cpu_stages(const Problem& problem, const cpu::CpuInfo& cpu, const CpuFigures& figures);

}  // namespace cumulus::tuning
