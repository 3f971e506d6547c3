// Workspaces: which launch gets which memory, on a driver that records.
#include "cuda/workspace.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <set>
#include <thread>
#include <vector>

#include "error.h"
#include "fake_driver.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;
using support::FakeDriver;
using support::FakeGraph;
using support::FakeStream;

class Workspaces : public testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::reset();
    driver = support::fake_driver();
    driver.cuCtxPushCurrent(handle(context));
  }

  FakeDriver& fake() { return FakeDriver::get(); }

  // A stream of this test's context. Ids are never used twice.
  FakeStream& stream() { return streams.emplace_back(FakeStream{&context, next_id++}); }

  std::uint64_t memory_for(CUstream stream, std::int64_t bytes = 4096, GivenWorkspace given = {}) {
    WorkspaceLease lease(driver, context.id, stream, 0, bytes, given);
    EXPECT_GE(8 * lease.words(), bytes);
    lease.launched();
    return reinterpret_cast<std::uintptr_t>(lease.memory());
  }
  std::uint64_t memory_for(FakeStream& stream, std::int64_t bytes = 4096) { return memory_for(handle(stream), bytes); }

  void begin_capture(FakeStream& stream, FakeGraph& graph, std::uint64_t capture) {
    stream.capture_status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    stream.capture = capture;
    stream.graph = &graph;
  }
  void end_capture(FakeStream& stream) { stream.capture_status = CU_STREAM_CAPTURE_STATUS_NONE; }

  static inline unsigned long long next_id = 1;
  static inline std::uint64_t next_capture = 1;
  support::FakeContext context{0, 5000 + next_id++};
  std::deque<FakeStream> streams;
  Driver driver{};
};

TEST_F(Workspaces, AStreamKeepsItsOwn) {
  FakeStream &a = stream(), &b = stream();
  const std::uint64_t first = memory_for(a), second = memory_for(b);
  EXPECT_NE(first, second);
  for (int k = 0; k < 10; ++k) {
    EXPECT_EQ(memory_for(a), first);
    EXPECT_EQ(memory_for(b), second);
  }
  EXPECT_EQ(fake().calls["cuMemAlloc"], 2);
  EXPECT_EQ(fake().calls["cuMemsetD8Async"], 2) << "zeroed once";
  EXPECT_EQ(fake().calls["cuEventRecord"], 0);
}

TEST_F(Workspaces, AReusedHandleIsAnotherStream) {
  FakeStream& a = stream();
  const std::uint64_t first = memory_for(a);
  a.id = next_id++;  // destroyed, and made again at the same address
  EXPECT_NE(memory_for(a), first);
}

TEST_F(Workspaces, ThreadsHaveTheirOwnPerThreadStream) {
  const std::uint64_t legacy = memory_for(nullptr), mine = memory_for(CU_STREAM_PER_THREAD);
  std::uint64_t others = 0, others_legacy = 0;
  std::thread([&] {
    driver.cuCtxPushCurrent(handle(context));
    others = memory_for(CU_STREAM_PER_THREAD);
    others_legacy = memory_for(CU_STREAM_LEGACY);
  }).join();
  EXPECT_EQ(memory_for(CU_STREAM_LEGACY), legacy);
  EXPECT_EQ(others_legacy, legacy);
  EXPECT_EQ((std::set{legacy, mine, others}.size()), 3u);
}

TEST_F(Workspaces, ContextsDoNotShare) {
  const std::uint64_t first = memory_for(nullptr);
  support::FakeContext other{0, 6000 + next_id++};
  driver.cuCtxPushCurrent(handle(other));
  WorkspaceLease lease(driver, other.id, nullptr, 0, 64, {});
  EXPECT_NE(reinterpret_cast<std::uintptr_t>(lease.memory()), first);
}

TEST_F(Workspaces, GrowInStreamOrderWithoutSynchronisation) {
  FakeStream& a = stream();
  const std::uint64_t small = memory_for(a, 1000);
  const std::uint64_t large = memory_for(a, 1 << 23);
  EXPECT_NE(large, small);
  EXPECT_FALSE(fake().memory.contains(small)) << "freed";
  EXPECT_EQ(memory_for(a, 1000), large);
  for (const char* call : {"cuStreamSynchronize", "cuCtxSynchronize", "cuEventSynchronize", "cuMemFree"})
    EXPECT_EQ(fake().calls[call], 0) << call;
  EXPECT_EQ(fake().calls["cuMemAlloc"], 1) << "the first one";
}

