// A call, checked and reduced to its canonical form: a scan axis and the other dimensions, merged and sorted.
#pragma once

#include <cstdint>

#include "cumulus/cumulus.h"
#include "types.h"

namespace cumulus {

// One dimension: its size and every tensor's stride along it, in elements (0 where a tensor is absent or broadcast).
// No default values: a Problem has room for 64 of these, and a small call would spend its time on zeroing them.
struct Dim {
  std::int64_t size;
  std::int64_t in, in2, out, mask, initial, total;
};

enum class ShapeCase : std::uint8_t {
  empty,    // no element and no row: nothing to do
  rows,     // the axis is contiguous (forwards or backwards) in input and output
  columns,  // another dimension is contiguous in the output: it is walked in vectors
  strided   // nothing is contiguous where it would help: elements are gathered
};

// The scan in canonical form. `reverse` is gone: pointers stand at the first element in scan order and strides along the
// axis are negated. Dimensions of size 1 are dropped; the others are sorted by |out stride|, largest first, and merged.
struct Problem {
  Op op;
  Kind kind;
  DType in_dtype, out_dtype, mask_dtype, initial_dtype, total_dtype;  // none where the tensor is absent
  DType acc;                                                          // accumulator of the result
  DType kernel;                                                       // accumulator of the kernels that serve it
  const void* in;
  const void* in2;
  const void* mask;
  const void* initial;
  void* out;
  void* total;
  std::int64_t n;      // elements along the axis
  std::int64_t n_out;  // n, or n + 1 for prefixes
  std::int64_t rows;   // product of the other dimensions
  Dim axis;            // strides along the axis; size is n
  int dims;            // entries of dim that are in use
  std::int32_t threads;
  std::uint32_t flags;
  void* stream;
  Device device;
  Dim dim[CUMULUS_MAX_RANK];  // only the first `dims` entries are initialised

  bool masked() const { return mask_dtype != DType::none; }
};

// Checks a call and fills `problem`; throws Failure. require_data: false accepts null pointers (planning only).
void canonicalise(const cumulus_scan_args& args, bool require_data, Problem& problem);

// Bytes that any implementation must read and write. Of a problem that canonicalise let pass, they and what a plan adds fit 63 bits.
std::int64_t bytes_required(const Problem& problem);

}  // namespace cumulus
