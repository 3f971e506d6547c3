#include "cuda/trial.h"

#include <algorithm>

#include <fmt/format.h>

#include "cuda/device_arrays.h"
#include "cuda/launch.h"
#include "cuda/program.h"
#include "shape.h"

namespace cumulus::cuda {
namespace {

void upload(const DeviceArrays& arrays, CUdeviceptr to, std::size_t size, const cumulus_tensor& input) {
  check(arrays.driver(), arrays.driver().cuMemcpyHtoDAsync(to, input.data, size, arrays.stream()), "cuMemcpyHtoDAsync");
}

}  // namespace

struct Trial::State {
  const int ordinal;
  const DeviceInfo& info;
  const DeviceArrays arrays;
  Problem problem;

  State(const cumulus_scan_args& host, int device)
      : ordinal(device), info(device_info(device)), arrays(driver(), device, info.l2, host, upload) {
    canonicalise(arrays.args(), true, problem);
  }

  void scan(const Tuning& tuning) const {
    Call call;
    call.device = ordinal;
    call.tuning = tuning;
    run(problem, call);
  }
};

Trial::Trial(const cumulus_scan_args& host, int device) : state_(std::make_unique<State>(host, device)) {}
Trial::~Trial() = default;

const Problem& Trial::problem() const { return state_->problem; }
const DeviceInfo& Trial::device() const { return state_->info; }

void Trial::result(const Tuning& tuning, void* out) {
  const DeviceArrays& arrays = state_->arrays;
  const Driver& driver = arrays.driver();
  check(driver, driver.cuMemsetD8Async(arrays.out(), 0xa5, arrays.out_bytes(), arrays.stream()), "cuMemsetD8Async");
  state_->scan(tuning);
  check(driver, driver.cuMemcpyDtoHAsync(out, arrays.out(), arrays.out_bytes(), arrays.stream()), "cuMemcpyDtoHAsync");
  arrays.wait();
}

double Trial::scan_ms(const Tuning& tuning) {
  return state_->arrays.time_ms([&] { state_->scan(tuning); });
}

double Trial::copy_ms() {
  std::int64_t moved = 0;
  const double ms = state_->arrays.time_ms([&] { moved = state_->arrays.copy(); });
  return ms * static_cast<double>(bytes_required(state_->problem)) / static_cast<double>(std::max<std::int64_t>(1, moved));
}

tuning::Machine tuning_machine(int device) {
  const DeviceInfo& info = device_info(device);
  return {"cuda",
          info.name,
          fmt::format("sm_{}", info.capability),
          info.sms,
          fmt::format("{} order {} kernels {}", cumulus_version(), cumulus_order_version(), embedded_sources().hash),
          "",  // cubins may come from several: the kernels' hash stands for what they were made from
          std::to_string(driver().version),
          tuning::kPolicy};
}

}  // namespace cumulus::cuda
