// One scan in device memory, run with one tuning after the other: for results that are compared and times that are judged.
#pragma once

#include <memory>

#include "cuda/plan.h"
#include "cumulus/cumulus.h"
#include "tuning/cache.h"

namespace cumulus::cuda {

class Trial {
 public:
  // `host`: contiguous tensors in host memory; the inputs are copied, the result is not. Throws Failure.
  Trial(const cumulus_scan_args& host, int device);
  ~Trial();
  Trial(const Trial&) = delete;
  Trial& operator=(const Trial&) = delete;

  const Problem& problem() const;  // as it lies in device memory
  const DeviceInfo& device() const;

  // Overwrites the result, scans, and copies the result to `out`, which is as large.
  void result(const Tuning& tuning, void* out);

  // One scan, or one copy of as many bytes, after the L2 cache was flushed.
  double scan_ms(const Tuning& tuning);
  double copy_ms();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What timings on this device depend on.
tuning::Machine tuning_machine(int device);

}  // namespace cumulus::cuda
