// Between tensors and registers: where a row's elements are, quads as aligned vectors whatever the phase, results back again.
#pragma once

#include "order.cuh"

namespace cumulus::cuda {

// ---- where a row begins ----

struct Offsets {  // in elements
  i64 in = 0, in2 = 0, out = 0, mask = 0, initial = 0, total = 0;

  CUMULUS_DEVICE void add(const DimArgs& d, i64 index) {
    in += d.in * index, in2 += d.in2 * index, out += d.out * index;
    mask += d.mask * index, initial += d.initial * index, total += d.total * index;
  }
};

// Of row `row` of the first `dims` dimensions.
template <int kDims>
CUMULUS_DEVICE Offsets offsets_of(const Args<kDims>& a, int dims, i64 row) {
  Offsets o;
  if (dims == 1) {
    o.add(a.dim[0], row);
  } else {
    for (int i = dims - 1; i >= 0; --i) {
      const i64 size = a.dim[i].size, next = row / size;
      o.add(a.dim[i], row - next * size);
      row = next;
    }
  }
  return o;
}

// ---- what a row starts from, and where its total goes ----

template <class S, int kDims>
CUMULUS_DEVICE typename S::Wide start_of(const Args<kDims>& a, const Offsets& o) {
  if (!(a.flags & kHasInitial)) return S::identity();
  if (a.flags & kInitialInline) return S::initial(a.initial_dtype, {a.value[0], a.value[1]});
  return S::initial(a.initial_dtype, load_bits(a.initial_dtype, static_cast<const u8*>(a.initial) + o.initial * bytes_of(a.initial_dtype)));
}

template <class S, int kDims>
CUMULUS_DEVICE void store_total(const Args<kDims>& a, const Offsets& o, const typename S::Element& v) {
  using Out = typename S::Out;
  using Plain = PlainFormat<typename S::Accumulator>;
  if (Out::kBytes != Plain::kBytes && a.total_dtype == kF32)
    store_global<Plain::kBytes>(static_cast<u8*>(a.total) + o.total * Plain::kBytes,
                                Plain::encode(cast<typename S::Accumulator>(S::value(v))));
  else if constexpr (Traits<typename S::Accumulator>::kComplex)
    store_halves<Out::kBytes>(static_cast<u8*>(a.total) + o.total * Out::kBytes, S::encode(v));
  else store_global<Out::kBytes>(static_cast<u8*>(a.total) + o.total * Out::kBytes, S::encode(v));
}

// ---- quads ----

struct GlobalMemory {
  template <int kBytes>
  static CUMULUS_DEVICE Bits<kBytes> load(const u8* p) {
    return load_global<kBytes>(p);
  }
};
struct SharedMemory {
  template <int kBytes>
  static CUMULUS_DEVICE Bits<kBytes> load(const u8* p) {
    return load_shared(reinterpret_cast<const Bits<kBytes>*>(p));
  }
};

// Four elements as they lie in memory: unpacking waits until they are used, so that loads do not wait for each other.
template <int kBytes>
struct PackedQuad {
  u32 word[kBytes];

