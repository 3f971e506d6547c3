// The table of kernels of one (op, accumulator), and the look-up over the list for the accumulators of one source file.
// Included once per target.
#if defined(CUMULUS_CPU_TABLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef CUMULUS_CPU_TABLE_INL_H_
#undef CUMULUS_CPU_TABLE_INL_H_
#else
#define CUMULUS_CPU_TABLE_INL_H_
#endif

#include "cpu/column-inl.h"
#include "cpu/row-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {

template <Op op, DType acc>
struct KernelsOf {
  using O = Scan<op, acc>;
  using T = typename O::Lane;
  using Carried = CarryOf<O>;
  using State = ColumnState<O>;
  static constexpr int K = O::kPlanes;

  // Column kernels: full vectors, halves, quarters, down to 16 bytes.
  static constexpr int kFull = static_cast<int>(hn::MaxLanes(hn::ScalableTag<T>()));
  static constexpr int kLeast = 16 / static_cast<int>(sizeof(T));
  static constexpr int Lanes(int k) { return (kFull >> k) >= kLeast ? kFull >> k : 0; }
  template <int k>
  static void Columns(const ColumnArgs& args) {
    if constexpr (Lanes(k) != 0) ColumnKernel<O, hn::CappedTag<T, static_cast<std::size_t>(Lanes(k))>>::Run(args);
  }

  static void CarryStart(Carry& carry, const void* const* start) {
    const T* lanes[K];
    for (int k = 0; k < K; ++k) lanes[k] = start ? static_cast<const T*>(start[k]) : nullptr;
    Carried::Start(carry, start ? lanes : nullptr);
  }
  static void CarryPush(Carry& carry, const void* const* totals, std::int64_t chunks) {
    for (std::int64_t c = 0; c < chunks; ++c) {
      T lanes[K];
      for (int k = 0; k < K; ++k) lanes[k] = static_cast<const T*>(totals[k])[c];
      Carried::PushLanes(carry, lanes);
    }
  }
  static void CarryValue(const Carry& carry, void* const* value) {
    T lanes[K];
    Carried::ValueLanes(carry, lanes);
    for (int k = 0; k < K; ++k) *static_cast<T*>(value[k]) = lanes[k];
  }

  static constexpr OpKernels kTable = {
      .planes = K,
      .lane_bytes = static_cast<int>(sizeof(T)),
      .lanes = kFull,
      .column_lanes = {Lanes(0), Lanes(1), Lanes(2)},
      .carry_start = CarryStart,
      .carry_push = CarryPush,
      .carry_value = CarryValue,
      .scan = RowKernel<O>::Run,
      .chunk_totals = RowKernel<O>::ChunkTotals,
      .short_rows = RowKernel<O>::ShortRows,
      .column_bytes = State::Bytes,
      .column_start = State::Start,
      .columns = {Columns<0>, Columns<1>, Columns<2>},
      .column_end = State::End,
      .column_totals = State::Totals,
      .column_push = State::Push,
  };
};

template <bool kHere, Op op, DType acc>
struct TableIf {
  static const OpKernels* Get() { return nullptr; }
};
template <Op op, DType acc>
struct TableIf<true, op, acc> {
  static const OpKernels* Get() { return &KernelsOf<op, acc>::kTable; }
};

// Kernels of (op, acc) if acc is one of `kHere`, else null.
template <DType... kHere>
const OpKernels* Find(Op op, DType acc) {
#define CUMULUS_KERNEL(o, a) \
  if (op == Op::o && acc == DType::a) return TableIf<((DType::a == kHere) || ...), Op::o, DType::a>::Get();
#include "cumulus/list.inc"
  return nullptr;
}

}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
