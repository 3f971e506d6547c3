// The named cases of `cumulus bench`: a table of data. Everything that measures them reads it here (or from --list --json).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cumulus/cumulus.hpp"

namespace cumulus::cli {

enum class MaskUse { none, select, multiply };                    // a bool mask selects, one of the input's dtype multiplies
enum class InputLayout { contiguous, every_second, transposed };  // the result is always C-contiguous

struct BenchCase {
  std::string name;  // "group/what"
  std::vector<std::int64_t> shape;
  int axis = 0;
  DType in = DType::f32, out = DType::f32;
  Op op = Op::sum;
  Kind kind = Kind::inclusive;
  bool reverse = false;
  MaskUse mask = MaskUse::none;
  InputLayout layout = InputLayout::contiguous;

  // On a GPU:
  int capability = 0;   // planned as for this compute capability; 0: the GPU's own
  double to_reach = 0;  // of the speed of a copy, or of a plain kernel that reads and writes the same; 0: nothing is said
  double to_reach_us = 0;

  std::int64_t count() const;  // elements of the input
  std::vector<std::int64_t> out_shape() const;
  std::int64_t in_bytes() const;  // of one input (the recurrence has two)
  std::int64_t out_bytes() const;
  std::int64_t mask_bytes() const;
  std::int64_t bytes() const;  // that any implementation must read and write
};

const std::vector<BenchCase>& bench_cases();
const std::vector<BenchCase>& cuda_bench_cases();  // for GPUs: contiguous tensors

// Those of `cases` whose names match one of the globs, all where there is none. Throws CliError for a glob without a match.
std::vector<BenchCase> select_cases(const std::vector<BenchCase>& cases, const std::vector<std::string>& globs);

const char* name(MaskUse mask);
const char* name(InputLayout layout);

}  // namespace cumulus::cli
