// What the checks on a GPU share: the driver, memory, a stream, work for all processors; and their entries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "cuda/driver.h"
#include "cuda/launch.h"
#include "error.h"
#include "support.h"

namespace gpu_check {

using namespace cumulus;
using cuda::Call;
using cuda::CUdeviceptr;
using cuda::CUevent;
using cuda::CUresult;
using cuda::CUstream;
using cuda::Driver;
using cuda::Layout;
using cuda::Tuning;
using support::Random;
using support::Sizes;

inline const Driver& gpu() { return cuda::driver(); }
inline const cuda::DeviceInfo& device() { return cuda::device_info(0); }
#define CHECK(call) cuda::check(gpu(), gpu().call, #call)

void in_parallel(std::size_t jobs, const std::function<void(std::size_t)>& job);  // on all processors, in no order

struct DeviceMemory {
  explicit DeviceMemory(std::size_t size) : bytes(size) { CHECK(cuMemAlloc(&at, std::max<std::size_t>(size, 16))); }
  ~DeviceMemory() { gpu().cuMemFree(at); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  void* data() const { return reinterpret_cast<void*>(at); }
  CUdeviceptr at = 0;
  std::size_t bytes;
};

// Pinned, so that copies need not wait.
struct HostMemory {
  explicit HostMemory(std::size_t size) : bytes(size) { CHECK(cuMemHostAlloc(&at, std::max<std::size_t>(size, 16), 0)); }
  ~HostMemory() { gpu().cuMemFreeHost(at); }
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;
  char* data() const { return static_cast<char*>(at); }
  void* at = nullptr;
  std::size_t bytes;
};

// The device's primary context, current in this thread.
class CurrentContext {
 public:
  explicit CurrentContext(int device = 0);
  ~CurrentContext();
  CurrentContext(const CurrentContext&) = delete;
  CurrentContext& operator=(const CurrentContext&) = delete;
};

CUstream new_stream();

// Each returns how many results were wrong.
int check_bits(int count, std::uint64_t seed, int kernels);
int check_layouts(const std::string& word);
int check_table(const std::string& word, bool bits);
int sweep(const std::string& word, const std::string& list);
int small_sizes(const std::string& list);
int soak(int seconds, std::uint64_t seed);

}  // namespace gpu_check
