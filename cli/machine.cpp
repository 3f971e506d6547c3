#include "machine.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <limits>

#include "cpu/copy.h"
#include "measure.h"

namespace cumulus::cli {
namespace {

// The text behind "name :" in a file of such lines.
std::string field(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!std::string_view(line).starts_with(name)) continue;
    const std::size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return line.substr(begin);
  }
  return "";
}

std::int64_t number(const std::string& text, std::int64_t otherwise) {
  std::int64_t value = 0;
  return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc() ? value : otherwise;
}

// What the control group still allows (v2, then v1), or the largest number where there is no limit.
std::int64_t cgroup_available() {
  constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();
  const std::string root = "/sys/fs/cgroup/";
  for (const auto& [limit, used] :
       {std::pair{"memory.max", "memory.current"}, std::pair{"memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"}}) {
    const std::int64_t most = number(first_line(root + limit), kNone);
    if (most < kNone) return std::max<std::int64_t>(0, most - number(first_line(root + used), 0));
  }
  return kNone;
}

}  // namespace

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::int64_t memory_total() { return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE); }

std::int64_t memory_available() { return std::min(1024 * number(field("/proc/meminfo", "MemAvailable"), 0), cgroup_available()); }

int cores_online() { return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)); }

bool cpu_has(std::string_view flag) {
  const std::string flags = " " + field("/proc/cpuinfo", "flags") + " " + field("/proc/cpuinfo", "Features") + " ";
  return flags.find(" " + std::string(flag) + " ") != std::string::npos;
}

std::vector<CopyRate> measure_copies(std::int64_t bytes, int threads, bool pin, int rounds) {
  const auto size = static_cast<std::size_t>(bytes);
  const Buffer from(size), to(size);
  std::memset(from.as(), 1, size);
  std::memset(to.as(), 2, size);
  struct Run {
    CopyRate rate;
    cpu::CopyKind kind;
    std::vector<double> ms;
  };
  std::vector<Run> runs = {{{"memcpy", 1, 0}, cpu::CopyKind::memcpy, {}}, {{"streaming", 1, 0}, cpu::CopyKind::streaming, {}}};
  if (threads > 1) {
    runs.push_back({{"memcpy", threads, 0}, cpu::CopyKind::memcpy, {}});
    runs.push_back({{"streaming", threads, 0}, cpu::CopyKind::streaming, {}});
  }
  for (int round = 0; round < rounds; ++round)
    for (Run& run : runs) run.ms.push_back(time_ms([&] { cpu::copy(to.as(), from.as(), size, run.kind, run.rate.threads, pin); }));
  std::vector<CopyRate> rates;
  for (Run& run : runs) {
    run.rate.gbps = 2 * static_cast<double>(bytes) / median(run.ms) / 1e6;
    rates.push_back(run.rate);
  }
  return rates;
}

}  // namespace cumulus::cli
