// The CUDA driver, opened at run time: no CUDA library among the link dependencies.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/device.h"
#include "cuda/driver_api.h"
#include "cuda/system.h"

namespace cumulus::cuda {

inline constexpr int kLeastDriver = 12000;  // cuStreamGetId and cuCtxGetId, without which streams cannot be told apart

// The driver's functions, and what was found out while opening it.
struct Driver {
#define CUMULUS_DRIVER(name, version, parameters) CUresult(*name) parameters;
#include "cuda/driver_functions.inc"
  int version;  // of CUDA that it supports, as 1000 * major + 10 * minor
  int devices;
  std::string path;
  bool wsl;  // Windows Subsystem for Linux
};

// Why there is no usable driver. Each has its own way out, for errors and for `doctor`.
enum class DriverProblem { none, no_library, stub, too_old, no_device, init_failed };

struct OpenedDriver {
  Driver driver{};  // complete if problem is none; version and path as far as known
  DriverProblem problem = DriverProblem::none;
  CUresult result = CUDA_SUCCESS;  // of cuInit
  std::string message;             // what, why and the way out; empty if none
};

// Opens and initialises the driver. Never throws.
OpenedDriver open_driver(System& system);

// Does CUDA_VISIBLE_DEVICES hide every device, as one sets it on purpose: empty or -1? Where there is no device file to begin with, it is
// not what hides them.
bool hidden_on_purpose(System& system, const Driver& driver);

// The process's driver; throws Failure. After a success this is one load.
const Driver& driver();

// Throws Failure for what a driver function returned: the call, the code, its rule, and the way out. `detail` says with which values.
[[noreturn]] void fail_driver(const Driver& driver, CUresult result, const char* call, std::string_view detail = {});
inline void check(const Driver& driver, CUresult result, const char* call) {
  if (result != CUDA_SUCCESS) [[unlikely]]
    fail_driver(driver, result, call);
}

// What the driver says of device `ordinal`. The second one asks once and remembers; throws Failure.
DeviceInfo query_device(const Driver& driver, int ordinal);
const DeviceInfo& device_info(int ordinal);

// Makes a call's context current for a scope, and the caller's again at its end. A stream's context is the stream's own; for default
// streams it is the caller's, or the device's primary one where the caller has none on that device.
class ContextScope {
 public:
  ContextScope(const Driver& driver, CUstream stream, int device);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

  std::uint64_t id() const { return id_; }  // unique in the process, unlike the handle

 private:
  const Driver& driver_;
  bool pushed_ = false;
  std::uint64_t id_ = 0;
};

// Lets a thread allocate and load while a stream captures in whatever mode; puts the mode back.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const Driver& driver);
  ~RelaxedCapture();
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  const Driver& driver_;
  int mode_;
};

// Refuses memory that a kernel on `device` must not be given: ordinary or pinned host memory, another device's. `role` names the tensor.
void check_pointer(const Driver& driver, const void* pointer, int device, const char* role);

}  // namespace cumulus::cuda
