// Long rows, down to a single one: tiles of whole chunks pass through a ring in shared memory. Warps have roles:
//   loader     takes tickets and fills slots
//   reducers   publish the total of every whole chunk
//   scanners   (in the first block) combine chunk totals and publish R at every chunk's start
//   a starter  waits for R at the ends of tiles' chunks, and tells storers
//   storers    scan their tile out of shared memory, and store
// Where there are rows enough for all blocks, tickets are rows, and each is one block's: then nothing else passes between blocks, there are
// no scanners, and the starter takes R from tile to tile itself.
// What passes between blocks are words {epoch, value}: nothing has to be cleared between launches. Progress: a tile's total depends on its
// loading only, a chunk's start on totals of earlier tickets only, and the scanning block is the first one that runs; if it does nothing
// else, then only since others have begun. So one resident block is enough. The order: only totals of whole chunks and R at chunks' starts
// are ever published.
#pragma once

#include "ring.cuh"
#include "stage.cuh"

namespace cumulus::cuda {

template <class S, int kChunks, int kSlots, int kFlight, int kReducers, int kStorers, int kTeam, int kScanners, int kCopies, int kDims>
struct SplitRowsKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  static constexpr int kTile = kChunks * kChunk;
  static constexpr bool kOwnRows = kScanners == 0;
  // A warp that waits for tile i has to know that tile i - kSlots came, or it would mistake the barrier's last phase for the next one. It
  // has handled tile i - kStorers, so that tile i - kStorers - kFlight and all before it have come.
  static_assert((kReducers == 1 || kReducers + kFlight <= kSlots) && (kStorers == 1 || kStorers + kFlight <= kSlots));
  // Reducers and storers are teams of kTeam warps, which share a tile: what a slot is held for is what bounds the speed.
  static constexpr int kShare = kChunks * 32 / kTeam;            // a storer's segments
  static constexpr int kPiece = kShare < 32 ? kShare : 32;       // of one chunk
  static constexpr int kReducerTeam = kChunks == 1 ? kTeam : 1;  // more of them were slower where tiles have two chunks
  using InStage = Stage<decltype(Row<S>::in), kTile>;            // sizes are the same however tensors lie
  using MaskStage = Stage<decltype(Row<S>::mask), kTile>;
  static constexpr int kDataBytes = InStage::kSize * (S::kTwoInputs ? 2 : 1) + (S::kMask != kNoMask ? MaskStage::kSize : 0);
  static constexpr int kSlotBytes = kDataBytes + kChunks * 32 * static_cast<int>(sizeof(Element));  // prefixes of segments come behind
  static constexpr int kFirstStorer = 1 + kReducers * kReducerTeam, kStarter = kFirstStorer + kStorers * kTeam,
                       kFirstScanner = kStarter + 1;
  // Narrow elements give the scanners so much to do that, where there are many blocks, theirs has no tiles: once another block has begun.
  // Then they are warps of any role, so that there are fewer of their own.
  static constexpr bool kScansAlone = S::In::kBytes <= 2 && sizeof(Element) <= 4 && !kOwnRows;
  static constexpr int kOwnScanners = !kScansAlone || kScanners < 4   ? kScanners
                                      : kScanners - kFirstScanner > 4 ? kScanners - kFirstScanner
                                                                      : 4;
  static constexpr int kBatches = 64;  // of 32 chunks, whose totals the scanners keep
  static constexpr int kGroups = 8;    // of 32 batches

  // ---- shared memory ----

  struct alignas(16) Place {
    i64 row, first;  // row -1: there are no more
  };
  struct Control {
    Barrier full[kSlots], summed[kSlots], reduced[kSlots], started[kSlots], empty[kSlots];
    Place place[kSlots];
    LaunchState launch;
    Loading loading;
    i64 first_ticket;
    u32 scanners, next_job;
    u32 current[kOwnRows ? 1 : kScanners];  // the job that each scanner is at
    u32 batch_flag[kBatches];               // job + 1 when its total is there
    u32 group_flag[kGroups];                // group + 1 when R at its start is there
    u32 groups_done;
    u32 only_scans;
    alignas(16) Wide batch_total[kOwnRows ? 1 : kBatches];
    alignas(16) Wide group_start[kOwnRows ? 1 : kGroups];
    alignas(16) Element start[kSlots][kChunks + 1];  // R at the ends of a slot's chunks
  };
  static constexpr int kControlBytes = (static_cast<int>(sizeof(Control)) + 127) / 128 * 128;

