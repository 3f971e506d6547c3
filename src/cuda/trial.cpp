#include "cuda/trial.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cuda/cupti.h"
#include "cuda/device_arrays.h"
#include "cuda/launch.h"
#include "cuda/program.h"
#include "error.h"
#include "shape.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

constexpr unsigned kCompareThreads = 256, kCompareBlocks = 8;  // blocks for each multiprocessor

void upload(const DeviceArrays& arrays, CUdeviceptr to, std::size_t size, const cumulus_tensor& input) {
  check(arrays.driver(), arrays.driver().cuMemcpyHtoDAsync(to, input.data, size, arrays.stream()), "cuMemcpyHtoDAsync");
}

}  // namespace

struct Trial::State {
  const int ordinal;
  const DeviceInfo& info;
  DeviceArrays arrays;
  Problem problem;
  CUdeviceptr reference = 0, difference = 0;  // the right result; where the first byte that differs is written

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

  // What was there before must not pass for a result.
  void scan_anew(const Tuning& tuning) const {
    fill(arrays.out(), 0xa5, arrays.out_bytes());
    scan(tuning);
  }

  void fill(CUdeviceptr memory, unsigned char value, std::size_t bytes) const {
    check(arrays.driver(), arrays.driver().cuMemsetD8Async(memory, value, bytes, arrays.stream()), "cuMemsetD8Async");
  }

  void compare(CUdeviceptr a, CUdeviceptr b, unsigned long long bytes, CUdeviceptr first) const {
    const Driver& driver = arrays.driver();
    const CUfunction kernel = load_kernel(driver, cubins(driver), arrays.context_id(), {"compare.cuh", "cumulus_compare_kernel", {}}, info);
    void* parameters[] = {&a, &b, &bytes, &first};
    check(driver,
          driver.cuLaunchKernel(kernel, kCompareBlocks * static_cast<unsigned>(info.sms), 1, 1, kCompareThreads, 1, 1, 0, arrays.stream(),
                                parameters, nullptr),
          "cuLaunchKernel");
  }
};

Trial::Trial(const cumulus_scan_args& host, int device) : state_(std::make_unique<State>(host, device)) {}
Trial::~Trial() = default;

const Problem& Trial::problem() const { return state_->problem; }
const DeviceInfo& Trial::device() const { return state_->info; }

// Threads of its own: the compiler needs deeper stacks than a pool's may have.
void Trial::compile(std::span<const Tuning> tunings) const {
  CubinSource& source = cubins(state_->arrays.driver());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < tunings.size(); i = next++) {
      const Plan plan = make_plan(state_->problem, state_->info, tunings[i]);
      if (plan.layout == Layout::none) continue;
      try {
        source.get({kSource, kEntry, definitions(state_->problem, plan)}, state_->info.capability);
      } catch (...) {  // its run fails with the same words
      }
    }
  };
  std::vector<std::jthread> others;
  const std::size_t threads = std::min<std::size_t>(std::max(1u, std::thread::hardware_concurrency()), tunings.size());
  for (std::size_t i = 1; i < threads; ++i) others.emplace_back(work);
  work();
}

bool Trial::keep_reference(const void* right) {
  DeviceArrays& arrays = state_->arrays;
  try {
    state_->reference = arrays.allocate(arrays.out_bytes(), "the right result");
    state_->difference = arrays.allocate(sizeof(std::uint64_t), "where a result differs");
  } catch (const Failure& failure) {
    if (failure.status != CUMULUS_OUT_OF_MEMORY) throw;
    return false;
  }
  const Driver& driver = arrays.driver();
  check(driver, driver.cuMemcpyHtoDAsync(state_->reference, right, arrays.out_bytes(), arrays.stream()), "cuMemcpyHtoDAsync");
  arrays.wait();
  return true;
}

std::optional<std::int64_t> Trial::first_difference(const Tuning& tuning) const {
  constexpr auto kNone = std::numeric_limits<std::uint64_t>::max();
  const DeviceArrays& arrays = state_->arrays;
  const Driver& driver = arrays.driver();
  state_->scan_anew(tuning);
  state_->fill(state_->difference, 0xff, sizeof kNone);
  state_->compare(arrays.out(), state_->reference, arrays.out_bytes(), state_->difference);
  std::uint64_t byte = 0;
  check(driver, driver.cuMemcpyDtoHAsync(&byte, state_->difference, sizeof byte, arrays.stream()), "cuMemcpyDtoHAsync");
  arrays.wait();
  if (byte == kNone) return std::nullopt;
  return static_cast<std::int64_t>(byte) / bytes(state_->problem.out_dtype);
}

void Trial::result(const Tuning& tuning, void* out) const {
  const DeviceArrays& arrays = state_->arrays;
  const Driver& driver = arrays.driver();
  state_->scan_anew(tuning);
  check(driver, driver.cuMemcpyDtoHAsync(out, arrays.out(), arrays.out_bytes(), arrays.stream()), "cuMemcpyDtoHAsync");
  arrays.wait();
}

double Trial::scan_ms(const Tuning& tuning) const {
  return state_->arrays.time_ms([&] { state_->scan(tuning); });
}

double Trial::copy_ms() const {
  std::int64_t moved = 0;
  const double ms = state_->arrays.time_ms([&] { moved = state_->arrays.copy(); });
  return ms * static_cast<double>(bytes_required(state_->problem)) / static_cast<double>(std::max<std::int64_t>(1, moved));
}

std::optional<MeasuredCounters> Trial::counters(const Tuning& tuning, std::span<const Quantity> quantities, std::string& why) const {
  state_->scan(tuning);  // loads the kernel, which is not to be counted
  try {
    return count(real_system(), state_->arrays, state_->ordinal, quantities, [&] { state_->scan(tuning); });
  } catch (const CuptiFailure& failure) {
    why = failure.message;
    return std::nullopt;
  }
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
