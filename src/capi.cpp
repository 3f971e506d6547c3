// The C boundary: sizes of structures, exceptions to status codes, the thread's message.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>

#include <fmt/format.h>

#include "cpu/cpu_info.h"
#include "cpu/kernels.h"
#include "cpu/run.h"
#include "cuda/driver.h"
#include "cuda/launch.h"
#include "cuda/report.h"
#include "cumulus/cumulus.h"
#include "error.h"
#include "given_workspace.h"
#include "plan.h"
#include "shape.h"
#include "tuning/lookup.h"

namespace cumulus {
namespace {

// Trivially destructible, so that it can be read and written at any point of a thread's end.
thread_local char last_error[1024] = "";

cumulus_status fail(cumulus_status status, const char* message) noexcept {
  std::strncpy(last_error, message, sizeof last_error - 1);
  return status;
}

// Runs `body`, and turns what it throws into a status and this thread's message.
template <class Body>
cumulus_status guarded(Body&& body) noexcept {
  try {
    body();
    return CUMULUS_OK;
  } catch (const Failure& failure) {
    return fail(failure.status, failure.message.c_str());
  } catch (const std::bad_alloc&) {
    return fail(CUMULUS_OUT_OF_MEMORY, "out of memory for the scan's own buffers: use fewer threads or a smaller tensor");
  } catch (const std::exception& error) {
    return fail(CUMULUS_INTERNAL, error.what());
  } catch (...) {
    return fail(CUMULUS_INTERNAL, "an unknown exception inside the library");
  }
}

// A caller compiled against a later version may pass a longer structure, as long as it uses nothing this one does not know.
void check_args(const cumulus_scan_args* args) {
  if (!args) fail_invalid("args is null");
  if (args->struct_size == kFirstArgsSize) return;
  if (args->struct_size < sizeof *args)
    fail_invalid(fmt::format("struct_size is {} but this version's cumulus_scan_args has {} bytes: set it to sizeof(cumulus_scan_args)",
                             args->struct_size, sizeof *args));
  if (args->struct_size > 4 * sizeof *args)
    fail_invalid(fmt::format("struct_size {} is no size of cumulus_scan_args: set it to sizeof(cumulus_scan_args)", args->struct_size));
  const auto* byte = reinterpret_cast<const unsigned char*>(args);
  if (std::any_of(byte + sizeof *args, byte + args->struct_size, [](unsigned char b) { return b != 0; }))
    fail_unsupported(fmt::format("the call uses fields beyond the {} bytes this version knows: update the library", sizeof *args));
}

bool on_gpu(const cumulus_scan_args& args) { return args.out.dtype != 0 && args.out.device == CUMULUS_CUDA; }

void check_cpu(const cumulus_scan_args& args) {
  if (args.stream) fail_invalid("stream is not null: scans on the CPU have no stream");
  if (given_workspace(args).memory) fail_invalid("workspace is not null: scans on the CPU use none, give null");
  if (cpu::current_target() == cpu::Target::other)
    fail_unsupported("this CPU has none of the compiled SIMD targets: Cumulus needs at least SSE4.2 on x86-64");
}

cuda::Call cuda_call(const cumulus_scan_args& args) {
  cuda::Call call;
  call.look_up = tuning::cuda_tuning_to_run;
  call.workspace = given_workspace(args);
  call.device = args.out.device_index;
  call.initial_on_host = args.initial.dtype != 0 && args.initial.rank == 0 && args.initial.device == CUMULUS_CPU;
  return call;
}

std::string cpu_plan(const Problem& problem) {
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const tuning::Planned planned = tuning::planned(problem, cpu);
  return to_json(problem, planned.plan, cpu, tuning::name(planned.source));
}

std::string gpu_plan(const Problem& problem, int device) {
  const cuda::DeviceInfo& info = cuda::device_info(device);
  return cuda::to_json(problem, tuning::planned(problem, device, info).plan, info);
}

}  // namespace
}  // namespace cumulus

using namespace cumulus;

extern "C" {

cumulus_status cumulus_scan(const cumulus_scan_args* args) {
  return guarded([&] {
    check_args(args);
    if (!on_gpu(*args)) check_cpu(*args);
    Problem problem;
    canonicalise(*args, true, problem);
    if (on_gpu(*args)) return cuda::run(problem, cuda_call(*args));
    cpu::run(problem);
  });
}

cumulus_status cumulus_workspace_bytes(const cumulus_scan_args* args, size_t* bytes) {
  return guarded([&] {
    check_args(args);
    if (!bytes) fail_invalid("bytes is null: give a place for the answer");
    if (!on_gpu(*args)) check_cpu(*args);
    Problem problem;
    canonicalise(*args, false, problem);
    *bytes = on_gpu(*args) ? static_cast<size_t>(cuda::workspace_bytes(problem, cuda_call(*args))) : 0;
  });
}

cumulus_status cumulus_plan(const cumulus_scan_args* args, char* text, size_t size, size_t* needed) {
  return guarded([&] {
    check_args(args);
    if (!on_gpu(*args)) check_cpu(*args);
    if (!text && size > 0) fail_invalid(fmt::format("text is null but size is {}", size));
    Problem problem;
    canonicalise(*args, false, problem);
    const std::string json = on_gpu(*args) ? gpu_plan(problem, args->out.device_index) : cpu_plan(problem);
    if (needed) *needed = json.size() + 1;
    if (size == 0) return;
    const size_t count = std::min(size - 1, json.size());
    std::memcpy(text, json.data(), count);
    text[count] = '\0';
  });
}

const char* cumulus_last_error(void) { return last_error; }

const char* cumulus_status_name(cumulus_status status) {
  switch (status) {
    case CUMULUS_OK:
      return "ok";
    case CUMULUS_INVALID_ARGUMENT:
      return "invalid argument";
    case CUMULUS_UNSUPPORTED:
      return "unsupported";
    case CUMULUS_OUT_OF_MEMORY:
      return "out of memory";
    case CUMULUS_DEVICE_ERROR:
      return "device error";
    case CUMULUS_INTERNAL:
      return "internal error";
  }
  return "unknown status";
}

#define CUMULUS_TEXT_(x) #x
#define CUMULUS_TEXT(x) CUMULUS_TEXT_(x)
const char* cumulus_version(void) {
  return CUMULUS_TEXT(CUMULUS_VERSION_MAJOR) "." CUMULUS_TEXT(CUMULUS_VERSION_MINOR) "." CUMULUS_TEXT(CUMULUS_VERSION_PATCH);
}

int cumulus_order_version(void) { return 1; }

size_t cumulus_dtype_size(int32_t dtype) {
  return valid(static_cast<DType>(dtype)) ? static_cast<size_t>(bytes(static_cast<DType>(dtype))) : 0;
}

const char* cumulus_dtype_name(int32_t dtype) { return valid(static_cast<DType>(dtype)) ? name(static_cast<DType>(dtype)) : nullptr; }

const char* cumulus_simd_target(void) { return cpu::name(cpu::current_target()); }

}  // extern "C"
