// Columns: the axis is not the contiguous dimension. Threads lie along the contiguous one, and each walks its columns, with the left totals
// of levels 1 and 2 in registers and those above in shared memory. Nothing passes between threads.
//   ColumnsKernel       any strides: elements are loaded into registers, one batch ahead
//   ColumnRingKernel    aligned rows: one warp copies pieces of rows into a ring in shared memory, the others walk
#pragma once

#include "memory.cuh"

namespace cumulus::cuda {

// R as one thread walks a sequence, quad after quad.
template <class S>
struct Walker {
  using Element = typename S::Element;
  Counter<S, Element> quads, segments;
  Element now;  // R before the next quad
  Element segment_start, chunk_start;
  Carry<S> carry;

  CUMULUS_DEVICE void begin(const Carry<S>& c, const typename S::Wide& start) {
    quads = {}, segments = {};
    carry = c;
    carry.begin(start);
    now = segment_start = chunk_start = S::narrow(start);
  }

  // Takes quad `done`'s prefixes; r receives R before it and behind each of its elements. kEnds: it may be a segment's last.
  template <bool kEnds>
  CUMULUS_DEVICE void advance(i64 done, u32 d, const Element (&v)[4], Element (&r)[5]) {
    const bool has = carry.has(-1, done);
    r[0] = now;
#pragma unroll
    for (int k = 0; k < 3; ++k) r[k + 1] = combine_start<S>(has, now, v[k]);
    const Element total = quads.advance(d, v[3]);
    if (!kEnds || d < 31) now = combine_start<S>(carry.has(-1, (done + 1) >> 5), segment_start, total);
    else end_segment(done + 1, total);
    r[4] = now;
  }

  // `done` quads are whole segments now, the last of which has this total.
  CUMULUS_DEVICE void end_segment(i64 done, const Element& segment_total) {
    const u32 segment = static_cast<u32>((done - 1) >> 5) & 31;
    const Element total = segments.advance(segment, segment_total);
    if (segment < 31) now = combine_start<S>(carry.has(-1, done >> 10), chunk_start, total);
    else now = chunk_start = S::narrow(carry.template advance<true>((done >> 10) - 1, 0, S::widen(total)));
    segment_start = now;
  }
};

// A strip's first column, and its index of the outer dimension, for tensor copies.
struct TensorStrip {
  const TensorMap* map;
  int column, outer;
};

// Which columns a block has. `width`: columns of a block.
template <int kDims>
struct Strips {
  const Args<kDims>& a;
  int lane_dim;
  i64 columns, strips, jobs;
  int width;

  CUMULUS_DEVICE Strips(const Args<kDims>& args, int block_width) : a(args), lane_dim(args.dims - 1), width(block_width) {
    columns = lane_dim >= 0 ? a.dim[lane_dim].size : 1;
    strips = (columns + width - 1) / width;
    jobs = lane_dim >= 0 ? a.rows / columns * strips : 1;
  }
  // Without a division where there is nothing to divide.
  CUMULUS_DEVICE i64 first_column(i64 job) const { return (job < strips ? job : job % strips) * width; }
  CUMULUS_DEVICE i64 outer(i64 job) const { return job < strips ? 0 : job / strips; }
  CUMULUS_DEVICE TensorStrip in_map(const TensorMap* map, i64 job) const {
    return {map, static_cast<int>(first_column(job)), static_cast<int>(outer(job))};
  }
  CUMULUS_DEVICE Offsets offsets(i64 job, i64 column) const {
    Offsets o = offsets_of(a, lane_dim, outer(job));
    if (lane_dim >= 0) o.add(a.dim[lane_dim], column);
    return o;
  }
};

template <class S>
using Strided = Variant<0, false, -1, -1, S::kHalves>;  // every access is one element

// ---- elements through registers ----

template <class S, int kDims>
struct ColumnsKernel {
  using Element = typename S::Element;
  static constexpr int kQuads = S::kTwoInputs || sizeof(Element) > 8 ? 2 : 4;  // loaded at a time, one such batch ahead

  struct Batch {
    typename S::InBits in[kQuads][4], in2[S::kTwoInputs ? kQuads : 1][4];
    typename S::MaskBits mask[S::kMask != kNoMask ? kQuads : 1][4];

