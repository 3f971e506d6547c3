// The four stages for a scan on a GPU. Pure: plans are made for a described device, nothing is run.
#pragma once

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

std::vector<Stage> cuda_stages(const Problem& problem, const cuda::DeviceInfo& device, double copy_ms);

}  // namespace cumulus::tuning
