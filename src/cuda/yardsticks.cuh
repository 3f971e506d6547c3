// What a scan is measured against, as plain as it can be: small blocks in the order of memory, one vector of 16 bytes for each thread.
// NVRTC compiles it without any header. `n` counts what a thread writes, or reads where it writes nothing.

static __device__ __forceinline__ long long thread_index() { return static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; }

extern "C" __global__ void cumulus_empty() {}

extern "C" __global__ void cumulus_copy(const uint4* in, uint4* out, long long n) {
  const long long i = thread_index();
  if (i < n) out[i] = in[i];
}

extern "C" __global__ void cumulus_multiply(const float4* in, const float4* mask, float4* out, long long n) {
  const long long i = thread_index();
  if (i >= n) return;
  const float4 x = in[i], m = mask[i];
  out[i] = make_float4(x.x * m.x, x.y * m.y, x.z * m.z, x.w * m.w);
}

extern "C" __global__ void cumulus_widen(const uchar2* in, longlong2* out, long long n) {
  const long long i = thread_index();
  if (i < n) out[i] = make_longlong2(in[i].x, in[i].y);
}

// Random enough that no memory or cache finds a pattern (splitmix64).
extern "C" __global__ void cumulus_random(ulonglong2* out, long long n) {
  const auto random = [](unsigned long long state) {
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
    state = (state ^ (state >> 27)) * 0x94d049bb133111eb;
    return state ^ (state >> 31);
  };
  const long long i = thread_index();
  if (i < n) out[i] = make_ulonglong2(random(0x9e3779b97f4a7c15 * (2 * i + 1)), random(0x9e3779b97f4a7c15 * (2 * i + 2)));
}

// Four vectors a thread, all in flight. The result is written where it is one value of 2^32: no compiler can leave the loads out.
extern "C" __global__ void cumulus_read(const uint4* in, unsigned* sink, long long n) {
  const long long first = 4ll * blockIdx.x * blockDim.x + threadIdx.x;
  uint4 x[4] = {};
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (first + k * blockDim.x < n) x[k] = in[first + k * blockDim.x];
  unsigned all = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) all ^= x[k].x ^ x[k].y ^ x[k].z ^ x[k].w;
  if (all == 0x5bd1e995) *sink = all;
}
