#include "cuda/profile.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <string_view>

#include <fmt/format.h>

#include "cuda/cupti.h"
#include "cuda/launch.h"
#include "cuda/program.h"
#include "error.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

std::int64_t bytes_of(const cumulus_tensor& t) {
  std::int64_t size = bytes(static_cast<DType>(t.dtype));
  for (int i = 0; i < t.rank; ++i) size *= t.shape[i];
  return size;
}

// Random elements: reals in [1/2, 1), any integers, bools. Constant data would be kinder to the memory than real data is.
std::vector<std::uint64_t> random_block(DType dtype, std::size_t words) {
  std::uint64_t random = ~std::uint64_t{0}, fixed = 0;
  switch (dtype) {
    case DType::f16:
      random = 0x03ff'03ff'03ff'03ff, fixed = 0x3800'3800'3800'3800;
      break;
    case DType::bf16:
      random = 0x007f'007f'007f'007f, fixed = 0x3f00'3f00'3f00'3f00;
      break;
    case DType::f32:
    case DType::c64:
      random = 0x007f'ffff'007f'ffff, fixed = 0x3f00'0000'3f00'0000;
      break;
    case DType::f64:
    case DType::c128:
      random = 0x000f'ffff'ffff'ffff, fixed = 0x3fe0'0000'0000'0000;
      break;
    case DType::boolean:
      random = 0x0101'0101'0101'0101;
      break;
    default:
      break;
  }
  std::vector<std::uint64_t> block(words);
  std::uint64_t state = 88172645463325252;  // xorshift64
  for (std::uint64_t& word : block) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    word = (state & random) | fixed;
  }
  return block;
}

