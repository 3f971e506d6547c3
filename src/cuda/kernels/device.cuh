// The thin layer between the kernels and the machine: every CUDA primitive that they use. Compiled by NVRTC or nvcc it is PTX; compiled
// for the CPU it is the emulator of tests/cuda/emulator, which provides the same functions. Everything else is plain C++.
#pragma once

#include "args.h"

#ifdef __CUDACC__
#define CUMULUS_DEVICE __device__ __forceinline__
#else
#define CUMULUS_DEVICE inline
#endif

namespace cumulus::cuda {

using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

struct alignas(16) Bits128 {
  u64 low, high;
};

template <int kBytes>
struct BitsOf;
template <>
struct BitsOf<1> {
  using type = u8;
};
template <>
struct BitsOf<2> {
  using type = u16;
};
template <>
struct BitsOf<4> {
  using type = u32;
};
template <>
struct BitsOf<8> {
  using type = u64;
};
template <>
struct BitsOf<16> {
  using type = Bits128;
};
template <int kBytes>
using Bits = typename BitsOf<kBytes>::type;

template <class To, class From>
CUMULUS_DEVICE To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// By value: of two places in an array, ?: would choose an address, and registers have none.
template <class T>
CUMULUS_DEVICE T select(bool condition, T yes, T no) {
  return condition ? yes : no;
}

// A value as 32-bit words, for shuffles and for words of {epoch, value}.
template <class T>
struct Words {
  static constexpr int kCount = (sizeof(T) + 3) / 4;
  u32 word[kCount];
};

template <class T>
CUMULUS_DEVICE Words<T> to_words(const T& value) {
  if constexpr (sizeof(T) < 4) return {{static_cast<u32>(bit_cast<Bits<sizeof(T)>>(value))}};
  else return bit_cast<Words<T>>(value);
}
template <class T>
CUMULUS_DEVICE T from_words(const Words<T>& words) {
  if constexpr (sizeof(T) < 4) return bit_cast<T>(static_cast<Bits<sizeof(T)>>(words.word[0]));
  else return bit_cast<T>(words);
}

}  // namespace cumulus::cuda

#ifndef __CUDACC__
#include "device_emulator.h"
#else

