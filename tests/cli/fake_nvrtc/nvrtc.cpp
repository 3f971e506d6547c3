// A library to name in CUMULUS_NVRTC: an NVRTC of CUDA 13.0 that knows sm_90 and makes the same few bytes of any kernel, after a moment.
// `cumulus pack` is tested with it in seconds, and on machines without NVRTC.
#include <chrono>
#include <cstddef>
#include <cstring>
#include <thread>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {
constexpr char kCode[] = "machine code";
}

using Program = void*;

EXPORT int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0; }
EXPORT int nvrtcGetNumSupportedArchs(int* count) { return *count = 1, 0; }
EXPORT int nvrtcGetSupportedArchs(int* architectures) { return *architectures = 90, 0; }
EXPORT const char* nvrtcGetErrorString(int) { return "no reason"; }
EXPORT int nvrtcCreateProgram(Program* program, const char*, const char*, int, const char* const*, const char* const*) {
  return *program = nullptr, 0;
}
EXPORT int nvrtcDestroyProgram(Program*) { return 0; }
EXPORT int nvrtcAddNameExpression(Program, const char*) { return 0; }
EXPORT int nvrtcCompileProgram(Program, int, const char* const*) {
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  return 0;
}
EXPORT int nvrtcGetProgramLogSize(Program, std::size_t* size) { return *size = 1, 0; }
EXPORT int nvrtcGetProgramLog(Program, char* log) { return *log = 0, 0; }
EXPORT int nvrtcGetCUBINSize(Program, std::size_t* size) { return *size = sizeof kCode, 0; }
EXPORT int nvrtcGetCUBIN(Program, char* cubin) { return std::memcpy(cubin, kCode, sizeof kCode), 0; }
EXPORT int nvrtcGetLoweredName(Program, const char*, const char** lowered) { return *lowered = "kernel", 0; }