// A stream, and the tensors of a scan in device memory.
class Session {
 public:
  Session(const Driver& driver, int device, std::int64_t l2, const cumulus_scan_args& args)
      : driver_(driver), scope_(driver, nullptr, device), args_(args), device_(device) {
    try {
      check(driver, driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
      args_.stream = stream;
      for (cumulus_tensor* t : {&args_.in, &args_.in2, &args_.mask, &args_.out}) place(*t, t != &args_.out);
      scratch_bytes_ = static_cast<std::size_t>(2 * l2);
      scratch_ = allocate(scratch_bytes_, "a buffer that flushes the L2 cache");
      wait();
    } catch (...) {
      release();
      throw;
    }
  }
  ~Session() { release(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const cumulus_scan_args& args() const { return args_; }
  std::uint64_t context_id() const { return scope_.id(); }
  CUcontext context() const {
    CUcontext current = nullptr;
    check(driver_, driver_.cuCtxGetCurrent(&current), "cuCtxGetCurrent");
    return current;
  }

  void wait() const { check(driver_, driver_.cuStreamSynchronize(stream), "cuStreamSynchronize"); }

  // Leaves nothing of the tensors in the L2 cache.
  void flush() const {
    if (scratch_bytes_ > 0) check(driver_, driver_.cuMemsetD8Async(scratch_, 0, scratch_bytes_, stream), "cuMemsetD8Async");
  }

  // As much of the input as fits into the output; returns the bytes read and written.
  std::int64_t copy() const {
    const std::int64_t size = std::min(bytes_of(args_.in), bytes_of(args_.out));
    check(driver_, driver_.cuMemcpyDtoDAsync(address(args_.out), address(args_.in), static_cast<std::size_t>(size), stream),
          "cuMemcpyDtoDAsync");
    return 2 * size;
  }

  double time_ms(const std::function<void()>& work) const {
    struct Events {
      const Driver& driver;
      CUevent start = nullptr, end = nullptr;
      ~Events() { driver.cuEventDestroy(start), driver.cuEventDestroy(end); }
    } events{driver_};
    check(driver_, driver_.cuEventCreate(&events.start, CU_EVENT_DEFAULT), "cuEventCreate");
    check(driver_, driver_.cuEventCreate(&events.end, CU_EVENT_DEFAULT), "cuEventCreate");
    flush();
    check(driver_, driver_.cuEventRecord(events.start, stream), "cuEventRecord");
    work();
    check(driver_, driver_.cuEventRecord(events.end, stream), "cuEventRecord");
    wait();
    float ms = 0;
    check(driver_, driver_.cuEventElapsedTime(&ms, events.start, events.end), "cuEventElapsedTime");
    return static_cast<double>(ms);
  }

  CUstream stream = nullptr;

 private:
  static CUdeviceptr address(const cumulus_tensor& t) { return std::bit_cast<CUdeviceptr>(t.data); }

  CUdeviceptr allocate(std::size_t size, const char* what) {
    CUdeviceptr memory = 0;
    if (const CUresult failed = driver_.cuMemAlloc(&memory, std::max<std::size_t>(size, 1)); failed != CUDA_SUCCESS)
      fail_driver(driver_, failed, "cuMemAlloc", fmt::format("{} bytes for {}", size, what));
    memory_.push_back(memory);
    return memory;
  }

  void place(cumulus_tensor& t, bool fill) {
    if (t.dtype == 0) return;
    const auto size = static_cast<std::size_t>(bytes_of(t));
    const CUdeviceptr memory = allocate(size, "a tensor");
    t.data = std::bit_cast<void*>(memory);
    t.device = CUMULUS_CUDA;
    t.device_index = device_;
    if (!fill || size == 0) return;
    const std::vector<std::uint64_t> block = random_block(static_cast<DType>(t.dtype), std::min<std::size_t>(size / 8 + 1, 1 << 20));
    std::size_t done = std::min(size, 8 * block.size());
    check(driver_, driver_.cuMemcpyHtoDAsync(memory, block.data(), done, stream), "cuMemcpyHtoDAsync");
    wait();  // the block goes
    for (std::size_t part = 0; done < size; done += part) {
      part = std::min(done, size - done);
      check(driver_, driver_.cuMemcpyDtoDAsync(memory + done, memory, part, stream), "cuMemcpyDtoDAsync");
    }
  }

  void release() {
    for (const CUdeviceptr memory : memory_) driver_.cuMemFree(memory);
    if (stream) driver_.cuStreamDestroy(stream);
  }

  const Driver& driver_;
  const ContextScope scope_;
  cumulus_scan_args args_;
  int device_;
  std::vector<CUdeviceptr> memory_;
  CUdeviceptr scratch_ = 0;
  std::size_t scratch_bytes_ = 0;
};

void describe_kernel(const Driver& driver, const Problem& problem, std::uint64_t context, GpuProfile& profile) {
  const Plan& plan = profile.plan;
  const CUfunction kernel = load_kernel(driver, cubins(driver), context, {kSource, kEntry, definitions(problem, plan)}, profile.device);
  const auto ask = [&](int attribute) {
    int value = 0;
    check(driver, driver.cuFuncGetAttribute(&value, attribute, kernel), "cuFuncGetAttribute");
    return value;
  };
  profile.registers = ask(CU_FUNC_ATTRIBUTE_NUM_REGS);
  profile.spilled = ask(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
  profile.static_shared = ask(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  check(driver,
        driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(&profile.blocks_per_sm, kernel, static_cast<int>(plan.threads),
                                                           static_cast<std::size_t>(plan.shared)),
        "cuOccupancyMaxActiveBlocksPerMultiprocessor");
}

MeasuredCounters by_quantity(const Counters& counted, const std::string& library) {
  MeasuredCounters measured;
  measured.passes = counted.passes;
  measured.chip = counted.chip;
  measured.library = library;
  const auto value = [&](const char* metric) -> std::optional<double> {
    for (std::size_t i = 0; i < counted.metrics.size(); ++i)
      if (metric && std::string_view(counted.metrics[i]) == metric) return counted.values[i];
    return std::nullopt;
  };
  for (std::size_t q = 0; q < kQuantities; ++q) {
    measured.values[q] = value(kQuantityNames[q].metric);
    if (!measured.values[q]) measured.values[q] = value(kQuantityNames[q].otherwise);
  }
  return measured;
}

}  // namespace

std::vector<const char*> metric_names() {
  std::vector<const char*> names;
  for (const QuantityNames& quantity : kQuantityNames) {
    names.push_back(quantity.metric);
    if (quantity.otherwise) names.push_back(quantity.otherwise);
  }
  return names;
}

GpuProfile profile_scan(const Driver& driver, const DeviceInfo& info, System& system, const cumulus_scan_args& args, int device,
                        int rounds) {
  Problem problem;
  canonicalise(args, false, problem);  // refuses what is wrong before anything is allocated
  GpuProfile profile{};
  profile.device = info;
  if (make_plan(problem, info).layout == Layout::none) fail_invalid("a scan without elements launches nothing: give a shape without zeros");

  const Session session(driver, device, info.l2, args);
  canonicalise(session.args(), true, problem);  // now with addresses, whose alignment the plan depends on
  profile.plan = make_plan(problem, info);
  Call call;
  call.device = device;
  const auto scan = [&] { run(driver, info, problem, call); };
  scan();  // compiles, and makes the workspace
  describe_kernel(driver, problem, session.context_id(), profile);
  for (int round = 0; round < rounds; ++round) {
    profile.scan_ms.push_back(session.time_ms(scan));
    profile.copy_ms.push_back(session.time_ms([&] { profile.copied = session.copy(); }));
  }

  // Last, for the profiler slows what follows.
  try {
    const Cupti cupti = open_cupti(system, driver.version);
    const auto flush = [&] { session.flush(), session.wait(); };
    const auto counted_scan = [&] { scan(), session.wait(); };
    profile.counters = by_quantity(measure_counters(cupti, session.context(), device, metric_names(), flush, counted_scan), cupti.path);
  } catch (const CuptiFailure& failure) {
    profile.why_no_counters = failure.message;
  }
  return profile;
}

GpuProfile profile_scan(const cumulus_scan_args& args, int device, int rounds) {
  return profile_scan(driver(), device_info(device), real_system(), args, device, rounds);
}

}  // namespace cumulus::cuda
