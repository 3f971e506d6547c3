// Rows of at most 128 results: kLanes lanes for each, a lane holds a quad, several rows in one warp.
#pragma once

#include "memory.cuh"

namespace cumulus::cuda {

template <class S, int kLanes, bool kContiguous, int kDims>
struct ShortRowsKernel {
  using Element = typename S::Element;

  template <class R>
  static CUMULUS_DEVICE void load(const R& run, int x, int end, typename R::B (&q)[4]) {
    if (R::kContiguous && run.phase() == 0 && x + 3 < end) {
      run.load_vector(x, q);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) q[k] = x + k < end ? run.load(x + k) : typename R::B{};
    }
  }

  template <class R>
  static CUMULUS_DEVICE void store(const R& run, int x, int end, const typename R::B (&q)[4]) {
    if (R::kContiguous && run.phase() == 0 && x + 3 < end) {
      run.store_vector(x, q);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (x + k < end) run.store(x + k, q[k]);
    }
  }

  static CUMULUS_DEVICE void run(const Args<kDims>& a, u32 threads) {
    const i64 thread = static_cast<i64>(block_index()) * threads + thread_index();
    const i64 index = thread / kLanes;
    const bool active = index < a.rows;
    const int x = static_cast<int>(lane_index() % kLanes) * 4;
    const int n = active ? static_cast<int>(a.n) : 0, n_out = active ? static_cast<int>(a.n_out) : 0;
    const Offsets offsets = offsets_of(a, a.dims, active ? index : 0);
    const Row<S, kContiguous> row(a, offsets);

    typename S::InBits in[4], in2[4] = {};
    typename S::MaskBits mask[4] = {};
    load(row.in, x, n, in);
    if constexpr (S::kTwoInputs) load(row.in2, x, n, in2);
    if constexpr (S::kMask != kNoMask) load(row.mask, x, n, mask);
    Element v[1][4], t[1], r[5];
#pragma unroll
    for (int k = 0; k < 4; ++k) v[0][k] = S::element(in[k], in2[k], mask[k]);

    scan_quad<S>(v[0]);
    t[0] = v[0][3];
    scan_lanes<S, kLanes>(t);
    v[0][3] = t[0];

    const bool has_start = a.flags & kHasInitial;
    const Element start = S::narrow(start_of<S>(a, offsets));
    finish_quad<S, kLanes>(v[0], !S::kStartsEmpty || has_start, start, combine_start<S>(!S::kStartsEmpty || has_start, start, t[0]), r);

    typename S::OutBits q[4];
    encode_quad<S>(r, a.flags & kExclusive, x == 0 && !has_start, q);
    store(row.out, x, n_out, q);
    if (active && (a.flags & kHasTotal)) store_total_of_quad<S>(a, offsets, x, r);
  }
};

}  // namespace cumulus::cuda
