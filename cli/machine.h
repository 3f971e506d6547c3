// What the system says of this machine: small files under /proc and /sys, and measured copies.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cumulus::cli {

// The file's first line without its line end; "" where it cannot be read.
std::string first_line(const std::string& path);

std::int64_t memory_total();          // bytes of the machine
std::int64_t memory_available();      // bytes that a program may still take, the cgroup's limit included; 0: not known
int cores_online();                   // of the machine, whatever this process may use
bool cpu_has(std::string_view flag);  // in /proc/cpuinfo: "avx2"

// Copies of `bytes` (an array each way), measured in interleaved rounds; GB/s read and written, medians.
struct CopyRate {
  const char* name;  // "memcpy", "streaming"
  int threads;
  double gbps;
};
std::vector<CopyRate> measure_copies(std::int64_t bytes, int threads, bool pin, int rounds);

}  // namespace cumulus::cli
