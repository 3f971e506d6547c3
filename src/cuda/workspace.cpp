#include "cuda/workspace.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "error.h"

namespace cumulus::cuda {

// The workspace of one stream. Never freed, but handed to another stream when its own is gone or idle and there are many.
struct WorkspaceLease::Stream {
  std::mutex mutex;  // guards what follows, and is held from the choice of memory until the launch is in the stream
  std::uint64_t context = 0, id = 0;
  CUdeviceptr memory = 0;
  std::atomic<std::int64_t> bytes = 0;  // also read by workspace_counts
  std::atomic<bool> watched = false;    // its context has many streams
  CUevent last = nullptr;               // after the last launch, if watched
  bool recorded = false;
};

namespace {

using Stream = WorkspaceLease::Stream;

constexpr std::int64_t kLeastBytes = 1 << 20;  // enough for rows of 2^27 f32 elements
// So many streams of a context keep a workspace for good. Beyond, each launch is followed by an event, and a stream that needs a
// workspace takes over one whose event has passed: streams that are gone leave no memory behind.
constexpr std::size_t kLastingStreams = 64;

// The workspace of one branch of one capture.
struct Branch {
  std::uint64_t context;
  CUdeviceptr memory;
  std::int64_t bytes;
  Branch* next = nullptr;  // in the list of those whose graph is gone
};

using StreamKey = std::pair<std::uint64_t, std::uint64_t>;  // context, stream id; for captures: capture id, stream id

// All workspaces of the process. Never destroyed: a graph may end while the process exits.
struct Registry {
  // Graphs end on a thread of the driver's, where nothing may wait for a lock that is held during CUDA calls.
  std::atomic<Branch*> gone{nullptr};

  std::mutex mutex;  // guards what follows
  std::map<StreamKey, Stream*> streams;
  std::map<StreamKey, Branch*> branches;      // of captures that go on, or graphs that live
  std::vector<std::unique_ptr<Branch>> idle;  // whose graph is gone
  std::map<std::uint64_t, CUstream> helpers;  // by context: a stream to zero memory on while another one captures
  std::map<int, bool> pools;                  // by device: has stream-ordered allocation

  void collect_gone() {
    for (Branch* branch = gone.exchange(nullptr); branch;) {
      Branch* next = branch->next;
      std::erase_if(branches, [&](const auto& entry) { return entry.second == branch; });
      idle.emplace_back(branch);
      branch = next;
    }
  }
};

Registry& registry() {
  static auto& all = *new Registry;
  return all;
}

std::int64_t rounded(std::int64_t bytes) {
  return std::max(kLeastBytes, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(bytes))));
}

[[noreturn]] void fail_allocation(const Driver& driver, CUresult result, const char* call, std::int64_t bytes) {
  fail_driver(driver, result, call, fmt::format("{} bytes of workspace", bytes));
}

bool has_pools(const Driver& driver, int device) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto [entry, fresh] = all.pools.emplace(device, false);
  int supported = 0;
  CUdevice handle = 0;
  if (fresh && driver.cuDeviceGet(&handle, device) == CUDA_SUCCESS &&
      driver.cuDeviceGetAttribute(&supported, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, handle) == CUDA_SUCCESS)
    entry->second = supported != 0;
  return entry->second;
}

// ---- streams ----

// Everything happens in the order of the stream, so launches already in it keep their memory until they end. The first memory comes from
// the plain allocator, which is quick and serves almost every scan; a first use of the pool takes the driver 7 ms (H200).
void grow(const Driver& driver, Stream& own, CUstream stream, int device, std::int64_t needed) {
  const std::int64_t bytes = rounded(needed);
  const bool pooled = own.memory && has_pools(driver, device);
  CUdeviceptr memory = 0;
  const RelaxedCapture relaxed(driver);
  const CUresult result = pooled ? driver.cuMemAllocAsync(&memory, static_cast<std::size_t>(bytes), stream)
                                 : driver.cuMemAlloc(&memory, static_cast<std::size_t>(bytes));
  if (result != CUDA_SUCCESS) fail_allocation(driver, result, pooled ? "cuMemAllocAsync" : "cuMemAlloc", bytes);
  if (const CUresult zeroed = driver.cuMemsetD8Async(memory, 0, static_cast<std::size_t>(bytes), stream); zeroed != CUDA_SUCCESS) {
    pooled ? driver.cuMemFreeAsync(memory, stream) : driver.cuMemFree(memory);
    fail_driver(driver, zeroed, "cuMemsetD8Async");
  }
  // Without pools the old one stays with the context: freeing it would wait for the device. Doubling bounds the sum.
  if (pooled) driver.cuMemFreeAsync(own.memory, stream);
  own.memory = memory, own.bytes = bytes;
  own.recorded = false;  // zeroing comes after the last event
}

