// The tiles of split_columns.cuh: how one lies in its slot, and which part of it is a lane's.
//   WideTile     one segment of a strip of columns
//   NarrowTile   some segments side by side, of few columns whose rows lie one behind the other
#pragma once

#include "columns.cuh"
#include "stage.cuh"

namespace cumulus::cuda {

// Side of the lane: which of the segments that lie side by side. Its column is that of the first side's lane.
template <class Lanes>
struct Sides {
  static CUMULUS_DEVICE int side() { return static_cast<int>(lane_index()) / Lanes::kLanes; }
  static CUMULUS_DEVICE int first_lane() { return static_cast<int>(lane_index()) % Lanes::kLanes; }
};

// Pieces of rows one after the other; neighbouring columns of a lane.
template <class S, int kColumns_, bool kBackward = false>
struct WideTile {
  using Pieces = RowPieces<S, kColumns_, 32, kSegment, kBackward>;
  static constexpr int kColumns = kColumns_, kWidth = 32 * kColumns, kSide = 1, kLanes = 32;  // kLanes: of a segment
  static constexpr bool kLeavesThroughSlot = false;
  static constexpr int kDataBytes = kSegment * Pieces::kRowBytes;
  template <int kCopies>
  static constexpr u32 kFullCount = Pieces::template kFullCount<kCopies>;

  template <int kCopies, int kDims>
  static CUMULUS_DEVICE void fill(u8* slot, const Args<kDims>& a, const Row<S, Strided<S>>& row, i64 first, int rows, i64 columns,
                                  Barrier* full, const TensorStrip& strip) {
    if constexpr (kCopies == kCopyTensor) Pieces::fill(slot, strip, a.n, first, rows, full);
    else
      Pieces::template fill<kCopies>(slot, row.in.place(first), row.in2.place(first), row.mask.place(first), a.in_step, a.in2_step,
                                     a.mask_step, rows, columns < kWidth ? static_cast<u32>(columns) : kWidth, full);
  }

  const u8* slot;
  int rows;
  bool active;
  u8* out;
  i64 out_step;

  // `rows`: of the lane's segment.
  CUMULUS_DEVICE WideTile(u8* at, const Row<S, Strided<S>>&, i64, int lane_rows, bool has_columns)
      : slot(at), rows(lane_rows), active(has_columns) {}
  // kWhole: nothing that is read or written is outside the tensors.
  template <bool kWhole>
  CUMULUS_DEVICE void read_quad(int x, typename S::Element (&v)[kColumns][4]) const {
    Pieces::template read_quad<kWhole>(slot, lane_index(), x, rows, active, v);
  }
  static CUMULUS_DEVICE bool passes_through_slot(const Row<S, Strided<S>>&, i64, int, int) { return false; }
  CUMULUS_DEVICE void begin_store(const Row<S, Strided<S>>& row, i64 first, int x) {  // `row` begins at the strip's first column
    out = row.out.place(first + x) + static_cast<int>(lane_index()) * kColumns * S::Out::kBytes;
    out_step = row.out.step;
  }
  template <bool kThrough, bool kWhole>
  CUMULUS_DEVICE void store_quad(int, int left, const typename S::OutBits (&q)[kColumns][4]) {
    Pieces::template store_quad<kWhole>(out, out_step, left, active, q);
  }
  CUMULUS_DEVICE void end_store(int) const {}
};

// Few columns, whose rows lie one behind the other: kSide_ segments side by side in a warp's lanes, each one piece of memory, a column of
// each lane. Results take the elements' places, and leave as vectors.
template <class S, int kWidth_, int kSide_>
struct NarrowTile {
  static constexpr int kColumns = 1, kWidth = kWidth_, kSide = kSide_, kLanes = kWidth;
  static constexpr bool kLeavesThroughSlot = true;
  static_assert(kSide * kWidth <= 32);
  template <int kBytes>
  using Flat = Stage<Run<kBytes, Variant<1, false, -1, -1, false>>, kSegment * kWidth>;
  static constexpr int kMaskBytes = S::kMask != kNoMask ? S::Mask::kBytes : 0;
  // 16 bytes more, for what does not begin where vectors do.
  static constexpr int kInArea = kSegment * kWidth * S::In::kBytes + 16;
  static constexpr int kMaskArea = kMaskBytes > 0 ? kSegment* kWidth* kMaskBytes + 16 : 0;
  // From segment to segment in the slot: the elements of one row of all of them lie in different banks.
  static constexpr int kAreas = kInArea * (S::kTwoInputs ? 2 : 1) + kMaskArea, kRow = (kWidth * S::In::kBytes + 15) / 16 * 16;
  static constexpr int kPieceBytes = kAreas + (kRow + 127 * kAreas) % 128;
  static constexpr int kDataBytes = kSide * kPieceBytes;
  template <int kCopies>
  static constexpr u32 kFullCount = kCopies == kCopyBulk ? kSide : 33;