  const Args<kDims>& a;
  Control& control;
  u8* ring;
  i64 tiles_per_row, tiles, chunks_per_row;
  u64* totals;  // words: totals of whole chunks, then R at chunks' starts
  u64* starts;
  u32 tag = 0;

  CUMULUS_DEVICE explicit SplitRowsKernel(const Args<kDims>& args)
      : a(args), control(*reinterpret_cast<Control*>(shared_memory())), ring(shared_memory() + kControlBytes) {
    tiles_per_row = (a.n_out + kTile - 1) / kTile;
    tiles = tiles_per_row * a.rows;
    chunks_per_row = a.n / kChunk;
    totals = a.workspace + kWorkspaceHeader;
    starts = totals + a.rows * chunks_per_row * Letter::kWords;
  }
  CUMULUS_DEVICE u64* total_words(i64 row, i64 chunk) const { return totals + (row * chunks_per_row + chunk) * Letter::kWords; }
  CUMULUS_DEVICE u64* start_words(i64 row, i64 chunk) const { return starts + (row * (chunks_per_row + 1) + chunk) * Letter::kWords; }
  CUMULUS_DEVICE bool has_start() const { return !S::kStartsEmpty || (a.flags & kHasInitial); }

  // A tile in its slot. V: how its tensors lie. kInside: whole, and elements of its row lie before and behind it, so that it has no edges.
  template <class V, bool kInside>
  struct TileOf {
    static constexpr bool kShifted = kInside && V::kStep != 0 && !V::kAligned;
    using Tensors = Row<S, V>;
    using In = Stage<decltype(Tensors::in), kTile>;
    using Mask = Stage<decltype(Tensors::mask), kTile>;
    using Out = Outlet<decltype(Tensors::out)>;

    i64 row, first;
    int count;  // elements that are read
    bool ends;  // the row ends here, or within a vector behind
    Offsets offsets;
    Tensors tensors;

    CUMULUS_DEVICE TileOf(const SplitRowsKernel& k, const Place& place)
        : row(place.row), first(place.first), offsets(offsets_of(k.a, k.a.dims, row)), tensors(k.a, offsets) {
      const i64 left = k.a.n - first;
      ends = left < kTile + 16;
      count = left > kTile ? kTile : left > 0 ? static_cast<int>(left) : 0;
    }
    CUMULUS_DEVICE In in(u8* slot) const { return stage<In>(slot, tensors.in); }
    CUMULUS_DEVICE In in2(u8* slot) const { return stage<In>(slot + In::kSize, tensors.in2); }
    CUMULUS_DEVICE Mask mask(u8* slot) const { return stage<Mask>(slot + In::kSize * (S::kTwoInputs ? 2 : 1), tensors.mask); }

    CUMULUS_DEVICE bool is_inside() const { return uniform(first > 0 && !ends); }
    // Is it whole, and do all its tensors begin where vectors of four do?
    CUMULUS_DEVICE bool is_aligned(const SplitRowsKernel& k) const {
      bool all = count == kTile && k.a.n_out - first >= kTile && at_vector(tensors.in) && at_vector(tensors.out);
      if constexpr (S::kTwoInputs) all = all && at_vector(tensors.in2);
      if constexpr (S::kMask != kNoMask) all = all && at_vector(tensors.mask);
      return uniform(all);
    }

   private:
    template <class St, class R>
    CUMULUS_DEVICE St stage(u8* at, const R& run) const {
      return {at, run.from(first), kInside ? kTile : count, kInside};
    }
    template <class R>
    CUMULUS_DEVICE bool at_vector(const R& run) const {
      constexpr int kVector = R::kBytes < 4 ? 4 * R::kBytes : 16;
      return reinterpret_cast<u64>(run.from(first).vector_place(0)) % kVector == 0;
    }
  };
  using Tile = TileOf<typename S::Mode, false>;
  using InsideTile = TileOf<typename S::Mode, true>;
  // Rows that are not all aligned: most of their tiles are inside, and if the row begins where a vector does, aligned.
  static constexpr bool kManyWays = S::kStep != 0 && !S::kAligned && !S::kHalves;
  using AlignedTile =
      TileOf<typename S::template Choose<typename S::Mode, Variant<kManyWays ? S::kStep : 1, true, -1, -1, false>, kManyWays>::type, false>;

