// The primitives of kernels/device.cuh, on the emulator.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include "emulator.h"

namespace cumulus::cuda {

using Barrier = u64;

inline u8* shared_memory() { return emulator::shared_memory(); }
inline u32 thread_index() { return emulator::thread_index(); }
inline u32 block_index() { return emulator::block_index(); }
inline u32 block_count() { return emulator::block_count(); }
inline u32 block_threads() { return emulator::block_threads(); }

template <int kBytes>
Bits<kBytes> load_global(const void* p) {
  emulator::check_global(p, kBytes, false);
  Bits<kBytes> v;
  std::memcpy(&v, p, kBytes);
  return v;
}
template <int kBytes>
Bits<kBytes> load_global_below(const void* p, int k, int end) {
  if (k < end) return load_global<kBytes>(p);
  Bits<kBytes> undefined;
  std::memset(&undefined, 0xa5, kBytes);
  return undefined;
}
template <int kBytes>
void store_global(void* p, Bits<kBytes> v) {
  emulator::check_global(p, kBytes, true);
  std::memcpy(p, &v, kBytes);
}
template <class T>
T load_shared(const T* p) {
  emulator::check_shared(p, sizeof(T), false);
  return *p;
}
template <class T>
void store_shared(T* p, const T& v) {
  emulator::check_shared(p, sizeof(T), true);
  *p = v;
}

// Between two words others may run, so that a message of several may be half there; but not in the middle of an atomic operation.
inline u64 load_relaxed(const u64* p) {
  emulator::stall_load();
  return load_global<8>(p);
}
inline void store_relaxed(u64* p, u64 v) {
  store_global<8>(p, v);
  emulator::progress();
  emulator::stall_store();
}
inline u64 fetch_add(u64* p, u64 v) {
  const u64 before = load_global<8>(p);
  store_relaxed(p, before + v);
  return before;
}
inline u64 compare_exchange(u64* p, u64 expected, u64 v) {
  const u64 before = load_global<8>(p);
  if (before == expected) store_relaxed(p, v);
  return before;
}
inline void fence_device() {}  // words are always seen in the order in which they were stored here
inline void pause() { emulator::pause(); }
inline void pause_long() { emulator::pause(); }
inline constexpr u32 kPatience = 20;  // little, so that blocks do leave

inline u32 load_acquire_shared(const u32* p) {
  emulator::acquire_flag(p);
  return *p;
}
inline void store_release_shared(u32* p, u32 v) {
  emulator::release_flag(p);
  *p = v;
}
// Relaxed: it orders nothing. Like a read it comes after the word was written and before it is written otherwise; additions do not race.
inline u32 fetch_add_shared(u32* p, u32 v) {
  emulator::check_shared(p, sizeof *p, false);
  emulator::progress();
  const u32 before = *p;
  *p = before + v;
  return before;
}

inline u32 shuffle_word(u32 v, u32 lane) { return emulator::shuffle(v, lane); }
inline u32 ballot(bool predicate) { return emulator::ballot(predicate); }
inline void sync_warp() { emulator::sync_warp(); }
inline void sync_block() { emulator::sync_block(); }
inline int count_trailing_zeros(u32 v) { return std::countr_zero(v); }

inline void barrier_init(Barrier* b, u32 count) { emulator::barrier_init(b, count); }
inline void barrier_init_done() {}
inline void barrier_arrive(Barrier* b) { emulator::barrier_arrive(b, 0); }
inline void barrier_arrive_expect(Barrier* b, u32 bytes) { emulator::barrier_arrive(b, bytes); }
inline bool barrier_test(Barrier* b, u32 parity) { return emulator::barrier_test(b, parity); }
inline void barrier_wait(Barrier* b, u32 parity) { emulator::barrier_wait(b, parity); }
inline void bulk_load(void* to, const void* from, u32 bytes, Barrier* b) { emulator::bulk_load(to, bytes, {{0, from, bytes}}, 16, b); }
inline void bulk_prefetch(const void* from, u32 bytes) { emulator::bulk_prefetch(from, bytes); }
// What an emulated launch has in place of the driver's encoding: the shape itself.
inline TensorMap map_of(const TensorShape& shape) {
  static_assert(sizeof(TensorShape) <= sizeof(TensorMap));
  TensorMap map{};
  std::memcpy(&map, &shape, sizeof shape);
  return map;
}
inline void tensor_load(void* to, const TensorMap* map, int column, int row, int outer, Barrier* b) {
  TensorShape shape;
  std::memcpy(&shape, map, sizeof shape);
  const auto inside = [&](i64 at, int dim) { return at >= 0 && at < static_cast<i64>(shape.size[dim]); };
  const std::size_t row_bytes = shape.box[0] * kTensorElement;
  std::vector<emulator::Piece> pieces;
  std::size_t offset = 0;
  for (i64 z = outer; z < outer + static_cast<i64>(shape.box[2]); ++z)
    for (i64 y = row; y < row + static_cast<i64>(shape.box[1]); ++y, offset += row_bytes) {
      if (!inside(y, 1) || !inside(z, 2) || !inside(column, 0)) continue;
      const auto rest = (shape.size[0] - static_cast<u64>(column)) * kTensorElement;
      pieces.push_back({offset,
                        static_cast<const u8*>(shape.base) + i64{column} * kTensorElement + y * static_cast<i64>(shape.stride[0]) +
                            z * static_cast<i64>(shape.stride[1]),
                        rest < row_bytes ? rest : row_bytes});
    }
  emulator::bulk_load(to, offset, std::move(pieces), 128, b);
}
inline void fence_async() {}
inline void async_load16(void* to, const void* from) { emulator::async_load(to, from, 16); }
inline void async_arrive(Barrier* b) { emulator::async_arrive(b); }
inline void async_wait() { emulator::async_wait(); }

// Conversions of the 16-bit formats, to nearest even, from their definition.
inline u16 half_of(u32 word, int which) { return static_cast<u16>(word >> (16 * which)); }
inline u32 word_of(u16 low, u16 high) { return low | static_cast<u32>(high) << 16; }
inline float f16_to_f32(u16 h) {
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  const float sign = h & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? std::nanf("") : sign * HUGE_VALF;
  return sign * std::ldexp(static_cast<float>(exponent ? mantissa + 1024 : mantissa), (exponent ? exponent : 1) - 25);
}
inline u16 f32_to_f16(float f) {
  const u16 sign = std::signbit(f) ? 0x8000 : 0;
  const float magnitude = std::fabs(f);
  if (f != f) return 0x7e00;
  if (magnitude >= 65520.0f) return static_cast<u16>(sign | 0x7c00);
  int exponent = -13;  // zero and subnormals share the least quantum
  if (magnitude > 0) std::frexp(magnitude, &exponent);
  const int quantum = (exponent > -13 ? exponent : -13) - 11;  // of the last place
  const auto code = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -quantum)));
  return static_cast<u16>(sign | (code + ((quantum + 24) << 10)));
}
inline u16 f32_to_bf16(float f) {
  const u32 bits = std::bit_cast<u32>(f);
  if (f != f) return 0x7fff;
  return static_cast<u16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float maximum(float a, float b) {
  if (a != a || b != b) return std::nanf("");
  if (a == b) return std::signbit(a) ? b : a;
  return a > b ? a : b;
}
inline float minimum(float a, float b) {
  if (a != a || b != b) return std::nanf("");
  if (a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}

}  // namespace cumulus::cuda
