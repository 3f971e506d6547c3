// Rows of at most 128 results: kLanes lanes for each, a lane holds a quad, several rows in one warp.
#pragma once

#include "stage.cuh"

namespace cumulus::cuda {

// What a lane has of short rows: quads x .. x + 3 of kCount of them, from what lies in memory to what will.
template <class S, int kCount>
struct ShortRowQuads {
  using Element = typename S::Element;
  typename S::InBits in[kCount][4], in2[S::kTwoInputs ? kCount : 1][4];
  typename S::MaskBits mask[S::kMask != kNoMask ? kCount : 1][4];
  typename S::OutBits out[kCount][4];

  // Row i has offsets(i), where they are needed, and is there if active(i).
  template <int kLanes, int kDims, class OffsetsOf, class IsActive>
  CUMULUS_DEVICE void scan(const Args<kDims>& a, int x, const OffsetsOf& offsets, const IsActive& active) {
    const bool has_start = a.flags & kHasInitial, has = !S::kStartsEmpty || has_start;
    Element v[kCount][4], t[kCount], start[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int k = 0; k < 4; ++k) v[i][k] = S::element(in[i][k], in2[S::kTwoInputs ? i : 0][k], mask[S::kMask != kNoMask ? i : 0][k]);
      scan_quad<S>(v[i]);
      t[i] = v[i][3], start[i] = S::narrow(S::identity());
    }
    scan_lanes<S, kLanes>(t);
    if (has_start)
#pragma unroll
      for (int i = 0; i < kCount; ++i) start[i] = S::narrow(start_of<S>(a, offsets(i)));
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      Element r[5];
      v[i][3] = t[i];
      finish_quad<S, kLanes>(v[i], has, start[i], combine_start<S>(has, start[i], t[i]), r);
      encode_quad<S>(r, S::is_exclusive(a.flags), x == 0 && !has_start, out[i]);
      if (S::has_total(a.flags) && active(i)) store_total_of_quad<S>(a, offsets(i), x, r);
    }
  }
};

template <class S, int kLanes, int kDims>
struct ShortRowsKernel {
  using Element = typename S::Element;

  template <class R>
  static CUMULUS_DEVICE void load(const R& run, int x, int end, typename R::B (&q)[4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) q[k] = {};
    if constexpr (R::kContiguous && !R::kPhased && S::kAligned) {
      if (x < end) run.load_vector(x, q);
    } else if (R::kContiguous && run.phase() == 0 && x + 3 < end) {
      run.load_vector(x, q);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (x + k < end) q[k] = run.load(x + k);
    }
  }

  template <class R>
  static CUMULUS_DEVICE void store(const R& run, int x, int end, const typename R::B (&q)[4]) {
    if constexpr (R::kContiguous && !R::kPhased && S::kAligned) {
      if (x < end) run.store_vector(x, q);
    } else if (R::kContiguous && run.phase() == 0 && x + 3 < end) {
      run.store_vector(x, q);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (x + k < end) run.store(x + k, q[k]);
    }
  }

  static CUMULUS_DEVICE void run(const Args<kDims>& a, u32 threads) {
    const i64 thread = static_cast<i64>(block_index()) * threads + thread_index();
    const i64 index = thread / kLanes;
    const bool active = index < a.rows;
    const int x = static_cast<int>(lane_index() % kLanes) * 4;
    const int n = active ? static_cast<int>(a.n) : 0, n_out = active ? static_cast<int>(a.n_out) : 0;
    const Offsets offsets = offsets_of(a, a.dims, active ? index : 0);
    const Row<S> row(a, offsets);

    ShortRowQuads<S, 1> quad;
    load(row.in, x, n, quad.in[0]);
    if constexpr (S::kTwoInputs) load(row.in2, x, n, quad.in2[0]);
    if constexpr (S::kMask != kNoMask) load(row.mask, x, n, quad.mask[0]);
    quad.template scan<kLanes>(
        a, x, [&](int) { return offsets; }, [&](int) { return active; });
    store(row.out, x, n_out, quad.out[0]);
  }
};

