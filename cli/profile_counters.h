// The processor's counters for a piece of work, from Linux's perf events: those that this machine and user have, and why the others lack.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace cumulus::cli {

struct CpuCounter {
  const char* key;   // "llc_misses"
  const char* name;  // "LLC misses"
  std::optional<double> value;
  std::string why_none;  // and the way out
};

// What opens one event for this thread and those that it starts from then on: a file, or -errno.
using PerfOpen = std::function<int(std::uint32_t type, std::uint64_t config)>;
int open_perf_event(std::uint32_t type, std::uint64_t config);

// Why an event does not open; `paranoid` is what /proc/sys/kernel/perf_event_paranoid says.
std::string perf_reason(int error, const std::string& paranoid);

// Made before the work starts any thread: others are not counted.
class CpuCounters {
 public:
  explicit CpuCounters(const PerfOpen& open = open_perf_event);
  ~CpuCounters();
  CpuCounters(const CpuCounters&) = delete;
  CpuCounters& operator=(const CpuCounters&) = delete;

  // What `calls` runs of the work count, per run. Events that share hardware are scaled up, as perf does.
  std::vector<CpuCounter> count(int calls, const std::function<void()>& work) const;

 private:
  struct Event {
    CpuCounter counter;
    int file;
  };
  std::vector<Event> events_;
};

}  // namespace cumulus::cli
