#include "cuda/trial.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "cuda/driver.h"
#include "cuda/launch.h"
#include "cuda/program.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

std::size_t bytes_of(const cumulus_tensor& t) {
  std::int64_t size = bytes(static_cast<DType>(t.dtype));
  for (int i = 0; i < t.rank; ++i) size *= t.shape[i];
  return static_cast<std::size_t>(size);
}

// Device memory that is gone with it.
class Memory {
 public:
  Memory(const Driver& driver, std::size_t size, const char* what) : driver_(driver), size_(size) {
    if (const CUresult failed = driver.cuMemAlloc(&at_, std::max<std::size_t>(size, 1)); failed != CUDA_SUCCESS)
      fail_driver(driver, failed, "cuMemAlloc", fmt::format("{} bytes for {}", size, what));
  }
  ~Memory() { driver_.cuMemFree(at_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  CUdeviceptr at() const { return at_; }
  std::size_t size() const { return size_; }

 private:
  const Driver& driver_;
  const std::size_t size_;
  CUdeviceptr at_ = 0;
};

struct Event {
  const Driver& driver;
  CUevent event = nullptr;
  explicit Event(const Driver& d) : driver(d) { check(d, d.cuEventCreate(&event, CU_EVENT_DEFAULT), "cuEventCreate"); }
  ~Event() { driver.cuEventDestroy(event); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

struct Stream {
  const Driver& driver;
  CUstream stream = nullptr;
  explicit Stream(const Driver& d) : driver(d) { check(d, d.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate"); }
  ~Stream() { driver.cuStreamDestroy(stream); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

}  // namespace

struct Trial::State {
  const Driver& driver;
  const DeviceInfo& info;
  const int ordinal;
  const ContextScope scope;
  const Stream stream;
  const Event start, end;
  std::vector<std::unique_ptr<Memory>> tensors;
  const Memory flushed;
  CUdeviceptr in = 0, out = 0;
  std::size_t in_bytes = 0, out_bytes = 0;
  Problem problem;

  State(const cumulus_scan_args& host, int device)
      : driver(cuda::driver()),
        info(device_info(device)),
        ordinal(device),
        scope(driver, nullptr, device),
        stream(driver),
        start(driver),
        end(driver),
        flushed(driver, static_cast<std::size_t>(2 * info.l2), "a buffer that flushes the L2 cache") {
    cumulus_scan_args args = host;
    args.stream = stream.stream;
    for (cumulus_tensor* t : {&args.in, &args.in2, &args.mask}) place(*t, true);
    place(args.out, false);
    in = std::bit_cast<CUdeviceptr>(args.in.data), in_bytes = bytes_of(args.in);
    out = std::bit_cast<CUdeviceptr>(args.out.data), out_bytes = bytes_of(args.out);
    wait();
    canonicalise(args, true, problem);
  }

  void place(cumulus_tensor& t, bool fill) {
    if (t.dtype == 0) return;
    tensors.push_back(std::make_unique<Memory>(driver, bytes_of(t), "a tensor"));
    const Memory& memory = *tensors.back();
    if (fill) check(driver, driver.cuMemcpyHtoDAsync(memory.at(), t.data, memory.size(), stream.stream), "cuMemcpyHtoDAsync");
    t.data = std::bit_cast<void*>(memory.at());
    t.device = CUMULUS_CUDA;
    t.device_index = ordinal;
  }

  void wait() const { check(driver, driver.cuStreamSynchronize(stream.stream), "cuStreamSynchronize"); }

  void scan(const Tuning& tuning) const {
    Call call;
    call.device = ordinal;
    call.tuning = tuning;
    run(problem, call);
  }

  double time_ms(const std::function<void()>& work) const {
    check(driver, driver.cuMemsetD8Async(flushed.at(), 0, flushed.size(), stream.stream), "cuMemsetD8Async");
    check(driver, driver.cuEventRecord(start.event, stream.stream), "cuEventRecord");
    work();
    check(driver, driver.cuEventRecord(end.event, stream.stream), "cuEventRecord");
    wait();
    float ms = 0;
    check(driver, driver.cuEventElapsedTime(&ms, start.event, end.event), "cuEventElapsedTime");
    return static_cast<double>(ms);
  }
};

Trial::Trial(const cumulus_scan_args& host, int device) : state_(std::make_unique<State>(host, device)) {}
Trial::~Trial() = default;

const Problem& Trial::problem() const { return state_->problem; }
const DeviceInfo& Trial::device() const { return state_->info; }

void Trial::result(const Tuning& tuning, void* out) {
  const State& s = *state_;
  check(s.driver, s.driver.cuMemsetD8Async(s.out, 0xa5, s.out_bytes, s.stream.stream), "cuMemsetD8Async");
  s.scan(tuning);
  check(s.driver, s.driver.cuMemcpyDtoHAsync(out, s.out, s.out_bytes, s.stream.stream), "cuMemcpyDtoHAsync");
  s.wait();
}

double Trial::scan_ms(const Tuning& tuning) {
  return state_->time_ms([&] { state_->scan(tuning); });
}

double Trial::copy_ms() {
  const State& s = *state_;
  const std::size_t size = std::min(s.in_bytes, s.out_bytes);
  const double ms =
      s.time_ms([&] { check(s.driver, s.driver.cuMemcpyDtoDAsync(s.out, s.in, size, s.stream.stream), "cuMemcpyDtoDAsync"); });
  return ms * static_cast<double>(bytes_required(s.problem)) / static_cast<double>(std::max<std::size_t>(1, 2 * size));
}

tuning::Machine tuning_machine(int device) {
  const DeviceInfo& info = device_info(device);
  return {"cuda",
          info.name,
          fmt::format("sm_{}", info.capability),
          info.sms,
          fmt::format("{} order {} kernels {}", cumulus_version(), cumulus_order_version(), embedded_sources().hash),
          "",  // cubins may come from several: the kernels' hash stands for what they were made from
          std::to_string(driver().version),
          tuning::kPolicy};
}

}  // namespace cumulus::cuda
