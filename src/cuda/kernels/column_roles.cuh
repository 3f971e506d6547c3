// What kernels of long columns share: a ring of tiles (column_tiles.cuh) in shared memory, and the warps that load, reduce and store them.
//   loaders    take tiles in turn and fill slots
//   reducers   leave every column's totals of quarter segments in the slot
//   storers    walk a tile's columns and store, once they are told R at the ends of the tile's segments
// Who finds R there, and how, is the kernels' own affair. Reducers and storers are teams of four warps, a quarter of the segment each: what
// a tile's slot is held for is what bounds the speed. So storers that have registers for it take the tile there, and give the slot back
// before they wait for R.
#pragma once

#include "column_tiles.cuh"
#include "ring.cuh"

namespace cumulus::cuda {

// kStarters: warps that leave R in slots.
template <class S, class Lanes, int kSlots, int kFlight, int kLoaders, int kReducers, int kStarters, int kStorers, int kCopies, int kDims>
struct ColumnRoles : Sides<Lanes> {
  using Sides<Lanes>::side, Sides<Lanes>::first_lane;
  using Element = typename S::Element;
  using Letter = Mail<Element>;
  static constexpr int kColumns = Lanes::kColumns, kWidth = Lanes::kWidth, kSide = Lanes::kSide;
  static constexpr int kGroups = kColumns;              // of 32 lanes in a strip
  static constexpr int kSteps = 32 / kSide;             // tiles of a chunk
  static constexpr int kTeam = 4, kQuads = 32 / kTeam;  // warps; quads of a warp's share
  static constexpr int kLeft = kTeam + 2;               // values of a lane's column that a slot holds: quarters' totals, R at both ends
  static constexpr int kStart = kTeam, kEnd = kTeam + 1;
  // R is left in boxes: of teams of storers, or, if a tile stays in its slot, of slots. A box lies where a slot has it.
  static constexpr bool kHolds = !Lanes::kLeavesThroughSlot && !S::kTwoInputs && kColumns * sizeof(Element) <= 8;
  static constexpr int kBoxes = kHolds ? kStorers : kSlots;
  static_assert(kStarters <= kBoxes && (!kHolds || kStarters == 1 || kStarters == kStorers));  // or a box's phases had two tellers
  static constexpr int kSlotBytes = Lanes::kDataBytes + kLeft * 32 * kColumns * static_cast<int>(sizeof(Element));
  static constexpr int kFirstReducer = kLoaders, kFirstStorer = kFirstReducer + kReducers * kTeam,
                       kFirstStarter = kFirstStorer + kStorers * kTeam, kFirstOther = kFirstStarter + kStarters;
  // See kernels/split_rows.cuh.
  template <int kWarps>
  static constexpr bool kFits = kWarps == 1 || kWarps + kFlight <= kSlots;
  static_assert(kFits<kReducers> && kFits<kStarters> && kFits<kStorers> && kLoaders <= kSlots);

  // A tile: a part of a chunk, which is a node of its own.
  struct alignas(16) Place {
    i64 strip, node;
    i64 part;         // of the node; -1: there are no more
    Offsets offsets;  // of the strip's first column
  };
  struct Control {
    Barrier full[kSlots], reduced[kSlots], empty[kSlots];
    Barrier started[kBoxes], taken[kBoxes];
    Place place[kSlots];
    LaunchState launch;
    Loading loading;
  };
  static constexpr int kControlBytes = (static_cast<int>(sizeof(Control)) + 127) / 128 * 128;

  static_assert(kCopies != kCopyTensor || kSlotBytes % 128 == 0);

  const Args<kDims>& a;
  const TensorMap* map;  // of tensor copies
  Control& control;
  u8* ring;
  Strips<kDims> strips;
  i64 segments, length;  // whole segments of a column; tiles of one

  CUMULUS_DEVICE explicit ColumnRoles(const Args<kDims>& args, const TensorMap* of_in = nullptr)
      : a(args),
        map(of_in),
        control(*reinterpret_cast<Control*>(shared_memory())),
        ring(shared_memory() + kControlBytes),
        strips(args, kWidth),
        segments(args.n / kSegment),
        length((args.n_out + kSide * kSegment - 1) / (kSide * kSegment)) {}

