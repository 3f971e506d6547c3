// Cubins built ahead of time, for machines without NVRTC: `cumulus pack` writes them, CUMULUS_PACK or the installed tree offers them.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/program.h"

namespace cumulus::cuda {

// The pack files this process would use: CUMULUS_PACK (a file or a folder), else those in the folder `cumulus` beside the library.
std::vector<std::string> find_packs(System& system);

// The entries of a pack file whose bytes are whole.
std::vector<KeyedCubin> read_pack(const std::string& path);

struct PackReport {
  int kernels;
  std::int64_t bytes;
};

// Compiles every kernel for every architecture (89 for sm_89) and writes one file, which appears whole; throws Failure. `progress` is
// called after each kernel with how many are done.
PackReport write_pack(const std::string& path, CubinSource& source, std::span<const KernelSpec> kernels, std::span<const int> capabilities,
                      const std::function<void(int done, int total)>& progress);

}  // namespace cumulus::cuda
