// Scans of many columns at once: a lane is a column, the axis is walked quad by quad. Each column keeps R before its quad, its
// segment and its chunk, and the five left totals of levels 1 and 2, in planes of `width` values; levels 3 and up are a Carry.
// Included once per target.
#if defined(CUMULUS_CPU_COLUMN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CUMULUS_CPU_COLUMN_INL_H_
#undef CUMULUS_CPU_COLUMN_INL_H_
#else
#define CUMULUS_CPU_COLUMN_INL_H_
#endif

#include <algorithm>
#include <bit>
#include <cstring>

#include "cpu/carry-inl.h"
#include "cpu/kernels.h"
#include "cpu/ops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {

template <class O>
struct ColumnState {
  using T = typename O::Lane;
  static constexpr int K = O::kPlanes;

  // Arrays of K planes of `width` values, in this order; then the carries of all columns.
  enum Array { kQuadBase, kSegmentBase, kChunkBase, kTotal, kLeft1, kLeft2 = kLeft1 + 5, kArrays = kLeft2 + 5 };

  static std::int64_t ArrayBytes(std::int64_t width) { return static_cast<std::int64_t>(sizeof(T)) * K * width; }
  static std::int64_t Bytes(std::int64_t width, int levels) {
    return (kArrays * ArrayBytes(width) + 7) / 8 * 8 + 8 * width * Carry::slots_for(K, levels);
  }
  static T* At(const ColumnArgs& args, int array) { return static_cast<T*>(args.state) + array * K * args.width; }

  static Carry CarryOfColumn(const ColumnArgs& args, std::int64_t column) {
    Carry carry;
    carry.chunks = args.position / kChunk;
    carry.levels = carry.chunks == 0 ? 0 : 1 + (std::bit_width(static_cast<std::uint64_t>(carry.chunks)) - 1) / 5;
    carry.has_start = args.has_start;
    auto* slots = reinterpret_cast<std::int64_t*>(static_cast<char*>(args.state) + (kArrays * ArrayBytes(args.width) + 7) / 8 * 8);
    carry.slots = slots + column * Carry::slots_for(K, args.levels);
    return carry;
  }

  static void Start(const ColumnArgs& args, const void* const* start) {
    for (int array : {kQuadBase, kSegmentBase, kChunkBase})
      for (int k = 0; k < K; ++k) {
        T* to = At(args, array) + k * args.width;
        if (args.has_start) std::memcpy(to, start[k], sizeof(T) * static_cast<std::size_t>(args.width));
        else std::memset(to, 0, sizeof(T) * static_cast<std::size_t>(args.width));
      }
    const std::int64_t slots = Carry::slots_for(K, args.levels);
    std::int64_t* first = CarryOfColumn(args, 0).slots;
    for (int k = 0; k < K; ++k)
      for (std::int64_t j = 0; args.has_start && j < args.width; ++j) {
        const auto wide = static_cast<typename O::Wide>(static_cast<const T*>(start[k])[j]);
        std::memcpy(first + j * slots + k, &wide, sizeof wide);
      }
  }

  // R before quad, segment and chunk is one value at a chunk's start.
  static HWY_INLINE void SetBases(const ColumnArgs& args, std::int64_t j, const T* lanes) {
    for (int array : {kQuadBase, kSegmentBase, kChunkBase})
      for (int k = 0; k < K; ++k) At(args, array)[k * args.width + j] = lanes[k];
  }

  // A chunk ends: hand its totals to the carries and start the next one. `args.position` is that of the chunk's start.
  static void Push(const ColumnArgs& args, const void* const* totals) {
    for (std::int64_t j = 0; j < args.width; ++j) {
      T lanes[K];
      for (int k = 0; k < K; ++k) lanes[k] = static_cast<const T*>(totals[k])[j];
      Carry carry = CarryOfColumn(args, j);
      CarryOf<O>::PushLanes(carry, lanes);
      CarryOf<O>::ValueLanes(carry, lanes);
      SetBases(args, j, lanes);
    }
  }

