#include "tune_cuda.h"

#include <cstring>
#include <stdexcept>

#include "bench_arrays.h"
#include "cuda/trial.h"
#include "measure.h"
#include "tuning/cuda_stages.h"

namespace cumulus::cli {
namespace {

constexpr int kCopies = 7;

}  // namespace

struct CudaSubject::State {
  const BenchCase bench_case;
  const BenchArrays arrays;
  const ScanSpec spec;
  const std::size_t out_bytes;
  const Buffer reference;
  cuda::Trial trial;

  State(const BenchCase& c, int device)
      : bench_case(c),
        arrays(bench_case),
        spec(arrays.spec(0)),
        out_bytes(static_cast<std::size_t>(c.out_bytes())),
        reference(out_bytes),
        trial(arrays.args(spec), device) {
    arrays.scan(spec);
    std::memcpy(reference.as(), arrays.out(), out_bytes);
  }

  cuda::Plan plan(const tuning::Parameters& parameters) const {
    return make_plan(trial.problem(), trial.device(), tuning::cuda_tuning(parameters));
  }

  std::string check(const tuning::Parameters& parameters) {
    if (const std::string why = tuning::why_unfit(trial.problem(), plan(parameters), trial.device()); !why.empty())
      throw std::runtime_error(why);
    trial.result(tuning::cuda_tuning(parameters), arrays.out());
    return std::memcmp(arrays.out(), reference.as(), out_bytes) == 0 ? "" : "its bits differ from those of the CPU";
  }
};

CudaSubject::CudaSubject(const BenchCase& bench_case, int device) : state_(std::make_unique<State>(bench_case, device)) {}
CudaSubject::~CudaSubject() = default;

std::int64_t CudaSubject::bytes_needed(const BenchCase& c) { return BenchArrays::bytes_needed(c) + c.out_bytes(); }

tuning::Subject CudaSubject::subject() {
  State* const s = state_.get();
  return {[s](const tuning::Parameters& p) { return tuning::what_launches(s->trial.problem(), s->plan(p)); },
          [s](const tuning::Parameters& p) { return s->check(p); },
          [s](const tuning::Parameters& p) { return s->trial.scan_ms(tuning::cuda_tuning(p)); }};
}

std::vector<tuning::Stage> CudaSubject::stages() {
  std::vector<double> copies;
  for (int i = 0; i < kCopies; ++i) copies.push_back(state_->trial.copy_ms());
  return tuning::cuda_stages(state_->trial.problem(), state_->trial.device(), median(copies));
}

const Problem& CudaSubject::problem() const { return state_->trial.problem(); }

}  // namespace cumulus::cli
