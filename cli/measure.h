// Timing for the commands that measure, and the memory they measure with.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

namespace cumulus::cli {

template <class Work>
double time_ms(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Memory on huge pages where the system has them, as large arrays of most programs are; not initialised.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : size_((std::max<std::size_t>(bytes, 1) + kHuge - 1) / kHuge * kHuge) {
    data_ = std::aligned_alloc(kHuge, size_);
    if (!data_) throw std::bad_alloc();
    madvise(data_, size_, MADV_HUGEPAGE);
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::size_t size() const { return size_; }
  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  static constexpr std::size_t kHuge = std::size_t{2} << 20;
  std::size_t size_;
  void* data_;
};

}  // namespace cumulus::cli
