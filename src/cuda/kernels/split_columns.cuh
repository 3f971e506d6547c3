// Long and very few columns: the axis is cut as well, and segments lie side by side. A tile is some segments of all columns. Tiles are
// taken by ticket and pass through a ring in shared memory, as in split_rows.cuh, with the same words {epoch, value} and the same argument
// for progress. Beside the roles of column_roles.cuh there are:
//   scanners   take a node of 32 columns each. In every block, by tickets of their own: chunks; segments' totals in, their prefixes out.
//              In the first block: nodes of level 3; chunks' totals in, R at chunks' starts out.
//   starters   wait for both, and tell storers R at the ends of a tile's segments
// Tickets go strip by strip, tile by tile; chunks' tickets likewise, and nothing waits but for earlier ones.
#pragma once

#include "column_nodes.cuh"
#include "column_roles.cuh"

namespace cumulus::cuda {

template <class S, class Lanes, int kSlots, int kFlight, int kLoaders, int kReducers, int kStarters, int kStorers, int kScanners,
          int kCopies, int kDims>
struct SplitColumnsKernel : ColumnRoles<S, Lanes, kSlots, kFlight, kLoaders, kReducers, kStarters, kStorers, kCopies, kDims> {
  using Roles = ColumnRoles<S, Lanes, kSlots, kFlight, kLoaders, kReducers, kStarters, kStorers, kCopies, kDims>;
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  using Nodes = ColumnNodes<S, Lanes, sizeof(Element) <= 4 ? 8 : sizeof(Element) <= 8 ? 4 : 2>;
  using Children = typename Nodes::Children;
  using Roles::a, Roles::control, Roles::segments, Roles::strips, Roles::length;
  using Roles::first_lane, Roles::side, Roles::has_before, Roles::node_words, Roles::word, Roles::child_words, Roles::slot_at;
  using Roles::kColumns, Roles::kGroups, Roles::kSide, Roles::kSteps, Roles::kStepWords;
  using typename Roles::Place;
  using typename Roles::Tile;
  // In the first block. A strip's groups must be under way together, for its tiles wait for all of them.
  static constexpr int kUpper = kScanners - kGroups;
  static_assert(kUpper >= kGroups);

  u64 *totals, *prefixes;            // words: of whole segments; of a chunk's segments up to one
  u64 *chunk_totals, *chunk_starts;  // words: of whole chunks; R at their starts
  Nodes nodes = {};

  CUMULUS_DEVICE explicit SplitColumnsKernel(const Args<kDims>& args) : Roles(args) {
    const i64 chunks = segments / 32;
    totals = a.workspace + kWorkspaceHeader;
    prefixes = totals + (chunks + 1) * node_words();
    chunk_totals = prefixes + (chunks + 1) * node_words();
    chunk_starts = chunk_totals + (chunks / 32 + 1) * node_words();
  }

