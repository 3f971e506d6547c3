// A ring of slots in shared memory: one warp or two fill them by ticket, others read them. What split_rows.cuh and split_columns.cuh share.
#pragma once

#include "mail.cuh"

namespace cumulus::cuda {

// A warp's place in the ring. `round`: the parity that its barriers' phases have there.
template <int kSlots>
struct RingPlace {
  int slot = 0;
  u32 round = 0;

  CUMULUS_DEVICE void advance(int by) {
    slot += by;
    if (slot >= kSlots) slot -= kSlots, round ^= 1;
  }
};

template <int kDims>
CUMULUS_DEVICE i64 take_ticket(const Args<kDims>& a, int counter) {
  i64 ticket = 0;
  if (lane_index() == 0) ticket = static_cast<i64>(fetch_add(a.workspace + counter, 1));
  return shuffle(ticket, 0);
}
// The same, or -1 if there are no more than `tickets`.
template <int kDims>
CUMULUS_DEVICE i64 take_tile(const Args<kDims>& a, i64 tickets) {
  const i64 ticket = take_ticket(a, kTicket);
  return ticket < tickets ? ticket : -1;
}

// What loading warps tell each other, in shared memory.
struct Loading {
  u32 turn, ends;  // fills that have their tickets; those without one

  CUMULUS_DEVICE void begin() { store_shared(&turn, 0u), store_shared(&ends, 0u); }
};

// One of kLoaders loading warps: fill(slot, ticket) for every ticket that next(turn) gives, when the slot is free and fewer than kFlight
// fills are under way; when it gives -1, fill(slot, -1), kEnds times, for every reader has to see one. Loaders take slots, and so tickets,
// in turn.
template <int kFlight, int kEnds, int kLoaders, int kSlots, class Next, class Fill>
CUMULUS_DEVICE void fill_ring(int loader, Loading& loading, Barrier (&full)[kSlots], Barrier (&empty)[kSlots], const Next& next,
                              const Fill& fill) {
  // A barrier's phase before its first one counts as over, so that nobody waits in the first round.
  RingPlace<kSlots> at, behind = {kSlots - kFlight, 1};
  at.advance(loader), behind.advance(loader);
  u32 ends = 0;
  const auto pass_on = [&](u32 turn) {
    if constexpr (kLoaders == 1) return;
    sync_warp();
    if (lane_index() != 0) return;
    store_shared(&loading.ends, ends);
    store_release_shared(&loading.turn, turn);
  };
  for (u32 turn = static_cast<u32>(loader);; turn += kLoaders, at.advance(kLoaders), behind.advance(kLoaders)) {
    if constexpr (kLoaders > 1) {
      while (!uniform_all(load_acquire_shared(&loading.turn) == turn)) pause();
      ends = load_shared(&loading.ends);
    }
    if (ends == kEnds) return pass_on(turn + 1);
    barrier_wait(&empty[at.slot], at.round ^ 1);
    barrier_wait(&full[behind.slot], behind.round);  // before the turn is passed on: so all earlier fills were waited for
    // The ticket comes last: what is taken and not loaded holds everybody up.
    const i64 ticket = ends > 0 ? -1 : next(turn);
    if (ticket < 0) ++ends;
    pass_on(turn + 1);
    fill(at.slot, ticket);
  }
}

}  // namespace cumulus::cuda
