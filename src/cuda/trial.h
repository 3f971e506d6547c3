// One scan in device memory, run with one tuning after the other: for results that are compared and times that are judged.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "cuda/plan.h"
#include "cuda/profile.h"
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

  // Compiles the kernels of all these tunings at once, on the processor's threads. A failure shows when its tuning is run.
  void compile(std::span<const Tuning> tunings) const;

  // Copies the right result to the device; false if that has no room for it.
  bool keep_reference(const void* right);

  // Overwrites the result, scans, and compares with the kept reference: the first element that differs, if any does.
  std::optional<std::int64_t> first_difference(const Tuning& tuning) const;

  // The same for a result that is compared elsewhere: copies it to `out`, which is as large.
  void result(const Tuning& tuning, void* out) const;

  // One scan, or one copy of as many bytes, after the L2 cache was flushed.
  double scan_ms(const Tuning& tuning) const;
  double copy_ms() const;

  // Hardware counters of one scan; if there are none, `why` says why and what helps.
  std::optional<MeasuredCounters> counters(const Tuning& tuning, std::span<const Quantity> quantities, std::string& why) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What timings on this device depend on.
tuning::Machine tuning_machine(int device);

}  // namespace cumulus::cuda