  // Strips one after the other; a column has `parts`, kParts to a node.
  template <int kParts>
  CUMULUS_DEVICE Place place_of(i64 ticket, i64 parts) const {
    const i64 strip = strips.jobs == 1 ? 0 : ticket / parts, part = ticket - strip * parts;
    return {strip, part / kParts, part % kParts, {}};
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
    const auto put = [&](int step, const Element& prefix) { Letter::publish(to + step * kStepWords, nodes.tag, prefix); };
    // All totals at once, which come soon after the first. But tiles on their way may be too few for that: then each one as it comes.
    if (node.count == 32)
      for (Element first; !uniform_all(Letter::read(node.totals, nodes.tag, first) || !node.active); pause()) {
      }
    int patience = kChunkPatience;
    Element total{};
    const auto put_active = [&](int step, const Element& prefix) {
      if (node.active) put(step, prefix);
    };
    const auto gives_up = [&] { return --patience < 0; };
    if (node.count < 32 || !nodes.template prefixes_of<Element, 1>(node, gives_up, total, put_active))
      total = nodes.template walk<Element>(node, put);
    if (node.count == 32) publish_total(chunk, strip, group, node.active, total);
  }
  static constexpr int kChunkPatience = 64;
  // Scanners of a block that take chunks: about two for each chunk on its way, for those who wait for later ones only disturb.
  static constexpr int kEager = (2 * kSlots * kSide + 31) / 32 < kScanners ? (2 * kSlots * kSide + 31) / 32 : kScanners;
  CUMULUS_DEVICE void publish_total(i64 chunk, i64 strip, int group, bool active, const Element& total) const {
    if (!active || side() > 0) return;
    const int child = static_cast<int>(chunk & 31), at = child % kSide * Lanes::kLanes + first_lane();
    Letter::publish(word(chunk_totals, chunk / 32, strip, child / kSide, group * 32 + at), nodes.tag, total);
  }
  CUMULUS_DEVICE bool is_active(i64 strip, int group) const {
    return side() < kSide && strips.first_column(strip) + group * 32 + first_lane() < strips.columns;
  }

  // What the nodes of level 3 of a group hand on, in shared memory: the carry of the levels above, and R at the next node's start.
  struct Group {
    Carry<S> carry;
    Wide* start;
    u32* turn;
  };
  CUMULUS_DEVICE Group group_at(int group, u8* memory) const {
    const int slots = a.levels * Carry<S>::kSlots * kGroups * 32, lane = group * 32 + static_cast<int>(lane_index());
    Wide* wide = reinterpret_cast<Wide*>(memory);
    return {{wide + lane, kGroups * 32, a.levels, (a.flags & kHasInitial) != 0}, wide + slots + lane, turn_at(group, memory)};
  }

  CUMULUS_DEVICE u32* turn_at(u32 group, u8* memory) const {  // nodes of level 3 of this group that are done, over all strips
    return reinterpret_cast<u32*>(memory + (a.levels * Carry<S>::kSlots + 1) * kGroups * 32 * static_cast<int>(sizeof(Wide))) + group;
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

  // R at a strip's start, told to all. Asked for once, by one lane of a column: the place may be that of the total, which comes when R is
  // known everywhere.
  CUMULUS_DEVICE Wide begin(i64 strip, int group, bool active) const {
    const bool reads = active && side() == 0;
    Wide v = reads ? start_of<S>(a, strips.offsets(strip, strips.first_column(strip) + group * 32 + first_lane())) : S::identity();
    if constexpr (kSide > 1) v = shuffle(v, static_cast<u32>(first_lane()));
    if (reads) Letter::publish(word(chunk_starts, 0, strip, 0, group * 32 + first_lane()), nodes.tag, S::narrow(v));
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
    nodes.template walk<Wide>(node, [&](int step, const Wide& v) {
      Letter::publish(to + step * kStepWords, nodes.tag, S::narrow(combine_start<S>(has, start, v)));
    });
  }

  CUMULUS_DEVICE void scan_node(i64 index, i64 strip, int of_strip, bool active, u32 turn, const Group& group) {
    const int lane = of_strip * 32 + static_cast<int>(lane_index());
    const Children node{word(chunk_totals, index, strip, 0, lane), static_cast<int>(min_of(segments / 32 - index * 32, 32)), active};
    const auto is_now = [&] { return is_turn(turn, *group.turn); };
    Wide prefix[kHeld] = {}, total{};
    const auto hold = [&](int step, const Wide& v) { prefix[step % kHeld] = v; };
    constexpr int kUnroll = kHeld == 1 ? 1 : kSteps / Nodes::kBatch;
    const bool early = node.count == 32 && nodes.template prefixes_of<Wide, kUnroll>(node, is_now, total, hold);
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
      if (step * kSide + side() < 31) Letter::publish(to + step * kStepWords, nodes.tag, S::narrow(combine_start<S>(has, start, v)));
    };
    // What other nodes wait for comes first, if it is known; else what tiles wait for.
    if (!early) total = nodes.template walk<Wide>(node, put);
    if (node.count == 32) {
      const Wide next = group.carry.template advance<true>(index, 0, total);
      store_shared(group.start, next);
      if (active && side() == 0)
        Letter::publish(word(chunk_starts, index + 1, strip, 0, of_strip * 32 + first_lane()), nodes.tag, S::narrow(next));
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
      nodes.template prefixes_of<Wide, 1>(node, never, total, put_active);
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
      find_starts(place, Tile(*this, place), at);
    }
  }

