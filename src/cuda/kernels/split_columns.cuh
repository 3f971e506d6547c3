// Long narrow columns: too few to keep the device busy, so the axis is cut as well. A tile is one segment (128 rows) of a strip of columns;
// tiles are taken by ticket and pass through a ring in shared memory, as in split_rows.cuh, with the same words {epoch, value} and the same
// argument for progress. Warps have roles:
//   loader     takes tickets and fills slots
//   reducers   leave every column's totals of quarter segments in the slot, and publish those of whole segments
//   scanners   (in a few blocks) take a chunk of 32 columns each, a lane per column: segment totals in, R at every segment's start out
//   storers    wait for R at their tile's ends, walk its columns and store
// Reducers and storers are teams of four warps, a quarter of the segment each: what a tile's slot is held for is what bounds the speed.
// Tickets go panel by panel (some strips side by side), then chunk by chunk, strip by strip, segment by segment. Scanners go the same way:
// a chunk's total is found without knowing where the chunk starts, and the chunks of one column hand R on from warp to warp.
#pragma once

#include "columns.cuh"
#include "mail.cuh"

namespace cumulus::cuda {

template <class S, int kColumns, int kPanel, int kSlots, int kFlight, int kReducers, int kStorers, int kScanners, int kScanning,
          int kCopies, int kDims>
struct SplitColumnsKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  static constexpr int kWidth = 32 * kColumns, kGroups = kPanel * kColumns;  // columns of a strip; groups of 32 columns in a panel
  using Pieces = RowPieces<S, kColumns, 32>;
  static constexpr int kSegmentWords = 32 * Letter::kWords;  // from a segment's words to the next one's of that chunk
  static constexpr int kTeam = 4, kQuads = 32 / kTeam;       // warps; quads of a warp's share
  static constexpr int kDataBytes = kSegment * Pieces::kRowBytes;
  static constexpr int kSlotBytes = kDataBytes + (kTeam + 1) * kWidth * static_cast<int>(sizeof(Element));
  static_assert(kScanners >= kColumns);  // a strip's groups must be under way together: its tiles wait for all of them
  static_assert((kReducers == 1 || kReducers + kFlight <= kSlots) && (kStorers == 1 || kStorers + kFlight <= kSlots));

  struct Control {
    Barrier full[kSlots], reduced[kSlots], started[kSlots], empty[kSlots];
    i64 tile[kSlots];
    LaunchState launch;
    u32 turn[kGroups];  // chunks of this group that are done, over all panels
  };
  static constexpr int kControlBytes = (static_cast<int>(sizeof(Control)) + 127) / 128 * 128;

  const Args<kDims>& a;
  Control& control;
  u8* ring;
  Strips<kDims> strips;
  i64 segments, length, tiles;  // whole segments of a column; all of one; tiles
  u64* scanning;                // a word: how many blocks scan
  u64* totals;                  // words: totals of whole segments, then R at segments' starts
  u64* starts;
  u32 tag = 0;

  CUMULUS_DEVICE explicit SplitColumnsKernel(const Args<kDims>& args)
      : a(args),
        control(*reinterpret_cast<Control*>(shared_memory())),
        ring(shared_memory() + kControlBytes),
        strips(args, kWidth),
        segments(args.n / kSegment),
        length((args.n_out + kSegment - 1) / kSegment),
        tiles(length * strips.jobs) {
    scanning = a.workspace + kWorkspaceHeader;
    totals = scanning + 1;
    starts = totals + (segments / 32 + 1) * strips.jobs * kColumns * 32 * kSegmentWords;
  }
  // `index`: of the column, strips being as wide as they could be. Those of a chunk of 32 columns lie together.
  CUMULUS_DEVICE i64 word(i64 segment, i64 index) const {
    return (((segment >> 5) * strips.jobs * kColumns + (index >> 5)) * 32 + (segment & 31)) * kSegmentWords + (index & 31) * Letter::kWords;
  }
  CUMULUS_DEVICE u64* total_words(i64 segment, i64 index) const { return totals + word(segment, index); }
  CUMULUS_DEVICE u64* start_words(i64 segment, i64 index) const { return starts + word(segment, index); }
  CUMULUS_DEVICE u8* slot_at(int slot) const { return ring + slot * kSlotBytes; }
  // A quarter's total, of this lane's column c; behind them R at the segment's start.
  CUMULUS_DEVICE Element* quarter_total(u8* slot, int quarter, int c) const {
    return reinterpret_cast<Element*>(slot + kDataBytes) + quarter * kWidth + static_cast<int>(lane_index()) * kColumns + c;
  }

  struct Tile {
    i64 segment, strip;
    i64 first;  // row
    int rows, rows_out;
    bool active;  // this lane has columns

