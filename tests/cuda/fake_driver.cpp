#include "fake_driver.h"

#include <cstring>
#include <deque>
#include <memory>

#include "cuda/args.h"

namespace support {
namespace {

using namespace cumulus::cuda;

std::unique_ptr<FakeDriver> state;
std::recursive_mutex mutex;  // the tests call from several threads
thread_local std::vector<FakeContext*> stack;
std::deque<FakeObject> objects;  // made by the functions, and kept until the end of the process
std::deque<FakeStream> streams;
std::deque<char> events;

// Counts a call, and says whether it is to fail.
int enter(const char* name) {
  ++state->calls[name];
  const auto failure = state->fail.find(name);
  return failure == state->fail.end() ? CUDA_SUCCESS : failure->second;
}

template <class T, class H>
T* object(H handle) {
  return reinterpret_cast<T*>(handle);
}

FakeContext* current() { return stack.empty() ? nullptr : stack.back(); }

CUresult allocate(CUdeviceptr* memory, std::size_t bytes) {
  if (state->allocated + bytes > state->memory_limit) return CUDA_ERROR_OUT_OF_MEMORY;
  state->allocated += bytes;
  *memory = state->add_memory(CU_MEMORYTYPE_DEVICE, current() ? current()->device : 0, false, bytes);
  return CUDA_SUCCESS;
}

CUresult release(CUdeviceptr memory) {
  const auto found = state->memory.find(memory);
  if (found == state->memory.end()) return CUDA_ERROR_INVALID_VALUE;
  state->allocated -= found->second.bytes;
  state->memory.erase(found);
  return CUDA_SUCCESS;
}

int attribute_value(int attribute) {
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      return 1024;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      return 32;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return 132;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
      return state->compute_mode;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
      return 3201000;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
      return 6144;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      return 60 << 20;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
      return 2048;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return state->capability / 10;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return state->capability % 10;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      return 228 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
      return 65536;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      return 227 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
      return 32;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
      return 1 << 10;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
      return state->pools ? 1 : 0;
    default:
      return 0;
  }
}

// Every function as a lambda: FAKE(name, (parameters), body). A body need not return.
#define FAKE(name, parameters, ...)                                          \
  CUresult name parameters {                                                 \
    const std::lock_guard lock(mutex);                                       \
    if (const CUresult failure = enter(#name); failure != 0) return failure; \
    __VA_ARGS__;                                                             \
    return CUDA_SUCCESS;                                                     \
  }

FakeStream* stream_of(CUstream stream) {
  static std::map<FakeContext*, std::unique_ptr<FakeStream>> legacy;
  static thread_local std::map<FakeContext*, std::unique_ptr<FakeStream>> per_thread;
  static unsigned long long next = 1000000;
  if (stream && stream != CU_STREAM_LEGACY && stream != CU_STREAM_PER_THREAD) return object<FakeStream>(stream);
  auto& own = stream == CU_STREAM_PER_THREAD ? per_thread[current()] : legacy[current()];
  if (!own) own = std::make_unique<FakeStream>(FakeStream{current(), next++});
  return own.get();
}

FAKE(cuInit, (unsigned), return state->init_result)
FAKE(cuDriverGetVersion, (int* version), *version = state->version)
FAKE(cuGetErrorName, (CUresult error, const char** text), *text = error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_SOME")
FAKE(cuGetErrorString, (CUresult error, const char** text), *text = error == 2 ? "out of memory" : "some reason")
FAKE(cuDeviceGetCount, (int* count), *count = state->devices)
FAKE(cuDeviceGet, (CUdevice * device, int ordinal), *device = ordinal)
FAKE(cuDeviceGetName, (char* name, int length, CUdevice), std::strncpy(name, state->device_name.c_str(), static_cast<std::size_t>(length)))
FAKE(cuDeviceGetAttribute, (int* value, int attribute, CUdevice), *value = attribute_value(attribute))
FAKE(cuDeviceTotalMem, (std::size_t * bytes, CUdevice), *bytes = std::size_t{143771} << 20)
FAKE(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice device), *context = handle(state->primary[device]))
FAKE(cuCtxGetCurrent, (CUcontext * context), *context = reinterpret_cast<CUcontext>(current()))
FAKE(cuCtxPushCurrent, (CUcontext context), stack.push_back(object<FakeContext>(context)))
FAKE(cuCtxPopCurrent, (CUcontext * context), *context = reinterpret_cast<CUcontext>(current()); stack.pop_back())
FAKE(cuCtxGetDevice, (CUdevice * device), if (!current()) return CUDA_ERROR_INVALID_CONTEXT; *device = current()->device)
FAKE(cuCtxGetId, (CUcontext context, unsigned long long* id), *id = object<FakeContext>(context)->id)
FAKE(cuCtxSynchronize, ())
FAKE(cuModuleLoadDataEx, (CUmodule * module, const void* image, unsigned, int*, void**),
     const auto refusal = state->refused_images.find(static_cast<const char*>(image));
     if (refusal != state->refused_images.end()) return refusal->second; state->loaded_images.emplace_back(static_cast<const char*>(image));
     *module = reinterpret_cast<CUmodule>(state->loaded_images.size()))
FAKE(cuModuleUnload, (CUmodule))
FAKE(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char*), *function = reinterpret_cast<CUfunction>(module))
FAKE(cuFuncSetAttribute, (CUfunction, int, int))
FAKE(cuFuncGetAttribute, (int* value, int, CUfunction), *value = 0)
FAKE(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int* blocks, CUfunction, int, std::size_t), *blocks = 1)
FAKE(cuLaunchKernel,
     (CUfunction function, unsigned grid, unsigned, unsigned, unsigned block, unsigned, unsigned, unsigned shared, CUstream stream,
      void** parameters, void**),
     HostArgs args;
     std::memcpy(&args, parameters[0], offsetof(HostArgs, dim));
     state->launches.push_back({function, stream, grid, block, shared, reinterpret_cast<std::uintptr_t>(args.workspace),
                                reinterpret_cast<CUcontext>(current())}))
FAKE(cuLaunchKernelEx, (const CUlaunchConfig*, CUfunction, void**, void**))
FAKE(cuTensorMapEncodeTiled,
     (void* map, int, unsigned rank, void* address, const std::uint64_t* sizes, const std::uint64_t* strides, const unsigned* box,
      const unsigned*, int, int, int, int),
     if (rank != 3 || reinterpret_cast<std::uintptr_t>(map) % 64 != 0) return CUDA_ERROR_INVALID_VALUE;
     state->tensor_maps.push_back({address, {sizes[0], sizes[1], sizes[2]}, {strides[0], strides[1]}, {box[0], box[1], box[2]}}))
FAKE(cuMemGetInfo, (std::size_t * free, std::size_t* total), *total = state->memory_limit; *free = state->memory_limit - state->allocated)
FAKE(cuMemAlloc, (CUdeviceptr * memory, std::size_t bytes), return allocate(memory, bytes))
FAKE(cuMemAllocManaged, (CUdeviceptr * memory, std::size_t bytes, unsigned), return allocate(memory, bytes))
FAKE(cuMemHostAlloc, (void**, std::size_t, unsigned))
FAKE(cuMemFreeHost, (void*))
FAKE(cuMemFree, (CUdeviceptr memory), return release(memory))
FAKE(cuMemAllocAsync, (CUdeviceptr * memory, std::size_t bytes, CUstream), return allocate(memory, bytes))
FAKE(cuMemFreeAsync, (CUdeviceptr memory, CUstream), return release(memory))
FAKE(cuMemsetD8Async, (CUdeviceptr, unsigned char, std::size_t, CUstream))
FAKE(cuMemcpyHtoDAsync, (CUdeviceptr, const void*, std::size_t, CUstream))
FAKE(cuMemcpyDtoHAsync, (void*, CUdeviceptr, std::size_t, CUstream))
FAKE(cuMemcpyDtoDAsync, (CUdeviceptr, CUdeviceptr, std::size_t, CUstream))
FAKE(
    cuPointerGetAttributes, (unsigned count, int* attributes, void** values, CUdeviceptr pointer),
    auto found = state->memory.upper_bound(pointer);
    const bool known = found != state->memory.begin() && pointer < (--found)->first + found->second.bytes;
    for (unsigned k = 0; k < count; ++k) {
      if (attributes[k] == CU_POINTER_ATTRIBUTE_MEMORY_TYPE) *static_cast<unsigned*>(values[k]) = known ? found->second.type : 0;
      if (attributes[k] == CU_POINTER_ATTRIBUTE_IS_MANAGED) *static_cast<unsigned*>(values[k]) = known && found->second.managed;
      if (attributes[k] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL) *static_cast<int*>(values[k]) = known ? found->second.device : -2;
    })
FAKE(cuStreamCreate, (CUstream * stream, unsigned), static unsigned long long id = 5000;
     *stream = handle(streams.emplace_back(FakeStream{current(), ++id})))
FAKE(cuStreamDestroy, (CUstream))
FAKE(cuStreamSynchronize, (CUstream))
FAKE(cuStreamWaitEvent, (CUstream, CUevent, unsigned))
FAKE(cuStreamGetCtx, (CUstream stream, CUcontext* context), *context = handle(*stream_of(stream)->context))
FAKE(
    cuStreamGetId, (CUstream stream, unsigned long long* id), FakeStream* own = stream_of(stream); if (own->capture_status != 0) {
      own->capture_status = CU_STREAM_CAPTURE_STATUS_INVALIDATED;  // as the driver 580 does, and no documentation says
      return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }* id = own->id)
FAKE(cuStreamGetCaptureInfo, (CUstream stream, int* status, std::uint64_t* id, CUgraph* graph, const CUgraphNode**, std::size_t*),
     const FakeStream* own = stream_of(stream);
     *status = own->capture_status; *id = own->capture; *graph = reinterpret_cast<CUgraph>(own->graph))
FAKE(cuThreadExchangeStreamCaptureMode, (int* mode), std::swap(*mode, state->capture_mode))
FAKE(cuStreamBeginCapture, (CUstream, int))
FAKE(cuStreamEndCapture, (CUstream, CUgraph*))
FAKE(cuGraphInstantiateWithFlags, (CUgraphExec*, CUgraph, unsigned long long))
FAKE(cuGraphLaunch, (CUgraphExec, CUstream))
FAKE(cuGraphExecDestroy, (CUgraphExec))
FAKE(cuGraphDestroy, (CUgraph graph), state->end_graph(*object<FakeGraph>(graph)))
FAKE(cuUserObjectCreate, (CUuserObject * object, void* data, void (*destroy)(void*), unsigned, unsigned),
     *object = reinterpret_cast<CUuserObject>(&objects.emplace_back(FakeObject{data, destroy})))
FAKE(cuUserObjectRelease, (CUuserObject user, unsigned), const FakeObject* own = object<FakeObject>(user); own->destroy(own->data))
FAKE(cuGraphRetainUserObject, (CUgraph graph, CUuserObject user, unsigned, unsigned),
     object<FakeGraph>(graph)->objects.push_back(object<FakeObject>(user)))
FAKE(cuEventCreate, (CUevent * event, unsigned), *event = reinterpret_cast<CUevent>(&events.emplace_back()))
FAKE(cuEventDestroy, (CUevent))
FAKE(cuEventRecord, (CUevent event, CUstream), state->pending_events.insert(event))
FAKE(cuEventQuery, (CUevent event), if (state->pending_events.contains(event)) return CUDA_ERROR_NOT_READY)
FAKE(cuEventSynchronize, (CUevent))
FAKE(cuEventElapsedTime, (float*, CUevent, CUevent))

// Only the very release that cumulus declares is offered, as a check of the versions' plausibility.
CUresult cuGetProcAddress_v2(const char* name, void** function, int version, std::uint64_t, int*) {
  const std::lock_guard lock(mutex);
  *function = nullptr;
  if (state->missing.contains(name) || version > state->version) return CUDA_ERROR_INVALID_VALUE;
#define CUMULUS_DRIVER(entry, release, parameters) \
  if (std::strcmp(name, #entry) == 0) *function = reinterpret_cast<void*>(&entry);
#include "cuda/driver_functions.inc"
  return *function ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

FakeDriver& FakeDriver::get() {
  if (!state) state = std::make_unique<FakeDriver>();
  return *state;
}

void FakeDriver::reset() {
  state = std::make_unique<FakeDriver>();
  stack.clear();
}

void FakeDriver::end_graph(FakeGraph& graph) {
  for (const FakeObject* object : graph.objects) object->destroy(object->data);
  graph.objects.clear();
}

std::uint64_t FakeDriver::add_memory(unsigned type, int device, bool managed, std::size_t bytes) {
  const std::uint64_t address = next_address_;
  next_address_ += (bytes + 0xFFFFF) / 0x100000 * 0x100000;
  memory[address] = {bytes, type, managed, device};
  return address;
}

FakeLibrary& fake_libcuda() {
  static FakeLibrary library = {{"cuInit", reinterpret_cast<void*>(&cuInit)},
                                {"cuDriverGetVersion", reinterpret_cast<void*>(&cuDriverGetVersion)},
                                {"cuGetProcAddress_v2", reinterpret_cast<void*>(&cuGetProcAddress_v2)}};
  return library;
}

Driver fake_driver() {
  FakeSystem system;
  system.add_library("libcuda.so.1", fake_libcuda(), "/usr/lib/libcuda.so.580.1");
  return open_driver(system).driver;
}

}  // namespace support
