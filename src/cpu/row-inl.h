// Scans along contiguous memory. A segment (128 elements, 32 quads) is held in registers, transposed so that each vector has
// one element of many quads: the quad prefixes are then three vector combines, and the quad totals one vector a group.
// Included once per target.
#if defined(CUMULUS_CPU_ROW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CUMULUS_CPU_ROW_INL_H_
#undef CUMULUS_CPU_ROW_INL_H_
#else
#define CUMULUS_CPU_ROW_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "cpu/carry-inl.h"
#include "cpu/kernels.h"
#include "cpu/ops-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {

// ---- Which quad of its group each lane holds after the transposition, and the permutations that follow from it ----

template <std::size_t kLanes, std::size_t kBytes>
struct LaneMap {
  using Index = std::conditional_t<kBytes == 4, std::int32_t, std::int64_t>;
  struct Row {
    alignas(64) Index lane[kLanes];
  };
  static constexpr int kSteps = kLanes == 2 ? 1 : kLanes == 4 ? 2 : kLanes == 8 ? 3 : 4;

  // A group is four vectors in memory order; vector i holds quads i * kLanes / 4 and up.
  static constexpr int QuadOf(int lane) {
    if (kLanes == 2) return lane;
    const int per_vector = static_cast<int>(kLanes) / 4;
    if (kBytes == 4) return lane % 4 * per_vector + lane / 4;
    return (2 * (lane / 2 % 2) + lane % 2) * per_vector + lane / 4;
  }
  static constexpr int LaneOf(int quad) {
    for (int lane = 0; lane < static_cast<int>(kLanes); ++lane)
      if (QuadOf(lane) == quad) return lane;
    return 0;
  }
  template <class F>
  static constexpr Row Make(F f) {
    Row row{};
    for (int lane = 0; lane < static_cast<int>(kLanes); ++lane) row.lane[lane] = static_cast<Index>(f(QuadOf(lane)));
    return row;
  }

  // Sklansky step 1 << k: the lane to combine with, and (as -1 or 0) whether to.
  struct Step {
    Row source, active;
  };
  static constexpr Step MakeStep(int k) {
    const int s = 1 << k;
    return {Make([s](int q) { return LaneOf((q & ~s) | (s - 1)); }), Make([s](int q) { return (q & s) ? -1 : 0; })};
  }
  static constexpr Step kStep[4] = {MakeStep(0), MakeStep(1), MakeStep(2), MakeStep(3)};
  static constexpr Row kPrevious = Make([](int q) { return LaneOf(q > 0 ? q - 1 : 0); });
  static constexpr Row kLast = Make([](int) { return LaneOf(static_cast<int>(kLanes) - 1); });
  static constexpr Row kFirstOnly = Make([](int q) { return q == 0 ? -1 : 0; });
  static constexpr Row kLastOnly = Make([](int q) { return q == static_cast<int>(kLanes) - 1 ? -1 : 0; });
  static constexpr Row kQuad = Make([](int q) { return q; });
};

template <class O>
struct RowKernel {
  using T = typename O::Lane;
  using D = hn::ScalableTag<T>;
  using V = TupleOf<O, D>;
  static constexpr int K = O::kPlanes;
  static constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  static constexpr int kGroup = 4 * kLanes;  // elements; a segment is kGroups of them
  static constexpr int kGroups = static_cast<int>(kSegment) / kGroup;
  using Map = LaneMap<static_cast<std::size_t>(kLanes), sizeof(T)>;

  static HWY_INLINE auto Table(const typename Map::Row& row) { return hn::SetTableIndices(D(), row.lane); }
  static HWY_INLINE auto MaskOf(const typename Map::Row& row) {
    const hn::RebindToSigned<D> di;
    return hn::RebindMask(D(), hn::MaskFromVec(hn::Load(di, row.lane)));
  }
  static HWY_INLINE V Permute(V a, const typename Map::Row& row) {
    V r;
    for (int k = 0; k < K; ++k) r.v[k] = hn::TableLookupLanes(a.v[k], Table(row));
    return r;
  }