  // Rows first .. first + rows - 1 of one tensor, as they lie in memory.
  template <int kBytes>
  static CUMULUS_DEVICE Flat<kBytes> flat(u8* at, const Run<kBytes, Strided<S>>& run, i64 first, int rows) {
    return {at, {run.place(run.step < 0 ? first + rows - 1 : first), 1}, rows * kWidth};
  }
  template <int kCopies, class P>
  static CUMULUS_DEVICE void copy(const P& piece) {
    piece.copy_edges(lane_index(), 32);
    piece.template copy_inner<kCopies>(lane_index(), 32, nullptr);
  }
  static CUMULUS_DEVICE int rows_of(int rows, int side) {
    const int left = rows - side * kSegment;
    return left > kSegment ? kSegment : left > 0 ? left : 0;
  }

  template <int kCopies, int kDims>
  static CUMULUS_DEVICE void fill(u8* slot, const Args<kDims>&, const Row<S, Strided<S>>& row, i64 first, int rows, i64, Barrier* full,
                                  const TensorStrip&) {
    static_assert(kCopies != kCopyTensor);
    const u32 lane = lane_index();
    if constexpr (kCopies == kCopyBulk) {  // a lane for each segment
      if (lane < kSide) {
        const int side = static_cast<int>(lane), own = rows_of(rows, side);
        const i64 at = first + side * kSegment;
        u8* piece = slot + side * kPieceBytes;
        const auto in = flat(piece, row.in, at, own), in2 = flat(piece + kInArea, row.in2, at, own);
        const auto mask = flat(piece + kAreas - kMaskArea, row.mask, at, own);
        u32 bytes = in.inner_bytes();
        bool has_edges = in.has_edges();
        if constexpr (S::kTwoInputs) has_edges |= in2.has_edges(), bytes += in2.inner_bytes();
        if constexpr (S::kMask != kNoMask) has_edges |= mask.has_edges(), bytes += mask.inner_bytes();
        if (has_edges) {
          in.copy_edges(0, 1);
          if constexpr (S::kTwoInputs) in2.copy_edges(0, 1);
          if constexpr (S::kMask != kNoMask) mask.copy_edges(0, 1);
          fence_async();
        }
        barrier_arrive_expect(full, bytes);
        in.template copy_inner<kCopies>(0, 1, full);
        if constexpr (S::kTwoInputs) in2.template copy_inner<kCopies>(0, 1, full);
        if constexpr (S::kMask != kNoMask) mask.template copy_inner<kCopies>(0, 1, full);
      }
      sync_warp();
    } else {
      for (int side = 0; side < kSide; ++side) {
        const int own = rows_of(rows, side);
        const i64 at = first + side * kSegment;
        u8* piece = slot + side * kPieceBytes;
        copy<kCopies>(flat(piece, row.in, at, own));
        if constexpr (S::kTwoInputs) copy<kCopies>(flat(piece + kInArea, row.in2, at, own));
        if constexpr (S::kMask != kNoMask) copy<kCopies>(flat(piece + kAreas - kMaskArea, row.mask, at, own));
      }
      async_arrive(full);
      sync_warp();
      if (lane == 0) barrier_arrive(full);
    }
  }

  // A lane's column of one tensor.
  template <int kBytes>
  struct Column {
    u8* first;  // its row 0
    int step;   // in bytes

    CUMULUS_DEVICE Column(const Flat<kBytes>& stage, bool backward, int rows, int column)
        : first(stage.at + stage.shift + ((backward && rows > 0 ? rows - 1 : 0) * kWidth + column) * kBytes),
          step(backward ? -kWidth * kBytes : kWidth * kBytes) {}
    CUMULUS_DEVICE Bits<kBytes>* at(int x) const { return reinterpret_cast<Bits<kBytes>*>(first + x * step); }
  };

  u8* piece;
  int rows;
  Column<S::In::kBytes> in, in2;
  Column<S::Mask::kBytes> mask;