namespace cumulus::cuda {

using Barrier = u64;  // an mbarrier in shared memory

extern __shared__ __align__(128) u8 dynamic_shared[];
CUMULUS_DEVICE u8* shared_memory() { return dynamic_shared; }

CUMULUS_DEVICE u32 thread_index() { return threadIdx.x; }
CUMULUS_DEVICE u32 block_index() { return blockIdx.x; }
CUMULUS_DEVICE u32 block_count() { return gridDim.x; }
CUMULUS_DEVICE u32 block_threads() { return blockDim.x; }

// ---- memory: a vector of `kBytes` (1 to 16) at an aligned address ----

template <int kBytes>
CUMULUS_DEVICE Bits<kBytes> load_global(const void* p) {
  if constexpr (kBytes == 16) {
    Bits128 v;
    asm volatile("ld.global.v2.u64 {%0, %1}, [%2];" : "=l"(v.low), "=l"(v.high) : "l"(p));
    return v;
  } else if constexpr (kBytes == 8) {
    u64 v;
    asm volatile("ld.global.u64 %0, [%1];" : "=l"(v) : "l"(p));
    return v;
  } else if constexpr (kBytes == 4) {
    u32 v;
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
  } else if constexpr (kBytes == 2) {
    u16 v;
    asm volatile("ld.global.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
  } else {
    u32 v;
    asm volatile("ld.global.u8 %0, [%1];" : "=r"(v) : "l"(p));
    return static_cast<u8>(v);
  }
}

// Nothing is read unless k < end: then the value is undefined. (Written so that neither zeros nor predicates take registers.)
template <int kBytes>
CUMULUS_DEVICE Bits<kBytes> load_global_below(const void* p, int k, int end) {
  if constexpr (kBytes == 16) {
    Bits128 v;
    asm volatile("{ .reg .pred p; setp.lt.s32 p, %3, %4; @p ld.global.v2.u64 {%0, %1}, [%2]; }"
                 : "=l"(v.low), "=l"(v.high)
                 : "l"(p), "r"(k), "r"(end));
    return v;
  } else if constexpr (kBytes == 8) {
    u64 v;
    asm volatile("{ .reg .pred p; setp.lt.s32 p, %2, %3; @p ld.global.u64 %0, [%1]; }" : "=l"(v) : "l"(p), "r"(k), "r"(end));
    return v;
  } else {
    static_assert(kBytes == 4);
    u32 v;
    asm volatile("{ .reg .pred p; setp.lt.s32 p, %2, %3; @p ld.global.u32 %0, [%1]; }" : "=r"(v) : "l"(p), "r"(k), "r"(end));
    return v;
  }
}

template <int kBytes>
CUMULUS_DEVICE void store_global(void* p, Bits<kBytes> v) {
  if constexpr (kBytes == 16) asm volatile("st.global.v2.u64 [%0], {%1, %2};" ::"l"(p), "l"(v.low), "l"(v.high));
  else if constexpr (kBytes == 8) asm volatile("st.global.u64 [%0], %1;" ::"l"(p), "l"(v));
  else if constexpr (kBytes == 4) asm volatile("st.global.u32 [%0], %1;" ::"l"(p), "r"(v));
  else if constexpr (kBytes == 2) asm volatile("st.global.u16 [%0], %1;" ::"l"(p), "h"(v));
  else asm volatile("st.global.u8 [%0], %1;" ::"l"(p), "r"(static_cast<u32>(v)));
}

template <class T>
CUMULUS_DEVICE T load_shared(const T* p) {
  return *p;
}
template <class T>
CUMULUS_DEVICE void store_shared(T* p, const T& v) {
  *p = v;
}

// ---- words that blocks exchange: relaxed, never torn ----

CUMULUS_DEVICE u64 load_relaxed(const u64* p) {
  u64 v;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
CUMULUS_DEVICE void store_relaxed(u64* p, u64 v) { asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory"); }
CUMULUS_DEVICE u64 fetch_add(u64* p, u64 v) { return atomicAdd(p, v); }
CUMULUS_DEVICE u64 compare_exchange(u64* p, u64 expected, u64 v) { return atomicCAS(p, expected, v); }  // what was there
CUMULUS_DEVICE void fence_device() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }
CUMULUS_DEVICE void pause() { __nanosleep(20); }
CUMULUS_DEVICE void pause_long() { __nanosleep(300); }
inline constexpr u32 kPatience = 1 << 14;  // how often a block looks for what blocks that may not run yet have to say: some 10 ms

// Flags in shared memory.
CUMULUS_DEVICE u32 load_acquire_shared(const u32* p) {
  u32 v;
  asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(v) : "r"(static_cast<u32>(__cvta_generic_to_shared(p))) : "memory");
  return v;
}
CUMULUS_DEVICE u32 fetch_add_shared(u32* p, u32 v) { return atomicAdd(p, v); }
CUMULUS_DEVICE void store_release_shared(u32* p, u32 v) {
  asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(static_cast<u32>(__cvta_generic_to_shared(p))), "r"(v) : "memory");
}

// ---- warps and blocks ----

CUMULUS_DEVICE u32 shuffle_word(u32 v, u32 lane) { return __shfl_sync(0xffffffffu, v, static_cast<int>(lane)); }
CUMULUS_DEVICE u32 ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }
CUMULUS_DEVICE void sync_warp() { __syncwarp(); }
CUMULUS_DEVICE void sync_block() { __syncthreads(); }
CUMULUS_DEVICE int count_trailing_zeros(u32 v) { return __ffs(static_cast<int>(v)) - 1; }

// ---- barriers in shared memory, and copies that arrive at them ----

CUMULUS_DEVICE u32 shared_address(const void* p) { return static_cast<u32>(__cvta_generic_to_shared(p)); }

CUMULUS_DEVICE void barrier_init(Barrier* b, u32 count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
CUMULUS_DEVICE void barrier_init_done() {  // before other threads, and the copy engine, use what was initialised
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
CUMULUS_DEVICE void barrier_arrive(Barrier* b) {
  asm volatile("{ .reg .b64 t; mbarrier.arrive.shared.b64 t, [%0]; }" ::"r"(shared_address(b)) : "memory");
}
CUMULUS_DEVICE bool barrier_test(Barrier* b, u32 parity) {
  u32 done;
  asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
               : "=r"(done)
               : "r"(shared_address(b)), "r"(parity)
               : "memory");
  return done;
}
CUMULUS_DEVICE void barrier_wait(Barrier* b, u32 parity) {
#if __CUDA_ARCH__ >= 900
  u32 done = 0;
  do {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(shared_address(b)), "r"(parity)
                 : "memory");
  } while (!done);
#else
  while (!barrier_test(b, parity)) {
  }
#endif
}

