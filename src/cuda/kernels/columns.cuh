// Columns: the axis is not the contiguous dimension. Threads lie along the contiguous one, and each walks its column, with the left totals
// of levels 1 and 2 in registers and those above in shared memory. Nothing passes between threads.
#pragma once

#include "memory.cuh"

namespace cumulus::cuda {

// R as one thread walks a sequence, quad after quad.
template <class S>
struct Walker {
  using Element = typename S::Element;
  Counter<S, Element> quads, segments;
  Element segment_start, chunk_start;
  Carry<S> carry;
  i64 done = 0;  // quads

  CUMULUS_DEVICE explicit Walker(const Carry<S>& c, const typename S::Wide& start) : quads{}, segments{}, carry(c) {
    carry.begin(start);
    segment_start = chunk_start = S::narrow(start);
  }
  CUMULUS_DEVICE bool has(i64 quads_before) const { return carry.has(-1, quads_before); }

  // Takes the next quad's total; returns R behind it. `d`: done % 32.
  CUMULUS_DEVICE Element advance(u32 d, const Element& total) {
    const Element v = quads.advance(d, total);
    ++done;
    if (d < 31) return combine_start<S>(has(done >> 5), segment_start, v);
    const u32 segment = static_cast<u32>((done - 1) >> 5) & 31;
    const Element w = segments.advance(segment, v);
    if (segment < 31) {
      segment_start = combine_start<S>(has(done >> 10), chunk_start, w);
    } else {
      segment_start = chunk_start = S::narrow(carry.template advance<true>((done >> 10) - 1, 0, S::widen(w)));
    }
    return segment_start;
  }
};

template <class S, int kDims>
struct ColumnsKernel {
  using Element = typename S::Element;
  static constexpr int kQuads = S::kTwoInputs || sizeof(Element) > 8 ? 2 : 4;  // loaded at a time, one such batch ahead

  struct Batch {
    typename S::InBits in[kQuads][4], in2[S::kTwoInputs ? kQuads : 1][4];
    typename S::MaskBits mask[S::kMask != kNoMask ? kQuads : 1][4];

    CUMULUS_DEVICE void load(const Row<S, false>& row, i64 first, i64 n) {
#pragma unroll
      for (int j = 0; j < kQuads; ++j)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const i64 x = first + 4 * j + k;
          const bool inside = x < n;
          in[j][k] = inside ? row.in.load(x) : typename S::InBits{};
          if constexpr (S::kTwoInputs) in2[j][k] = inside ? row.in2.load(x) : typename S::InBits{};
          if constexpr (S::kMask != kNoMask) mask[j][k] = inside ? row.mask.load(x) : typename S::MaskBits{};
        }
    }
    CUMULUS_DEVICE void quad(int j, Element (&v)[4]) const {
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = S::element(in[j][k], in2[S::kTwoInputs ? j : 0][k], mask[S::kMask != kNoMask ? j : 0][k]);
    }
  };

  static CUMULUS_DEVICE void run(const Args<kDims>& a, u32 threads) {
    const int lane_dim = a.dims - 1;
    const i64 columns = lane_dim >= 0 ? a.dim[lane_dim].size : 1, strips = (columns + threads - 1) / threads;
    const i64 jobs = lane_dim >= 0 ? a.rows / columns * strips : 1;
    for (i64 job = block_index(); job < jobs; job += block_count()) {
      const i64 outer = job / strips, column = (job - outer * strips) * threads + thread_index();
      if (column >= columns) continue;
      Offsets offsets = offsets_of(a, lane_dim, outer);
      if (lane_dim >= 0) offsets.add(a.dim[lane_dim], column);
      scan_column(a, offsets, threads);
    }
  }

  static CUMULUS_DEVICE void scan_column(const Args<kDims>& a, const Offsets& offsets, u32 threads) {
    const bool has_start = a.flags & kHasInitial, exclusive = a.flags & kExclusive;
    const Row<S, false> row(a, offsets);
    Walker<S> walker({reinterpret_cast<typename S::Wide*>(shared_memory()) + thread_index(), threads, a.levels, has_start},
                     start_of<S>(a, offsets));
    Element r[5] = {walker.chunk_start, {}, {}, {}, {}};
    if (a.n == 0 && (a.flags & kHasTotal)) {
      Element empty = r[0];
      if (!has_start) shown_element(empty);
      store_total<S>(a, offsets, empty);
    }

    Batch now, next;
    next.load(row, 0, a.n);
    for (i64 first = 0; first < a.n_out; first += 4 * kQuads) {
      now = next;
      next.load(row, first + 4 * kQuads, a.n);
      const u32 d = static_cast<u32>(first / (4 * kQuads)) % (32 / kQuads) * kQuads;
#pragma unroll
      for (int j = 0; j < kQuads; ++j) {
        const i64 x = first + 4 * j;
        Element v[4];
        now.quad(j, v);
        scan_quad<S>(v);
        const bool has = walker.has(walker.done);
#pragma unroll
        for (int k = 0; k < 3; ++k) r[k + 1] = combine_start<S>(has, r[0], v[k]);
        r[4] = walker.advance(d + static_cast<u32>(j), v[3]);
        typename S::OutBits q[4];
        encode_quad<S>(r, exclusive, x == 0 && !has_start, q);
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (x + k < a.n_out) row.out.store(x + k, q[k]);
        if (a.flags & kHasTotal) store_total_of_quad<S>(a, offsets, x, r);
        r[0] = r[4];
      }
    }
  }

 private:
  static CUMULUS_DEVICE void shown_element(Element& v) {
    if constexpr (S::kTwoInputs) v.b = S::shown();
    else v = S::shown();
  }
};

}  // namespace cumulus::cuda
