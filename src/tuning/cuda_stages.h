// The four stages for a scan on a GPU. Pure: plans are made for a described device, nothing is run.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cuda/plan.h"
#include "tuning/engine.h"

namespace cumulus::tuning {

// A name that the backend does not have is left out.
cuda::Tuning cuda_tuning(const Parameters& parameters);
std::vector<std::string> cuda_names();

// A plan's parameters that change what is launched.
std::string what_launches(const Problem& problem, const cuda::Plan& plan);

// Why a plan with forced parameters must not be launched; "" where it may.
std::string why_unfit(const Problem& problem, const cuda::Plan& plan, const cuda::DeviceInfo& device);

// What hardware counters say of one scan.
struct CudaCounters {
  double warps_active, dram;  // parts of the most there can be
  double bytes_moved;         // between DRAM and the L2 cache
};

// What measurements say: a copy's time, and counters of the scan with given parameters, where there are any.
struct CudaFigures {
  double copy_ms = 0;
  std::function<std::optional<CudaCounters>(const Parameters&)> counters = nullptr;
};

std::vector<Stage> cuda_stages(const Problem& problem, const cuda::DeviceInfo& device, const CudaFigures& figures);

// What an exhaustive search tries: a few hundred parameters that all launch something different, from all layouts that keep the device
// busy. The planner's own choice comes first. Parameters that change nothing are left out of each.
std::vector<Parameters> cuda_space(const Problem& problem, const cuda::DeviceInfo& device);

}  // namespace cumulus::tuning
