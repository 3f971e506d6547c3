// CUB's scans, a peer in bench/gpu_peers.py: it compiles a library for each variant. ELEMENT, BY_ROW, EXCLUSIVE and REVERSE are macros.
#include <cub/device/device_scan.cuh>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/reverse_iterator.h>
#include <thrust/iterator/transform_iterator.h>

struct RowOf {
  unsigned length;
  __host__ __device__ unsigned operator()(unsigned i) const { return i / length; }
};

template <class Iterator>
auto in_order(Iterator begin, unsigned n) {
#if REVERSE
  return thrust::make_reverse_iterator(begin + n);
#else
  return begin;
#endif
}

// `temporary` null: only its size is asked for. Rows of `length` elements are segments by key, CUB's own way to scan many at once.
extern "C" int peer_scan(void* temporary, size_t* bytes, const ELEMENT* in, ELEMENT* out, unsigned n, unsigned length,
                         cudaStream_t stream) {
  const auto from = in_order(in, n);
  const auto to = in_order(out, n);
#if BY_ROW
  const auto rows = in_order(thrust::make_transform_iterator(thrust::make_counting_iterator(0u), RowOf{length}), n);
#if EXCLUSIVE
  return cub::DeviceScan::ExclusiveSumByKey(temporary, *bytes, rows, from, to, n, cuda::std::equal_to<>{}, stream);
#else
  return cub::DeviceScan::InclusiveSumByKey(temporary, *bytes, rows, from, to, n, cuda::std::equal_to<>{}, stream);
#endif
#elif EXCLUSIVE
  return cub::DeviceScan::ExclusiveSum(temporary, *bytes, from, to, n, stream);
#else
  return cub::DeviceScan::InclusiveSum(temporary, *bytes, from, to, n, stream);
#endif
}

extern "C" int peer_version() { return CUB_VERSION; }
