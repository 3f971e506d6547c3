// Long columns, too few to keep the device busy: the axis is cut as well. A tile is one segment (128 rows) of a strip of columns, or some
// segments side by side where columns are few. Tiles are taken by ticket and pass through a ring in shared memory, as in split_rows.cuh,
// with the same words {epoch, value} and the same argument for progress. Warps have roles:
//   loaders    take tickets and fill slots, one or two in turn
//   reducers   leave every column's totals of quarter segments in the slot, and publish those of whole segments
//   scanners   take a node of 32 columns each. In every block, by tickets of their own: chunks; segments' totals in, their prefixes out.
//              In the first block: nodes of level 3; chunks' totals in, R at chunks' starts out.
//   starters   wait for both, and leave R at the ends of a tile's segments in the slot
//   storers    walk a tile's columns and store
// Reducers and storers are teams of four warps, a quarter of the segment each: what a tile's slot is held for is what bounds the speed.
// Tickets go strip by strip, tile by tile; chunks' tickets likewise, and nothing waits but for earlier ones.
#pragma once

#include "column_tiles.cuh"
#include "ring.cuh"

namespace cumulus::cuda {

template <class S, class Lanes, int kSlots, int kFlight, int kLoaders, int kReducers, int kStarters, int kStorers, int kScanners,
          int kCopies, int kDims>
struct SplitColumnsKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  static constexpr int kColumns = Lanes::kColumns, kWidth = Lanes::kWidth, kSide = Lanes::kSide;
  static constexpr int kGroups = kColumns;   // of 32 lanes in a strip
  static constexpr int kSteps = 32 / kSide;  // tiles of a chunk
  static constexpr int kStepWords = 32 * Letter::kWords;
  static constexpr int kTeam = 4, kQuads = 32 / kTeam;  // warps; quads of a warp's share
  static constexpr int kLeft = kTeam + 2;               // values of a lane's column that a slot holds: quarters' totals, R at both ends
  static constexpr int kSlotBytes = Lanes::kDataBytes + kLeft * 32 * kColumns * static_cast<int>(sizeof(Element));
  // In the first block. A strip's groups must be under way together, for its tiles wait for all of them.
  static constexpr int kUpper = kScanners - kGroups;
  static_assert(kUpper >= kGroups);
  // See kernels/split_rows.cuh.
  template <int kWarps>
  static constexpr bool kFits = kWarps == 1 || kWarps + kFlight <= kSlots;
  static_assert(kFits<kReducers> && kFits<kStarters> && kFits<kStorers> && kLoaders <= kSlots);

  // A tile, or a chunk, which is a node of its own.
  struct alignas(16) Place {
    i64 strip, node;
    i64 part;         // of the node; -1: there are no more
    Offsets offsets;  // of the strip's first column
  };
  struct Control {
    Barrier full[kSlots], reduced[kSlots], started[kSlots], empty[kSlots];
    Place place[kSlots];
    LaunchState launch;
    Loading loading;
    u32 turn[kGroups];  // nodes of level 3 of this group that are done, over all strips
  };
  static constexpr int kControlBytes = (static_cast<int>(sizeof(Control)) + 127) / 128 * 128;
  static_assert(kCopies != kCopyTensor || kSlotBytes % 128 == 0);

  const Args<kDims>& a;
  const TensorMap* map;  // of tensor copies
  Control& control;
  u8* ring;
  Strips<kDims> strips;
  i64 segments, length;              // whole segments of a column; tiles of one
  u64 *totals, *prefixes;            // words: of whole segments; of a chunk's segments up to one
  u64 *chunk_totals, *chunk_starts;  // words: of whole chunks; R at their starts
  u32 tag = 0;