  // One thread; other warps use the ring only after begin_launch or what it says there.
  CUMULUS_DEVICE void init_ring() {
    control.loading.begin();
    for (int i = 0; i < kSlots; ++i) {
      barrier_init(&control.full[i], Lanes::template kFullCount<kCopies>);
      barrier_init(&control.reduced[i], kTeam);
      barrier_init(&control.empty[i], 1 + kTeam + kHolds);
    }
    for (int i = 0; i < kBoxes; ++i) barrier_init(&control.started[i], 1), barrier_init(&control.taken[i], kTeam);
  }

  // ---- words that blocks exchange: of every node 32 steps at most, of 32 lanes for each group of each strip ----

  static constexpr int kStepWords = 32 * Letter::kWords;
  // Of all columns' children of one node.
  CUMULUS_DEVICE i64 node_words() const { return strips.jobs * kGroups * (kSteps * kStepWords); }
  // `lane`: of a strip; those beyond 32 are in its next group.
  CUMULUS_DEVICE u64* word(u64* of, i64 node, i64 strip, int step, int lane) const {
    const i64 group = strip * kGroups + (lane >> 5);
    return of + node * node_words() + (group * kSteps + step) * kStepWords + (lane & 31) * Letter::kWords;
  }
  // The lane's columns of one child's words.
  CUMULUS_DEVICE const u64* child_words(u64* of, i64 node, i64 strip, int child) const {
    return word(of, node, strip, child / kSide, child % kSide * Lanes::kLanes + first_lane() * kColumns);
  }

  // ---- slots ----

  CUMULUS_DEVICE u8* slot_at(int slot) const { return ring + slot * kSlotBytes; }
  CUMULUS_DEVICE u8* behind_ring() const { return ring + kSlots * kSlotBytes; }
  // Of this lane's column c: totals of the quarters of its segment; a box's: R at its start and at its end.
  CUMULUS_DEVICE Element* left(u8* slot, int which, int c) const {
    return reinterpret_cast<Element*>(slot + Lanes::kDataBytes) + (which * 32 + static_cast<int>(lane_index())) * kColumns + c;
  }
  // Of a whole segment, once all its quarters' are there.
  CUMULUS_DEVICE Element segment_total(u8* slot, int c) const {
    Element of[kTeam];
#pragma unroll
    for (int k = 0; k < kTeam; ++k) of[k] = load_shared(left(slot, k, c));
    return S::combine(S::combine(of[0], of[1]), S::combine(of[2], of[3]));
  }
  CUMULUS_DEVICE bool has_before(i64 nodes) const { return !S::kStartsEmpty || (a.flags & kHasInitial) || nodes > 0; }

  struct Tile {
    i64 first;  // row
    int rows, rows_out;
    i64 segment;  // of the lane; its rows
    int lane_rows, lane_rows_out;
    bool active;  // this lane has columns

    CUMULUS_DEVICE Tile(const ColumnRoles& k, const Place& p) {
      const i64 index = p.node * kSteps + p.part;
      first = index * (kSide * kSegment);
      rows = clamp(k.a.n - first, kSide * kSegment), rows_out = clamp(k.a.n_out - first, kSide * kSegment);
      segment = index * kSide + side();
      lane_rows = clamp(rows - side() * kSegment, kSegment), lane_rows_out = clamp(rows_out - side() * kSegment, kSegment);
      active = side() < kSide && (kSide > 1 || k.strips.first_column(p.strip) + first_lane() * kColumns < k.strips.columns);
    }
    // All lanes have columns, and all their rows are there.
    CUMULUS_DEVICE bool is_whole() const { return uniform_all(active && lane_rows == kSegment && lane_rows_out == kSegment); }
    static CUMULUS_DEVICE int clamp(i64 left, int most) { return left > most ? most : left > 0 ? static_cast<int>(left) : 0; }
  };

  // ---- loaders ----