    CUMULUS_DEVICE Tile(const SplitColumnsKernel& k, i64 tile) {
      // The last panel may have fewer strips, the last chunk fewer segments.
      const i64 panel = tile / (k.length * kPanel);
      tile -= panel * k.length * kPanel;
      const i64 side = min_of(k.strips.jobs - panel * kPanel, kPanel), chunk = tile / (32 * side);
      tile -= chunk * 32 * side;
      const i64 of_chunk = min_of(k.length - chunk * 32, 32), place = tile / of_chunk;
      strip = panel * kPanel + place;
      segment = chunk * 32 + (tile - place * of_chunk);
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

  CUMULUS_DEVICE void reduce(int warp) {
    const int quarter = warp % kTeam;
    for (i64 i = warp / kTeam;; i += kReducers) {
      const int slot = static_cast<int>(i % kSlots);
      const u32 phase = static_cast<u32>(i / kSlots) & 1;
      barrier_wait(&control.full[slot], phase);
      const i64 tile = load_shared(&control.tile[slot]);
      if (uniform(tile < 0)) return;
      const Tile t(*this, tile);
      Counter<S, Element> quads[kColumns] = {};
      Element total[kColumns];
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        Element v[kColumns][4];
        Pieces::read_quad(slot_at(slot), lane_index(), (quarter * kQuads + j) * 4, t.rows, t.active, v);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) total[c] = quads[c].advance(static_cast<u32>(j), v[c][3]);
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c) store_shared(quarter_total(slot_at(slot), quarter, c), total[c]);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.reduced[slot]);
      if (quarter > 0) continue;
      barrier_wait(&control.reduced[slot], phase);
      if (t.rows == kSegment && t.active) {
        u64* at = total_words(t.segment, t.strip * kWidth + lane_index() * kColumns);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          Element of[kTeam];
#pragma unroll
          for (int k = 0; k < kTeam; ++k) of[k] = load_shared(quarter_total(slot_at(slot), k, c));
          Letter::publish(at + c * Letter::kWords, tag, S::combine(S::combine(of[0], of[1]), S::combine(of[2], of[3])));
        }
      }
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  // ---- scanners: a job is a chunk of a group, lane = column ----

  // What a group's jobs hand on, in shared memory: the carry of levels 3 and up, and R at the next chunk's start.
  struct Group {
    Carry<S> carry;
    Element* start;
    u32* turn;
  };
  CUMULUS_DEVICE Group group_at(int group, u8* memory) const {
    const int slots = a.levels * Carry<S>::kSlots * kGroups * 32, lane = group * 32 + static_cast<int>(lane_index());
    Wide* wide = reinterpret_cast<Wide*>(memory);
    return {{wide + lane, kGroups * 32, a.levels, (a.flags & kHasInitial) != 0},
            reinterpret_cast<Element*>(wide + slots) + lane,
            &control.turn[group]};
  }

  CUMULUS_DEVICE void scan(u32 scanner, u8* memory) {
    const int rank = static_cast<int>(load_shared(&control.launch.rank)), blocks = rank < kScanning ? scanning_blocks(rank, scanner) : 0;
    if (rank >= blocks) return;
    const i64 own = (kGroups - rank + blocks - 1) / blocks;  // groups
    const i64 chunks = segments / 32 + 1, panels = (strips.jobs + kPanel - 1) / kPanel;
    for (i64 job = scanner; job < panels * chunks * own; job += kScanners) {
      const i64 turn = job / own, panel = turn / chunks;
      const int group = rank + static_cast<int>(job - turn * own) * blocks;
      const i64 strip = panel * kPanel + group / kColumns, column = strips.first_column(strip) + group % kColumns * 32 + lane_index();
      const bool active = strip < strips.jobs && column < strips.columns;
      if (uniform(active)) scan_chunk(turn - panel * chunks, strip, column, active, static_cast<u32>(turn), group_at(group, memory));
    }
  }

  // Several blocks scan, if they run: the first one looks how many have come, and tells.
  CUMULUS_DEVICE int scanning_blocks(int rank, u32 scanner) const {
    if (kScanning == 1) return 1;
    if (rank == 0 && scanner == 0) {
      u64 come = 1;
      for (int patience = 0; patience < 64 && come < kScanning; ++patience) come = load_relaxed(a.workspace + kArrived);
      if (lane_index() == 0) Mail<u32>::publish(scanning, tag, come < kScanning ? static_cast<u32>(come) : kScanning);
    }
    u32 blocks = 0;
    while (!uniform_all(Mail<u32>::read(scanning, tag, blocks))) pause();
    return static_cast<int>(shuffle(blocks, 0));
  }

