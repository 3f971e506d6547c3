#include "tune_cuda.h"

#include <fmt/core.h>

#include <cstring>
#include <map>
#include <optional>
#include <stdexcept>

#include "bench_arrays.h"
#include "cuda/trial.h"
#include "error.h"
#include "measure.h"
#include "tuning/cuda_stages.h"

namespace cumulus::cli {
namespace {

constexpr int kCopies = 7;
constexpr cuda::Quantity kCounted[] = {cuda::Quantity::warps_active, cuda::Quantity::dram, cuda::Quantity::bytes_read,
                                       cuda::Quantity::bytes_written};  // one pass

// The engine takes a standard exception for a candidate's failure.
template <class Work>
auto as_exception(Work&& work) {
  try {
    return work();
  } catch (const Failure& failure) {
    throw std::runtime_error(failure.message);
  }
}

}  // namespace

struct CudaSubject::State {
  const BenchCase bench_case;
  const BenchArrays arrays;
  const ScanSpec spec;
  const std::size_t out_bytes;
  cuda::Trial trial;
  std::optional<Buffer> result;  // where it must be compared in host memory; then arrays.out() is the reference
  bool count;
  std::string why_not_counted;
  std::map<std::string, std::optional<tuning::CudaCounters>> counted;  // by what was launched

  State(const BenchCase& c, int device, bool counters)
      : bench_case(c),
        arrays(bench_case),
        spec(arrays.spec(0)),
        out_bytes(static_cast<std::size_t>(c.out_bytes())),
        trial(arrays.args(spec), device),
        count(counters),
        why_not_counted(counters ? "" : "--no-counters") {
    arrays.scan(spec);
    if (!trial.keep_reference(arrays.out())) result.emplace(out_bytes);
  }

  cuda::Plan plan(const tuning::Parameters& parameters) const {
    return make_plan(trial.problem(), trial.device(), tuning::cuda_tuning(parameters));
  }

  std::string launches(const tuning::Parameters& parameters) const { return tuning::what_launches(trial.problem(), plan(parameters)); }

  std::string why_unfit(const tuning::Parameters& parameters) const {
    return tuning::why_unfit(trial.problem(), plan(parameters), trial.device());
  }

  void compile(const std::vector<tuning::Parameters>& candidates) const {
    std::vector<cuda::Tuning> fit;
    for (const tuning::Parameters& parameters : candidates)
      if (why_unfit(parameters).empty()) fit.push_back(tuning::cuda_tuning(parameters));
    trial.compile(fit);
  }

  std::string check(const tuning::Parameters& parameters) const {
    if (const std::string why = why_unfit(parameters); !why.empty()) throw std::runtime_error(why);
    const cuda::Tuning tuning = tuning::cuda_tuning(parameters);
    if (!result) {
      const auto element = trial.first_difference(tuning);
      return element ? fmt::format("its bits differ from those of the CPU, first in element {}", *element) : "";
    }
    trial.result(tuning, result->as());
    return std::memcmp(result->as(), arrays.out(), out_bytes) == 0 ? "" : "its bits differ from those of the CPU";
  }

  std::optional<tuning::CudaCounters> read_counters(const tuning::Parameters& parameters) {
    const auto measured = trial.counters(tuning::cuda_tuning(parameters), kCounted, why_not_counted);
    if (!measured) {
      count = false;  // nor will it be the next time
      return std::nullopt;
    }
    const auto value = [&](cuda::Quantity quantity) { return (*measured)[quantity]; };
    for (const cuda::Quantity quantity : kCounted)
      if (!value(quantity)) {
        why_not_counted = fmt::format("{} has no {}", measured->chip, cuda::kQuantityNames[static_cast<std::size_t>(quantity)].metric);
        return std::nullopt;
      }
    return tuning::CudaCounters{*value(kCounted[0]) / 100, *value(kCounted[1]) / 100, *value(kCounted[2]) + *value(kCounted[3])};
  }

  std::optional<tuning::CudaCounters> counters(const tuning::Parameters& parameters) {
    if (!count) return std::nullopt;
    const auto [found, added] = counted.try_emplace(launches(parameters));
    if (added) found->second = as_exception([&] { return read_counters(parameters); });
    return found->second;
  }
};

CudaSubject::CudaSubject(const BenchCase& bench_case, int device, bool counters)
    : state_(std::make_unique<State>(bench_case, device, counters)) {}
CudaSubject::~CudaSubject() = default;

std::int64_t CudaSubject::bytes_needed(const BenchCase& c) { return BenchArrays::bytes_needed(c) + c.out_bytes(); }

tuning::Subject CudaSubject::subject() {
  State* const s = state_.get();
  return {[s](const tuning::Parameters& p) { return s->launches(p); },
          [s](const tuning::Parameters& p) { return as_exception([&] { return s->check(p); }); },
          [s](const tuning::Parameters& p) { return as_exception([&] { return s->trial.scan_ms(tuning::cuda_tuning(p)); }); },
          [s](const std::vector<tuning::Parameters>& all) { s->compile(all); }};
}

// The counters first: what the profiler leaves behind then meets the copies and all scans alike.
std::vector<tuning::Stage> CudaSubject::stages() {
  State* const s = state_.get();
  s->counters({});
  std::vector<double> copies;
  for (int i = 0; i < kCopies; ++i) copies.push_back(s->trial.copy_ms());
  return tuning::cuda_stages(s->trial.problem(), s->trial.device(),
                             {median(copies), [s](const tuning::Parameters& p) { return s->counters(p); }});
}

const Problem& CudaSubject::problem() const { return state_->trial.problem(); }

std::string CudaSubject::reference() const {
  return fmt::format("the CPU's result, which follows the same order, {}",
                     state_->result ? "in host memory, for the device has no room for another copy" : "in device memory");
}

std::string CudaSubject::metrics() const {
  return state_->why_not_counted.empty() ? "hardware counters" : fmt::format("of the plan, for {}", state_->why_not_counted);
}

}  // namespace cumulus::cli
