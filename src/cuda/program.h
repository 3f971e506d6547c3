// From a kernel's name to a function that can be launched: from memory, from cubins built ahead of time, from the disk cache, or
// compiled.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/cache.h"
#include "cuda/driver.h"
#include "cuda/nvrtc.h"

namespace cumulus::cuda {

// A kernel to compile: nothing else decides its code, except the architecture and the compiler.
struct KernelSpec {
  std::string source;                // of the embedded files, the one to compile
  std::string name;                  // name expression, as "scan_rows<f32, 8>"
  std::vector<std::string> options;  // beyond those that every kernel is compiled with

  bool operator==(const KernelSpec&) const = default;
};

// The device code that kernels are compiled from; `hash` stands for it in keys.
struct KernelSources {
  std::span<const SourceFile> files;
  std::string hash;
};
KernelSources embedded_sources();

// The key without the compiler (cubins built ahead of time), and with it (disk cache).
std::string kernel_key(const KernelSpec& spec, int capability, const std::string& sources_hash);
std::string kernel_key(const KernelSpec& spec, int capability, const std::string& sources_hash, const NvrtcFile& compiler);

// In place of a driver's version: the code is for a driver that is elsewhere, and any compiler will do.
inline constexpr int kAnyDriver = std::numeric_limits<int>::max();

// Where machine code comes from. One for the process (`cubins`); tests make their own.
class CubinSource {
 public:
  enum class Origin { memory, pack, disk, compiled };  // in the order of looking

  CubinSource(System& system, int driver_version, KernelSources sources = embedded_sources());

  // The kernel's machine code; throws Failure. Any number of threads may ask: a kernel is compiled once.
  Cubin get(const KernelSpec& spec, int capability, Origin* origin = nullptr);

  // What stands in for machine code of `get` that the driver did not load: from the next place, in the end compiled, once for all threads;
  // nullopt where `refused` was itself compiled by this process. Throws Failure where nothing can compile.
  std::optional<Cubin> instead_of(const Cubin& refused, const KernelSpec& spec, int capability);

  // Where the kernel that `get` gives came from, for messages: "the pack /kernels.pack".
  std::string place(const KernelSpec& spec, int capability);

  // Compiles without looking anywhere.
  Cubin compile(const KernelSpec& spec, int capability);

  const std::string& sources_hash() const;

 private:
  struct State;
  struct Slot;
  void find(Slot& slot, const KernelSpec& spec, int capability, Origin last);

  std::shared_ptr<State> state_;
};

CubinSource& cubins(const Driver& driver);

// The kernel in the current context, loaded once; throws Failure. `context` is the context's unique id. The function may use all of the
// shared memory that a block can have. Code of a pack or the disk cache that the driver does not load is compiled instead.
CUfunction load_kernel(const Driver& driver, CubinSource& source, std::uint64_t context, const KernelSpec& spec, const DeviceInfo& device);

}  // namespace cumulus::cuda
