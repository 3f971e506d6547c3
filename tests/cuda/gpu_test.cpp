// The host side on a real GPU: contexts, streams, caches, failures. Skipped where there is none.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "../cpu/process.h"
#include "cuda/doctor.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/pack.h"
#include "cuda/program.h"
#include "cumulus/cumulus.hpp"
#include "error.h"
#include "gpu_fixture.h"

namespace gpu_test {
namespace {

TEST_F(Gpu, IsDescribed) {
  const DeviceInfo& info = device_info(0);
  EXPECT_GE(info.capability, 80);
  for (const Preset& preset : presets())
    if (preset.device.name == info.name) {
      EXPECT_EQ(info.sms, preset.device.sms);
      EXPECT_EQ(info.l2, preset.device.l2);
      EXPECT_EQ(info.shared_per_block, preset.device.shared_per_block);
      EXPECT_EQ(info.blocks_per_sm, preset.device.blocks_per_sm);
      EXPECT_EQ(info.warps_per_sm, preset.device.warps_per_sm);
    }
  std::size_t free_bytes = 0, total = 0;
  ASSERT_EQ(gpu().cuMemGetInfo(&free_bytes, &total), 0);
  EXPECT_GE(info.memory, static_cast<std::int64_t>(total));
}

TEST_F(Gpu, LaunchStructuresHaveTheDriversLayout) {
  // A launch with an attribute goes wrong if they had not.
  const SourceFile source = {"k.cuh", "extern \"C\" __global__ void mark(unsigned* x) { x[blockIdx.x] = gridDim.x; }\n"};
  const Compiled compiled = Nvrtc(real_system(), usable_nvrtc(find_nvrtc(real_system()), gpu().version).at(0))
                                .compile(source, {}, "mark", device_info(0).capability, {});
  CUmodule module;
  CUfunction function;
  ASSERT_EQ(gpu().cuModuleLoadDataEx(&module, compiled.cubin.data(), 0, nullptr, nullptr), 0);
  ASSERT_EQ(gpu().cuModuleGetFunction(&function, module, "mark"), 0);
  Array x(gpu(), 8);
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  attribute.value.clusterDim = {device_info(0).capability >= 90 ? 2u : 1u, 1, 1};
  const CUlaunchConfig config{16, 1, 1, 1, 1, 1, 0, nullptr, &attribute, 1};
  void* parameters[] = {&x.address};
  ASSERT_EQ(gpu().cuLaunchKernelEx(&config, function, parameters, nullptr), 0);
  EXPECT_EQ(x.get(), std::vector<std::int64_t>(8, 16 | std::int64_t{16} << 32));
  gpu().cuModuleUnload(module);
}

TEST_F(Gpu, ScansOnEveryKindOfStream) {
  const auto x = numbers(kLong), expected = summed(x);
  Array in(gpu(), kLong), out(gpu(), kLong);
  in.put(x);
  CUstream own = nullptr, blocking = nullptr;
  ASSERT_EQ(gpu().cuStreamCreate(&own, CU_STREAM_NON_BLOCKING), 0);
  ASSERT_EQ(gpu().cuStreamCreate(&blocking, CU_STREAM_DEFAULT), 0);
  for (const CUstream stream : {CUstream{nullptr}, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD, own, blocking})
    for (int k = 0; k < 3; ++k) {
      out.put(std::vector<std::int64_t>(static_cast<std::size_t>(kLong), -1));
      scan(in.address, out.address, kLong, stream);
      EXPECT_EQ(out.get(), expected);
    }
  gpu().cuStreamDestroy(own);
  gpu().cuStreamDestroy(blocking);
}

TEST_F(Gpu, SizesGrowAndShrink) {
  Array in(gpu(), kLong), out(gpu(), kLong);
  const auto x = numbers(kLong), expected = summed(x);
  in.put(x);
  for (const std::int64_t n : {std::int64_t{1}, std::int64_t{100}, std::int64_t{5000}, kLong, std::int64_t{70000}, kLong / 2, kLong}) {
    scan(in.address, out.address, n);
    auto got = out.get();
    got.resize(static_cast<std::size_t>(n));
    EXPECT_EQ(got, std::vector(expected.begin(), expected.begin() + n)) << n;
  }
}

TEST_F(Gpu, ThreadsAndStreamsAtOnce) {
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&, thread] {
      const ContextScope own_scope(gpu(), nullptr, 0);
      CUstream stream = nullptr;
      if (thread % 2 == 0) gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
      else stream = CU_STREAM_PER_THREAD;
      const std::int64_t n = kLong - 12345 * thread;
      Array in(gpu(), n), out(gpu(), n);
      const auto x = numbers(n, thread), expected = summed(x);
      in.put(x);
      for (int k = 0; k < 20; ++k) {
        scan(in.address, out.address, n, stream);
        if (k % 5 == 4) wrong += out.get() != expected;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Gpu, WithoutACurrentContextThePrimaryOneServesAndNothingIsLeftCurrent) {
  Array in(gpu(), 1000), out(gpu(), 1000);
  in.put(numbers(1000));
  std::thread([&] {
    CUcontext current = nullptr;
    scan(in.address, out.address, 1000);
    gpu().cuCtxGetCurrent(&current);
    EXPECT_EQ(current, nullptr);
  }).join();
  EXPECT_EQ(out.get(), summed(numbers(1000)));
}

TEST_F(Gpu, WrongMemoryIsRefused) {
  Array good(gpu(), 1000);
  CUdeviceptr managed = 0;
  void* pinned = nullptr;
  ASSERT_EQ(gpu().cuMemHostAlloc(&pinned, 8000, 0), 0);
  std::vector<std::int64_t> host(1000);
  for (void* wrong : {pinned, static_cast<void*>(host.data())}) {
    EXPECT_THROW(scan_or_throw(reinterpret_cast<std::uintptr_t>(wrong), good.address, 1000), Failure);
    EXPECT_THROW(scan_or_throw(good.address, reinterpret_cast<std::uintptr_t>(wrong), 1000), Failure);
  }
  gpu().cuMemFreeHost(pinned);
  good.put(numbers(1000));
  ASSERT_EQ(gpu().cuMemAllocManaged(&managed, 8000, CU_MEM_ATTACH_GLOBAL), 0);
  scan(good.address, managed, 1000);
  ASSERT_EQ(gpu().cuCtxSynchronize(), 0);
  const auto* got = reinterpret_cast<const std::int64_t*>(managed);
  EXPECT_EQ(std::vector(got, got + 1000), summed(numbers(1000)));
  gpu().cuMemFree(managed);
}

TEST_F(Gpu, ADeviceThatDoesNotExistIsRefused) {
  Array x(gpu(), 10);
  Call call;
  call.device = found->devices;
  EXPECT_THROW(scan_or_throw(x.address, x.address, 10, nullptr, call), Failure);
}

TEST_F(Gpu, AGivenWorkspace) {
  Array in(gpu(), kLong), out(gpu(), kLong), workspace(gpu(), 1 << 20);
  in.put(numbers(kLong));
  workspace.put(std::vector<std::int64_t>(1 << 20));
  Call call;
  call.workspace = {reinterpret_cast<void*>(workspace.address), 8 << 20};
  for (int k = 0; k < 3; ++k) scan(in.address, out.address, kLong, nullptr, call);
  EXPECT_EQ(out.get(), summed(numbers(kLong)));
}

TEST_F(Gpu, AWorkspaceOfTheVerySizeThroughTheCInterface) {
  // Long rows, then long columns, then long rows again: one workspace, zeroed once.
  Array in(gpu(), kLong), out(gpu(), kLong);
  in.put(numbers(kLong));
  const std::int64_t rows[] = {1, kLong}, columns[] = {kLong / 32, 32};
  const auto arguments = [&](const std::int64_t* shape, int axis) {
    cumulus_scan_args a{};
    a.struct_size = sizeof a;
    a.axis = axis;
    a.in = {reinterpret_cast<void*>(in.address), shape, nullptr, 2, CUMULUS_DTYPE_i64, CUMULUS_CUDA, 0};
    a.out = a.in;
    a.out.data = reinterpret_cast<void*>(out.address);
    return a;
  };
  std::size_t needed[2] = {};
  cumulus_scan_args scans[] = {arguments(rows, 1), arguments(columns, 0), arguments(rows, 1)};
  ASSERT_EQ(cumulus_workspace_bytes(&scans[0], &needed[0]), CUMULUS_OK) << cumulus_last_error();
  ASSERT_EQ(cumulus_workspace_bytes(&scans[1], &needed[1]), CUMULUS_OK) << cumulus_last_error();
  const std::size_t bytes = std::max(needed[0], needed[1]);
  ASSERT_GT(std::min(needed[0], needed[1]), 0u);
  Array workspace(gpu(), static_cast<std::int64_t>(bytes / 8 + 16));
  workspace.put(std::vector<std::int64_t>(static_cast<std::size_t>(workspace.n), 0));
  const int before = workspace_counts().streams;
  for (cumulus_scan_args& a : scans) {
    a.workspace = reinterpret_cast<void*>(workspace.address), a.workspace_bytes = bytes;
    out.put(std::vector<std::int64_t>(static_cast<std::size_t>(kLong), -1));
    ASSERT_EQ(cumulus_scan(&a), CUMULUS_OK) << cumulus_last_error();
    const auto got = out.get();
    if (a.axis == 1) {
      EXPECT_EQ(got, summed(numbers(kLong)));
      continue;
    }
    std::vector<std::int64_t> expected = numbers(kLong);
    for (std::size_t i = 32; i < static_cast<std::size_t>(kLong / 32 * 32); ++i) expected[i] += expected[i - 32];
    std::fill(expected.begin() + kLong / 32 * 32, expected.end(), -1);
    EXPECT_EQ(got, expected);
  }
  EXPECT_EQ(workspace_counts().streams, before) << "the library made none of its own";
  const auto behind = workspace.get();
  EXPECT_EQ(std::vector(behind.begin() + static_cast<std::ptrdiff_t>(bytes / 8), behind.end()), std::vector<std::int64_t>(16, 0))
      << "written behind its end";
  const auto refused = [&](CUdeviceptr address, std::size_t size, const char* names) {
    cumulus_scan_args a = scans[0];
    a.workspace = reinterpret_cast<void*>(address), a.workspace_bytes = size;
    EXPECT_EQ(cumulus_scan(&a), CUMULUS_INVALID_ARGUMENT);
    EXPECT_NE(std::string(cumulus_last_error()).find(names), std::string::npos) << cumulus_last_error();
  };
  refused(workspace.address, needed[0] - 8, std::to_string(needed[0]).c_str());
  refused(workspace.address + 8, bytes, "aligned");
  alignas(16) static char host[16];
  refused(reinterpret_cast<std::uintptr_t>(host), bytes, "workspace: ");
}

TEST_F(Gpu, HostTensorsOfAnyLayout) {
  // Columns of a 300 x 200 view with gaps, backwards along the axis, in place, with an initial value per column that becomes its total.
  constexpr std::int64_t kRows = 300, kColumns = 200, kRowStep = 512, kColumnStep = 2;
  std::vector<std::int64_t> x(kRows * kRowStep, -7), last(kColumns);
  for (std::int64_t c = 0; c < kColumns; ++c) {
    last[static_cast<std::size_t>(c)] = c;
    for (std::int64_t r = 0; r < kRows; ++r) x[static_cast<std::size_t>(r * kRowStep + c * kColumnStep)] = r * c % 91 - 40;
  }
  auto expected = x, expected_last = last;
  for (std::int64_t c = 0; c < kColumns; ++c)
    for (std::int64_t r = kRows; r-- > 0;)
      expected[static_cast<std::size_t>(r * kRowStep + c * kColumnStep)] = expected_last[static_cast<std::size_t>(c)] +=
          x[static_cast<std::size_t>(r * kRowStep + c * kColumnStep)];
  const std::int64_t shape[] = {kRows, kColumns}, strides[] = {kRowStep, kColumnStep}, columns[] = {kColumns};
  cumulus_scan_args a{};
  a.struct_size = sizeof a;
  a.flags = CUMULUS_REVERSE;
  a.in = {x.data(), shape, strides, 2, CUMULUS_DTYPE_i64, CUMULUS_CPU, 0};
  a.out = a.in;
  a.initial = {last.data(), columns, nullptr, 1, CUMULUS_DTYPE_i64, CUMULUS_CPU, 0};
  a.total = a.initial;
  const HostRunSeconds seconds = run_from_host(a, 0);
  EXPECT_EQ(x, expected);
  EXPECT_EQ(last, expected_last);
  EXPECT_GT(seconds.scan, 0);
  EXPECT_LT(seconds.scan, 0.1);
}

// ---- a device that is busy ----

// A block for each multiprocessor that is to be taken: nothing else fits beside all of its shared memory. It ends when it is told to, and
// after `limit` nanoseconds in any case: what waits for it must not wait for ever.
constexpr SourceFile kHold = {"hold.cuh", R"(
extern "C" __global__ void hold(volatile unsigned* told, unsigned* begun, unsigned* late, unsigned long long limit) {
  if (threadIdx.x != 0) return;
  atomicAdd(begun, 1);
  unsigned long long start, now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(start));
  while (*told == 0) {
    __nanosleep(1000);
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
    if (now - start < limit) continue;
    atomicAdd(late, 1);
    return;
  }
}
)"};

// Holds multiprocessors from begin() to end(). Everything that waits for the whole device is done when it is made, and when it is gone.
class Holder {
 public:
  Holder(const Driver& gpu, std::uint64_t context, const DeviceInfo& device) : gpu_(gpu), shared_(device.shared_per_block) {
    static CubinSource& source = *new CubinSource(real_system(), gpu.version, {{&kHold, 1}, "of hold.cuh"});
    function_ = load_kernel(gpu, source, context, {kHold.name, "hold", {}}, device);
    check(gpu, gpu.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    check(gpu, gpu.cuStreamCreate(&others_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    check(gpu, gpu.cuMemAlloc(&words_, kWords * sizeof(unsigned)), "cuMemAlloc");
    begin(1), end();  // what a driver does at a first launch, it has done
  }
  ~Holder() {
    end();
    gpu_.cuStreamDestroy(stream_), gpu_.cuStreamDestroy(others_);
    gpu_.cuMemFree(words_);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  // Returns when all blocks run: false if they do not in time.
  bool begin(unsigned blocks) {
    const auto start = std::chrono::steady_clock::now();
    tell(0);
    check(gpu_, gpu_.cuStreamSynchronize(others_), "cuStreamSynchronize");
    CUdeviceptr told = words_, begun = words_ + 4, late = words_ + 8;
    unsigned long long limit = kLimit * 1000000000ull;
    void* parameters[] = {&told, &begun, &late, &limit};
    check(gpu_, gpu_.cuLaunchKernel(function_, blocks, 1, 1, 32, 1, 1, static_cast<unsigned>(shared_), stream_, parameters, nullptr),
          "cuLaunchKernel");
    while (word(1) < blocks)
      if (std::chrono::steady_clock::now() - start > std::chrono::seconds(kLimit)) return false;
    return true;
  }
  bool holds() { return word(0) == 0 && word(2) == 0; }
  void end() {
    gpu_.cuMemsetD8Async(words_, 1, sizeof(unsigned), others_);  // if it fails, time runs out
    gpu_.cuStreamSynchronize(others_), gpu_.cuStreamSynchronize(stream_);
  }

 private:
  static constexpr int kWords = 3;  // told to end; blocks that have begun; blocks whose time was over
  static constexpr unsigned kLimit = 20;

  void tell(unsigned char value) {
    check(gpu_, gpu_.cuMemsetD8Async(words_, value, kWords * sizeof(unsigned), others_), "cuMemsetD8Async");
  }
  unsigned word(unsigned k) {
    unsigned value = 0;
    check(gpu_, gpu_.cuMemcpyDtoHAsync(&value, words_ + k * sizeof value, sizeof value, others_), "cuMemcpyDtoHAsync");
    check(gpu_, gpu_.cuStreamSynchronize(others_), "cuStreamSynchronize");
    return value;
  }

  const Driver& gpu_;
  int shared_;
  CUfunction function_ = nullptr;
  CUstream stream_ = nullptr, others_ = nullptr;
  CUdeviceptr words_ = 0;
};

// One scan of floats in device memory, and what the CPU makes of it.
struct FloatScan {
  Tuning tuning;
  std::vector<std::int64_t> shape;
  int axis;
  std::vector<float> expected;
  CUdeviceptr in = 0, out = 0;

  std::size_t count() const {
    return static_cast<std::size_t>(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
  }
  std::size_t bytes() const { return count() * sizeof(float); }
  cumulus_scan_args args(void* from, void* to, Device device) const {
    cumulus_scan_args a{};
    a.struct_size = sizeof a;
    a.axis = axis;
    a.in = {from, shape.data(), nullptr, static_cast<std::int32_t>(shape.size()), CUMULUS_DTYPE_f32, static_cast<std::int32_t>(device), 0};
    a.out = a.in;
    a.out.data = to;
    return a;
  }
  Problem problem(CUstream stream) const {
    cumulus_scan_args a = args(reinterpret_cast<void*>(in), reinterpret_cast<void*>(out), Device::cuda);
    a.stream = stream;
    Problem problem;
    canonicalise(a, true, problem);
    return problem;
  }
};

// Of every layout, in its variants: those that wait for other blocks must not wait for blocks that have no place to run.
std::vector<FloatScan> scans_of_all_layouts(int sms) {
  const auto scan = [](cuda::Layout layout, std::vector<std::int64_t> shape, int axis, cuda::Copies copies = cuda::Copies::plain) {
    FloatScan s{{}, std::move(shape), axis, {}};
    s.tuning.layout = static_cast<int>(layout), s.tuning.copies = static_cast<int>(copies);
    return s;
  };
  using cuda::Layout;
  std::vector<FloatScan> all = {
      scan(Layout::short_rows, {100000, 64}, 1),
      scan(Layout::packed_rows, {100000, 63}, 1),
      scan(Layout::rows, {2000, 5000}, 1),
      scan(Layout::rows, {300, 100000}, 1),
      scan(Layout::spread_rows, {1 << 20}, 0),
      scan(Layout::split_rows, {1 << 23}, 0),
      scan(Layout::split_rows, {5, 1000003}, 1),
      scan(Layout::split_rows, {8 * sms, 9000}, 1),  // each row is one block's
      scan(Layout::columns, {1000, 1001}, 0),
      scan(Layout::column_ring, {1000, 8192}, 0),
      scan(Layout::column_ring, {1000, 8192}, 0, cuda::Copies::tensor),
      scan(Layout::split_columns, {1 << 16, 128}, 0),  // strips that blocks share
      scan(Layout::split_columns, {1 << 16, 128}, 0, cuda::Copies::async),
      scan(Layout::split_columns, {1 << 12, 64 * sms}, 0),  // each strip is one block's
      scan(Layout::split_columns, {1 << 20, 4}, 0),         // few columns
  };
  const std::size_t count = all.size();
  for (std::size_t i = 0; i < count; ++i) {  // the path before Hopper
    all.push_back(all[i]);
    all.back().tuning.capability = 80;
  }
  return all;
}

TEST_F(Gpu, ScansOfEveryLayoutEndWhileOthersHoldMostMultiprocessors) {
  const DeviceInfo& device = device_info(0);
  if (device.sms < 2) GTEST_SKIP() << "one multiprocessor";
  CUstream stream = nullptr;
  ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
  // Once without anybody else: kernels are loaded and workspaces allocated, either of which may wait for all that runs.
  std::vector<FloatScan> scans = scans_of_all_layouts(device.sms);
  const auto run_one = [&](const FloatScan& s) {
    Call call;
    call.tuning = s.tuning;
    cuda::run(s.problem(stream), call);
  };
  for (FloatScan& s : scans) {
    std::vector<float> x(s.count());
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>((i * 7919) % 1000) * 0.37f - 150.0f;
    s.expected.resize(x.size());
    const cumulus_scan_args on_cpu = s.args(x.data(), s.expected.data(), Device::cpu);
    ASSERT_EQ(cumulus_scan(&on_cpu), CUMULUS_OK) << cumulus_last_error();
    ASSERT_EQ(gpu().cuMemAlloc(&s.in, s.bytes()), 0);
    ASSERT_EQ(gpu().cuMemAlloc(&s.out, s.bytes()), 0);
    EXPECT_EQ(make_plan(s.problem(stream), device, s.tuning).layout, static_cast<cuda::Layout>(s.tuning.layout));
    ASSERT_EQ(gpu().cuMemcpyHtoDAsync(s.in, x.data(), s.bytes(), stream), 0);
    run_one(s);
    ASSERT_EQ(gpu().cuMemsetD8Async(s.out, 0xff, s.bytes(), stream), 0);
    ASSERT_EQ(gpu().cuStreamSynchronize(stream), 0);
  }
  {
    Holder holder(gpu(), scope->id(), device);
    ASSERT_TRUE(holder.begin(static_cast<unsigned>(device.sms) - 1)) << "other programs hold the device";
    for (const FloatScan& s : scans) {
      SCOPED_TRACE(std::string(name(static_cast<cuda::Layout>(s.tuning.layout))) + ", " + std::to_string(s.shape[0]) + ", capability " +
                   std::to_string(s.tuning.capability));
      run_one(s);
      std::vector<float> got(s.count());
      ASSERT_EQ(gpu().cuMemcpyDtoHAsync(got.data(), s.out, s.bytes(), stream), 0);
      ASSERT_EQ(gpu().cuStreamSynchronize(stream), 0);
      EXPECT_EQ(std::memcmp(got.data(), s.expected.data(), s.bytes()), 0) << "not the CPU's bits";
      ASSERT_TRUE(holder.holds()) << "it ended only when the others did";
    }
  }
  for (const FloatScan& s : scans) gpu().cuMemFree(s.in), gpu().cuMemFree(s.out);
  gpu().cuStreamDestroy(stream);
}

// ---- failures ----

TEST_F(Gpu, OutOfDeviceMemory) {
  if (!support::in_own_process()) return;
  Array in(gpu(), kLong), out(gpu(), kLong);
  in.put(numbers(kLong));
  scan(in.address, out.address, 100);  // the kernel of the long scan is not loaded yet
  std::vector<CUdeviceptr> hoard;
  for (std::size_t bytes = std::size_t{16} << 30; bytes >= 4096; bytes /= 2)
    for (CUdeviceptr memory; gpu().cuMemAlloc(&memory, bytes) == 0;) hoard.push_back(memory);
  try {
    scan_or_throw(in.address, out.address, kLong);
    ADD_FAILURE() << "it found memory";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_OUT_OF_MEMORY) << failure.message;
    EXPECT_NE(failure.message.find("free device memory"), std::string::npos) << failure.message;
  }
  for (const CUdeviceptr memory : hoard) gpu().cuMemFree(memory);
  scan(in.address, out.address, kLong);
  EXPECT_EQ(out.get(), summed(numbers(kLong)));
}

TEST_F(Gpu, ManyStreamsThatComeAndGo) {
  Array in(gpu(), kLong), out(gpu(), kLong);
  in.put(numbers(kLong));
  for (int k = 0; k < 300; ++k) {
    CUstream stream;
    ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
    scan(in.address, out.address, kLong, stream);
    ASSERT_EQ(gpu().cuStreamSynchronize(stream), 0);
    gpu().cuStreamDestroy(stream);
  }
  EXPECT_EQ(out.get(), summed(numbers(kLong)));
  EXPECT_LE(workspace_counts().streams, 100);
}

TEST_F(Gpu, AKernelFromTheDiskCacheNeverOpensNvrtc) {
  const std::string folder = temporary().path + "/two_processes";
  if (!support::in_own_process(0, "CUMULUS_CACHE_DIR", folder.c_str())) {  // the first one compiles
    support::in_own_process(0, "CUMULUS_CACHE_DIR", folder.c_str());
    return;
  }
  const bool compiled = std::filesystem::exists(std::getenv("CUMULUS_CACHE_DIR"));
  Array x(gpu(), 1000);
  x.put(numbers(1000));
  scan(x.address, x.address, 1000);
  EXPECT_EQ(x.get(), summed(numbers(1000)));
  if (!compiled) return;
  for (const std::string& path : real_system().loaded()) EXPECT_EQ(path.find("nvrtc"), std::string::npos) << path;
}

TEST_F(Gpu, APackServesWithoutNvrtc) {
  const std::string pack = temporary().path + "/kernels.pack";
  if (!std::getenv("CUMULUS_TEST_CHILD")) {
    const std::int64_t n = 1000;
    cumulus_scan_args a{};
    a.struct_size = sizeof a;
    a.in = {nullptr, &n, nullptr, 1, CUMULUS_DTYPE_i64, CUMULUS_CUDA, 0};
    a.out = a.in;
    Problem problem;
    canonicalise(a, false, problem);
    const DeviceInfo& device = device_info(0);
    const std::vector<PackItem> items = {{{kSource, kEntry, definitions(problem, make_plan(problem, device))}, device.capability}};
    std::ofstream(pack, std::ios::binary) << build_pack(cubins(gpu()), items, 1, nullptr).bytes;
    setenv("CUMULUS_PACK", pack.c_str(), 1);
    setenv("CUMULUS_NVRTC", "/nowhere", 1);
    setenv("CUMULUS_CACHE_DIR", "", 1);
  }
  const bool child = support::in_own_process();
  if (!child) {
    for (const char* name : {"CUMULUS_PACK", "CUMULUS_NVRTC"}) unsetenv(name);
    setenv("CUMULUS_CACHE_DIR", (temporary().path + "/cache").c_str(), 1);
    return;
  }
  Array x(gpu(), 1000);
  x.put(numbers(1000));
  scan(x.address, x.address, 1000);
  EXPECT_EQ(x.get(), summed(numbers(1000)));
  try {
    scan_or_throw(x.address, x.address, 100);
    ADD_FAILURE() << "compiled without a compiler";
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("no NVRTC"), std::string::npos) << failure.message;
  }
}

TEST_F(Gpu, WithoutACompilerOnlyWhatIsCompiledRuns) {
  if (!support::in_own_process(0, "CUMULUS_NVRTC", "/nowhere")) return;
  setenv("CUMULUS_CACHE_DIR", "", 1);
  Array x(gpu(), 1000);
  for (int k = 0; k < 2; ++k) {
    try {
      scan_or_throw(x.address, x.address, 1000);
      ADD_FAILURE() << "compiled without a compiler";
    } catch (const Failure& failure) {
      EXPECT_NE(failure.message.find("CUMULUS_NVRTC"), std::string::npos) << failure.message;
    }
  }
  std::vector<std::int64_t> host = numbers(1000);
  std::vector<std::int64_t> result(1000);
  cumulus::scan(cumulus::view(host), cumulus::view(result));
  EXPECT_EQ(result, summed(host)) << "the CPU's backend works on";
}

TEST_F(Gpu, ACacheFolderThatMustNotBeUsedCostsCompilationsOnly) {
  const std::string folder = temporary().path + "/open_to_all";
  std::filesystem::create_directory(folder);
  std::filesystem::permissions(folder, std::filesystem::perms::all);
  if (!support::in_own_process(0, "CUMULUS_CACHE_DIR", folder.c_str())) {
    EXPECT_TRUE(std::filesystem::is_empty(folder));
    return;
  }
  Array x(gpu(), 1000);
  x.put(numbers(1000));
  scan(x.address, x.address, 1000);
  EXPECT_EQ(x.get(), summed(numbers(1000)));
}

TEST_F(Gpu, AForkedChildIsToldAndTheParentWorksOn) {
  if (!support::in_own_process()) return;
  Array x(gpu(), 1000);
  x.put(numbers(1000));
  scan(x.address, x.address, 1000);
  const CUdeviceptr address = x.address;
  const pid_t child = fork();
  if (child == 0) {
    try {
      scan_or_throw(address, address, 1000);
      _exit(1);
    } catch (const Failure& failure) {
      _exit(failure.message.find("forked") != std::string::npos ? 0 : 2);
    }
  }
  EXPECT_EQ(support::wait_for(child, 30), 0);
  EXPECT_EQ(x.get(), summed(numbers(1000)));
  scan(x.address, x.address, 1000);
  EXPECT_EQ(x.get(), summed(summed(numbers(1000))));
}

TEST_F(Gpu, SeveralDevices) {
  if (found->devices < 2) GTEST_SKIP() << "one device";
  Array first_in(gpu(), kLong), first_out(gpu(), kLong);
  first_in.put(numbers(kLong));
  CUcontext current = nullptr;
  ASSERT_EQ(gpu().cuCtxGetCurrent(&current), 0);
  Call on_second;
  on_second.device = 1;
  std::vector<std::int64_t> got;
  CUstream stream = nullptr;
  CUdeviceptr in = 0, out = 0;
  {
    const ContextScope second(gpu(), nullptr, 1);
    Array x(gpu(), kLong), y(gpu(), kLong);
    x.put(numbers(kLong, 5));
    scan(x.address, y.address, kLong, nullptr, on_second);
    EXPECT_EQ(y.get(), summed(numbers(kLong, 5)));
    ASSERT_EQ(gpu().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), 0);
    ASSERT_EQ(gpu().cuMemAlloc(&in, 8 * kLong), 0);
    ASSERT_EQ(gpu().cuMemAlloc(&out, 8 * kLong), 0);
    const auto numbers_of_7 = numbers(kLong, 7);
    ASSERT_EQ(gpu().cuMemcpyHtoDAsync(in, numbers_of_7.data(), 8 * kLong, nullptr), 0);
    ASSERT_EQ(gpu().cuCtxSynchronize(), 0);
  }
  // The first device is current: the second one's stream, and its default stream, still work there.
  for (const CUstream each : {stream, CUstream{nullptr}}) {
    scan(in, out, kLong, each, on_second);
    CUcontext after = nullptr;
    gpu().cuCtxGetCurrent(&after);
    EXPECT_EQ(after, current);
    const ContextScope second(gpu(), nullptr, 1);
    ASSERT_EQ(gpu().cuCtxSynchronize(), 0);
    got.resize(kLong);
    ASSERT_EQ(gpu().cuMemcpyDtoHAsync(got.data(), out, 8 * kLong, nullptr), 0);
    ASSERT_EQ(gpu().cuCtxSynchronize(), 0);
    EXPECT_EQ(got, summed(numbers(kLong, 7)));
  }
  scan(first_in.address, first_out.address, kLong);
  EXPECT_EQ(first_out.get(), summed(numbers(kLong)));
  const auto message = [&](CUdeviceptr from, CUdeviceptr to, CUstream where, const Call& call) {
    try {
      scan_or_throw(from, to, kLong, where, call);
    } catch (const Failure& failure) {
      return failure.message;
    }
    return std::string("nothing was refused");
  };
  EXPECT_NE(message(in, first_out.address, nullptr, {}).find("in: "), std::string::npos) << "tensors on two devices";
  EXPECT_NE(message(first_in.address, out, nullptr, {}).find("out: "), std::string::npos);
  EXPECT_NE(message(in, out, nullptr, {}).find("device 1"), std::string::npos);
  EXPECT_NE(message(first_in.address, first_out.address, stream, {}).find("stream"), std::string::npos);
  const ContextScope second(gpu(), nullptr, 1);
  gpu().cuMemFree(in), gpu().cuMemFree(out), gpu().cuStreamDestroy(stream);
}

TEST_F(Gpu, DoctorIsContent) {
  for (const Finding& finding : doctor(real_system())) EXPECT_NE(finding.state, Finding::fail) << finding.what << ": " << finding.detail;
}

}  // namespace
}  // namespace gpu_test
