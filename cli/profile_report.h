// What a profile means, and how it is shown: pure functions of measured numbers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench_cases.h"
#include "bench_measure.h"
#include "cuda/profile.h"
#include "output.h"
#include "plan.h"
#include "profile_counters.h"
#include "workloads.h"

namespace cumulus::cli {

// What holds the scan up, and by which numbers: one sentence together.
struct Limit {
  std::string resource, evidence;
};
Limit limit_of(const cuda::GpuProfile& profile);

// Bytes that DRAM moved, by its counters, against those that must move.
struct MeasuredTraffic {
  double read, written, amplification;
};
std::optional<MeasuredTraffic> traffic_of(const cuda::GpuProfile& profile);

// The name that task documents use for the stall, which no GPU has; the profile has its replacement.
inline constexpr const char* kDeadStallMetric = "smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct";

std::string table_of(const BenchCase& scan, const cuda::GpuProfile& profile);
Json json_of(const BenchCase& scan, const cuda::GpuProfile& profile);

// A task document with the profile in it, for `cumulus advise`; needs counters.
std::string document_of(const BenchCase& scan, const cuda::GpuProfile& profile);

// KernelBench's problem that the scan is, if it is one.
const Workload* workload_of(const BenchCase& scan);

// ---- on the CPU ----

struct CpuProfile {
  Plan plan;
  std::string model, simd;  // of the processor
  std::int64_t last_cache;  // bytes
  Summary scan;             // of single calls, in microseconds
  std::size_t rounds;
  std::string best_copy;  // "streaming_2"
  double copy_us;         // of as many bytes
  std::vector<CpuCounter> counters;

  double ratio() const { return copy_us / scan.median_us; }
};
Limit limit_of(const CpuProfile& profile);
std::string table_of(const BenchCase& scan, const CpuProfile& profile);
Json json_of(const BenchCase& scan, const CpuProfile& profile);

}  // namespace cumulus::cli
