// Long narrow columns: too few to keep the device busy, so the axis is cut as well. A tile is one segment (128 rows) of a strip of columns;
// tiles are taken by ticket and pass through a ring in shared memory, as in split_rows.cuh, with the same words {epoch, value} and the same
// argument for progress. Warps have roles:
//   loader     takes tickets and fills slots
//   reducers   publish every column's total of a whole segment
//   scanners   (in one block) walk 32 columns of a strip each, a lane per column: segment totals in, R at every segment's start out
//   storers    wait for R at their tile's two ends, walk its columns and store
// Tickets go chunk by chunk, and within a chunk strip by strip: in the order in which the scanners walk.
#pragma once

#include "columns.cuh"
#include "mail.cuh"

namespace cumulus::cuda {

template <class S, int kColumns, int kSlots, int kFlight, int kReducers, int kStorers, int kScanners, int kCopies, int kDims>
struct SplitColumnsKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  static constexpr int kWidth = 32 * kColumns, kGroups = 2;  // columns of a strip; groups of 32 columns that a scanner may have
  using Pieces = RowPieces<S, kColumns, 32>;
  static constexpr int kSlotBytes = kSegment * Pieces::kRowBytes;
  static_assert(kScanners >= kColumns);  // or a scanner would have two groups of one strip, and walk them one after the other
  static_assert((kReducers == 1 || kReducers + kFlight <= kSlots) && (kStorers == 1 || kStorers + kFlight <= kSlots));

  struct Control {
    Barrier full[kSlots], empty[kSlots];
    i64 tile[kSlots];
    LaunchState launch;
  };
  static constexpr int kControlBytes = (static_cast<int>(sizeof(Control)) + 127) / 128 * 128;

  const Args<kDims>& a;
  Control& control;
  u8* ring;
  Strips<kDims> strips;
  i64 segments, tiles;  // whole segments of a column; tiles of all
  u64* totals;          // words: totals of whole segments, then R at segments' starts; columns of one segment side by side
  u64* starts;
  u32 tag = 0;

  CUMULUS_DEVICE explicit SplitColumnsKernel(const Args<kDims>& args)
      : a(args),
        control(*reinterpret_cast<Control*>(shared_memory())),
        ring(shared_memory() + kControlBytes),
        strips(args, kWidth),
        segments(args.n / kSegment) {
    tiles = (a.n_out + kSegment - 1) / kSegment * strips.jobs;
    totals = a.workspace + kWorkspaceHeader;
    starts = totals + segments * a.rows * Letter::kWords;
  }
  // `index`: of the column among all rows of the problem.
  CUMULUS_DEVICE u64* total_words(i64 segment, i64 index) const { return totals + (segment * a.rows + index) * Letter::kWords; }
  CUMULUS_DEVICE u64* start_words(i64 segment, i64 index) const { return starts + (segment * a.rows + index) * Letter::kWords; }
  CUMULUS_DEVICE i64 first_index(i64 strip) const { return strip / strips.strips * strips.columns + strips.first_column(strip); }
  CUMULUS_DEVICE u8* slot_at(int slot) const { return ring + slot * kSlotBytes; }

  struct Tile {
    i64 segment, strip;
    i64 first;  // row
    int rows, rows_out;
    bool active;  // this lane has columns

    CUMULUS_DEVICE Tile(const SplitColumnsKernel& k, i64 tile) {
      // All tiles of a chunk, strip by strip; the last chunk may have fewer than 32 segments.
      const i64 all = k.tiles / k.strips.jobs, chunk = tile / (32 * k.strips.jobs), rest = tile - chunk * 32 * k.strips.jobs;
      const i64 of_chunk = all - chunk * 32 < 32 ? all - chunk * 32 : 32;
      strip = rest / of_chunk;
      segment = chunk * 32 + (rest - strip * of_chunk);
      first = segment * kSegment;
      const i64 left = k.a.n - first, left_out = k.a.n_out - first;
      rows = left > kSegment ? kSegment : left > 0 ? static_cast<int>(left) : 0;
      rows_out = left_out > kSegment ? kSegment : static_cast<int>(left_out);
      active = k.strips.first_column(strip) + lane_index() * kColumns < k.strips.columns;
    }
  };

  // ---- loader ----

