// The tensors of one scan in a GPU's memory, and a stream: for scans that are measured.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "cuda/driver.h"
#include "cumulus/cumulus.h"

namespace cumulus::cuda {

class DeviceArrays {
 public:
  // Fills `size` bytes of device memory at `to` with the elements of an input.
  using Fill = std::function<void(const DeviceArrays& arrays, CUdeviceptr to, std::size_t size, const cumulus_tensor& input)>;

  // `args`: contiguous tensors; `fill` makes the inputs' values, the result's are not made. `l2`: bytes of the cache. Throws Failure.
  DeviceArrays(const Driver& driver, int device, std::int64_t l2, const cumulus_scan_args& args, const Fill& fill);
  ~DeviceArrays();
  DeviceArrays(const DeviceArrays&) = delete;
  DeviceArrays& operator=(const DeviceArrays&) = delete;

  const Driver& driver() const { return driver_; }
  const cumulus_scan_args& args() const { return args_; }  // in device memory
  CUstream stream() const { return stream_; }
  std::uint64_t context_id() const { return scope_.id(); }
  CUdeviceptr out() const;
  std::size_t out_bytes() const;

  void wait() const;
  void flush() const;                                       // leaves nothing of the tensors in the L2 cache
  std::int64_t copy() const;                                // as much of the input as fits into the output; the bytes read and written
  double time_ms(const std::function<void()>& work) const;  // of what `work` puts in the stream, after a flush

  // More device memory, freed with the tensors'. `what` names it in a failure.
  CUdeviceptr allocate(std::size_t size, const char* what);

 private:
  void place(cumulus_tensor& t, const Fill& fill);
  void release();

  const Driver& driver_;
  const ContextScope scope_;
  const int device_;
  cumulus_scan_args args_;
  CUstream stream_ = nullptr;
  std::vector<CUdeviceptr> memory_;
  CUdeviceptr scratch_ = 0;
  std::size_t scratch_bytes_;
};

}  // namespace cumulus::cuda
