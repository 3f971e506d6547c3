// Device memory through which the blocks of one launch talk to each other. A kernel expects it zeroed when it is made and leaves it ready
// for the next launch. Two launches that may run at the same time must never share one: a workspace belongs to a stream, or to one branch
// of one graph.
#pragma once

#include <bit>
#include <cstdint>
#include <mutex>

#include "cuda/driver.h"
#include "given_workspace.h"

namespace cumulus::cuda {

// A workspace for one launch on `stream`, held until the lease ends, so that no other thread replaces it before the launch is in the
// stream. The stream's context is current and has the unique id `context`. Throws Failure.
//
// If the caller gives none: outside captures, one per (context, stream id), which tells per-thread default streams and reused handles
// apart. It grows in stream order, without synchronisation. Inside a capture: one per (capture, stream), kept alive by the graph.
class WorkspaceLease {
 public:
  WorkspaceLease(const Driver& driver, std::uint64_t context, CUstream stream, int device, std::int64_t bytes, const GivenWorkspace& given);
  ~WorkspaceLease();
  WorkspaceLease(const WorkspaceLease&) = delete;
  WorkspaceLease& operator=(const WorkspaceLease&) = delete;

  std::uint64_t* memory() const { return std::bit_cast<std::uint64_t*>(memory_); }
  std::int64_t words() const { return bytes_ / 8; }

  // The launch is in the stream. Must be called before the lease ends, if it is.
  void launched();

  struct Stream;

 private:
  const Driver& driver_;
  const CUstream stream_;
  Stream* owner_ = nullptr;
  std::unique_lock<std::mutex> lock_;
  CUdeviceptr memory_ = 0;
  std::int64_t bytes_ = 0;
};

// What there is, for tests and `doctor`.
struct WorkspaceCounts {
  int streams;         // that have one
  int captures;        // branches of graphs that live
  int idle;            // left by graphs that are gone, for the next capture
  std::int64_t bytes;  // of all of them
};
WorkspaceCounts workspace_counts();

}  // namespace cumulus::cuda