  // Tiles are numbered row by row; -1: there are no more.
  CUMULUS_DEVICE Place place_of(i64 tile) const {
    const i64 row = tile < 0 ? -1 : a.rows == 1 ? 0 : tile / tiles_per_row;
    return {row, (tile - row * tiles_per_row) * kTile};
  }
  CUMULUS_DEVICE u8* slot_at(int slot) const { return ring + slot * kSlotBytes; }
  CUMULUS_DEVICE Element* prefixes(int slot, int chunk) const {
    return reinterpret_cast<Element*>(slot_at(slot) + kDataBytes) + chunk * 32;
  }

  template <class T, class Stage, class B>
  static CUMULUS_DEVICE void read_quad(const Stage& stage, int x, B (&q)[4]) {
    if constexpr (T::kShifted) stage.read_shifted(x, q);
    else stage.read(x, q);
  }
  // Quads of kCount segments, which begin at element x of the tile; a lane's own.
  template <int kCount, class T>
  CUMULUS_DEVICE void read(const T& t, u8* slot, int x, Element (&v)[kCount][4]) const {
    const typename T::In in = t.in(slot);
    const int quad = x + static_cast<int>(lane_index()) * 4;
#pragma unroll
    for (int s = 0; s < kCount; ++s) {
      typename S::InBits bits[4], bits2[4] = {};
      typename S::MaskBits mask[4] = {};
      read_quad<T>(in, quad + s * kSegment, bits);
      if constexpr (S::kTwoInputs) read_quad<T>(t.in2(slot), quad + s * kSegment, bits2);
      if constexpr (S::kMask != kNoMask) read_quad<T>(t.mask(slot), quad + s * kSegment, mask);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[s][k] = S::element(bits[k], bits2[k], mask[k]);
      scan_quad<S>(v[s]);
    }
  }

  // ---- loader ----

  CUMULUS_DEVICE void load() {
    constexpr int kEnds = kReducers > kStorers ? kReducers : kStorers;
    const auto fill_slot = [&](int slot, const Place& place) {
      if (lane_index() == 0) store_shared(&control.place[slot], place);
      fill(slot, place);
    };
    // The first tickets were taken when the launch began.
    const i64 first = load_shared(&control.first_ticket);
    if constexpr (kOwnRows) {
      Place next = {first, -kTile};
      fill_ring<kFlight, kEnds, 1>(
          0, control.loading, control.full, control.empty,
          [&](u32) {
            next.first += kTile;
            if (next.first >= a.n_out) next = {take_ticket(a, kTicket), 0};
            return next.row < a.rows ? next.row : -1;
          },
          [&](int slot, i64 row) {
            fill_slot(slot, {row, next.first});
          });
    } else {
      const u32 taken = first_tickets();
      fill_ring<kFlight, kEnds, 1>(
          0, control.loading, control.full, control.empty,
          [&](u32 turn) { return turn >= taken          ? take_tile(a, tiles)
                                 : first + turn < tiles ? first + turn
                                                        : -1; },
          [&](int slot, i64 tile) { fill_slot(slot, place_of(tile)); });
    }
    if constexpr (kCopies == kCopyAsync) async_wait();
  }
  // So many at once where that leaves enough for all: they are loaded at once, too.
  CUMULUS_DEVICE u32 first_tickets() const { return !kOwnRows && tiles >= 8 * kFlight * static_cast<i64>(block_count()) ? kFlight : 1; }

  CUMULUS_DEVICE void fill(int slot, const Place& place) {
    Barrier* full = &control.full[slot];
    u8* at = slot_at(slot);
    if (place.row < 0) {
      arrive(full, 0, false);
      return;
    }
    const Tile t(*this, place);
    if constexpr (!kManyWays) fill_tile(t, at, full);
    else if (t.is_inside()) fill_tile(InsideTile(*this, place), at, full);
    else fill_tile(t, at, full);
  }

