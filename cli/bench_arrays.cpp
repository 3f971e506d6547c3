#include "bench_arrays.h"

#include <fmt/core.h>
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "types.h"

namespace cumulus::cli {
namespace {

// splitmix64: random enough for values, and fast. Number i of a seed is known without those before it.
struct Random {
  static constexpr std::uint64_t kStep = 0x9e3779b97f4a7c15;
  std::uint64_t state;
  std::uint64_t operator()() {
    std::uint64_t z = state += kStep;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }
};

// `make` takes one number of Random for each element.
template <class T, class Make>
void fill(void* data, std::int64_t count, std::uint64_t seed, Make make) {
  T* to = static_cast<T*>(data);
  tbb::parallel_for(tbb::blocked_range<std::int64_t>(0, count, 1 << 16), [=](const tbb::blocked_range<std::int64_t>& part) {
    Random random{seed + static_cast<std::uint64_t>(part.begin()) * Random::kStep};
    for (std::int64_t i = part.begin(); i < part.end(); ++i) to[i] = make(random);
  });
}

// Reals in [0, 1), near 1 where they are multiplied (products must neither overflow nor become subnormal); any integer.
void fill_random(void* data, DType dtype, std::int64_t count, bool factors, std::uint64_t seed) {
  const double low = factors ? 0.95 : 0, width = factors ? 0.1 : 1;
  const auto real = [=](Random& random) { return low + width * random.uniform(); };
  const auto plain = [](Random& random) { return random.uniform(); };
  const auto half = [](Random& random) { return static_cast<std::uint16_t>(0x3000 + random() % 0xc00); };   // [1/8, 1)
  const auto brain = [](Random& random) { return static_cast<std::uint16_t>(0x3e00 + random() % 0x180); };  // [1/8, 1)
  const auto bit = [](Random& random) { return static_cast<std::uint8_t>(random() >> 63); };
  const auto byte = [](Random& random) { return static_cast<std::uint8_t>(random() >> 56); };
  switch (dtype) {
    case DType::f32:
      return fill<float>(data, count, seed, [=](Random& random) { return static_cast<float>(real(random)); });
    case DType::c64:
      return fill<float>(data, 2 * count, seed, [=](Random& random) { return static_cast<float>(plain(random)); });
    case DType::f64:
      return fill<double>(data, count, seed, real);
    case DType::c128:
      return fill<double>(data, 2 * count, seed, plain);
    case DType::f16:
      return fill<std::uint16_t>(data, count, seed, half);
    case DType::bf16:
      return fill<std::uint16_t>(data, count, seed, brain);
    case DType::boolean:
      return fill<std::uint8_t>(data, count, seed, bit);
    default:
      return fill<std::uint8_t>(data, count * bytes(dtype), seed, byte);
  }
}

// Half zeros, half ones, in the dtype of the case's input: what multiplying by a bool mask means.
void fill_mask(void* data, DType dtype, std::int64_t count) {
  if (dtype == DType::boolean) return fill_random(data, dtype, count, false, 3);
  fill<float>(data, count, 3, [](Random& random) { return static_cast<float>(random() >> 63); });  // multiplying cases are f32
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

void* BenchMemory::take(Role role, std::int64_t bytes, const std::string& what, const std::function<void(void*)>& fill) {
  Piece& piece = pieces_[static_cast<std::size_t>(role)];
  if (!piece.buffer || piece.bytes < bytes) {
    piece.buffer.reset();  // before the next one is there: both may not fit
    piece = {std::make_unique<Buffer>(static_cast<std::size_t>(bytes)), bytes, "", 0};
  }
  if (piece.what != what || piece.filled < bytes) {
    fill(piece.buffer->as());
    piece.what = what, piece.filled = bytes;
  }
  return piece.buffer->as();
}

BenchArrays::BenchArrays(const BenchCase& c) : BenchArrays(c, std::make_shared<BenchMemory>()) {}

BenchArrays::BenchArrays(const BenchCase& c, std::shared_ptr<BenchMemory> memory) : case_(c), memory_(std::move(memory)) {
  const bool factors = c.op == Op::prod || c.op == Op::recurrence;
  const DType mask = c.mask == MaskUse::select ? DType::boolean : c.in;
  in_ = memory_->take(BenchMemory::in, in_room(c), fmt::format("{}{}", name(c.in), factors ? " factors" : ""),
                      [&](void* data) { fill_random(data, c.in, in_room(c) / bytes(c.in), factors, 1); });
  out_ = memory_->take(BenchMemory::out, out_room(c), "zeros",
                       [&](void* data) { std::memset(data, 0, static_cast<std::size_t>(out_room(c))); });
  void* const second = memory_->take(BenchMemory::in2, in2_room(c), name(c.in),
                                     [&](void* data) { fill_random(data, c.in, in2_room(c) / bytes(c.in), false, 2); });
  void* const masks = memory_->take(BenchMemory::mask, c.mask_bytes(), name(mask), [&](void* data) {
    if (c.mask != MaskUse::none) fill_mask(data, mask, c.count());
  });
  in_view_ = {in_, c.in, dims(c.shape), in_strides(c)};
  in2_view_ = {second, c.in, dims(c.shape)};
  mask_view_ = {masks, mask, dims(c.shape)};
  out_view_ = {out_, c.out, dims(c.out_shape())};
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
