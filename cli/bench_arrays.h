// The arrays of one benchmark case: on huge pages, touched, filled with random numbers.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "bench_cases.h"
#include "measure.h"

namespace cumulus::cli {

// Memory that outlives a case: the next one takes it again, and the values where they are of the same kind.
class BenchMemory {
 public:
  enum Role { in, in2, mask, out, result };

  // `bytes` of memory, which `fill` gives the values called `what`, unless they are there already.
  void* take(Role role, std::int64_t bytes, const std::string& what, const std::function<void(void*)>& fill);

 private:
  struct Piece {
    std::unique_ptr<Buffer> buffer;
    std::int64_t bytes = 0;
    std::string what;
    std::int64_t filled = 0;  // bytes
  };
  std::array<Piece, 5> pieces_;
};

class BenchArrays {
 public:
  explicit BenchArrays(const BenchCase& bench_case);
  BenchArrays(const BenchCase& bench_case, std::shared_ptr<BenchMemory> memory);

  // Runs the case's scan through the public C++ API.
  void scan(const ScanSpec& spec) const;
  ScanSpec spec(int threads) const;
  cumulus_scan_args args(const ScanSpec& spec) const;  // valid while the arrays and `spec` live

  const void* in() const { return in_; }
  void* out() const { return out_; }

  // Both `in` and `out` have room for a copy of half the bytes that the scan moves: it moves as many.
  std::size_t copy_bytes() const { return static_cast<std::size_t>(case_.bytes() / 2); }

  static std::int64_t bytes_needed(const BenchCase& bench_case);

 private:
  const BenchCase& case_;
  std::shared_ptr<BenchMemory> memory_;
  void *in_ = nullptr, *out_ = nullptr;
  ConstTensorView in_view_, in2_view_, mask_view_;
  TensorView out_view_;
};

}  // namespace cumulus::cli