// A workspace for a stream that has none: an idle one of the context, if there are many, else an empty one. Called with the registry
// locked.
Stream* adopt(const Driver& driver, Registry& all, std::uint64_t context, std::uint64_t id) {
  const auto fresh = [&] {
    auto* stream = new Stream;
    stream->context = context, stream->id = id;
    return stream;
  };
  const auto first = all.streams.lower_bound({context, 0}), last = all.streams.upper_bound({context, ~std::uint64_t{0}});
  if (static_cast<std::size_t>(std::distance(first, last)) < kLastingStreams) return fresh();
  for (auto entry = first; entry != last; ++entry) entry->second->watched = true;
  const RelaxedCapture relaxed(driver);
  for (auto entry = first; entry != last; ++entry) {
    Stream* stream = entry->second;
    const std::unique_lock lock(stream->mutex, std::try_to_lock);
    if (!lock || !stream->recorded || driver.cuEventQuery(stream->last) != CUDA_SUCCESS) continue;
    all.streams.erase(entry);
    stream->id = id;
    stream->recorded = false;
    return stream;
  }
  Stream* stream = fresh();
  stream->watched = true;
  return stream;
}

// The stream's workspace, locked. Threads remember the last one: the usual call asks no registry.
Stream* lock_stream(const Driver& driver, std::uint64_t context, CUstream stream, std::unique_lock<std::mutex>& lock) {
  thread_local Stream* recent = nullptr;
  unsigned long long id = 0;
  check(driver, driver.cuStreamGetId(stream, &id), "cuStreamGetId");
  for (;;) {
    if (recent) {
      lock = std::unique_lock(recent->mutex);
      if (recent->context == context && recent->id == id) return recent;
      lock.unlock();
    }
    Registry& all = registry();
    const std::lock_guard registered(all.mutex);
    const auto found = all.streams.find({context, id});
    if (found != all.streams.end()) {
      recent = found->second;  // and is locked in the next round, without the registry
      continue;
    }
    recent = adopt(driver, all, context, id);
    all.streams.emplace(StreamKey{context, id}, recent);
  }
}

// ---- captures ----

// Runs when the last graph with this branch is gone, and no CUDA call is allowed.
void release_branch(void* data) {
  auto* branch = static_cast<Branch*>(data);
  std::atomic<Branch*>& gone = registry().gone;
  branch->next = gone.load();
  while (!gone.compare_exchange_weak(branch->next, branch)) {
  }
}

