// The arrays of one benchmark case: on huge pages, touched, filled with random numbers.
#pragma once

#include <memory>

#include "bench_cases.h"
#include "measure.h"

namespace cumulus::cli {

class BenchArrays {
 public:
  explicit BenchArrays(const BenchCase& bench_case);

  // Runs the case's scan through the public C++ API.
  void scan(const ScanSpec& spec) const;
  ScanSpec spec(int threads) const;
  cumulus_scan_args args(const ScanSpec& spec) const;  // valid while the arrays and `spec` live

  const void* in() const { return in_.as(); }
  void* out() const { return out_.as(); }

  // Both `in` and `out` have room for a copy of half the bytes that the scan moves: it moves as many.
  std::size_t copy_bytes() const { return static_cast<std::size_t>(case_.bytes() / 2); }

  static std::int64_t bytes_needed(const BenchCase& bench_case);

 private:
  const BenchCase& case_;
  Buffer in_, out_, mask_, in2_;
  ConstTensorView in_view_, in2_view_, mask_view_;
  TensorView out_view_;
};

}  // namespace cumulus::cli
