// Few rows of small and middle size, where the time is that of trips to memory: a tile is one chunk of a row, which a block holds in
// registers. The chunk's elements, the launch's tag and the row's initial value are on their way together; the block publishes its chunk's
// total, reads those of the row's earlier chunks, and finds R at both ends of its chunk by itself. No ticket comes before the loads,
// nothing is waited for behind the stores.
//
// Progress: a block's tile is that of its number, and which blocks run is not ours to say. So a block that has waited for long, while
// others have not begun, leaves its tile to the last one that begins, and ends. When that one has begun every block runs or has ended, so
// that every total has been published or will be. One resident block is enough.
// The order: only totals of whole chunks are ever published.
#pragma once

#include "mail.cuh"

namespace cumulus::cuda {

// The same scan element by element: for tiles that were left, where speed does not matter.
template <class S>
struct Plain;
template <int op, int in, int out, int mask, int step, bool aligned, int exclusive, int total, bool halves>
struct Plain<Scan<op, in, out, mask, Variant<step, aligned, exclusive, total, halves>>> {
  using type = Scan<op, in, out, mask, Variant<0, false, exclusive, total, halves>>;
};

template <class S, int kWarps, int kSegments, int kDims>
struct SpreadRowsKernel {
  using Element = typename S::Element;
  using Wide = typename S::Wide;
  using Letter = Mail<Element>;
  static_assert(kWarps * kSegments == 32);
  // Nodes of 32 chunks that a warp asks for together, where there are more of them than warps.
  static constexpr int kNodes = S::kStep != 0 && sizeof(Element) <= 8 ? 32 / kWarps : 1;

  struct Control {
    alignas(16) Element segment_total[32];
    alignas(16) Wide node_total[32];
    alignas(16) Wide start;            // R at the row's start
    alignas(16) Wide before, through;  // the prefix of the own node's chunks before the own one, and with it
    LaunchState launch;
    u64 arrival;             // the launch's word as this block found it
    u32 late[kWarps], left;  // a warp's totals did not come; the tile is left to another block
  };

  // The launch's word: the epoch, how many tiles were left, how many blocks have begun.
  static constexpr u64 kOneLeft = 1 << 16;
  static CUMULUS_DEVICE u32 blocks_of(u64 word) { return static_cast<u32>(word) & 0xffff; }
  static CUMULUS_DEVICE u32 left_of(u64 word) { return static_cast<u32>(word) >> 16; }
  static CUMULUS_DEVICE u32 tag_of(u64 word) { return static_cast<u32>(word >> 32) + 1; }

  const Args<kDims>& a;
  Control& control;
  u32 chunks_per_row;

  CUMULUS_DEVICE explicit SpreadRowsKernel(const Args<kDims>& args)
      : a(args),
        control(*reinterpret_cast<Control*>(shared_memory())),
        chunks_per_row(static_cast<u32>((a.n + kChunk - 1) / kChunk)) {}  // the last has the one result that there may be behind it
  CUMULUS_DEVICE u64* total_words(u32 tile) const { return a.workspace + kWorkspaceHeader + static_cast<i64>(tile) * Letter::kWords; }
  CUMULUS_DEVICE u64* left_words(u32 i) const { return total_words(block_count()) + static_cast<i64>(i) * (1 + Mail<Wide>::kWords); }
  CUMULUS_DEVICE u64 arrival() const { return load_shared(&control.arrival); }
  CUMULUS_DEVICE bool is_last() const { return blocks_of(arrival()) + 1 == block_count(); }
  CUMULUS_DEVICE bool has_start() const { return !S::kStartsEmpty || (a.flags & kHasInitial); }

  struct Tile {
    u32 index, row, chunk;
    i64 first;  // the warp's first element
    Offsets offsets;
    Row<S> tensors;

