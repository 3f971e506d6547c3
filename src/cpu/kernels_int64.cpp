// Every operation's kernels for the accumulators i64 and u64, on every target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels_int64.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// The targets' passes come first.
#include "cpu/table-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {
const OpKernels* find_int64(Op op, DType acc) { return Find<DType::i64, DType::u64>(op, acc); }
}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/targets.h"
namespace cumulus::cpu {
const OpKernels* find_int64(Target target, Op op, DType acc) { CUMULUS_ON_TARGET(target, find_int64(op, acc)) }
}  // namespace cumulus::cpu
#endif
