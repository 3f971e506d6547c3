// What `cumulus demo` checks against: one row at a time, on one thread, written from definitions and not from the library.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace cumulus::cli {

enum class DemoOp { sum, prod };

// The order, version 1 (docs/order.md), for f32: quads, segments of 128 and chunks of 4096 in f32, what is above in f64.
class OrderReference {
 public:
  // All prefixes R(0..n) of x into r, which has n + 1 elements.
  void prefixes(std::span<const float> x, DemoOp op, std::span<float> r);

 private:
  std::vector<float> quads_, segments_, chunks_;  // prefixes inside quads, of quads in segments, of segments in chunks
  std::vector<std::vector<double>> upper_;        // of chunks in blocks, of blocks in their parents, ...
};

// The same prefixes in f64, one after the other.
void serial_prefixes(std::span<const float> x, DemoOp op, std::span<double> r);

}  // namespace cumulus::cli
