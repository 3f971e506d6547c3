#include "gpu.h"

#include <atomic>
#include <thread>
#include <vector>

namespace gpu_check {

void in_parallel(std::size_t jobs, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
    threads.emplace_back([&] {
      for (std::size_t i; (i = next++) < jobs;) job(i);
    });
  for (std::thread& t : threads) t.join();
}

CurrentContext::CurrentContext(int ordinal) {
  cuda::CUcontext context;
  cuda::CUdevice handle;
  CHECK(cuDeviceGet(&handle, ordinal));
  CHECK(cuDevicePrimaryCtxRetain(&context, handle));
  CHECK(cuCtxPushCurrent(context));
}

CurrentContext::~CurrentContext() {
  cuda::CUcontext context;
  gpu().cuCtxPopCurrent(&context);
}

CUstream new_stream() {
  CUstream stream;
  CHECK(cuStreamCreate(&stream, cuda::CU_STREAM_NON_BLOCKING));
  return stream;
}

}  // namespace gpu_check
