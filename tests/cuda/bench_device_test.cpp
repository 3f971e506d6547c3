// What is timed, in which order, and how often, on a driver that writes down what it is asked. No time is looked at: this driver has none.
#include "cuda/bench_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cuda/program.h"
#include "cuda/yardstick_sources.h"
#include "error.h"
#include "fake_device.h"
#include "types.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;
using support::FakeDriver;

std::string record;  // one letter for each call of the driver, of a stream's work
int kernels, nodes;  // launched in the stream, and put into a graph
bool capturing;

CUresult launch(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void**, void**) {
  ++(capturing ? nodes : kernels);
  if (!capturing) record += 'k';
  return CUDA_SUCCESS;
}
CUresult flush(CUdeviceptr, unsigned char, std::size_t, CUstream) { return record += 'f', CUDA_SUCCESS; }
CUresult copy(CUdeviceptr, CUdeviceptr, std::size_t, CUstream) {
  if (!capturing) record += 'c';
  return CUDA_SUCCESS;
}
CUresult event(CUevent, CUstream) { return record += 'e', CUDA_SUCCESS; }
CUresult replay(CUgraphExec, CUstream) { return record += 'g', CUDA_SUCCESS; }
CUresult wait(CUstream) { return record += ' ', CUDA_SUCCESS; }
CUresult begin_capture(CUstream, int) { return capturing = true, CUDA_SUCCESS; }
CUresult end_capture(CUstream, CUgraph*) { return capturing = false, CUDA_SUCCESS; }
CUresult elapsed(float* ms, CUevent, CUevent) { return *ms = 2, CUDA_SUCCESS; }
CUresult function_of(CUfunction* function, CUmodule, const char*) { return *function = nullptr, CUDA_SUCCESS; }

class BenchDevice : public support::FakeDevice {
 protected:
  void SetUp() override {
    FakeDevice::SetUp();
    if (IsSkipped()) return;
    driver.cuLaunchKernel = launch;
    driver.cuMemsetD8Async = flush;
    driver.cuMemcpyDtoDAsync = copy;
    driver.cuEventRecord = event;
    driver.cuGraphLaunch = replay;
    driver.cuStreamSynchronize = wait;
    driver.cuStreamBeginCapture = begin_capture;
    driver.cuStreamEndCapture = end_capture;
    driver.cuEventElapsedTime = elapsed;
    driver.cuModuleGetFunction = function_of;
    record.clear();
    kernels = nodes = 0;
    capturing = false;
  }

  cumulus_tensor tensor(DType dtype) { return {host.data(), shape, nullptr, 1, static_cast<std::int32_t>(dtype), CUMULUS_CPU, 0}; }
  cumulus_scan_args args(std::int64_t n, DType in = DType::f32, DType out = DType::f32) {
    shape[0] = n;
    cumulus_scan_args a{};
    a.struct_size = sizeof a;
    a.in = tensor(in), a.out = tensor(out);
    return a;
  }

  // `scan` is one kernel, 's' in the record.
  std::map<std::string, std::vector<double>> measure(const cumulus_scan_args& a, const GpuEffort& effort) {
    const GpuBench bench(driver, device, cubins(), a, 0, [](const cumulus_scan_args& moved) {
      EXPECT_EQ(moved.out.device, CUMULUS_CUDA);
      ++(capturing ? nodes : kernels);
      if (!capturing) record += 's';
    });
    record.clear();
    std::map<std::string, std::vector<double>> found;
    for (GpuSeries& series : bench.measure(effort)) EXPECT_TRUE(found.emplace(series.name, series.us).second) << series.name;
    return found;
  }

  CubinSource& cubins() {
    static CubinSource source(real_system(), 13000, {yardstick_sources(), yardstick_sources_hash()});
    return source;
  }

  std::vector<char> host = std::vector<char>(64);  // never read: the driver copies nothing
  std::int64_t shape[1] = {};
};

std::set<std::string> names(const std::map<std::string, std::vector<double>>& series) {
  std::set<std::string> found;
  for (const auto& [name, us] : series) found.insert(name);
  return found;
}

TEST_F(BenchDevice, RoundsAreInterleavedAndEachTimingFollowsAFlush) {
  const auto series = measure(args(1 << 26), {.rounds = 3, .seconds = 0});
  EXPECT_EQ(names(series), (std::set<std::string>{"scan", "memcpy", "copy_kernel", "graph"}));
  for (const auto& [name, us] : series) EXPECT_EQ(us, std::vector<double>(3, 2000)) << name;
  const std::string round = "fese fece feke fege ";
  EXPECT_TRUE(record.ends_with("sckg " + round + round + round)) << record;  // before: each once, for nothing
  EXPECT_EQ(nodes, 1);
}

TEST_F(BenchDevice, SmallCallsAreMeasuredWarmInGraphsInBurstsAndByTheHostsClock) {
  const auto series = measure(args(1 << 20), {.rounds = 2, .seconds = 0});
  EXPECT_EQ(names(series), (std::set<std::string>{"scan", "memcpy", "copy_kernel", "memcpy_graph", "graph", "empty", "empty_graph", "burst",
                                                  "empty_burst", "host", "empty_host"}));
  EXPECT_EQ(series.at("scan")[0], 2000);
  EXPECT_EQ(series.at("graph")[0], 20) << "a graph of a hundred calls";
  EXPECT_EQ(series.at("burst")[0], 20);
  EXPECT_GT(series.at("host")[0], 0);
  EXPECT_NE(record.find("fsese fcece "), std::string::npos) << record;
  const std::string burst = "fse" + std::string(100, 's') + "e ", host_calls = std::string(100, 's') + " ";
  EXPECT_NE(record.find(burst), std::string::npos);
  EXPECT_NE(record.find(host_calls), std::string::npos);
  EXPECT_EQ(nodes, 200) << "of the scan and of the empty kernel; the copies' are no kernels";
}