  // R at the starts of a chunk's segments but the first, and at the next chunk's.
  CUMULUS_DEVICE void scan_chunk(i64 chunk, i64 strip, i64 column, bool active, u32 turn, const Group& group) {
    const i64 first = chunk * 32, index = strip * kWidth + column - strips.first_column(strip);
    const int whole = static_cast<int>(min_of(segments - first, 32));  // segments with totals
    const u64* const from = total_words(first, index);
    u64* const to = start_words(first, index);
    if (chunk == 0) {
      while (!is_turn(turn, *group.turn)) pause();
      const Wide begin = start_of<S>(a, active ? strips.offsets(strip, column) : Offsets{});
      group.carry.begin(begin);
      store_shared(group.start, S::narrow(begin));
      if (active) Letter::publish(to, tag, S::narrow(begin));
    }
    Element prefix[kHeld] = {};
    const bool early = whole == 32 && prefixes_of_chunk(from, active, turn, *group.turn, prefix);
    while (!is_turn(turn, *group.turn)) pause();
    sync_warp();
    const Element start = load_shared(group.start);
    const bool has_chunk = group.carry.has(-1, chunk);
    // What other chunks wait for comes first, if it is known; else what tiles wait for.
    const Element total = early ? prefix[kHeld - 1] : publish_starts(from, to, whole, active, has_chunk, start);
    hand_on(chunk, whole, index, active, turn, total, group);
    if (!early) return;
    if constexpr (kHeld == 1) {
      publish_starts(from, to, whole, active, has_chunk, start);
    } else {
#pragma unroll
      for (int s = 0; s < kHeld - 1; ++s)
        if (active) Letter::publish(to + (s + 1) * kSegmentWords, tag, combine_start<S>(has_chunk, start, prefix[s]));
    }
  }
  CUMULUS_DEVICE bool is_turn(u32 turn, const u32& now) const { return uniform_all(load_acquire_shared(&now) == turn); }

  // Lets the next chunk of this group go on.
  CUMULUS_DEVICE void hand_on(i64 chunk, int whole, i64 index, bool active, u32 turn, const Element& total, const Group& group) {
    if (whole == 32) {
      const Element next = S::narrow(group.carry.template advance<true>(chunk, 0, S::widen(total)));
      store_shared(group.start, next);
      if (active) Letter::publish(start_words(chunk * 32 + 32, index), tag, next);
    }
    sync_warp();
    if (lane_index() == 0) store_release_shared(group.turn, turn + 1);
  }

  static constexpr int kHeld = sizeof(Element) <= 4 ? 32 : 1;  // prefixes that a lane has room for: else they are found twice
  // Totals on their way to a lane.
  static constexpr int kBatch = sizeof(Element) <= 8 ? 8 : sizeof(Element) <= 16 ? 4 : 2;

  // The prefixes of a chunk's segments, or only the last of them. False if its turn comes before all its totals do.
  CUMULUS_DEVICE bool prefixes_of_chunk(const u64* from, bool active, u32 turn, const u32& now, Element (&prefix)[kHeld]) const {
    constexpr int kCount = kHeld == 32 ? 16 : kBatch;
    [[maybe_unused]] constexpr int kUnroll = kHeld == 32 ? 2 : 1;  // g++ ignores the pragma
    Counter<S, Element> segments_done = {};
#pragma unroll kUnroll
    for (int s = 0; s < 32; s += kCount) {
      Element v[kCount];
      for (;;) {
        bool all = true;
#pragma unroll
        for (int i = 0; i < kCount; ++i) all = Letter::read(from + (s + i) * kSegmentWords, tag, v[i]) & all;
        if (uniform_all(all || !active)) break;
        // The latest ticket's is asked for alone while it is not there.
        for (Element last; !uniform_all(Letter::read(from + 31 * kSegmentWords, tag, last) || !active); pause())
          if (is_turn(turn, now)) return false;
        if (is_turn(turn, now)) return false;
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) prefix[(s + i) % kHeld] = segments_done.advance(static_cast<u32>(s + i), v[i]);
    }
    return true;
  }

