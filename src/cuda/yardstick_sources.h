// The text of yardsticks.cuh, embedded by cmake/embed.cmake.
#pragma once

#include <span>

#include "cuda/nvrtc.h"

namespace cumulus::cuda {

std::span<const SourceFile> yardstick_sources();
const char* yardstick_sources_hash();

}  // namespace cumulus::cuda
