// A scan on the CPU as the tuner sees it: arrays of its size, its result's right bits, and timings with a cold cache.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench_cases.h"
#include "cpu/cpu_info.h"
#include "shape.h"
#include "tuning/cpu_stages.h"
#include "tuning/engine.h"

namespace cumulus::cli {

// The problem of a case, with no data: what plans and cache entries are made from.
Problem problem_of(const BenchCase& bench_case, int threads);

class CpuSubject {
 public:
  CpuSubject(const BenchCase& bench_case, int threads);
  ~CpuSubject();
  CpuSubject(const CpuSubject&) = delete;
  CpuSubject& operator=(const CpuSubject&) = delete;

  // Bytes that it needs for a case: arrays, the reference, what flushes the cache.
  static std::int64_t bytes_needed(const BenchCase& bench_case);

  tuning::Subject subject();
  tuning::CpuFigures figures();

  // What the bits are compared with, for people.
  std::string reference() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cumulus::cli
