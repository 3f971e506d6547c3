// From a run-time target to the functions compiled for it. Highway's own dispatch keeps one choice per process; ours is a
// parameter, so that tests run every target and another user of Highway in the process is left alone.
#pragma once

#include "cpu/kernels.h"
#include "hwy/highway.h"

#if HWY_TARGETS & HWY_AVX3
#define CUMULUS_IF_AVX3(...) __VA_ARGS__
#else
#define CUMULUS_IF_AVX3(...)
#endif
#if HWY_TARGETS & HWY_AVX2
#define CUMULUS_IF_AVX2(...) __VA_ARGS__
#else
#define CUMULUS_IF_AVX2(...)
#endif
#if HWY_TARGETS & HWY_SSE4
#define CUMULUS_IF_SSE4(...) __VA_ARGS__
#else
#define CUMULUS_IF_SSE4(...)
#endif
#if HWY_TARGETS & HWY_NEON
#define CUMULUS_IF_NEON(...) __VA_ARGS__
#else
#define CUMULUS_IF_NEON(...)
#endif

// The body of a function with a parameter `target`: returns call, evaluated in that target's namespace, or {} if it is not compiled in.
#define CUMULUS_ON_TARGET(target, call)                       \
  switch (target) {                                           \
    CUMULUS_IF_AVX3(case Target::avx3 : return N_AVX3::call;) \
    CUMULUS_IF_AVX2(case Target::avx2 : return N_AVX2::call;) \
    CUMULUS_IF_SSE4(case Target::sse4 : return N_SSE4::call;) \
    CUMULUS_IF_NEON(case Target::neon : return N_NEON::call;) \
    default:                                                  \
      return {};                                              \
  }
