// Loads, stores and masks between tensors and planes, on every target. Plain loops where the compiler vectorises them well.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/stage.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// The targets' passes come first.
#include <complex>
#include <cstring>

#include "cpu/half.h"
#include "cpu/ops-inl.h"
#include "cpu/stage.h"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

#ifndef CUMULUS_CPU_STAGE_ONCE_
#define CUMULUS_CPU_STAGE_ONCE_
namespace cumulus::cpu {

// How an element of each dtype lies in memory.
template <DType>
struct Memory;
#define CUMULUS_MEMORY(dtype, type) \
  template <>                       \
  struct Memory<DType::dtype> {     \
    using Type = type;              \
  };
CUMULUS_MEMORY(f16, F16)
CUMULUS_MEMORY(bf16, Bf16)
CUMULUS_MEMORY(f32, float)
CUMULUS_MEMORY(f64, double)
CUMULUS_MEMORY(i8, std::int8_t)
CUMULUS_MEMORY(i16, std::int16_t)
CUMULUS_MEMORY(i32, std::int32_t)
CUMULUS_MEMORY(i64, std::int64_t)
CUMULUS_MEMORY(u8, std::uint8_t)
CUMULUS_MEMORY(u16, std::uint16_t)
CUMULUS_MEMORY(u32, std::uint32_t)
CUMULUS_MEMORY(u64, std::uint64_t)
CUMULUS_MEMORY(boolean, std::uint8_t)
CUMULUS_MEMORY(c64, std::complex<float>)
CUMULUS_MEMORY(c128, std::complex<double>)
#undef CUMULUS_MEMORY

// Which loads and stores exist. Kernel accumulators: those of the list.
constexpr bool is_kernel_accumulator(DType acc) {
  for (int op = 0; op < kOps; ++op)
    if (has_kernel(static_cast<Op>(op), acc)) return true;
  return false;
}
constexpr bool loads(DType from, DType acc) {
  if (!is_kernel_accumulator(acc)) return false;
  if (family(from) == Family::complex || family(acc) == Family::complex) return from == acc;
  if (family(acc) == Family::real) return true;
  if (family(from) == Family::real) return false;
  return bytes(acc) == 8 || family(from) != Family::boolean;
}
constexpr bool stores(DType acc, DType to) {
  if (!is_kernel_accumulator(acc) || to == DType::boolean) return false;
  for (int op = 0; op < kOps; ++op)
    if (kernel_accumulator(static_cast<Op>(op), to) == acc) return true;
  return acc == to || (acc == DType::f32 && to == DType::f32);
}

}  // namespace cumulus::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {
namespace {

constexpr std::int64_t kBlock = 1024;  // elements converted at a time before they are streamed

template <DType from, class Lane>
HWY_INLINE Lane Widen(typename Memory<from>::Type x) {
  if constexpr (from == DType::f16 || from == DType::bf16) return static_cast<Lane>(to_f32(x));
  else if constexpr (from == DType::boolean) return static_cast<Lane>(x != 0);
  else return static_cast<Lane>(x);
}

template <DType to, class Lane>
HWY_INLINE typename Memory<to>::Type Narrow(Lane x) {
  if constexpr (to == DType::f16) return to_f16(x);
  else if constexpr (to == DType::bf16) return to_bf16(x);
  else return static_cast<typename Memory<to>::Type>(x);
}

void StreamCopy(void* to_, const void* from_, std::size_t bytes) {
  auto* to = static_cast<std::uint8_t*>(to_);
  const auto* from = static_cast<const std::uint8_t*>(from_);
  const hn::ScalableTag<std::uint8_t> d;
  const std::size_t lanes = hn::Lanes(d);
  const std::size_t head = std::min<std::size_t>(bytes, (64 - reinterpret_cast<std::uintptr_t>(to) % 64) % 64);
  std::memcpy(to, from, head);
  std::size_t at = head;
  for (; at + 4 * lanes <= bytes; at += 4 * lanes) {
    const auto a = hn::LoadU(d, from + at), b = hn::LoadU(d, from + at + lanes);
    const auto c = hn::LoadU(d, from + at + 2 * lanes), e = hn::LoadU(d, from + at + 3 * lanes);
    hn::Stream(a, d, to + at);
    hn::Stream(b, d, to + at + lanes);
    hn::Stream(c, d, to + at + 2 * lanes);
    hn::Stream(e, d, to + at + 3 * lanes);
  }
  for (; at + lanes <= bytes; at += lanes) hn::Stream(hn::LoadU(d, from + at), d, to + at);
  std::memcpy(to + at, from + at, bytes - at);
}

// ---- Loads ----

template <DType from, DType acc>
void Load(const void* from_, std::int64_t stride, std::int64_t n, void* const planes[]) {
  using Lane = typename Number<acc>::Lane;
  const auto* HWY_RESTRICT x = static_cast<const typename Memory<from>::Type*>(from_);
  if constexpr (family(acc) == Family::complex) {
    auto* HWY_RESTRICT re = static_cast<Lane*>(planes[0]);
    auto* HWY_RESTRICT im = static_cast<Lane*>(planes[1]);
    const auto* HWY_RESTRICT parts = reinterpret_cast<const Lane*>(x);
    if (stride == 1) {
      const hn::ScalableTag<Lane> d;
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      std::int64_t i = 0;
      for (; i + lanes <= n; i += lanes) {
        hn::Vec<decltype(d)> a, b;
        hn::LoadInterleaved2(d, parts + 2 * i, a, b);
        hn::StoreU(a, d, re + i);
        hn::StoreU(b, d, im + i);
      }
      for (; i < n; ++i) re[i] = parts[2 * i], im[i] = parts[2 * i + 1];
    } else {
      for (std::int64_t i = 0; i < n; ++i) re[i] = parts[2 * i * stride], im[i] = parts[2 * i * stride + 1];
    }
  } else {
    auto* HWY_RESTRICT to = static_cast<Lane*>(planes[0]);
    if (stride == 1) {
      for (std::int64_t i = 0; i < n; ++i) to[i] = Widen<from, Lane>(x[i]);
    } else if (stride == -1) {
      const auto* HWY_RESTRICT first = x - (n - 1);
      for (std::int64_t i = 0; i < n; ++i) to[i] = Widen<from, Lane>(first[n - 1 - i]);
    } else if (stride == 0) {
      const Lane value = n > 0 ? Widen<from, Lane>(x[0]) : Lane{};
      for (std::int64_t i = 0; i < n; ++i) to[i] = value;
    } else {
      for (std::int64_t i = 0; i < n; ++i) to[i] = Widen<from, Lane>(x[i * stride]);
    }
  }
}

// ---- Stores ----

template <DType acc, DType to>
HWY_INLINE void Convert(const void* const planes[], std::int64_t at, typename Memory<to>::Type* HWY_RESTRICT out, std::int64_t stride,
                        std::int64_t n) {
  using Lane = typename Number<acc>::Lane;
  if constexpr (family(acc) == Family::complex) {
    const auto* HWY_RESTRICT re = static_cast<const Lane*>(planes[0]) + at;
    const auto* HWY_RESTRICT im = static_cast<const Lane*>(planes[1]) + at;
    auto* HWY_RESTRICT parts = reinterpret_cast<Lane*>(out);
    std::int64_t i = 0;
    if (stride == 1) {
      const hn::ScalableTag<Lane> d;
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      for (; i + lanes <= n; i += lanes) hn::StoreInterleaved2(hn::LoadU(d, re + i), hn::LoadU(d, im + i), d, parts + 2 * i);
    }
    for (; i < n; ++i) parts[2 * i * stride] = re[i], parts[2 * i * stride + 1] = im[i];
  } else {
    const auto* HWY_RESTRICT x = static_cast<const Lane*>(planes[0]) + at;
    if (stride == 1) {
      for (std::int64_t i = 0; i < n; ++i) out[i] = Narrow<to>(x[i]);
    } else if (stride == -1) {
      auto* HWY_RESTRICT first = out - (n - 1);
      for (std::int64_t i = 0; i < n; ++i) first[i] = Narrow<to>(x[n - 1 - i]);
    } else {
      for (std::int64_t i = 0; i < n; ++i) out[i * stride] = Narrow<to>(x[i]);
    }
  }
}

template <DType acc, DType to>
void Store(const void* const planes[], void* to_, std::int64_t stride, std::int64_t n, bool streaming) {
  using Element = typename Memory<to>::Type;
  auto* out = static_cast<Element*>(to_);
  if (!streaming || (stride != 1 && stride != -1)) {
    Convert<acc, to>(planes, 0, out, stride, n);
    return;
  }
  if constexpr (family(acc) != Family::complex && sizeof(Element) == sizeof(typename Number<acc>::Lane)) {
    if (stride == 1) {
      StreamCopy(out, planes[0], static_cast<std::size_t>(n) * sizeof(Element));
      return;
    }
  }
  alignas(64) unsigned char block_bytes[kBlock * sizeof(Element)];
  auto* block = reinterpret_cast<Element*>(block_bytes);
  for (std::int64_t at = 0; at < n; at += kBlock) {
    const std::int64_t count = std::min(kBlock, n - at);
    Convert<acc, to>(planes, at, stride == 1 ? block : block + count - 1, stride, count);
    Element* lowest = stride == 1 ? out + at : out - at - (count - 1);
    StreamCopy(lowest, block, static_cast<std::size_t>(count) * sizeof(Element));
  }
}

// ---- Masks ----

template <class U>
void Select(void* const planes[], int count, const void* mask_, std::int64_t stride, std::int64_t n, const void* const shown[]) {
  const auto* HWY_RESTRICT mask = static_cast<const std::uint8_t*>(mask_);
  for (int k = 0; k < count; ++k) {
    auto* HWY_RESTRICT x = static_cast<U*>(planes[k]);
    U identity;
    std::memcpy(&identity, shown[k], sizeof identity);
    if (stride == 1) {
      for (std::int64_t i = 0; i < n; ++i) x[i] = mask[i] ? x[i] : identity;
    } else if (stride == -1) {
      const auto* HWY_RESTRICT first = mask - (n - 1);
      for (std::int64_t i = 0; i < n; ++i) x[i] = first[n - 1 - i] ? x[i] : identity;
    } else {
      for (std::int64_t i = 0; i < n; ++i) x[i] = mask[i * stride] ? x[i] : identity;
    }
  }
}

template <DType acc>
void Multiply(void* const planes[], const void* const factors[], std::int64_t n) {
  using Lane = typename Number<acc>::Lane;
  // Wrapping integers multiply as unsigned ones.
  using Factor = typename std::conditional_t<std::is_integral_v<Lane>, std::make_unsigned<Lane>, std::type_identity<Lane>>::type;
  if constexpr (family(acc) == Family::complex) {
    auto* HWY_RESTRICT re = static_cast<Lane*>(planes[0]);
    auto* HWY_RESTRICT im = static_cast<Lane*>(planes[1]);
    const auto* HWY_RESTRICT fr = static_cast<const Lane*>(factors[0]);
    const auto* HWY_RESTRICT fi = static_cast<const Lane*>(factors[1]);
    for (std::int64_t i = 0; i < n; ++i) {
      const Lane r = re[i] * fr[i] - im[i] * fi[i], m = re[i] * fi[i] + im[i] * fr[i];
      re[i] = r, im[i] = m;
    }
  } else {
    auto* HWY_RESTRICT x = static_cast<Factor*>(planes[0]);
    const auto* HWY_RESTRICT f = static_cast<const Factor*>(factors[0]);
    for (std::int64_t i = 0; i < n; ++i) x[i] = x[i] * f[i];
  }
}

template <class Small>
void Wrap(void* plane, std::int64_t n) {
  auto* x = static_cast<std::int32_t*>(plane);
  for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<Small>(x[i]);  // NOLINT(bugprone-signed-char-misuse): the sign is wanted
}

// ---- Rearrangements ----

template <std::size_t kBytes>
void RepitchBy(const char* from, std::int64_t from_pitch, char* to, std::int64_t to_pitch, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_pitch, from + r * from_pitch, kBytes);
}

