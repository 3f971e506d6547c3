#include "profile_counters.h"

#include <fmt/core.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "machine.h"

namespace cumulus::cli {
namespace {

struct EventKind {
  const char *key, *name;
  std::uint32_t type;
  std::uint64_t config;
};
constexpr std::uint64_t kReadMiss = (PERF_COUNT_HW_CACHE_OP_READ << 8) | (PERF_COUNT_HW_CACHE_RESULT_MISS << 16);
constexpr EventKind kEvents[] = {{"cycles", "cycles", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES},
                                 {"instructions", "instructions", PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS},
                                 {"llc_misses", "LLC misses", PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES},
                                 {"dtlb_misses", "dTLB misses of loads", PERF_TYPE_HW_CACHE, PERF_COUNT_HW_CACHE_DTLB | kReadMiss}};

// What a read of an event gives.
struct Reading {
  std::uint64_t value = 0, enabled = 0, running = 0;
};

Reading read_event(int file) {
  Reading reading;
  if (file < 0 || read(file, &reading, sizeof reading) != static_cast<ssize_t>(sizeof reading)) return {};
  return reading;
}

}  // namespace

int open_perf_event(std::uint32_t type, std::uint64_t config) {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = type;
  attributes.config = config;
  attributes.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
  attributes.inherit = 1;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  const long file = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
  return file >= 0 ? static_cast<int>(file) : -errno;
}

std::string perf_reason(int error, const std::string& paranoid) {
  switch (error) {
    case EACCES:
    case EPERM:
      if (!paranoid.empty() && std::atoi(paranoid.c_str()) > 2)
        return fmt::format("not permitted: kernel.perf_event_paranoid is {}: sudo sysctl kernel.perf_event_paranoid=2", paranoid);
      return "not permitted, by a container or a security module: start the container with --cap-add PERFMON, or run outside it";
    case ENOENT:
    case ENODEV:
    case EOPNOTSUPP:
      return "this machine has no such counter; virtual ones often have none: profile on the host";
    case ENOSYS:
      return "this kernel has no perf events: use one built with CONFIG_PERF_EVENTS";
    default:
      return fmt::format("the kernel refuses it: {}", std::strerror(error));
  }
}

CpuCounters::CpuCounters(const PerfOpen& open) {
  const std::string paranoid = first_line("/proc/sys/kernel/perf_event_paranoid");
  for (const EventKind& kind : kEvents) {
    const int file = open(kind.type, kind.config);
    events_.push_back({{kind.key, kind.name, std::nullopt, file < 0 ? perf_reason(-file, paranoid) : ""}, file});
  }
}

CpuCounters::~CpuCounters() {
  for (const Event& event : events_)
    if (event.file >= 0) close(event.file);
}

std::vector<CpuCounter> CpuCounters::count(int calls, const std::function<void()>& work) const {
  std::vector<Reading> before;
  for (const Event& event : events_) before.push_back(read_event(event.file));
  for (int i = 0; i < calls; ++i) work();
  std::vector<CpuCounter> counters;
  for (std::size_t i = 0; i < events_.size(); ++i) {
    CpuCounter& counter = counters.emplace_back(events_[i].counter);
    if (events_[i].file < 0) continue;
    const Reading after = read_event(events_[i].file);
    const auto part = [&](std::uint64_t Reading::*member) { return static_cast<double>(after.*member - before[i].*member); };
    if (after.running > before[i].running)
      counter.value = part(&Reading::value) * part(&Reading::enabled) / part(&Reading::running) / calls;
    else counter.why_none = "it never ran: other events hold the hardware's counters: stop other profilers";
  }
  return counters;
}

}  // namespace cumulus::cli
