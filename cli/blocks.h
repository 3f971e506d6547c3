// A scan in steps, for a progress bar: blocks of whole rows, one call each. The bits are those of one call.
#pragma once

#include <cstdint>
#include <functional>

#include "cumulus/cumulus.hpp"

namespace cumulus::cli {

// The tensors of one scan, which must all have strides. spec.axis is not negative. Views only: the memory outlives it.
struct Job {
  ConstTensorView in, in2;
  TensorView out;
  ScanSpec spec;
};

// Scans in about `blocks` steps (one where there is no dimension to cut). done(part) is called after each; the parts add up to 1.
void scan_in_blocks(const Job& job, std::int64_t blocks, const std::function<void(double part)>& done);

}  // namespace cumulus::cli
