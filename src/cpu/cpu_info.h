// What this machine offers: cores the process may use, caches, SIMD target.
#pragma once

#include <cstdint>
#include <string>

namespace cumulus::cpu {

struct CpuInfo {
  int cores;                // this thread's affinity mask, lowered to the cgroup's CPU quota
  std::int64_t l1, l2, l3;  // data cache sizes in bytes, as seen by one core (l3: shared)
  int vector_bytes;         // of the SIMD target in use
  const char* simd;         // "SSE4", "AVX2", "AVX3", "NEON"
};

// Caches and target are read once; cores are read anew at each call.
CpuInfo cpu_info();

std::string model_name();  // "AMD EPYC 9R45"; "unknown"

// Cores in this thread's affinity mask (at least 1).
int affinity_cores();

// The cgroup's CPU quota rounded up to cores (v2 and v1), or 0 when there is none.
int quota_cores();

}  // namespace cumulus::cpu