TEST_F(Workspaces, WithoutPoolsTheOldOneStays) {
  fake().pools = false;
  FakeStream stream_of_device_1{&context, next_id++};
  const auto memory = [&](std::int64_t bytes) {
    WorkspaceLease lease(driver, context.id, handle(stream_of_device_1), 1, bytes, {});
    return reinterpret_cast<std::uintptr_t>(lease.memory());
  };
  const std::uint64_t small = memory(1000), large = memory(1 << 23);
  EXPECT_TRUE(fake().memory.contains(small));
  EXPECT_TRUE(fake().memory.contains(large));
  EXPECT_EQ(fake().calls["cuMemFree"], 0) << "it would wait for the device";
}

TEST_F(Workspaces, OutOfMemoryIsAClearErrorAndLeavesAllUsable) {
  FakeStream& a = stream();
  const std::uint64_t small = memory_for(a, 1000);
  fake().memory_limit = fake().allocated + 1000;
  try {
    memory_for(a, 10 << 20);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY);
    EXPECT_NE(failure.message.find("16777216 bytes of workspace"), std::string::npos) << failure.message;
    EXPECT_NE(failure.message.find("free device memory"), std::string::npos) << failure.message;
  }
  EXPECT_EQ(memory_for(a, 1000), small);
  fake().memory_limit = std::size_t{1} << 40;
  EXPECT_NE(memory_for(a, 10 << 20), small);
}

TEST_F(Workspaces, AFailedZeroingIsNotKept) {
  FakeStream& a = stream();
  fake().fail = {{"cuMemsetD8Async", 999}};
  EXPECT_THROW(memory_for(a), Failure);
  EXPECT_EQ(fake().allocated, 0u);
  fake().fail.clear();
  memory_for(a);
}

TEST_F(Workspaces, GivenByTheCaller) {
  FakeStream& a = stream();
  const std::uint64_t own = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0);
  const auto given = [&](std::uint64_t address, std::int64_t bytes) {
    return memory_for(handle(a), 4096, {reinterpret_cast<void*>(address), bytes});
  };
  EXPECT_EQ(given(own, 4096), own);
  EXPECT_EQ(fake().calls["cuMemAlloc"] + fake().calls["cuStreamGetCaptureInfo"], 0);
  const auto message = [&](std::uint64_t address, std::int64_t bytes) {
    try {
      given(address, bytes);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, CUMULUS_INVALID_ARGUMENT);
      return failure.message;
    }
    return std::string();
  };
  EXPECT_NE(message(own, 4095).find("4096"), std::string::npos);
  EXPECT_NE(message(own + 8, 4096).find("aligned"), std::string::npos);
  int host = 0;
  EXPECT_NE(message(reinterpret_cast<std::uintptr_t>(&host) / 16 * 16, 4096).find("workspace"), std::string::npos);
}

TEST_F(Workspaces, ManyStreamsThatComeAndGoKeepNoMemory) {
  for (int k = 0; k < 2000; ++k) {
    memory_for(stream());
    fake().pending_events.clear();  // every launch ends before the next stream is made
  }
  EXPECT_LE(fake().memory.size(), 70u);
}

TEST_F(Workspaces, BusyStreamsAreNeverRobbed) {
  std::set<std::uint64_t> all;
  for (int k = 0; k < 200; ++k) EXPECT_TRUE(all.insert(memory_for(stream())).second) << "no launch has ended";
  fake().pending_events.clear();
  const std::uint64_t taken = memory_for(stream());
  EXPECT_TRUE(all.contains(taken));
  EXPECT_EQ(fake().memory.size(), 200u);
  // Whose memory went to another gets other memory.
  std::set<std::uint64_t> now;
  fake().pending_events.clear();
  for (FakeStream& each : streams) now.insert(memory_for(each));
  EXPECT_GE(now.size(), 200u);
}

// ---- graphs ----

TEST_F(Workspaces, EachCaptureAndEachBranchOwnsOne) {
  FakeStream &a = stream(), &b = stream();
  FakeGraph one, two;
  const std::uint64_t outside = memory_for(a), capture = next_capture++;
  begin_capture(a, one, capture);
  begin_capture(b, one, capture);  // forked
  const std::uint64_t first = memory_for(a), branch = memory_for(b);
  EXPECT_EQ(memory_for(a), first) << "one after the other in a branch: the same";
  end_capture(a);
  begin_capture(a, two, next_capture++);
  const std::uint64_t second = memory_for(a);
  EXPECT_EQ((std::set{outside, first, branch, second}.size()), 4u);
  EXPECT_EQ(one.objects.size(), 2u);
  EXPECT_EQ(two.objects.size(), 1u);
  end_capture(a);
  EXPECT_EQ(memory_for(a), outside);
}

