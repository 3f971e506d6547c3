// A random or chosen call on device copies of its tensors, and its comparison with the CPU's bits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "gpu.h"

namespace gpu_check {

// A call and what is forced upon its plan.
struct Job {
  support::Case c;
  Tuning tuning;
  bool host_scalar = false;  // an initial value that is one number stays in host memory
};

std::string describe(const Job& job, const support::Built& built);

// All tensors of a case one behind the other: one copy to the device, one back.
class Image {
 public:
  explicit Image(const support::Built& built);
  std::size_t bytes() const { return bytes_; }
  void write(const support::Built& from, char* to) const;
  void read(const char* from, const support::Built& to) const;
  // The same bytes; false does not mean much: NaNs may differ.
  bool same(const char* bytes, const support::Built& expected) const;
  // The problem on the image in device memory. A host scalar stays where it is.
  Problem at(CUdeviceptr memory, const support::Built& built, bool host_scalar) const;

 private:
  std::vector<std::size_t> places_;  // in the order of tensors()
  std::size_t bytes_ = 0;
};

// A stream with memory of its own for one case at a time.
class Worker {
 public:
  Worker() : stream_(new_stream()) {}
  ~Worker() { gpu().cuStreamDestroy(stream_); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  // Runs the job on the GPU and on the CPU: what is wrong, "" if nothing.
  std::string check(const Job& job, const support::Built& given);

 private:
  void reserve(std::size_t bytes);

  CUstream stream_;
  std::unique_ptr<DeviceMemory> device_;
  std::unique_ptr<HostMemory> host_;
};

// A thread's.
struct Lane {
  CurrentContext context;
  Worker worker;
};

// The bits that the CPU finds.
support::Built expected_of(const support::Built& given);

Job random_job(Random& random);
// Another call that the same kernel may serve: sizes, places in memory, data, and all else that is told at run time.
Job variant(const Job& base, Random& random);

}  // namespace gpu_check
