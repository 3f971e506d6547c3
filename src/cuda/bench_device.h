// A scan on a GPU beside its yardsticks in interleaved rounds, what its first call costs, and the rates that the GPU itself reaches.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/plan.h"
#include "cumulus/cumulus.h"

namespace cumulus::cuda {

struct Driver;
class CubinSource;

struct GpuEffort {
  int rounds = 15;       // at least
  double seconds = 0.5;  // at least, for all contestants of a case together
};

// One contestant's times in microseconds: of a call; of a copy, of as many bytes as the scan moves.
//   scan, graph       a call in a stream, and as a node of a graph
//   memcpy            the driver's copy; copy_kernel: a plain kernel that copies; multiply_kernel and widening_kernel: the plain kernel
//                     with the very reads and writes of a scan under a multiplying mask, and of one from u8 to i64
// and of calls that move at most a quarter of what the L2 cache holds, whose data lies in it:
//   empty, empty_graph, memcpy_graph   a kernel that does nothing, and the copy as a node of a graph
//   burst, empty_burst                 events around a hundred calls, back to back
//   host, empty_host                   the host's time to put a call in the stream
struct GpuSeries {
  std::string name;
  std::vector<double> us;
};

class GpuBench {
 public:
  // `host`: contiguous tensors in host memory; the inputs are copied. `tuning`: forced; where nothing is, calls go through cumulus_scan.
  // Throws Failure.
  GpuBench(const cumulus_scan_args& host, int device, const Tuning& tuning);

  // With a given driver and description of its device. `scan` puts a call with these arguments in their stream.
  using Scan = std::function<void(const cumulus_scan_args& args)>;
  GpuBench(const Driver& driver, const DeviceInfo& info, CubinSource& cubins, const cumulus_scan_args& host, int device, Scan scan);

  ~GpuBench();
  GpuBench(const GpuBench&) = delete;
  GpuBench& operator=(const GpuBench&) = delete;

  // Overwrites the result, scans, and copies the result to `out`, which is as large.
  void result(void* out) const;

  std::vector<GpuSeries> measure(const GpuEffort& effort) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A process's first call, after the driver was started: until it returned, and until the GPU was done. Data pointers are not looked at.
struct FirstCall {
  double returned_ms, done_ms;
};
FirstCall first_call(const cumulus_scan_args& args, int device);

// Rates of DRAM that plain work reaches: medians, in bytes a second. 0: not measured.
struct GpuCeilings {
  std::int64_t bytes = 0;      // of each array
  double copy = 0;             // by the driver, read and written together
  double read = 0, write = 0;  // by a kernel that sums; by the driver's memset
  std::string problem;         // why something was not measured
};
GpuCeilings measure_ceilings(int device);
GpuCeilings measure_ceilings(const Driver& driver, const DeviceInfo& info, CubinSource& cubins, int device);

}  // namespace cumulus::cuda