TEST_F(BenchDevice, CopiesCountAsMuchAsTheScanMoves) {
  cumulus_scan_args a = args(1 << 26);
  a.mask = tensor(DType::boolean);
  const auto series = measure(a, {.rounds = 1, .seconds = 0});
  EXPECT_DOUBLE_EQ(series.at("memcpy")[0], 2000 * 9 / 8.0);  // 4 + 1 + 4 bytes of an element, of which a copy of one input moves 8
  EXPECT_DOUBLE_EQ(series.at("copy_kernel")[0], 2000 * 9 / 8.0);
}

TEST_F(BenchDevice, APlainKernelWithTheSameTrafficIsMeasuredWhereACopyHasAnother) {
  cumulus_scan_args a = args(1 << 26);
  a.mask = tensor(DType::f32);
  EXPECT_EQ(measure(a, {.rounds = 1, .seconds = 0}).at("multiply_kernel"), std::vector<double>{2000});
  EXPECT_EQ(measure(args(1 << 26, DType::u8, DType::i64), {.rounds = 1, .seconds = 0}).at("widening_kernel"), std::vector<double>{2000});
  EXPECT_FALSE(measure(args(1 << 26, DType::i32, DType::i64), {.rounds = 1, .seconds = 0}).contains("widening_kernel"));
}

TEST_F(BenchDevice, MemoryIsGivenBackAndItsLackIsSaid) {
  measure(args(1 << 26), {.rounds = 1, .seconds = 0});
  EXPECT_EQ(FakeDriver::get().allocated, 0u);
  FakeDriver::get().memory_limit = 1 << 20;
  try {
    measure(args(1 << 26), {.rounds = 1, .seconds = 0});
    ADD_FAILURE() << "nothing was refused";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY);
    EXPECT_NE(failure.message.find("268435456 bytes"), std::string::npos) << failure.message;
  }
  EXPECT_EQ(FakeDriver::get().allocated, 0u);
}

TEST_F(BenchDevice, AResultIsOverwrittenBeforeItIsMade) {
  const GpuBench bench(driver, device, cubins(), args(16), 0, [](const cumulus_scan_args&) { record += 's'; });
  record.clear();
  bench.result(host.data());
  EXPECT_EQ(record, "fs ");
}

TEST_F(BenchDevice, CeilingsAreOfCopyReadAndWriteOfAGibibyteOrAQuarterOfWhatIsFree) {
  const GpuCeilings ceilings = measure_ceilings(driver, device, cubins(), 0);
  EXPECT_EQ(ceilings.bytes, 1 << 30);
  EXPECT_DOUBLE_EQ(ceilings.copy, 2 * ceilings.read);  // every timing is 2 ms here
  EXPECT_DOUBLE_EQ(ceilings.read, static_cast<double>(1 << 30) / 2e-3);
  EXPECT_DOUBLE_EQ(ceilings.write, ceilings.read);
  EXPECT_NE(record.find("fece fefe feke "), std::string::npos) << record;
  EXPECT_EQ(ceilings.problem, "");
  EXPECT_EQ(FakeDriver::get().allocated, 0u);

  FakeDriver::get().memory_limit = 512 << 20;
  EXPECT_EQ(measure_ceilings(driver, device, cubins(), 0).bytes, 128 << 20);
}

TEST_F(BenchDevice, CeilingsWithoutACompilerLackTheReadRateAndSayWhy) {
  support::FakeSystem nothing;
  CubinSource none(nothing, 13000, {yardstick_sources(), yardstick_sources_hash()});
  support::FakeContext other{0, next_id++};  // where no kernel is loaded yet
  driver.cuCtxPushCurrent(handle(other));
  const GpuCeilings ceilings = measure_ceilings(driver, device, none, 0);
  EXPECT_GT(ceilings.copy, 0);
  EXPECT_GT(ceilings.write, 0);
  EXPECT_EQ(ceilings.read, 0);
  EXPECT_NE(ceilings.problem.find("no NVRTC"), std::string::npos) << ceilings.problem;
}

// Every architecture that scans are compiled for.
TEST(Yardsticks, CompileForEveryArchitecture) {
  if (find_nvrtc(real_system()).empty()) GTEST_SKIP() << "this machine has no NVRTC";
  CubinSource source(real_system(), 13000, {yardstick_sources(), yardstick_sources_hash()});
  for (const int capability : {80, 86, 89, 90, 100, 120})
    for (const char* kernel : {"cumulus_empty", "cumulus_copy", "cumulus_multiply", "cumulus_widen", "cumulus_random", "cumulus_read"}) {
      try {
        EXPECT_GT(source.compile({"yardsticks.cuh", kernel, {}}, capability).code.size(), 500u);
      } catch (const Failure& failure) {
        ADD_FAILURE() << kernel << " for " << capability << ": " << failure.message;
      }
    }
}

}  // namespace
