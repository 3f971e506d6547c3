// CUPTI: where it is found, every way in which it can fail, on a fake library; which metrics the chips have, by a real one where this
// machine has it; and counters of a scan where there is a GPU.
#include "cuda/cupti.h"

#include <glob.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>

#include "cuda/driver.h"
#include "cuda/profile.h"
#include "cumulus/cumulus.hpp"
#include "error.h"
#include "fake_driver.h"
#include "fake_system.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;
using support::FakeLibrary;
using support::FakeSystem;
using support::Paths;
using support::paths;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// --- Finding and opening --------------------------------------------------------------------------------------------------------

TEST(FindCupti, InTheOrderOfPreference) {
  FakeSystem system;
  FakeLibrary loaded;
  system.add("/torch/libcupti.so.12");
  system.add_library("libcupti.so.12", loaded, "/torch/libcupti.so.12");
  system.already_loaded = {"libcupti.so.12"};
  system.own = "/env/lib/python3.12/site-packages/cumulus/lib/libcumulus.so.0";
  system.add("/env/lib/python3.12/site-packages/nvidia/cu13/lib/libcupti.so.13");
  system.add("/env/lib/python3.12/site-packages/nvidia/cuda_cupti/lib/libcupti.so.12");
  system.add("/env/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
  system.variables["CUDA_PATH"] = "/cuda";
  system.add("/cuda/extras/CUPTI/lib64/libcupti.so.2025.1.1");
  system.add_link("/cuda/extras/CUPTI/lib64/libcupti.so.12", "/cuda/extras/CUPTI/lib64/libcupti.so.2025.1.1");
  system.add("/cuda/lib64/libcupti.so.13");
  system.variables["LD_LIBRARY_PATH"] = "/ld";
  system.add("/ld/libcupti.so.13");
  const std::vector<LibraryFile> found = find_cupti(system);
  EXPECT_EQ(paths(found), (Paths{"/torch/libcupti.so.12", "/env/lib/python3.12/site-packages/nvidia/cu13/lib/libcupti.so.13",
                                 "/env/lib/python3.12/site-packages/nvidia/cuda_cupti/lib/libcupti.so.12",
                                 "/cuda/extras/CUPTI/lib64/libcupti.so.2025.1.1", "/cuda/lib64/libcupti.so.13", "/ld/libcupti.so.13"}));
  EXPECT_EQ(found[3].major, 12) << "of CUDA, not of CUPTI's own numbering";
  EXPECT_TRUE(system.opens.empty());
}

TEST(FindCupti, TheVariableDecidesAlone) {
  FakeSystem system;
  system.add("/usr/local/cuda/extras/CUPTI/lib64/libcupti.so.13");
  EXPECT_EQ(find_cupti(system).size(), 1u);
  system.add("/mine/libcupti.so.12");
  system.variables["CUMULUS_CUPTI"] = "/mine";
  EXPECT_EQ(paths(find_cupti(system)), Paths{"/mine/libcupti.so.12"});
}

// --- A library that exists on paper ---------------------------------------------------------------------------------------------

// What it does, and what was asked of it.
struct FakeCupti {
  std::string fails;  // the function that returns `code`
  CUptiResult code = CUPTI_SUCCESS;
  int passes = 3;
  bool endless = false;
  std::size_t dropped = 0, device = 2;
  std::set<std::string> unknown;  // metrics that the chip lacks

  std::vector<std::string> calls;
  std::vector<std::string> collected;  // metrics of the last config
  int submitted = 0, profilers = 0, hosts = 0, ranges = 0;
  bool inside = false;  // between PushRange and PopRange
};
FakeCupti fake;

template <class Params>
CUptiResult call(const char* name, const Params* p) {
  fake.calls.emplace_back(name);
  EXPECT_EQ(p->structSize, struct_size<Params>()) << name;
  EXPECT_EQ(p->pPriv, nullptr) << name;
  return fake.fails == name ? fake.code : CUPTI_SUCCESS;
}
int handle;
template <class Object>
Object object() {
  return reinterpret_cast<Object>(&handle);
}

CUptiResult cuptiGetResultString(CUptiResult result, const char** text) {
  if (result == CUPTI_ERROR_UNKNOWN) return CUPTI_ERROR_INVALID_PARAMETER;  // has no text for it
  *text = "CUPTI_ERROR_OF_THE_TEST";
  return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerInitialize_works(CUpti_Profiler_Initialize_Params&) { return ++fake.profilers, CUPTI_SUCCESS; }
CUptiResult cuptiProfilerDeInitialize_works(CUpti_Profiler_DeInitialize_Params&) { return --fake.profilers, CUPTI_SUCCESS; }
CUptiResult cuptiDeviceGetChipName_works(CUpti_Device_GetChipName_Params& p) {
  EXPECT_EQ(p.deviceIndex, fake.device);
  p.pChipName = "GH100";
  return CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerGetCounterAvailability_works(CUpti_Profiler_GetCounterAvailability_Params& p) {
  if (!p.pCounterAvailabilityImage) p.counterAvailabilityImageSize = 5;
  else p.pCounterAvailabilityImage[4] = 42;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostGetSupportedChips_works(CUpti_Profiler_Host_GetSupportedChips_Params& p) {
  static const char* const kChips[] = {"GA100", "GH100"};
  p.numChips = 2;
  p.ppChipNames = kChips;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostInitialize_works(CUpti_Profiler_Host_Initialize_Params& p) {
  EXPECT_EQ(p.profilerType, CUPTI_PROFILER_TYPE_RANGE_PROFILER);
  p.pHostObject = object<CUpti_Profiler_Host_Object>();
  return ++fake.hosts, CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostDeinitialize_works(CUpti_Profiler_Host_Deinitialize_Params&) { return --fake.hosts, CUPTI_SUCCESS; }
CUptiResult cuptiProfilerHostConfigAddMetrics_works(CUpti_Profiler_Host_ConfigAddMetrics_Params& p) {
  fake.collected.assign(p.ppMetricNames, p.ppMetricNames + p.numMetrics);
  for (const std::string& metric : fake.collected)
    if (fake.unknown.contains(metric)) return CUPTI_ERROR_INVALID_METRIC_NAME;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostGetConfigImageSize_works(CUpti_Profiler_Host_GetConfigImageSize_Params& p) {
  return p.configImageSize = 7, CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostGetConfigImage_works(CUpti_Profiler_Host_GetConfigImage_Params& p) {
  EXPECT_EQ(p.configImageSize, 7u);
  p.pConfigImage[6] = 77;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostGetNumOfPasses_works(CUpti_Profiler_Host_GetNumOfPasses_Params& p) {
  EXPECT_EQ(p.pConfigImage[6], 77);
  p.numOfPasses = static_cast<std::size_t>(fake.passes);
  return CUPTI_SUCCESS;
}
CUptiResult cuptiProfilerHostEvaluateToGpuValues_works(CUpti_Profiler_Host_EvaluateToGpuValues_Params& p) {
  EXPECT_EQ(p.rangeIndex, 0u);
  EXPECT_EQ(p.counterDataImageSize, 11u);
  EXPECT_EQ(p.pCounterDataImage[10], 99) << "the decoded data";
  for (std::size_t i = 0; i < p.numMetrics; ++i) p.pMetricValues[i] = static_cast<double>(std::string(p.ppMetricNames[i]).size());
  return CUPTI_SUCCESS;
}
CUptiResult cuptiRangeProfilerEnable_works(CUpti_RangeProfiler_Enable_Params& p) {
  EXPECT_NE(p.ctx, nullptr);
  p.pRangeProfilerObject = object<CUpti_RangeProfiler_Object>();
  return ++fake.ranges, CUPTI_SUCCESS;
}
CUptiResult cuptiRangeProfilerDisable_works(CUpti_RangeProfiler_Object_Params&) { return --fake.ranges, CUPTI_SUCCESS; }
CUptiResult cuptiRangeProfilerGetCounterDataSize_works(CUpti_RangeProfiler_GetCounterDataSize_Params& p) {
  EXPECT_EQ(p.numMetrics, fake.collected.size());
  EXPECT_EQ(p.maxNumOfRanges, 1u);
  return p.counterDataSize = 11, CUPTI_SUCCESS;
}
std::uint8_t* counter_data;
CUptiResult cuptiRangeProfilerCounterDataImageInitialize_works(CUpti_RangeProfiler_CounterDataImage_Initialize_Params& p) {
  return counter_data = p.pCounterData, CUPTI_SUCCESS;
}
CUptiResult cuptiRangeProfilerSetConfig_works(CUpti_RangeProfiler_SetConfig_Params& p) {
  EXPECT_EQ(p.range, CUPTI_UserRange);
  EXPECT_EQ(p.replayMode, CUPTI_UserReplay);
  EXPECT_EQ(p.configSize, 7u);
  EXPECT_EQ(p.passIndex, 0u) << "the library counts passes itself";
  EXPECT_EQ(p.minNestingLevel, 1);
  EXPECT_EQ(p.targetNestingLevel, 1);
  EXPECT_EQ(p.counterDataImageSize, 11u);
  return CUPTI_SUCCESS;
}
CUptiResult cuptiRangeProfilerStart_works(CUpti_RangeProfiler_Object_Params&) { return CUPTI_SUCCESS; }
CUptiResult cuptiRangeProfilerPushRange_works(CUpti_RangeProfiler_PushRange_Params& p) {
  EXPECT_STREQ(p.pRangeName, "scan");
  return fake.inside = true, CUPTI_SUCCESS;
}
CUptiResult cuptiRangeProfilerPopRange_works(CUpti_RangeProfiler_Object_Params&) { return fake.inside = false, CUPTI_SUCCESS; }
CUptiResult cuptiRangeProfilerStop_works(CUpti_RangeProfiler_Stop_Params& p) {
  p.isAllPassSubmitted = ++fake.submitted >= fake.passes && !fake.endless;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiRangeProfilerDecodeData_works(CUpti_RangeProfiler_DecodeData_Params& p) {
  counter_data[10] = 99;
  return p.numOfRangeDropped = fake.dropped, CUPTI_SUCCESS;
}

#define CUMULUS_CUPTI(name, Params)                               \
  CUptiResult name(Params* p) {                                   \
    if (const CUptiResult result = call(#name, p)) return result; \
    return name##_works(*p);                                      \
  }
#include "cuda/cupti_functions.inc"

FakeLibrary complete_library() {
  FakeLibrary library = {{"cuptiGetResultString", reinterpret_cast<void*>(&cuptiGetResultString)}};
#define CUMULUS_CUPTI(name, Params) library[#name] = reinterpret_cast<void*>(&(name));
#include "cuda/cupti_functions.inc"
  return library;
}

class CuptiOnPaper : public testing::Test {
 protected:
  void SetUp() override {
    fake = {};
    system.add("/lib/libcupti.so.13");
    system.add_library("/lib/libcupti.so.13", library);
  }

  // The failure of what `work` throws; nothing may be left open.
  CuptiFailure failure_of(const std::function<void()>& work) {
    try {
      work();
    } catch (const CuptiFailure& failure) {
      EXPECT_EQ(fake.profilers, 0) << fake.fails;
      EXPECT_EQ(fake.hosts, 0) << fake.fails;
      EXPECT_EQ(fake.ranges, 0) << fake.fails;
      return failure;
    }
    ADD_FAILURE() << "nothing failed: " << fake.fails;
    return {};
  }

  Counters measure(const std::function<void()>& work = [] {}) {
    static constexpr const char* kNames[] = {"a", "bb", "ccc"};
    return measure_counters(
        open_cupti(system, 13000), object<CUcontext>(), 2, kNames, [this] { ++before; }, work);
  }

  FakeSystem system;
  FakeLibrary library = complete_library();
  int before = 0;
};

TEST_F(CuptiOnPaper, RunsTheWorkOnceForEachPass) {
  int inside = 0;
  const Counters counters = measure([&] { inside += fake.inside; });
  EXPECT_EQ(inside, 3);
  EXPECT_EQ(before, 3);
  EXPECT_EQ(counters.passes, 3);
  EXPECT_EQ(counters.chip, "GH100");
  EXPECT_EQ(counters.values, (std::vector<double>{1, 2, 3}));
  EXPECT_TRUE(counters.missing.empty());
  EXPECT_EQ(fake.collected.size(), 3u) << "all metrics at once, so that they share passes";
  EXPECT_EQ(fake.profilers + fake.hosts + fake.ranges, 0) << "everything is closed";
}

TEST_F(CuptiOnPaper, MetricsThatTheChipLacksAreLeftOutAndNamed) {
  fake.unknown = {"bb"};
  const Counters counters = measure();
  EXPECT_EQ(counters.values, (std::vector<double>{1, 3}));
  ASSERT_EQ(counters.missing.size(), 1u);
  EXPECT_STREQ(counters.missing[0], "bb");
  fake = {};
  fake.unknown = {"a", "bb", "ccc"};
  EXPECT_TRUE(has(failure_of([&] { measure(); }).message, "cuptiProfilerHostConfigAddMetrics"));
}

// Every function of the library fails in turn: the message names it, the library and a way out; nothing stays open.
TEST_F(CuptiOnPaper, EveryFunctionMayFail) {
  measure();
  std::vector<std::string> called = fake.calls;
  std::sort(called.begin(), called.end());
  called.erase(std::unique(called.begin(), called.end()), called.end());
  EXPECT_EQ(called.size(), 21u) << "all but the result's text and the list of chips";
  for (const std::string& function : called) {
    if (function.ends_with("Deinitialize") || function.ends_with("DeInitialize") || function.ends_with("Disable")) continue;
    fake = {};
    fake.fails = function;
    fake.code = CUPTI_ERROR_INSUFFICIENT_PRIVILEGES;
    const CuptiFailure failure = failure_of([&] { measure(); });
    EXPECT_EQ(failure.problem, CuptiProblem::no_rights) << function;
    for (const std::string part :
         {function.c_str(), "CUPTI_ERROR_OF_THE_TEST (35", "/lib/libcupti.so.13", "NVreg_RestrictProfilingToAdminUsers=0"})
      EXPECT_TRUE(has(failure.message, part)) << part << " in " << failure.message;
  }
}

TEST_F(CuptiOnPaper, EveryProblemHasItsWayOut) {
  struct Case {
    CUptiResult code;
    CuptiProblem problem;
    const char* part;
  };
  for (const Case& c : {Case{CUPTI_ERROR_INSUFFICIENT_PRIVILEGES, CuptiProblem::no_rights, "--cap-add SYS_ADMIN"},
                        {CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES, CuptiProblem::no_rights, "on the host"},
                        {CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED, CuptiProblem::busy, "another profiler"},
                        {CUPTI_ERROR_HARDWARE_BUSY, CuptiProblem::busy, "dcgmi profiling --pause"},
                        {CUPTI_ERROR_OLD_PROFILER_API_INITIALIZED, CuptiProblem::busy, "another profiler"},
                        {CUPTI_ERROR_NOT_COMPATIBLE, CuptiProblem::unsupported, "CUMULUS_CUPTI"},
                        {CUPTI_ERROR_NOT_SUPPORTED, CuptiProblem::unsupported, "update the driver"},
                        {CUPTI_ERROR_INVALID_CHIP_NAME, CuptiProblem::unsupported, "does not know this GPU"},
                        {CUPTI_ERROR_MIG_DEVICE_NOT_SUPPORTED, CuptiProblem::unsupported, "MIG"},
                        {CUPTI_ERROR_CONFIDENTIAL_COMPUTING_NOT_SUPPORTED, CuptiProblem::unsupported, "onfidential computing"},
                        {CUPTI_ERROR_WSL_DEVICE_NOT_SUPPORTED, CuptiProblem::unsupported, "WSL"},
                        {CUPTI_ERROR_UNKNOWN, CuptiProblem::failed, "an unknown code (999"}}) {
    fake = {};
    fake.fails = "cuptiRangeProfilerEnable";
    fake.code = c.code;
    const CuptiFailure failure = failure_of([&] { measure(); });
    EXPECT_EQ(failure.problem, c.problem) << c.code;
    EXPECT_TRUE(has(failure.message, c.part)) << failure.message;
  }
}

TEST_F(CuptiOnPaper, ALibraryThatNeverFinishesIsStopped) {
  fake.endless = true;
  const CuptiFailure failure = failure_of([&] { measure(); });
  EXPECT_EQ(failure.problem, CuptiProblem::failed);
  EXPECT_TRUE(has(failure.message, "3 passes were planned, 8 made")) << failure.message;
}

TEST_F(CuptiOnPaper, ADroppedRangeIsNoResult) {
  fake.dropped = 1;
  EXPECT_TRUE(has(failure_of([&] { measure(); }).message, "dropped"));
}

TEST_F(CuptiOnPaper, WhatTheWorkThrowsPasses) {
  try {
    measure([] { throw Failure{CUMULUS_DEVICE_ERROR, "the scan's own"}; });
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.message, "the scan's own");
  }
  EXPECT_EQ(fake.profilers + fake.hosts + fake.ranges, 0);
}

TEST_F(CuptiOnPaper, WhatDoesNotOpenSaysWhatToDo) {
  const auto refused = [&](int driver_version, const char* part) {
    const CuptiFailure failure = failure_of([&] { open_cupti(system, driver_version); });
    EXPECT_EQ(failure.problem, CuptiProblem::missing);
    EXPECT_TRUE(has(failure.message, part)) << part << " in " << failure.message;
    EXPECT_TRUE(has(failure.message, "pip install")) << failure.message;
  };
  refused(12080, "newer than the driver's CUDA 12.8");
  library.erase("cuptiRangeProfilerEnable");
  refused(13000, "has no cuptiRangeProfilerEnable; CUPTI of CUDA 12.6 or later");
  system.libraries.clear();
  refused(13000, "does not open");
  system.files.clear();
  refused(13000, "libcupti.so was not found");
}

TEST_F(CuptiOnPaper, TheNextOneIsTakenWhereTheFirstDoesNotServe) {
  FakeLibrary old;
  system.variables["LD_LIBRARY_PATH"] = "/old";
  system.add("/old/libcupti.so.12");
  system.add_library("/old/libcupti.so.12", old);
  EXPECT_EQ(open_cupti(system, 13000).path, "/lib/libcupti.so.13");
}

TEST_F(CuptiOnPaper, ChipsAreListed) { EXPECT_EQ(chips(open_cupti(system, 13000)), (std::vector<std::string>{"GA100", "GH100"})); }

TEST(GpuProfileMetrics, EveryQuantityHasANameOfItsOwn) {
  const std::vector<const char*> names = metric_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  EXPECT_EQ(names.size(), kQuantities + 2u) << "bytes read and written have two names";
}

// --- A scan under the library on paper, on a driver on paper -----------------------------------------------------------------------

class GpuProfileOnPaper : public CuptiOnPaper {
 protected:
  static void SetUpTestSuite() { setenv("CUMULUS_CACHE_DIR", "", 1); }  // kernels of tests stay out of the user's cache

  void SetUp() override {
    if (find_nvrtc(real_system()).empty()) GTEST_SKIP() << "this machine has no NVRTC";
    CuptiOnPaper::SetUp();
    fake.device = 0;
    support::FakeDriver::reset();
    driver = support::fake_driver();
    driver.cuCtxPushCurrent(support::handle(context));
  }

  static support::FakeDriver& fake_gpu() { return support::FakeDriver::get(); }

  GpuProfile profile(int rounds = 2, std::int64_t rows = 64) {
    const std::int64_t shape[] = {rows, 1000};
    const ConstTensorView in(nullptr, DType::f32, Dims{shape, 2});
    const TensorView out(nullptr, DType::f32, Dims{shape, 2});
    ScanSpec spec{.axis = 1, .reverse = true};
    spec.mask = ConstTensorView(nullptr, DType::boolean, Dims{shape, 2});
    return profile_scan(driver, *find_preset("h200"), system, detail::to_c(in, nullptr, out, spec), 0, rounds);
  }

  static inline unsigned long long next_id = 90000;
  support::FakeContext context{0, next_id++};
  Driver driver{};
};

TEST_F(GpuProfileOnPaper, TimesCountsAndFreesEverything) {
  const std::size_t allocated = fake_gpu().allocated;
  const GpuProfile measured = profile();
  EXPECT_EQ(measured.scan_ms.size(), 2u);
  EXPECT_EQ(measured.copy_ms.size(), 2u);
  EXPECT_EQ(measured.copied, 2 * 64 * 1000 * 4);
  EXPECT_EQ(measured.plan.bytes_required, 64 * 1000 * 9);
  ASSERT_TRUE(measured.counters) << measured.why_no_counters;
  EXPECT_EQ(measured.counters->passes, 3);
  for (int q = 0; q < kQuantities; ++q)
    EXPECT_EQ(measured.counters->values[static_cast<std::size_t>(q)], std::string(kQuantityNames[q].metric).size()) << q;
  EXPECT_EQ(fake_gpu().launches.size(), 1u + 2 + 3) << "a first one, the rounds, the passes";
  EXPECT_EQ(fake_gpu().calls["cuMemFree"], fake_gpu().calls["cuMemAlloc"]);
  EXPECT_EQ(fake_gpu().calls["cuEventDestroy"], fake_gpu().calls["cuEventCreate"]);
  EXPECT_EQ(fake_gpu().calls["cuStreamDestroy"], 1);
  EXPECT_EQ(fake_gpu().allocated, allocated);
}

TEST_F(GpuProfileOnPaper, ANameOfAnotherArchitectureServes) {
  fake.unknown = {kQuantityNames[static_cast<int>(Quantity::bytes_read)].metric, kQuantityNames[0].metric};
  const GpuProfile measured = profile();
  ASSERT_TRUE(measured.counters);
  EXPECT_EQ((*measured.counters)[Quantity::bytes_read],
            std::string(kQuantityNames[static_cast<int>(Quantity::bytes_read)].otherwise).size());
  EXPECT_FALSE((*measured.counters)[Quantity::sm]);
}

// No library, no rights, another profiler: times remain, and the reason.
TEST_F(GpuProfileOnPaper, WithoutCountersTimesRemain) {
  for (const auto& [code, part] : {std::pair{CUPTI_ERROR_INSUFFICIENT_PRIVILEGES, "NVreg_RestrictProfilingToAdminUsers=0"},
                                   {CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED, "another profiler"}}) {
    for (const char* function : {"cuptiProfilerInitialize", "cuptiProfilerGetCounterAvailability", "cuptiRangeProfilerStart"}) {
      fake = {};
      fake.device = 0;
      fake.fails = function;
      fake.code = code;
      const GpuProfile measured = profile();
      EXPECT_FALSE(measured.counters);
      EXPECT_TRUE(has(measured.why_no_counters, part)) << measured.why_no_counters;
      EXPECT_EQ(measured.scan_ms.size(), 2u);
    }
  }
  system.files.clear();
  const GpuProfile measured = profile();
  EXPECT_FALSE(measured.counters);
  EXPECT_TRUE(has(measured.why_no_counters, "libcupti.so was not found")) << measured.why_no_counters;
  EXPECT_EQ(measured.scan_ms.size(), 2u);
}

TEST_F(GpuProfileOnPaper, TooLargeATensorSaysSoAndLeavesNothing) {
  fake_gpu().memory_limit = 1 << 20;
  try {
    profile(2, 4096);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY);
    EXPECT_TRUE(has(failure.message, "16384000 bytes for a tensor")) << failure.message;
  }
  EXPECT_EQ(fake_gpu().allocated, 0u);
  EXPECT_EQ(fake_gpu().calls["cuStreamDestroy"], 1);
}

TEST_F(GpuProfileOnPaper, NothingToScanIsRefused) {
  try {
    profile(2, 0);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_INVALID_ARGUMENT);
  }
  EXPECT_EQ(fake_gpu().calls["cuMemAlloc"], 0);
}

// --- The host half of a real library: no GPU needed -----------------------------------------------------------------------------

// Libraries of this machine: those that a program finds, and those of the Python tests' environments.
std::vector<LibraryFile> real_libraries() {
  std::vector<LibraryFile> found = find_cupti(real_system());
  const std::string environments = std::string(CUMULUS_TEST_DATA) + "/../../build/python/venv-*/lib/python3*/site-packages/";
  for (const char* place :
       {"nvidia/cu*/lib/libcupti.so.1?", "nvidia/cuda_cupti/lib/libcupti.so.1?", "triton/backends/nvidia/lib/cupti/libcupti.so.1?"}) {
    glob_t matches{};
    if (glob((environments + place).c_str(), 0, nullptr, &matches) == 0)
      for (std::size_t i = 0; i < matches.gl_pathc; ++i) found.push_back({matches.gl_pathv[i], "the Python tests", 0, 1, 1});
    globfree(&matches);
  }
  return found;
}

// Some releases (13.2) recurse without end where there is no driver, even for the host half: a child finds out.
bool works_here(const LibraryFile& file) {
  const pid_t child = fork();
  if (child == 0) {
    close(STDERR_FILENO);
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    try {
      _exit(chips(open_cupti(real_system(), file)).empty() ? 1 : 0);
    } catch (...) {
      _exit(1);
    }
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class RealCupti : public testing::Test {
 protected:
  void SetUp() override {
    const std::vector<LibraryFile> found = real_libraries();
    if (found.empty()) GTEST_SKIP() << "this machine has no CUPTI: pip install nvidia-cuda-cupti and name its file in CUMULUS_CUPTI";
    for (const LibraryFile& file : found)
      if (works_here(file)) {
        cupti = std::make_unique<Cupti>(open_cupti(real_system(), file));
        RecordProperty("cupti", file.path);
        return;
      }
    GTEST_SKIP() << found.size() << " CUPTI found, the first " << found[0].path
                 << ", but none lists its chips without a driver (13.2 does not; 12.8 and 13.0 do, but not under sanitizers, which refuse "
                    "RTLD_DEEPBIND)";
  }
  std::unique_ptr<Cupti> cupti;
};

// The chips of the models that Cumulus knows, and some of their kin.
constexpr const char* kChips[] = {"GA100", "GA102", "AD102", "AD104", "GH100", "GB100", "GB202"};

TEST_F(RealCupti, EveryChipHasTheMetrics) {
  const std::vector<std::string> known = chips(*cupti);
  int checked = 0;
  for (const char* chip : kChips) {
    if (std::find(known.begin(), known.end(), chip) == known.end()) continue;
    ++checked;
    const CounterPlan plan = plan_counters(*cupti, chip, metric_names());
    const auto lacks = [&](const char* metric) {
      return std::any_of(plan.missing.begin(), plan.missing.end(), [&](const char* name) { return std::string(name) == metric; });
    };
    for (const QuantityNames& quantity : kQuantityNames)
      EXPECT_TRUE(!lacks(quantity.metric) || (quantity.otherwise && !lacks(quantity.otherwise))) << chip << " " << quantity.metric;
    EXPECT_GE(plan.passes, 1) << chip;
    EXPECT_LE(plan.passes, 12) << chip << ": more passes than a profile is worth";
  }
  EXPECT_GE(checked, 4);
}

TEST_F(RealCupti, PassesOfTheDocumentsMetrics) {
  const std::vector<const char*> five = {kQuantityNames[0].metric, kQuantityNames[1].metric, kQuantityNames[2].metric,
                                         kQuantityNames[3].metric, kQuantityNames[4].metric};
  const std::map<std::string, int> expected = {{"GA100", 6}, {"GA102", 7}, {"AD102", 7}, {"GH100", 9}, {"GB100", 8}, {"GB202", 9}};
  const std::vector<std::string> known = chips(*cupti);
  for (const auto& [chip, passes] : expected) {
    if (std::find(known.begin(), known.end(), chip) != known.end()) {
      EXPECT_NEAR(plan_counters(*cupti, chip, five).passes, passes, 2) << chip << ": 12.8 and 13.0 say " << passes;
    }
  }
}

TEST_F(RealCupti, NoChipHasTheDeadMetric) {
  const char* names[] = {"smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct", kQuantityNames[0].metric};
  for (const char* chip : kChips) {
    const CounterPlan plan = plan_counters(*cupti, chip, names);
    ASSERT_EQ(plan.missing.size(), 1u) << chip;
    EXPECT_STREQ(plan.missing[0], names[0]) << chip;
  }
}

TEST_F(RealCupti, AnUnknownChipIsAnError) { EXPECT_THROW(plan_counters(*cupti, "GX000", metric_names()), CuptiFailure); }

// --- A real GPU -----------------------------------------------------------------------------------------------------------------

TEST(GpuProfileOnDevice, CountsWhatAScanMoves) {
  try {
    driver();
  } catch (const Failure& failure) {
    GTEST_SKIP() << failure.message;
  }
  const std::int64_t shape[] = {8192, 16384};  // four times the largest L2 cache and more
  const ConstTensorView in(nullptr, DType::f32, Dims{shape, 2});
  const TensorView out(nullptr, DType::f32, Dims{shape, 2});
  const GpuProfile profile = profile_scan(detail::to_c(in, nullptr, out, {.axis = 1}), 0, 3);
  EXPECT_EQ(profile.plan.bytes_required, 2 * 4 * shape[0] * shape[1]);
  EXPECT_EQ(profile.scan_ms.size(), 3u);
  EXPECT_GT(profile.registers, 0);
  EXPECT_EQ(profile.spilled, 0);
  EXPECT_GE(profile.blocks_per_sm, 1);
  if (!profile.counters) GTEST_SKIP() << "timing works; no counters: " << profile.why_no_counters;
  const MeasuredCounters& counters = *profile.counters;
  for (int q = 0; q < kQuantities; ++q) EXPECT_TRUE(counters.values[static_cast<std::size_t>(q)]) << kQuantityNames[q].metric;
  EXPECT_GE(counters.passes, 1);
  const double moved = *counters[Quantity::bytes_read] + *counters[Quantity::bytes_written];
  EXPECT_NEAR(moved / static_cast<double>(profile.plan.bytes_required), 1, 0.15) << "one pass over memory";
  EXPECT_GT(*counters[Quantity::dram], 0);
  EXPECT_LE(*counters[Quantity::dram], 120);
}

}  // namespace