  template <class T>
  CUMULUS_DEVICE void fill_tile(const T& t, u8* at, Barrier* full) {
    const InStage in = t.in(at), in2 = t.in2(at);
    const MaskStage mask = t.mask(at);
    u32 bytes = in.inner_bytes();
    bool edges = kCopies == kCopyPlain || in.has_edges();
    if constexpr (S::kTwoInputs) edges |= in2.has_edges(), bytes += in2.inner_bytes();
    if constexpr (S::kMask != kNoMask) edges |= mask.has_edges(), bytes += mask.inner_bytes();
    if (edges) {
      in.copy_edges(lane_index(), 32);
      if constexpr (S::kTwoInputs) in2.copy_edges(lane_index(), 32);
      if constexpr (S::kMask != kNoMask) mask.copy_edges(lane_index(), 32);
    }
    if constexpr (kCopies == kCopyBulk) arrive(full, bytes, edges);
    in.template copy_inner<kCopies>(lane_index(), 32, full);
    if constexpr (S::kTwoInputs) in2.template copy_inner<kCopies>(lane_index(), 32, full);
    if constexpr (S::kMask != kNoMask) mask.template copy_inner<kCopies>(lane_index(), 32, full);
    if constexpr (kCopies != kCopyBulk) arrive(full, 0, edges);
  }
  // Lane 0 for what ordinary stores have written, if there are edges; with cp.async each lane for its own copies too.
  CUMULUS_DEVICE void arrive(Barrier* full, u32 bytes, bool edges) {
    if constexpr (kCopies == kCopyAsync) async_arrive(full);
    sync_warp();
    if (lane_index() != 0) return;
    if constexpr (kCopies == kCopyBulk) {
      if (edges) fence_async();
      barrier_arrive_expect(full, bytes);
    } else {
      barrier_arrive(full);
    }
  }
  static constexpr u32 kFullCount = kCopies == kCopyAsync ? 33 : 1;

  // ---- reducers ----

