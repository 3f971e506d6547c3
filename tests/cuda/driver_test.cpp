// The driver: found or not, for every reason; its errors; contexts and pointers. On a machine that exists on paper only.
#include "cuda/driver.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "../cpu/process.h"
#include "error.h"
#include "fake_driver.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;
using support::FakeDriver;
using support::FakeLibrary;
using support::FakeSystem;

Failure failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Failure& failure) {
    return failure;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

// Every part of `parts` is in `text`.
testing::AssertionResult says(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    if (text.find(part) == std::string::npos) return testing::AssertionFailure() << "\"" << text << "\" does not say \"" << part << "\"";
  return testing::AssertionSuccess();
}

class Open : public testing::Test {
 protected:
  void SetUp() override { FakeDriver::reset(); }

  FakeDriver& fake() { return FakeDriver::get(); }
  FakeSystem system;
};

TEST_F(Open, Works) {
  system.add_library("libcuda.so.1", support::fake_libcuda(), "/usr/lib/libcuda.so.580.1");
  const OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::none) << opened.message;
  EXPECT_EQ(opened.driver.version, 13000);
  EXPECT_EQ(opened.driver.devices, 2);
  EXPECT_EQ(opened.driver.path, "/usr/lib/libcuda.so.580.1");
  EXPECT_FALSE(opened.driver.wsl);
}

TEST_F(Open, NoLibrary) {
  const OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::no_library);
  EXPECT_TRUE(says(opened.message, {"no CUDA driver", "libcuda.so.1", "install", "--gpus", "CPU"}));
}

TEST_F(Open, OnWslItIsFoundWithoutTheLoader) {
  system.add_library("/usr/lib/wsl/lib/libcuda.so.1", support::fake_libcuda());
  const OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::none) << opened.message;
  EXPECT_TRUE(opened.driver.wsl);
}

int stub_init(unsigned) { return 34; }
int stub_version(int* version) { return *version = 0, 34; }

TEST_F(Open, AStubIsRecognisedAndTheRealOneLookedForBehindIt) {
  FakeLibrary stub = {{"cuInit", reinterpret_cast<void*>(&stub_init)}, {"cuDriverGetVersion", reinterpret_cast<void*>(&stub_version)}};
  system.add_library("libcuda.so.1", stub, "/usr/local/cuda/lib64/stubs/libcuda.so");
  OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::stub);
  EXPECT_TRUE(says(opened.message, {"/usr/local/cuda/lib64/stubs/libcuda.so", "stub", "LD_LIBRARY_PATH"}));

  system.add_library("/usr/lib/x86_64-linux-gnu/libcuda.so.1", support::fake_libcuda());
  opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::none) << opened.message;
  EXPECT_EQ(opened.driver.path, "/usr/lib/x86_64-linux-gnu/libcuda.so.1");
}

TEST_F(Open, SomethingElseOfThatName) {
  FakeLibrary other;
  system.add_library("libcuda.so.1", other, "/opt/odd/libcuda.so.1");
  const OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::no_library);
  EXPECT_TRUE(says(opened.message, {"/opt/odd/libcuda.so.1", "cuInit"}));
}

TEST_F(Open, TooOld) {
  system.add_library("libcuda.so.1", support::fake_libcuda());
  fake().version = 11080;
  OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::too_old);
  EXPECT_TRUE(says(opened.message, {"CUDA 11.8", "12.0", "update"}));
  fake().version = 12000;
  fake().missing = {"cuStreamGetId"};
  opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::too_old);
  EXPECT_TRUE(says(opened.message, {"cuStreamGetId", "update"}));
  fake().missing.clear();
  EXPECT_EQ(open_driver(system).problem, DriverProblem::none) << "12.0 has every function, in the version that is asked for";
}

TEST_F(Open, NoDeviceForEachReason) {
  system.add_library("libcuda.so.1", support::fake_libcuda());
  fake().init_result = CUDA_ERROR_NO_DEVICE;
  EXPECT_TRUE(says(open_driver(system).message, {"/dev/nvidiactl", "--gpus"}));
  for (const char* visible : {"", "-1", "0"}) {
    system.variables["CUDA_VISIBLE_DEVICES"] = visible;
    EXPECT_TRUE(says(open_driver(system).message, {"/dev/nvidiactl", "--gpus", "CUDA_VISIBLE_DEVICES"})) << "\"" << visible << "\"";
  }
  system.variables.erase("CUDA_VISIBLE_DEVICES");
  system.add("/dev/nvidiactl");
  OpenedDriver opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::no_device);
  EXPECT_TRUE(says(opened.message, {"no device", "nvidia-smi"}));
  system.variables["CUDA_VISIBLE_DEVICES"] = "-1";
  EXPECT_TRUE(says(open_driver(system).message, {"CUDA_VISIBLE_DEVICES", "-1", "hides them all", "unset"}));
  system.variables["CUDA_VISIBLE_DEVICES"] = "1";
  EXPECT_TRUE(says(open_driver(system).message, {"nvidia-smi", "--gpus", "CUDA_VISIBLE_DEVICES", "may hide"}));
  fake().init_result = 0;
  fake().devices = 0;
  opened = open_driver(system);
  EXPECT_EQ(opened.problem, DriverProblem::no_device);
  EXPECT_TRUE(says(opened.message, {"CUDA_VISIBLE_DEVICES"}));
}