// The same for rows that lie one behind the other, but begin anywhere: a block's rows are one piece of memory, which goes through shared
// memory as vectors in both directions. A thread has kQuads rows' quads, which share the work of finding places.
template <class S, int kLanes, int kThreads, int kQuads, int kDims>
struct PackedRowsKernel {
  using Element = typename S::Element;
  static constexpr int kStep = kThreads / kLanes, kRows = kStep * kQuads, kMost = kRows * kLanes * 4;
  using Forward = Variant<1, false, -1, -1, false>;
  template <int kBytes>
  using Piece = Stage<Run<kBytes, Forward>, kMost>;
  using InPiece = Piece<S::In::kBytes>;
  using OutPiece = Piece<S::Out::kBytes>;
  using MaskPiece = Piece<S::Mask::kBytes>;

  // The block's rows of a tensor whose rows have n elements; the pointer stands at row 0's first element in scan order.
  template <class P>
  static CUMULUS_DEVICE P piece(u8* at, const void* data, i64 step, i64 first_row, i64 n, int rows) {
    const u8* lowest = static_cast<const u8*>(data) + (first_row * n - (step < 0 ? n - 1 : 0)) * P::kBytes;
    return {at, {lowest, 1}, rows * static_cast<int>(n)};
  }
  // A lane's quad of row `row`: elements x .. x + 3 of n.
  template <class P>
  static CUMULUS_DEVICE void read(const P& piece, bool backward, int row, int x, int n, int end, Bits<P::kBytes> (&q)[4]) {
    const Bits<P::kBytes>* const first = piece.place(row * n + (backward ? n - 1 - x : x));
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      q[k] = {};
      if (x + k < end) q[k] = load_shared(backward ? first - k : first + k);
    }
  }

  static CUMULUS_DEVICE void run(const Args<kDims>& a) {
    const i64 first_row = static_cast<i64>(block_index()) * kRows, rest = a.rows - first_row;
    const int rows = rest < kRows ? static_cast<int>(rest) : kRows, first = static_cast<int>(thread_index()) / kLanes;
    const int x = static_cast<int>(lane_index() % kLanes) * 4, n = static_cast<int>(a.n), n_out = static_cast<int>(a.n_out);
    const bool backward = decltype(Row<S>::out)::at(a.out, 0, a.out_step).backward();
    u8* at = shared_memory();
    const InPiece in = piece<InPiece>(at, a.in, a.in_step, first_row, n, rows);
    const InPiece in2 = piece<InPiece>(at + InPiece::kSize, a.in2, a.in2_step, first_row, n, rows);
    const MaskPiece mask = piece<MaskPiece>(at + InPiece::kSize * (S::kTwoInputs ? 2 : 1), a.mask, a.mask_step, first_row, n, rows);
    const OutPiece out = piece<OutPiece>(at, a.out, a.out_step, first_row, n_out, rows);

    in.template copy_at_once<kThreads>(thread_index());
    if constexpr (S::kTwoInputs) in2.template copy_at_once<kThreads>(thread_index());
    if constexpr (S::kMask != kNoMask) mask.template copy_at_once<kThreads>(thread_index());
    sync_block();
    const auto active = [&](int i) { return first + i * kStep < rows; };
    ShortRowQuads<S, kQuads> quads;
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const int row = first + i * kStep, end = active(i) ? n : 0;
      read(in, backward, row, x, n, end, quads.in[i]);
      if constexpr (S::kTwoInputs) read(in2, backward, row, x, n, end, quads.in2[i]);
      if constexpr (S::kMask != kNoMask) read(mask, backward, row, x, n, end, quads.mask[i]);
    }
    const auto offsets = [&](int i) {  // one dimension at most
      Offsets o;
      if (a.dims > 0) o.add(a.dim[0], active(i) ? first_row + first + i * kStep : 0);
      return o;
    };
    quads.template scan<kLanes>(a, x, offsets, active);
    sync_block();  // everything has been read: results take its place
#pragma unroll
    for (int i = 0; i < kQuads; ++i) {
      const int row = first + i * kStep;
      typename S::OutBits* const to = out.place(row * n_out + (backward ? n_out - 1 - x : x));
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (row < rows && x + k < n_out) store_shared(backward ? to - k : to + k, quads.out[i][k]);
    }
    sync_block();
    out.store(thread_index(), kThreads);
  }
};

}  // namespace cumulus::cuda
