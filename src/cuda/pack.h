// Cubins built ahead of time, for machines without NVRTC: `cumulus pack` writes them, CUMULUS_PACK or the installed tree offers them.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/program.h"
#include "types.h"

namespace cumulus::cuda {

// The pack files this process would use: CUMULUS_PACK (a file or a folder), else those in the folder `cumulus` beside the library.
std::vector<std::string> find_packs(System& system);

// A kernel in a pack file: where it lies. Its code is read when it is wanted.
struct PackedKernel {
  std::string key;
  std::string path;
  std::int64_t offset, bytes;
};

// What a pack file says it holds, up to where it is cut off.
std::vector<PackedKernel> list_pack(const std::string& path);

// The kernel, if every byte of it is as it was written.
std::optional<Cubin> read_packed(const PackedKernel& kernel);

struct PackItem {
  KernelSpec kernel;
  int capability;  // 89 for sm_89
};

// The kernels that calls of these ops and dtypes use at common shapes: dense tensors of any length along either axis, with and without a
// bool mask, the result's dtype being the input's.
std::vector<PackItem> common_kernels(int capability, std::span<const Op> ops, std::span<const DType> dtypes);

struct PackReport {
  int kernels;
  std::int64_t bytes;
};

// Called after each kernel with how many are done, by one thread at a time.
using PackProgress = std::function<void(int done, int total)>;

// Compiles all items with as many threads and writes one file, which appears whole; throws Failure.
PackReport write_pack(const std::string& path, CubinSource& source, std::span<const PackItem> items, int threads,
                      const PackProgress& progress);

// `cumulus pack`: common_kernels for several architectures, compiled with whichever NVRTC is found. No driver or GPU is needed.
PackReport pack(const std::string& path, std::span<const int> capabilities, std::span<const Op> ops, std::span<const DType> dtypes,
                int threads, const PackProgress& progress);

}  // namespace cumulus::cuda
