// A ring of slots in shared memory: one warp fills them by ticket, others read them. What split_rows.cuh and split_columns.cuh share.
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

// The loading warp: fill(slot, ticket) for every ticket below `tickets` that it gets, when the slot is free and fewer than kFlight fills
// are under way; then fill(slot, -1), kEnds times, for every reader has to see one.
template <int kFlight, int kEnds, int kSlots, int kDims, class Fill>
CUMULUS_DEVICE void fill_ring(const Args<kDims>& a, Barrier (&full)[kSlots], Barrier (&empty)[kSlots], i64 tickets, const Fill& fill) {
  // A barrier's phase before its first one counts as over, so that nobody waits in the first round.
  RingPlace<kSlots> at, behind = {kSlots - kFlight, 1};
  for (int ends = 0; ends < kEnds; at.advance(1), behind.advance(1)) {
    barrier_wait(&empty[at.slot], at.round ^ 1);
    barrier_wait(&full[behind.slot], behind.round);
    // The ticket comes last: what is taken and not loaded holds everybody up.
    i64 ticket = ends > 0 ? -1 : take_ticket(a, kTicket);
    if (ticket >= tickets) ticket = -1;
    if (ticket < 0) ++ends;
    fill(at.slot, ticket);
  }
}

}  // namespace cumulus::cuda
