#include "tune_cpu.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

#include "bench_arrays.h"
#include "cpu/copy.h"
#include "cpu/tuning.h"
#include "demo_reference.h"
#include "measure.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr int kFlushTimes = 2;                        // of the last cache; arrays longer than twice that flush themselves
constexpr double kTimingMs = 6;                       // a timing is the shortest of up to kMostCalls calls, about this long together
constexpr int kMostCalls = 3;                         // as in the simulations that the rule was tested with
constexpr std::int64_t kSmallLength = 2 * 4096 + 77;  // of the scan that is compared with the order: whole chunks and a rest
constexpr std::int64_t kSmallOther = 5;
constexpr int kCopies = 5;

Dims dims(const std::vector<std::int64_t>& values) { return {values.data(), static_cast<int>(values.size())}; }

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec); };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// The same scan, small, whose right bits the order itself says; none where the reference order does not know the operation.
std::optional<BenchCase> small_case(const BenchCase& c) {
  const bool known = (c.op == Op::sum || c.op == Op::prod) && c.in == DType::f32 && c.out == DType::f32 && c.mask == MaskUse::none &&
                     c.layout == InputLayout::contiguous;
  if (!known) return std::nullopt;
  BenchCase small = c;
  for (std::size_t d = 0; d < c.shape.size(); ++d)
    small.shape[d] = std::min(c.shape[d], static_cast<int>(d) == c.axis ? kSmallLength : kSmallOther);
  return small;
}

// Line after line along the axis, in scan order.
bool follows_order(const BenchCase& c, const float* in, const float* out) {
  const auto axis = static_cast<std::size_t>(c.axis);
  const std::int64_t n = c.shape[axis], n_out = c.out_shape()[axis];
  std::int64_t inner = 1;
  for (std::size_t d = axis + 1; d < c.shape.size(); ++d) inner *= c.shape[d];
  const std::int64_t lines = n > 0 ? c.count() / n : 0;
  OrderReference order;
  std::vector<float> line(static_cast<std::size_t>(n)), prefixes(line.size() + 1);
  for (std::int64_t l = 0; l < lines; ++l) {
    const auto place = [&](std::int64_t i, std::int64_t length) {
      return l / inner * length * inner + l % inner + (c.reverse ? length - 1 - i : i) * inner;
    };
    for (std::int64_t i = 0; i < n; ++i) line[static_cast<std::size_t>(i)] = in[place(i, n)];
    order.prefixes(line, c.op == Op::sum ? DemoOp::sum : DemoOp::prod, prefixes);
    const float* const expected = prefixes.data() + (c.kind == Kind::inclusive ? 1 : 0);
    for (std::int64_t i = 0; i < n_out; ++i)
      if (std::memcmp(&out[place(i, n_out)], &expected[i], sizeof(float)) != 0) return false;
  }
  return true;
}

}  // namespace

Problem problem_of(const BenchCase& c, int threads) {
  const std::vector<std::int64_t> out_shape = c.out_shape();
  const ConstTensorView in(nullptr, c.in, dims(c.shape));
  const TensorView out(nullptr, c.out, dims(out_shape));
  ScanSpec spec{.op = c.op, .kind = c.kind, .axis = c.axis, .reverse = c.reverse, .threads = threads};
  if (c.mask != MaskUse::none) spec.mask = ConstTensorView(nullptr, c.mask == MaskUse::select ? DType::boolean : c.in, dims(c.shape));
  Problem problem;
  canonicalise(detail::to_c(in, c.op == Op::recurrence ? &in : nullptr, out, spec), false, problem);
  return problem;
}

struct CpuSubject::State {
  const BenchCase bench_case;
  const int threads;
  const Problem problem;
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const BenchArrays arrays;
  const std::optional<BenchCase> small;
  std::optional<BenchArrays> small_arrays;
  Buffer reference, flush;

  State(const BenchCase& c, int threads_)
      : bench_case(c),
        threads(threads_),
        problem(problem_of(c, threads_)),
        arrays(bench_case),
        small(small_case(c)),
        reference(static_cast<std::size_t>(c.out_bytes())),
        flush(static_cast<std::size_t>(needs_flush(c) ? kFlushTimes * cpu.l3 : 1)) {
    if (small) small_arrays.emplace(*small);
    std::memset(flush.as(), 1, flush.size());
    run({});
    std::memcpy(reference.as(), arrays.out(), out_bytes());
  }