TEST_F(Workspaces, LiveAsLongAsTheGraphAndServeTheNext) {
  FakeStream& a = stream();
  FakeGraph one, two, three;
  begin_capture(a, one, next_capture++);
  const std::uint64_t first = memory_for(a);
  begin_capture(a, two, next_capture++);
  const std::uint64_t second = memory_for(a);
  EXPECT_NE(second, first);
  fake().end_graph(one);
  EXPECT_TRUE(fake().memory.contains(first)) << "no CUDA call may be made when a graph ends";
  begin_capture(a, three, next_capture++);
  EXPECT_EQ(memory_for(a), first);
  EXPECT_EQ(fake().calls["cuMemsetD8Async"], 2) << "it was left ready";
}

TEST_F(Workspaces, GrowWithinACapture) {
  FakeStream& a = stream();
  FakeGraph graph;
  begin_capture(a, graph, next_capture++);
  const std::uint64_t small = memory_for(a, 1000), large = memory_for(a, 1 << 23);
  EXPECT_NE(small, large);
  EXPECT_TRUE(fake().memory.contains(small)) << "earlier nodes of the graph use it";
  EXPECT_EQ(memory_for(a, 1000), large);
  EXPECT_EQ(graph.objects.size(), 2u);
  fake().end_graph(graph);
}

TEST_F(Workspaces, NothingOfItBecomesPartOfTheGraph) {
  FakeStream& a = stream();
  FakeGraph graph;
  fake().capture_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  begin_capture(a, graph, next_capture++);
  memory_for(a);
  EXPECT_EQ(fake().calls["cuMemAllocAsync"], 0);
  EXPECT_EQ(fake().calls["cuMemAlloc"], 1);
  EXPECT_EQ(fake().calls["cuStreamSynchronize"], 1) << "of the helper stream, once for each workspace that is made";
  EXPECT_EQ(fake().capture_mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
}

TEST_F(Workspaces, FailuresDuringACaptureAreClearAndRecoverable) {
  FakeStream& a = stream();
  FakeGraph graph;
  begin_capture(a, graph, next_capture++);
  for (const char* call : {"cuStreamCreate", "cuMemAlloc", "cuMemsetD8Async", "cuStreamSynchronize", "cuUserObjectCreate",
                           "cuGraphRetainUserObject", "cuThreadExchangeStreamCaptureMode"}) {
    fake().fail = {{call, CUDA_ERROR_OUT_OF_MEMORY}};
    try {
      memory_for(a);
      ADD_FAILURE() << call;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY) << failure.message;
    }
  }
  fake().fail.clear();
  EXPECT_NE(memory_for(a), 0u);
  EXPECT_EQ(fake().memory.size(), 1u) << "nothing is lost";
  a.capture_status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
  EXPECT_THROW(memory_for(a), Failure);
}

// ---- threads ----

TEST_F(Workspaces, ThreadsOnOneStreamNeverUseFreedMemory) {
  FakeStream& a = stream();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      driver.cuCtxPushCurrent(handle(context));
      for (int k = 0; k < 200; ++k) {
        WorkspaceLease lease(driver, context.id, handle(a), 0, (std::int64_t{1} << (16 + (k + 50 * thread) / 40)), {});
        // While the lease is held, which is where the launch happens, the memory is there.
        int attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE};
        unsigned type = 0;
        void* values[] = {&type};
        driver.cuPointerGetAttributes(1, attributes, values, reinterpret_cast<std::uintptr_t>(lease.memory()));
        wrong += type != CU_MEMORYTYPE_DEVICE;
        lease.launched();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(fake().memory.size(), 1u);
}

TEST_F(Workspaces, ThreadsWithManyStreamsAndGraphs) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      driver.cuCtxPushCurrent(handle(context));
      std::deque<FakeStream> own;
      for (int k = 0; k < 150; ++k) {
        FakeStream& mine = own.emplace_back(FakeStream{&context, 1000000 + static_cast<unsigned long long>(1000 * thread + k)});
        memory_for(mine);
        FakeGraph graph;
        begin_capture(mine, graph, 1000000 + static_cast<std::uint64_t>(1000 * thread + k));
        memory_for(mine);
        driver.cuGraphDestroy(reinterpret_cast<CUgraph>(&graph));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(workspace_counts().streams, 4 * 64);
}

}  // namespace
