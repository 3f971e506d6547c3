// Which SIMD targets are compiled in, which one runs, and its kernels.
#include "cpu/targets.h"

#include <atomic>
#include <cctype>
#include <cstdlib>
#include <string>

#include "hwy/targets.h"

namespace cumulus::cpu {

// One look-up per source file of kernels; each knows its own accumulators.
const OpKernels* find_f32(Target target, Op op, DType acc);
const OpKernels* find_f64(Target target, Op op, DType acc);
const OpKernels* find_int32(Target target, Op op, DType acc);
const OpKernels* find_int64(Target target, Op op, DType acc);
const OpKernels* find_complex(Target target, Op op, DType acc);

namespace {

struct TargetInfo {
  Target target;
  const char* name;
  std::int64_t highway;
  int vector_bytes;
};

constexpr TargetInfo kTargets[] = {{Target::avx3, "AVX3", HWY_AVX3, 64},
                                   {Target::avx2, "AVX2", HWY_AVX2, 32},
                                   {Target::sse4, "SSE4", HWY_SSE4, 16},
                                   {Target::neon, "NEON", HWY_NEON, 16}};

const TargetInfo* find(Target target) {
  for (const TargetInfo& t : kTargets)
    if (t.target == target) return &t;
  return nullptr;
}

std::vector<Target> targets_in(std::int64_t mask) {
  std::vector<Target> found;
  for (const TargetInfo& t : kTargets)
    if (t.highway & mask) found.push_back(t.target);
  return found;
}

// The best supported target, or the one CUMULUS_SIMD names if this CPU has it.
Target choose_target() {
  const std::vector<Target> supported = supported_targets();
  if (const char* wanted = std::getenv("CUMULUS_SIMD")) {
    std::string upper = wanted;
    for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    for (Target t : supported)
      if (upper == name(t)) return t;
  }
  return supported.empty() ? Target::other : supported.front();
}

std::atomic<int> forced{-1};

// Every (op, accumulator) of every target, looked up once.
struct Tables {
  const OpKernels* kernels[kOps][kDTypes] = {};

  explicit Tables(Target target) {
    for (int op = 0; op < kOps; ++op)
      for (int acc = 1; acc < kDTypes; ++acc)
        for (auto find : {find_f32, find_f64, find_int32, find_int64, find_complex})
          if (const OpKernels* k = find(target, static_cast<Op>(op), static_cast<DType>(acc))) kernels[op][acc] = k;
  }
};

const Tables& tables(Target target) {
  static const Tables all[] = {Tables(Target::sse4), Tables(Target::avx2), Tables(Target::avx3), Tables(Target::neon)};
  return all[static_cast<int>(target)];
}

}  // namespace

const char* name(Target target) {
  const TargetInfo* t = find(target);
  return t ? t->name : "none";
}
int vector_bytes(Target target) {
  const TargetInfo* t = find(target);
  return t ? t->vector_bytes : 0;
}
std::vector<Target> compiled_targets() { return targets_in(HWY_TARGETS); }
std::vector<Target> supported_targets() { return targets_in(HWY_TARGETS & hwy::SupportedTargets()); }

Target current_target() {
  static const Target chosen = choose_target();
  const int now = forced.load(std::memory_order_relaxed);
  return now < 0 ? chosen : static_cast<Target>(now);
}

ForceTarget::ForceTarget(Target target) : previous_(forced.exchange(static_cast<int>(target))) {}
ForceTarget::~ForceTarget() { forced.store(previous_); }

const OpKernels& kernels(Op op, DType acc) { return *tables(current_target()).kernels[static_cast<int>(op)][static_cast<int>(acc)]; }

}  // namespace cumulus::cpu
