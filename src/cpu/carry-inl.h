// Levels 3 and up of the order for one row: a counter per level, in the carry type. Included once per target.
#if defined(CUMULUS_CPU_CARRY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CUMULUS_CPU_CARRY_INL_H_
#undef CUMULUS_CPU_CARRY_INL_H_
#else
#define CUMULUS_CPU_CARRY_INL_H_
#endif

#include <cstring>

#include "cpu/kernels.h"
#include "cpu/ops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {

// One level's counter, the binary one of the order: `left[k]` is the total of 2^k finished children. Appending child number
// `digit` merges it with the left totals of the trailing ones of `digit`. Returns true and leaves in `child` the prefix of
// the digit + 1 children so far; or false and their total, when it was the 32nd and the node is complete.
// kBits < 5: a part of such a counter, of 2^kBits children.
template <class O, int kBits = 5, class D, class Left>
HWY_INLINE bool Append(D d, std::int64_t digit, TupleOf<O, D>& child, Left&& left) {
  int k = 0;
  for (; (digit >> k) & 1; ++k) child = O::Combine(d, TupleOf<O, D>(left(k)), child);
  if (k == kBits) return false;
  left(k) = child;
  for (++k; k < kBits; ++k)
    if ((digit >> k) & 1) child = O::Combine(d, TupleOf<O, D>(left(k)), child);
  return true;
}

template <class O>
struct CarryOf {
  using Lane = typename O::Lane;
  using Wide = typename O::Wide;
  using D = hn::CappedTag<Wide, 1>;
  static constexpr int K = O::kPlanes;

  static HWY_INLINE TupleOf<O, D> Get(const std::int64_t* slots) {
    TupleOf<O, D> r;
    for (int p = 0; p < K; ++p) {
      Wide value;
      std::memcpy(&value, slots + p, sizeof value);
      r.v[p] = hn::Set(D(), value);
    }
    return r;
  }
  static HWY_INLINE void Put(std::int64_t* slots, TupleOf<O, D> t) {
    for (int p = 0; p < K; ++p) {
      const Wide value = hn::GetLane(t.v[p]);
      std::memcpy(slots + p, &value, sizeof value);
    }
  }

  // The left totals of a level, in memory.
  struct Left {
    std::int64_t* slots;
    struct Slot {
      std::int64_t* at;
      operator TupleOf<O, D>() const { return Get(at); }  // NOLINT(google-explicit-constructor)
      void operator=(TupleOf<O, D> t) const { Put(at, t); }
    };
    Slot operator()(int k) const { return {slots + k * K}; }
  };

  static std::int64_t* Value(const Carry& c, int level) { return c.slots + K * (1 + 6 * level); }

  static HWY_INLINE void Start(Carry& c, const Lane* const* start) {
    c.chunks = 0;
    c.levels = 0;
    c.segments = 0;
    c.has_start = start != nullptr;
    if (!start) return;
    TupleOf<O, D> t;
    for (int p = 0; p < K; ++p) t.v[p] = hn::Set(D(), static_cast<Wide>(*start[p]));
    Put(c.slots, t);
  }

  // R at the carry's position exists: there is a start, or a chunk has gone by.
  static HWY_INLINE bool Present(const Carry& c) { return c.has_start || c.chunks > 0; }

  static HWY_INLINE void Push(Carry& c, TupleOf<O, D> child) {
    const D d;
    for (int level = 0;; ++level) {
      if (level == c.levels) ++c.levels;
      const std::int64_t digit = (c.chunks >> (5 * level)) & 31;
      if (!Append<O>(d, digit, child, Left{Value(c, level) + K})) continue;
      const bool top = level + 1 == c.levels;
      if (!top || c.has_start) child = O::Combine(d, Get(top ? c.slots : Value(c, level + 1)), child);
      for (int l = 0; l <= level; ++l) Put(Value(c, l), child);
      break;
    }
    ++c.chunks;
  }

  // Pushes the lanes of `totals` (accumulators).
  static HWY_INLINE void PushLanes(Carry& c, const Lane* totals) {
    TupleOf<O, D> t;
    for (int p = 0; p < K; ++p) t.v[p] = hn::Set(D(), static_cast<Wide>(totals[p]));
    Push(c, t);
  }

  // R at the carry's position, narrowed. Only if Present.
  static HWY_INLINE void ValueLanes(const Carry& c, Lane* lanes) {
    const std::int64_t* slots = c.levels == 0 ? c.slots : Value(c, 0);
    for (int p = 0; p < K; ++p) {
      Wide value;
      std::memcpy(&value, slots + p, sizeof value);
      lanes[p] = static_cast<Lane>(value);
    }
  }
};

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
