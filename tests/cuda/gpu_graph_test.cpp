// Captures and graphs on a real GPU: each has its own workspace, which lives as long as it does.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/workspace.h"
#include "gpu_fixture.h"

namespace gpu_test {
namespace {

struct Graph {
  const Driver& gpu;
  CUgraph graph = nullptr;
  CUgraphExec executable = nullptr;

  explicit Graph(const Driver& driver) : gpu(driver) {}
  ~Graph() {
    if (executable) gpu.cuGraphExecDestroy(executable);
    if (graph) gpu.cuGraphDestroy(graph);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void end(CUstream stream) {
    EXPECT_EQ(gpu.cuStreamEndCapture(stream, &graph), 0);
    EXPECT_EQ(gpu.cuGraphInstantiateWithFlags(&executable, graph, 0), 0);
  }
};

// Once no graph holds memory any more: the driver lets go of it on a thread of its own.
WorkspaceCounts counts_without_graphs() {
  for (int k = 0; k < 5000 && workspace_counts().captures > 0; ++k) usleep(1000);
  return workspace_counts();
}

TEST_F(Gpu, AGivenWorkspaceInAGraph) {
  Array in(gpu(), kLong), out(gpu(), kLong), workspace(gpu(), 1 << 20);
  in.put(numbers(kLong));
  workspace.put(std::vector<std::int64_t>(1 << 20));
  Call call;
  call.workspace = {reinterpret_cast<void*>(workspace.address), 8 << 20};
  ASSERT_EQ(counts_without_graphs().captures, 0) << "of earlier tests' graphs";
  CUstream stream;
  ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
  Graph graph(gpu());
  ASSERT_EQ(gpu().cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
  scan(in.address, out.address, kLong, stream, call);
  graph.end(stream);
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(workspace_counts().captures, 0);
  for (int k = 0; k < 5; ++k) {
    in.put(numbers(kLong, k));
    ASSERT_EQ(gpu().cuGraphLaunch(graph.executable, stream), 0);
    scan(in.address, out.address, kLong, stream, call);  // between replays, in the same stream
    ASSERT_EQ(gpu().cuStreamSynchronize(stream), 0);
    EXPECT_EQ(out.get(), summed(numbers(kLong, k)));
  }
  gpu().cuStreamDestroy(stream);
}

TEST_F(Gpu, AFirstCallUnderCaptureWorksInEveryMode) {
  CUstream stream;
  ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
  int round = 0;
  for (const int mode : {CU_STREAM_CAPTURE_MODE_GLOBAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_RELAXED}) {
    Array in(gpu(), kLong), out(gpu(), kLong);
    in.put(numbers(kLong));
    Call call;
    call.tuning.chunks = 1 + round++ % 2;  // a kernel that was not loaded before, at least once
    Graph graph(gpu());
    ASSERT_EQ(gpu().cuStreamBeginCapture(stream, mode), 0);
    scan(in.address, out.address, kLong, stream, call);
    graph.end(stream);
    EXPECT_NE(out.get(), summed(numbers(kLong))) << "captured, not run";
    for (int k = 0; k < 5; ++k) {
      in.put(numbers(kLong, k));
      ASSERT_EQ(gpu().cuGraphLaunch(graph.executable, stream), 0);
      ASSERT_EQ(gpu().cuStreamSynchronize(stream), 0);
      EXPECT_EQ(out.get(), summed(numbers(kLong, k)));
    }
  }
  gpu().cuStreamDestroy(stream);
}

TEST_F(Gpu, SeveralGraphsForkedBranchesAndPlainCallsAtOnce) {
  constexpr int kGraphs = 3;
  CUstream stream[kGraphs], side[kGraphs];
  CUevent fork, join;
  ASSERT_EQ(gpu().cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING), 0);
  ASSERT_EQ(gpu().cuEventCreate(&join, CU_EVENT_DISABLE_TIMING), 0);
  std::vector<std::unique_ptr<Array>> in, out;
  std::vector<std::unique_ptr<Graph>> graphs;
  ASSERT_EQ(counts_without_graphs().captures, 0) << "of earlier tests' graphs";
  for (int g = 0; g < kGraphs; ++g) {
    ASSERT_EQ(gpu().cuStreamCreate(&stream[g], CU_STREAM_NON_BLOCKING), 0);
    ASSERT_EQ(gpu().cuStreamCreate(&side[g], CU_STREAM_NON_BLOCKING), 0);
    for (int k = 0; k < 2; ++k) {
      in.push_back(std::make_unique<Array>(gpu(), kLong));
      out.push_back(std::make_unique<Array>(gpu(), kLong));
      in.back()->put(numbers(kLong, 2 * g + k));
    }
  }
  // All captures are open at the same time.
  for (int g = 0; g < kGraphs; ++g) ASSERT_EQ(gpu().cuStreamBeginCapture(stream[g], CU_STREAM_CAPTURE_MODE_RELAXED), 0);
  for (int g = 0; g < kGraphs; ++g) {
    graphs.push_back(std::make_unique<Graph>(gpu()));
    ASSERT_EQ(gpu().cuEventRecord(fork, stream[g]), 0);
    ASSERT_EQ(gpu().cuStreamWaitEvent(side[g], fork, 0), 0);
    scan(in[static_cast<std::size_t>(2 * g)]->address, out[static_cast<std::size_t>(2 * g)]->address, kLong, stream[g]);
    scan(in[static_cast<std::size_t>(2 * g + 1)]->address, out[static_cast<std::size_t>(2 * g + 1)]->address, kLong, side[g]);
    ASSERT_EQ(gpu().cuEventRecord(join, side[g]), 0);
    ASSERT_EQ(gpu().cuStreamWaitEvent(stream[g], join, 0), 0);
  }
  for (int g = 0; g < kGraphs; ++g) graphs[static_cast<std::size_t>(g)]->end(stream[g]);
  EXPECT_EQ(workspace_counts().captures, 2 * kGraphs);
  Array plain_in(gpu(), kLong), plain_out(gpu(), kLong);
  plain_in.put(numbers(kLong, 77));
  for (int round = 0; round < 20; ++round) {
    for (int g = 0; g < kGraphs; ++g) ASSERT_EQ(gpu().cuGraphLaunch(graphs[static_cast<std::size_t>(g)]->executable, stream[g]), 0);
    scan(plain_in.address, plain_out.address, kLong, CU_STREAM_PER_THREAD);
  }
  ASSERT_EQ(gpu().cuCtxSynchronize(), 0);
  for (int k = 0; k < 2 * kGraphs; ++k) EXPECT_EQ(out[static_cast<std::size_t>(k)]->get(), summed(numbers(kLong, k))) << k;
  EXPECT_EQ(plain_out.get(), summed(numbers(kLong, 77)));
  graphs.clear();
  EXPECT_EQ(counts_without_graphs().captures, 0);
  EXPECT_GE(workspace_counts().idle, 2 * kGraphs);
  for (int g = 0; g < kGraphs; ++g) gpu().cuStreamDestroy(stream[g]), gpu().cuStreamDestroy(side[g]);
  gpu().cuEventDestroy(fork), gpu().cuEventDestroy(join);
}

TEST_F(Gpu, AGraphOutlivesItsStreamAndTheFirstHandle) {
  CUstream stream, other;
  ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
  ASSERT_EQ(gpu().cuStreamCreate(&other, CU_STREAM_NON_BLOCKING), 0);
  Array in(gpu(), kLong), out(gpu(), kLong);
  in.put(numbers(kLong));
  Graph graph(gpu());
  ASSERT_EQ(gpu().cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
  scan(in.address, out.address, kLong, stream);
  graph.end(stream);
  gpu().cuStreamDestroy(stream);
  gpu().cuGraphDestroy(graph.graph);  // the executable keeps the workspace alive
  graph.graph = nullptr;
  Graph second(gpu());
  ASSERT_EQ(gpu().cuStreamBeginCapture(other, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
  scan(in.address, out.address, kLong, other);
  second.end(other);
  for (int k = 0; k < 10; ++k) {
    ASSERT_EQ(gpu().cuGraphLaunch(graph.executable, other), 0);
    ASSERT_EQ(gpu().cuGraphLaunch(second.executable, other), 0);
  }
  EXPECT_EQ(out.get(), summed(numbers(kLong)));
  gpu().cuStreamDestroy(other);
}

TEST_F(Gpu, TheLegacyStreamDuringACaptureIsAClearError) {
  CUstream stream;
  Array x(gpu(), kLong);
  ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_DEFAULT), 0);
  ASSERT_EQ(gpu().cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), 0);
  try {
    scan_or_throw(x.address, x.address, kLong, nullptr);
    ADD_FAILURE() << "nothing was refused";
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("capture"), std::string::npos) << failure.message;
  }
  CUgraph graph = nullptr;
  gpu().cuStreamEndCapture(stream, &graph);
  if (graph) gpu().cuGraphDestroy(graph);
  gpu().cuStreamDestroy(stream);
  x.put(numbers(kLong));
  scan(x.address, x.address, kLong);
  EXPECT_EQ(x.get(), summed(numbers(kLong)));
}

}  // namespace
}  // namespace gpu_test
