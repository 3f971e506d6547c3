#include "cuda/device_arrays.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "error.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

std::size_t bytes_of(const cumulus_tensor& t) {
  std::int64_t size = bytes(static_cast<DType>(t.dtype));
  for (int i = 0; i < t.rank; ++i) size *= t.shape[i];
  return static_cast<std::size_t>(size);
}

CUdeviceptr address(const cumulus_tensor& t) { return std::bit_cast<CUdeviceptr>(t.data); }

}  // namespace

DeviceArrays::DeviceArrays(const Driver& driver, int device, std::int64_t l2, const cumulus_scan_args& args, const Fill& fill)
    : driver_(driver), scope_(driver, nullptr, device), device_(device), args_(args), scratch_bytes_(static_cast<std::size_t>(2 * l2)) {
  try {
    check(driver, driver.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    args_.stream = stream_;
    for (cumulus_tensor* t : {&args_.in, &args_.in2, &args_.mask}) place(*t, fill);
    place(args_.out, nullptr);
    scratch_ = allocate(scratch_bytes_, "a buffer that flushes the L2 cache");
    wait();
  } catch (...) {
    release();
    throw;
  }
}

DeviceArrays::~DeviceArrays() { release(); }

CUdeviceptr DeviceArrays::out() const { return address(args_.out); }
std::size_t DeviceArrays::out_bytes() const { return bytes_of(args_.out); }

void DeviceArrays::wait() const { check(driver_, driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize"); }

void DeviceArrays::flush() const {
  if (scratch_bytes_ > 0) check(driver_, driver_.cuMemsetD8Async(scratch_, 0, scratch_bytes_, stream_), "cuMemsetD8Async");
}

std::int64_t DeviceArrays::copy() const {
  const std::size_t size = std::min(bytes_of(args_.in), out_bytes());
  check(driver_, driver_.cuMemcpyDtoDAsync(out(), address(args_.in), size, stream_), "cuMemcpyDtoDAsync");
  return 2 * static_cast<std::int64_t>(size);
}

double DeviceArrays::time_ms(const std::function<void()>& work) const {
  struct Events {
    const Driver& driver;
    CUevent start = nullptr, end = nullptr;
    ~Events() { driver.cuEventDestroy(start), driver.cuEventDestroy(end); }
  } events{driver_};
  check(driver_, driver_.cuEventCreate(&events.start, CU_EVENT_DEFAULT), "cuEventCreate");
  check(driver_, driver_.cuEventCreate(&events.end, CU_EVENT_DEFAULT), "cuEventCreate");
  flush();
  check(driver_, driver_.cuEventRecord(events.start, stream_), "cuEventRecord");
  work();
  check(driver_, driver_.cuEventRecord(events.end, stream_), "cuEventRecord");
  wait();
  float ms = 0;
  check(driver_, driver_.cuEventElapsedTime(&ms, events.start, events.end), "cuEventElapsedTime");
  return static_cast<double>(ms);
}

CUdeviceptr DeviceArrays::allocate(std::size_t size, const char* what) {
  CUdeviceptr memory = 0;
  if (const CUresult failed = driver_.cuMemAlloc(&memory, std::max<std::size_t>(size, 1)); failed != CUDA_SUCCESS)
    fail_driver(driver_, failed, "cuMemAlloc", fmt::format("{} bytes for {}", size, what));
  memory_.push_back(memory);
  return memory;
}

void DeviceArrays::place(cumulus_tensor& t, const Fill& fill) {
  if (t.dtype == 0) return;
  const std::size_t size = bytes_of(t);
  const CUdeviceptr memory = allocate(size, "a tensor");
  if (fill && size > 0) fill(*this, memory, size, t);
  t.data = std::bit_cast<void*>(memory);
  t.device = CUMULUS_CUDA;
  t.device_index = device_;
}

void DeviceArrays::release() {
  for (const CUdeviceptr memory : memory_) driver_.cuMemFree(memory);
  if (stream_) driver_.cuStreamDestroy(stream_);
}

}  // namespace cumulus::cuda
