// KernelBench's scans (level 1, problems 89 to 93) as Cumulus's calls, and which of them a piece of PyTorch code computes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cumulus/cumulus.hpp"
#include "shape.h"

namespace cumulus::cli {

enum class WorkloadMask : std::uint8_t { none, boolean, real };

struct Workload {
  const char* key;    // "92-old"
  const char* title;  // "exclusive sum until 2025-12-24"
  const char* model;  // its module in python/cumulus/kernelbench/models/
  const char* call;   // in Python
  Op op;
  Kind kind;
  bool reverse;
  WorkloadMask mask;
  bool drops_row;  // the last row of x is left out
};

std::span<const Workload> workloads();
const Workload* find_workload(std::string_view key);  // null if there is none

// The scan along axis 1 of x, (rows, columns), as the planner sees it. Throws as cumulus_plan does.
Problem problem_of(const Workload& workload, std::int64_t rows, std::int64_t columns, DType dtype);

// Python text without comments and the contents of strings; lines stay lines.
std::string without_comments(std::string_view code);

// What a module's code computes, and the pieces of code that say so. No workload where the code says nothing or two things.
struct Recognised {
  const Workload* workload;
  std::vector<std::string> evidence;
};
Recognised recognise(std::string_view code);

}  // namespace cumulus::cli
