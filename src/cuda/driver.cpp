#include "cuda/driver.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "error.h"

namespace cumulus::cuda {
namespace {

// In the loader's path first; then where containers and WSL put it when the loader does not know, and where it hides behind a stub.
constexpr std::array kDriverNames{"libcuda.so.1",
                                  "/usr/lib/wsl/lib/libcuda.so.1",
                                  "/usr/local/nvidia/lib64/libcuda.so.1",
                                  "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
                                  "/usr/lib/aarch64-linux-gnu/libcuda.so.1",
                                  "/usr/lib64/libcuda.so.1",
                                  "/run/opengl-driver/lib/libcuda.so.1"};

using GetProcAddress = CUresult (*)(const char*, void**, int, std::uint64_t, int*);
constexpr std::uint64_t kLegacyStream = 1;  // null is the legacy default stream, also in programs built for per-thread ones

std::string release(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// Fills the table; the name of the first function that is missing, or null.
const char* fill(Driver& driver, GetProcAddress get) {
  void* function = nullptr;
#define CUMULUS_DRIVER(name, version, parameters)                                                        \
  if (get(#name, &function, version, kLegacyStream, nullptr) != CUDA_SUCCESS || !function) return #name; \
  driver.name = reinterpret_cast<decltype(driver.name)>(function);
#include "cuda/driver_functions.inc"
  return nullptr;
}

// WSL has none, and needs none.
bool has_device_file(System& system, const Driver& driver) { return driver.wsl || system.file("/dev/nvidiactl").has_value(); }

std::string no_device_message(System& system, const Driver& driver) {
  const auto visible = system.environment("CUDA_VISIBLE_DEVICES");
  if (hidden_on_purpose(system, driver))
    return fmt::format("the driver sees no device: CUDA_VISIBLE_DEVICES is \"{}\", which hides them all: unset it", *visible);
  const char* cause =
      has_device_file(system, driver)
          ? "the driver sees no device: `nvidia-smi` should list one; in a container, start it with GPU access (docker run --gpus all)"
          : "a driver library is here but no device file /dev/nvidiactl: in a container, start it with GPU access (docker run --gpus all); "
            "else load the kernel module (nvidia-smi does)";
  return visible ? fmt::format("{}; CUDA_VISIBLE_DEVICES is \"{}\", which may hide devices: unset it", cause, *visible) : cause;
}

std::string init_message(const OpenedDriver& opened, System& system) {
  const std::string path = opened.driver.path;
  switch (opened.result) {
    case CUDA_ERROR_NO_DEVICE:
      return no_device_message(system, opened.driver);
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      return fmt::format("{} does not match the running kernel module: reboot, or reload the module, after a driver update", path);
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      return fmt::format("{} is a forward compatibility library, which this GPU does not support: remove it from the loader's path", path);
    case CUDA_ERROR_SYSTEM_NOT_READY:
      return "the system is not ready for CUDA: start nvidia-fabricmanager (machines with NVSwitch) and try again";
    case CUDA_ERROR_NOT_INITIALIZED:
      return "the driver cannot start here: this process was forked from one that used CUDA; start it afresh (spawn instead of fork)";
    default:
      return fmt::format("cuInit returned {}: `nvidia-smi` shows whether the driver works", opened.result);
  }
}

// One candidate. The library stays open on success.
OpenedDriver open_candidate(System& system, void* library) {
  OpenedDriver opened;
  Driver& driver = opened.driver;
  driver.path = system.real_path(system.path(library));
  driver.wsl = driver.path.find("/wsl/") != std::string::npos ||
               system.read("/proc/sys/kernel/osrelease").value_or("").find("icrosoft") != std::string::npos;
  const auto fail = [&](DriverProblem problem, std::string message) {
    opened.problem = problem;
    opened.message = std::move(message);
    return opened;
  };
  const auto init = reinterpret_cast<decltype(driver.cuInit)>(system.symbol(library, "cuInit"));
  const auto get_version = reinterpret_cast<decltype(driver.cuDriverGetVersion)>(system.symbol(library, "cuDriverGetVersion"));
  if (!init || !get_version)
    return fail(DriverProblem::no_library, fmt::format("{} is no CUDA driver: cuInit is missing in it", driver.path));
  opened.result = init(0);
  if (opened.result == CUDA_ERROR_STUB_LIBRARY)
    return fail(DriverProblem::stub,
                fmt::format("{} is the toolkit's stub, made for linking only: take its folder out of LD_LIBRARY_PATH", driver.path));
  get_version(&driver.version);
  if (driver.version < kLeastDriver)
    return fail(DriverProblem::too_old, fmt::format("the driver {} supports CUDA {}, but {} is needed: update the NVIDIA driver",
                                                    driver.path, release(driver.version), release(kLeastDriver)));
  if (opened.result != CUDA_SUCCESS)
    return fail(opened.result == CUDA_ERROR_NO_DEVICE ? DriverProblem::no_device : DriverProblem::init_failed,
                init_message(opened, system));
  const auto get = reinterpret_cast<GetProcAddress>(system.symbol(library, "cuGetProcAddress_v2"));
  const char* missing = get ? fill(driver, get) : "cuGetProcAddress_v2";
  if (missing) return fail(DriverProblem::too_old, fmt::format("the driver {} has no {}: update the NVIDIA driver", driver.path, missing));
  if ((opened.result = driver.cuDeviceGetCount(&driver.devices)) != CUDA_SUCCESS || driver.devices == 0) {
    if (opened.result == CUDA_SUCCESS) opened.result = CUDA_ERROR_NO_DEVICE;
    return fail(DriverProblem::no_device, init_message(opened, system));
  }
  return opened;
}

// ---- errors ----

cumulus_status status_of(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return CUMULUS_OUT_OF_MEMORY;
    case CUDA_ERROR_INVALID_DEVICE:
    case CUDA_ERROR_INVALID_HANDLE:
      return CUMULUS_INVALID_ARGUMENT;
    case CUDA_ERROR_NOT_SUPPORTED:
      return CUMULUS_UNSUPPORTED;
    default:
      return CUMULUS_DEVICE_ERROR;
  }
}

const char* way_out(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return "free device memory (frameworks keep freed memory: empty their cache), or give a workspace";
    case CUDA_ERROR_NOT_INITIALIZED:
      return "a process forked from one that used CUDA cannot use it: start it afresh (spawn instead of fork)";
    case CUDA_ERROR_DEINITIALIZED:
      return "the process is exiting: scan earlier";
    case CUDA_ERROR_INVALID_CONTEXT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
      return "make a living context current, or none: then the device's primary one is used";
    case CUDA_ERROR_INVALID_HANDLE:
      return "give a living stream of this process";
    case CUDA_ERROR_INVALID_DEVICE:
      return "give a device_index that `cumulus device` lists";
    case CUDA_ERROR_ILLEGAL_ADDRESS:
      return "an earlier kernel, of whichever library, read or wrote outside its memory: the context is lost, restart the process; "
             "compute-sanitizer finds the kernel";
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
      return "the compiled kernel does not suit this GPU or driver: update the driver, or name an NVRTC that is no newer in CUMULUS_NVRTC "
             "(`cumulus doctor` says what each is)";
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
      return "the kernel needs more registers or shared memory than this GPU has: please report it with `cumulus plan`";
    case CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED:
    case CUDA_ERROR_STREAM_CAPTURE_INVALIDATED:
    case CUDA_ERROR_STREAM_CAPTURE_IMPLICIT:
      return "the stream's capture does not allow it: run the same scan once before the capture, and give the capturing stream";
    default:
      return "`cumulus doctor` checks driver and devices; an earlier call of another library may have failed too";
  }
}

// ---- fork ----

std::atomic<const Driver*> process_driver{nullptr};
std::atomic<bool> started{false};  // the driver is open in this process, or about to be
std::atomic<bool> forked{false};   // and this process is a child of one where it was

int attribute(const Driver& driver, int which, CUdevice device) {
  int value = 0;
  check(driver, driver.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

}  // namespace

OpenedDriver open_driver(System& system) {
  std::optional<OpenedDriver> first;  // the first failure is the one to explain
  std::string reason;
  for (const char* name : kDriverNames) {
    std::string error;
    void* library = system.open(name, error);
    if (!library) {
      if (reason.empty()) reason = error;
      continue;
    }
    OpenedDriver opened = open_candidate(system, library);
    if (opened.problem == DriverProblem::none) return opened;
    // A driver that cannot start is not closed: it may have started threads. A stub is, so that the real one's name is free.
    if (opened.problem == DriverProblem::stub || opened.problem == DriverProblem::no_library) system.close(library);
    if (!first || (first->problem == DriverProblem::stub && opened.problem != DriverProblem::no_library)) first = std::move(opened);
    if (first->problem != DriverProblem::stub && first->problem != DriverProblem::no_library) break;
  }
  if (first) return *first;
  OpenedDriver none;
  none.problem = DriverProblem::no_library;
  none.message = fmt::format(
      "no CUDA driver: libcuda.so.1 was not found ({}): install the driver, in a container start it with GPU access (docker run --gpus "
      "all), or use tensors on the CPU",
      reason);
  return none;
}

bool hidden_on_purpose(System& system, const Driver& driver) {
  const auto visible = system.environment("CUDA_VISIBLE_DEVICES");
  return visible && (visible->empty() || *visible == "-1") && has_device_file(system, driver);
}

const Driver& driver() {
  if (const Driver* found = process_driver.load(std::memory_order_acquire); found && !forked.load(std::memory_order_relaxed)) [[likely]]
    return *found;
  if (forked.load(std::memory_order_relaxed))
    throw Failure{CUMULUS_DEVICE_ERROR,
                  "this process was forked from one that used CUDA, which does not survive a fork: start it afresh (spawn instead of "
                  "fork), or use CUDA only after the fork"};
  static auto& mutex = *new std::mutex;
  const std::lock_guard lock(mutex);
  if (const Driver* found = process_driver.load(std::memory_order_acquire)) return *found;
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forked.store(started.load()); });
  (void)registered;
  started.store(true);
  OpenedDriver opened = open_driver(real_system());
  if (opened.problem != DriverProblem::none) {
    started.store(false);
    throw Failure{CUMULUS_DEVICE_ERROR, opened.message};
  }
  const auto* kept = new Driver(std::move(opened.driver));
  process_driver.store(kept, std::memory_order_release);
  return *kept;
}

void fail_driver(const Driver& driver, CUresult result, const char* call, std::string_view detail) {
  const char *name = nullptr, *text = nullptr;
  if (driver.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name) name = "an unknown code";
  if (driver.cuGetErrorString(result, &text) != CUDA_SUCCESS || !text) text = "no description";
  throw Failure{status_of(result), fmt::format("{}{}{}{} failed with {} ({}): {}: {}", call, detail.empty() ? "" : " (", detail,
                                               detail.empty() ? "" : ")", name, result, text, way_out(result))};
}

DeviceInfo query_device(const Driver& driver, int ordinal) {
  if (ordinal < 0 || ordinal >= driver.devices)
    fail_invalid(fmt::format("device_index {} does not exist: this process sees {} CUDA device{}", ordinal, driver.devices,
                             driver.devices == 1 ? "" : "s"));
  CUdevice device = 0;
  check(driver, driver.cuDeviceGet(&device, ordinal), "cuDeviceGet");
  const auto ask = [&](int which) { return attribute(driver, which, device); };
  char name[256] = "";
  std::size_t memory = 0;
  check(driver, driver.cuDeviceGetName(name, sizeof name, device), "cuDeviceGetName");
  check(driver, driver.cuDeviceTotalMem(&memory, device), "cuDeviceTotalMem");
  DeviceInfo info{};
  info.name = name;
  info.capability = 10 * ask(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) + ask(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  info.sms = ask(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  // Two transfers a clock, clocks in kHz, width in bits.
  info.bandwidth = std::int64_t{2000} * ask(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE) * ask(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH) / 8;
  info.memory = static_cast<std::int64_t>(memory);
  info.l2 = ask(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  info.shared_per_sm = ask(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
  info.shared_per_block = ask(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
  info.shared_reserved = ask(CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK);
  info.registers_per_sm = ask(CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR);
  info.registers_per_thread = 255;  // of every architecture that is supported; the driver has no attribute for it
  info.warp = ask(CU_DEVICE_ATTRIBUTE_WARP_SIZE);
  info.warps_per_sm = ask(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR) / std::max(info.warp, 1);
  info.blocks_per_sm = ask(CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR);
  info.threads_per_block = ask(CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
  // The model's data sheet knows what the driver does not. A part of a GPU (MIG) has another name.
  for (const Preset& preset : presets())
    if (preset.device.name == info.name && preset.device.sms == info.sms) {
      info.bandwidth = preset.device.bandwidth;
      info.tf32 = preset.device.tf32, info.bf16 = preset.device.bf16, info.fp16 = preset.device.fp16;
    }
  return info;
}

const DeviceInfo& device_info(int ordinal) {
  static std::atomic<const DeviceInfo*> known[64];  // what two threads ask for at once is kept twice
  const Driver& the_driver = driver();
  if (ordinal < 0 || ordinal >= static_cast<int>(std::size(known)))
    fail_invalid(fmt::format("device_index {} is not between 0 and {}", ordinal, std::size(known) - 1));
  const DeviceInfo* info = known[ordinal].load(std::memory_order_acquire);
  if (!info) known[ordinal].store(info = new DeviceInfo(query_device(the_driver, ordinal)), std::memory_order_release);
  return *info;
}

namespace {

// A device's primary context, retained once and never released: others may use it while the process exits.
CUcontext primary_context(const Driver& driver, int ordinal) {
  if (ordinal < 0 || ordinal >= driver.devices) query_device(driver, ordinal);  // fails with the right words
  static auto& mutex = *new std::mutex;
  static auto& known = *new std::map<int, CUcontext>;
  const std::lock_guard lock(mutex);
  CUcontext& context = known[ordinal];
  if (context) return context;
  CUdevice device = 0;
  check(driver, driver.cuDeviceGet(&device, ordinal), "cuDeviceGet");
  const RelaxedCapture relaxed(driver);
  check(driver, driver.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  return context;
}

bool is_default(CUstream stream) { return !stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD; }

}  // namespace

ContextScope::ContextScope(const Driver& driver, CUstream stream, int device) : driver_(driver) {
  CUcontext current = nullptr, wanted = nullptr;
  check(driver, driver.cuCtxGetCurrent(&current), "cuCtxGetCurrent");
  if (is_default(stream)) {
    int own = -1;
    if (current) check(driver, driver.cuCtxGetDevice(&own), "cuCtxGetDevice");
    wanted = own == device ? current : primary_context(driver, device);
  } else {
    check(driver, driver.cuStreamGetCtx(stream, &wanted), "cuStreamGetCtx");
  }
  if (wanted != current) {
    check(driver, driver.cuCtxPushCurrent(wanted), "cuCtxPushCurrent");
    pushed_ = true;
  }
  try {
    unsigned long long id = 0;
    check(driver, driver.cuCtxGetId(wanted, &id), "cuCtxGetId");
    id_ = id;
    if (is_default(stream)) return;
    int own = -1;
    check(driver, driver.cuCtxGetDevice(&own), "cuCtxGetDevice");
    if (own != device)
      fail_invalid(fmt::format("stream belongs to device {} but the tensors are on device {}: give a stream of their device", own, device));
  } catch (...) {
    CUcontext popped;
    if (pushed_) driver.cuCtxPopCurrent(&popped);
    throw;
  }
}

ContextScope::~ContextScope() {
  CUcontext popped;
  if (pushed_) driver_.cuCtxPopCurrent(&popped);
}

RelaxedCapture::RelaxedCapture(const Driver& driver) : driver_(driver), mode_(CU_STREAM_CAPTURE_MODE_RELAXED) {
  check(driver, driver.cuThreadExchangeStreamCaptureMode(&mode_), "cuThreadExchangeStreamCaptureMode");
}

RelaxedCapture::~RelaxedCapture() { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }

void check_pointer(const Driver& driver, const void* pointer, int device, const char* role) {
  unsigned type = 0, managed = 0;
  int ordinal = -1;
  int attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_IS_MANAGED, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void* values[] = {&type, &managed, &ordinal};
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  check(driver, driver.cuPointerGetAttributes(3, attributes, values, address), "cuPointerGetAttributes");
  if (managed) return;  // moves to whichever device reads it
  if (type == CU_MEMORYTYPE_DEVICE && ordinal == device) return;
  if (type == CU_MEMORYTYPE_DEVICE)
    fail_invalid(fmt::format("{}: address {:#x} is memory of CUDA device {}, but the call is for device {}: move the tensor there", role,
                             address, ordinal, device));
  if (type == CU_MEMORYTYPE_HOST)
    fail_invalid(
        fmt::format("{}: address {:#x} is pinned host memory, but the tensor is said to be on CUDA device {}: copy it to the device, "
                    "or scan it on the CPU",
                    role, address, device));
  fail_invalid(
      fmt::format("{}: address {:#x} is no CUDA memory, but the tensor is said to be on CUDA device {}: copy it to the device, or "
                  "scan it on the CPU",
                  role, address, device));
}

}  // namespace cumulus::cuda
