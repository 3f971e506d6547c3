// Where two pieces of memory first differ: how the tuner checks a candidate's result (src/cuda/trial.cpp). A kernel of its own, which
// kernel.cuh does not include.
#include "device.cuh"

namespace cumulus::cuda {

#ifdef __CUDACC__
CUMULUS_DEVICE void fetch_min(u64* p, u64 v) { atomicMin(p, v); }
#else
inline void fetch_min(u64* p, u64 v) {
  if (v < load_relaxed(p)) store_relaxed(p, v);
}
#endif

CUMULUS_DEVICE void keep_first(const u8* a, const u8* b, u64 from, u64 to, u64* first) {
  for (u64 i = from; i < to; ++i)
    if (load_global<1>(a + i) != load_global<1>(b + i)) return fetch_min(first, i);
}

// The least index of a byte that differs goes to `first` if it is below what is there. `a` and `b` are aligned to 16 bytes.
CUMULUS_DEVICE void compare(const u8* a, const u8* b, u64 bytes, u64* first) {
  const u64 vectors = bytes / 16, threads = static_cast<u64>(block_count()) * block_threads();
  const u64 own = static_cast<u64>(block_index()) * block_threads() + thread_index();
  for (u64 i = own; i < vectors; i += threads) {
    const Bits128 x = load_global<16>(a + 16 * i), y = load_global<16>(b + 16 * i);
    if ((x.low != y.low || x.high != y.high) && 16 * i < load_relaxed(first)) keep_first(a, b, 16 * i, 16 * i + 16, first);
  }
  if (own == 0) keep_first(a, b, 16 * vectors, bytes, first);
}

}  // namespace cumulus::cuda

#ifdef __CUDACC__
extern "C" __global__ void __launch_bounds__(256)
    cumulus_compare_kernel(const unsigned char* a, const unsigned char* b, unsigned long long bytes, unsigned long long* first) {
  cumulus::cuda::compare(a, b, bytes, first);
}
#endif