// One thread copies `bytes` (a multiple of 16, addresses too); the barrier's phase ends when they have come.
CUMULUS_DEVICE void bulk_load(void* to, const void* from, u32 bytes, Barrier* b) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
               "l"(from), "r"(bytes), "r"(shared_address(b))
               : "memory");
#endif
}
// `bytes` (a multiple of 16, the address too) are on their way to the L2 cache: whoever loads them then does not wait for memory.
CUMULUS_DEVICE void bulk_prefetch(const void* from, u32 bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
#endif
}
// One thread copies a box of the map's tensor, dense, to a multiple of 128; what is outside the tensor comes as zeros, and counts.
#if __CUDA_ARCH__ >= 1000  // where "shared::cluster" costs a stack; older compilers know that one only
#define CUMULUS_TENSOR_TARGET "shared::cta"
#else
#define CUMULUS_TENSOR_TARGET "shared::cluster"
#endif
CUMULUS_DEVICE void tensor_load(void* to, const TensorMap* map, int column, int row, int outer, Barrier* b) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.tensor.3d." CUMULUS_TENSOR_TARGET
               ".global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(shared_address(to)),
               "l"(map), "r"(column), "r"(row), "r"(outer), "r"(shared_address(b))
               : "memory");
#endif
}
CUMULUS_DEVICE void barrier_arrive_expect(Barrier* b, u32 bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("{ .reg .b64 t; mbarrier.arrive.expect_tx.shared.b64 t, [%0], %1; }" ::"r"(shared_address(b)), "r"(bytes) : "memory");
#endif
}
CUMULUS_DEVICE void fence_async() {  // ordinary accesses to shared memory before, bulk copies into it after
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Each thread copies 16 bytes; then arrives, once, when its copies so far have come.
CUMULUS_DEVICE void async_load16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
CUMULUS_DEVICE void async_arrive(Barrier* b) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(shared_address(b)) : "memory");
}
CUMULUS_DEVICE void async_wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }  // its own copies: before it ends

// ---- numbers ----

// Halves of a word, moved as such: so a conversion takes one where it lies, and leaves one where it is wanted.
CUMULUS_DEVICE u16 half_of(u32 word, int which) {
  u16 half[2];
  asm("mov.b32 {%0, %1}, %2;" : "=h"(half[0]), "=h"(half[1]) : "r"(word));
  return half[which];
}
CUMULUS_DEVICE u32 word_of(u16 low, u16 high) {
  u32 word;
  asm("mov.b32 %0, {%1, %2};" : "=r"(word) : "h"(low), "h"(high));
  return word;
}
CUMULUS_DEVICE float f16_to_f32(u16 h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
CUMULUS_DEVICE u16 f32_to_f16(float f) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
CUMULUS_DEVICE u16 f32_to_bf16(float f) {
  u16 h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
CUMULUS_DEVICE float maximum(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
CUMULUS_DEVICE float minimum(float a, float b) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}

}  // namespace cumulus::cuda

#endif

namespace cumulus::cuda {

// How tiles come into shared memory: loads and stores, cp.async, bulk copies, tensor copies.
enum CopiesValue { kCopyPlain, kCopyAsync, kCopyBulk, kCopyTensor };

CUMULUS_DEVICE u32 lane_index() { return thread_index() & 31; }
// Through a shuffle, so that the compiler knows that it is the same in all lanes.
CUMULUS_DEVICE u32 warp_index() { return shuffle_word(thread_index() >> 5, 0); }
// A condition that all lanes share, as one that the compiler knows they share: shuffles behind its branches stay cheap.
CUMULUS_DEVICE bool uniform(bool condition) { return ballot(condition) != 0; }
CUMULUS_DEVICE bool uniform_all(bool condition) { return ballot(condition) == 0xffffffffu; }

template <class T>
CUMULUS_DEVICE T shuffle(const T& value, u32 lane) {
  Words<T> words = to_words(value);
#pragma unroll
  for (int i = 0; i < Words<T>::kCount; ++i) words.word[i] = shuffle_word(words.word[i], lane);
  return from_words<T>(words);
}

}  // namespace cumulus::cuda