  // Undefined unless k < end.
  CUMULUS_DEVICE void load(const u8* p, int k, int end) {
    if constexpr (kBytes == 1) {
      word[0] = load_global_below<4>(p, k, end);
    } else if constexpr (kBytes == 2) {
      const u64 v = load_global_below<8>(p, k, end);
      word[0] = static_cast<u32>(v), word[1] = static_cast<u32>(v >> 32);
    } else {
#pragma unroll
      for (int i = 0; i < kBytes / 4; ++i) {
        const auto v = to_words(load_global_below<16>(p + 16 * i, k, end));
#pragma unroll
        for (int j = 0; j < 4; ++j) word[4 * i + j] = v.word[j];
      }
    }
  }
  // From an address that is aligned to all four, or to 16 bytes.
  template <class Memory>
  CUMULUS_DEVICE void take(const u8* p) {
    constexpr int kVector = kBytes < 4 ? 4 * kBytes : 16;
#pragma unroll
    for (int i = 0; i < 4 * kBytes / kVector; ++i) {
      const auto v = to_words(Memory::template load<kVector>(p + kVector * i));
#pragma unroll
      for (int j = 0; j < kVector / 4; ++j) word[kVector / 4 * i + j] = v.word[j];
    }
  }
  CUMULUS_DEVICE Bits<kBytes> get(int k) const {
    if constexpr (kBytes == 1) return static_cast<u8>(word[0] >> (8 * k));
    else if constexpr (kBytes == 2) return half_of(word[k / 2], k % 2);
    else if constexpr (kBytes == 4) return word[k];
    else if constexpr (kBytes == 8) return word[2 * k] | static_cast<u64>(word[2 * k + 1]) << 32;
    else return {word[4 * k] | static_cast<u64>(word[4 * k + 1]) << 32, word[4 * k + 2] | static_cast<u64>(word[4 * k + 3]) << 32};
  }
};

template <class Memory, int kBytes>
CUMULUS_DEVICE void load_quad(const u8* p, Bits<kBytes> (&v)[4]) {
  PackedQuad<kBytes> quad;
  quad.template take<Memory>(p);
#pragma unroll
  for (int k = 0; k < 4; ++k) v[k] = quad.get(k);
}

// The four elements that begin `by` elements behind p, where a vector begins; a vector has more. Nothing is read but vectors they lie in.
template <class Memory, int kBytes>
CUMULUS_DEVICE void load_shifted(const u8* p, int by, Bits<kBytes> (&v)[4]) {
  const u8* const behind = by > 0 ? p + 4 * kBytes : p;
  if constexpr (kBytes == 1) {
    PackedQuad<1> low, high;
    low.template take<Memory>(p), high.template take<Memory>(behind);
    low.word[0] = static_cast<u32>((low.word[0] | static_cast<u64>(high.word[0]) << 32) >> (8 * by));
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = low.get(k);
  } else if constexpr (kBytes == 2) {
    const u64 low = Memory::template load<8>(p), high = Memory::template load<8>(behind);
    const u64 both = by > 0 ? low >> (16 * by) | high << (64 - 16 * by) : low;
    PackedQuad<2> quad = {{static_cast<u32>(both), static_cast<u32>(both >> 32)}};
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = quad.get(k);
  } else if constexpr (kBytes == 4) {
    Bits<4> low[4], high[4];
    load_quad<Memory, 4>(p, low), load_quad<Memory, 4>(behind, high);
    const bool two = by & 2, one = by & 1;
    Bits<4> q[5] = {select(two, low[2], low[0]), select(two, low[3], low[1]), select(two, high[0], low[2]), select(two, high[1], low[3]),
                    select(two, high[2], high[0])};
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = select(one, q[k + 1], q[k]);
  } else {
    Bits<kBytes> q[5];
    q[4] = Memory::template load<kBytes>(behind);
#pragma unroll
    for (int k = 0; k < 4; ++k) q[k] = Memory::template load<kBytes>(p + k * kBytes);
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = select(by > 0, q[k + 1], q[k]);
  }
}

template <int kBytes>
CUMULUS_DEVICE void store_quad(u8* p, const Bits<kBytes> (&v)[4]) {
  if constexpr (kBytes == 1) {
    store_global<4>(p, v[0] | static_cast<u32>(v[1]) << 8 | static_cast<u32>(v[2]) << 16 | static_cast<u32>(v[3]) << 24);
  } else if constexpr (kBytes == 2) {
    store_global<8>(p, word_of(v[0], v[1]) | static_cast<u64>(word_of(v[2], v[3])) << 32);
  } else if constexpr (kBytes == 4) {
    store_global<16>(p, {v[0] | static_cast<u64>(v[1]) << 32, v[2] | static_cast<u64>(v[3]) << 32});
  } else if constexpr (kBytes == 8) {
    store_global<16>(p, {v[0], v[1]});
    store_global<16>(p + 16, {v[2], v[3]});
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) store_global<16>(p + 16 * i, v[i]);
  }
}

template <class B>
CUMULUS_DEVICE void turn(bool backward, const B (&from)[4], B (&to)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = select(backward, from[3 - i], from[i]);
}

// ---- elements along the axis ----