// Rows of two and three values to quads and back, many at a time. Returns how many rows were done.
std::int64_t RepitchQuads(const std::uint32_t* from, std::int64_t from_pitch, std::uint32_t* to, std::int64_t to_pitch, std::int64_t rows) {
  const hn::ScalableTag<std::uint32_t> d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t r = 0;
  for (; r + lanes <= rows; r += lanes) {
    auto a = hn::Zero(d), b = a, c = a, e = a;
    const std::uint32_t* x = from + r * from_pitch;
    std::uint32_t* y = to + r * to_pitch;
    if (from_pitch == 2) hn::LoadInterleaved2(d, x, a, b);
    else if (from_pitch == 3) hn::LoadInterleaved3(d, x, a, b, c);
    else hn::LoadInterleaved4(d, x, a, b, c, e);
    if (to_pitch == 2) hn::StoreInterleaved2(a, b, d, y);
    else if (to_pitch == 3) hn::StoreInterleaved3(a, b, c, d, y);
    else hn::StoreInterleaved4(a, b, c, e, d, y);
  }
  return r;
}

void Repitch(const void* from_, std::int64_t from_pitch, void* to_, std::int64_t to_pitch, std::int64_t rows, std::int64_t n, int bytes) {
  const auto* from = static_cast<const char*>(from_);
  auto* to = static_cast<char*>(to_);
  if (bytes == 4 && std::max(from_pitch, to_pitch) == 4 && std::min(from_pitch, to_pitch) == n && (n == 2 || n == 3)) {
    const std::int64_t done =
        RepitchQuads(static_cast<const std::uint32_t*>(from_), from_pitch, static_cast<std::uint32_t*>(to_), to_pitch, rows);
    from += done * from_pitch * bytes, to += done * to_pitch * bytes, rows -= done;
  }
  from_pitch *= bytes, to_pitch *= bytes;
  const std::int64_t row_bytes = n * bytes;
  if (row_bytes <= 4) return RepitchBy<4>(from, from_pitch, to, to_pitch, rows);
  if (row_bytes <= 8) return RepitchBy<8>(from, from_pitch, to, to_pitch, rows);
  if (row_bytes <= 16) return RepitchBy<16>(from, from_pitch, to, to_pitch, rows);
  if (row_bytes <= 32) return RepitchBy<32>(from, from_pitch, to, to_pitch, rows);
  if (row_bytes <= 64) return RepitchBy<64>(from, from_pitch, to, to_pitch, rows);
  if (row_bytes <= 128) return RepitchBy<128>(from, from_pitch, to, to_pitch, rows);
  for (std::int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_pitch, from + r * from_pitch, static_cast<std::size_t>(row_bytes));
}