    CUMULUS_DEVICE Tile(const SpreadRowsKernel& k, u32 tile)
        : index(tile),
          row(k.a.rows == 1 ? 0 : tile / k.chunks_per_row),
          chunk(tile - row * k.chunks_per_row),
          first(static_cast<i64>(chunk) * kChunk + warp_index() * (kSegments * kSegment)),
          offsets(offsets_of(k.a, k.a.dims, row)),
          tensors(k.a, offsets) {}
  };

  static CUMULUS_DEVICE void run(const Args<kDims>& a) {
    SpreadRowsKernel k(a);
    k.run();
  }

  CUMULUS_DEVICE void run() {
    scan_tile<true>(block_index());
    const SpreadRowsKernel<typename Plain<S>::type, kWarps, kSegments, kDims> plain(a);
    for (u32 i = 0; is_last() && i < left_of(arrival()); ++i) plain.template scan_tile<false>(take(i));
    end();
  }

  // kOwn: the block's own tile, else one that was left, whose R at the row's start is there.
  template <bool kOwn>
  CUMULUS_DEVICE void scan_tile(u32 tile) const {
    u64 word = 0;
    if (kOwn && thread_index() == 0) word = fetch_add(a.workspace + kEpoch, 1);
    const Tile t(*this, tile);
    HeldSegments<S, kSegments> held;
    held.load(t.tensors, t.first, a.n);
    // Before anything is published that the row's total depends on: that may take the initial value's place.
    if (kOwn && thread_index() == 0) store_shared(&control.start, start_of<S>(a, t.offsets));
    held.scan(control.segment_total + warp_index() * kSegments);
    if (kOwn && thread_index() == 0) store_shared(&control.arrival, word);
    sync_block();
    finish(t, held);
  }

  // From totals of segments to results.
  CUMULUS_DEVICE void finish(const Tile& t, const HeldSegments<S, kSegments>& held) const {
    const u32 lane = lane_index(), warp = warp_index(), tag = tag_of(arrival());
    const i64 behind = static_cast<i64>(t.chunk + 1) * kChunk;
    Element prefix[1] = {load_shared(control.segment_total + lane)};
    scan_lanes<S, 32>(prefix);
    if (behind <= a.n && warp == kWarps - 1 && lane == 31) Letter::publish(total_words(t.index), tag, prefix[0]);

    const Wide total = S::widen(shuffle(prefix[0], 31));
    while (!collect(t.index - t.chunk, t.chunk, tag, total)) {
      if (thread_index() == 0) store_shared(&control.left, static_cast<u32>(leave(t.index, tag)));
      sync_block();
      if (load_shared(&control.left)) return;
    }
    Wide here, next;
    find_ends(t.chunk, here, next);
    held.store(a, t.offsets, t.tensors, t.first, warp * kSegments, prefix[0], S::narrow(here), S::narrow(next), has_start() || t.chunk > 0);
    if (behind == a.n && a.n < a.n_out && thread_index() == 0) t.tensors.out.store(a.n, S::encode(S::narrow(next)));
  }

  // ---- R at the chunk's ends ----

  // The totals of all nodes up to the chunk's, and in its own node the prefixes at its two ends, are in shared memory. False: some did not
  // come in time.
  CUMULUS_DEVICE bool collect(u32 row, u32 chunk, u32 tag, const Wide& total) const {
    const u32 lane = lane_index(), warp = warp_index();
    const bool one = kNodes == 1 || chunk / 32 < kWarps;
    const bool came = one ? sum_nodes<1>(row, chunk, tag, total) : sum_nodes<kNodes>(row, chunk, tag, total);
    if (lane == 0) store_shared(&control.late[warp], static_cast<u32>(!came));
    sync_block();
    return !uniform(load_shared(&control.late[lane % kWarps]) != 0);
  }

