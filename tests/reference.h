// An independent scalar reference of a scan, written from the definition of the order (docs/order.md), not from any kernel.
// It is slow, wide and plain; it is itself checked against files made by the order's executable definition (reference_test.cpp).
#pragma once

#include <cstdint>

#include "cumulus/cumulus.hpp"

namespace reference {

// What cumulus::scan and cumulus::linear_recurrence (in2 given) promise, for valid calls: any rank, axis, strides, dtypes, mask,
// initial and total. Nothing is validated. Needs the default floating-point environment.
void scan(const cumulus::ConstTensorView& in, const cumulus::ConstTensorView* in2, const cumulus::TensorView& out,
          const cumulus::ScanSpec& spec);

// Conversions to nearest even, subnormals and infinities kept; any NaN becomes a NaN.
float from_f16(std::uint16_t bits);
float from_bf16(std::uint16_t bits);
std::uint16_t to_f16(float value);
std::uint16_t to_bf16(float value);

}  // namespace reference