TEST_F(Open, OtherFailuresOfInit) {
  system.add_library("libcuda.so.1", support::fake_libcuda(), "/usr/lib/libcuda.so.1");
  const auto message_of = [&](int result) {
    fake().init_result = result;
    const OpenedDriver opened = open_driver(system);
    EXPECT_EQ(opened.problem, DriverProblem::init_failed);
    EXPECT_EQ(opened.result, result);
    return opened.message;
  };
  EXPECT_TRUE(says(message_of(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH), {"/usr/lib/libcuda.so.1", "kernel module", "reboot"}));
  EXPECT_TRUE(says(message_of(CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE), {"forward compatibility"}));
  EXPECT_TRUE(says(message_of(CUDA_ERROR_SYSTEM_NOT_READY), {"fabricmanager"}));
  EXPECT_TRUE(says(message_of(CUDA_ERROR_NOT_INITIALIZED), {"forked", "spawn"}));
  EXPECT_TRUE(says(message_of(999), {"cuInit", "999", "nvidia-smi"}));
}

class WithDriver : public testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::reset();
    driver = support::fake_driver();
  }

  FakeDriver& fake() { return FakeDriver::get(); }
  CUcontext current() {
    CUcontext context = nullptr;
    driver.cuCtxGetCurrent(&context);
    return context;
  }

  Driver driver{};
};

using Errors = WithDriver;

