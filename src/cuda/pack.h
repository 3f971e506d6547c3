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

// Does the file begin as every pack does?
bool is_pack(const std::string& path);

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

struct Pack {
  std::string bytes;  // of the whole file
  int kernels;
};

// Called after each kernel with how many are done, by one thread at a time.
using PackProgress = std::function<void(int done, int total)>;

// Compiles all items, with at most `threads` threads; throws Failure. The same kernels give the same bytes.
Pack build_pack(CubinSource& source, std::span<const PackItem> items, int threads, const PackProgress& progress);

// `cumulus pack`: common_kernels for several architectures, each once, compiled with whichever NVRTC is found. No driver or GPU is needed.
// Throws Failure also for an op or a dtype that has no kernel with any of the others.
Pack pack(std::span<const int> capabilities, std::span<const Op> ops, std::span<const DType> dtypes, int threads,
          const PackProgress& progress);

}  // namespace cumulus::cuda
