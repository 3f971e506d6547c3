// Rows along the axis, a block for each. A row of up to one tile is held in registers: every load is under way before the first value is
// used, and one barrier later every store can go. Longer rows are walked, tile after tile, with the carry in shared memory. A segment or
// less that is left over after whole tiles, the tail, is done with the last of them: a step for it alone would wait for memory as long as
// any. Up to four results of a tail need hardly more than R at their start.
#pragma once

#include "memory.cuh"

namespace cumulus::cuda {

template <int v>
struct PowerAbove {  // the least power of two that is at least v
  static constexpr int kLog2 = 1 + PowerAbove<(v + 1) / 2>::kLog2;
  static constexpr int kValue = 1 << kLog2;
};
template <>
struct PowerAbove<1> {
  static constexpr int kLog2 = 0, kValue = 1;
};

// A tail of one quad: each lane has one of its results.
template <class S>
struct TailQuad {
  using Element = typename S::Element;
  typename S::InBits in{}, in2{};
  typename S::MaskBits mask{};

  // From element `first` of the row on, which begins a chunk.
  CUMULUS_DEVICE void load(const Row<S>& row, i64 first, i64 n) {
    const i64 at = first + lane_index();
    if (at >= n || at >= first + 4) return;
    in = row.in.load(at);
    if constexpr (S::kTwoInputs) in2 = row.in2.load(at);
    if constexpr (S::kMask != kNoMask) mask = row.mask.load(at);
  }
  template <int kDims>
  CUMULUS_DEVICE void store(const Args<kDims>& a, const Offsets& offsets, const Row<S>& row, i64 first, const Element& start) const {
    const u32 lane = lane_index();
    const i64 at = first + lane;
    const Element own = S::element(in, in2, mask);
    Element prefix = shuffle(own, 0);
#pragma unroll
    for (u32 k = 1; k < 4; ++k) {
      const Element longer = S::combine(prefix, shuffle(own, k));
      if (lane >= k) prefix = longer;
    }
    const Element r = combine_start<S>(true, start, prefix), before = shuffle(r, (lane + 31) & 31);
    if (lane >= 4) return;
    if (at < a.n_out) row.out.store(at, S::encode(S::is_exclusive(a.flags) ? select(lane == 0, start, before) : r));
    if (S::has_total(a.flags) && at == a.n - 1) store_total<S>(a, offsets, r);
  }
};

// kWalks: rows may be longer than a tile. kTail: they are whole tiles and one to so many results, 4 or 128; 0 if not.
template <class S, int kWarps, int kSegments, bool kWalks, int kDims, int kTail = 0>
struct RowsKernel {
  static constexpr bool kTailSegment = kTail > 4, kTailQuad = kTail > 0 && !kTailSegment;
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  static constexpr int kTileSegments = kWarps * kSegments;
  static constexpr int kTile = kTileSegments * kSegment;
  static constexpr int kChunks = (kTileSegments + 31) / 32;  // of a tile
  static constexpr int kFirst = PowerAbove<kChunks>::kLog2;  // a tile that is walked is a balanced subtree
  static constexpr int kTotalsBytes = (kTileSegments * static_cast<int>(sizeof(Element)) + 15) / 16 * 16;
  static_assert((!kTail && !kWalks) || kTileSegments % 32 == 0);  // what follows a tile begins a chunk
  static_assert(32 % kSegments == 0 && kChunks <= 16);

  static CUMULUS_DEVICE void sync() {
    if constexpr (kWarps == 1) sync_warp();
    else sync_block();
  }

  static CUMULUS_DEVICE void run(const Args<kDims>& a) {
    i64 row = block_index();
    if (a.flags & kScattersRows) row = row % kRowParts * (block_count() / kRowParts) + row / kRowParts;
    for (; row < a.rows; row += block_count()) {
      scan_row(a, offsets_of(a, a.dims, row));
      if (row + block_count() < a.rows) sync();
    }
  }

  static CUMULUS_DEVICE void scan_row(const Args<kDims>& a, const Offsets& offsets) {
    const u32 lane = lane_index(), warp = warp_index();
    const bool has_start = a.flags & kHasInitial;
    auto* totals = reinterpret_cast<Element*>(shared_memory());
    const Carry<S> carry{reinterpret_cast<Wide*>(shared_memory() + kTotalsBytes), 1, a.levels, has_start};
    const Row<S> row(a, offsets);
    Wide row_start{};
    if constexpr (!kWalks) row_start = start_of<S>(a, offsets);
    else if (thread_index() == 0) carry.begin(start_of<S>(a, offsets));

    for (i64 tile = 0, children = 0; tile < a.n_out; tile += kTile, children += kChunks) {
      const i64 first = tile + warp * (kSegments * kSegment);

      HeldSegments<S, kSegments, kTailSegment> held;
      TailQuad<S> quad;
      const bool tail = kTail > 0 && warp == kWarps - 1 && a.n_out - tile <= kTile + kTail;  // this warp has it
      held.load(row, first, a.n, tail);
      if (kTailQuad && tail) quad.load(row, tile + kTile, a.n);
      held.scan(totals + warp * kSegments);
      sync();

      // Chunks and the carry: every warp for itself.
      const u32 own_segment = warp * kSegments % 32, own_chunk = warp * kSegments / 32;
      Element prefix[kChunks], own{};
      Wide wide[1] = {};
#pragma unroll
      for (u32 c = 0; c < kChunks; ++c) prefix[c] = c * 32 + lane < kTileSegments ? load_shared(totals + c * 32 + lane) : Element{};
      scan_lanes<S, 32>(prefix);
#pragma unroll
      for (u32 c = 0; c < kChunks; ++c) {
        if (c == own_chunk) own = prefix[c];
        const Element total = shuffle(prefix[c], 31);
        if (c == lane) wide[0] = S::widen(total);
      }
      scan_lanes<S, PowerAbove<kChunks>::kValue>(wide);
      const Wide before = shuffle(wide[0], (lane + 31) & 31);
      Wide chunk_start_wide;
      if constexpr (kWalks)
        chunk_start_wide =
            lane < kChunks ? carry.at(children, kFirst, lane, before) : carry.template advance<false>(children, kFirst, before);
      else chunk_start_wide = select(lane == 0, row_start, combine_start<S>(has_start || !S::kStartsEmpty, row_start, before));
      const Element start = S::narrow(chunk_start_wide);
      const Element chunk_start = shuffle(start, own_chunk), next_chunk = shuffle(start, own_chunk + 1);
      const bool has_chunk = carry.has(-1, children + own_chunk);
      if (kTailQuad && tail) quad.store(a, offsets, row, tile + kTile, next_chunk);
      held.store(a, offsets, row, first, own_segment, own, chunk_start, next_chunk, has_chunk, tail);

      if (!kWalks || tile + kTile + kTail >= a.n_out) break;
      sync();  // the carry has been read by all
      const Wide total = shuffle(wide[0], kChunks - 1);
      if (thread_index() == 0) carry.template advance<true>(children, kFirst, total);
    }
  }
};

}  // namespace cumulus::cuda