TEST_F(Errors, NameCallCodeRuleAndWayOut) {
  const Failure failure = failure_of([&] { fail_driver(driver, CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc", "4096 bytes of workspace"); });
  EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY);
  EXPECT_TRUE(says(failure.message,
                   {"cuMemAlloc", "4096 bytes of workspace", "CUDA_ERROR_OUT_OF_MEMORY", "2", "out of memory", "free device memory"}));
  for (int code : {1, 3, 4, 34, 46, 100, 101, 200, 201, 209, 400, 600, 700, 701, 709, 800, 801, 900, 901, 906, 999, 12345}) {
    const Failure other = failure_of([&] { fail_driver(driver, code, "cuSomething"); });
    EXPECT_NE(other.status, CUMULUS_OK);
    EXPECT_TRUE(says(other.message, {"cuSomething", std::to_string(code).c_str(), ": "}));
  }
}

using Device = WithDriver;

TEST_F(Device, IsDescribedByTheDriverAndItsDataSheet) {
  const DeviceInfo info = query_device(driver, 1);
  EXPECT_EQ(info, *find_preset("h200")) << "the fake driver answers as an H200's does";
  fake().device_name = "NVIDIA H200 MIG 1g.18gb";
  EXPECT_EQ(query_device(driver, 0).bandwidth, std::int64_t{2} * 3201000 * 1000 * 6144 / 8) << "clock and width, when the model is unknown";
}

TEST_F(Device, ThatDoesNotExist) {
  for (int ordinal : {-1, 2, 1000}) {
    const Failure failure = failure_of([&] { query_device(driver, ordinal); });
    EXPECT_EQ(failure.status, CUMULUS_INVALID_ARGUMENT);
    EXPECT_TRUE(says(failure.message, {std::to_string(ordinal).c_str(), "2 CUDA devices"}));
  }
}

using Context = WithDriver;

TEST_F(Context, TheCallersIsUsedAndNothingChanges) {
  support::FakeContext own{1, 77};
  driver.cuCtxPushCurrent(handle(own));
  {
    const ContextScope scope(driver, nullptr, 1);
    EXPECT_EQ(current(), handle(own));
    EXPECT_EQ(scope.id(), 77u);
  }
  EXPECT_EQ(current(), handle(own));
  EXPECT_EQ(fake().calls["cuCtxPushCurrent"], 1);
}

TEST_F(Context, WithoutOneOrOnAnotherDeviceThePrimaryIsUsed) {
  {
    const ContextScope scope(driver, CU_STREAM_LEGACY, 0);
    EXPECT_EQ(current(), handle(fake().primary[0]));
  }
  EXPECT_EQ(current(), nullptr);
  support::FakeContext own{1, 78};
  driver.cuCtxPushCurrent(handle(own));
  {
    const ContextScope scope(driver, CU_STREAM_PER_THREAD, 0);
    EXPECT_EQ(current(), handle(fake().primary[0]));
    EXPECT_EQ(scope.id(), fake().primary[0].id);
  }
  EXPECT_EQ(current(), handle(own));
}

TEST_F(Context, AStreamBringsItsOwn) {
  support::FakeContext own{1, 79}, other{1, 80};
  support::FakeStream stream{&own, 1};
  driver.cuCtxPushCurrent(handle(other));
  {
    const ContextScope scope(driver, handle(stream), 1);
    EXPECT_EQ(current(), handle(own));
    EXPECT_EQ(scope.id(), 79u);
  }
  EXPECT_EQ(current(), handle(other));
}

TEST_F(Context, AStreamOfAnotherDeviceIsRefused) {
  support::FakeContext own{1, 81};
  support::FakeStream stream{&own, 1};
  const Failure failure = failure_of([&] { const ContextScope scope(driver, handle(stream), 0); });
  EXPECT_EQ(failure.status, CUMULUS_INVALID_ARGUMENT);
  EXPECT_TRUE(says(failure.message, {"stream", "device 1", "device 0"}));
  EXPECT_EQ(current(), nullptr) << "what was current before is so again";
}

TEST_F(Context, FailuresLeaveTheCallersCurrent) {
  support::FakeContext own{0, 82}, other{0, 83};
  support::FakeStream stream{&own, 1};
  driver.cuCtxPushCurrent(handle(other));
  for (const char* call : {"cuStreamGetCtx", "cuCtxGetId", "cuCtxGetDevice"}) {
    fake().fail = {{call, CUDA_ERROR_INVALID_HANDLE}};
    const Failure failure = failure_of([&] { const ContextScope scope(driver, handle(stream), 0); });
    EXPECT_TRUE(says(failure.message, {call}));
    fake().fail.clear();
    EXPECT_EQ(current(), handle(other)) << call;
  }
}

TEST_F(Context, RelaxedCapturePutsTheModeBack) {
  fake().capture_mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
  {
    const RelaxedCapture relaxed(driver);
    EXPECT_EQ(fake().capture_mode, CU_STREAM_CAPTURE_MODE_RELAXED);
  }
  EXPECT_EQ(fake().capture_mode, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
}

using Pointers = WithDriver;

TEST_F(Pointers, WrongKindsAreRefusedClearly) {
  const auto at = [](std::uint64_t address) { return reinterpret_cast<const void*>(address); };
  const std::uint64_t device = fake().add_memory(CU_MEMORYTYPE_DEVICE, 0), pinned = fake().add_memory(CU_MEMORYTYPE_HOST, 0),
                      managed = fake().add_memory(CU_MEMORYTYPE_HOST, 1, true), far = fake().add_memory(CU_MEMORYTYPE_DEVICE, 1);
  check_pointer(driver, at(device), 0, "in");
  check_pointer(driver, at(device + 12345), 0, "in");
  check_pointer(driver, at(managed), 0, "in");
  check_pointer(driver, at(managed), 1, "in");

  Failure failure = failure_of([&] { check_pointer(driver, at(far), 0, "mask"); });
  EXPECT_EQ(failure.status, CUMULUS_INVALID_ARGUMENT);
  EXPECT_TRUE(says(failure.message, {"mask", "device 1", "device 0", "move"}));
  failure = failure_of([&] { check_pointer(driver, at(pinned), 0, "out"); });
  EXPECT_TRUE(says(failure.message, {"out", "pinned host memory", "copy"}));
  int ordinary = 0;
  failure = failure_of([&] { check_pointer(driver, &ordinary, 0, "in2"); });
  EXPECT_TRUE(says(failure.message, {"in2", "no CUDA memory", "CPU"}));
}

// ---- this machine ----

TEST(ThisMachine, NoCudaLibraryIsALinkDependency) {
  if (!support::in_own_process()) return;
  for (const std::string& path : real_system().loaded())
    for (const char* name : {"libcuda", "libnvrtc", "libcudart"}) EXPECT_EQ(path.find(name), std::string::npos) << path;
}

TEST(ThisMachine, EitherHasADriverOrSaysWhyNotEachTime) {
  std::string message;
  for (int k = 0; k < 3; ++k) {
    try {
      EXPECT_GE(driver().version, kLeastDriver);
      EXPECT_GT(device_info(0).sms, 0);
      EXPECT_EQ(&driver(), &driver());
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, CUMULUS_DEVICE_ERROR);
      EXPECT_TRUE(says(failure.message, {": "}));
      if (k > 0) {
        EXPECT_EQ(failure.message, message);
      }
      message = failure.message;
    }
  }
}

TEST(ThisMachine, AForkedChildIsTold) {
  if (!support::in_own_process()) return;
  try {
    driver();
  } catch (const Failure&) {
    GTEST_SKIP() << "no driver here";
  }
  const pid_t child = fork();
  if (child == 0) {
    try {
      driver();
      _exit(1);
    } catch (const Failure& failure) {
      _exit(says(failure.message, {"forked", "spawn"}) ? 0 : 2);
    }
  }
  EXPECT_EQ(support::wait_for(child, 30), 0);
}

}  // namespace
