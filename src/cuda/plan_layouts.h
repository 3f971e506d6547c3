// What the planner's files share: plan.cpp decides, plan_rows.cpp and plan_columns.cpp know the layouts along memory and across it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cuda/plan.h"
#include "types.h"

namespace cumulus::cuda::planning {

inline constexpr std::int64_t kSegment = 128, kChunk = 4096;
inline constexpr int kTailQuad = 4;  // results of a tail that the kernel of rows takes in registers of one quad
inline constexpr std::int64_t kMostBlocks = 0x7fffffff;
inline constexpr std::int64_t kMostTickets = 0x7fffffff;  // where kernels count tiles, or what scanners take, in 32 bits
inline constexpr int kMostWarps = 32;                     // of a block

inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Levels from 3 up that a sequence of n elements, rounded up by what a kernel takes at once, reaches.
inline int levels_for(std::int64_t n) {
  int levels = 1;
  for (std::int64_t chunks = n / kChunk; chunks >= 32; chunks /= 32) ++levels;
  return levels;
}

// A kernel's element in registers: narrow integers ride in 32 bits, pairs are two.
inline int element_bytes(const Problem& p) { return static_cast<int>(bytes(p.kernel)) * inputs(p.op); }
inline int wide_bytes(const Problem& p) {
  const bool widens = inputs(p.op) == 1 && (p.kernel == DType::f32 || p.kernel == DType::c64);
  return element_bytes(p) * (widens ? 2 : 1);
}

// ---- the axis is contiguous ----

// Does every row begin where a vector of four elements (of at most 16 bytes) does? `step`: Plan::step.
bool rows_begin_aligned(const Problem& p, int step);

Layout choose_rows(const Problem& p, const DeviceInfo& device, const Plan& plan);

// Each fills the plan of one layout. False: it cannot serve the problem, and what it left in the plan means nothing to the others.
bool plan_short_rows(const Problem& p, const DeviceInfo& device, Plan& plan);
bool plan_packed_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan);
void plan_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan);
bool plan_split_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan);
bool plan_spread_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan);

// ---- neighbouring threads walk another dimension, Plan::lane_dim ----

Layout choose_columns(const Problem& p, const DeviceInfo& device, const Plan& plan);

void plan_columns(const Problem& p, const DeviceInfo& device, Plan& plan);
bool plan_column_ring(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan);
bool plan_split_columns(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan);

}  // namespace cumulus::cuda::planning