  // `next` gives tickets, as fill_ring wants them; place_of(ticket, place) says which strip, node and part one is.
  template <class Next, class PlaceOf>
  CUMULUS_DEVICE void load(int loader, const Next& next, const PlaceOf& place_of) {
    constexpr int kFew = kReducers > kStorers ? kReducers : kStorers, kEnds = kFew > kStarters ? kFew : kStarters;  // every reader sees one
    i64 strip = -1, column = 0;  // of the last tile: most are of the same strip
    Offsets offsets;
    TensorStrip in_map{};
    fill_ring<kFlight, kEnds, kLoaders>(loader, control.loading, control.full, control.empty, next, [&](int slot, i64 ticket) {
      Place place = {0, 0, 0, {}};
      if (ticket >= 0) place_of(ticket, place);
      if (place.strip != strip) {
        strip = place.strip, column = strips.first_column(strip);
        offsets = strips.offsets(strip, column);
        in_map = strips.in_map(map, strip);
      }
      place.offsets = offsets;
      const Tile t(*this, place);
      if (ticket < 0) place.part = -1;
      if (lane_index() == 0) store_shared(&control.place[slot], place);
      sync_warp();
      Lanes::template fill<kCopies>(slot_at(slot), a, Row<S, Strided<S>>(a, offsets), t.first, ticket < 0 ? 0 : t.rows,
                                    strips.columns - column, &control.full[slot], in_map);
    });
    if constexpr (kCopies == kCopyAsync) async_wait();
  }

  // ---- reducers ----

  // publish(place, tile, slot): one warp's, when all quarters are done.
  template <class Publish>
  CUMULUS_DEVICE void reduce(int warp, const Publish& publish) {
    const int quarter = warp % kTeam;
    for (RingPlace<kSlots> at = {warp / kTeam};; at.advance(kReducers)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.part < 0)) return;
      const Tile t(*this, place);
      if (t.is_whole()) reduce_quarter<true>(place, t, slot, quarter);
      else reduce_quarter<false>(place, t, slot, quarter);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.reduced[slot]);
      if (quarter > 0) continue;
      barrier_wait(&control.reduced[slot], at.round);
      publish(place, t, slot_at(slot));
      give_back(slot);
    }
  }

  template <bool kWhole>
  CUMULUS_DEVICE void reduce_quarter(const Place& place, const Tile& t, int slot, int quarter) const {
    const Lanes own(slot_at(slot), Row<S, Strided<S>>(a, place.offsets), t.first, t.lane_rows, t.active);
    Counter<S, Element> quads[kColumns] = {};
    Element total[kColumns];
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
      Element v[kColumns][4];
      own.template read_quad<kWhole>((quarter * kQuads + j) * 4, v);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) total[c] = quads[c].advance(static_cast<u32>(j), v[c][3]);
    }
