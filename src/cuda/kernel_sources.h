// The device code as text, embedded by cmake/embed.cmake: src/cuda/kernels/*.cuh and the headers they share with the host.
#pragma once

#include <span>

#include "cuda/nvrtc.h"

namespace cumulus::cuda {

std::span<const SourceFile> kernel_sources();
const char* kernel_sources_hash();  // SHA-256 of all of them

}  // namespace cumulus::cuda