  static void Copy(const ColumnArgs& args, int array, void* const* to) {
    for (int k = 0; k < K; ++k) std::memcpy(to[k], At(args, array) + k * args.width, sizeof(T) * static_cast<std::size_t>(args.width));
  }
  static void End(const ColumnArgs& args, void* const* end) { Copy(args, kQuadBase, end); }
  static void Totals(const ColumnArgs& args, void* const* totals) { Copy(args, kTotal, totals); }
};

template <class O, class D>
struct ColumnKernel {
  using T = typename O::Lane;
  using V = TupleOf<O, D>;
  using State = ColumnState<O>;
  static constexpr int K = O::kPlanes;
  static constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));

  struct Arrays {
    T* quad_base;
    T* segment_base;
    T* chunk_base;
    T* total;
    T* left1[5];
    T* left2[5];
    std::int64_t width;
  };

  static HWY_INLINE V Get(const T* array, std::int64_t width, std::int64_t j) {
    V r;
    for (int k = 0; k < K; ++k) r.v[k] = hn::LoadU(D(), array + k * width + j);
    return r;
  }
  static HWY_INLINE void Put(T* array, std::int64_t width, std::int64_t j, V v) {
    for (int k = 0; k < K; ++k) hn::StoreU(v.v[k], D(), array + k * width + j);
  }

  static HWY_INLINE V Shown(const ColumnArgs& args) {
    T lanes[K];
    for (int k = 0; k < K; ++k) lanes[k] = *static_cast<const T*>(args.shown[k]);
    return Broadcast<O>(D(), lanes);
  }

  struct LeftSlot {
    T* array;
    std::int64_t width, j;
    operator V() const { return Get(array, width, j); }  // NOLINT(google-explicit-constructor)
    void operator=(V v) const { Put(array, width, j, v); }
  };

  // One quad of steps for every column. kEnd: what ends with it. `rows` < 4 only in a column's last call.
  enum class QuadEnd { kInside, kChunk };

  template <bool kStore, QuadEnd kEnd>
  static HWY_INLINE void Quad(const ColumnArgs& args, const Arrays& a, std::int64_t at, int rows) {
    const D d;
    const std::int64_t i = args.position + at;
    const std::int64_t q = (i >> 2) & 31, seg = (i >> 7) & 31;
    const bool present = args.has_start || i > 0;
    const bool segment_present = args.has_start || i >= kSegment, chunk_present = args.has_start || i >= kChunk;
    const bool show = args.exclusive && i == 0 && args.shown[0];
    const T* in[K];
    T* out[K];
    for (int k = 0; k < K; ++k) {
      in[k] = static_cast<const T*>(args.in[k]) + at * args.in_stride;
      out[k] = args.out[k] ? static_cast<T*>(args.out[k]) + at * args.out_stride : nullptr;
    }
    V shown{};
    if (show) shown = Shown(args);

    for (std::int64_t j = 0; j < a.width; j += kLanes) {
      V s[4];
      for (int r = 0; r < 4; ++r) {
        if (r >= rows) {
          s[r] = s[r - 1];
          continue;
        }
        for (int k = 0; k < K; ++k) {
          s[r].v[k] = hn::LoadU(d, in[k] + r * args.in_stride + j);
          // The next quad's rows: too short and too far apart for the hardware to see them coming.
          if (args.streaming) __builtin_prefetch(in[k] + (r + 4) * args.in_stride + j);
        }
        if (r > 0) s[r] = O::Combine(d, s[r - 1], s[r]);
      }
      const V e = Get(a.quad_base, a.width, j);

      // R after this quad, unless a chunk ends with it.
      V next = s[3];
      if (rows == 4) {
        if (Append<O>(d, q, next, [&](int k) { return LeftSlot{a.left1[k], a.width, j}; })) {
          if (!O::kSkipsMissingStart || segment_present) next = O::Combine(d, Get(a.segment_base, a.width, j), next);
        } else if (Append<O>(d, seg, next, [&](int k) { return LeftSlot{a.left2[k], a.width, j}; })) {
          if (!O::kSkipsMissingStart || chunk_present) next = O::Combine(d, Get(a.chunk_base, a.width, j), next);
          Put(a.segment_base, a.width, j, next);
        }
      } else if (!O::kSkipsMissingStart || present) {
        next = O::Combine(d, e, next);
      }
      Put(kEnd == QuadEnd::kChunk ? a.total : a.quad_base, a.width, j, next);

      if constexpr (kStore) {
        V r[4];
        for (int row = 0; row < 4; ++row) {
          r[row] = s[row];
          if (!O::kSkipsMissingStart || present) r[row] = O::Combine(d, e, s[row]);
        }
        if (args.exclusive) {
          r[3] = r[2], r[2] = r[1], r[1] = r[0];
          r[0] = show ? shown : e;
        } else if (rows == 4) {
          r[3] = next;  // at a chunk's end this is its total: ChunkEnd stores the last step
        }
        const int stored = kEnd == QuadEnd::kChunk && !args.exclusive ? 3 : rows;
        for (int k = 0; k < K; ++k) {
          if (out[k] == nullptr) continue;
          for (int row = 0; row < stored; ++row) {
            T* to = out[k] + row * args.out_stride + j;
            if (args.streaming) hn::Stream(r[row].v[k], d, to);
            else hn::StoreU(r[row].v[k], d, to);
          }
        }
      }
    }
  }

  // A chunk ends: the wide levels take its totals, and an inclusive scan's last step shows the next chunk's base.
  template <bool kStore>
  static HWY_INLINE void ChunkEnd(const ColumnArgs& args, const Arrays& a, std::int64_t at) {
    const void* totals[K];
    for (int k = 0; k < K; ++k) totals[k] = a.total + k * a.width;
    ColumnArgs start = args;
    start.position = args.position + at + 4 - kChunk;
    State::Push(start, totals);
    if (!kStore || args.exclusive) return;
    for (int k = 0; k < K; ++k) {
      if (args.out[k] == nullptr) continue;
      T* to = static_cast<T*>(args.out[k]) + (at + 3) * args.out_stride;
      for (std::int64_t j = 0; j < a.width; j += kLanes) {
        const auto v = hn::LoadU(D(), a.chunk_base + k * a.width + j);
        if (args.streaming) hn::Stream(v, D(), to + j);
        else hn::StoreU(v, D(), to + j);
      }
    }
  }

  // ---- One vector of columns: eight quads in registers, the three lowest bits of the segment's counter unrolled ----

  template <bool kStore>
  static HWY_INLINE void Octet(const ColumnArgs& args, const Arrays& a, std::int64_t at) {
    const D d;
    const std::int64_t i = args.position + at, octet = (i >> 5) & 3;
    const bool segment_present = args.has_start || i >= kSegment;
    bool present = args.has_start || i > 0;
    const bool show = args.exclusive && i == 0 && args.shown[0];
    const T* in[K];
    T* out[K];
    for (int k = 0; k < K; ++k) {
      in[k] = static_cast<const T*>(args.in[k]) + at * args.in_stride;
      out[k] = args.out[k] ? static_cast<T*>(args.out[k]) + at * args.out_stride : nullptr;
    }
    V e = Get(a.quad_base, a.width, 0);
    const V base = Get(a.segment_base, a.width, 0), left3 = Get(a.left1[3], a.width, 0), left4 = Get(a.left1[4], a.width, 0);
    V left[3], next;
#pragma GCC unroll 8
    for (int q = 0; q < 8; ++q) {
      V s[4];
      for (int r = 0; r < 4; ++r) {
        for (int k = 0; k < K; ++k) s[r].v[k] = hn::LoadU(d, in[k] + (4 * q + r) * args.in_stride);
        if (r > 0) s[r] = O::Combine(d, s[r - 1], s[r]);
      }
      next = s[3];
      if (Append<O, 3>(d, q, next, [&left](int k) -> V& { return left[k]; })) {
        if (octet & 1) next = O::Combine(d, left3, next);
        if (octet & 2) next = O::Combine(d, left4, next);
        if (!O::kSkipsMissingStart || segment_present) next = O::Combine(d, base, next);
      } else {
        next = EndOctet(args, a, i, next, base);
      }
      if constexpr (kStore) {
        V r[4] = {s[0], s[1], s[2], next};
        for (int row = 0; row < 3; ++row)
          if (!O::kSkipsMissingStart || present) r[row] = O::Combine(d, e, s[row]);
        if (args.exclusive) {
          r[3] = r[2], r[2] = r[1], r[1] = r[0], r[0] = e;
          if (q == 0 && show) r[0] = Shown(args);
        }
        for (int k = 0; k < K; ++k) {
          if (out[k] == nullptr) continue;
          for (int row = 0; row < 4; ++row) {
            T* to = out[k] + (4 * q + row) * args.out_stride;
            if (args.streaming) hn::Stream(r[row].v[k], d, to);
            else hn::StoreU(r[row].v[k], d, to);
          }
        }
      }
      e = next, present = true;
    }
    Put(a.quad_base, a.width, 0, next);
  }

  // Eight quads from step i on end with `total`: the segment's counter takes them as one child of four. Returns R after them,
  // or, where a chunk ends, leaves its total for ChunkEnd.
  static HWY_INLINE V EndOctet(const ColumnArgs& args, const Arrays& a, std::int64_t i, V total, V base) {
    const D d;
    const bool segment_present = args.has_start || i >= kSegment, chunk_present = args.has_start || i >= kChunk;
    if (Append<O, 2>(d, (i >> 5) & 3, total, [&a](int k) { return LeftSlot{a.left1[3 + k], a.width, 0}; }))
      return !O::kSkipsMissingStart || segment_present ? O::Combine(d, base, total) : total;
    if (Append<O>(d, (i >> 7) & 31, total, [&a](int k) { return LeftSlot{a.left2[k], a.width, 0}; })) {
      if (!O::kSkipsMissingStart || chunk_present) total = O::Combine(d, Get(a.chunk_base, a.width, 0), total);
      Put(a.segment_base, a.width, 0, total);
      return total;
    }
    Put(a.total, a.width, 0, total);
    return total;
  }

  template <bool kStore>
  static void Walk(const ColumnArgs& args, const Arrays& a) {
    for (std::int64_t at = 0; at < args.n; at += 4) {
      if (a.width == kLanes && (args.position + at) % 32 == 0 && at + 32 <= args.n) {
        Octet<kStore>(args, a, at);
        at += 28;
        if ((args.position + at + 4) % kChunk == 0) ChunkEnd<kStore>(args, a, at);
        continue;
      }
      const int rows = static_cast<int>(std::min<std::int64_t>(4, args.n - at));
      if (rows == 4 && (args.position + at + 4) % kChunk == 0) {
        Quad<kStore, QuadEnd::kChunk>(args, a, at, 4);
        ChunkEnd<kStore>(args, a, at);
      } else {
        Quad<kStore, QuadEnd::kInside>(args, a, at, rows);
      }
    }
  }

  static void Run(const ColumnArgs& args) {
    Arrays a{State::At(args, State::kQuadBase),
             State::At(args, State::kSegmentBase),
             State::At(args, State::kChunkBase),
             State::At(args, State::kTotal),
             {},
             {},
             args.width};
    for (int k = 0; k < 5; ++k) a.left1[k] = State::At(args, State::kLeft1 + k), a.left2[k] = State::At(args, State::kLeft2 + k);
    bool store = false;
    for (int k = 0; k < K; ++k) store |= args.out[k] != nullptr;
    store ? Walk<true>(args, a) : Walk<false>(args, a);
  }
};

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