  CUMULUS_DEVICE void reduce(int warp) {
    const int member = warp % kReducerTeam;
    for (RingPlace<kSlots> at = {warp / kReducerTeam};; at.advance(kReducers)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.row < 0)) return;
      const Tile t(*this, place);
      if constexpr (!kManyWays) reduce_tile(t, at, member);
      else if (t.is_aligned(*this)) reduce_tile(AlignedTile(*this, place), at, member);
      else if (t.is_inside()) reduce_tile(InsideTile(*this, place), at, member);
      else reduce_tile(t, at, member);
      sync_warp();
      if (lane_index() == 0) {
        barrier_arrive(&control.reduced[slot]);
        barrier_arrive(&control.empty[slot]);
      }
    }
  }

  template <class T>
  CUMULUS_DEVICE void reduce_tile(const T& t, const RingPlace<kSlots>& at, int member) {
    const int slot = at.slot;
    if constexpr (kReducerTeam == 1) {
      for (int c = 0; c < kChunks && t.first + c * kChunk < a.n_out; ++c)
        finish_chunk(t, slot, c, segment_totals<32>(t, slot_at(slot), c * 32));
    } else {
      constexpr int kShare = 32 / kReducerTeam;
      const int lane = static_cast<int>(lane_index());
      const Element total = segment_totals<kShare>(t, slot_at(slot), member * kShare);
      if (lane / kShare == member) store_shared(prefixes(slot, 0) + lane, total);
      sync_warp();
      if (lane == 0) barrier_arrive(&control.summed[slot]);
      if (member == 0) {
        barrier_wait(&control.summed[slot], at.round);
        finish_chunk(t, slot, 0, load_shared(prefixes(slot, 0) + lane));
      }
    }
  }

  // From the totals of its segments, a lane's own.
  template <class T>
  CUMULUS_DEVICE void finish_chunk(const T& t, int slot, int chunk, const Element& total) const {
    Element prefix[1] = {total};
    scan_lanes<S, 32>(prefix);
    store_shared(prefixes(slot, chunk) + lane_index(), prefix[0]);
    if (!kOwnRows && (chunk + 1) * kChunk <= t.count && lane_index() == 31)
      Letter::publish(total_words(t.row, t.first / kChunk + chunk), tag, prefix[0]);
  }

  // Of kCount segments from the tile's segment `first` on: lane s % 32 has that of segment s.
  template <int kCount, class T>
  CUMULUS_DEVICE Element segment_totals(const T& t, u8* slot, int first) const {
    constexpr int kMost = sizeof(Element) <= 4 ? 8 : sizeof(Element) <= 8 ? 4 : 2, kBatch = kMost < kCount ? kMost : kCount;
    Element own{};
#pragma unroll 1
    for (int s = first; s < first + kCount; s += kBatch) {
      Element v[kBatch][4];
      read(t, slot, s * kSegment, v);
      Element quads[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) quads[i] = v[i][3];
      const Element total = reduce_lanes<S>(quads);
      if (static_cast<int>(lane_index()) / kBatch == s % 32 / kBatch) own = total;
    }
    return own;
  }

  // ---- rows of this block: R from tile to tile ----

  CUMULUS_DEVICE void chain(u8* carry_memory) {
    const Carry<S> carry{reinterpret_cast<Wide*>(carry_memory), 1, a.levels, (a.flags & kHasInitial) != 0};
    Element now{};
    for (RingPlace<kSlots> at;; at.advance(1)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.row < 0)) return;
      const Wide begin = place.first == 0 ? start_of<S>(a, offsets_of(a, a.dims, place.row)) : S::identity();
      barrier_wait(&control.reduced[slot], at.round);
      sync_warp();  // all lanes have read the place, which is written again when storers have what this warp hands on
      if (lane_index() == 0) {
        if (place.first == 0) {
          carry.begin(begin);
          now = S::narrow(begin);
        }
        const i64 chunk = place.first / kChunk;
        for (int c = 0; c <= kChunks; ++c) {
          store_shared(&control.start[slot][c], now);
          if (c < kChunks && chunk + c < chunks_per_row)
            now = S::narrow(carry.advance_quickly(chunk + c, S::widen(load_shared(prefixes(slot, c) + 31))));
        }
        barrier_arrive(&control.started[slot]);
      }
      sync_warp();
    }
  }

  // ---- rows that blocks share: R as other blocks tell it ----

  // For the block's oldest tiles that storers have not been told of, a lane for each. One warp of a block asks, for words that many ask for
  // come late.
  CUMULUS_DEVICE void start() {
    constexpr u32 kAsked = 4;
    const u32 lane = lane_index();
    RingPlace<kSlots> at, next;  // the first tile that nobody was told of; the first that no lane has
    u32 told = 0, seen = 0;      // tiles before these
    const u64* words = nullptr;  // of the lane's tile: R at the ends of `wanted` - 1 chunks
    int wanted = 0;
    bool asks = false, known = false, last = false;
    Element starts[kChunks + 1] = {};
    for (;;) {
      while (!last && seen - told < kAsked) {
        if (seen == told) barrier_wait(&control.full[next.slot], next.round);
        else if (!uniform_all(barrier_test(&control.full[next.slot], next.round))) break;
        const Place place = load_shared(&control.place[next.slot]);
        last = uniform(place.row < 0);
        if (last) break;
        if (lane == seen % kAsked) {
          const i64 chunk = place.first / kChunk;
          words = start_words(place.row, chunk);
          wanted = static_cast<int>(min_of(chunks_per_row - chunk, kChunks)) + 1;
          asks = true, known = false;
        }
        ++seen, next.advance(1);
      }
      if (told == seen) return;
      sync_warp();  // all lanes have read the places, which are written again when storers have what this warp tells them
      if (asks && !known) {
        known = true;
#pragma unroll
        for (int c = 0; c <= kChunks; ++c)
          if (c < wanted) known = Letter::read(words + c * Letter::kWords, tag, starts[c]) && known;
      }
      const u32 come = ballot(asks && known), before = told;
      for (; told < seen && (come >> told % kAsked & 1); ++told, at.advance(1)) {
        if (lane != told % kAsked) continue;
#pragma unroll
        for (int c = 0; c <= kChunks; ++c) store_shared(&control.start[at.slot][c], starts[c]);
        barrier_arrive(&control.started[at.slot]);
        asks = false;
      }
      sync_warp();
      if (told == before) pause();
    }
  }

  // ---- scanners: a job is a batch of 32 chunks of a row, lane = chunk ----

  CUMULUS_DEVICE void scan(u32 scanner, u8* carry_memory) {
    const i64 batches = chunks_per_row > 0 ? (chunks_per_row + 31) / 32 : 1, jobs = batches * a.rows;
    const i64 full_groups = chunks_per_row / 1024;
    const Carry<S> carry{reinterpret_cast<Wide*>(carry_memory), 1, a.levels, (a.flags & kHasInitial) != 0};
    const u32 lane = lane_index();
    for (;;) {  // whoever is free takes the next one: they do not all take as long
      const u32 job = shuffle(lane == 0 ? fetch_add_shared(&control.next_job, 1) : 0, 0);
      if (job >= jobs) break;
      const i64 row = a.rows == 1 ? 0 : job / static_cast<u32>(batches), batch = job - row * batches;
      const i64 group = batch / 32, left = chunks_per_row - batch * 32;
      const u32 place = static_cast<u32>(batch) & 31;
      const u32 whole = left > 32 ? 32 : static_cast<u32>(left);        // chunks with totals
      const u32 wanted = left >= 32 ? 32 : static_cast<u32>(left) + 1;  // starts to publish
      sync_warp();  // what the last job read of others' totals has been read by all lanes
      if (lane == 0) store_release_shared(&control.current[scanner], job);

      // One lane reads it, before anything is posted, and whatever is published is found from that: the place may be that of the total,
      // which comes when all of the row's batches are.
      const Wide begin = shuffle(group == 0 && lane == 0 ? start_of<S>(a, offsets_of(a, a.dims, row)) : S::identity(), 0);
      Element total{};
      Wide base = begin;
      bool ready = lane >= whole, based = group == 0 && place == 0, posted = whole < 32;
      u32 published = 0;
      while (published < wanted || !posted) {
        if (!ready) ready = Letter::read(total_words(row, batch * 32 + lane), tag, total);
        const u32 missing = ~ballot(ready);
        const u32 known = missing ? static_cast<u32>(count_trailing_zeros(missing)) : 32;  // contiguous
        Wide prefix[1] = {S::widen(total)};
        scan_lanes<S, 32>(prefix);
        if (!posted && known == 32) {
          post(job, prefix[0]);
          posted = true;
        }
        if (!based) based = find_base(row, job, group, place, begin, base);
        const u32 can = known + 1 < wanted ? known + 1 : wanted;
        if (based && can > published) {
          const Wide before = shuffle(prefix[0], (lane + 31) & 31);
          const Wide r = lane == 0 ? base : combine_start<S>(has_start() || batch > 0, base, before);
          if (lane >= published && lane < can) Letter::publish(start_words(row, batch * 32 + lane), tag, S::narrow(r));
          published = can;
        } else if (published < wanted || !posted) {
          pause();
        }
      }
      if (place == 31 && whole == 32) finish_group(row, job, group, full_groups, begin, carry);
      if (left == 32) {  // the row's last whole chunk: where a next batch would begin, the row's last tile ends
        Wide end{};
        if (place == 31) end = load_shared(&control.group_start[(group_id(row, group) + 1) % kGroups]);
        else
          while (!find_base(row, job + 1, group, place + 1, begin, end)) pause();
        if (lane == 0) Letter::publish(start_words(row, chunks_per_row), tag, S::narrow(end));
      }
    }
    sync_warp();
    if (lane == 0) store_release_shared(&control.current[scanner], 0xffffffffu);
  }

  // Makes the batch's total (in lane 31) known to the other scanners, when nobody needs what was in its place.
  CUMULUS_DEVICE void post(i64 job, const Wide& prefix) {
    const u32 place = static_cast<u32>(job % kBatches);
    for (bool free = false; !free;) {
      const u32 scanners = load_shared(&control.scanners);
      const u32 at = lane_index() < scanners ? load_acquire_shared(&control.current[lane_index()]) : 0xffffffffu;
      free = ballot(at == 0xffffffffu || static_cast<i64>(at) > job - kBatches + 31) == 0xffffffffu;
    }
    sync_warp();
    if (lane_index() == 31) {
      store_shared(&control.batch_total[place], prefix);
      store_release_shared(&control.batch_flag[place], static_cast<u32>(job) + 1);
    }
  }

  // R at the batch's start, from R at its group's start and the totals of the group's earlier batches. False: not all are known.
  CUMULUS_DEVICE bool find_base(i64 row, i64 job, i64 group, u32 place, const Wide& begin, Wide& base) {
    const u32 lane = lane_index();
    const i64 first_job = job - place;
    const u32 slot = static_cast<u32>((first_job + lane) % kBatches);
    const i64 id = group_id(row, group);
    bool known = true;
    if (lane < place) known = load_acquire_shared(&control.batch_flag[slot]) == static_cast<u32>(first_job + lane) + 1;
    if (group > 0) known = known && load_acquire_shared(&control.group_flag[id % kGroups]) == static_cast<u32>(id) + 1;
    if (ballot(known) != 0xffffffffu) return false;
    sync_warp();
    Wide prefix[1] = {lane < place ? load_shared(&control.batch_total[slot]) : Wide{}};
    scan_lanes<S, 32>(prefix);
    const Wide before = shuffle(prefix[0], (place + 31) & 31);
    const Wide start = group > 0 ? load_shared(&control.group_start[id % kGroups]) : begin;
    base = place > 0 ? combine_start<S>(has_start() || group > 0, start, before) : start;
    return true;
  }
  CUMULUS_DEVICE i64 group_id(i64 row, i64 group) const { return row * (chunks_per_row / 1024 + 1) + group; }

  // The last batch of a whole group: its 32 batches are a node of level 4. Groups take their turns in the order of the sequence.
  CUMULUS_DEVICE void finish_group(i64 row, i64 job, i64 group, i64 full_groups, const Wide& begin, const Carry<S>& carry) {
    const u32 lane = lane_index();
    const i64 turn = row * full_groups + group, first_job = job - 31;
    const u32 slot = static_cast<u32>((first_job + lane) % kBatches);
    while (ballot(load_acquire_shared(&control.batch_flag[slot]) == static_cast<u32>(first_job + lane) + 1) != 0xffffffffu) pause();
    while (ballot(load_acquire_shared(&control.groups_done) == static_cast<u32>(turn)) != 0xffffffffu) pause();
    sync_warp();
    Wide prefix[1] = {load_shared(&control.batch_total[slot])};
    scan_lanes<S, 32>(prefix);
    if (lane == 31) {
      if (group == 0) carry.begin(begin);
      const i64 id = group_id(row, group) + 1;
      store_shared(&control.group_start[id % kGroups], carry.template advance<true>(group, 0, prefix[0]));
      store_release_shared(&control.group_flag[id % kGroups], static_cast<u32>(id) + 1);
      store_release_shared(&control.groups_done, static_cast<u32>(turn) + 1);
    }
    sync_warp();
  }

  // ---- storers ----

  CUMULUS_DEVICE void store(int warp) {
    const int member = warp % kTeam;
    for (RingPlace<kSlots> at = {warp / kTeam};; at.advance(kStorers)) {
      const int slot = at.slot;
      barrier_wait(&control.full[slot], at.round);
      const Place place = load_shared(&control.place[slot]);
      if (uniform(place.row < 0)) return;
      const Tile t(*this, place);
      barrier_wait(&control.reduced[slot], at.round);
      barrier_wait(&control.started[slot], at.round);
      // Lane c: R at the start of the tile's chunk c, up to the end of its last whole one.
      const Element start = lane_index() <= kChunks ? load_shared(&control.start[slot][lane_index()]) : Element{};
      if constexpr (!kManyWays) store_tile(t, slot, member, start);
      else if (t.is_aligned(*this)) store_tile(AlignedTile(*this, place), slot, member, start);
      else if (t.is_inside()) store_tile(InsideTile(*this, place), slot, member, start);
      else store_tile(t, slot, member, start);
      sync_warp();
      if (lane_index() == 0) barrier_arrive(&control.empty[slot]);
    }
  }

  template <class T>
  CUMULUS_DEVICE void store_tile(const T& t, int slot, int member, const Element& start) const {
    for (int s = member * kShare; s < (member + 1) * kShare && t.first + s * kSegment < a.n_out; s += kPiece) {
      const int c = s / 32;
      store_piece(t, slot, c, s % 32, shuffle(start, static_cast<u32>(c)), shuffle(start, static_cast<u32>(c) + 1));
    }
  }

  // kPiece segments of a chunk, from its segment `begin` on.
  template <class T>
  CUMULUS_DEVICE void store_piece(const T& t, int slot, int chunk, int begin, const Element& chunk_start, const Element& next_chunk) const {
    constexpr int kBatch = sizeof(Element) <= 4 ? 4 : sizeof(Element) <= 8 ? 2 : 1;
    const u32 lane = lane_index();
    const bool exclusive = S::is_exclusive(a.flags), no_initial = !(a.flags & kHasInitial);
    const int place = chunk * kChunk + begin * kSegment;  // in the tile
    const i64 first = t.first + place, left = a.n_out - first;
    const int end = left > kPiece * kSegment ? kPiece * kSegment : static_cast<int>(left);
    const bool has_chunk = has_start() || t.first + chunk * kChunk > 0;
    const Element before = load_shared(prefixes(slot, chunk) + ((lane + 31) & 31));
    const Element segment_start = select(lane == 0, chunk_start, combine_start<S>(has_chunk, chunk_start, before));
    typename T::Out outlet(t.tensors.out.from(first), end);
    Element here = shuffle(segment_start, static_cast<u32>(begin));
#pragma unroll 1
    for (int s = 0; s < kPiece && s * kSegment < end; s += kBatch) {
      Element v[kBatch][4], total[kBatch];
      read(t, slot_at(slot), place + s * kSegment, v);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) total[i] = v[i][3];
      scan_lanes<S, 32>(total);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        v[i][3] = total[i];
        Element next = shuffle(segment_start, static_cast<u32>(begin + s + i + 1) & 31);
        if (i + 1 == kBatch) next = select(begin + s + kBatch == 32, next_chunk, next);
        const int x = (s + i) * kSegment + static_cast<int>(lane) * 4;
        Element r[5];
        typename S::OutBits q[4];
        finish_quad<S, 32>(v[i], has_chunk || begin + s + i > 0, here, next, r);
        encode_quad<S>(r, exclusive, first + x == 0 && no_initial, q);
        outlet.put((s + i) * kSegment, s + i == 0, q);
        if (S::has_total(a.flags)) store_total_of_quad<S>(a, t.offsets, first + x, r);
        here = next;
      }
    }
    outlet.finish((end + kBatch * kSegment - 1) / (kBatch * kSegment) * (kBatch * kSegment));
  }

  // ---- the block ----

  static CUMULUS_DEVICE void run(const Args<kDims>& a) {
    SplitRowsKernel k(a);
    k.begin();
    const u32 warp = warp_index();
    u8* const behind = k.ring + kSlots * kSlotBytes;
    if (kScansAlone && k.only_scans()) {
      if (warp < kScanners) k.scan(warp, behind);
    } else if (warp == 0) {
      k.load();
    } else if (warp < kFirstStorer) {
      k.reduce(static_cast<int>(warp) - 1);
    } else if (warp < kStarter) {
      k.store(static_cast<int>(warp) - kFirstStorer);
    } else if constexpr (kOwnRows) {
      k.chain(behind);
    } else if (warp == kStarter) {
      k.start();
    } else if (load_shared(&k.control.launch.rank) == 0) {
      k.scan(warp - kFirstScanner, behind);
    }
    // Nobody waits at the end for the way to memory that leaving takes.
    if (wraps(k.tag)) end_launch(a, k.control.launch, k.tag);
    else if (warp == 0 && lane_index() == 0) leave_launch(a, k.tag);
  }

  CUMULUS_DEVICE void begin() {
    const u32 thread = thread_index();
    if (thread == 0) {
      for (int i = 0; i < kSlots; ++i) {
        barrier_init(&control.full[i], kFullCount);
        barrier_init(&control.summed[i], kReducerTeam);
        barrier_init(&control.reduced[i], kReducerTeam);
        barrier_init(&control.started[i], 1);
        barrier_init(&control.empty[i], kReducerTeam + kTeam);
      }
      store_shared(&control.groups_done, 0u);
      control.loading.begin();
    }
    if constexpr (!kOwnRows) {
      if (thread < kBatches) store_shared(&control.batch_flag[thread], 0u);
      if (thread < kGroups) store_shared(&control.group_flag[thread], 0u);
      if (thread < kScanners) store_shared(&control.current[thread], 0u);
      if (thread == 0) store_shared(&control.scanners, static_cast<u32>(kOwnScanners)), store_shared(&control.next_job, 0u);
    }
    if (!kScansAlone && thread == 32) take_first_tickets();  // beside the other way to memory
    if (kCopies == kCopyBulk && thread == 64) prefetch();
    tag = begin_launch(a, control.launch);
  }
  // Of all first tiles those that are this block's if blocks take tickets as they are numbered. Whoever has them finds them in the cache.
  CUMULUS_DEVICE void prefetch() const {
    for (u32 i = 0; !kOwnRows && i < first_tickets(); ++i) {
      const i64 tile = static_cast<i64>(block_index()) * first_tickets() + i;
      if (tile >= tiles) return;
      const Tile t(*this, place_of(tile));
      const InStage in = t.in(nullptr);
      if (in.inner_bytes() > 0) bulk_prefetch(in.lowest() + in.inner_begin(), in.inner_bytes());
    }
  }
  CUMULUS_DEVICE void take_first_tickets() const {
    store_shared(&control.first_ticket, static_cast<i64>(fetch_add(a.workspace + kTicket, first_tickets())));
  }

  // The first block, if others have begun.
  CUMULUS_DEVICE bool only_scans() {
    if (thread_index() == 0) {
      bool others = false;
      if (load_shared(&control.launch.rank) == 0 && block_count() >= 32)
#pragma unroll 1
        for (int looks = 0; !others && looks < kLooks; ++looks, pause()) others = begun_blocks(a) > 1;
      store_shared(&control.only_scans, static_cast<u32>(others));
      if (others) store_shared(&control.scanners, static_cast<u32>(kScanners));
      else take_first_tickets();
    }
    sync_block();
    return load_shared(&control.only_scans) != 0;
  }
  static constexpr int kLooks = 100;
};

}  // namespace cumulus::cuda