// Element k is at first[k * step].
template <int kBytes_, class V>
struct Run {
  static constexpr int kBytes = kBytes_;
  static constexpr bool kContiguous = V::kStep != 0, kAligned = V::kAligned, kPhased = kContiguous && !kAligned && kBytes < 16;
  static constexpr int kVector = 16 / kBytes < 4 ? 16 / kBytes : 4;  // elements to which vectors are aligned
  using B = Bits<kBytes>;

  const u8* first;
  i64 step;

  static CUMULUS_DEVICE Run at(const void* p, i64 offset, i64 step) { return {static_cast<const u8*>(p) + offset * kBytes, step}; }
  CUMULUS_DEVICE bool backward() const { return V::kStep == -1 || (V::kStep == 2 && step < 0); }
  CUMULUS_DEVICE i64 bytes_to(i64 k) const {
    if constexpr (V::kStep == 1 || V::kStep == -1) return k * (V::kStep * kBytes);
    else return k * step * kBytes;
  }
  CUMULUS_DEVICE Run from(i64 k) const { return {first + bytes_to(k), step}; }
  CUMULUS_DEVICE u8* place(i64 k) const { return const_cast<u8*>(first) + bytes_to(k); }
  CUMULUS_DEVICE B load(i64 k) const {
    if constexpr (V::kHalves) return load_halves<kBytes>(place(k));
    else return load_global<kBytes>(place(k));
  }
  CUMULUS_DEVICE void store(i64 k, B v) const {
    if constexpr (V::kHalves) store_halves<kBytes>(place(k), v);
    else store_global<kBytes>(place(k), v);
  }

  // How far element 0 lies behind the start of the aligned vector that contains it, in scan order.
  CUMULUS_DEVICE int phase() const {
    if constexpr (!kPhased) return 0;
    const int place = static_cast<int>(reinterpret_cast<u64>(first) / kBytes) & (kVector - 1);
    return backward() ? kVector - 1 - place : place;
  }

  // Elements k .. k + 3, which begin where a vector does.
  CUMULUS_DEVICE const u8* vector_place(int k) const { return backward() ? first - (k + 3) * kBytes : first + k * kBytes; }
  CUMULUS_DEVICE void load_vector(int k, B (&q)[4]) const {
    B v[4];
    load_quad<GlobalMemory, kBytes>(vector_place(k), v);
    turn(backward(), v, q);
  }
  CUMULUS_DEVICE void store_vector(int k, const B (&q)[4]) const {
    B v[4];
    turn(backward(), q, v);
    store_quad<kBytes>(const_cast<u8*>(vector_place(k)), v);
  }
};

// The next lane's value; lane 31 receives lane 0's `wrapped`.
template <class T>
CUMULUS_DEVICE T from_next_lane(const T& v, const T& wrapped) {
  return shuffle(select(lane_index() == 0, wrapped, v), (lane_index() + 1) & 31);
}
// The previous lane's value; lane 0 receives lane 31's `wrapped`.
template <class T>
CUMULUS_DEVICE T from_previous_lane(const T& v, const T& wrapped) {
  return shuffle(select(lane_index() == 31, wrapped, v), (lane_index() + 31) & 31);
}

// Segments' quads move on by kBy elements: each lane's goes on with what the next lane has, the last lane's last one with `behind`.
template <int kBy, int kSegments, class T>
CUMULUS_DEVICE void shift_segments(T (&q)[kSegments][4], const T (&behind)[kBy]) {
#pragma unroll
  for (int s = 0; s < kSegments; ++s) {
    T next[kBy];
#pragma unroll
    for (int k = 0; k < kBy; ++k) {
      next[k] = from_next_lane(q[s][k], s + 1 < kSegments ? q[s + 1 < kSegments ? s + 1 : s][k] : q[s][k]);
      if (s + 1 == kSegments) next[k] = select(lane_index() == 31, behind[k], next[k]);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) q[s][k] = k + kBy < 4 ? q[s][(k + kBy) % 4] : next[(k + kBy) % 4 % kBy];
  }
}
// One segment's quads make room for kBy elements: those of the previous lane, or in the first lane those that the last one of the segment
// before left in `last`.
template <int kBy, class T>
CUMULUS_DEVICE void shift_back(T (&q)[4], T (&last)[kBy]) {
  T before[kBy];
#pragma unroll
  for (int k = 0; k < kBy; ++k) {
    before[k] = from_previous_lane(q[4 - kBy + k], last[k]);
    last[k] = q[4 - kBy + k];
  }
#pragma unroll
  for (int k = 3; k >= 0; --k) q[k] = k >= kBy ? q[(k + 4 - kBy) % 4] : before[k % kBy];
}

