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
  static constexpr int kBatch = kSegments < 8 ? kSegments : 8;                 // segments whose shuffles are interleaved
  // What is smaller in memory than as elements stays as it came, and is unpacked twice.
  static constexpr bool kKeep = S::kAligned && S::In::kBytes * (S::kTwoInputs ? 2 : 1) + (S::kMask != kNoMask ? S::Mask::kBytes : 0) <
                                                   static_cast<int>(sizeof(Element));
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

      // ---- quads and segments ----
      Elements<S, kSegments + kTail> elements;
      const bool tail = kTail && warp == kWarps - 1 && a.n_out - tile <= kTile + kSegment;  // this warp has the tail as one segment more
      const int most = (tail ? kSegments + 1 : kSegments) * kSegment;
      if constexpr (kTail) elements.load(row, first, tail ? a.n : first + most, !tail);
      else elements.load(row, first, a.n);
      Element quads[kKeep ? 1 : kSegments][3], ends[kSegments];  // a quad's prefixes, and the segment's up to the quad's end
#pragma unroll
      for (int batch = 0; batch < kSegments; batch += kBatch) {
        Element t[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          Element v[4];
          elements.quad(batch + i, v);
          t[i] = v[3];
#pragma unroll
          for (int k = 0; k < 3; ++k)
            if (!kKeep) quads[kKeep ? 0 : batch + i][k] = v[k];
        }
        scan_lanes<S, 32>(t);
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          ends[batch + i] = t[i];
          if (lane == 31) store_shared(totals + warp * kSegments + batch + i, t[i]);
        }
      }
      sync();

      // ---- chunks and the carry: every warp for itself ----
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
      const Element segments_before = shuffle(own, (lane + 31) & 31);
      const Element segment_start = select(lane == 0, chunk_start, combine_start<S>(has_chunk, chunk_start, segments_before));

      // ---- results ----
      const bool exclusive = S::is_exclusive(a.flags);
      const i64 left = a.n_out - first;
      const int end = left > most ? most : left > 0 ? static_cast<int>(left) : 0;
      Outlet outlet(row.out.from(first), end);
      Element here = shuffle(segment_start, own_segment);
#pragma unroll
      for (int s = 0; s < kSegments; ++s) {
        Element next = shuffle(segment_start, (own_segment + s + 1) & 31);
        if (s + 1 == kSegments) next = select(own_segment + s + 1 == 32, next_chunk, next);
        const int x = s * kSegment + static_cast<int>(lane) * 4;
        Element v[4], r[5];
        typename S::OutBits q[4];
        if constexpr (kKeep) elements.quad(s, v);
#pragma unroll
        for (int k = 0; k < 3; ++k)
          if (!kKeep) v[k] = quads[kKeep ? 0 : s][k];
        v[3] = ends[s];
        finish_quad<S, 32>(v, has_chunk || own_segment + s > 0, here, next, r);
        encode_quad<S>(r, exclusive, s == 0 && first + x == 0 && !has_start, q);
        outlet.put(s * kSegment, s == 0, q);
        if (S::has_total(a.flags)) store_total_of_quad<S>(a, offsets, first + x, r);
        here = next;
      }
      if constexpr (kTail) {
        if (tail) {
          constexpr int kBegin = kSegments * kSegment;
          Element v[4], r[5];
          typename S::OutBits q[4];
          elements.quad(kSegments, v);
          Element t[1] = {v[3]};
          scan_lanes<S, 32>(t);
          v[3] = t[0];
          finish_quad<S, 32>(v, true, here, combine_start<S>(true, here, v[3]), r);
          encode_quad<S>(r, exclusive, false, q);
          outlet.put(kBegin, false, q);
          if (S::has_total(a.flags)) store_total_of_quad<S>(a, offsets, first + kBegin + static_cast<int>(lane) * 4, r);
        }
      }
      outlet.finish(most);

      if (!kWalks || tile + kTile + (kTail ? kSegment : 0) >= a.n_out) break;
      sync();  // the carry has been read by all
      const Wide total = shuffle(wide[0], kChunks - 1);
      if (thread_index() == 0) carry.template advance<true>(children, kFirst, total);
    }
  }
};

}  // namespace cumulus::cuda
