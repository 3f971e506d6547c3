// A call from Problem to launch, on a driver that records: what a repeated call does not do again, what is refused, what survives.
#include "cuda/launch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda/nvrtc.h"
#include "cumulus/cumulus.h"
#include "error.h"
#include "fake_device.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;

constexpr std::int64_t kLong = 1 << 22;  // one row that needs a workspace

class Launch : public support::FakeDevice {
 protected:
  void SetUp() override {
    FakeDevice::SetUp();
    if (IsSkipped()) return;
    in = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, 8 * kLong + 64);
    out = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, 8 * kLong + 64);
    other = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, 8 * kLong + 64);
  }

  // From now on the stream's work goes to the graph.
  void capture(support::FakeGraph& graph) {
    stream.capture_status = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    stream.capture = next_id++;
    stream.graph = &graph;
  }

  cumulus_tensor tensor(std::uint64_t address, DType dtype = DType::f32) {
    return {reinterpret_cast<void*>(address), shape, nullptr, 2, static_cast<std::int32_t>(dtype), CUMULUS_CUDA, 0};
  }
  cumulus_scan_args args(std::int64_t rows, std::int64_t length) {
    shape[0] = rows, shape[1] = length;
    cumulus_scan_args a{};
    a.struct_size = sizeof a;
    a.axis = 1;
    a.in = tensor(in);
    a.out = tensor(out);
    return a;
  }
  void run(const cumulus_scan_args& a, const Call& call = {}) {
    try {
      run_or_throw(a, call);
    } catch (const Failure& failure) {
      ADD_FAILURE() << failure.message;
    }
  }
  void run_or_throw(const cumulus_scan_args& a, Call call = {}) {
    Problem problem;
    canonicalise(a, true, problem);
    call.device = a.out.device_index;
    cuda::run(driver, device, problem, call);
  }
  std::string refusal(const cumulus_scan_args& a, const Call& call = {}) {
    try {
      run_or_throw(a, call);
    } catch (const Failure& failure) {
      return failure.message;
    }
    ADD_FAILURE() << "nothing was refused";
    return "";
  }

  support::FakeStream stream{&context, next_id++};
  std::uint64_t in = 0, out = 0, other = 0;
  std::int64_t shape[2] = {};
};

TEST_F(Launch, OnceAndWithTheCallersStream) {
  cumulus_scan_args a = args(1, kLong);
  a.stream = handle(stream);
  run(a);
  ASSERT_EQ(fake().launches.size(), 1u);
  EXPECT_EQ(fake().launches[0].stream, handle(stream));
  EXPECT_EQ(fake().launches[0].context, handle(context));
  EXPECT_TRUE(fake().memory.contains(fake().launches[0].workspace));
  Problem problem;
  canonicalise(a, true, problem);
  const Plan plan = make_plan(problem, device);
  EXPECT_EQ(fake().launches[0].grid, plan.grid);
  EXPECT_EQ(fake().launches[0].block, plan.threads);
  EXPECT_EQ(fake().launches[0].shared, static_cast<unsigned>(plan.shared));
  EXPECT_EQ(workspace_bytes(problem, device), 8 * plan.workspace_words);
}

// Everything that a warm call asks the driver: none of it allocates, waits, copies or clears.
TEST_F(Launch, ARepeatedCallOnlyLaunches) {
  const std::set<std::string> harmless = {"cuLaunchKernel",        "cuCtxGetCurrent", "cuCtxGetDevice",         "cuCtxGetId",
                                          "cuStreamGetCtx",        "cuStreamGetId",   "cuStreamGetCaptureInfo", "cuPointerGetAttributes",
                                          "cuTensorMapEncodeTiled"};
  bool map = false;
  const auto only_launches = [&](const cumulus_scan_args& a) {
    run(a);
    fake().calls.clear();
    for (int k = 0; k < 5; ++k) run(a);
    EXPECT_EQ(fake().calls["cuLaunchKernel"], 5);
    for (const auto& [call, times] : fake().calls) EXPECT_TRUE(times == 0 || harmless.contains(call)) << call << " " << times;
    map = map || fake().calls["cuTensorMapEncodeTiled"] > 0;
  };
  for (const auto& [rows, length] : {std::pair<std::int64_t, std::int64_t>{1, kLong}, {1, 20000}, {1000, 100}, {100, 1000}}) {
    cumulus_scan_args a = args(rows, length);
    only_launches(a);
    if (rows == 1) continue;
    a.mask = a.initial = a.total = a.in;
    a.mask.dtype = static_cast<std::int32_t>(DType::boolean);
    std::int64_t of_rows[] = {rows, 1};
    a.initial.shape = a.total.shape = of_rows;
    a.mask.data = reinterpret_cast<void*>(other), a.initial.data = a.total.data = reinterpret_cast<void*>(other + kLong);
    only_launches(a);
  }
  for (const auto& [length, columns] : {std::pair<std::int64_t, std::int64_t>{kLong / 512, 1024}, {kLong / 4, 4}, {64, kLong / 64}}) {
    cumulus_scan_args a = args(length, columns);
    a.axis = 0;
    only_launches(a);
  }
  EXPECT_TRUE(map) << "no call by tensor copies";
}