  CUMULUS_DEVICE void load() {
    constexpr int kEnds = kReducers > kStorers ? kReducers : kStorers;  // every reader must see an end
    int ends = 0;
    for (i64 i = 0; ends < kEnds; ++i) {
      const int slot = static_cast<int>(i % kSlots);
      if (i >= kSlots) barrier_wait(&control.empty[slot], static_cast<u32>(i / kSlots - 1) & 1);
      if (i >= kFlight) barrier_wait(&control.full[(i - kFlight) % kSlots], static_cast<u32>((i - kFlight) / kSlots) & 1);
      i64 tile = tiles;
      if (lane_index() == 0 && ends == 0) tile = static_cast<i64>(fetch_add(a.workspace + kTicket, 1));
      tile = shuffle(tile, 0);
      if (tile >= tiles) {
        ++ends;
        tile = -1;
      }
      if (lane_index() == 0) store_shared(&control.tile[slot], tile);
      sync_warp();
      if (tile < 0) {
        Pieces::template fill<kCopies>(slot_at(slot), nullptr, nullptr, nullptr, 0, 0, 0, 0, 0, &control.full[slot]);
        continue;
      }
      const Tile t(*this, tile);
      const i64 column = strips.first_column(t.strip), rest = strips.columns - column;
      const Row<S, Strided<S>> row(a, strips.offsets(t.strip, column));
      Pieces::template fill<kCopies>(slot_at(slot), row.in.place(t.first), row.in2.place(t.first), row.mask.place(t.first), a.in_step,
                                     a.in2_step, a.mask_step, t.rows, rest < kWidth ? static_cast<u32>(rest) : kWidth, &control.full[slot]);
    }
  }

  // ---- reducers ----

  CUMULUS_DEVICE void reduce(int reducer) {
    for (i64 i = reducer;; i += kReducers) {
      const int slot = static_cast<int>(i % kSlots);
      barrier_wait(&control.full[slot], static_cast<u32>(i / kSlots) & 1);
      const i64 tile = load_shared(&control.tile[slot]);
      if (uniform(tile < 0)) return;
      const Tile t(*this, tile);
      if (t.rows == kSegment && t.active) {
        Counter<S, Element> quads[kColumns] = {};
        Element total[kColumns];
#pragma unroll 4
        for (u32 d = 0; d < 32; ++d) {
          Element v[kColumns][4];
          Pieces::read_quad(slot_at(slot), lane_index(), static_cast<int>(d) * 4, kSegment, true, v);
#pragma unroll
          for (int c = 0; c < kColumns; ++c) total[c] = quads[c].advance(d, v[c][3]);
        }
        u64* at = total_words(t.segment, first_index(t.strip) + lane_index() * kColumns);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) Letter::publish(at + c * Letter::kWords, tag, total[c]);
      }
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  // ---- scanners ----

  struct Column {
    Counter<S, Wide> chunks;  // level 3; those above are in shared memory
    Carry<S> carry;
    Wide block_start;  // R before level 3's digit
    Element chunk_start;
    i64 index;
    bool active;
  };

  CUMULUS_DEVICE void scan(u32 scanner, u8* carry_memory) {
    const bool has_start = a.flags & kHasInitial;
    Column own[kGroups];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      // A group lies in one strip: its lanes' totals have neighbouring tickets.
      Column& c = own[g];
      const i64 group = scanner + static_cast<u32>(g) * kScanners, strip = group / kColumns;
      const i64 column = strips.first_column(strip) + (group - strip * kColumns) * 32 + lane_index();
      c.active = strip < strips.jobs && column < strips.columns;
      c.index = c.active ? first_index(strip) + column - strips.first_column(strip) : 0;
      c.chunks = {};
      c.carry = {reinterpret_cast<Wide*>(carry_memory) + group * 32 + lane_index(), static_cast<u32>(strips.jobs * kColumns * 32), a.levels,
                 has_start};
      c.block_start = start_of<S>(a, c.active ? strips.offsets(strip, column) : Offsets{});
      if (c.active) c.carry.begin(c.block_start);
      c.chunk_start = S::narrow(c.block_start);
      if (c.active) Letter::publish(start_words(0, c.index), tag, c.chunk_start);
    }
    for (i64 chunk = 0; chunk * 32 <= segments; ++chunk) {
#pragma unroll
      for (int g = 0; g < kGroups; ++g)
        if (uniform(own[g].active)) scan_chunk(own[g], chunk);
    }
  }