// A warp loads kSegments segments: lane l gets quad l of each. The run stands at the warp's first element; elements from `end` on are not
// read, and are 0. `first`: the row begins here, so that nothing before may be read either. `goes_on`: it has a vector more behind the
// end, so that the last one is read whole.
template <int kSegments, class R>
CUMULUS_DEVICE void load_segments(const R& run, bool first, int end, bool goes_on, typename R::B (&q)[kSegments][4]) {
  const int lane = static_cast<int>(lane_index());
  if constexpr (!R::kContiguous) {
#pragma unroll
    for (int s = 0; s < kSegments; ++s)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int x = s * kSegment + lane * 4 + k;
        q[s][k] = x < end ? run.load(x) : typename R::B{};
      }
  } else {
    const int phase = run.phase();
    if (goes_on && phase != 0) end += 4 - phase;
    PackedQuad<R::kBytes> packed[kSegments];
    const u8* const own = run.vector_place(lane * 4 - phase);
#pragma unroll
    for (int s = 0; s < kSegments; ++s) {
      const int x = s * kSegment + lane * 4 - phase;
      packed[s] = {};
      if (x + 3 < end && (s > 0 || !first || x >= 0)) packed[s].template take<GlobalMemory>(own + run.bytes_to(s * kSegment));
    }
#pragma unroll
    for (int s = 0; s < kSegments; ++s)
#pragma unroll
      for (int k = 0; k < 4; ++k) q[s][k] = select(run.backward(), packed[s].get(3 - k), packed[s].get(k));
    if constexpr (R::kAligned) return;
    if (first && lane == 0) {
#pragma unroll
      for (int k = 1; k < 4; ++k)
        if (phase != 0 && k >= phase && k - phase < end) q[0][k] = run.load(k - phase);
    }

    // At most one vector reaches beyond the end: its lane loads what there is of it.
    const int cut = (end + phase) % 4, cut_at = end + phase - cut;  // in elements from the first vector on
    if (cut != 0 && end > 0 && cut_at < kSegments * kSegment) {
      typename R::B some[4] = {};
      const bool own = cut_at % kSegment == lane * 4;
#pragma unroll
      for (int k = 0; k < 3; ++k)
        if (own && k < cut && cut_at - phase + k >= 0) some[k] = run.load(cut_at - phase + k);
#pragma unroll
      for (int s = 0; s < kSegments; ++s)
#pragma unroll
        for (int k = 0; k < 4; ++k) q[s][k] = select(own && cut_at / kSegment == s, some[k], q[s][k]);
    }
    if (!R::kPhased || phase == 0) return;

    // Lane l holds elements that begin `phase` too early: the rest is in the next lane, or for the last lane in memory.
    typename R::B last[3] = {};
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const int x = kSegments * kSegment - phase + k;
      if (lane == 31 && k < phase && x < end) last[k] = run.load(x);
    }
    if (uniform(phase & 2)) shift_segments<2>(q, {last[0], last[1]});
    if (uniform(phase & 1)) shift_segments<1>(q, {select((phase & 2) != 0, last[2], last[0])});
  }
}

// A warp's segments of one tensor, on their way or there.
template <int kSegments, class R, bool kAligned = R::kAligned>
struct Segments {
  typename R::B q[kSegments][4];

  CUMULUS_DEVICE void load(const R& run, bool first, int end, bool goes_on) { load_segments<kSegments>(run, first, end, goes_on, q); }
  CUMULUS_DEVICE typename R::B get(int s, int k) const { return q[s][k]; }
};
template <int kSegments, class R>
struct Segments<kSegments, R, true> {
  PackedQuad<R::kBytes> quad[kSegments];
  bool backward;

