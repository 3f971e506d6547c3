// A scan on a GPU as the tuner sees it: the CPU's result is the reference, for both follow the same order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench_cases.h"
#include "cuda/plan.h"
#include "tuning/engine.h"

namespace cumulus::cli {

class CudaSubject {
 public:
  // `counters`: stages look at hardware counters too, where there are any.
  CudaSubject(const BenchCase& bench_case, int device, bool counters);
  ~CudaSubject();
  CudaSubject(const CudaSubject&) = delete;
  CudaSubject& operator=(const CudaSubject&) = delete;

  // Bytes of host memory that it needs for a case. Device memory is asked for as it is needed.
  static std::int64_t bytes_needed(const BenchCase& bench_case);

  tuning::Subject subject();
  std::vector<tuning::Stage> stages();
  const Problem& problem() const;

  // For people: what bits are compared with, and where; what the stages' metrics are.
  std::string reference() const;
  std::string metrics() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cumulus::cli