template <class U>
void TransposeOf(const U* HWY_RESTRICT from, std::int64_t from_pitch, U* HWY_RESTRICT to, std::int64_t to_pitch, std::int64_t rows,
                 std::int64_t columns) {
  constexpr std::int64_t kTile = 64 / sizeof(U);
  std::int64_t r = 0;
  for (; r + kTile <= rows; r += kTile) {
    std::int64_t c = 0;
    if constexpr (sizeof(U) == 4) {
      const hn::FixedTag<U, 4> d;
      const hn::RepartitionToWide<decltype(d)> dw;
      for (; c + 4 <= columns; c += 4) {
        for (std::int64_t q = 0; q < kTile; q += 4) {
          const U* x = from + (r + q) * from_pitch + c;
          const auto v0 = hn::LoadU(d, x), v1 = hn::LoadU(d, x + from_pitch);
          const auto v2 = hn::LoadU(d, x + 2 * from_pitch), v3 = hn::LoadU(d, x + 3 * from_pitch);
          const auto a = hn::BitCast(dw, hn::InterleaveLower(d, v0, v1)), b = hn::BitCast(dw, hn::InterleaveUpper(d, v0, v1));
          const auto e = hn::BitCast(dw, hn::InterleaveLower(d, v2, v3)), f = hn::BitCast(dw, hn::InterleaveUpper(d, v2, v3));
          U* y = to + c * to_pitch + r + q;
          hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, a, e)), d, y);
          hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, a, e)), d, y + to_pitch);
          hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, b, f)), d, y + 2 * to_pitch);
          hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, b, f)), d, y + 3 * to_pitch);
        }
      }
    }
    for (; c < columns; ++c)
      for (std::int64_t q = 0; q < kTile; ++q) to[c * to_pitch + r + q] = from[(r + q) * from_pitch + c];
  }
  for (; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) to[c * to_pitch + r] = from[r * from_pitch + c];
}