  CUMULUS_DEVICE SplitColumnsKernel(const Args<kDims>& args, const TensorMap* of_in)
      : a(args),
        map(of_in),
        control(*reinterpret_cast<Control*>(shared_memory())),
        ring(shared_memory() + kControlBytes),
        strips(args, kWidth),
        segments(args.n / kSegment),
        length((args.n_out + kSide * kSegment - 1) / (kSide * kSegment)) {
    const i64 chunks = segments / 32;
    totals = a.workspace + kWorkspaceHeader;
    prefixes = totals + (chunks + 1) * node_words();
    chunk_totals = prefixes + (chunks + 1) * node_words();
    chunk_starts = chunk_totals + (chunks / 32 + 1) * node_words();
  }
  // Of all columns' children of one node.
  CUMULUS_DEVICE i64 node_words() const { return strips.jobs * kGroups * (kSteps * kStepWords); }
  // `lane`: of a strip; those beyond 32 are in its next group.
  CUMULUS_DEVICE u64* word(u64* of, i64 node, i64 strip, int step, int lane) const {
    const i64 group = strip * kGroups + (lane >> 5);
    return of + node * node_words() + (group * kSteps + step) * kStepWords + (lane & 31) * Letter::kWords;
  }
  CUMULUS_DEVICE u8* slot_at(int slot) const { return ring + slot * kSlotBytes; }
  // Of this lane's column c: totals of the quarters of its segment, then R at its start and at its end.
  CUMULUS_DEVICE Element* left(u8* slot, int which, int c) const {
    return reinterpret_cast<Element*>(slot + Lanes::kDataBytes) + (which * 32 + static_cast<int>(lane_index())) * kColumns + c;
  }
  static constexpr int kStart = kTeam, kEnd = kTeam + 1;
  // Side of the lane: which of the children that lie side by side. Its column is that of the first side's lane.
  static CUMULUS_DEVICE int side() { return static_cast<int>(lane_index()) / Lanes::kLanes; }
  static CUMULUS_DEVICE int first_lane() { return static_cast<int>(lane_index()) % Lanes::kLanes; }

  // Strips one after the other; a column has `parts`, kParts to a node.
  template <int kParts>
  CUMULUS_DEVICE Place place_of(i64 ticket, i64 parts) const {
    const i64 strip = strips.jobs == 1 ? 0 : ticket / parts, part = ticket - strip * parts;
    return {strip, part / kParts, part % kParts, {}};
  }

  struct Tile {
    i64 first;  // row
    int rows, rows_out;
    i64 segment;  // of the lane; its rows
    int lane_rows, lane_rows_out;
    bool active;  // this lane has columns

    CUMULUS_DEVICE Tile(const SplitColumnsKernel& k, const Place& p) {
      const i64 index = p.node * kSteps + p.part;
      first = index * (kSide * kSegment);
      rows = clamp(k.a.n - first, kSide * kSegment), rows_out = clamp(k.a.n_out - first, kSide * kSegment);
      segment = index * kSide + side();
      lane_rows = clamp(rows - side() * kSegment, kSegment), lane_rows_out = clamp(rows_out - side() * kSegment, kSegment);
      active = side() < kSide && (kSide > 1 || k.strips.first_column(p.strip) + first_lane() * kColumns < k.strips.columns);
    }
    static CUMULUS_DEVICE int clamp(i64 left, int most) { return left > most ? most : left > 0 ? static_cast<int>(left) : 0; }
  };

  // ---- loader ----

  CUMULUS_DEVICE void load(int loader) {
    constexpr int kFew = kReducers > kStorers ? kReducers : kStorers, kEnds = kFew > kStarters ? kFew : kStarters;  // every reader sees one
    i64 strip = -1, column = 0;  // of the last tile: most are of the same strip
    Offsets offsets;
    TensorStrip in_map{};
    fill_ring<kFlight, kEnds, kLoaders>(
        a, loader, control.loading, control.full, control.empty, length * strips.jobs, [&](int slot, i64 ticket) {
          const i64 index = ticket - strip * length;  // in that strip
          Place place = strip >= 0 && ticket >= 0 && index < length ? Place{strip, index / kSteps, index % kSteps, {}}
                                                                    : place_of<kSteps>(ticket < 0 ? 0 : ticket, length);
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
  }

  // ---- reducers ----

  CUMULUS_DEVICE void reduce(int warp) {
    const int quarter = warp % kTeam;
    for (RingPlace<kSlots> at = {warp / kTeam};; at.advance(kReducers)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.part < 0)) return;
      const Tile t(*this, place);
      const Lanes own(slot_at(slot), Row<S, Strided<S>>(a, place.offsets), t.first, t.lane_rows, t.active);
      Counter<S, Element> quads[kColumns] = {};
      Element total[kColumns];
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        Element v[kColumns][4];
        own.read_quad((quarter * kQuads + j) * 4, v);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) total[c] = quads[c].advance(static_cast<u32>(j), v[c][3]);
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) store_shared(left(slot_at(slot), quarter, c), total[c]);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.reduced[slot]);
      if (quarter > 0) continue;
      barrier_wait(&control.reduced[slot], at.round);
      if (t.lane_rows == kSegment && t.active) {
        u64* to = word(totals, place.node, place.strip, static_cast<int>(place.part), static_cast<int>(lane_index()) * kColumns);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          Element of[kTeam];
#pragma unroll
          for (int k = 0; k < kTeam; ++k) of[k] = load_shared(left(slot_at(slot), k, c));
          Letter::publish(to + c * Letter::kWords, tag, S::combine(S::combine(of[0], of[1]), S::combine(of[2], of[3])));
        }
      }
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  // ---- scanners: a node of 32 children of 32 lanes' columns ----

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
      bool open = true;
