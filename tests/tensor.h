// Tensors of any layout in memory whose ends can be guarded, and their comparison bit for bit.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cumulus/cumulus.hpp"
#include "numbers.h"
#include "types.h"  // bytes()

namespace support {

// Aligned to 64 bytes, and exactly as large as asked for (a sanitizer sees the next byte). While a GuardPages lives, new buffers end
// just before, or begin just after, a page that faults: reads and writes outside end the test, without any sanitizer.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t bytes, int pattern = 0);
  Buffer(const Buffer& other);
  Buffer& operator=(Buffer other) noexcept;
  ~Buffer();
  char* data() const { return data_; }
  std::int64_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  std::int64_t size_ = 0;
  char* mapping_ = nullptr;
  std::size_t mapped_ = 0;
};

class GuardPages {
 public:
  enum Place { off, behind, before };
  explicit GuardPages(Place place) : previous_(current) { current = place; }
  ~GuardPages() { current = previous_; }
  GuardPages(const GuardPages&) = delete;
  GuardPages& operator=(const GuardPages&) = delete;
  static Place current;

 private:
  Place previous_;
};

using Sizes = std::vector<std::int64_t>;

// How a tensor lies in memory. Empty members mean the plain choice.
struct Layout {
  std::vector<int> order;   // axes, outermost first
  Sizes gap;                // per axis: elements per step (1: dense; 0: broadcast, inputs only)
  std::vector<bool> flip;   // per axis: runs backwards in memory
  std::int64_t offset = 0;  // elements before the first, on top of the alignment of 64 bytes
};

struct Tensor {
  Tensor() = default;
  Tensor(DType t, Sizes sizes, const Layout& layout = {}, int pattern = 0);  // every byte is `pattern`
  Tensor& filled(Fill how, std::uint64_t seed);                              // the whole memory, gaps included
  char* first() const { return memory.data() + start * cumulus::bytes(dtype); }
  cumulus::TensorView view() const { return {first(), dtype, {shape.data(), rank()}, {strides.data(), rank()}}; }
  int rank() const { return static_cast<int>(shape.size()); }
  explicit operator bool() const { return dtype != DType::none; }

  DType dtype = DType::none;
  Sizes shape, strides;
  std::int64_t start = 0;  // element of memory where index 0 is
  Buffer memory;
};

// Equal bits in all of the memory; NaNs are equal. The message says where the first difference is.
testing::AssertionResult same(const Tensor& expected, const Tensor& got);
bool same_element(DType t, const char* a, const char* b);

}  // namespace support
