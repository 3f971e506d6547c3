#include "tensor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "reference.h"

namespace support {

using cumulus::bytes;
using cumulus::Family;
using cumulus::family;

GuardPages::Place GuardPages::current = GuardPages::off;

Buffer::Buffer(std::int64_t size, int pattern) : size_(size) {
  const auto room = static_cast<std::size_t>(size);
  if (GuardPages::current == GuardPages::off) {
    data_ = static_cast<char*>(::operator new(room, std::align_val_t(64)));
  } else {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), pages = (room + page - 1) / page * page;
    mapped_ = pages + 2 * page;
    void* mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<char*>(mapping);
    if (pages && mprotect(mapping_ + page, pages, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    data_ = mapping_ + page + (GuardPages::current == GuardPages::behind ? pages - room : 0);
  }
  std::memset(data_, pattern, room);
}

Buffer::Buffer(const Buffer& other) : Buffer(other.size_) {
  if (size_) std::memcpy(data_, other.data_, static_cast<std::size_t>(size_));
}

Buffer& Buffer::operator=(Buffer other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Buffer::~Buffer() {
  if (mapping_) munmap(mapping_, mapped_);
  else ::operator delete(data_, std::align_val_t(64));
}

Tensor::Tensor(DType t, Sizes sizes, const Layout& layout, int pattern) : dtype(t), shape(std::move(sizes)), strides(shape.size(), 0) {
  std::int64_t step = 1, lowest = 0, highest = 0;
  for (std::size_t k = shape.size(); k-- > 0;) {
    const std::size_t axis = layout.order.empty() ? k : static_cast<std::size_t>(layout.order[k]);
    const std::int64_t gap = layout.gap.empty() ? 1 : layout.gap[axis];
    const std::int64_t stride = gap * step;
    step *= gap ? gap * std::max<std::int64_t>(shape[axis], 1) : 1;
    const bool back = !layout.flip.empty() && layout.flip[axis];
    strides[axis] = back ? -stride : stride;
    (back ? lowest : highest) += strides[axis] * (std::max<std::int64_t>(shape[axis], 1) - 1);
  }
  start = layout.offset - lowest;
  memory = Buffer((start + highest + 1) * bytes(t), pattern);
}

Tensor& Tensor::filled(Fill how, std::uint64_t seed) {
  fill(how, dtype, seed, memory.size() / bytes(dtype), memory.data());
  return *this;
}

namespace {

bool is_nan(DType t, const char* p) {
  double d;
  float f;
  std::uint16_t h;
  switch (t) {
    case DType::f16:
      return std::memcpy(&h, p, 2), std::isnan(reference::from_f16(h));
    case DType::bf16:
      return std::memcpy(&h, p, 2), std::isnan(reference::from_bf16(h));
    case DType::f32:
      return std::memcpy(&f, p, 4), std::isnan(f);
    case DType::f64:
      return std::memcpy(&d, p, 8), std::isnan(d);
    default:
      return false;
  }
}

std::string hex(DType t, const char* p) {
  std::string text = "0x";
  char digits[3];
  for (std::int64_t k = bytes(t); k-- > 0;) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(p[k]));
    text += digits;
  }
  return text;
}

}  // namespace

bool same_element(DType t, const char* a, const char* b) {
  if (std::memcmp(a, b, static_cast<std::size_t>(bytes(t))) == 0) return true;
  if (family(t) == Family::complex) {
    const DType part = t == DType::c64 ? DType::f32 : DType::f64;
    return same_element(part, a, b) && same_element(part, a + bytes(part), b + bytes(part));
  }
  return is_nan(t, a) && is_nan(t, b);
}

testing::AssertionResult same(const Tensor& expected, const Tensor& got) {
  const char *a = expected.memory.data(), *b = got.memory.data();
  const std::int64_t size = bytes(expected.dtype), count = expected.memory.size() / size;
  if (count == 0 || std::memcmp(a, b, static_cast<std::size_t>(count * size)) == 0) return testing::AssertionSuccess();
  std::int64_t wrong = 0, at = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    if (same_element(expected.dtype, a + i * size, b + i * size)) continue;
    if (wrong++ == 0) at = i;
  }
  if (wrong == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << wrong << " of " << count << " " << cumulus::name(expected.dtype)
                                     << " elements of memory differ, first at " << at - expected.start << " from index 0: expected "
                                     << hex(expected.dtype, a + at * size) << ", got " << hex(expected.dtype, b + at * size);
}

}  // namespace support