  // R at the ends of a chunk's segments but the last, as their totals come. The prefix of all.
  CUMULUS_DEVICE Element publish_starts(const u64* from, u64* to, int whole, bool active, bool has_chunk, const Element& start) const {
    Counter<S, Element> segments_done = {};
    Element prefix{};
#pragma unroll 1
    for (int s = 0; s < whole; s += kBatch) {
      Element v[kBatch] = {};
      bool known[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) known[i] = s + i >= whole || Letter::read(from + (s + i) * kSegmentWords, tag, v[i]) || !active;
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        while (!uniform_all(known[i])) known[i] = Letter::read(from + (s + i) * kSegmentWords, tag, v[i]) || !active;
        if (s + i >= whole) continue;
        prefix = segments_done.advance(static_cast<u32>(s + i), v[i]);
        if (s + i < 31 && active) Letter::publish(to + (s + i + 1) * kSegmentWords, tag, combine_start<S>(has_chunk, start, prefix));
      }
    }
    return prefix;
  }

  // ---- storers ----

  CUMULUS_DEVICE void store(int warp) {
    const int quarter = warp % kTeam;
    for (i64 i = warp / kTeam;; i += kStorers) {
      const int slot = static_cast<int>(i % kSlots);
      barrier_wait(&control.full[slot], static_cast<u32>(i / kSlots) & 1);
      const i64 tile = load_shared(&control.tile[slot]);
      if (uniform(tile < 0)) return;
      const Tile t(*this, tile);
      barrier_wait(&control.reduced[slot], static_cast<u32>(i / kSlots) & 1);
      Element start[kColumns] = {}, next[kColumns] = {};
      if (quarter == 0) {  // one warp asks for all
        wait_for(t.segment, t, start);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) store_shared(quarter_total(slot_at(slot), kTeam, c), start[c]);
        sync_warp();
        if (lane_index() == 0) barrier_arrive(&control.started[slot]);
      } else {
        barrier_wait(&control.started[slot], static_cast<u32>(i / kSlots) & 1);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) start[c] = load_shared(quarter_total(slot_at(slot), kTeam, c));
      }
      if (quarter == kTeam - 1 && t.segment < segments) wait_for(t.segment + 1, t, next);
      store_quarter(t, slot_at(slot), quarter, start, next);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  CUMULUS_DEVICE void wait_for(i64 segment, const Tile& t, Element (&v)[kColumns]) const {
    const u64* at = start_words(segment, t.strip * kWidth + lane_index() * kColumns);
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

  CUMULUS_DEVICE void store_quarter(const Tile& t, u8* slot, int quarter, const Element (&start)[kColumns],
                                    const Element (&next)[kColumns]) const {
    const bool exclusive = S::is_exclusive(a.flags), no_initial = !(a.flags & kHasInitial);
    const bool has_segment = !S::kStartsEmpty || !no_initial || t.segment > 0;
    const i64 column = strips.first_column(t.strip) + lane_index() * kColumns;
    const Offsets offsets = strips.offsets(t.strip, t.active ? column : 0);
    u8* out = Row<S, Strided<S>>(a, offsets).out.place(t.first + quarter * kQuads * 4);
    Counter<S, Element> quads[kColumns] = {};
    Element now[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      now[c] = start[c];
      if (quarter > 0) now[c] = combine_start<S>(has_segment, start[c], quarters_before(slot, quarter, c, quads[c]));
    }
#pragma unroll 4
    for (int j = 0; j < kQuads; ++j) {
      const u32 d = static_cast<u32>(quarter * kQuads + j);
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

  // The prefix of the quarters before, which the counter has then left behind it.
  CUMULUS_DEVICE Element quarters_before(u8* slot, int quarter, int c, Counter<S, Element>& quads) const {
    const Element first = load_shared(quarter_total(slot, 0, c));
    if (quarter == 1) return quads.left[3] = first;
    quads.left[4] = S::combine(first, load_shared(quarter_total(slot, 1, c)));
    if (quarter == 2) return quads.left[4];
    quads.left[3] = load_shared(quarter_total(slot, 2, c));
    return S::combine(quads.left[4], quads.left[3]);
  }

  // ---- the block ----

  static CUMULUS_DEVICE void run(const Args<kDims>& args) {
    SplitColumnsKernel k(args);
    if (thread_index() == 0)
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(&k.control.full[i], Pieces::template kFullCount<kCopies>);
        barrier_init(&k.control.reduced[i], kTeam);
        barrier_init(&k.control.started[i], 1);
        barrier_init(&k.control.empty[i], 1 + kTeam);
      }
    if (thread_index() < kGroups) store_shared(&k.control.turn[thread_index()], 0u);
    k.tag = begin_launch(args, k.control.launch);
    constexpr int kFirstStorer = 1 + kReducers * kTeam, kFirstScanner = kFirstStorer + kStorers * kTeam;
    const int warp = static_cast<int>(warp_index());
    if (warp == 0) k.load();
    else if (warp < kFirstStorer) k.reduce(warp - 1);
    else if (warp < kFirstScanner) k.store(warp - kFirstStorer);
    else k.scan(static_cast<u32>(warp - kFirstScanner), k.ring + kSlots * kSlotBytes);
    end_launch(args, k.control.launch, k.tag);
  }
};

}  // namespace cumulus::cuda