#pragma unroll
      for (int b = 0; b < kBits; ++b) {
        if (step >> b & 1) {
          v = S::combine(left[b], v);
        } else if (open) {
          left[b] = of_last_side(v);
          open = false;
        }
      }
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
  // Totals on their way to a lane.
  static constexpr int kMost = sizeof(Element) <= 4 ? 8 : sizeof(Element) <= 8 ? 4 : 2;
  static constexpr int kBatch = kSteps < kMost ? kSteps : kMost;
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

  CUMULUS_DEVICE void scan(int scanner, u8* memory) {
    // One node of level 3 of a strip at most: nothing is handed on, and such nodes have tickets, too.
    const bool alone = segments < 1024;
    const bool first_block = load_shared(&control.launch.rank) == 0;
    if (!alone && first_block && scanner < kUpper) scan_upper(scanner, memory);
    else if (first_block || scanner < kEager) scan_by_ticket(alone && segments >= 32);
  }

  CUMULUS_DEVICE void scan_by_ticket(bool upper) {
    const i64 parts = segments / 32 + 1 + upper;  // of a strip: its node of level 3 comes first; the last chunk may be empty
    for (;;) {
      // The groups of a strip have tickets one after the other.
      const i64 ticket = take_ticket(a, kChunkTicket), job = ticket / kGroups;
      if (job >= parts * strips.jobs) return;
      const Place p = place_of<1>(job, parts);
      const int group = static_cast<int>(ticket - job * kGroups);
      if (!upper) scan_chunk(p.node, p.strip, group);
      else if (p.node > 0) scan_chunk(p.node - 1, p.strip, group);
      else scan_only_node(p.strip, group);
    }
  }

  CUMULUS_DEVICE void scan_chunk(i64 chunk, i64 strip, int group) {
    const int lane = group * 32 + static_cast<int>(lane_index());
    const Children node{word(totals, chunk, strip, 0, lane), static_cast<int>(min_of(segments - chunk * 32, 32)), is_active(strip, group)};
    u64* const to = word(prefixes, chunk, strip, 0, lane);
    if (segments < 32) begin(strip, group, node.active);  // there is no node of level 3
    const auto put = [&](int step, const Element& prefix) { Letter::publish(to + step * kStepWords, tag, prefix); };
    // All totals at once, which come soon after the first. But tiles on their way may be too few for that: then each one as it comes.
    if (node.count == 32)
      for (Element first; !uniform_all(Letter::read(node.totals, tag, first) || !node.active); pause()) {
      }
    int patience = kPatience;
    Element total{};
    const auto put_active = [&](int step, const Element& prefix) {
      if (node.active) put(step, prefix);
    };
    const auto gives_up = [&] { return --patience < 0; };
    if (node.count < 32 || !prefixes_of<Element, 1>(node, gives_up, total, put_active)) total = walk<Element>(node, put);
    if (node.count == 32) publish_total(chunk, strip, group, node.active, total);
  }
  static constexpr int kPatience = 64;
  // Scanners of a block that take chunks: about two for each chunk on its way, for those who wait for later ones only disturb.
  static constexpr int kEager = (2 * kSlots * kSide + 31) / 32 < kScanners ? (2 * kSlots * kSide + 31) / 32 : kScanners;
  CUMULUS_DEVICE void publish_total(i64 chunk, i64 strip, int group, bool active, const Element& total) const {
    if (!active || side() > 0) return;
    const int child = static_cast<int>(chunk & 31), at = child % kSide * Lanes::kLanes + first_lane();
    Letter::publish(word(chunk_totals, chunk / 32, strip, child / kSide, group * 32 + at), tag, total);
  }
  CUMULUS_DEVICE bool is_active(i64 strip, int group) const {
    return side() < kSide && strips.first_column(strip) + group * 32 + first_lane() < strips.columns;
  }
  CUMULUS_DEVICE bool has_before(i64 nodes) const { return !S::kStartsEmpty || (a.flags & kHasInitial) || nodes > 0; }

  // What the nodes of level 3 of a group hand on, in shared memory: the carry of the levels above, and R at the next node's start.
  struct Group {
    Carry<S> carry;
    Wide* start;
    u32* turn;
  };
  CUMULUS_DEVICE Group group_at(int group, u8* memory) const {
    const int slots = a.levels * Carry<S>::kSlots * kGroups * 32, lane = group * 32 + static_cast<int>(lane_index());
    Wide* wide = reinterpret_cast<Wide*>(memory);
    return {{wide + lane, kGroups * 32, a.levels, (a.flags & kHasInitial) != 0}, wide + slots + lane, &control.turn[group]};
  }

  // Nodes of level 3. Some warps share a group's.
  CUMULUS_DEVICE void scan_upper(int scanner, u8* memory) {
    const int group = scanner % kGroups, sharing = (kUpper - group + kGroups - 1) / kGroups;
    const i64 chunks = segments / 32, nodes = chunks > 0 ? chunks / 32 + 1 : 0;
    const Group handed = group_at(group, memory);
    for (i64 turn = scanner / kGroups; turn < strips.jobs * nodes; turn += sharing) {
      const Place p = place_of<1>(turn, nodes);
      scan_node(p.node, p.strip, group, is_active(p.strip, group), static_cast<u32>(turn), handed);
    }
  }
  CUMULUS_DEVICE bool is_turn(u32 turn, const u32& now) const { return uniform_all(load_acquire_shared(&now) == turn); }

  // R at a strip's start, told to all. Asked for once: the place may be that of the total, which comes when R is known everywhere.
  CUMULUS_DEVICE Wide begin(i64 strip, int group, bool active) const {
    const Wide v = start_of<S>(a, strips.offsets(strip, active ? strips.first_column(strip) + group * 32 + first_lane() : 0));
    if (active && side() == 0) Letter::publish(word(chunk_starts, 0, strip, 0, group * 32 + first_lane()), tag, S::narrow(v));
    return v;
  }
  // Where R behind a lane's child of step 0 goes: it is that at the next chunk's start.
  CUMULUS_DEVICE u64* next_words(i64 index, i64 strip, int lane) const {
    return word(chunk_starts, index, strip, 0, lane) +
           (side() + 1 < kSide ? Lanes::kLanes : 32 - (kSide - 1) * Lanes::kLanes) * Letter::kWords;
  }

  CUMULUS_DEVICE void scan_only_node(i64 strip, int group) {
    const int lane = group * 32 + static_cast<int>(lane_index());
    const Children node{word(chunk_totals, 0, strip, 0, lane), static_cast<int>(segments / 32), is_active(strip, group)};
    const Wide start = begin(strip, group, node.active);
    const bool has = has_before(0);
    u64* const to = next_words(0, strip, lane);
    walk<Wide>(node,
               [&](int step, const Wide& v) { Letter::publish(to + step * kStepWords, tag, S::narrow(combine_start<S>(has, start, v))); });
  }

  CUMULUS_DEVICE void scan_node(i64 index, i64 strip, int of_strip, bool active, u32 turn, const Group& group) {
    const int lane = of_strip * 32 + static_cast<int>(lane_index());
    const Children node{word(chunk_totals, index, strip, 0, lane), static_cast<int>(min_of(segments / 32 - index * 32, 32)), active};
    const auto is_now = [&] { return is_turn(turn, *group.turn); };
    Wide prefix[kHeld] = {}, total{};
    const auto hold = [&](int step, const Wide& v) { prefix[step % kHeld] = v; };
    constexpr int kUnroll = kHeld == 1 ? 1 : kSteps / kBatch;
    const bool early = node.count == 32 && prefixes_of<Wide, kUnroll>(node, is_now, total, hold);
    while (!is_now()) pause();
    sync_warp();
    if (index == 0) {
      const Wide first = begin(strip, of_strip, active);
      group.carry.begin(first);
      store_shared(group.start, first);
    }
    const Wide start = load_shared(group.start);
    const bool has = has_before(index);
    u64* const to = next_words(index, strip, lane);
    const auto put = [&](int step, const Wide& v) {
      if (step * kSide + side() < 31) Letter::publish(to + step * kStepWords, tag, S::narrow(combine_start<S>(has, start, v)));
    };
    // What other nodes wait for comes first, if it is known; else what tiles wait for.
    if (!early) total = walk<Wide>(node, put);
    if (node.count == 32) {
      const Wide next = group.carry.template advance<true>(index, 0, total);
      store_shared(group.start, next);
      if (active && side() == 0)
        Letter::publish(word(chunk_starts, index + 1, strip, 0, of_strip * 32 + first_lane()), tag, S::narrow(next));
    }
    sync_warp();
    if (lane_index() == 0) store_release_shared(group.turn, turn + 1);
    if (!early) return;
    const auto put_active = [&](int step, const Wide& v) {
      if (active) put(step, v);
    };
    if constexpr (kHeld == kSteps) {
#pragma unroll
      for (int s = 0; s < kSteps; ++s) put_active(s, prefix[s]);
    } else {
      const auto never = [] { return false; };
      prefixes_of<Wide, 1>(node, never, total, put_active);
    }
  }
  // Prefixes of a node of level 3 that a lane has room for: else they are found twice.
  static constexpr int kHeld = kSteps * static_cast<int>(sizeof(Wide)) <= 128 ? kSteps : 1;

  // ---- starters ----

  CUMULUS_DEVICE void start(int starter) {
    for (RingPlace<kSlots> at = {starter};; at.advance(kStarters)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.part < 0)) return;
      find_starts(place, Tile(*this, place), slot_at(slot));
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.started[slot]);
    }
  }

  // From R at the chunk's start and the prefixes up to the segment before and to this one.
  CUMULUS_DEVICE void find_starts(const Place& place, const Tile& t, u8* slot) const {
    const int child = static_cast<int>(place.part) * kSide + side();
    const bool wanted = t.active && t.lane_rows_out > 0, whole = t.active && t.segment < segments, last = child == 31;
    const u64* const any = child_words(prefixes, place.node, place.strip, child);
    const bool wants[3] = {wanted, wanted && child > 0, whole};
    const u64* const at[3] = {
        wants[0] ? child_words(chunk_starts, place.node >> 5, place.strip, static_cast<int>(place.node & 31)) : any,
        wants[1] ? child_words(prefixes, place.node, place.strip, child - 1) : any,
        whole && last ? child_words(chunk_starts, (place.node + 1) >> 5, place.strip, static_cast<int>((place.node + 1) & 31)) : any};
    Element v[3][kColumns];  // R at the chunk's start, and the two prefixes, or behind the last segment R at the next chunk's start
    for (;; pause()) {       // all are asked for at once
      bool known = true;
#pragma unroll
      for (int i = 0; i < 3; ++i)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) known = (Letter::read(at[i] + c * Letter::kWords, tag, v[i][c]) || !wants[i]) & known;
      if (uniform_all(known)) break;
    }
    const bool has = has_before(place.node);
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      store_shared(left(slot, kStart, c), select(child == 0, v[0][c], combine_start<S>(has, v[0][c], v[1][c])));
      store_shared(left(slot, kEnd, c), select(last, v[2][c], combine_start<S>(has, v[0][c], v[2][c])));
    }
  }
  // The lane's columns of one child's words.
  CUMULUS_DEVICE const u64* child_words(u64* of, i64 node, i64 strip, int child) const {
    return word(of, node, strip, child / kSide, child % kSide * Lanes::kLanes + first_lane() * kColumns);
  }

  // ---- storers ----

  CUMULUS_DEVICE void store(int warp) {
    for (RingPlace<kSlots> at = {warp / kTeam};; at.advance(kStorers)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.part < 0)) return;
      const Tile t(*this, place);
      barrier_wait(&control.reduced[slot], at.round);
      barrier_wait(&control.started[slot], at.round);
      const Row<S, Strided<S>> row(a, place.offsets);
      if (Lanes::passes_through_slot(row, t.first, t.rows, t.rows_out)) store_quarter<true>(place, row, t, slot_at(slot), warp % kTeam);
      else store_quarter<false>(place, row, t, slot_at(slot), warp % kTeam);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  // kThrough: results leave through the slot.
  template <bool kThrough>
  CUMULUS_DEVICE void store_quarter(const Place& place, const Row<S, Strided<S>>& row, const Tile& t, u8* slot, int quarter) const {
    constexpr int kShare = kQuads * 4;  // rows
    const bool exclusive = S::is_exclusive(a.flags), no_initial = !(a.flags & kHasInitial);
    const bool has_segment = has_before(t.segment);
    Lanes own(slot, row, t.first, t.lane_rows, t.active);
    own.begin_store(row, t.first, quarter * kShare);
    Counter<S, Element> quads[kColumns] = {};
    Element now[kColumns], start[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      now[c] = start[c] = load_shared(left(slot, kStart, c));
      if (quarter > 0) now[c] = combine_start<S>(has_segment, start[c], quarters_before(slot, quarter, c, quads[c]));
    }
#pragma unroll 4
    for (int j = 0; j < kQuads; ++j) {
      const u32 d = static_cast<u32>(quarter * kQuads + j);
      const int x = static_cast<int>(d) * 4;
      if (x >= t.rows_out) break;
      Element v[kColumns][4];
      typename S::OutBits q[kColumns][4];
      own.read_quad(x, v);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const bool has = has_segment || d > 0;
        Element r[5];
        r[0] = now[c];
#pragma unroll
        for (int k = 0; k < 3; ++k) r[k + 1] = combine_start<S>(has, now[c], v[c][k]);
        const Element total = quads[c].advance(d, v[c][3]);
        r[4] = now[c] = d < 31 ? combine_start<S>(has_segment, start[c], total) : load_shared(left(slot, kEnd, c));
        encode_quad<S>(r, exclusive, d == 0 && t.segment == 0 && no_initial, q[c]);
        if (S::has_total(a.flags) && t.active) {
          Offsets o = place.offsets;
          o.total += (first_lane() * kColumns + c) * a.dim[strips.lane_dim].total;
          store_total_of_quad<S>(a, o, t.segment * kSegment + x, r);
        }
      }
      own.template store_quad<kThrough>(x, t.lane_rows_out - x, q);
    }
    if constexpr (kThrough) own.end_store(quarter * kShare);
  }

  // The prefix of the quarters before, which the counter has then left behind it.
  CUMULUS_DEVICE Element quarters_before(u8* slot, int quarter, int c, Counter<S, Element>& quads) const {
    const Element first = load_shared(left(slot, 0, c));
    if (quarter == 1) return quads.left[3] = first;
    quads.left[4] = S::combine(first, load_shared(left(slot, 1, c)));
    if (quarter == 2) return quads.left[4];
    quads.left[3] = load_shared(left(slot, 2, c));
    return S::combine(quads.left[4], quads.left[3]);
  }

  // ---- the block ----

  static CUMULUS_DEVICE void run(const Args<kDims>& args, const TensorMap* map = nullptr) {
    SplitColumnsKernel k(args, map);
    if (thread_index() == 0) {
      k.control.loading.begin();
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(&k.control.full[i], Lanes::template kFullCount<kCopies>);
        barrier_init(&k.control.reduced[i], kTeam);
        barrier_init(&k.control.started[i], 1);
        barrier_init(&k.control.empty[i], 1 + kTeam);
      }
    }
    if (thread_index() < kGroups) store_shared(&k.control.turn[thread_index()], 0u);
    k.tag = begin_launch(args, k.control.launch);
    constexpr int kFirstReducer = kLoaders, kFirstStorer = kFirstReducer + kReducers * kTeam,
                  kFirstStarter = kFirstStorer + kStorers * kTeam, kFirstScanner = kFirstStarter + kStarters;
    const int warp = static_cast<int>(warp_index());
    if (warp < kFirstReducer) k.load(warp);
    else if (warp < kFirstStorer) k.reduce(warp - kFirstReducer);
    else if (warp < kFirstStarter) k.store(warp - kFirstStorer);
    else if (warp < kFirstScanner) k.start(warp - kFirstStarter);
    else k.scan(warp - kFirstScanner, k.ring + kSlots * kSlotBytes);
    end_launch(args, k.control.launch, k.tag);
  }
};

}  // namespace cumulus::cuda