#pragma unroll
    for (int c = 0; c < kColumns; ++c) store_shared(left(slot_at(slot), quarter, c), total[c]);
  }

  // What one warp of a team does then, where other blocks want whole segments' totals.
  CUMULUS_DEVICE void publish_totals(u64* totals, u32 tag, const Place& place, const Tile& t, u8* slot) const {
    if (t.lane_rows != kSegment || !t.active) return;
    u64* to = word(totals, place.node, place.strip, static_cast<int>(place.part), static_cast<int>(lane_index()) * kColumns);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) Letter::publish(to + c * Letter::kWords, tag, segment_total(slot, c));
  }

  // ---- boxes: starters, then storers ----

  // One warp: ends_of(c, start, end) says what R is for column c.
  template <class EndsOf>
  CUMULUS_DEVICE void tell_storers(const RingPlace<kBoxes>& box, const EndsOf& ends_of) {
    if constexpr (kHolds) barrier_wait(&control.taken[box.slot], box.round ^ 1);
    u8* const at = slot_at(box.slot);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      Element start, end;
      ends_of(c, start, end);
      store_shared(left(at, kStart, c), start), store_shared(left(at, kEnd, c), end);
    }
    sync_warp();
    if (lane_index() == 0) barrier_arrive(&control.started[box.slot]);
  }

  CUMULUS_DEVICE void store(int warp) {
    const int team = warp / kTeam;
    RingPlace<kBoxes> box = {team};
    for (RingPlace<kSlots> at = {team};; at.advance(kStorers), box.advance(kStorers)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.part < 0)) return;
      const Tile t(*this, place);
      barrier_wait(&control.reduced[slot], at.round);
      const Row<S, Strided<S>> row(a, place.offsets);
      const bool through = Lanes::passes_through_slot(row, t.first, t.rows, t.rows_out), whole = t.is_whole();
      if (through && whole) store_quarter<true, true>(place, row, t, slot, box, warp % kTeam);
      else if (through) store_quarter<true, false>(place, row, t, slot, box, warp % kTeam);
      else store_quarter<false, false>(place, row, t, slot, box, warp % kTeam);
    }
  }

  // kThrough: results leave through the slot.
  template <bool kThrough, bool kWhole>
  CUMULUS_DEVICE void store_quarter(const Place& place, const Row<S, Strided<S>>& row, const Tile& t, int slot,
                                    const RingPlace<kBoxes>& box, int quarter) const {
    constexpr int kShare = kQuads * 4, kHeld = kHolds ? kQuads : 1;  // rows; quads in registers
    const bool exclusive = S::is_exclusive(a.flags), no_initial = !(a.flags & kHasInitial);
    const bool has_segment = has_before(t.segment);
    Lanes own(slot_at(slot), row, t.first, t.lane_rows, t.active);
    own.begin_store(row, t.first, quarter * kShare);
    Counter<S, Element> quads[kColumns] = {};
    Element held[kHeld][kColumns][4], now[kColumns], start[kColumns], end[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) count_quarters(slot_at(slot), quarter, c, quads[c]);
    if constexpr (kHolds) {
#pragma unroll
      for (int j = 0; j < kQuads; ++j) own.template read_quad<kWhole>((quarter * kQuads + j) * 4, held[j]);
      give_back(slot);
    }
    barrier_wait(&control.started[box.slot], box.round);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      now[c] = start[c] = load_shared(left(slot_at(box.slot), kStart, c));
      end[c] = load_shared(left(slot_at(box.slot), kEnd, c));
      if (quarter > 0) now[c] = combine_start<S>(has_segment, start[c], prefix_of_quarters(quarter, quads[c]));
    }
    if constexpr (kHolds) {
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.taken[box.slot]);
    }
#pragma unroll kHolds ? kQuads : 4
    for (int j = 0; j < kQuads; ++j) {
      const u32 d = static_cast<u32>(quarter * kQuads + j);
      const int x = static_cast<int>(d) * 4;
      if (!kWhole && x >= t.rows_out) break;
      Element(&v)[kColumns][4] = held[kHolds ? j : 0];
      typename S::OutBits q[kColumns][4];
      if constexpr (!kHolds) own.template read_quad<kWhole>(x, v);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const bool has = has_segment || d > 0;
        Element r[5];
        r[0] = now[c];
#pragma unroll
        for (int k = 0; k < 3; ++k) r[k + 1] = combine_start<S>(has, now[c], v[c][k]);
        const Element total = quads[c].advance(d, v[c][3]);
        r[4] = now[c] = d < 31 ? combine_start<S>(has_segment, start[c], total) : end[c];
        encode_quad<S>(r, exclusive, d == 0 && t.segment == 0 && no_initial, q[c]);
        if (S::has_total(a.flags) && t.active) {
          Offsets o = place.offsets;
          o.total += (first_lane() * kColumns + c) * a.dim[strips.lane_dim].total;
          store_total_of_quad<S>(a, o, t.segment * kSegment + x, r);
        }
      }
      own.template store_quad<kThrough, kWhole>(x, t.lane_rows_out - x, q);
    }
    if constexpr (kThrough) own.end_store(quarter * kShare);
    if constexpr (!kHolds) give_back(slot);
  }
  CUMULUS_DEVICE void give_back(int slot) const {
    sync_warp();
    if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
  }

  // What the quarters before leave behind them in the counter, and their prefix.
  CUMULUS_DEVICE void count_quarters(u8* slot, int quarter, int c, Counter<S, Element>& quads) const {
    if (quarter == 0) return;
    quads.left[3] = load_shared(left(slot, quarter == 3 ? 2 : 0, c));
    if (quarter > 1) quads.left[4] = S::combine(load_shared(left(slot, 0, c)), load_shared(left(slot, 1, c)));
  }
  static CUMULUS_DEVICE Element prefix_of_quarters(int quarter, const Counter<S, Element>& quads) {
    return quarter == 1 ? quads.left[3] : quarter == 2 ? quads.left[4] : S::combine(quads.left[4], quads.left[3]);
  }
};

}  // namespace cumulus::cuda
