// Every operation's kernels for the accumulators f64, on every target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels_f64.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// The targets' passes come first.
#include "cpu/table-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {
const OpKernels* find_f64(Op op, DType acc) { return Find<DType::f64>(op, acc); }
}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/targets.h"
namespace cumulus::cpu {
const OpKernels* find_f64(Target target, Op op, DType acc) { CUMULUS_ON_TARGET(target, find_f64(op, acc)) }
}  // namespace cumulus::cpu
#endif
