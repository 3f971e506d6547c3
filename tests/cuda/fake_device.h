// A test's base: kernels are compiled, and launched on a driver that only writes down what it is asked. Skipped where there is no compiler.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "cuda/device.h"
#include "cuda/nvrtc.h"
#include "cuda/system.h"
#include "fake_driver.h"

namespace support {

class FakeDevice : public testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("CUMULUS_CACHE_DIR", "", 1); }  // kernels of tests stay out of the user's cache

  void SetUp() override {
    if (cumulus::cuda::find_nvrtc(cumulus::cuda::real_system()).empty()) GTEST_SKIP() << "this machine has no NVRTC";
    FakeDriver::reset();
    driver = fake_driver();
    driver.cuCtxPushCurrent(handle(context));
  }

  FakeDriver& fake() { return FakeDriver::get(); }

  static inline unsigned long long next_id = 70000;
  FakeContext context{0, next_id++};  // a new one for each test: no kernel is loaded in it yet
  const cumulus::cuda::DeviceInfo device = *cumulus::cuda::find_preset("h200");
  cumulus::cuda::Driver driver{};
};

}  // namespace support