  static bool needs_flush(const BenchCase& c) { return c.bytes() < 2 * kFlushTimes * cpu::cpu_info().l3; }

  std::size_t out_bytes() const { return static_cast<std::size_t>(bench_case.out_bytes()); }

  void run(const tuning::Parameters& parameters) const {
    const cpu::ForceTuning forced(tuning::cpu_tuning(parameters));
    arrays.scan(arrays.spec(threads));
  }

  // The planner's own result, bit for bit; and at small size the order's. What was there before must not pass for a result.
  std::string check(const tuning::Parameters& parameters) const {
    std::memset(arrays.out(), 0xa5, out_bytes());
    run(parameters);
    if (std::memcmp(arrays.out(), reference.as(), out_bytes()) != 0) return "its bits differ from those of the planner's own plan";
    if (!small) return "";
    const cpu::ForceTuning forced(tuning::cpu_tuning(parameters));
    std::memset(small_arrays->out(), 0xa5, static_cast<std::size_t>(small->out_bytes()));
    small_arrays->scan(small_arrays->spec(threads));
    const bool right = follows_order(*small, static_cast<const float*>(small_arrays->in()), static_cast<const float*>(small_arrays->out()));
    return right ? "" : "its bits differ from the order's at small size";
  }

  // Other memory goes through the caches, so that the next call finds none of its own there.
  void make_cold() const {
    if (!needs_flush(bench_case)) return;
    auto* const bytes = flush.as<unsigned char>();
    for (std::size_t i = 0; i < flush.size(); i += 64) ++bytes[i];
    asm volatile("" ::: "memory");
  }

  double call_ms(const tuning::Parameters& parameters) const {
    make_cold();
    return time_ms([&] { run(parameters); });
  }

  double measure_ms(const tuning::Parameters& parameters) const {
    double least = call_ms(parameters), spent = least;
    for (int call = 1; call < kMostCalls && spent < kTimingMs; ++call) {
      const double ms = call_ms(parameters);
      least = std::min(least, ms), spent += ms;
    }
    return least;
  }

  double busy(const tuning::Parameters& parameters) const {
    make_cold();
    const double before = cpu_seconds();
    const double ms = time_ms([&] { run(parameters); });
    const int allowed = std::max(1, threads > 0 ? std::min(threads, cpu.cores) : cpu.cores);
    return std::min(1.0, (cpu_seconds() - before) / (1e-3 * ms * allowed));
  }

  double copy_ms() const {
    double best = 0;
    for (const cpu::CopyKind kind : {cpu::CopyKind::streaming, cpu::CopyKind::memcpy}) {
      std::vector<double> times;
      for (int i = 0; i < kCopies; ++i) {
        make_cold();
        times.push_back(time_ms([&] { cpu::copy(arrays.out(), arrays.in(), arrays.copy_bytes(), kind, threads); }));
      }
      const double ms = median(times);
      if (best == 0 || ms < best) best = ms;
    }
    return best;
  }
};

CpuSubject::CpuSubject(const BenchCase& bench_case, int threads) : state_(std::make_unique<State>(bench_case, threads)) {}
CpuSubject::~CpuSubject() = default;

std::int64_t CpuSubject::bytes_needed(const BenchCase& c) {
  return BenchArrays::bytes_needed(c) + c.out_bytes() + (State::needs_flush(c) ? kFlushTimes * cpu::cpu_info().l3 : 0);
}

tuning::Subject CpuSubject::subject() {
  const State* const s = state_.get();
  return {[s](const tuning::Parameters& p) { return tuning::what_runs(s->problem, make_plan(s->problem, s->cpu, tuning::cpu_tuning(p))); },
          [s](const tuning::Parameters& p) { return s->check(p); }, [s](const tuning::Parameters& p) { return s->measure_ms(p); }};
}

tuning::CpuFigures CpuSubject::figures() {
  const State* const s = state_.get();
  return {s->copy_ms(), [s](const tuning::Parameters& p) { return s->busy(p); }};
}

std::string CpuSubject::reference() const {
  return state_->small ? "the planner's own plan at full size, the order at small size" : "the planner's own plan";
}

}  // namespace cumulus::cli