    CUMULUS_DEVICE void load(const Row<S, Strided<S>>& row, i64 first, i64 n) {
#pragma unroll
      for (int j = 0; j < kQuads; ++j)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const i64 x = first + 4 * j + k;
          const bool inside = x < n;
          in[j][k] = inside ? row.in.load(x) : typename S::InBits{};
          if constexpr (S::kTwoInputs) in2[j][k] = inside ? row.in2.load(x) : typename S::InBits{};
          if constexpr (S::kMask != kNoMask) mask[j][k] = inside ? row.mask.load(x) : typename S::MaskBits{};
        }
    }
    CUMULUS_DEVICE void quad(int j, Element (&v)[4]) const {
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = S::element(in[j][k], in2[S::kTwoInputs ? j : 0][k], mask[S::kMask != kNoMask ? j : 0][k]);
    }
  };

  static CUMULUS_DEVICE void run(const Args<kDims>& a, u32 threads) {
    const Strips<kDims> strips(a, static_cast<int>(threads));
    for (i64 job = block_index(); job < strips.jobs; job += block_count()) {
      const i64 column = strips.first_column(job) + thread_index();
      if (column < strips.columns) scan_column(a, strips.offsets(job, column), threads);
    }
  }

  static CUMULUS_DEVICE void scan_column(const Args<kDims>& a, const Offsets& offsets, u32 threads) {
    const bool has_start = a.flags & kHasInitial, exclusive = S::is_exclusive(a.flags);
    const Row<S, Strided<S>> row(a, offsets);
    Walker<S> walker;
    walker.begin({reinterpret_cast<typename S::Wide*>(shared_memory()) + thread_index(), threads, a.levels, has_start},
                 start_of<S>(a, offsets));
    if (a.n == 0 && S::has_total(a.flags)) store_empty_total(a, offsets, has_start, walker.now);

    Batch now, next;
    next.load(row, 0, a.n);
    for (i64 first = 0; first < a.n_out; first += 4 * kQuads) {
      now = next;
      next.load(row, first + 4 * kQuads, a.n);
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        const i64 x = first + 4 * j;
        Element v[4], r[5];
        now.quad(j, v);
        scan_quad<S>(v);
        walker.template advance<true>(x >> 2, static_cast<u32>(x >> 2) & 31, v, r);
        typename S::OutBits q[4];
        encode_quad<S>(r, exclusive, x == 0 && !has_start, q);
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (x + k < a.n_out) row.out.store(x + k, q[k]);
        if (S::has_total(a.flags)) store_total_of_quad<S>(a, offsets, x, r);
      }
    }
  }

 private:
  static CUMULUS_DEVICE void store_empty_total(const Args<kDims>& a, const Offsets& offsets, bool has_start, Element v) {
    if (!has_start) {
      if constexpr (S::kTwoInputs) v.b = S::shown();
      else v = S::shown();
    }
    store_total<S>(a, offsets, v);
  }
};

// ---- elements through a ring: pieces of rows in shared memory, row after row ----

// kThreads threads lie side by side along rows, kColumns columns each. A slot holds kRows rows; kBackward: the last one first, as memory's
// rows come in one copy where they run against the axis.
template <class S, int kColumns, int kThreads, int kRows, bool kBackward>
struct RowPieces {
  using Element = typename S::Element;
  static constexpr int kWidth = kThreads * kColumns;
  static constexpr int kInBytes = kWidth * S::In::kBytes, kMaskBytes = S::kMask != kNoMask ? kWidth * S::Mask::kBytes : 0;  // of a row
  static constexpr int kRowBytes = kInBytes * (S::kTwoInputs ? 2 : 1) + kMaskBytes;
  template <int kCopies>
  static constexpr u32 kFullCount = kCopies == kCopyAsync ? 33 : 1;  // arrivals at a slot's barrier