  // From R at the chunk's start and the prefixes up to the segment before and to this one.
  CUMULUS_DEVICE void find_starts(const Place& place, const Tile& t, const RingPlace<kSlots>& at) {
    const int child = static_cast<int>(place.part) * kSide + side();
    const bool wanted = t.active && t.lane_rows_out > 0, whole = t.active && t.segment < segments, last = child == 31;
    const u64* const any = child_words(prefixes, place.node, place.strip, child);
    const bool wants[3] = {wanted, wanted && child > 0, whole};
    const u64* const words[3] = {
        wants[0] ? child_words(chunk_starts, place.node >> 5, place.strip, static_cast<int>(place.node & 31)) : any,
        wants[1] ? child_words(prefixes, place.node, place.strip, child - 1) : any,
        whole && last ? child_words(chunk_starts, (place.node + 1) >> 5, place.strip, static_cast<int>((place.node + 1) & 31)) : any};
    Element v[3][kColumns];  // R at the chunk's start, and the two prefixes, or behind the last segment R at the next chunk's start
    for (;; pause()) {       // all are asked for at once
      bool known = true;
#pragma unroll
      for (int i = 0; i < 3; ++i)
#pragma unroll
        for (int c = 0; c < kColumns; ++c) known = (Letter::read(words[i] + c * Letter::kWords, nodes.tag, v[i][c]) || !wants[i]) & known;
      if (uniform_all(known)) break;
    }
    const bool has = has_before(place.node);
    this->tell_storers(at, [&](int c, Element& from, Element& to) {
      from = select(child == 0, v[0][c], combine_start<S>(has, v[0][c], v[1][c]));
      to = select(last, v[2][c], combine_start<S>(has, v[0][c], v[2][c]));
    });
  }

  // ---- the block ----

  static CUMULUS_DEVICE void run(const Args<kDims>& args) {
    SplitColumnsKernel k(args);
    u8* const memory = k.behind_ring();
    if (thread_index() == 0) k.init_ring();
    if (thread_index() < kGroups) store_shared(k.turn_at(thread_index(), memory), 0u);
    k.nodes.tag = begin_launch(args, k.control.launch);
    const int warp = static_cast<int>(warp_index());
    if (warp < Roles::kFirstReducer) k.load(warp);
    else if (warp < Roles::kFirstStorer) k.reduce(warp - Roles::kFirstReducer);
    else if (warp < Roles::kFirstStarter) k.store(warp - Roles::kFirstStorer);
    else if (warp < Roles::kFirstOther) k.start(warp - Roles::kFirstStarter);
    else k.scan(warp - Roles::kFirstOther, memory);
    end_launch(args, k.control.launch, k.nodes.tag);
  }

  CUMULUS_DEVICE void load(int loader) {
    const i64 tickets = length * strips.jobs;
    Roles::load(
        loader, [&](u32) { return take_tile(a, tickets); }, [&](i64 ticket, Place& place) { place = place_of<kSteps>(ticket, length); });
  }
  CUMULUS_DEVICE void reduce(int warp) {
    Roles::reduce(warp, [&](const Place& place, const Tile& t, u8* slot) { this->publish_totals(totals, nodes.tag, place, t, slot); });
  }
};

}  // namespace cumulus::cuda
