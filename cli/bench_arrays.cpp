#include "bench_arrays.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "types.h"

namespace cumulus::cli {
namespace {

// splitmix64: random enough for values, and fast.
struct Random {
  std::uint64_t state;
  std::uint64_t operator()() {
    std::uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }
};

template <class T, class Make>
void fill(void* data, std::int64_t count, Make make) {
  T* to = static_cast<T*>(data);
  for (std::int64_t i = 0; i < count; ++i) to[i] = make();
}

// Reals in [0, 1), near 1 where they are multiplied (products must neither overflow nor become subnormal); any integer.
void fill_random(void* data, DType dtype, std::int64_t count, bool factors, std::uint64_t seed) {
  Random random{seed};
  const double low = factors ? 0.95 : 0, width = factors ? 0.1 : 1;
  switch (dtype) {
    case DType::f32:
      return fill<float>(data, count, [&] { return static_cast<float>(low + width * random.uniform()); });
    case DType::c64:
      return fill<float>(data, 2 * count, [&] { return static_cast<float>(random.uniform()); });
    case DType::f64:
      return fill<double>(data, count, [&] { return low + width * random.uniform(); });
    case DType::c128:
      return fill<double>(data, 2 * count, [&] { return random.uniform(); });
    case DType::f16:
      return fill<std::uint16_t>(data, count, [&] { return static_cast<std::uint16_t>(0x3000 + random() % 0xc00); });  // [1/8, 1)
    case DType::bf16:
      return fill<std::uint16_t>(data, count, [&] { return static_cast<std::uint16_t>(0x3e00 + random() % 0x180); });  // [1/8, 1)
    case DType::boolean:
      return fill<std::uint8_t>(data, count, [&] { return static_cast<std::uint8_t>(random() >> 63); });
    default:
      return fill<std::uint8_t>(data, count * bytes(dtype), [&] { return static_cast<std::uint8_t>(random() >> 56); });
  }
}

// Half zeros, half ones, in the dtype of the case's input: what multiplying by a bool mask means.
void fill_mask(void* data, DType dtype, std::int64_t count) {
  Random random{3};
  if (dtype == DType::boolean) return fill_random(data, dtype, count, false, 3);
  fill<float>(data, count, [&] { return static_cast<float>(random() >> 63); });  // multiplying cases are f32
}

Dims dims(const std::vector<std::int64_t>& values) { return {values.data(), static_cast<int>(values.size())}; }

Dims in_strides(const BenchCase& c) {
  if (c.layout == InputLayout::transposed) return {1, c.shape[0]};
  if (c.layout == InputLayout::contiguous) return {};
  return c.shape.size() == 1 ? Dims{2} : Dims{2 * c.shape[1], 2};
}

std::int64_t in_count(const BenchCase& c) { return c.count() * (c.layout == InputLayout::every_second ? 2 : 1); }
std::int64_t in_room(const BenchCase& c) { return std::max(in_count(c) * bytes(c.in), c.bytes() / 2); }
std::int64_t out_room(const BenchCase& c) { return std::max(c.out_bytes(), c.bytes() / 2); }
std::int64_t in2_room(const BenchCase& c) { return inputs(c.op) == 2 ? c.in_bytes() : 0; }

}  // namespace

BenchArrays::BenchArrays(const BenchCase& c)
    : case_(c),
      in_(static_cast<std::size_t>(in_room(c))),
      out_(static_cast<std::size_t>(out_room(c))),
      mask_(static_cast<std::size_t>(c.mask_bytes())),
      in2_(static_cast<std::size_t>(in2_room(c))),
      in_view_(in_.as(), c.in, dims(c.shape), in_strides(c)),
      in2_view_(in2_.as(), c.in, dims(c.shape)),
      mask_view_(mask_.as(), c.mask == MaskUse::select ? DType::boolean : c.in, dims(c.shape)),
      out_view_(out_.as(), c.out, dims(c.out_shape())) {
  std::memset(in_.as(), 0, in_.size());
  std::memset(out_.as(), 0, out_.size());
  fill_random(in_.as(), c.in, in_count(c), c.op == Op::prod || c.op == Op::recurrence, 1);
  if (inputs(c.op) == 2) fill_random(in2_.as(), c.in, c.count(), false, 2);
  if (c.mask != MaskUse::none) fill_mask(mask_.as(), mask_view_.dtype, c.count());
}

ScanSpec BenchArrays::spec(int threads) const {
  ScanSpec spec{.op = case_.op, .kind = case_.kind, .axis = case_.axis, .reverse = case_.reverse, .threads = threads};
  if (case_.mask != MaskUse::none) spec.mask = mask_view_;
  return spec;
}

cumulus_scan_args BenchArrays::args(const ScanSpec& spec) const {
  return detail::to_c(in_view_, case_.op == Op::recurrence ? &in2_view_ : nullptr, out_view_, spec);
}

void BenchArrays::scan(const ScanSpec& spec) const {
  if (case_.op == Op::recurrence) linear_recurrence(in_view_, in2_view_, out_view_, spec);
  else cumulus::scan(in_view_, out_view_, spec);
}

std::int64_t BenchArrays::bytes_needed(const BenchCase& c) { return in_room(c) + out_room(c) + c.mask_bytes() + in2_room(c); }

}  // namespace cumulus::cli
