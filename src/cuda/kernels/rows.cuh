// Rows along the axis, a block for each. A row of up to one tile is held in registers: every load is under way before the first value is
// used, and one barrier later every store can go. Longer rows are walked, tile after tile, with the carry in shared memory. A segment or
// less that is left over after whole tiles is done with the last of them: a step for it alone would wait for memory as long as any.
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

// kWalks: rows may be longer than a tile. kTail: they are whole tiles and one to 128 results.
template <class S, int kWarps, int kSegments, bool kWalks, int kDims, bool kTail = false>
struct RowsKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  static constexpr int kTileSegments = kWarps * kSegments;
  static constexpr int kTile = kTileSegments * kSegment;
  static constexpr int kChunks = kTileSegments < 32 ? 1 : kTileSegments / 32;  // of a tile
  static constexpr int kFirst = PowerAbove<kChunks>::kLog2;                    // a tile that is walked is a balanced subtree
  static constexpr int kTotalsBytes = (kTileSegments * static_cast<int>(sizeof(Element)) + 15) / 16 * 16;
  static_assert(!kTail || kTileSegments % 32 == 0);  // the tail begins a chunk
  static_assert(32 % kSegments == 0 && (kTileSegments < 32 || kTileSegments % 32 == 0) && kChunks <= 16);

  static CUMULUS_DEVICE void sync() {
    if constexpr (kWarps == 1) sync_warp();
    else sync_block();
  }

  static CUMULUS_DEVICE void run(const Args<kDims>& a) {
    for (i64 row = block_index(); row < a.rows; row += block_count()) {
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

      HeldSegments<S, kSegments, kTail> held;
      const bool tail = kTail && warp == kWarps - 1 && a.n_out - tile <= kTile + kSegment;  // this warp has the tail as one segment more
      held.load(row, first, a.n, tail);
      held.scan(totals + warp * kSegments);
      sync();

      // Chunks and the carry: every warp for itself.
      const u32 own_segment = warp * kSegments % 32, own_chunk = warp * kSegments / 32;
      Element prefix[kChunks], own{};
      Wide wide[1] = {};
#pragma unroll
      for (int c = 0; c < kChunks; ++c) prefix[c] = lane < kTileSegments ? load_shared(totals + c * 32 + lane) : Element{};
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
      held.store(a, offsets, row, first, own_segment, own, chunk_start, next_chunk, has_chunk, tail);

      if (!kWalks || tile + kTile + (kTail ? kSegment : 0) >= a.n_out) break;
      sync();  // the carry has been read by all
      const Wide total = shuffle(wide[0], kChunks - 1);
      if (thread_index() == 0) carry.template advance<true>(children, kFirst, total);
    }
  }
};

}  // namespace cumulus::cuda