  CUMULUS_DEVICE void load(const R& run, bool, int end, bool) {
    backward = run.backward();
    const int x = static_cast<int>(lane_index()) * 4;
    const u8* own = run.vector_place(x);
#pragma unroll
    for (int s = 0; s < kSegments; ++s) quad[s].load(own + run.bytes_to(s * kSegment), s * kSegment, end - x);
  }
  CUMULUS_DEVICE typename R::B get(int s, int k) const { return select(backward, quad[s].get(3 - k), quad[s].get(k)); }
};
template <class B>
struct NoSegments {
  template <class R>
  CUMULUS_DEVICE void load(const R&, bool, int, bool) {}
  CUMULUS_DEVICE B get(int, int) const { return {}; }
};

// Takes a warp's results, segment after segment, and stores them as aligned vectors. Element x of the run may be written if it is in
// [0, end); at the two ends, where a vector would hold others' results too, elements go one by one.
template <class R>
struct Outlet {
  R run;
  int end;
  int phase;
  typename R::B last_pair[2] = {}, last_one[1] = {};  // of the previous segment: what shift_back leaves
  typename R::B cut[4] = {};                          // the lane's vector that reaches beyond the end, if there is one, and where it begins
  int cut_at;
  u8* own;  // where the lane's first quad goes

  CUMULUS_DEVICE Outlet(const R& to, int behind)
      : run(to),
        end(behind),
        phase(to.phase()),
        cut_at(behind),
        own(const_cast<u8*>(to.vector_place(static_cast<int>(lane_index()) * 4))) {}

  // The lanes' quads of the segment that begins at element `segment`; `first` for the warp's first one.
  CUMULUS_DEVICE void put(int segment, bool first, const typename R::B (&q)[4]) {
    int x = segment + static_cast<int>(lane_index()) * 4;
    if constexpr (!R::kContiguous) {
      store_each(x, q);
    } else if constexpr (R::kAligned) {
      if (x < end) {
        typename R::B v[4];
        turn(run.backward(), q, v);
        store_quad<R::kBytes>(own + run.bytes_to(segment), v);
      }
    } else if constexpr (!R::kPhased) {
      if (x + 3 < end) run.store_vector(x, q);
      else keep(x, q);
    } else {
      typename R::B v[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = q[k];
      if (uniform(phase & 2)) shift_back<2>(v, last_pair);
      if (uniform(phase & 1)) shift_back<1>(v, last_one);
      x -= phase;
      if (!first && segment + kSegment <= end) run.store_vector(x, v);  // all of it is inside, for all lanes
      else if (x + 3 >= end) keep(x, v);
      else if (first && x < 0) store_each(x, v);
      else run.store_vector(x, v);
    }
  }

  // Behind the last segment, which ended before element x: the vector that was cut, and what the last lane still holds.
  CUMULUS_DEVICE void finish(int x) {
    if constexpr (R::kContiguous && !R::kAligned) store_each(cut_at, cut);
    if constexpr (R::kPhased) {
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        const int at = x - phase + k;
        // By one element: the one. By two: the pair. By three: what was shifted by two before leaves its last one, and the pair.
        const auto v =
            k == 0 ? select((phase & 1) != 0, last_one[0], last_pair[0]) : select(phase == 3, last_pair[k == 1 ? 0 : 1], last_pair[1]);
        if (lane_index() == 31 && k < phase && at >= 0 && at < end) run.store(at, v);
      }
    }
  }

 private:
  CUMULUS_DEVICE void keep(int x, const typename R::B (&q)[4]) {
    if (x >= end) return;
    cut_at = x;
#pragma unroll
    for (int k = 0; k < 4; ++k) cut[k] = q[k];
  }
  CUMULUS_DEVICE void store_each(int x, const typename R::B (&q)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (x + k >= 0 && x + k < end) run.store(x + k, q[k]);
  }
};

// A scan's tensors along one row.
template <class S, class V = typename S::Mode>
struct Row {
  Run<S::In::kBytes, V> in, in2;
  Run<S::Mask::kBytes, V> mask;
  Run<S::Out::kBytes, V> out;

