// NVRTC, NVIDIA's run-time compiler: where it may be, which of what is found suits the driver, and a compilation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda/system.h"

namespace cumulus::cuda {

// A library of CUDA's beside the driver: NVRTC, or CUPTI (cupti.h).
struct LibraryName {
  const char* file;      // "libnvrtc.so"
  const char* variable;  // of the environment, which decides alone
  const char* package;   // NVIDIA's for Python, until CUDA 12
  const char* extras;    // a folder of the toolkit beside its lib64; null: none
};

// A library that was found. Its identity is known without opening it: a kernel from the disk cache never loads the compiler.
struct LibraryFile {
  std::string path;    // without symbolic links
  std::string origin;  // what led there: "CUMULUS_NVRTC", "already loaded", "a Python package" ...
  int major;           // CUDA release, from the file's name; 0 if the name does not tell
  std::int64_t size, modified;

  bool operator==(const LibraryFile&) const = default;
};
using NvrtcFile = LibraryFile;

// Everything that was found, in the order of preference: the variable (a file or its folder; then nothing else is looked at), what is
// already loaded, NVIDIA's Python packages, CUDA_PATH and CUDA_HOME, the loader's path, /usr/local/cuda.
std::vector<LibraryFile> find_library(System& system, const LibraryName& name);
std::vector<NvrtcFile> find_nvrtc(System& system);  // CUMULUS_NVRTC

// Those that a driver for CUDA `driver_version` can use: code of a newer major release would not load.
std::vector<NvrtcFile> usable_nvrtc(std::vector<NvrtcFile> found, int driver_version);

// Identity for a cache key: path, size and time stamp.
std::string identity(const NvrtcFile& file);

struct SourceFile {
  const char* name;
  const char* text;
};

struct Compiled {
  std::string cubin;
  std::string lowered_name;  // of the kernel, mangled
  std::string log;           // warnings and what the options asked for
};

// An NVRTC that is open. Never closed: its library keeps threads and allocations.
class Nvrtc {
 public:
  // Opens the file; throws Failure.
  Nvrtc(System& system, const NvrtcFile& file);

  int version() const { return version_; }  // 1000 * major + 10 * minor
  bool supports(int capability) const;
  const std::vector<int>& architectures() const { return architectures_; }

  // Compiles `main` to machine code; `headers` are what its includes find. `kernel` is a name expression, as
  // "scan<float, 4>". Throws Failure with the compiler's log: CUMULUS_INTERNAL where the kernel is at fault, so that no compiler takes it.
  Compiled compile(const SourceFile& main, std::span<const SourceFile> headers, const std::string& kernel, int capability,
                   std::span<const std::string> options) const;

 private:
  struct Functions;
  std::shared_ptr<const Functions> functions_;
  std::string path_;
  int version_ = 0;
  std::vector<int> architectures_;
};

}  // namespace cumulus::cuda
