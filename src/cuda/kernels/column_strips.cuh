// Long columns, in strips of one to four warps' lanes. A tile is one segment (128 rows) of a strip. Where there are about as many strips as
// multiprocessors, or whole multiples, a strip is one block's: a warp of it hands R from tile to tile. Where there are fewer, all blocks
// share all strips, by ticket: a chunk's tiles of some strips, row by row, then of the next ones. Segments' totals go to blocks that do
// nothing but scan, as words {epoch, value} (kernels/split_rows.cuh), and R at segments' starts comes back. Each group of 32 columns is one
// such block's: R passes from chunk to chunk through its shared memory, for every way between blocks takes as long as some tiles. Sharing
// needs as many blocks at a time as scan, and one more. If those do not begin, each block keeps to strips of its own.
#pragma once

#include "column_nodes.cuh"
#include "column_roles.cuh"

namespace cumulus::cuda {

// kScanning: blocks that only scan; 0: strips are never shared. kWarps: of a block. kPanel_: strips whose tiles of one chunk are taken
// together, so that pieces of a row of memory are read at about the same time; of more, a chunk's totals are complete too late. The plan
// sees to it that blocks hold more tiles than a panel's chunk has, for tiles that fill all rings wait for R, and so for the last of them.
template <class S, int kColumns_, bool kBackward, int kSlots, int kFlight, int kLoaders, int kReducers, int kStarters, int kStorers,
          int kScanning, int kPanel_, int kWarps, int kCopies, int kDims>
struct ColumnStripsKernel
    : ColumnRoles<S, WideTile<S, kColumns_, kBackward>, kSlots, kFlight, kLoaders, kReducers, kStarters, kStorers, kCopies, kDims> {
  using Roles =
      ColumnRoles<S, WideTile<S, kColumns_, kBackward>, kSlots, kFlight, kLoaders, kReducers, kStarters, kStorers, kCopies, kDims>;
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  using Nodes = ColumnNodes<S, WideTile<S, kColumns_, kBackward>, sizeof(Element) <= 4 ? 32 : sizeof(Element) <= 8 ? 4 : 2>;
  using Children = typename Nodes::Children;
  using Roles::a, Roles::control, Roles::segments, Roles::strips, Roles::length;
  using Roles::has_before, Roles::node_words, Roles::word, Roles::child_words, Roles::slot_at;
  using Roles::kColumns, Roles::kGroups, Roles::kStepWords;
  using typename Roles::Place;
  using typename Roles::Tile;
  static_assert(kWarps >= Roles::kFirstOther);
  // A panel's groups must be scanned together, for tiles that fill the ring may wait for any.
  static constexpr u32 kPanel = kPanel_;
  static_assert(kPanel == 1 || (kPanel > 1 && kPanel * kGroups <= kWarps * kScanning));

  u64 *totals, *starts;  // words: of whole segments; R at segments' starts
  Nodes nodes = {};

  CUMULUS_DEVICE ColumnStripsKernel(const Args<kDims>& args, const TensorMap* map) : Roles(args, map) {
    totals = a.workspace + kWorkspaceHeader;
    starts = totals + (segments / 32 + 1) * node_words();
  }

  // ---- who has which tiles ----

  // Strips of this block, if they are not shared.
  CUMULUS_DEVICE i64 own_strips() const { return (strips.jobs - block_index() + block_count() - 1) / block_count(); }

  CUMULUS_DEVICE void load_own(int loader) {
    const u32 tiles = static_cast<u32>(length), all = tiles * static_cast<u32>(own_strips());
    Roles::load(
        loader, [&](u32 turn) { return turn < all ? static_cast<i64>(turn) : -1; },
        [&](i64 ticket, Place& place) {
          const u32 of_block = static_cast<u32>(ticket) / tiles, tile = static_cast<u32>(ticket) - of_block * tiles;
          place.strip = block_index() + static_cast<i64>(of_block) * block_count();
          place.node = tile / 32, place.part = tile % 32;
        });
  }

  CUMULUS_DEVICE void load_shared_strips(int loader) {
    const u32 tiles = static_cast<u32>(length), jobs = static_cast<u32>(strips.jobs);
    const u32 of_chunk = 32 * jobs, whole = tiles / 32 * of_chunk;  // tickets
    Roles::load(
        loader, [&](u32) { return take_tile(a, static_cast<i64>(tiles) * jobs); },
        [&](i64 ticket, Place& place) {
          const u32 t = static_cast<u32>(ticket), chunk = t >= whole ? tiles / 32 : jobs == 1 ? t / 32 : t / of_chunk;
          const u32 in_chunk = t - chunk * of_chunk, parts = t < whole ? 32 : tiles % 32;
          const u32 panel = in_chunk / (parts * kPanel), in_panel = in_chunk - panel * (parts * kPanel);
          const u32 left = jobs - panel * kPanel, across = left < kPanel ? left : kPanel;
          place.strip = panel * kPanel + in_panel % across, place.node = chunk, place.part = in_panel / across;
        });
  }

  // ---- a strip of this block: R from tile to tile ----

  CUMULUS_DEVICE void chain() {
    Walker<S> walkers[kColumns];
    RingPlace<Roles::kBoxes> box;
    for (RingPlace<kSlots> at;; at.advance(1), box.advance(1)) {
      barrier_wait(&control.full[at.slot], at.round);
      const Place place = load_shared(&control.place[at.slot]);
      if (uniform(place.part < 0)) return;
      const Tile t(*this, place);
      if (t.segment == 0) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c)
          walkers[c].begin(carry_in(this->behind_ring(), c * 32, kColumns * 32), start_at(place.strip, c, t.active));
      }
      barrier_wait(&control.reduced[at.slot], at.round);
      Element total[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c) total[c] = this->segment_total(slot_at(at.slot), c);
      if constexpr (Roles::kHolds) this->give_back(at.slot);
      this->tell_storers(box, [&](int c, Element& start, Element& end) {
        start = walkers[c].now;
        walkers[c].end_segment((t.segment + 1) * 32, total[c]);
        end = walkers[c].now;
      });
    }
  }
  // Levels 3 and up of the lane's column among others: `first` and `of` count lanes.
  CUMULUS_DEVICE Carry<S> carry_in(u8* memory, int first, int of) const {
    return {reinterpret_cast<Wide*>(memory) + first + static_cast<int>(lane_index()), static_cast<u32>(of), a.levels,
            (a.flags & kHasInitial) != 0};
  }
  CUMULUS_DEVICE Wide start_at(i64 strip, int c, bool active) const {
    return start_of<S>(a, strips.offsets(strip, strips.first_column(strip) + (active ? static_cast<int>(lane_index()) * kColumns + c : 0)));
  }

  // ---- shared strips: scanning blocks ----

  // Groups of 32 columns whose carry this block has, one behind the other where other blocks have their ring: levels, R at the next chunk's
  // start, and chunks that are done.
  struct Group {
    Carry<S> carry;
    Element* start;
    u32* turn;
  };
  CUMULUS_DEVICE Group group_at(u32 index, u32 groups) const {
    const u32 slots = static_cast<u32>(a.levels) * Carry<S>::kSlots * 32;
    u8* const carries = this->ring + index * slots * sizeof(Wide);
    Element* const first = reinterpret_cast<Element*>(this->ring + groups * slots * sizeof(Wide));
    return {carry_in(carries, 0, 32), first + index * 32 + lane_index(), reinterpret_cast<u32*>(first + groups * 32) + index};
  }

  CUMULUS_DEVICE void scan(u32 rank) {
    const u32 all = static_cast<u32>(strips.jobs) * kGroups, groups = rank < all ? (all - rank + kScanning - 1) / kScanning : 0;
    const i64 chunks = segments < 32 ? 1 : (segments + 31) / 32;
    for (u32 i = thread_index(); i < groups; i += block_threads()) store_shared(group_at(i, groups).turn, 0u);
    sync_block();
    for (i64 item = warp_index(); item < chunks * groups; item += kWarps) {
      const u32 chunk = static_cast<u32>(item) / groups, index = static_cast<u32>(item) - chunk * groups;
      scan_chunk(chunk, rank + index * kScanning, index, groups);
    }
  }

  CUMULUS_DEVICE void scan_chunk(u32 chunk, u32 group, u32 index, u32 groups) {
    const i64 strip = group / kGroups;
    const int lane = static_cast<int>(group % kGroups) * 32 + static_cast<int>(lane_index());
    const bool active = strips.first_column(strip) + lane < strips.columns;
    const Children node{word(totals, chunk, strip, 0, lane), static_cast<int>(min_of(segments - static_cast<i64>(chunk) * 32, 32)), active};
    Element start{};
    if (chunk == 0) {
      const Wide first = start_of<S>(a, strips.offsets(strip, active ? strips.first_column(strip) + lane : 0));
      group_at(index, groups).carry.begin(first);
      start = S::narrow(first);
      publish_start(0, strip, 0, lane, active, start);
    }
    const Group handed = group_at(index, groups);
    const bool has = has_before(chunk);
    const auto wait = [&] {  // until R is known at the chunk's start. Whoever is next must not sleep: all chunks go through here
      for (u32 now; !uniform_all((now = load_acquire_shared(handed.turn)) == chunk);)
        if (now + 1 != chunk) pause();
      sync_warp();
      if (chunk > 0) start = load_shared(handed.start);
    };
    const auto hand_on = [&](const Element& total) {
      Element next{};
      if (node.count == 32) {
        next = S::narrow(handed.carry.advance_quickly(chunk, S::widen(total)));
        store_shared(handed.start, next);
      }
      sync_warp();
      if (lane_index() == 0) store_release_shared(handed.turn, chunk + 1);
      if (node.count == 32) publish_start(chunk + 1, strip, 0, lane, active, next);
    };
    const auto put = [&](int step, const Element& v) {
      if (step < 31) publish_start(chunk, strip, step + 1, lane, active, combine_start<S>(has, start, v));
    };
    // Prefixes are held until R is known: or, if they need too many registers, found again then.
    Element prefix[kHolds ? 32 : 1] = {}, total{};
    if (node.count < 32 || !take_totals(
                               node, [&] { return load_acquire_shared(handed.turn) == chunk; }, prefix, total)) {
      wait();
      hand_on(nodes.template walk<Element>(node, put));
      return;
    }
    wait();
    hand_on(total);
    if constexpr (kHolds) {
#pragma unroll
      for (int s = 0; s < 31; ++s) put(s, prefix[s]);
    } else {
      const auto never = [] { return false; };
      nodes.template prefixes_of<Element, 1>(node, never, total, put);
    }
  }
  static constexpr bool kHolds = sizeof(Element) <= 4;

  // Waits for all totals of a chunk; false if they may be too many for the tiles that are on their way. That is of use when it is the
  // chunk's turn.
  template <class IsTurn>
  CUMULUS_DEVICE bool take_totals(const Children& node, const IsTurn& is_turn, Element (&prefix)[kHolds ? 32 : 1], Element& total) const {
    int patience = kChunkPatience;
    const auto gives_up = [&] { return uniform_all(is_turn()) && --patience < 0; };
    // That of the latest ticket is asked for alone, and not too often: polls cost tiles their speed.
    const u64* const latest = node.totals + 31 * kStepWords;
    for (Element v; !uniform_all(Letter::read(latest, nodes.tag, v) || !node.active); pause_long())
      if (gives_up()) return false;
    const auto hold = [&](int step, const Element& v) { prefix[kHolds ? step : 0] = v; };
    return nodes.template prefixes_of<Element, 1>(node, gives_up, total, hold);
  }
  static constexpr int kChunkPatience = 64;
  CUMULUS_DEVICE void publish_start(i64 chunk, i64 strip, int part, int lane, bool active, const Element& v) const {
    if (active) Letter::publish(word(starts, chunk, strip, part, lane), nodes.tag, v);
  }

  // ---- shared strips: the others ----

  CUMULUS_DEVICE void reduce(int warp, bool shared) {
    Roles::reduce(warp, [&](const Place& place, const Tile& t, u8* slot) {
      if (shared) this->publish_totals(totals, nodes.tag, place, t, slot);
    });
  }

  // R at a tile's ends, which is that at its and the next one's start.
  CUMULUS_DEVICE void start(int starter) {
    RingPlace<Roles::kBoxes> box = {starter};
    for (RingPlace<kSlots> at = {starter};; at.advance(kStarters), box.advance(kStarters)) {
      barrier_wait(&control.full[at.slot], at.round);
      const Place place = load_shared(&control.place[at.slot]);
      if (uniform(place.part < 0)) return;
      if constexpr (Roles::kHolds) this->give_back(at.slot);  // it needs no more of it, and storers have the tile in registers soon
      const Tile t(*this, place);
      const i64 next = min_of(t.segment + 1, segments);  // behind the last whole segment nothing ends: any word that comes will do
      const u64* const words[2] = {child_words(starts, place.node, place.strip, static_cast<int>(place.part)),
                                   child_words(starts, next >> 5, place.strip, static_cast<int>(next & 31))};
      Element v[2][kColumns];
      for (;; pause()) {  // all are asked for at once
        bool known = true;
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
          for (int c = 0; c < kColumns; ++c) known = (Letter::read(words[i] + c * Letter::kWords, nodes.tag, v[i][c]) || !t.active) & known;
        if (uniform_all(known)) break;
      }
      this->tell_storers(box, [&](int c, Element& from, Element& to) { from = v[0][c], to = v[1][c]; });
    }
  }

  // ---- the block ----

  static CUMULUS_DEVICE void run(const Args<kDims>& args, const TensorMap* map = nullptr) {
    ColumnStripsKernel k(args, map);
    if (thread_index() == 0) k.init_ring();
    if constexpr (kScanning > 0) {
      k.nodes.tag = begin_launch(args, k.control.launch);
      const u32 rank = load_shared(&k.control.launch.rank);
      const bool shared = k.agree_to_share(rank);
      if (shared && rank < kScanning) k.scan(rank);
      else k.run_tiles(shared);
      end_launch(args, k.control.launch, load_shared(&k.control.launch.epoch) + 1);  // read again: storers need all registers
    } else {
      if (thread_index() == 0) barrier_init_done();
      sync_block();
      k.run_tiles(false);
    }
  }

  // The first blocks wait until one more than them has begun, so that all of them run at the same time.
  CUMULUS_DEVICE bool agree_to_share(u32 rank) const {
    enum Mode { kShared = 1, kOwn = 2 };
    if (thread_index() == 0) {
      u64* const mode = a.workspace + kMode;
      u64 now = 0;
      if (rank < kScanning)
        for (u32 looks = 0; now == 0 && looks < kPatience; ++looks, pause()) now = load_relaxed(mode);
      if (now == 0) {
        const u64 wanted = rank < kScanning ? kOwn : kShared;
        now = compare_exchange(mode, 0, wanted);
        if (now == 0) now = wanted;
      }
      store_shared(&control.launch.mode, static_cast<u32>(now));
    }
    sync_block();
    return load_shared(&control.launch.mode) == kShared;
  }

  CUMULUS_DEVICE void run_tiles(bool shared) {
    const int warp = static_cast<int>(warp_index());
    if (warp < Roles::kFirstReducer) shared ? load_shared_strips(warp) : load_own(warp);
    else if (warp < Roles::kFirstStorer) reduce(warp - Roles::kFirstReducer, shared);
    else if (warp < Roles::kFirstStarter) Roles::store(warp - Roles::kFirstStorer);
    else if (shared && warp < Roles::kFirstOther) start(warp - Roles::kFirstStarter);
    else if (!shared && warp == Roles::kFirstStarter) chain();
  }
};

}  // namespace cumulus::cuda
