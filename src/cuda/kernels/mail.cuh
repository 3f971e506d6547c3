// What blocks of one launch tell each other: words {epoch, value}, and the counters at the workspace's start.
#pragma once

#include "memory.cuh"

namespace cumulus::cuda {

// A published element: each of its words carries the launch's tag, so that none is ever torn or stale.
template <class E>
struct Mail {
  static constexpr int kWords = Words<E>::kCount;

  static CUMULUS_DEVICE void publish(u64* at, u32 tag, const E& v) {
    const auto words = to_words(v);
#pragma unroll
    for (int i = 0; i < kWords; ++i) store_relaxed(at + i, static_cast<u64>(tag) << 32 | words.word[i]);
  }
  static CUMULUS_DEVICE bool read(const u64* at, u32 tag, E& v) {
    Words<E> words;
    bool all = true;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const u64 word = load_relaxed(at + i);
      all = all && static_cast<u32>(word >> 32) == tag;
      words.word[i] = static_cast<u32>(word);
    }
    v = from_words<E>(words);
    return all;
  }
};

// In shared memory.
struct LaunchState {
  u32 epoch, rank, last;  // rank: the block is the rank-th that runs
  u32 mode;               // what blocks agreed on (column_strips.cuh)
};

// The epoch comes round: no old word may be taken for a new one.
CUMULUS_DEVICE bool wraps(u32 tag) { return tag == 0xffffffffu; }

// Every thread of every block, once: the launch's tag. Whatever was written to shared memory before is there for all after.
template <int kDims>
CUMULUS_DEVICE u32 begin_launch(const Args<kDims>& a, LaunchState& state) {
  if (thread_index() == 0) {
    barrier_init_done();
    const u64 arrival = fetch_add(a.workspace + kEpoch, 1);
    store_shared(&state.epoch, static_cast<u32>(arrival >> 32));
    store_shared(&state.rank, static_cast<u32>(arrival));
  }
  sync_block();
  return load_shared(&state.epoch) + 1;
}

// After begin_launch.
template <int kDims>
CUMULUS_DEVICE u32 begun_blocks(const Args<kDims>& a) {
  return static_cast<u32>(load_relaxed(a.workspace + kEpoch));
}

// One thread of every block, when the block takes no more tickets: the last one leaves the workspace as the next launch wants it. All
// blocks have begun then, and nobody reads the epoch again.
template <int kDims>
CUMULUS_DEVICE bool leave_launch(const Args<kDims>& a, u32 tag) {
  const bool last = fetch_add(a.workspace + kDone, 1) + 1 == block_count();
  if (last) {
    store_relaxed(a.workspace + kTicket, 0);
    store_relaxed(a.workspace + kChunkTicket, 0);
    store_relaxed(a.workspace + kMode, 0);
    store_relaxed(a.workspace + kDone, 0);
    store_relaxed(a.workspace + kEpoch, wraps(tag) ? 0 : static_cast<u64>(tag) << 32);
  }
  return last;
}

// Every thread of every block, at its end, unless one has left the launch.
template <int kDims>
CUMULUS_DEVICE void end_launch(const Args<kDims>& a, LaunchState& state, u32 tag) {
  sync_block();
  if (thread_index() == 0) {
    if (wraps(tag)) fence_device();  // words that this block wrote come before those that the last block clears
    const bool last = leave_launch(a, tag);
    if (wraps(tag)) fence_device();
    store_shared(&state.last, static_cast<u32>(last));
  }
  if (!wraps(tag)) return;
  sync_block();
  if (load_shared(&state.last))
    for (i64 i = kWorkspaceHeader + thread_index(); i < a.workspace_words; i += block_threads()) store_relaxed(a.workspace + i, 0);
}

}  // namespace cumulus::cuda