  // A warp's nodes, kCount at a time; lane = chunk. `row`: the row's first tile.
  template <int kCount>
  CUMULUS_DEVICE bool sum_nodes(u32 row, u32 chunk, u32 tag, const Wide& total) const {
    const u32 lane = lane_index(), node = chunk / 32;
    for (u32 first = warp_index(); first <= node; first += kWarps * kCount) {
      Element earlier[kCount] = {};
      bool ready = chunk == 0;
      for (u32 looks = 0; !uniform_all(ready); ++looks) {
        if (looks == kPatience) return false;
        if (looks > 0) pause();
        ready = true;
#pragma unroll
        for (int i = 0; i < kCount; ++i) {  // lanes that want nothing read what others want too: no branch parts the loads
          const u32 c = (first + i * kWarps) * 32 + lane;
          ready = Letter::read(total_words(row + select(c < chunk, c, chunk - 1)), tag, earlier[i]) && ready;
        }
      }
      Wide prefix[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) prefix[i] = select((first + i * kWarps) * 32 + lane == chunk, total, S::widen(earlier[i]));
      scan_lanes<S, 32>(prefix);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const u32 at = first + i * kWarps;
        if (at <= node && lane == 31) store_shared(&control.node_total[at], prefix[i]);
        if (at == node && lane == chunk % 32) store_shared(&control.through, prefix[i]);
        if (at == node && lane + 1 == chunk % 32) store_shared(&control.before, prefix[i]);
      }
    }
    return true;
  }

  // R at the chunk's start, and, if it is whole, at its end: down the digits.
  CUMULUS_DEVICE void find_ends(u32 chunk, Wide& here, Wide& next) const {
    const u32 lane = lane_index(), node = chunk / 32, digit = chunk % 32;
    const Wide begin = load_shared(&control.start);
    Wide nodes[1] = {load_shared(&control.node_total[select(lane < node, lane, node)])}, at_node = begin;
    if (node > 0) {
      scan_lanes<S, 32>(nodes);
      at_node = combine_start<S>(has_start(), begin, shuffle(nodes[0], node - 1));
    }
    const bool has_node = has_start() || node > 0;
    here = digit == 0 ? at_node : combine_start<S>(has_node, at_node, load_shared(&control.before));
    if (digit < 31) next = combine_start<S>(has_node, at_node, load_shared(&control.through));
    else next = combine_start<S>(has_start(), begin, shuffle(nodes[0], node));
  }

  // ---- tiles that were left ----

  // For the block that began last: the i-th, and in shared memory R at its row's start.
  CUMULUS_DEVICE u32 take(u32 i) const {
    const u32 tag = tag_of(arrival());
    u32 tile = 0;
    Wide start{};
    bool ready;
    do ready = Mail<u32>::read(left_words(i), tag, tile) && Mail<Wide>::read(left_words(i) + 1, tag, start);
    while (!uniform_all(ready));
    sync_block();
    if (thread_index() == 0) store_shared(&control.start, start);
    return tile;
  }

  // One thread: false if all blocks have begun, for then whatever is waited for will come.
  CUMULUS_DEVICE bool leave(u32 tile, u32 tag) const {
    u64* word = a.workspace + kEpoch;
    for (u64 seen = load_relaxed(word), before; tag_of(seen) == tag && blocks_of(seen) < block_count(); seen = before) {
      before = compare_exchange(word, seen, seen + kOneLeft);
      if (before != seen) continue;
      u64* at = left_words(left_of(seen));
      Mail<u32>::publish(at, tag, tile);
      Mail<Wide>::publish(at + 1, tag, load_shared(&control.start));
      return true;
    }
    return false;
  }

  // The launch is over for the next one when all blocks have begun: no old word is taken for a new one, and totals need no clearing.
  CUMULUS_DEVICE void end() const {
    const u32 tag = tag_of(arrival());
    if (wraps(tag)) end_launch(a, control.launch, tag);
    else if (is_last() && thread_index() == 0) store_relaxed(a.workspace + kEpoch, static_cast<u64>(tag) << 32);
  }
};

}  // namespace cumulus::cuda