  template <int kDims>
  CUMULUS_DEVICE Row(const Args<kDims>& a, const Offsets& o)
      : in(decltype(in)::at(a.in, o.in, a.in_step)),
        in2(decltype(in2)::at(a.in2, o.in2, a.in2_step)),
        mask(decltype(mask)::at(a.mask, o.mask, a.mask_step)),
        out(decltype(out)::at(a.out, o.out, a.out_step)) {}
};

// kSegments segments of elements from element `first` of the row on. `goes_on`: `n` is a segment's end, and a segment follows in the row.
template <class S, int kSegments>
struct Elements {
  using InSegments = Segments<kSegments, decltype(Row<S>::in)>;
  InSegments in;
  typename S::template Choose<NoSegments<typename S::InBits>, InSegments, S::kTwoInputs>::type in2;
  typename S::template Choose<NoSegments<typename S::MaskBits>, Segments<kSegments, decltype(Row<S>::mask)>, S::kMask != kNoMask>::type
      mask;

  CUMULUS_DEVICE void load(const Row<S>& row, i64 first, i64 n, bool goes_on = false) {
    const i64 left = n - first;
    const int end = left > kSegments * kSegment ? kSegments * kSegment : left > 0 ? static_cast<int>(left) : 0;
    in.load(row.in.from(first), first == 0, end, goes_on);
    in2.load(row.in2.from(first), first == 0, end, goes_on);
    mask.load(row.mask.from(first), first == 0, end, goes_on);
    sync_warp();  // no load may sink below what uses the first ones: all of them have to be under way
  }
  // The prefixes of a lane's quad of segment s.
  CUMULUS_DEVICE void quad(int s, typename S::Element (&v)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = S::element(in.get(s, k), in2.get(s, k), mask.get(s, k));
    scan_quad<S>(v);
  }
};

// R before a quad and behind each of its elements, from the quad's prefixes (the last one replaced by the halving prefix up to its end).
// `start`, `next`: R at the segment's two ends. kLanes: of a segment, or of a shorter row that is a segment of its own.
template <class S, int kLanes>
CUMULUS_DEVICE void finish_quad(const typename S::Element (&v)[4], bool has, const typename S::Element& start,
                                const typename S::Element& next, typename S::Element (&r)[5]) {
  const u32 lane = lane_index() % kLanes;
  r[4] = combine_start<S>(has, start, v[3]);
  if (lane == 31) r[4] = next;
  const auto previous = shuffle(r[4], (lane_index() + 31) & 31);
  r[0] = select(lane == 0, start, previous);
#pragma unroll
  for (int k = 0; k < 3; ++k) r[k + 1] = combine_start<S>(has || lane > 0, r[0], v[k]);
}

// What out holds at a quad's four places. `shown`: the very first place of an exclusive scan without an initial value.
template <class S>
CUMULUS_DEVICE void encode_quad(const typename S::Element (&r)[5], bool exclusive, bool shown, typename S::OutBits (&q)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) q[k] = S::encode(select(exclusive, r[k], r[k + 1]));
  if (exclusive && shown) q[0] = S::encode_shown();
}

// R(n), if the quad that begins at element x holds element n - 1.
template <class S, int kDims>
CUMULUS_DEVICE void store_total_of_quad(const Args<kDims>& a, const Offsets& o, i64 x, const typename S::Element (&r)[5]) {
  const i64 last = a.n - 1 - x;
  if (last < 0 || last > 3) return;
  typename S::Element total = r[1];
#pragma unroll
  for (int k = 1; k < 4; ++k)
    if (k == last) total = r[k + 1];
  store_total<S>(a, o, total);
}

// kSegments segments of a row in a warp's registers, from its elements to its results. kTail: the row may end with one segment more, which
// begins a chunk: the tail.
template <class S, int kSegments, bool kTail = false>
struct HeldSegments {
  using Element = typename S::Element;
  static constexpr int kBatch = kSegments < 8 ? kSegments : 8;  // segments whose shuffles are interleaved
  // What is smaller in memory than as elements stays as it came, and is unpacked twice.
  static constexpr bool kKeep = S::kAligned && S::In::kBytes * (S::kTwoInputs ? 2 : 1) + (S::kMask != kNoMask ? S::Mask::kBytes : 0) <
                                                   static_cast<int>(sizeof(Element));
  Elements<S, kSegments + kTail> elements;
  Element quads[kKeep ? 1 : kSegments][3], ends[kSegments];  // a quad's prefixes, and the segment's up to the quad's end

