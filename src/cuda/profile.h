// One scan on a GPU under measurement: its time beside a copy of the same bytes, what its kernel takes, and hardware counters.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/plan.h"
#include "cumulus/cumulus.h"

namespace cumulus::cuda {

// What is counted. Architectures name some of it differently.
enum class Quantity : std::uint8_t { sm, warps_active, dram, l2_hit, stall, l2, l1, bytes_read, bytes_written, duration };
inline constexpr int kQuantities = 10;
struct QuantityNames {
  const char* metric;
  const char* otherwise;  // where a chip lacks `metric`; null: no other name
};
inline constexpr QuantityNames kQuantityNames[kQuantities] = {
    {"sm__throughput.avg.pct_of_peak_sustained_elapsed", nullptr},
    {"sm__warps_active.avg.pct_of_peak_sustained_active", nullptr},
    {"dram__throughput.avg.pct_of_peak_sustained_elapsed", nullptr},
    {"lts__t_sector_hit_rate.pct", nullptr},
    {"smsp__warp_issue_stalled_long_scoreboard_per_warp_active.pct", nullptr},
    {"lts__throughput.avg.pct_of_peak_sustained_elapsed", nullptr},
    {"l1tex__throughput.avg.pct_of_peak_sustained_elapsed", nullptr},
    {"dram__bytes_read.sum", "dram__bytes_op_read.sum"},
    {"dram__bytes_write.sum", "dram__bytes_op_write.sum"},
    {"gpu__time_duration.sum", nullptr},
};
std::vector<const char*> metric_names();  // of all quantities, with the other names
std::vector<const char*> metric_names(std::span<const Quantity> quantities);

struct MeasuredCounters {
  std::array<std::optional<double>, kQuantities> values;
  int passes = 0;
  std::string chip, library;

  const std::optional<double>& operator[](Quantity quantity) const { return values[static_cast<std::size_t>(quantity)]; }
};

// Counts one run of `scan`, which puts it in the arrays' stream, after the caches were flushed. Throws CuptiFailure (cupti.h).
class DeviceArrays;
class System;
MeasuredCounters count(System& system, const DeviceArrays& arrays, int device, std::span<const Quantity> quantities,
                       const std::function<void()>& scan);

struct GpuProfile {
  DeviceInfo device;
  Plan plan;
  int registers, spilled, static_shared;  // of a thread; bytes of a thread in local memory; bytes of a block
  int blocks_per_sm;                      // that the driver finds room for
  std::vector<double> scan_ms, copy_ms;   // interleaved; the caches are flushed before each
  std::int64_t copied;                    // bytes that the copy reads and writes
  std::optional<MeasuredCounters> counters;
  std::string why_no_counters;  // and the way out
};

// Profiles the scan that `args` describes: contiguous tensors, whose data pointers are not looked at. Values are made on the device.
// Missing counters are no failure; what else goes wrong throws Failure.
GpuProfile profile_scan(const cumulus_scan_args& args, int device, int rounds);

// The same with a given driver and description of its device, and CUPTI from `system`.
struct Driver;
GpuProfile profile_scan(const Driver& driver, const DeviceInfo& info, System& system, const cumulus_scan_args& args, int device,
                        int rounds);

}  // namespace cumulus::cuda
