// Tests on a real GPU scan integers, whose result anyone can compute: bits are other tests' matter. Skipped where there is none.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda/launch.h"
#include "error.h"
#include "temporary_folder.h"

namespace gpu_test {

using namespace cumulus;
using namespace cumulus::cuda;

inline constexpr std::int64_t kLong = 3000017;  // a length whose scan needs a workspace

class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    setenv("CUMULUS_CACHE_DIR", (temporary().path + "/cache").c_str(), 0);
    try {
      found = &driver();
    } catch (const Failure& failure) {
      GTEST_SKIP() << failure.message;
    }
    scope.emplace(gpu(), nullptr, 0);
  }
  static support::TemporaryFolder& temporary() {
    static support::TemporaryFolder folder;
    return folder;
  }

  const Driver& gpu() { return *found; }

  // Device memory for n numbers; freed with the test.
  struct Array {
    const Driver& gpu;
    CUdeviceptr address = 0;
    std::int64_t n;
    Array(const Driver& driver, std::int64_t size) : gpu(driver), n(size) {
      EXPECT_EQ(gpu.cuMemAlloc(&address, static_cast<std::size_t>(8 * n)), 0);
    }
    ~Array() { gpu.cuMemFree(address); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;

    void put(const std::vector<std::int64_t>& x) {
      EXPECT_EQ(gpu.cuMemcpyHtoDAsync(address, x.data(), 8 * x.size(), nullptr), 0);
      EXPECT_EQ(gpu.cuCtxSynchronize(), 0);
    }
    std::vector<std::int64_t> get() const {
      std::vector<std::int64_t> x(static_cast<std::size_t>(n));
      EXPECT_EQ(gpu.cuCtxSynchronize(), 0);
      EXPECT_EQ(gpu.cuMemcpyDtoHAsync(x.data(), address, 8 * x.size(), nullptr), 0);
      EXPECT_EQ(gpu.cuCtxSynchronize(), 0);
      return x;
    }
  };

  static std::vector<std::int64_t> numbers(std::int64_t n, std::int64_t start = 0) {
    std::vector<std::int64_t> x(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = (start + i * 7919) % 1000 - 300;
    return x;
  }
  static std::vector<std::int64_t> summed(std::vector<std::int64_t> x) {
    std::partial_sum(x.begin(), x.end(), x.begin());
    return x;
  }

  static void scan(CUdeviceptr in, CUdeviceptr out, std::int64_t n, CUstream stream = nullptr, const Call& call = {}) {
    try {
      scan_or_throw(in, out, n, stream, call);
    } catch (const Failure& failure) {
      ADD_FAILURE() << failure.message;
    }
  }
  static void scan_or_throw(CUdeviceptr in, CUdeviceptr out, std::int64_t n, CUstream stream = nullptr, const Call& call = {}) {
    cumulus_scan_args a{};
    a.struct_size = sizeof a;
    a.stream = stream;
    a.in = {reinterpret_cast<void*>(in), &n, nullptr, 1, CUMULUS_DTYPE_i64, CUMULUS_CUDA, 0};
    a.out = a.in;
    a.out.data = reinterpret_cast<void*>(out);
    Problem problem;
    canonicalise(a, true, problem);
    cuda::run(problem, call);
  }

  const Driver* found = nullptr;
  std::optional<ContextScope> scope;
};

}  // namespace gpu_test