TEST_F(Launch, ARepeatedCallLooksItsTuningUpOnce) {
  static int asked;
  asked = 0;
  Call call;
  call.look_up = [](const Problem&, int) {
    ++asked;
    Tuning tuning;
    tuning.layout = static_cast<int>(Layout::split_rows), tuning.blocks = 7;
    return tuning;
  };
  const cumulus_scan_args a = args(1, kLong);
  for (int k = 0; k < 3; ++k) run(a, call);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(fake().launches.back().grid, 7u);
  run(args(1, kLong / 2), call);
  EXPECT_EQ(asked, 2) << "another call";
  run(a);
  EXPECT_EQ(asked, 2) << "a call that says its tuning itself";
  EXPECT_NE(fake().launches.back().grid, 7u);
}

TEST_F(Launch, EachContextLoadsItsOwnKernel) {
  const cumulus_scan_args a = args(1000, 100);
  run(a);
  const int loads = fake().calls["cuModuleLoadDataEx"];
  support::FakeContext other{0, next_id++};
  driver.cuCtxPushCurrent(handle(other));
  run(a);
  EXPECT_EQ(fake().calls["cuModuleLoadDataEx"], loads + 1);
  EXPECT_EQ(fake().launches.back().context, handle(other));
}

TEST_F(Launch, OtherAlignmentsStridesAndTypesAreOtherPlans) {
  run(args(1000, 100));
  cumulus_scan_args a = args(1000, 100);
  a.in = tensor(in + 4);
  run(a);
  a = args(1000, 100);
  a.out = tensor(out, DType::f64);
  run(a);
  a = args(1000, 100);
  const std::int64_t strides[] = {1, 1000};
  a.in.strides = a.out.strides = strides;
  run(a);
  ASSERT_EQ(fake().launches.size(), 4u);
  EXPECT_NE(fake().launches[2].function, fake().launches[0].function);
  EXPECT_NE(fake().launches[3].function, fake().launches[0].function);
}

// Its map says where the tensor lies at this call.
TEST_F(Launch, OnlyTensorCopiesHaveAMap) {
  cumulus_scan_args a = args(kLong / 512, 1024);
  a.axis = 0;
  for (const std::uint64_t further : {0, 4096}) {
    a.in = tensor(in + further);
    run(a);
    const support::FakeTensorMap& map = fake().tensor_maps.back();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(map.address), in + further);
    EXPECT_EQ(map.sizes[0] * kTensorElement, 1024 * sizeof(float));
    EXPECT_EQ(map.sizes[1], static_cast<std::uint64_t>(kLong) / 512);
    EXPECT_EQ(map.strides[0], 1024 * sizeof(float));
  }
  EXPECT_EQ(fake().tensor_maps.size(), 2u);
  EXPECT_EQ(fake().calls["cuModuleLoadDataEx"], 1);
  fake().fail = {{"cuTensorMapEncodeTiled", CUDA_ERROR_INVALID_VALUE}};
  EXPECT_NE(refusal(a).find("cuTensorMapEncodeTiled"), std::string::npos);
  fake().fail.clear();
  run(args(1, kLong));
  EXPECT_EQ(fake().tensor_maps.size(), 2u);
  EXPECT_EQ(fake().calls["cuTensorMapEncodeTiled"], 3);
}