void Transpose(const void* from, std::int64_t from_pitch, void* to, std::int64_t to_pitch, std::int64_t rows, std::int64_t columns,
               int bytes) {
  if (bytes == 4)
    TransposeOf(static_cast<const std::uint32_t*>(from), from_pitch, static_cast<std::uint32_t*>(to), to_pitch, rows, columns);
  else TransposeOf(static_cast<const std::uint64_t*>(from), from_pitch, static_cast<std::uint64_t*>(to), to_pitch, rows, columns);
}

void Fence() { hwy::FlushStream(); }

// ---- The table, from the list ----

template <DType a, DType b>
constexpr void AddPair(StageKernels& table) {
  if constexpr (loads(a, b)) table.load[static_cast<int>(a)][static_cast<int>(b)] = Load<a, b>;
  if constexpr (stores(a, b)) table.store[static_cast<int>(a)][static_cast<int>(b)] = Store<a, b>;
}

template <DType a>
constexpr void AddAll(StageKernels& table) {
#define CUMULUS_DTYPE(name, text, value, bytes, family) AddPair<a, DType::name>(table);
#include "cumulus/list.inc"
  if constexpr (is_kernel_accumulator(a)) table.multiply[static_cast<int>(a)] = Multiply<a>;
}

constexpr StageKernels MakeTable() {
  StageKernels table{};
#define CUMULUS_DTYPE(name, text, value, bytes, family) AddAll<DType::name>(table);
#include "cumulus/list.inc"
  table.select[0] = Select<std::uint32_t>;
  table.select[1] = Select<std::uint64_t>;
  table.wrap[static_cast<int>(DType::i8)] = Wrap<std::int8_t>;
  table.wrap[static_cast<int>(DType::i16)] = Wrap<std::int16_t>;
  table.wrap[static_cast<int>(DType::u8)] = Wrap<std::uint8_t>;
  table.wrap[static_cast<int>(DType::u16)] = Wrap<std::uint16_t>;
  table.repitch = Repitch;
  table.transpose = Transpose;
  table.stream_copy = StreamCopy;
  table.fence = Fence;
  return table;
}