  // Rows from `first` on, and as many columns as threads have, by one copy. Those that the tensor lacks come as zeros.
  static CUMULUS_DEVICE void fill(u8* slot, const TensorStrip& strip, i64 n, i64 first, int rows, Barrier* full) {
    static_assert(kRowBytes == kInBytes);
    if (lane_index() == 0) {
      barrier_arrive_expect(full, rows > 0 ? kRows * kRowBytes : 0);
      const int column = static_cast<int>(i64{strip.column} * S::In::kBytes / kTensorElement);
      if (rows > 0) tensor_load(slot, strip.map, column, static_cast<int>(kBackward ? n - first - kRows : first), strip.outer, full);
    }
    sync_warp();  // a lane that lags a round behind would wait for the wrong phase
  }
  // One warp: `rows` rows of `columns` columns, from where the tensors' first rows are.
  template <int kCopies>
  static CUMULUS_DEVICE void fill(u8* slot, const u8* in, const u8* in2, const u8* mask, i64 in_step, i64 in2_step, i64 mask_step, int rows,
                                  u32 columns, Barrier* full) {
    const u32 lane = lane_index(), bytes = columns * S::In::kBytes, mask_bytes = S::kMask != kNoMask ? columns * S::Mask::kBytes : 0;
    if constexpr (kCopies == kCopyBulk) {
      if (lane == 0) barrier_arrive_expect(full, static_cast<u32>(rows) * (bytes * (S::kTwoInputs ? 2 : 1) + mask_bytes));
      sync_warp();
      if (kRowBytes == kInBytes && bytes == kInBytes && in_step == kWidth) {  // the whole is one piece
        if (lane == 0 && rows > 0) bulk_load(slot, in, static_cast<u32>(rows) * bytes, full);
        return;
      }
      for (int k = static_cast<int>(lane); k < rows; k += 32) {
        u8* to = slot + k * kRowBytes;
        bulk_load(to, in + k * in_step * S::In::kBytes, bytes, full);
        if constexpr (S::kTwoInputs) bulk_load(to + kInBytes, in2 + k * in2_step * S::In::kBytes, bytes, full);
        if constexpr (S::kMask != kNoMask) bulk_load(to + kRowBytes - kMaskBytes, mask + k * mask_step * S::Mask::kBytes, mask_bytes, full);
      }
    } else {
      copy<kInBytes>(slot, in, in_step * S::In::kBytes, rows, bytes);
      if constexpr (S::kTwoInputs) copy<kInBytes>(slot + kInBytes, in2, in2_step * S::In::kBytes, rows, bytes);
      if constexpr (S::kMask != kNoMask)
        copy<kMaskBytes>(slot + kRowBytes - kMaskBytes, mask, mask_step * S::Mask::kBytes, rows, mask_bytes);
      async_arrive(full);
      sync_warp();
      if (lane == 0) barrier_arrive(full);
    }
  }

  // Neighbouring columns of one row, as they lie in memory.
  template <class B>
  struct Pack {
    B v[kColumns];
    using All = Bits<kColumns * sizeof(B)>;

    CUMULUS_DEVICE All all() const {
      if constexpr (kColumns == 2 && sizeof(B) == 2) return word_of(v[0], v[1]);
      else return bit_cast<All>(*this);
    }
    static CUMULUS_DEVICE Pack of(const All& all) {
      if constexpr (kColumns == 2 && sizeof(B) == 2) return {half_of(all, 0), half_of(all, 1)};
      else return bit_cast<Pack>(all);
    }
  };
  using InPack = Pack<typename S::InBits>;
  using MaskPack = Pack<typename S::MaskBits>;
  using OutPack = Pack<typename S::OutBits>;

  // Thread `thread`'s quads of rows x .. x + 3, scanned; rows from `rows` on are 0. kWhole: there are none of those, and all threads have
  // columns. Then nothing keeps the reads from being under way together.
  template <bool kWhole>
  static CUMULUS_DEVICE void read_quad(const u8* slot, u32 thread, int x, int rows, bool active, Element (&v)[kColumns][4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      InPack in = {}, in2 = {};
      MaskPack mask = {};
      if (kWhole || (x + k < rows && active)) {
        const u8* at = slot + (kBackward ? kRows - 1 - (x + k) : x + k) * kRowBytes;
        in = read<InPack>(at, thread);
        if constexpr (S::kTwoInputs) in2 = read<InPack>(at + kInBytes, thread);
        if constexpr (S::kMask != kNoMask) mask = read<MaskPack>(at + kRowBytes - kMaskBytes, thread);
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) v[c][k] = S::element(in.v[c], in2.v[c], mask.v[c]);
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) scan_quad<S>(v[c]);
  }

