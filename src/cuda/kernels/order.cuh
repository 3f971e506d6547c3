// The order of combination (docs/order.md), once for every layout: halving over the lanes of a warp, binary counters for whoever walks the
// children of a node one by one, and the carry of levels 3 and up.
#pragma once

#include "args.h"
#include "numbers.cuh"

namespace cumulus::cuda {

inline constexpr int kSegment = 128;  // level 1
inline constexpr int kChunk = 4096;   // level 2
inline constexpr int kChunkBits = 12;

CUMULUS_DEVICE i64 min_of(i64 a, i64 b) { return a < b ? a : b; }

// What R starts from; without `has` there is nothing yet to combine with (the recurrence without an initial value).
template <class S, class E>
CUMULUS_DEVICE E combine_start(bool has, const E& start, const E& v) {
  if constexpr (S::kStartsEmpty) {
    const E both = S::combine(start, v);
    return has ? both : v;
  } else {
    return S::combine(start, v);
  }
}

// Serial prefixes inside a quad.
template <class S, class E>
CUMULUS_DEVICE void scan_quad(E (&v)[4]) {
#pragma unroll
  for (int k = 1; k < 4; ++k) v[k] = S::combine(v[k - 1], v[k]);
}

// Inclusive prefixes by halving over groups of kLanes lanes, of kCount independent sequences whose steps are interleaved.
template <class S, int kLanes, int kCount, class E>
CUMULUS_DEVICE void scan_lanes(E (&v)[kCount]) {
  const u32 lane = lane_index();
#pragma unroll
  for (u32 step = 1; step < kLanes; step *= 2) {
    const u32 from = (lane & ~step) | (step - 1);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const E both = S::combine(shuffle(v[i], from), v[i]);
      if (lane & step) v[i] = both;
    }
  }
}

// Totals over a warp's lanes, by halving, of kCount (a power of two) sequences: lane l receives that of sequence l % kCount. While there
// are several, a lane and its neighbour take half of them each.
template <class S, int kCount, class E>
CUMULUS_DEVICE E reduce_lanes(E (&v)[kCount]) {
  const u32 lane = lane_index();
#pragma unroll
  for (u32 step = 1; step < 32; step *= 2) {
    const bool right = lane & step;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int left = kCount / static_cast<int>(2 * step);  // sequences after this step
      if (i >= (left > 0 ? left : 1)) break;
      const E own = left > 0 ? select(right, v[(2 * i + 1) % kCount], v[2 * i % kCount]) : v[0];
      const E other = shuffle(left > 0 ? select(right, v[2 * i % kCount], v[(2 * i + 1) % kCount]) : v[0], lane ^ step);
      v[i] = S::combine(select(right, other, own), select(right, own, other));
    }
  }
  return v[0];
}

// One more child of a node that has `d`, of 2^kBits at most: v becomes the prefix up to it, from what left(b) gives of the children before;
// keep(b, v) is what later ones have on their left. True if the node is complete.
template <class S, int kBits = 5, class E, class Left, class Keep>
CUMULUS_DEVICE bool add_child(u32 d, E& v, const Left& left, const Keep& keep) {
  bool open = true;
#pragma unroll
  for (int b = 0; b < kBits; ++b) {
    if (d >> b & 1) {
      v = S::combine(left(b), v);
    } else if (open) {
      keep(b, v);
      open = false;
    }
  }
  return open;
}

// A node's five left totals. The thread that walks its 32 children hands in child d's total and receives the prefix of d + 1 children:
// after the last one, the node's total. `first`: children come as balanced totals of 2^first.
template <class S, class E>
struct Counter {
  E left[5];

  CUMULUS_DEVICE E advance(u32 d, E v) {
    add_child<S>(
        d, v, [&](int b) { return left[b]; }, [&](int b, const E& kept) { left[b] = kept; });
    return v;
  }
};

// Levels 3 and up of one sequence, in shared memory: for each level five left totals, and the value that R has before that level's digit is
// applied. Slot i is at slots[i * stride], so that threads may keep theirs interleaved.
template <class S>
struct Carry {
  using Wide = typename S::Wide;
  Wide* slots;
  u32 stride;
  int levels;
  bool has_start;

  static constexpr int kSlots = 6;  // of a level
  CUMULUS_DEVICE Wide* value_slot(int level) const { return slots + static_cast<u32>(level * kSlots) * stride; }
  CUMULUS_DEVICE Wide* left_slot(int level, int bit) const { return slots + static_cast<u32>(level * kSlots + 1 + bit) * stride; }

  CUMULUS_DEVICE void begin(const Wide& start) const {
    for (int k = 0; k < levels; ++k) store_shared(value_slot(k), start);
  }

  // Is there anything in R before the digit of `level`, when `children` of level 3 are done?
  CUMULUS_DEVICE bool has(int level, i64 children) const { return !S::kStartsEmpty || has_start || (children >> (5 * (level + 1))) != 0; }

  // R after `children` and then 2^first more whose balanced prefix or total is v. kKeep: those become part of the carry.
  template <bool kKeep>
  CUMULUS_DEVICE Wide advance(i64 children, int first, Wide v) const {
    return advance_from<kKeep>(0, children, first, v);
  }
  // The same for one more child, kept; what level 3 takes from memory is asked for at once, as others wait for the result.
  CUMULUS_DEVICE Wide advance_quickly(i64 children, Wide v) const {
    const u32 d = static_cast<u32>(children) & 31;
    const Wide value = load_shared(value_slot(0));
    Wide left[5];
#pragma unroll
    for (int b = 0; b < 5; ++b)
      if (d >> b & 1) left[b] = load_shared(left_slot(0, b));
    const bool complete = add_child<S>(
        d, v, [&](int b) { return left[b]; }, [&](int b, const Wide& kept) { store_shared(left_slot(0, b), kept); });
    return complete ? advance_from<true>(1, children, 0, v) : combine_start<S>(has(0, children), value, v);
  }

  // R after `children` and then j < 2^first more, whose prefix among themselves is v (unused if j is 0).
  CUMULUS_DEVICE Wide at(i64 children, int first, u32 j, Wide v) const {
    bool any = j > 0;
    const u32 d = static_cast<u32>(children) & 31;
    for (int b = first; b < 5; ++b)
      if (d >> b & 1) {
        const Wide left = load_shared(left_slot(0, b));
        v = any ? S::combine(left, v) : left;
        any = true;
      }
    const Wide start = load_shared(value_slot(0));
    return any ? combine_start<S>(has(0, children), start, v) : start;
  }

 private:
  template <bool kKeep>
  CUMULUS_DEVICE Wide advance_from(int level, i64 children, int first, Wide v) const {
    for (;; ++level, first = 0) {
      const u32 d = static_cast<u32>(children >> (5 * level)) & 31;
      bool open = true;
      for (int b = first; b < 5; ++b) {
        if (d >> b & 1) {
          v = S::combine(load_shared(left_slot(level, b)), v);
        } else if (open) {
          if (kKeep) store_shared(left_slot(level, b), v);
          open = false;
        }
      }
      if (!open) break;  // else the node is complete: v is its total
    }
    const Wide r = combine_start<S>(has(level, children), load_shared(value_slot(level)), v);
    if (kKeep)
      for (int k = 0; k < level; ++k) store_shared(value_slot(k), r);
    return r;
  }
};

}  // namespace cumulus::cuda
