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
    if (args.levels == 0) return;
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

  // What is done beside scanning: results are stored or not, past the cache or not; elements are masked or not.
  template <bool stores, bool streams, bool masks>
  struct Doing {
    static constexpr bool kStores = stores, kStreams = streams, kMasks = masks;
  };

  // Where step `at` of a call lies.
  struct Place {
    const T* in[K];
    T* out[K];
    std::int64_t mask;
  };
  static HWY_INLINE Place PlaceOf(const ColumnArgs& args, std::int64_t at) {
    Place p;
    for (int k = 0; k < K; ++k) {
      p.in[k] = static_cast<const T*>(args.in[k]) + at * args.in_stride;
      p.out[k] = args.out[k] ? static_cast<T*>(args.out[k]) + at * args.out_stride : nullptr;
    }
    p.mask = at * args.mask_stride;
    return p;
  }

  // The prefixes of one quad, from step `row` on; `rows` of its elements exist.
  template <class Mode>
  static HWY_INLINE void LoadQuad(const ColumnArgs& args, const Place& p, std::int64_t row, std::int64_t j, int rows, V (&s)[4]) {
    const D d;
    for (int r = 0; r < 4; ++r) {
      if (r >= rows) {
        s[r] = s[r - 1];
        continue;
      }
      for (int k = 0; k < K; ++k) {
        const T* from = p.in[k] + (row + r) * args.in_stride + j;
        s[r].v[k] = hn::LoadU(d, from);
        __builtin_prefetch(from + args.ahead * args.in_stride);
      }
      if constexpr (Mode::kMasks) {
        const std::int64_t at = p.mask + (row + r) * args.mask_stride + j;
        s[r] = Masked<O>(d, s[r], args.mask, at, false);
        if (args.mask.select) __builtin_prefetch(args.mask.select + at + args.ahead * args.mask_stride);
        else __builtin_prefetch(static_cast<const T*>(args.mask.factor) + at + args.ahead * args.mask_stride);
      }
      if (r > 0) s[r] = O::Combine(d, s[r - 1], s[r]);
    }
  }

  // Stores the first `rows` results of one quad. e: R before it; next: R after it; s: its prefixes.
  template <class Mode>
  static HWY_INLINE void StoreQuad(const ColumnArgs& args, const Place& p, std::int64_t row, std::int64_t j, int rows, V e, const V (&s)[4],
                                   V next, bool present, bool show) {
    const D d;
    V r[4] = {s[0], s[1], s[2], next};
    for (int k = 0; k < 3; ++k)
      if (!O::kSkipsMissingStart || present) r[k] = O::Combine(d, e, s[k]);
    if (args.exclusive) {
      r[3] = r[2], r[2] = r[1], r[1] = r[0], r[0] = e;
      if (show) r[0] = Shown(args);
    }
    for (int k = 0; k < K; ++k) {
      if (p.out[k] == nullptr) continue;
      for (int i = 0; i < rows; ++i) {
        T* to = p.out[k] + (row + i) * args.out_stride + j;
        if constexpr (Mode::kStreams) hn::Stream(r[i].v[k], d, to);
        else hn::StoreU(r[i].v[k], d, to);
      }
    }
  }

  // A finished segment ends with `total`: the chunk's counter takes it. Returns R after it, or, where a chunk ends with it,
  // leaves the chunk's total for ChunkEnd.
  static HWY_INLINE V EndSegment(const ColumnArgs& args, const Arrays& a, std::int64_t i, std::int64_t j, V total) {
    const D d;
    if (Append<O>(d, (i >> 7) & 31, total, [&](int k) { return LeftSlot{a.left2[k], a.width, j}; })) {
      if (!O::kSkipsMissingStart || args.has_start || i >= kChunk) total = O::Combine(d, Get(a.chunk_base, a.width, j), total);
      Put(a.segment_base, a.width, j, total);
    } else {
      Put(a.total, a.width, j, total);
    }
    return total;
  }

  // One quad of steps for every column. rows < 4 only in a column's last call.
  template <class Mode>
  static HWY_INLINE void Quad(const ColumnArgs& args, const Arrays& a, std::int64_t at, int rows) {
    const D d;
    const std::int64_t i = args.position + at;
    const bool present = args.has_start || i > 0, segment_present = args.has_start || i >= kSegment;
    const bool show = args.exclusive && i == 0 && args.shown[0];
    const Place p = PlaceOf(args, at);
    for (std::int64_t j = 0; j < a.width; j += kLanes) {
      V s[4];
      LoadQuad<Mode>(args, p, 0, j, rows, s);
      const V e = Get(a.quad_base, a.width, j);
      V next = s[3];
      if (rows < 4) {
        if (!O::kSkipsMissingStart || present) next = O::Combine(d, e, next);
      } else if (Append<O>(d, (i >> 2) & 31, next, [&](int k) { return LeftSlot{a.left1[k], a.width, j}; })) {
        if (!O::kSkipsMissingStart || segment_present) next = O::Combine(d, Get(a.segment_base, a.width, j), next);
      } else {
        next = EndSegment(args, a, i, j, next);
      }
      Put(a.quad_base, a.width, j, next);
      if constexpr (Mode::kStores) StoreQuad<Mode>(args, p, 0, j, rows, e, s, next, present, show);
    }
  }

  // 2^kBits quads of steps for every column: the lowest bits of the segment's counter are unrolled, in registers. A quad is
  // loaded before the one before it is stored: where lines are a power of two apart, loads would wait for those stores.
  template <class Mode, int kBits>
  static HWY_INLINE void Pack(const ColumnArgs& args, const Arrays& a, std::int64_t at) {
    const D d;
    const std::int64_t i = args.position + at, digit = (i >> (2 + kBits)) & ((32 >> kBits) - 1);
    const bool segment_present = args.has_start || i >= kSegment;
    const bool show = args.exclusive && i == 0 && args.shown[0];
    const Place p = PlaceOf(args, at);
    for (std::int64_t j = 0; j < a.width; j += kLanes) {
      const auto upper = [&](int k) { return LeftSlot{a.left1[kBits + k], a.width, j}; };
      bool present = args.has_start || i > 0;
      V e = Get(a.quad_base, a.width, j);
      const V base = Get(a.segment_base, a.width, j);
      V uppers[5 - kBits];
      for (int k = 0; k < 5 - kBits; ++k) uppers[k] = upper(k);
      V s[2][4], left[kBits];
      LoadQuad<Mode>(args, p, 0, j, 4, s[0]);
#pragma GCC unroll 8
      for (int q = 0; q < (1 << kBits); ++q) {
        if (q + 1 < (1 << kBits)) LoadQuad<Mode>(args, p, 4 * (q + 1), j, 4, s[(q + 1) & 1]);
        V next = s[q & 1][3];
        bool inside = Append<O, kBits>(d, q, next, [&left](int k) -> V& { return left[k]; });
        if (inside) {
          for (int k = 0; k < 5 - kBits; ++k)
            if ((digit >> k) & 1) next = O::Combine(d, uppers[k], next);
        } else {
          inside = Append<O, 5 - kBits>(d, digit, next, upper);
        }
        if (!inside) next = EndSegment(args, a, i, j, next);
        else if (!O::kSkipsMissingStart || segment_present) next = O::Combine(d, base, next);
        if constexpr (Mode::kStores) StoreQuad<Mode>(args, p, 4 * q, j, 4, e, s[q & 1], next, present, show && q == 0);
        e = next, present = true;
      }
      Put(a.quad_base, a.width, j, e);
    }
  }

  // A chunk ends with the step before `at`: the wide levels take its totals, and R after it, which the last quad could not know,
  // is what an inclusive scan's last step shows.
  template <class Mode>
  static HWY_INLINE void ChunkEnd(const ColumnArgs& args, const Arrays& a, std::int64_t at) {
    const void* totals[K];
    for (int k = 0; k < K; ++k) totals[k] = a.total + k * a.width;
    ColumnArgs start = args;
    start.position = args.position + at - kChunk;
    State::Push(start, totals);
    if (!Mode::kStores || args.exclusive) return;
    const Place p = PlaceOf(args, at - 1);
    for (int k = 0; k < K; ++k) {
      if (p.out[k] == nullptr) continue;
      for (std::int64_t j = 0; j < a.width; j += kLanes) {
        const auto v = hn::LoadU(D(), a.chunk_base + k * a.width + j);
        if constexpr (Mode::kStreams) hn::Stream(v, D(), p.out[k] + j);
        else hn::StoreU(v, D(), p.out[k] + j);
      }
    }
  }

  template <class Mode>
  static void Walk(const ColumnArgs& args, const Arrays& a) {
    for (std::int64_t at = 0; at < args.n;) {
      const std::int64_t position = args.position + at, left = args.n - at;
      if (a.width == kLanes && position % 32 == 0 && left >= 32) {
        Pack<Mode, 3>(args, a, at);
        at += 32;
      } else if (!Mode::kStreams && position % 8 == 0 && left >= 8) {  // past the cache, four open rows are better than eight
        Pack<Mode, 1>(args, a, at);
        at += 8;
      } else {
        if (left >= 4) Quad<Mode>(args, a, at, 4);
        else Quad<Mode>(args, a, at, static_cast<int>(left));
        at += std::min<std::int64_t>(4, left);
      }
      if ((args.position + at) % kChunk == 0) ChunkEnd<Mode>(args, a, at);
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
    args.mask.any() ? RunAs<true>(args, a, store) : RunAs<false>(args, a, store);
  }

  template <bool masks>
  static void RunAs(const ColumnArgs& args, const Arrays& a, bool store) {
    if (!store) Walk<Doing<false, false, masks>>(args, a);
    else if (args.streaming) Walk<Doing<true, true, masks>>(args, a);
    else Walk<Doing<true, false, masks>>(args, a);
  }
};

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