  u8* slot;
  Run<S::Out::kBytes, Strided<S>> run;  // of the strip's first column
  i64 first;

  CUMULUS_DEVICE NarrowTile(u8* at, const Row<S, Strided<S>>& row, i64 tile_first, int lane_rows, bool active)
      : piece(at + side() * kPieceBytes),
        rows(active ? lane_rows : 0),
        in(flat(piece, row.in, tile_first + side() * kSegment, rows), row.in.step < 0, rows, column()),
        in2(flat(piece + kInArea, row.in2, tile_first + side() * kSegment, rows), row.in2.step < 0, rows, column()),
        mask(flat(piece + kAreas - kMaskArea, row.mask, tile_first + side() * kSegment, rows), row.mask.step < 0, rows, column()),
        slot(at) {}
  static CUMULUS_DEVICE int side() { return static_cast<int>(lane_index()) / kWidth; }
  static CUMULUS_DEVICE int column() { return static_cast<int>(lane_index()) % kWidth; }

  template <bool kWhole>
  CUMULUS_DEVICE void read_quad(int x, typename S::Element (&v)[1][4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      typename S::InBits bits{}, bits2{};
      typename S::MaskBits mask_bits{};
      if (kWhole || x + k < rows) {
        bits = load_shared(in.at(x + k));
        if constexpr (S::kTwoInputs) bits2 = load_shared(in2.at(x + k));
        if constexpr (S::kMask != kNoMask) mask_bits = load_shared(mask.at(x + k));
      }
      v[0][k] = S::element(bits, bits2, mask_bits);
    }
    scan_quad<S>(v[0]);
  }

  // Whole tiles' results, if they lie there as they do in memory.
  static CUMULUS_DEVICE bool passes_through_slot(const Row<S, Strided<S>>& row, i64 tile_first, int rows, int rows_out) {
    if constexpr (S::In::kBytes != S::Out::kBytes) return false;
    // Segments are whole vectors: the place of one row tells that of all.
    const u64 shift = (reinterpret_cast<u64>(row.in.place(tile_first + edge(row.in.step))) |
                       reinterpret_cast<u64>(row.out.place(tile_first + edge(row.out.step)))) &
                      15;
    return uniform((row.in.step < 0) == (row.out.step < 0) && shift == 0 && rows == kSide * kSegment && rows_out == kSide * kSegment);
  }
  static CUMULUS_DEVICE i64 edge(i64 step) { return step < 0 ? kSegment - 1 : 0; }

  CUMULUS_DEVICE void begin_store(const Row<S, Strided<S>>& row, i64 tile_first, int) {
    run = row.out;
    first = tile_first;
  }
  // `left`: rows of the lane's segment from x on that are written.
  template <bool kThrough, bool kWhole>
  CUMULUS_DEVICE void store_quad(int x, int left, const typename S::OutBits (&q)[1][4]) {
    const bool active = kWhole || static_cast<int>(lane_index()) < kSide * kWidth;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if constexpr (kThrough && S::In::kBytes == S::Out::kBytes) {
        if (active) store_shared(in.at(x + k), q[0][k]);
      } else {
        if (kWhole || (active && k < left))
          store_global<S::Out::kBytes>(run.place(first + side() * kSegment + x + k) + column() * S::Out::kBytes, q[0][k]);
      }
    }
  }
  // The warp's rows of every segment, from x on: a quarter.
  CUMULUS_DEVICE void end_store(int x) const {
    constexpr int kRowBytes = kWidth * S::Out::kBytes, kVectors = kSegment / 4 * kRowBytes / 16;
    const bool backward = run.step < 0;
    const int lowest = (backward ? kSegment - kSegment / 4 - x : x) * kRowBytes;
    const u8* from = slot + lowest;
    u8* to = run.place(first + edge(run.step)) + lowest;  // of the first segment
    sync_warp();
#pragma unroll
    for (int i = 0; i < (kSide * kVectors + 31) / 32; ++i) {
      const int v = i * 32 + static_cast<int>(lane_index()), segment = v / kVectors, at = v % kVectors * 16;
      if (v < kSide * kVectors)
        store_global<16>(to + (backward ? -segment : segment) * (kSegment * kRowBytes) + at,
                         load_shared(reinterpret_cast<const Bits128*>(from + segment * kPieceBytes + at)));
    }
    fence_async();
  }
};

}  // namespace cumulus::cuda
