// Every operation's kernels for the accumulators i32 and u32, on every target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels_int32.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// The targets' passes come first.
#include "cpu/table-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cumulus::cpu::HWY_NAMESPACE {
const OpKernels* find_int32(Op op, DType acc) { return Find<DType::i32, DType::u32>(op, acc); }
}  // namespace cumulus::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/targets.h"
namespace cumulus::cpu {
const OpKernels* find_int32(Target target, Op op, DType acc) { CUMULUS_ON_TARGET(target, find_int32(op, acc)) }
}  // namespace cumulus::cpu
#endif