TEST_F(Launch, ManyDimensionsWork) {
  std::int64_t sizes[20], strides[20], stride = 1;
  for (int i = 19; i >= 0; --i) {
    sizes[i] = i % 2 ? 2 : 1 + i % 4 / 2;
    strides[i] = stride * 2;  // gaps, so that nothing merges
    stride = strides[i] * sizes[i];
  }
  cumulus_scan_args a = args(1, 1);
  a.axis = 19;
  for (cumulus_tensor* t : {&a.in, &a.out}) t->shape = sizes, t->strides = strides, t->rank = 20;
  const std::uint64_t wide_in = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, std::size_t{1} << 40);
  const std::uint64_t wide_out = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, std::size_t{1} << 40);
  a.in.data = reinterpret_cast<void*>(wide_in), a.out.data = reinterpret_cast<void*>(wide_out);
  for (int k = 0; k < 3; ++k) run(a);
  EXPECT_EQ(fake().launches.size(), 3u);
}

TEST_F(Launch, NothingToDoLaunchesNothing) {
  run(args(0, 100));
  run(args(100, 0));
  EXPECT_TRUE(fake().launches.empty());
}

TEST_F(Launch, WrongMemoryIsRefusedByName) {
  cumulus_scan_args a = args(10, 100);
  std::vector<float> host(1000);
  a.in.data = host.data();
  EXPECT_NE(refusal(a).find("in: "), std::string::npos);
  a = args(10, 100);
  a.out.data = reinterpret_cast<void*>(fake().add_memory(CU_MEMORYTYPE_DEVICE, 1));
  EXPECT_NE(refusal(a).find("out: "), std::string::npos);
  a = args(10, 100);
  a.mask = tensor(fake().add_memory(CU_MEMORYTYPE_HOST, 0), DType::boolean);
  EXPECT_NE(refusal(a).find("mask: "), std::string::npos);
  EXPECT_TRUE(fake().launches.empty());
  run(args(10, 100));
  EXPECT_EQ(fake().launches.size(), 1u) << "and the library works on";
}

TEST_F(Launch, AHostScalarIsNoDevicePointer) {
  cumulus_scan_args a = args(10, 100);
  const float initial = 3;
  a.initial = {const_cast<float*>(&initial), nullptr, nullptr, 0, CUMULUS_DTYPE_f32, CUMULUS_CPU, 0};
  Call call;
  call.initial_on_host = true;
  run(a, call);
  EXPECT_EQ(fake().launches.size(), 1u);
}

TEST_F(Launch, ADeviceBeforeAmpereIsRefused) {
  DeviceInfo turing = device;
  turing.capability = 75;
  Problem problem;
  canonicalise(args(1, kLong), true, problem);
  try {
    cuda::run(driver, turing, problem, {});
    FAIL() << "it is not refused";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_UNSUPPORTED);
    EXPECT_NE(failure.message.find("7.5, but 8.0 (Ampere)"), std::string::npos) << failure.message;
  }
  EXPECT_TRUE(fake().launches.empty());
}

TEST_F(Launch, AGivenWorkspaceIsUsedAndChecked) {
  const cumulus_scan_args a = args(1, kLong);
  Problem problem;
  canonicalise(a, true, problem);
  const std::int64_t needed = workspace_bytes(problem, device);
  ASSERT_GT(needed, 0);
  Call call;
  const std::uint64_t own = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0);
  call.workspace = {reinterpret_cast<void*>(own), needed};
  run(a, call);
  EXPECT_EQ(fake().launches.back().workspace, own);
  EXPECT_EQ(fake().calls["cuMemAlloc"], 0);
  EXPECT_EQ(fake().calls["cuMemsetD8Async"], 0) << "the caller has zeroed it";
  const auto refused = [&](std::uint64_t address, std::int64_t bytes) {
    call.workspace = {reinterpret_cast<void*>(address), bytes};
    return refusal(a, call);
  };
  const std::string small = refused(own, needed - 1);
  EXPECT_NE(small.find(std::to_string(needed)), std::string::npos) << small;
  EXPECT_NE(refused(own + 8, needed).find("aligned to 16"), std::string::npos);
  const std::string foreign = refused(fake().add_memory(CU_MEMORYTYPE_DEVICE, 1), needed);
  EXPECT_NE(foreign.find("workspace: "), std::string::npos) << foreign;
  EXPECT_NE(foreign.find("device 1"), std::string::npos) << foreign;
  EXPECT_NE(refused(fake().add_memory(CU_MEMORYTYPE_HOST, 0), needed).find("pinned host memory"), std::string::npos);
  EXPECT_EQ(fake().launches.size(), 1u);
  run(args(1, kLong));
  EXPECT_NE(fake().launches.back().workspace, own) << "a given one is not remembered";
}