  // A segment in registers: s[g][j] is element j of group g's quads, later its prefix of j + 1 elements.
  struct Segment {
    V s[kGroups][4];
  };

  // ---- Between memory order and one element of every quad per vector; its own inverse up to the order of steps ----

  static HWY_INLINE void Transpose(hn::Vec<D>& a, hn::Vec<D>& b, hn::Vec<D>& c, hn::Vec<D>& e) {
    const D d;
    if constexpr (sizeof(T) == 4) {
      const hn::RepartitionToWide<D> dw;
      const auto ab_lo = hn::InterleaveLower(d, a, b), ab_hi = hn::InterleaveUpper(d, a, b);
      const auto ce_lo = hn::InterleaveLower(d, c, e), ce_hi = hn::InterleaveUpper(d, c, e);
      a = hn::BitCast(d, hn::InterleaveLower(dw, hn::BitCast(dw, ab_lo), hn::BitCast(dw, ce_lo)));
      b = hn::BitCast(d, hn::InterleaveUpper(dw, hn::BitCast(dw, ab_lo), hn::BitCast(dw, ce_lo)));
      c = hn::BitCast(d, hn::InterleaveLower(dw, hn::BitCast(dw, ab_hi), hn::BitCast(dw, ce_hi)));
      e = hn::BitCast(d, hn::InterleaveUpper(dw, hn::BitCast(dw, ab_hi), hn::BitCast(dw, ce_hi)));
    } else if constexpr (kLanes == 2) {
      const auto x0 = hn::InterleaveLower(d, a, c), x1 = hn::InterleaveUpper(d, a, c);
      const auto x2 = hn::InterleaveLower(d, b, e), x3 = hn::InterleaveUpper(d, b, e);
      a = x0, b = x1, c = x2, e = x3;
    } else {
      const auto ab_lo = hn::InterleaveLower(d, a, b), ab_hi = hn::InterleaveUpper(d, a, b);
      const auto ce_lo = hn::InterleaveLower(d, c, e), ce_hi = hn::InterleaveUpper(d, c, e);
      a = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(ce_lo), ab_lo);
      b = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(ce_hi), ab_hi);
      c = hn::OddEvenBlocks(ce_lo, hn::SwapAdjacentBlocks(ab_lo));
      e = hn::OddEvenBlocks(ce_hi, hn::SwapAdjacentBlocks(ab_hi));
    }
  }
  static HWY_INLINE void TransposeBack(hn::Vec<D>& a, hn::Vec<D>& b, hn::Vec<D>& c, hn::Vec<D>& e) {
    const D d;
    if constexpr (sizeof(T) == 4) {
      Transpose(a, b, c, e);
    } else if constexpr (kLanes == 2) {
      const auto v0 = hn::InterleaveLower(d, a, b), v2 = hn::InterleaveUpper(d, a, b);
      const auto v1 = hn::InterleaveLower(d, c, e), v3 = hn::InterleaveUpper(d, c, e);
      a = v0, b = v1, c = v2, e = v3;
    } else {
      const auto ab_lo = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(c), a), ce_lo = hn::OddEvenBlocks(c, hn::SwapAdjacentBlocks(a));
      const auto ab_hi = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(e), b), ce_hi = hn::OddEvenBlocks(e, hn::SwapAdjacentBlocks(b));
      a = hn::InterleaveLower(d, ab_lo, ab_hi), b = hn::InterleaveUpper(d, ab_lo, ab_hi);
      c = hn::InterleaveLower(d, ce_lo, ce_hi), e = hn::InterleaveUpper(d, ce_lo, ce_hi);
    }
  }

  // kLanes values from place `at` on, counted in scan order.
  static HWY_INLINE hn::Vec<D> LoadAt(const T* in, std::int64_t at, bool backward) {
    const D d;
    return backward ? hn::Reverse(d, hn::LoadU(d, in - at - (kLanes - 1))) : hn::LoadU(d, in + at);
  }
  // Where elements come from. Whether they are masked is known at compile time: the loop without masks needs all registers.
  template <bool masked>
  struct From {
    static constexpr bool kMasked = masked;
    const T* in[K];
    bool backward;
    const Mask* mask;
  };
  template <bool masked>
  static HWY_INLINE From<masked> FromOf(const RowArgs& args) {
    From<masked> from;
    for (int k = 0; k < K; ++k) from.in[k] = static_cast<const T*>(args.in[k]);
    from.backward = args.in_backward;
    from.mask = &args.mask;
    return from;
  }

  template <class From>
  static HWY_INLINE void LoadGroup(const From& from, std::int64_t at, V (&s)[4]) {
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < K; ++k) s[i].v[k] = LoadAt(from.in[k], at + i * kLanes, from.backward);
    if constexpr (From::kMasked)
      for (int i = 0; i < 4; ++i) s[i] = Masked<O>(D(), s[i], *from.mask, at + i * kLanes, from.backward);
    for (int k = 0; k < K; ++k) Transpose(s[0].v[k], s[1].v[k], s[2].v[k], s[3].v[k]);
  }
  static HWY_INLINE void StoreGroup(T* const* out, std::int64_t at, V (&s)[4], bool backward, bool streaming) {
    const D d;
    for (int k = 0; k < K; ++k) {
      if (out[k] == nullptr) continue;
      TransposeBack(s[0].v[k], s[1].v[k], s[2].v[k], s[3].v[k]);
      if (backward)
        for (int i = 0; i < 4; ++i) s[i].v[k] = hn::Reverse(d, s[i].v[k]);
      T* const to = backward ? out[k] - at - (kLanes - 1) : out[k] + at;
      const std::int64_t step = backward ? -kLanes : kLanes;
      if (streaming) {
        for (int i = 0; i < 4; ++i) hn::Stream(s[i].v[k], d, to + i * step);
      } else {
        for (int i = 0; i < 4; ++i) hn::StoreU(s[i].v[k], d, to + i * step);
      }
    }
  }

  // ---- Levels 0 and 1 ----

  template <class From>
  static HWY_INLINE void LoadQuads(const From& from, std::int64_t at, V (&s)[4]) {
    const D d;
    LoadGroup(from, at, s);
    for (int j = 1; j < 4; ++j) s[j] = O::Combine(d, s[j - 1], s[j]);
  }

  // Prefixes of a group's quad totals by halving, over blocks of `quads` quads (a power of two).
  static HWY_INLINE V HalveLanes(V y, int quads) {
    const D d;
    for (int k = 0; k < Map::kSteps; ++k) {
      if ((1 << k) >= quads) break;
      y = Choose<O, D>(MaskOf(Map::kStep[k].active), O::Combine(d, Permute(y, Map::kStep[k].source), y), y);
    }
    return y;
  }
  static HWY_INLINE void HalveGroups(V (&y)[kGroups], int quads, int groups = kGroups) {
    const D d;
    for (int s = 1; s < kGroups; s *= 2) {
      if (s * kLanes >= quads) break;
      for (int g = 0; g < groups; ++g)
        if (g & s) y[g] = O::Combine(d, Permute(y[(g & ~s) | (s - 1)], Map::kLast), y[g]);
    }
  }

  // Stores a group: `e` is R before each quad, `next` R after it; lanes of `bare` have no R before them (a missing start).
  struct To {
    T* const* out;
    bool backward, streaming, exclusive;
  };
  template <class M>
  static HWY_INLINE void Emit(const To& to, std::int64_t at, V (&s)[4], V e, V next, bool any_bare, M bare, bool any_shown, M show,
                              V shown) {
    const D d;
    V r[4];
    for (int j = 0; j < 3; ++j) r[j] = O::Combine(d, e, s[j]);
    if constexpr (O::kSkipsMissingStart) {
      if (any_bare)
        for (int j = 0; j < 3; ++j) r[j] = Choose<O, D>(bare, s[j], r[j]);
    }
    if (to.exclusive) {
      r[3] = r[2], r[2] = r[1], r[1] = r[0];
      r[0] = any_shown ? Choose<O, D>(show, shown, e) : e;
    } else {
      r[3] = next;
    }
    StoreGroup(to.out, at, r, to.backward, to.streaming);
  }

  // ---- One segment of a row: its total first, then, once R after it is known, its results ----

  template <class From>
  static HWY_INLINE void LoadSegment(const From& from, std::int64_t at, Segment& x, V (&y)[kGroups]) {
    for (int g = 0; g < kGroups; ++g) {
      LoadQuads(from, at + g * kGroup, x.s[g]);
      y[g] = HalveLanes(x.s[g][3], 32);
    }
    HalveGroups(y, 32);
  }
  static HWY_INLINE V Total(const V (&y)[kGroups]) { return Permute(y[kGroups - 1], Map::kLast); }

  // Group g's results. before: R before the group, then R after it. next: R after its last quad, if that is not what base gives.
  static HWY_INLINE void StoreOne(const To& to, std::int64_t at, V (&s)[4], V y, int g, bool present, V base, V& before, const V* next,
                                  const T* shown) {
    const D d;
    const auto first = MaskOf(Map::kFirstOnly);
    const V show = shown ? Broadcast<O>(d, shown) : base;
    V after = y;
    if (!O::kSkipsMissingStart || present) after = O::Combine(d, base, y);
    const V e = Choose<O, D>(first, before, Permute(after, Map::kPrevious));
    before = Permute(after, Map::kLast);
    if (next) after = Choose<O, D>(MaskOf(Map::kLastOnly), *next, after);
    Emit(to, at, s, e, after, g == 0 && !present, first, g == 0 && shown, first, show);
  }

  static HWY_INLINE void StoreSegment(const To& to, std::int64_t at, Segment& x, const V (&y)[kGroups], bool present, V base, V next,
                                      const T* shown) {
    V before = base;
    for (int g = 0; g < kGroups; ++g)
      StoreOne(to, at + g * kGroup, x.s[g], y[g], g, present, base, before, g == kGroups - 1 ? &next : nullptr, shown);
  }

  static HWY_INLINE void FetchStep(const Prefetch& ahead, std::int64_t segment) {
    const char* from = ahead.at + segment * ahead.step;
    for (std::int64_t b = 0; b < ahead.step; b += 64) __builtin_prefetch(from + b);
    for (std::int64_t b = 0; b > ahead.step; b -= 64) __builtin_prefetch(from + b);
  }

  static HWY_INLINE void DrainLines(const Drain& drain, std::int64_t begin, std::int64_t end) {
    const hn::ScalableTag<std::uint8_t> d;
    const auto* from = reinterpret_cast<const std::uint8_t*>(drain.from);
    auto* to = reinterpret_cast<std::uint8_t*>(drain.to);
    for (std::int64_t b = begin; b < end; b += static_cast<std::int64_t>(hn::Lanes(d))) hn::Stream(hn::Load(d, from + b), d, to + b);
  }

  // ---- Level 2's counter between two calls that part inside a chunk ----

  static HWY_INLINE void SaveChunk(Carry& carry, const V (&left)[5], const V& chunk_base, const V& base) {
    T* to = static_cast<T*>(carry.chunk);
    if (to == nullptr) return;  // the whole row is one call
    const auto save = [&](const V& v) {
      for (int k = 0; k < K; ++k, to += kLanes) hn::Store(v.v[k], D(), to);
    };
    for (int bit = 0; bit < 5; ++bit)
      if ((carry.segments >> bit) & 1) save(left[bit]);
    save(chunk_base);
    save(base);
  }
  static HWY_INLINE void RestoreChunk(const Carry& carry, V (&left)[5], V& chunk_base, V& base) {
    const T* from = static_cast<const T*>(carry.chunk);
    const auto restore = [&](V& v) {
      for (int k = 0; k < K; ++k, from += kLanes) v.v[k] = hn::Load(D(), from);
    };
    for (int bit = 0; bit < 5; ++bit)
      if ((carry.segments >> bit) & 1) restore(left[bit]);
    restore(chunk_base);
    restore(base);
  }

  // ---- A row, or the part of one that starts at a segment ----

  static void Run(RowArgs& args) { args.mask.any() ? RunFrom(args, FromOf<true>(args)) : RunFrom(args, FromOf<false>(args)); }

  template <class From>
  static HWY_INLINE void RunFrom(RowArgs& args, From from) {
    T* out[K];
    for (int k = 0; k < K; ++k) out[k] = static_cast<T*>(args.out[k]);
    if (args.rows == 1) return RunRow(args, from, out);
    const T* start[K] = {};
    for (int k = 0; args.start && k < K; ++k) start[k] = static_cast<const T*>(args.start[k]);
    for (std::int64_t row = 0; row < args.rows; ++row) {
      CarryOf<O>::Start(*args.carry, args.start ? start : nullptr);
      RunRow(args, from, out);
      for (int k = 0; k < K; ++k) {
        from.in[k] += args.in_step[k];
        if (out[k]) out[k] += args.out_step[k];
      }
      if (args.mask.select) args.mask.select += args.mask_step;
      if (args.mask.factor) args.mask.factor = static_cast<const T*>(args.mask.factor) + args.mask_step;
      for (Prefetch& ahead : args.prefetch) ahead.at += args.n / kSegment * ahead.step;
    }
  }

  template <class From>
  static HWY_INLINE void RunRow(RowArgs& args, const From& from, T* const* out) {
    const D d;
    Carry& carry = *args.carry;
    const To to{out, args.out_backward, args.streaming, args.exclusive};
    T shown_lanes[K];
    const T* shown = nullptr;
    if (args.exclusive && args.shown[0]) {
      for (int k = 0; k < K; ++k) shown_lanes[k] = *static_cast<const T*>(args.shown[k]);
      shown = shown_lanes;
    }

    T lanes[K] = {};
    bool chunk_present = CarryOf<O>::Present(carry), present = chunk_present || carry.segments > 0;
    V left[5];
    V chunk_base, base;
    const auto left_at = [&left](int k) -> V& { return left[k]; };
    const std::int64_t done = carry.segments;
    if (done > 0) {
      RestoreChunk(carry, left, chunk_base, base);
    } else {
      if (present) CarryOf<O>::ValueLanes(carry, lanes);
      chunk_base = base = Broadcast<O>(d, lanes);
    }

    const std::int64_t segments = args.n / kSegment;
    const std::int64_t share = segments == 0 ? 0 : (args.drain.bytes / 64 + segments - 1) / segments * 64;
    std::int64_t drained = 0;
    const bool traffic = share > 0 || std::any_of(args.prefetch, args.prefetch + kPrefetches, [](const Prefetch& p) { return p.step; });
    for (std::int64_t g = 0; g < segments; ++g) {
      if (traffic) {
        for (const Prefetch& ahead : args.prefetch) FetchStep(ahead, g);
        const std::int64_t drain_to = std::min(drained + share, args.drain.bytes);
        DrainLines(args.drain, drained, drain_to);
        drained = drain_to;
      }
      Segment x;
      V y[kGroups];
      LoadSegment(from, g * kSegment, x, y);
      V next = Total(y);
      if (Append<O>(d, (done + g) & 31, next, left_at)) {
        if (!O::kSkipsMissingStart || chunk_present) next = O::Combine(d, chunk_base, next);
      } else {
        for (int k = 0; k < K; ++k) lanes[k] = hn::GetLane(next.v[k]);
        CarryOf<O>::PushLanes(carry, lanes);
        CarryOf<O>::ValueLanes(carry, lanes);
        next = chunk_base = Broadcast<O>(d, lanes);
        chunk_present = true;
      }
      StoreSegment(to, g * kSegment, x, y, present, base, next, shown);
      base = next, present = true, shown = nullptr;
    }

    DrainLines(args.drain, drained, args.drain.bytes);
    carry.segments = static_cast<int>((done + segments) & 31);
    if (carry.segments > 0) SaveChunk(carry, left, chunk_base, base);
    for (int k = 0; k < K; ++k) lanes[k] = hn::GetLane(base.v[k]);
    const std::int64_t tail = args.n - segments * kSegment;
    if (tail > 0) Tail(args, from, out, segments * kSegment, tail, present, base, shown, lanes);
    for (int k = 0; k < K; ++k) *static_cast<T*>(args.end[k]) = lanes[k];
  }

  // Elements [at, at + n), less than a group, masked, with padding behind.
  template <class From>
  static HWY_INLINE void LoadRest(const From& from, std::int64_t at, std::int64_t n, T* const* to) {
    for (int k = 0; k < K; ++k) {
      for (int j = 0; j < kGroup; j += kLanes) hn::Store(hn::Zero(D()), D(), to[k] + j);
      if (from.backward) std::reverse_copy(from.in[k] - (at + n - 1), from.in[k] - at + 1, to[k]);
      else std::memcpy(to[k], from.in[k] + at, static_cast<std::size_t>(n) * sizeof(T));
    }
    if constexpr (From::kMasked) MaskRest(*from.mask, from.backward ? -1 : 1, at, n, to);
  }
  static HWY_INLINE void MaskRest(const Mask& mask, std::int64_t step, std::int64_t at, std::int64_t n, T* const* to) {
    using D1 = hn::CappedTag<T, 1>;
    const D1 d1;
    for (std::int64_t j = 0; j < n; ++j) {
      TupleOf<O, D1> one;
      for (int k = 0; k < K; ++k) one.v[k] = hn::Load(d1, to[k] + j);
      one = Masked<O>(d1, one, mask, step * (at + j), false);
      for (int k = 0; k < K; ++k) hn::Store(one.v[k], d1, to[k] + j);
    }
  }

  // Fewer than 128 elements end a row: the groups they reach, the last through a padded copy where it is not whole. Padding only
  // follows, so it reaches no result.
  template <class From>
  static HWY_NOINLINE void Tail(const RowArgs& args, const From& from, T* const* out, std::int64_t at, std::int64_t n, bool present, V base,
                                const T* shown, T* end) {
    const std::int64_t rest = n % kGroup;
    const int whole = static_cast<int>(n / kGroup), groups = whole + (rest > 0);
    alignas(64) T padded[K][kGroup];
    T* last[K];
    RowKernel::From<false> rest_from{{}, false, nullptr};
    for (int k = 0; k < K; ++k) rest_from.in[k] = last[k] = padded[k];
    if (rest > 0) LoadRest(from, at + n - rest, rest, last);

    Segment x;
    V y[kGroups], before = base;
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      if (g == groups) break;
      if (g < whole) LoadQuads(from, at + g * kGroup, x.s[g]);
      else LoadQuads(rest_from, 0, x.s[g]);
      y[g] = HalveLanes(x.s[g][3], 32);
    }
    HalveGroups(y, 32, groups);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      if (g == groups) break;
      const bool direct = g < whole;
      const To to{direct ? out : last, direct && args.out_backward, direct && args.streaming, args.exclusive};
      StoreOne(to, direct ? at + g * kGroup : 0, x.s[g], y[g], g, present, base, before, nullptr, shown);
    }
    for (int k = 0; k < K; ++k) end[k] = hn::GetLane(before.v[k]);
    if (rest == 0) return;
    for (int k = 0; k < K; ++k) {
      end[k] = padded[k][args.exclusive ? rest : rest - 1];
      if (out[k] == nullptr) continue;
      T* const first = args.out_backward ? out[k] - (at + n - 1) : out[k] + at + n - rest;
      if (args.out_backward) std::reverse_copy(padded[k], padded[k] + rest, first);
      else std::memcpy(first, padded[k], static_cast<std::size_t>(rest) * sizeof(T));
    }
  }

  // ---- Totals of whole chunks, for an axis that several threads share ----

  static void ChunkTotals(const RowArgs& args, std::int64_t chunks, void* const* totals) {
    args.mask.any() ? TotalsFrom(FromOf<true>(args), chunks, totals) : TotalsFrom(FromOf<false>(args), chunks, totals);
  }

  template <class From>
  static HWY_INLINE void TotalsFrom(const From& from, std::int64_t chunks, void* const* totals) {
    const D d;
    for (std::int64_t c = 0; c < chunks; ++c) {
      V left[5];
      V child;
      for (std::int64_t g = 0; g < 32; ++g) {
        Segment x;
        V y[kGroups];
        LoadSegment(from, c * kChunk + g * kSegment, x, y);
        child = Total(y);
        Append<O>(d, g, child, [&left](int k) -> V& { return left[k]; });
      }
      for (int k = 0; k < K; ++k) static_cast<T*>(totals[k])[c] = hn::GetLane(child.v[k]);
    }
  }

  // ---- Many rows of at most 128 elements, padded to a power of two of quads: several rows in one segment ----

  static void ShortRows(const ShortRowsArgs& args) {
    const D d;
    const hn::RebindToSigned<D> di;
    From<false> from{{}, false, nullptr};
    T* out[K];
    const T* start[K];
    T shown_lanes[K] = {}, start_lanes[K] = {};
    const bool any_shown = args.exclusive && args.shown[0];
    const bool present = args.start[0] != nullptr;
    for (int k = 0; k < K; ++k) {
      from.in[k] = static_cast<const T*>(args.in[k]), out[k] = static_cast<T*>(args.out[k]);
      start[k] = static_cast<const T*>(args.start[k]);
      if (any_shown) shown_lanes[k] = *static_cast<const T*>(args.shown[k]);
      if (present && !args.start_per_row) start_lanes[k] = *start[k];
    }
    const To to{out, false, args.streaming, args.exclusive};
    const V shown = Broadcast<O>(d, shown_lanes);
    V base = Broadcast<O>(d, start_lanes);
    const int quads = 1 << args.quads_log2;
    const auto quad = hn::Load(di, Map::kQuad.lane);
    const auto in_row = hn::Set(di, static_cast<typename Map::Index>(quads - 1));

    for (std::int64_t seg = 0; seg < args.segments; ++seg) {
      for (const Prefetch& ahead : args.prefetch) FetchStep(ahead, seg);
      Segment x;
      V y[kGroups];
      for (int g = 0; g < kGroups; ++g) {
        LoadQuads(from, seg * kSegment + g * kGroup, x.s[g]);
        y[g] = HalveLanes(x.s[g][3], quads);
      }
      HalveGroups(y, quads);
      V before = base;
      for (int g = 0; g < kGroups; ++g) {
        const std::int64_t first_quad = seg * 32 + g * kLanes;
        if (present && args.start_per_row) base = RowStarts(start, first_quad, args.quads_log2);
        const V after = present || !O::kSkipsMissingStart ? O::Combine(d, base, y[g]) : y[g];
        const auto group_quad = hn::Add(quad, hn::Set(di, static_cast<typename Map::Index>(g) * kLanes));
        const auto starts = hn::RebindMask(d, hn::Eq(hn::And(group_quad, in_row), hn::Zero(di)));
        V e = Choose<O, D>(MaskOf(Map::kFirstOnly), before, Permute(after, Map::kPrevious));
        e = Choose<O, D>(starts, base, e);
        before = Permute(after, Map::kLast);
        Emit(to, seg * kSegment + g * kGroup, x.s[g], e, after, !present, starts, any_shown, starts, shown);
      }
    }
  }
  static HWY_INLINE V RowStarts(const T* const* start, std::int64_t first_quad, int quads_log2) {
    const D d;
    V r;
    for (int k = 0; k < K; ++k) {
      alignas(64) T lanes[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = start[k][(first_quad + Map::QuadOf(lane)) >> quads_log2];
      r.v[k] = hn::Load(d, lanes);
    }
    return r;
  }
};

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