  // Four rows of results, of which `rows` exist.
  template <bool kWhole>
  static CUMULUS_DEVICE void store_quad(u8*& out, i64 out_step, int rows, bool active, const typename S::OutBits (&q)[kColumns][4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k, out += out_step * S::Out::kBytes) {
      OutPack pack;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) pack.v[c] = q[c][k];
      if (kWhole || (k < rows && active)) store_global<sizeof(OutPack)>(out, pack.all());
    }
  }

 private:
  template <class P>
  static CUMULUS_DEVICE P read(const u8* row, u32 thread) {
    return P::of(load_shared(reinterpret_cast<const typename P::All*>(row) + thread));
  }
  // Lanes share each row if it is shorter than their 512 bytes. kFull: bytes of a row of a whole strip, whose addresses take no divisions.
  template <u32 kFull>
  static CUMULUS_DEVICE void copy(u8* to, const u8* from, i64 step, int rows, u32 bytes) {
    constexpr u32 kPieces = kFull / 16, kAcross = kPieces < 32 ? kPieces : 32, kDown = 32 / kAcross;
    if (bytes == kFull) {
      const u32 lane = lane_index(), first = lane / kAcross;
      const u8* source = from + first * step + lane % kAcross * 16;
      u8* target = to + first * kRowBytes + lane % kAcross * 16;
#pragma unroll 4
      for (int row = static_cast<int>(first); row < rows; row += kDown, source += kDown * step, target += kDown * kRowBytes)
#pragma unroll
        for (u32 piece = 0; piece < kPieces; piece += kAcross) async_load16(target + piece * 16, source + piece * 16);
      return;
    }
    const u32 pieces = bytes / 16;
    for (u32 i = lane_index(); i < static_cast<u32>(rows) * pieces; i += 32) {
      const u32 row = i / pieces, piece = i - row * pieces;
      async_load16(to + row * kRowBytes + piece * 16, from + row * step + piece * 16);
    }
  }
};

