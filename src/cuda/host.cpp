#include "cuda/host.h"

#include <algorithm>
#include <bit>
#include <deque>

#include <fmt/format.h>

#include "cuda/driver.h"
#include "cuda/launch.h"
#include "error.h"
#include "shape.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

// The bytes that a tensor's elements lie in, gaps included.
struct Span {
  char* begin = nullptr;
  std::size_t bytes = 0;
};

Span span_of(const cumulus_tensor& t) {
  std::int64_t low = 0, high = 0, contiguous = 1;
  for (int i = t.rank - 1; i >= 0; --i) {
    if (t.shape[i] == 0) return {};
    const std::int64_t reach = (t.strides ? t.strides[i] : contiguous) * (t.shape[i] - 1);
    (reach < 0 ? low : high) += reach;
    contiguous *= t.shape[i];
  }
  const std::int64_t element = bytes(static_cast<DType>(t.dtype));
  return {static_cast<char*>(t.data) + low * element, static_cast<std::size_t>((high - low + 1) * element)};
}

// A stream and events of a call, and the device memory that stands for pieces of host memory.
class Session {
 public:
  Session(const Driver& driver, int device) : driver_(driver), scope_(driver, nullptr, device) {
    check(driver, driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  }
  ~Session() {
    for (const Copy& copy : copies_) driver_.cuMemFree(copy.device);
    for (const CUevent event : events_) driver_.cuEventDestroy(event);
    driver_.cuStreamDestroy(stream);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // The tensor in device memory; a result in an input's memory shares its copy. Results come back too, with what lies between them.
  void move(cumulus_tensor& t, int device, bool result) {
    if (t.dtype == 0) return;
    t.device = CUMULUS_CUDA;
    t.device_index = device;
    const Span host = span_of(t);
    if (host.bytes == 0) return;
    auto copy = std::find_if(copies_.begin(), copies_.end(),
                             [&](const Copy& known) { return known.host.begin == host.begin && known.host.bytes == host.bytes; });
    if (copy == copies_.end()) {
      copy = copies_.insert(copies_.end(), {host, 0, false});
      if (const CUresult failed = driver_.cuMemAlloc(&copy->device, host.bytes); failed != CUDA_SUCCESS)
        fail_driver(driver_, failed, "cuMemAlloc", fmt::format("{} bytes of a tensor", host.bytes));
      check(driver_, driver_.cuMemcpyHtoDAsync(copy->device, host.begin, host.bytes, stream), "cuMemcpyHtoDAsync");
    }
    copy->result |= result;
    t.data = std::bit_cast<void*>(copy->device + static_cast<CUdeviceptr>(static_cast<char*>(t.data) - host.begin));
  }

  void copy_back() {
    for (const Copy& copy : copies_)
      if (copy.result)
        check(driver_, driver_.cuMemcpyDtoHAsync(copy.host.begin, copy.device, copy.host.bytes, stream), "cuMemcpyDtoHAsync");
  }

  CUevent mark() {
    CUevent event = nullptr;
    check(driver_, driver_.cuEventCreate(&event, CU_EVENT_DEFAULT), "cuEventCreate");
    events_.push_back(event);
    check(driver_, driver_.cuEventRecord(event, stream), "cuEventRecord");
    return event;
  }

  double seconds(CUevent start, CUevent end) {
    float milliseconds = 0;
    check(driver_, driver_.cuEventElapsedTime(&milliseconds, start, end), "cuEventElapsedTime");
    return 1e-3 * static_cast<double>(milliseconds);
  }

  CUstream stream = nullptr;

 private:
  struct Copy {
    Span host;
    CUdeviceptr device;
    bool result;
  };

  const Driver& driver_;
  const ContextScope scope_;
  std::deque<Copy> copies_;
  std::deque<CUevent> events_;
};

}  // namespace

HostRunSeconds run_from_host(const cumulus_scan_args& args, int device, const Tuning& tuning) {
  Problem problem;
  canonicalise(args, true, problem);  // refuses what is wrong before anything is copied
  const Driver& the_driver = driver();
  Session session(the_driver, device);
  cumulus_scan_args moved = args;
  moved.stream = session.stream;
  const CUevent start = session.mark();
  session.move(moved.in, device, false);
  session.move(moved.in2, device, false);
  session.move(moved.mask, device, false);
  Call call;
  call.device = device;
  call.tuning = tuning;
  call.initial_on_host = args.initial.dtype != 0 && args.initial.rank == 0;
  if (!call.initial_on_host) session.move(moved.initial, device, false);
  session.move(moved.out, device, true);
  session.move(moved.total, device, true);
  canonicalise(moved, true, problem);
  prepare(problem, call);  // a compilation is not the scan's time
  const CUevent ready = session.mark();
  run(problem, call);
  const CUevent done = session.mark();
  session.copy_back();
  const CUevent end = session.mark();
  check(the_driver, the_driver.cuStreamSynchronize(session.stream), "cuStreamSynchronize");
  return {session.seconds(start, ready), session.seconds(ready, done), session.seconds(done, end)};
}

}  // namespace cumulus::cuda
