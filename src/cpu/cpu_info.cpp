#include "cpu/cpu_info.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "cpu/kernels.h"

namespace cumulus::cpu {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// "32K", "1M" as sysfs writes them.
std::int64_t parse_size(const std::string& text) {
  std::int64_t value = 0;
  char unit = 0;
  if (std::sscanf(text.c_str(), "%ld%c", &value, &unit) < 1) return 0;
  return unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : value;
}

std::int64_t cache_bytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    if (first_line(folder + "level") == std::to_string(level) && first_line(folder + "type") != "Instruction")
      return parse_size(first_line(folder + "size"));
  }
  return 0;
}

int ceil_cores(double quota, double period) {
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>((quota + period - 1) / period)) : 0;
}

// The process's own group in the v2 hierarchy, and every group above it: the smallest quota counts.
int quota_v2() {
  std::ifstream file("/proc/self/cgroup");
  std::string line, group;
  while (std::getline(file, line))
    if (line.rfind("0::", 0) == 0) group = line.substr(3);
  int cores = 0;
  for (;;) {
    std::istringstream text(first_line("/sys/fs/cgroup" + group + "/cpu.max"));
    double quota = 0, period = 0;
    if (text >> quota >> period) {
      const int here = ceil_cores(quota, period);
      if (here > 0) cores = cores == 0 ? here : std::min(cores, here);
    }
    if (group.empty() || group == "/") return cores;
    group.resize(group.find_last_of('/'));
  }
}

int quota_v1() {
  const std::string folder = "/sys/fs/cgroup/cpu/";
  return ceil_cores(std::atof(first_line(folder + "cpu.cfs_quota_us").c_str()),
                    std::atof(first_line(folder + "cpu.cfs_period_us").c_str()));
}

struct Caches {
  std::int64_t l1, l2, l3;
};

const Caches& caches() {
  static const Caches found = [] {
    Caches c{cache_bytes(1), cache_bytes(2), cache_bytes(3)};
    if (c.l1 == 0) c.l1 = 32 << 10;
    if (c.l2 == 0) c.l2 = 512 << 10;
    if (c.l3 == 0) c.l3 = c.l2;
    return c;
  }();
  return found;
}

}  // namespace

std::string model_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (const std::size_t colon = line.find(": "); line.starts_with("model name") && colon != std::string::npos)
      return line.substr(colon + 2);
  return "unknown";
}

int affinity_cores() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return std::max(1, static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)));  // more cores than a cpu_set_t holds
}

int quota_cores() {
  static const int quota = [] {
    const int v2 = quota_v2();
    return v2 > 0 ? v2 : quota_v1();
  }();
  return quota;
}

CpuInfo cpu_info() {
  const Target target = current_target();
  const Caches& c = caches();
  const int quota = quota_cores(), affinity = affinity_cores();
  return {quota > 0 ? std::min(quota, affinity) : affinity, c.l1, c.l2, c.l3, vector_bytes(target), name(target)};
}

}  // namespace cumulus::cpu
