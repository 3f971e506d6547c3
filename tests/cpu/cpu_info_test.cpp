// What the library believes of this machine.
#include "cpu/cpu_info.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "cpu/kernels.h"
#include "cumulus/cumulus.h"
#include "process.h"

namespace {

using namespace cumulus::cpu;

TEST(CpuInfo, IsPlausible) {
  const CpuInfo cpu = cpu_info();
  EXPECT_GE(cpu.cores, 1);
  EXPECT_LE(cpu.cores, affinity_cores());
  if (quota_cores() > 0) {
    EXPECT_LE(cpu.cores, quota_cores());
  }
  EXPECT_GE(cpu.l1, 8 << 10);
  EXPECT_GE(cpu.l2, cpu.l1);
  EXPECT_GE(cpu.l3, cpu.l2);
  EXPECT_STREQ(cpu.simd, cumulus_simd_target());
  EXPECT_EQ(cpu.vector_bytes, vector_bytes(current_target()));
}

TEST(CpuInfo, CoresAreThoseOfTheCallingThreadNow) {
  const int before = affinity_cores();
  std::thread([] {
    cpu_set_t mask, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    CPU_ZERO(&one);
    for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core)
      if (CPU_ISSET(core, &mask)) CPU_SET(core, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(affinity_cores(), 1);
    EXPECT_EQ(cpu_info().cores, 1);
  }).join();
  EXPECT_EQ(affinity_cores(), before);
}

TEST(Targets, SupportedOnesAreCompiledAndBestFirst) {
  const auto compiled = compiled_targets(), supported = supported_targets();
  ASSERT_FALSE(supported.empty());
  EXPECT_EQ(current_target(), supported.front());
  for (std::size_t k = 0; k < supported.size(); ++k) {
    EXPECT_NE(std::find(compiled.begin(), compiled.end(), supported[k]), compiled.end());
    EXPECT_STRNE(name(supported[k]), "");
    if (k > 0) {
      EXPECT_LE(vector_bytes(supported[k]), vector_bytes(supported[k - 1]));
    }
  }
#if defined(__x86_64__)
  EXPECT_EQ(compiled.size(), 3u);  // AVX3, AVX2, SSE4
#endif
}

TEST(Targets, ForcingOneChangesTheKernels) {
  const Target best = current_target();
  const auto* best_kernels = &kernels(cumulus::Op::sum, cumulus::DType::f32);
  for (Target target : supported_targets()) {
    const ForceTarget guard(target);
    EXPECT_EQ(current_target(), target);
    const auto& forced = kernels(cumulus::Op::sum, cumulus::DType::f32);
    EXPECT_EQ(forced.lanes * forced.lane_bytes, vector_bytes(target));
    EXPECT_EQ(&forced == best_kernels, target == best);
  }
  EXPECT_EQ(current_target(), best);
}

TEST(Targets, TheEnvironmentChoosesALesserOne) {
  const Target least = supported_targets().back();
  if (!support::in_own_process(0, "CUMULUS_SIMD", name(least))) return;
  EXPECT_STREQ(cumulus_simd_target(), std::getenv("CUMULUS_SIMD"));
}

TEST(Targets, AnUnknownNameInTheEnvironmentIsNoTarget) {
  const std::string best = name(supported_targets().front());
  if (!support::in_own_process(0, "CUMULUS_SIMD", "no such target")) return;
  EXPECT_EQ(cumulus_simd_target(), best);
}

}  // namespace
