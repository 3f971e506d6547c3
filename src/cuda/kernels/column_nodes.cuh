// Nodes of 32 children whose totals come as words from other blocks, for 32 columns at a time (or fewer, several children side by side in a
// warp's lanes). What split_columns.cuh and column_strips.cuh scan with.
#pragma once

#include "column_tiles.cuh"
#include "mail.cuh"

namespace cumulus::cuda {

// kMost: totals that are asked for at once.
template <class S, class Lanes, int kMost>
struct ColumnNodes : Sides<Lanes> {
  using Sides<Lanes>::side, Sides<Lanes>::first_lane;
  using Element = typename S::Element;
  using Letter = Mail<Element>;
  static constexpr int kSide = Lanes::kSide, kSteps = 32 / kSide;
  static constexpr int kStepWords = 32 * Letter::kWords;
  static constexpr int kBatch = kSteps < kMost ? kSteps : kMost;

  u32 tag;

  // Digits of a step's number.
  static constexpr int kBits = kSteps >= 32 ? 5 : kSteps >= 16 ? 4 : kSteps >= 8 ? 3 : kSteps >= 4 ? 2 : kSteps >= 2 ? 1 : 0;

  // Prefixes of a node's children, kSide at a time.
  template <class E>
  struct Prefixes {
    E left[kBits > 0 ? kBits : 1];

    // Those up to the lane's own child of this step. May be called again, if more of the step's children are known by then.
    CUMULUS_DEVICE E advance(u32 step, E v) {
#pragma unroll
      for (int s = 1; s < kSide; s *= 2) {
        const int from = ((side() & ~s) | (s - 1)) * Lanes::kLanes + first_lane();
        const E both = S::combine(shuffle(v, static_cast<u32>(from) & 31), v);
        if (side() & s) v = both;
      }
      add_child<S, kBits>(
          step, v, [&](int b) { return left[b]; }, [&](int b, const E& kept) { left[b] = of_last_side(kept); });
      return v;
    }
  };
  template <class E>
  static CUMULUS_DEVICE E of_last_side(const E& v) {
    if constexpr (kSide == 1) return v;
    else return shuffle(v, static_cast<u32>((kSide - 1) * Lanes::kLanes + first_lane()) & 31);
  }

  // A node's children, as the lanes of one group see them.
  struct Children {
    const u64* totals;  // the lane's of step 0
    int count;          // that have totals
    bool active;
  };
  // Hands on the prefixes of all 32 children; `last` is that of the last one. False if there is something else to do before their totals
  // are there. kUnroll: batches, for `put` to know each step when it is compiled.
  template <class E, int kUnroll, class Else, class Put>
  CUMULUS_DEVICE bool prefixes_of(const Children& node, const Else& something_else, E& last, const Put& put) const {
    Prefixes<E> done = {};
#pragma unroll kUnroll
    for (int s = 0; s < kSteps; s += kBatch) {
      Element v[kBatch];
      for (;;) {
        bool all = true;
#pragma unroll
        for (int i = 0; i < kBatch; ++i) all = Letter::read(node.totals + (s + i) * kStepWords, tag, v[i]) & all;
        if (uniform_all(all || !node.active)) break;
        // That of the latest ticket is asked for alone while it is not there.
        for (Element latest; !uniform_all(Letter::read(node.totals + (s + kBatch - 1) * kStepWords, tag, latest) || !node.active); pause())
          if (something_else()) return false;
        if (something_else()) return false;
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) put(s + i, last = done.advance(static_cast<u32>(s + i), S::template to<E>(v[i])));
    }
    last = of_last_side(last);
    return true;
  }

  // Hands on each child's prefix as their totals come. The prefix of the last one.
  template <class E, class Put>
  CUMULUS_DEVICE E walk(const Children& node, const Put& put) const {
    // Asked for at once: one after the other, each would take a way to memory and back. More of them spill.
    constexpr int kMany = (kSide == 1 ? 4 : 2) / Letter::kWords, kAsked = kMany < 1 ? 1 : kBatch < kMany ? kBatch : kMany;
    Prefixes<E> done = {};
    E prefix{};
#pragma unroll 1
    for (int window = 0; window * kAsked * kSide < node.count; ++window) {
      const int first = window * kAsked;  // its lower digits are known when this is compiled
      for (int next = 0, sides_done = 0; next < kAsked;) {
        Element v[kAsked];
        bool known[kAsked];
        u32 missing[kAsked];
        // Without a condition for each, or they would be on their way one by one.
#pragma unroll
        for (int i = 0; i < kAsked; ++i) known[i] = Letter::read(node.totals + (first + i) * kStepWords, tag, v[i]);
#pragma unroll
        for (int i = 0; i < kAsked; ++i) missing[i] = ~ballot(known[i] || !node.active || (first + i) * kSide + side() >= node.count);
#pragma unroll
        for (int i = 0; i < kAsked; ++i) {
          if (i != next) continue;
          const int step = first + i, sides = missing[i] ? count_trailing_zeros(missing[i]) / Lanes::kLanes : kSide;
          if (sides > sides_done) {
            prefix = done.advance(static_cast<u32>(step), S::template to<E>(v[i]));
            if (node.active && side() >= sides_done && side() < sides && step * kSide + side() < node.count) put(step, prefix);
            sides_done = sides;
          }
          if (!missing[i]) ++next, sides_done = 0;
        }
      }
    }
    return of_last_side(prefix);
  }
};

}  // namespace cumulus::cuda
