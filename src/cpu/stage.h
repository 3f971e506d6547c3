// Staging: between tensors of any dtype and stride and the planes of accumulators that kernels work on. Everything here
// touches in-cache buffers of a few KiB at a time; the driver decides when it is needed at all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/kernels.h"
#include "types.h"

namespace cumulus::cpu {

struct StageKernels {
  // Loads n elements of dtype `from` at `stride` into planes of the kernel accumulator, by [from][accumulator]. Null: no such pair.
  void (*load[kDTypes][kDTypes])(const void* from, std::int64_t stride, std::int64_t n, void* const planes[]);

  // Stores n elements, narrowing to nearest even, by [accumulator][to]. streaming: bypass the cache (stride 1 or -1).
  void (*store[kDTypes][kDTypes])(const void* const planes[], void* to, std::int64_t stride, std::int64_t n, bool streaming);

  // Where mask is false, planes become `shown`. By plane size in bytes (4 or 8): [bytes / 8].
  void (*select[2])(void* const planes[], int count, const void* mask, std::int64_t stride, std::int64_t n, const void* const shown[]);

  // planes *= factors, in the accumulator; by accumulator.
  void (*multiply[kDTypes])(void* const planes[], const void* const factors[], std::int64_t n);

  // Wraps 32-bit lanes to the narrow integer `result` they stand for; null where there is nothing to wrap.
  void (*wrap[kDTypes])(void* plane, std::int64_t n);

  // Copies `rows` rows of `n` values from one pitch to another, `padded` values of `bytes` (4 or 8) at a time: rows overlap in
  // a fixed order, so both buffers need `padded` values of slack at the end and must not be the same.
  void (*repitch)(const void* from, std::int64_t from_pitch, void* to, std::int64_t to_pitch, std::int64_t rows, std::int64_t n, int bytes);

  // to[c][r] = from[r][c] for values of `bytes` (4 or 8).
  void (*transpose)(const void* from, std::int64_t from_pitch, void* to, std::int64_t to_pitch, std::int64_t rows, std::int64_t columns,
                    int bytes);

  // A copy that bypasses the cache; any alignment.
  void (*stream_copy)(void* to, const void* from, std::size_t bytes);

  // Orders this thread's streaming stores before what it publishes next.
  void (*fence)();
};

const StageKernels& stage_kernels();  // of the current target

// One value of any dtype as the accumulator of `result`, in the lanes of its kernels (planes[k] each one lane).
// `convertible(from, result)` must hold.
void load_scalar(DType from, const void* value, DType result, void* const planes[]);

}  // namespace cumulus::cpu