  // R at the starts of a chunk's segments but the first, and at the next chunk's.
  CUMULUS_DEVICE void scan_chunk(Column& c, i64 chunk) {
    constexpr int kBatch = 4;
    const i64 left = segments - chunk * 32;
    const int whole = left > 32 ? 32 : static_cast<int>(left);  // segments with totals
    const bool has_chunk = c.carry.has(-1, chunk);
    Counter<S, Element> counter = {};
    Element prefix{};
#pragma unroll 1
    for (int s = 0; s < whole; s += kBatch) {
      Element total[kBatch] = {};
      bool known[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i)
        known[i] = s + i >= whole || !c.active || Letter::read(total_words(chunk * 32 + s + i, c.index), tag, total[i]);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        while (!uniform_all(known[i]))
          if (!known[i]) known[i] = Letter::read(total_words(chunk * 32 + s + i, c.index), tag, total[i]);
        if (s + i >= whole) continue;
        prefix = counter.advance(static_cast<u32>(s + i), total[i]);
        if (s + i < 31 && c.active)
          Letter::publish(start_words(chunk * 32 + s + i + 1, c.index), tag, combine_start<S>(has_chunk, c.chunk_start, prefix));
      }
    }
    if (whole < 32) return;
    const u32 d = static_cast<u32>(chunk) & 31;
    const Wide node = c.chunks.advance(d, S::widen(prefix));
    if (d < 31) c.chunk_start = S::narrow(combine_start<S>(c.carry.has(0, chunk), c.block_start, node));
    else if (c.active) c.chunk_start = S::narrow(c.block_start = c.carry.template advance<true>(chunk >> 5, 0, node));
    // At once: the tile that ends here waits for it, and later columns of this scanner may be waiting for that tile's slot.
    if (c.active) Letter::publish(start_words(chunk * 32 + 32, c.index), tag, c.chunk_start);
  }

  // ---- storers ----

  CUMULUS_DEVICE void store(int storer) {
    for (i64 i = storer;; i += kStorers) {
      const int slot = static_cast<int>(i % kSlots);
      barrier_wait(&control.full[slot], static_cast<u32>(i / kSlots) & 1);
      const i64 tile = load_shared(&control.tile[slot]);
      if (uniform(tile < 0)) return;
      const Tile t(*this, tile);
      Element start[kColumns] = {}, next[kColumns] = {};
      wait_for(t.segment, t, start);
      if (t.segment < segments) wait_for(t.segment + 1, t, next);
      store_tile(t, slot_at(slot), start, next);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  CUMULUS_DEVICE void wait_for(i64 segment, const Tile& t, Element (&v)[kColumns]) const {
    const u64* at = start_words(segment, first_index(t.strip) + lane_index() * kColumns);
    for (bool known = !t.active;;) {
      if (!known) {
        known = true;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) known = Letter::read(at + c * Letter::kWords, tag, v[c]) && known;
      }
      if (uniform_all(known)) return;
      pause();
    }
  }

  CUMULUS_DEVICE void store_tile(const Tile& t, const u8* slot, const Element (&start)[kColumns], const Element (&next)[kColumns]) const {
    const bool exclusive = S::is_exclusive(a.flags), no_initial = !(a.flags & kHasInitial);
    const bool has_segment = !S::kStartsEmpty || !no_initial || t.segment > 0;
    const i64 column = strips.first_column(t.strip) + lane_index() * kColumns;
    const Offsets offsets = strips.offsets(t.strip, t.active ? column : 0);
    u8* out = Row<S, Strided<S>>(a, offsets).out.place(t.first);
    Counter<S, Element> quads[kColumns] = {};
    Element now[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) now[c] = start[c];
#pragma unroll 4
    for (u32 d = 0; d < 32; ++d) {
      const int x = static_cast<int>(d) * 4;
      if (x >= t.rows_out) break;
      Element v[kColumns][4];
      typename S::OutBits q[kColumns][4];
      Pieces::read_quad(slot, lane_index(), x, t.rows, t.active, v);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const bool has = has_segment || d > 0;
        Element r[5];
        r[0] = now[c];
#pragma unroll
        for (int k = 0; k < 3; ++k) r[k + 1] = combine_start<S>(has, now[c], v[c][k]);
        const Element total = quads[c].advance(d, v[c][3]);
        r[4] = now[c] = d < 31 ? combine_start<S>(has_segment, start[c], total) : next[c];
        encode_quad<S>(r, exclusive, d == 0 && t.segment == 0 && no_initial, q[c]);
        if (S::has_total(a.flags) && t.active) {
          Offsets o = offsets;
          o.total += c * a.dim[strips.lane_dim].total;
          store_total_of_quad<S>(a, o, t.first + x, r);
        }
      }
      Pieces::store_quad(out, a.out_step, t.rows_out - x, t.active, q);
    }
  }

  // ---- the block ----

  static CUMULUS_DEVICE void run(const Args<kDims>& args) {
    SplitColumnsKernel k(args);
    if (thread_index() == 0)
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(&k.control.full[i], Pieces::template kFullCount<kCopies>);
        barrier_init(&k.control.empty[i], 2);
      }
    k.tag = begin_launch(args, k.control.launch);
    const int warp = static_cast<int>(warp_index());
    if (warp == 0) k.load();
    else if (warp <= kReducers) k.reduce(warp - 1);
    else if (warp <= kReducers + kStorers) k.store(warp - 1 - kReducers);
    else if (load_shared(&k.control.launch.rank) == 0)
      k.scan(static_cast<u32>(warp - 1 - kReducers - kStorers), k.ring + kSlots * kSlotBytes);
    end_launch(args, k.control.launch, k.tag);
  }
};

}  // namespace cumulus::cuda
