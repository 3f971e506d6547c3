// An NVRTC of CUDA 13.0 without a compiler: it knows sm_90, and makes the code "compiled" for any source, or returns `kResult`.
#pragma once

#include <atomic>
#include <cstring>

#include "fake_system.h"

namespace support {

template <int kResult>
struct FakeNvrtc : FakeLibrary {
  static inline std::atomic<int> compilations = 0;  // since the test set it to 0

  FakeNvrtc() {
    using Program = void*;
    const auto add = [&](const char* name, auto function) { (*this)[name] = reinterpret_cast<void*>(+function); };
    add("nvrtcVersion", [](int* major, int* minor) { return *major = 13, *minor = 0; });
    add("nvrtcGetNumSupportedArchs", [](int* count) { return *count = 1, 0; });
    add("nvrtcGetSupportedArchs", [](int* architectures) { return *architectures = 90, 0; });
    add("nvrtcGetErrorString", [](int) { return "a reason"; });
    add("nvrtcCreateProgram",
        [](Program* program, const char*, const char*, int, const char* const*, const char* const*) { return *program = nullptr, 0; });
    add("nvrtcDestroyProgram", [](Program*) { return 0; });
    add("nvrtcAddNameExpression", [](Program, const char*) { return 0; });
    add("nvrtcCompileProgram", [](Program, int, const char* const*) { return ++compilations, kResult; });
    add("nvrtcGetProgramLogSize", [](Program, std::size_t* size) { return *size = 1, 0; });
    add("nvrtcGetProgramLog", [](Program, char* log) { return *log = 0, 0; });
    add("nvrtcGetCUBINSize", [](Program, std::size_t* size) { return *size = sizeof kCode - 1, 0; });
    add("nvrtcGetCUBIN", [](Program, char* cubin) { return std::memcpy(cubin, kCode, sizeof kCode - 1), 0; });
    add("nvrtcGetLoweredName", [](Program, const char*, const char** lowered) { return *lowered = "lowered", 0; });
  }

  static constexpr char kCode[] = "compiled";
};

}  // namespace support
