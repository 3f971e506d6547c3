// Bits of the GPU against those of the CPU: random calls, and one small call of every layout.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <optional>

#include <fmt/format.h>

#include "case.h"

namespace gpu_check {
namespace {

using support::Built;
using support::Mask;
using support::Total;

constexpr int kMostWrong = 20;  // more would not tell more

// Counts by layout; prints what is wrong.
class Tally {
 public:
  void add(const Job& job, const Built& built, const cuda::Plan& plan, const std::string& trouble) {
    ++cases_[static_cast<std::size_t>(plan.layout)];
    const int done = ++done_;
    if (done % 10000 == 0) std::printf("%d calls in %.0f s\n", done, seconds()), std::fflush(stdout);
    if (trouble.empty() || ++wrong_ > kMostWrong) return;
    const std::lock_guard lock(mutex_);
    std::printf("WRONG: %s\n  %s\n", describe(job, built).c_str(), trouble.substr(0, 1500).c_str());
    std::fflush(stdout);
  }
  void add_kernel(Layout layout) { ++kernels_[static_cast<std::size_t>(layout)]; }
  bool enough() const { return wrong_ >= kMostWrong; }

  int report() const {
    for (std::size_t i = 0; i < cases_.size(); ++i)
      if (cases_[i] > 0)
        std::printf("  %-14s %7d calls, %5d kernels\n", cuda::name(static_cast<Layout>(i)), cases_[i].load(), kernels_[i].load());
    std::printf("bits: %d calls, %d wrong, %.0f s\n", done_.load(), wrong_.load(), seconds());
    return wrong_;
  }

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::array<std::atomic<int>, static_cast<std::size_t>(cuda::kLastLayout) + 1> cases_{}, kernels_{};
  std::atomic<int> done_{0}, wrong_{0};
  std::mutex mutex_;
};

// A call with its tensors and its plan.
struct Planned {
  explicit Planned(const Job& j) : job(j), built(j.c), plan(make_plan(built.problem(), device(), j.tuning)) {}
  std::vector<std::string> kernel() const { return definitions(built.problem(), plan); }

  Job job;
  Built built;
  cuda::Plan plan;
};

// A job that launches something.
Planned random_base(Random& random) {
  for (;;) {
    Planned base(random_job(random));
    if (base.plan.layout != Layout::none) return base;
  }
}

// Another call of the same kernel (or of none): of another shape if one is found soon, else with other data.
Planned random_variant(const Planned& base, Random& random) {
  const std::vector<std::string> kernel = base.kernel();
  for (int attempt = 0; attempt < 8; ++attempt) {
    Planned other(variant(base.job, random));
    if (other.plan.layout == Layout::none || other.kernel() == kernel) return other;
  }
  Job job = base.job;
  job.c.seed = random.next() >> 1;
  return Planned(job);
}

}  // namespace

int check_bits(int count, std::uint64_t seed, int kernels) {
  Tally tally;
  in_parallel(static_cast<std::size_t>(kernels), [&](std::size_t k) {
    thread_local Lane lane;
    Random random(support::mix(seed) + k);
    const Planned base = random_base(random);
    tally.add_kernel(base.plan.layout);
    tally.add(base.job, base.built, base.plan, lane.worker.check(base.job, base.built));
    const int own = count / kernels + (static_cast<int>(k) < count % kernels);
    for (int i = 1; i < own && !tally.enough(); ++i) {
      const Planned next = random_variant(base, random);
      tally.add(next.job, next.built, next.plan, lane.worker.check(next.job, next.built));
    }
  });
  return tally.report();
}

// ---- every layout ----

namespace {

struct Shape {
  Layout layout;
  Sizes sizes;
  int axis;
  bool strided = false;
};

// More than one of whatever a layout cuts its work into.
const Shape kShapes[] = {{Layout::short_rows, {300, 100}, 1},   {Layout::packed_rows, {301, 63}, 1},
                         {Layout::rows, {5, 5000}, 1},          {Layout::rows, {2, 50001}, 1},
                         {Layout::rows, {3, 8195}, 1},          {Layout::rows, {2, 32869}, 1},
                         {Layout::split_rows, {3, 20001}, 1},   {Layout::split_rows, {2, 20000}, 1, true},
                         {Layout::spread_rows, {3, 20001}, 1},  {Layout::spread_rows, {2, 20000}, 1, true},
                         {Layout::columns, {300, 37}, 0},       {Layout::column_ring, {200, 96}, 0},
                         {Layout::split_columns, {4500, 64}, 0}};
const support::Supported kTypes[] = {
    {Op::sum, DType::f32, DType::f32}, {Op::recurrence, DType::f32, DType::f32}, {Op::max, DType::u8, DType::i64}};

// Each layout with each of these types and masks, on the path of this GPU and on that before Hopper. Kinds, directions, initial values and
// totals take turns.
std::vector<Job> layout_jobs(const std::string& words) {
  std::vector<Job> jobs;
  int turn = 0;
  for (const Shape& shape : kShapes) {
    if (!words.empty() && ("," + words + ",").find(fmt::format(",{},", name(shape.layout))) == std::string::npos) continue;
    for (const int capability : {0, 80})
      for (const support::Supported& type : kTypes)
        for (const Mask mask : {Mask::none, Mask::select, Mask::multiply}) {
          if (type.op == Op::recurrence && mask == Mask::multiply) continue;
          Job job;
          job.c.op = type.op, job.c.in = type.in, job.c.out = type.out;
          job.c.shape = shape.sizes, job.c.axis = shape.axis, job.c.mask = mask;
          if (shape.strided) job.c.in_layout.gap = {1, 2};
          job.c.kind = support::kAllKinds[turn % 3];
          job.c.reverse = turn % 2 == 1;
          if (turn % 4 >= 2) job.c.total = Total::own;
          if (turn % 5 >= 3) job.c.first = support::First::kept;
          job.c.seed = static_cast<std::uint64_t>(++turn);
          job.tuning.layout = static_cast<int>(shape.layout);
          job.tuning.capability = capability;
          jobs.push_back(job);
        }
  }
  return jobs;
}

}  // namespace

int check_layouts(const std::string& words) {
  const std::vector<Job> jobs = layout_jobs(words);
  if (jobs.empty()) {
    std::printf("no layout is called %s\n", words.c_str());
    return 1;
  }
  Tally tally;
  in_parallel(jobs.size(), [&](std::size_t i) {
    thread_local Lane lane;
    const Planned next(jobs[i]);
    tally.add_kernel(next.plan.layout);
    const std::string trouble = lane.worker.check(next.job, next.built);
    const bool other = static_cast<int>(next.plan.layout) != next.job.tuning.layout;
    tally.add(next.job, next.built, next.plan, other ? fmt::format("this case is to show layout {}", next.job.tuning.layout) : trouble);
  });
  return tally.report();
}

}  // namespace gpu_check