TEST_F(Launch, AGivenWorkspaceServesACaptureAndIsNotTheGraphs) {
  cumulus_scan_args a = args(1, kLong);
  a.stream = handle(stream);
  support::FakeGraph graph;
  capture(graph);
  Problem problem;
  canonicalise(a, true, problem);
  Call call;
  const std::uint64_t own = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0);
  call.workspace = {reinterpret_cast<void*>(own), workspace_bytes(problem, device)};
  run(a, call);
  EXPECT_EQ(fake().launches.back().workspace, own);
  EXPECT_TRUE(graph.objects.empty());
  EXPECT_EQ(fake().calls["cuMemAlloc"] + fake().calls["cuMemFree"], 0);
}

TEST_F(Launch, EveryFailingCallIsAnErrorAndTheNextOneWorks) {
  int round = 0;
  for (const char* name : {"cuCtxGetCurrent", "cuCtxGetId", "cuStreamGetCtx", "cuPointerGetAttributes", "cuModuleLoadDataEx",
                           "cuModuleGetFunction", "cuFuncGetAttribute", "cuFuncSetAttribute", "cuStreamGetCaptureInfo", "cuStreamGetId",
                           "cuMemAlloc", "cuMemsetD8Async", "cuLaunchKernel"}) {
    support::FakeContext fresh{0, next_id++};  // so that the kernel is loaded and the workspace made again
    support::FakeStream own{&fresh, next_id++};
    cumulus_scan_args a = args(1, kLong);
    a.stream = handle(own);
    fake().fail = {{name, CUDA_ERROR_OUT_OF_MEMORY}};
    EXPECT_NE(refusal(a).find(name), std::string::npos) << name;
    fake().fail.clear();
    run(a);
    EXPECT_EQ(fake().launches.size(), static_cast<std::size_t>(++round)) << name;
    CUcontext current = nullptr;
    driver.cuCtxGetCurrent(&current);
    EXPECT_EQ(current, handle(context)) << name;
  }
}

TEST_F(Launch, OutOfMemoryWhileAWorkspaceGrows) {
  constexpr std::int64_t kRows = 64, kLength = 1 << 24;  // needs more than the workspace that every stream gets
  in = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, 4 * kRows * kLength);
  out = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0, false, 4 * kRows * kLength);
  run(args(1, kLong));
  const std::uint64_t first = fake().launches.back().workspace;
  const cumulus_scan_args large = args(kRows, kLength);
  Problem problem;
  canonicalise(large, true, problem);
  ASSERT_GT(workspace_bytes(problem, device), 1 << 20);
  fake().memory_limit = fake().allocated + 1000;
  try {
    run_or_throw(large);
    ADD_FAILURE() << "it found memory";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY) << failure.message;
    EXPECT_NE(failure.message.find("bytes of workspace"), std::string::npos) << failure.message;
  }
  EXPECT_EQ(fake().launches.size(), 1u);
  run(args(1, kLong));
  EXPECT_EQ(fake().launches.back().workspace, first) << "what there was serves on";
  fake().memory_limit = std::size_t{1} << 40;
  run(args(kRows, kLength));
  EXPECT_NE(fake().launches.back().workspace, first);
}

TEST_F(Launch, CapturedCallsUseTheGraphsWorkspace) {
  cumulus_scan_args a = args(1, kLong);
  a.stream = handle(stream);
  support::FakeGraph graph;
  capture(graph);
  run(a);
  const std::uint64_t captured = fake().launches.back().workspace;
  stream.capture_status = CU_STREAM_CAPTURE_STATUS_NONE;
  run(a);
  EXPECT_NE(fake().launches.back().workspace, captured);
  EXPECT_EQ(graph.objects.size(), 1u);
  fake().end_graph(graph);
}

TEST_F(Launch, FromManyThreads) {
  std::vector<std::thread> threads;
  std::deque<support::FakeStream> streams;
  for (int k = 0; k < 4; ++k) streams.push_back({&context, next_id++});
  cumulus_scan_args a = args(1, kLong);
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&, k] {
      cumulus_scan_args own = a;
      own.stream = handle(streams[static_cast<std::size_t>(k)]);
      Problem problem;
      canonicalise(own, true, problem);
      for (int round = 0; round < 50; ++round) cuda::run(driver, device, problem, {});
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fake().launches.size(), 200u);
  std::set<std::uint64_t> workspaces;
  for (const auto& launch : fake().launches) workspaces.insert(launch.workspace);
  EXPECT_EQ(workspaces.size(), 4u);
}

}  // namespace