CUstream helper_stream(const Driver& driver, Registry& all, std::uint64_t context) {
  CUstream& helper = all.helpers[context];
  if (!helper) check(driver, driver.cuStreamCreate(&helper, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  return helper;
}

// Memory for a branch: an idle one of the context, else new, zeroed on a stream of its own, as nothing of it may become part of the
// graph. Called with the registry locked, captures relaxed.
std::unique_ptr<Branch> make_branch(const Driver& driver, Registry& all, std::uint64_t context, std::int64_t needed) {
  all.collect_gone();
  for (auto entry = all.idle.begin(); entry != all.idle.end(); ++entry)
    if ((*entry)->context == context && (*entry)->bytes >= needed) {
      auto branch = std::move(*entry);
      all.idle.erase(entry);
      return branch;
    }
  // The idle ones were all too small: they make room.
  std::erase_if(all.idle, [&](const auto& branch) {
    if (branch->context == context) driver.cuMemFree(branch->memory);
    return branch->context == context;
  });
  const std::int64_t bytes = rounded(needed);
  const CUstream helper = helper_stream(driver, all, context);
  auto branch = std::make_unique<Branch>(Branch{context, 0, bytes});
  if (const CUresult result = driver.cuMemAlloc(&branch->memory, static_cast<std::size_t>(bytes)); result != CUDA_SUCCESS)
    fail_allocation(driver, result, "cuMemAlloc", bytes);
  CUresult zeroed = driver.cuMemsetD8Async(branch->memory, 0, static_cast<std::size_t>(bytes), helper);
  if (zeroed == CUDA_SUCCESS) zeroed = driver.cuStreamSynchronize(helper);
  if (zeroed != CUDA_SUCCESS) {
    driver.cuMemFree(branch->memory);
    fail_driver(driver, zeroed, "cuMemsetD8Async");
  }
  return branch;
}

const Branch& branch_of(const Driver& driver, std::uint64_t context, CUstream stream, std::uint64_t capture, CUgraph graph,
                        std::int64_t needed) {
  // The driver refuses cuStreamGetId here, and spoils the capture. No handle can be reused while its stream captures, so it will do.
  thread_local char own_thread;
  const auto id = reinterpret_cast<std::uintptr_t>(stream == CU_STREAM_PER_THREAD ? static_cast<void*>(&own_thread) : stream);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const StreamKey key{capture, id};
  if (const auto found = all.branches.find(key); found != all.branches.end() && found->second->bytes >= needed) return *found->second;
  const RelaxedCapture relaxed(driver);
  std::unique_ptr<Branch> branch = make_branch(driver, all, context, needed);
  CUuserObject object = nullptr;
  if (const CUresult result = driver.cuUserObjectCreate(&object, branch.get(), release_branch, 1, CU_USER_OBJECT_NO_DESTRUCTOR_SYNC);
      result != CUDA_SUCCESS) {
    all.idle.push_back(std::move(branch));
    fail_driver(driver, result, "cuUserObjectCreate");
  }
  Branch& kept = *branch.release();  // from here on release_branch decides
  if (const CUresult result = driver.cuGraphRetainUserObject(graph, object, 1, CU_GRAPH_USER_OBJECT_MOVE); result != CUDA_SUCCESS) {
    driver.cuUserObjectRelease(object, 1);
    fail_driver(driver, result, "cuGraphRetainUserObject");
  }
  // A smaller one that this branch used before stays with the graph, whose earlier nodes use it.
  all.branches[key] = &kept;
  return kept;
}

}  // namespace

WorkspaceLease::WorkspaceLease(const Driver& driver, std::uint64_t context, CUstream stream, int device, std::int64_t bytes,
                               const GivenWorkspace& given)
    : driver_(driver), stream_(stream) {
  if (given.memory) {
    memory_ = reinterpret_cast<std::uintptr_t>(given.memory);
    bytes_ = given.bytes;
    if (given.bytes < bytes)
      fail_invalid(fmt::format("workspace has {} bytes but this scan needs {}: give what cumulus_workspace_bytes says, or none",
                               given.bytes, bytes));
    if (memory_ % 16 != 0)
      fail_invalid(fmt::format("workspace {:#x} is not aligned to 16 bytes: give the start of an allocation, or none", memory_));
    check_pointer(driver, given.memory, device, "workspace");
    return;
  }
  int status = CU_STREAM_CAPTURE_STATUS_NONE;
  std::uint64_t capture = 0;
  CUgraph graph = nullptr;
  check(driver, driver.cuStreamGetCaptureInfo(stream, &status, &capture, &graph, nullptr, nullptr), "cuStreamGetCaptureInfo");
  if (status == CU_STREAM_CAPTURE_STATUS_INVALIDATED) fail_driver(driver, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "cuStreamGetCaptureInfo");
  if (status == CU_STREAM_CAPTURE_STATUS_ACTIVE) {
    const Branch& branch = branch_of(driver, context, stream, capture, graph, bytes);
    memory_ = branch.memory, bytes_ = branch.bytes;
    return;
  }
  owner_ = lock_stream(driver, context, stream, lock_);
  if (owner_->bytes < bytes) grow(driver, *owner_, stream, device, bytes);
  memory_ = owner_->memory, bytes_ = owner_->bytes;
}

WorkspaceLease::~WorkspaceLease() = default;

void WorkspaceLease::launched() {
  if (!owner_) return;
  if (!owner_->watched) return;
  if (!owner_->last && driver_.cuEventCreate(&owner_->last, CU_EVENT_DISABLE_TIMING) != CUDA_SUCCESS) return;
  owner_->recorded = driver_.cuEventRecord(owner_->last, stream_) == CUDA_SUCCESS;
}

WorkspaceCounts workspace_counts() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.collect_gone();
  WorkspaceCounts counts{static_cast<int>(all.streams.size()), static_cast<int>(all.branches.size()), static_cast<int>(all.idle.size()), 0};
  for (const auto& [key, stream] : all.streams) counts.bytes += stream->bytes;
  for (const auto& [key, branch] : all.branches) counts.bytes += branch->bytes;
  for (const auto& branch : all.idle) counts.bytes += branch->bytes;
  return counts;
}

}  // namespace cumulus::cuda