constexpr StageKernels kTable = MakeTable();

}  // namespace

const StageKernels* GetStageKernels() { return &kTable; }

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/targets.h"

namespace cumulus::cpu {
namespace {

const StageKernels* find_stage(Target target) { CUMULUS_ON_TARGET(target, GetStageKernels()) }

template <DType from>
void load_scalar_as(const void* value, DType result, void* const planes[]) {
  typename Memory<from>::Type x;
  std::memcpy(&x, value, sizeof x);
  const auto put = [&](auto lane, int plane) { std::memcpy(planes[plane], &lane, sizeof lane); };
  const auto real = [&] {
    if constexpr (from == DType::f16 || from == DType::bf16) return to_f32(x);
    else if constexpr (family(from) == Family::complex) return x.real();
    else return x;
  }();
  const auto imaginary = [&] {
    if constexpr (family(from) == Family::complex) return x.imag();
    else return 0.0f;
  }();
  switch (result) {
    case DType::f16:
    case DType::bf16:
    case DType::f32:
      return put(static_cast<float>(real), 0);
    case DType::f64:
      return put(static_cast<double>(real), 0);
    case DType::c64:
      return put(static_cast<float>(real), 0), put(static_cast<float>(imaginary), 1);
    case DType::c128:
      return put(static_cast<double>(real), 0), put(static_cast<double>(imaginary), 1);
    default:
      break;
  }
  if constexpr (family(from) != Family::real && family(from) != Family::complex) {
    const auto integer = static_cast<std::uint64_t>(from == DType::boolean ? x != 0 : x);
    switch (result) {
      case DType::i8:
        return put(static_cast<std::int32_t>(static_cast<std::int8_t>(integer)), 0);
      case DType::i16:
        return put(static_cast<std::int32_t>(static_cast<std::int16_t>(integer)), 0);
      case DType::u8:
        return put(static_cast<std::int32_t>(static_cast<std::uint8_t>(integer)), 0);
      case DType::u16:
        return put(static_cast<std::int32_t>(static_cast<std::uint16_t>(integer)), 0);
      case DType::i32:
      case DType::u32:
        return put(static_cast<std::uint32_t>(integer), 0);
      default:
        return put(integer, 0);
    }
  }
}

}  // namespace

const StageKernels& stage_kernels() { return *find_stage(current_target()); }

void load_scalar(DType from, const void* value, DType result, void* const planes[]) {
  switch (from) {
#define CUMULUS_DTYPE(name, text, number, bytes, family) \
  case DType::name:                                      \
    return load_scalar_as<DType::name>(value, result, planes);
#include "cumulus/list.inc"
    case DType::none:
      return;
  }
}

}  // namespace cumulus::cpu
#endif