  CUMULUS_DEVICE void load(const Row<S>& row, i64 first, i64 n, bool tail = false) {
    if constexpr (kTail) elements.load(row, first, tail ? n : first + kSegments * kSegment, !tail);
    else elements.load(row, first, n);
  }

  // The segments' totals go to `totals`, in shared memory.
  CUMULUS_DEVICE void scan(Element* totals) {
#pragma unroll
    for (int batch = 0; batch < kSegments; batch += kBatch) {
      Element t[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        Element v[4];
        elements.quad(batch + i, v);
        t[i] = v[3];
#pragma unroll
        for (int k = 0; k < 3; ++k)
          if (!kKeep) quads[kKeep ? 0 : batch + i][k] = v[k];
      }
      scan_lanes<S, 32>(t);
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        ends[batch + i] = t[i];
        if (lane_index() == 31) store_shared(totals + batch + i, t[i]);
      }
    }
  }

  // Results from element `first` of the row on, which begins segment `segment` of its chunk. `prefixes`: lane s, of the chunk's segments up
  // to the end of s. `chunk`, `next_chunk`: R at its two ends; `has_chunk`: there is anything in it.
  template <int kDims>
  CUMULUS_DEVICE void store(const Args<kDims>& a, const Offsets& offsets, const Row<S>& row, i64 first, u32 segment,
                            const Element& prefixes, const Element& chunk, const Element& next_chunk, bool has_chunk,
                            bool tail = false) const {
    const u32 lane = lane_index();
    const Element before = shuffle(prefixes, (lane + 31) & 31);
    const Element segment_start = select(lane == 0, chunk, combine_start<S>(has_chunk, chunk, before));
    const bool exclusive = S::is_exclusive(a.flags), has_start = a.flags & kHasInitial;
    const i64 left = a.n_out - first;
    const int most = (kTail && tail ? kSegments + 1 : kSegments) * kSegment, end = left > most ? most
                                                                                   : left > 0  ? static_cast<int>(left)
                                                                                               : 0;
    Outlet outlet(row.out.from(first), end);
    Element here = shuffle(segment_start, segment);
#pragma unroll
    for (int s = 0; s < kSegments; ++s) {
      Element next = shuffle(segment_start, (segment + s + 1) & 31);
      if (s + 1 == kSegments) next = select(segment + s + 1 == 32, next_chunk, next);
      const int x = s * kSegment + static_cast<int>(lane) * 4;
      Element v[4], r[5];
      typename S::OutBits q[4];
      if constexpr (kKeep) elements.quad(s, v);
#pragma unroll
      for (int k = 0; k < 3; ++k)
        if (!kKeep) v[k] = quads[kKeep ? 0 : s][k];
      v[3] = ends[s];
      finish_quad<S, 32>(v, has_chunk || segment + s > 0, here, next, r);
      encode_quad<S>(r, exclusive, s == 0 && first + x == 0 && !has_start, q);
      outlet.put(s * kSegment, s == 0, q);
      if (S::has_total(a.flags)) store_total_of_quad<S>(a, offsets, first + x, r);
      here = next;
    }
    if constexpr (kTail) {
      if (tail) {
        constexpr int kBegin = kSegments * kSegment;
        Element v[4], r[5];
        typename S::OutBits q[4];
        elements.quad(kSegments, v);
        Element t[1] = {v[3]};
        scan_lanes<S, 32>(t);
        v[3] = t[0];
        finish_quad<S, 32>(v, true, here, combine_start<S>(true, here, v[3]), r);
        encode_quad<S>(r, exclusive, false, q);
        outlet.put(kBegin, false, q);
        if (S::has_total(a.flags)) store_total_of_quad<S>(a, offsets, first + kBegin + static_cast<int>(lane) * 4, r);
      }
    }
    outlet.finish(most);
  }
};

}  // namespace cumulus::cuda
