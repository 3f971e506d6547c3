// Pieces of tensors in shared memory, as they lie in global memory: at the same place within 16 bytes, so that vectors fit both.
#pragma once

#include "memory.cuh"

namespace cumulus::cuda {

// One tensor's part of a slot: the tile's bytes as they lie in memory, at the same place within 16 bytes. Strided elements in scan order.
template <class R, int kTile>
struct Stage {
  static constexpr int kBytes = R::kBytes;
  static constexpr bool kContiguous = R::kContiguous;
  static constexpr int kSize = (kTile * kBytes + 16 + 127) / 128 * 128;
  static constexpr int kVector = 4 * kBytes < 16 ? 4 * kBytes : 16;
  static constexpr bool kWholeVectors = R::kAligned && 4 * kBytes >= 16;  // nothing but pieces of 16 bytes

  u8* at;
  R run;
  int count, shift;
  bool inside;  // vectors that the tile has a part of are all of its row's, and may be read

  CUMULUS_DEVICE Stage(u8* slot, const R& from, int elements, bool is_inside = false)
      : at(slot), run(from), count(elements), shift(0), inside(is_inside) {
    if constexpr (kContiguous && !kWholeVectors) shift = static_cast<int>(reinterpret_cast<u64>(lowest()) & 15);
  }
  CUMULUS_DEVICE const u8* lowest() const { return run.backward() ? run.place(count - 1) : run.first; }

  // Bytes from the first to behind the last 16 that lie in the tile altogether, or in its row.
  CUMULUS_DEVICE int inner_begin() const { return inside ? -shift : (16 - shift) & 15; }
  CUMULUS_DEVICE int inner_end() const {
    const int end = (shift + count * kBytes + (inside ? 15 : 0)) / 16 * 16 - shift;
    return end < inner_begin() ? inner_begin() : end;
  }

  // Elements before the first and from behind the last of those pieces.
  CUMULUS_DEVICE int edge_head() const { return inner_begin() < count * kBytes ? inner_begin() / kBytes : count; }
  CUMULUS_DEVICE int edge_tail() const { return inner_end() / kBytes > edge_head() ? inner_end() / kBytes : edge_head(); }

  CUMULUS_DEVICE bool has_edges() const {
    if constexpr (kWholeVectors) return false;
    return !inside && ((shift | count * kBytes) & 15) != 0;
  }
  // Thread `who` of `of`: whatever cannot be copied in pieces of 16 bytes.
  CUMULUS_DEVICE void copy_edges(u32 who, u32 of) const {
    if constexpr (kContiguous) {
      const int head = edge_head(), tail = edge_tail();
      for (int k = static_cast<int>(who); k < head; k += static_cast<int>(of)) copy_element(k);
      for (int k = tail + static_cast<int>(who); k < count; k += static_cast<int>(of)) copy_element(k);
    } else {
      for (int k = static_cast<int>(who); k < count; k += static_cast<int>(of))
        store_shared(reinterpret_cast<typename R::B*>(at) + k, run.load(k));
    }
  }
  CUMULUS_DEVICE u32 inner_bytes() const {
    if constexpr (!kContiguous) return 0;
    return count * kBytes > inner_begin() ? static_cast<u32>(inner_end() - inner_begin()) : 0;
  }
  template <int kCopies>
  CUMULUS_DEVICE void copy_inner(u32 who, u32 of, Barrier* full) const {
    const u8* from = lowest() + inner_begin();
    u8* to = at + shift + inner_begin();
    if constexpr (kCopies == kCopyBulk) {
      if (who == 0 && inner_bytes() > 0) bulk_load(to, from, inner_bytes(), full);
    } else {
      static_assert(kCopies == kCopyAsync || !kContiguous);  // strided elements are edges, all of them
      for (u32 b = who * 16; b < inner_bytes(); b += of * 16) async_load16(to + b, from + b);
    }
  }

  // The same for all kOf threads of a block, whose vectors are on their way together.
  template <int kOf>
  CUMULUS_DEVICE void copy_at_once(u32 who) const {
    constexpr int kVectors = (kTile * kBytes / 16 + kOf - 1) / kOf;
    const u8* from = lowest() + inner_begin();
    u8* to = at + shift + inner_begin();
    Bits128 v[kVectors] = {};
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const u32 b = (static_cast<u32>(i * kOf) + who) * 16;
      if (b < inner_bytes()) v[i] = load_global<16>(from + b);
    }
    copy_edges(who, kOf);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const u32 b = (static_cast<u32>(i * kOf) + who) * 16;
      if (b < inner_bytes()) store_shared(reinterpret_cast<Bits128*>(to + b), v[i]);
    }
  }

  // The other way: what was put in the stage goes to memory.
  CUMULUS_DEVICE void store(u32 who, u32 of) const {
    const int head = edge_head(), tail = edge_tail();
    for (u32 b = who * 16; b < inner_bytes(); b += of * 16)
      store_global<16>(const_cast<u8*>(lowest()) + inner_begin() + b,
                       load_shared(reinterpret_cast<const Bits128*>(at + shift + inner_begin() + b)));
    for (int k = static_cast<int>(who); k < head; k += static_cast<int>(of)) store_element(k);
    for (int k = tail + static_cast<int>(who); k < count; k += static_cast<int>(of)) store_element(k);
  }
  // Element k in memory's order, in shared memory.
  CUMULUS_DEVICE typename R::B* place(int k) const { return reinterpret_cast<typename R::B*>(at + shift) + k; }

  // Elements x .. x + 3 of a tile without edges, wherever it begins: parts of two quads where vectors do begin. One by one, a warp's lanes
  // would ask for the same banks; and no branch keeps one quad's loads behind the other's.
  CUMULUS_DEVICE void read_shifted(int x, typename R::B (&q)[4]) const {
    const bool backward = run.backward();
    const int place = shift + (backward ? kTile - 4 - x : x) * kBytes, past = place % kVector;
    typename R::B v[4];
    load_shifted<SharedMemory, kBytes>(at + place - past, past / kBytes, v);
    turn(backward, v, q);
  }

  // Elements x .. x + 3 of the tile; 0 behind its end.
  CUMULUS_DEVICE void read(int x, typename R::B (&q)[4]) const {
    const bool backward = kContiguous && run.backward();
    typename R::B v[4] = {};
    if constexpr (R::kAligned) {  // and so long that quads are whole
      PackedQuad<kBytes> quad = {};
      if (x < count) quad.template take<SharedMemory>(at + shift + (backward ? count - 4 - x : x) * kBytes);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] = quad.get(k);
      turn(backward, v, q);
      return;
    }
    if (x + 3 < count) {
      const u8* p = at + shift + (backward ? count - 4 - x : x) * kBytes;
      if ((shift + (backward ? count * kBytes : 0)) % kVector == 0) {
        load_quad<SharedMemory, kBytes>(p, v);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) v[k] = load_shared(reinterpret_cast<const typename R::B*>(p) + k);
      }
      turn(backward, v, q);
      return;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (x + k < count) v[k] = load_shared(reinterpret_cast<const typename R::B*>(at + shift) + (backward ? count - 1 - x - k : x + k));
      q[k] = v[k];
    }
  }

 private:
  CUMULUS_DEVICE void store_element(int k) const { store_global<kBytes>(const_cast<u8*>(lowest()) + k * kBytes, load_shared(place(k))); }
  CUMULUS_DEVICE void copy_element(int k) const {
    store_shared(reinterpret_cast<typename R::B*>(at + shift) + k, load_global<kBytes>(lowest() + k * kBytes));
  }
};

}  // namespace cumulus::cuda
