// A libcuda.so.1 without a GPU, for what the command line makes of one: device memory is the host's, copies are made, kernels are not run.
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "cuda/driver_api.h"

namespace {

using namespace cumulus::cuda;

template <class T>
T handle() {
  static char something;
  return reinterpret_cast<T>(&something);
}

thread_local CUcontext current = nullptr;

// Whatever is not named below succeeds and does nothing.
#define CUMULUS_DRIVER(name, version, parameters) \
  [[maybe_unused]] CUresult name parameters { return CUDA_SUCCESS; }
namespace nothing {
#include "cuda/driver_functions.inc"
}

#define FAKE(name, parameters, ...) \
  CUresult name parameters {        \
    __VA_ARGS__;                    \
    return CUDA_SUCCESS;            \
  }
namespace something {
using namespace nothing;  // a function that is named here hides the one that does nothing

void* at(CUdeviceptr memory) { return reinterpret_cast<void*>(memory); }

int attribute(int which) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return 9;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
      return 32;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return 132;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
      return 3201000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
      return 6144;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      return 1 << 20;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
      return 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      return 228 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return 227 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
      return 65536;
    default:
      return 0;
  }
}

FAKE(cuDriverGetVersion, (int* version), *version = 13000)
FAKE(cuDeviceGetCount, (int* count), *count = 1)
FAKE(cuDeviceGet, (CUdevice * device, int ordinal), *device = ordinal)
FAKE(cuDeviceGetName, (char* name, int length, CUdevice), std::strncpy(name, "Fake GPU", static_cast<std::size_t>(length)))
FAKE(cuDeviceGetAttribute, (int* value, int which, CUdevice), *value = attribute(which))
FAKE(cuDeviceTotalMem, (std::size_t * bytes, CUdevice), *bytes = std::size_t{1} << 30)
FAKE(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice), *context = handle<CUcontext>())
FAKE(cuCtxGetCurrent, (CUcontext * context), *context = current)
FAKE(cuCtxPushCurrent, (CUcontext context), current = context)
FAKE(cuCtxPopCurrent, (CUcontext * context), *context = current; current = nullptr)
FAKE(cuCtxGetDevice, (CUdevice * device), *device = 0)
FAKE(cuCtxGetId, (CUcontext, unsigned long long* id), *id = 1)
FAKE(cuModuleLoadDataEx, (CUmodule * module, const void*, unsigned, int*, void**), *module = handle<CUmodule>())
FAKE(cuModuleGetFunction, (CUfunction * function, CUmodule, const char*), *function = handle<CUfunction>())
FAKE(cuFuncGetAttribute, (int* value, int, CUfunction), *value = 0)
FAKE(cuMemGetInfo, (std::size_t * free, std::size_t* total), *free = *total = std::size_t{1} << 24)
FAKE(cuMemAlloc, (CUdeviceptr * memory, std::size_t bytes), void* const made = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
     if (!made) return CUDA_ERROR_OUT_OF_MEMORY; *memory = reinterpret_cast<CUdeviceptr>(made))
FAKE(cuMemFree, (CUdeviceptr memory), std::free(at(memory)))
FAKE(cuMemAllocAsync, (CUdeviceptr * memory, std::size_t bytes, CUstream), return cuMemAlloc(memory, bytes))
FAKE(cuMemFreeAsync, (CUdeviceptr memory, CUstream), return cuMemFree(memory))
FAKE(cuMemsetD8Async, (CUdeviceptr memory, unsigned char value, std::size_t bytes, CUstream), std::memset(at(memory), value, bytes))
FAKE(cuMemcpyHtoDAsync, (CUdeviceptr to, const void* from, std::size_t bytes, CUstream), std::memcpy(at(to), from, bytes))
FAKE(cuMemcpyDtoHAsync, (void* to, CUdeviceptr from, std::size_t bytes, CUstream), std::memcpy(to, at(from), bytes))
FAKE(cuMemcpyDtoDAsync, (CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream), std::memcpy(at(to), at(from), bytes))
FAKE(
    cuPointerGetAttributes, (unsigned count, int* attributes, void** values, CUdeviceptr), for (unsigned k = 0; k < count; ++k) {
      const bool type = attributes[k] == CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
      std::memset(values[k], 0, sizeof(int));  // device 0, not managed
      if (type) *static_cast<unsigned*>(values[k]) = CU_MEMORYTYPE_DEVICE;
    })
FAKE(cuStreamCreate, (CUstream * stream, unsigned), *stream = handle<CUstream>())
FAKE(cuStreamGetCtx, (CUstream, CUcontext* context), *context = handle<CUcontext>())
FAKE(cuStreamGetId, (CUstream, unsigned long long* id), *id = 1)
FAKE(cuStreamGetCaptureInfo, (CUstream, int* status, std::uint64_t* id, CUgraph* graph, const CUgraphNode**, std::size_t*), *status = 0;
     *id = 0; *graph = nullptr)
FAKE(cuStreamEndCapture, (CUstream, CUgraph* graph), *graph = handle<CUgraph>())
FAKE(cuGraphInstantiateWithFlags, (CUgraphExec * executable, CUgraph, unsigned long long), *executable = handle<CUgraphExec>())
FAKE(cuEventCreate, (CUevent * event, unsigned), *event = handle<CUevent>())
FAKE(cuEventElapsedTime, (float* ms, CUevent, CUevent), *ms = 0.01f)

}  // namespace something

}  // namespace

extern "C" {

__attribute__((visibility("default"))) CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
__attribute__((visibility("default"))) CUresult cuDriverGetVersion(int* version) { return something::cuDriverGetVersion(version); }

// NVRTC asks for it where there is a driver, and does without what it does not get.
__attribute__((visibility("default"))) CUresult cuGetExportTable(const void**, const void*) { return CUDA_ERROR_INVALID_VALUE; }

__attribute__((visibility("default"))) CUresult cuGetProcAddress_v2(const char* name, void** function, int, std::uint64_t, int*) {
  const std::string_view wanted = name;
#define CUMULUS_DRIVER(entry, version, parameters) \
  if (wanted == #entry) return *function = reinterpret_cast<void*>(&something::entry), CUDA_SUCCESS;
#include "cuda/driver_functions.inc"
  *function = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}
}