// kWarps that walk, kColumns columns of each thread. A slot holds kRows rows of the block's strip.
template <class S, int kColumns, int kWarps, int kSlots, int kFlight, int kCopies, int kDims, bool kBackward = false>
struct ColumnRingKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  static constexpr int kRows = 16, kThreads = kWarps * 32, kWidth = kThreads * kColumns;
  using Pieces = RowPieces<S, kColumns, kThreads, kRows, kBackward>;
  static constexpr int kSlotBytes = kRows * Pieces::kRowBytes;
  static constexpr int kBarrierBytes = 256;
  static_assert(kSlots <= 16 && kFlight <= kSlots && (kCopies != kCopyTensor || kSlotBytes % 128 == 0));

  struct Barriers {
    Barrier full[kSlots], empty[kSlots];
  };

  const Args<kDims>& a;
  const TensorMap* map;  // of tensor copies
  Barriers& barriers;
  u8* ring;
  Strips<kDims> strips;
  i64 batches;

  CUMULUS_DEVICE ColumnRingKernel(const Args<kDims>& args, const TensorMap* of_in)
      : a(args),
        map(of_in),
        barriers(*reinterpret_cast<Barriers*>(shared_memory())),
        ring(shared_memory() + kBarrierBytes),
        strips(args, kWidth),
        batches((args.n_out + kRows - 1) / kRows) {}

  static CUMULUS_DEVICE void run(const Args<kDims>& args, const TensorMap* map = nullptr) {
    ColumnRingKernel k(args, map);
    if (thread_index() == 0) {
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(&k.barriers.full[i], Pieces::template kFullCount<kCopies>);
        barrier_init(&k.barriers.empty[i], kWarps);
      }
      barrier_init_done();
    }
    sync_block();
    if (warp_index() == kWarps) k.load();
    else k.walk();
  }

  CUMULUS_DEVICE void load() {
    i64 i = 0;
    for (i64 job = block_index(); job < strips.jobs; job += block_count()) {
      const i64 column = strips.first_column(job), rest = strips.columns - column;
      const Row<S, Strided<S>> row(a, strips.offsets(job, column));
      const TensorStrip strip = strips.in_map(map, job);
      for (i64 batch = 0; batch < batches; ++batch, ++i) {
        const int slot = static_cast<int>(i % kSlots);
        if (i >= kSlots) barrier_wait(&barriers.empty[slot], static_cast<u32>(i / kSlots - 1) & 1);
        if (i >= kFlight) barrier_wait(&barriers.full[(i - kFlight) % kSlots], static_cast<u32>((i - kFlight) / kSlots) & 1);
        const i64 first = batch * kRows, left = a.n - first;
        const int rows = left > kRows ? kRows : left > 0 ? static_cast<int>(left) : 0;
        u8* to = ring + slot * kSlotBytes;
        if constexpr (kCopies == kCopyTensor) Pieces::fill(to, strip, a.n, first, rows, &barriers.full[slot]);
        else
          Pieces::template fill<kCopies>(to, row.in.place(first), row.in2.place(first), row.mask.place(first), a.in_step, a.in2_step,
                                         a.mask_step, rows, rest < kWidth ? static_cast<u32>(rest) : kWidth, &barriers.full[slot]);
      }
    }
    if constexpr (kCopies == kCopyAsync) async_wait();
  }

  CUMULUS_DEVICE void walk() {
    i64 i = 0;
    for (i64 job = block_index(); job < strips.jobs; job += block_count()) {
      const i64 column = strips.first_column(job) + thread_index() * kColumns;
      const bool active = column < strips.columns;
      Offsets offsets[kColumns];
      Walker<S> walkers[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        offsets[c] = strips.offsets(job, active ? column + c : 0);
        walkers[c].begin({reinterpret_cast<Wide*>(ring + kSlots * kSlotBytes) + c * kThreads + thread_index(), kWidth, a.levels,
                          (a.flags & kHasInitial) != 0},
                         start_of<S>(a, offsets[c]));
      }
      const Row<S, Strided<S>> row(a, offsets[0]);
      const i64 whole = min_of(a.n, a.n_out) / kRows;
      for (i64 batch = 0; batch < batches; ++batch, ++i) {
        const int slot = static_cast<int>(i % kSlots);
        barrier_wait(&barriers.full[slot], static_cast<u32>(i / kSlots) & 1);
        if (batch < whole && active)
          scan_batch<true>(batch, ring + slot * kSlotBytes, walkers, offsets, row.out.place(batch * kRows), true);
        else scan_batch<false>(batch, ring + slot * kSlotBytes, walkers, offsets, row.out.place(batch * kRows), active);
        sync_warp();
        if (lane_index() == 0) barrier_arrive(&barriers.empty[slot]);
      }
    }
  }

  template <bool kWhole>
  CUMULUS_DEVICE void scan_batch(i64 batch, const u8* slot, Walker<S> (&walkers)[kColumns], const Offsets (&offsets)[kColumns], u8* out,
                                 bool active) const {
    const bool exclusive = S::is_exclusive(a.flags), no_initial = !(a.flags & kHasInitial);
    const i64 left = a.n - batch * kRows, left_out = a.n_out - batch * kRows;
    const int rows = left > kRows ? kRows : static_cast<int>(left), rows_out = left_out > kRows ? kRows : static_cast<int>(left_out);
    const i64 done = batch * (kRows / 4);
    const u32 d = static_cast<u32>(batch) % (32 / (kRows / 4)) * (kRows / 4);
#pragma unroll
    for (int j = 0; j < kRows / 4; ++j) {
      Element v[kColumns][4];
      typename S::OutBits q[kColumns][4];
      Pieces::template read_quad<kWhole>(slot, thread_index(), 4 * j, rows, active, v);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        Element r[5];
        if (j + 1 < kRows / 4) walkers[c].template advance<false>(done + j, d | j, v[c], r);
        else walkers[c].template advance<true>(done + j, d | j, v[c], r);
        encode_quad<S>(r, exclusive, j == 0 && batch == 0 && no_initial, q[c]);
        if (S::has_total(a.flags) && active) store_total_of_quad<S>(a, offsets[c], 4 * (done + j), r);
      }
      Pieces::template store_quad<kWhole>(out, a.out_step, rows_out - 4 * j, active, q);
    }
  }
};

}  // namespace cumulus::cuda
