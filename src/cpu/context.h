// What every path of the CPU driver needs of a call: its kernels, the values rows start from, and addresses.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "cpu/kernels.h"
#include "cpu/stage.h"
#include "cpu/threads.h"
#include "plan.h"
#include "shape.h"

namespace cumulus::cpu {

// One accumulator value: a lane of each plane.
struct Value {
  alignas(8) unsigned char lane[kMaxPlanes][8] = {};

  const void* plane(int k) const { return lane[k]; }
  void* plane(int k) { return lane[k]; }
};

// Element offsets of one row's first element in scan order.
struct Offsets {
  std::int64_t in = 0, in2 = 0, out = 0, mask = 0, initial = 0, total = 0;

  void add(const Dim& dim, std::int64_t steps) {
    in += dim.in * steps, in2 += dim.in2 * steps, out += dim.out * steps;
    mask += dim.mask * steps, initial += dim.initial * steps, total += dim.total * steps;
  }
};

inline const char* at(const void* data, DType dtype, std::int64_t elements) {
  return static_cast<const char*>(data) + elements * bytes(dtype);
}
inline char* at(void* data, DType dtype, std::int64_t elements) { return static_cast<char*>(data) + elements * bytes(dtype); }

struct Context {
  const Problem& p;
  const Plan& plan;
  const OpKernels& kernel;
  const StageKernels& stage;
  int planes;        // of an element
  int input_planes;  // of one input
  int out_plane;     // the first plane of the result (a pair's second number)
  bool has_start;    // rows start from a value; false: the recurrence without an initial one
  bool first_shown;  // R(0) is not the start's own value but the shown identity
  Value identity;    // inside
  Value shown;       // what an empty prefix and a masked-out element show

  Context(const Problem& problem, const Plan& chosen);

  // What a row starts from: its initial value or the identity.
  void load_start(const Offsets& row, Value& start) const;

  auto load(DType from) const { return stage.load[static_cast<int>(from)][static_cast<int>(p.kernel)]; }
  auto store(DType to) const { return stage.store[static_cast<int>(p.kernel)][static_cast<int>(to)]; }

  // Stores one value, from `planes` of one lane each, at `to`; and R(n) of a row where its total is wanted.
  void store_value(DType dtype, char* to, const void* const value[]) const { store(dtype)(value + out_plane, to, 1, 1, false); }
  void store_total(const Offsets& row, const void* const end[]) const;

  auto wrap() const { return stage.wrap[static_cast<int>(p.acc)]; }

  bool in_place() const { return p.in == p.out || p.in2 == p.out; }
  const char* in(int input, std::int64_t offset) const { return at(input == 0 ? p.in : p.in2, p.in_dtype, offset); }
  // The mask from `offset` on, for kernels that apply it themselves.
  Mask mask(std::int64_t offset) const {
    Mask m;
    const char* const from = at(p.mask, p.mask_dtype, offset);
    if (p.mask_dtype == DType::boolean) m.select = reinterpret_cast<const std::uint8_t*>(from);
    else m.factor = from;
    for (int k = 0; k < planes; ++k) m.hidden[k] = shown.plane(k);
    return m;
  }
  char* out(std::int64_t offset) const { return at(p.out, p.out_dtype, offset); }

  bool aligned(const void* address, int lanes) const {
    return reinterpret_cast<std::uintptr_t>(address) % static_cast<std::uintptr_t>(lanes * kernel.lane_bytes) == 0;
  }
};

// Offsets of row number `row`, the last dimension fastest. skip: a dimension to leave out (its index stays 0), or -1.
Offsets offsets_of(const Problem& p, std::int64_t row, int skip = -1);

// A block of 64-byte aligned memory cut into pieces; kept by the thread for its next call. One at a time on a thread.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T = void>
  T* take(std::int64_t bytes) {
    unsigned char* piece = next_;
    next_ += padded(bytes);
    return static_cast<T*>(static_cast<void*>(piece));
  }
  static constexpr std::size_t padded(std::int64_t bytes) { return (static_cast<std::size_t>(bytes) + 63) / 64 * 64; }

 private:
  unsigned char* next_;
};

// Planes of n values with room for one more vector, cut from scratch.
struct Planes {
  void* at[kMaxPlanes] = {};

  static std::int64_t bytes(const OpKernels& kernel, std::int64_t n) { return (n + 64) * kernel.lane_bytes; }
  void take(Scratch& scratch, const OpKernels& kernel, std::int64_t n) {
    for (int k = 0; k < kernel.planes; ++k) at[k] = scratch.take(bytes(kernel, n));
  }
};
inline std::size_t planes_bytes(const OpKernels& kernel, std::int64_t n) {
  return Scratch::padded(Planes::bytes(kernel, n)) * static_cast<std::size_t>(kernel.planes);
}

// One plane's address `steps` values further.
inline void* lane(const Context& c, void* plane, std::int64_t steps) {
  return plane ? static_cast<char*>(plane) + steps * c.kernel.lane_bytes : nullptr;
}

// Hands out numbers 0 to count - 1, each once.
class Tickets {
 public:
  explicit Tickets(std::int64_t count) : count_(count) {}
  std::int64_t count() const { return count_; }
  bool take(std::int64_t& ticket) { return (ticket = next_.fetch_add(1, std::memory_order_relaxed)) < count_; }

 private:
  std::atomic<std::int64_t> next_{0};
  const std::int64_t count_;
};

// Lets the holders of tickets pass one by one, in order. A ticket's holder is running, so waiting for lower ones ends.
class Turns {
 public:
  // Spins first: where every thread has a core of its own, the turn comes within microseconds. Then sleeps until the turn moves,
  // since the thread that has it may need this very core. Having had to sleep, spins less the next time.
  void wait(std::int64_t ticket) {
    const auto own = static_cast<std::uint32_t>(ticket);
    const int patience = patience_.load(std::memory_order_relaxed);
    for (int spin = 0; spin < patience; ++spin) {
      if (turn_.load(std::memory_order_acquire) == own) return;
      pause();
    }
    for (std::uint32_t now; (now = turn_.load(std::memory_order_acquire)) != own;) {
      patience_.store(patience / 2, std::memory_order_relaxed);
      turn_.wait(now, std::memory_order_acquire);
    }
  }
  void pass(std::int64_t ticket) {
    turn_.store(static_cast<std::uint32_t>(ticket + 1), std::memory_order_release);
    turn_.notify_all();
  }

 private:
  alignas(64) std::atomic<std::uint32_t> turn_{0};  // the lowest bits suffice: fewer tickets than 2^32 wait at a time
  std::atomic<int> patience_{4000};
};

void run_rows(const Context& c);
void run_split_rows(const Context& c);
void run_short_rows(const Context& c);
void run_columns(const Context& c);
void run_split_columns(const Context& c);

}  // namespace cumulus::cpu
