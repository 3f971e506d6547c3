#include "tuning/cpu_stages.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "cpu/kernels.h"

namespace cumulus::tuning {
namespace {

// The seeds' rules as far as a CPU has something like it; docs/tuning.md says what stands for what.
constexpr double kLeastAmplification = 1.02, kFullRate = 0.97;  // nothing is left to gain
constexpr double kBusy = 0.75, kMappedRate = 0.90, kTiledRate = 0.95;

// Powers of two from least to most, and the planner's own value.
Parameter powers(const char* name, std::int64_t least, std::int64_t most, std::int64_t own) {
  Parameter parameter{name, {own}, own};
  for (std::int64_t value = least; value <= most; value *= 2) parameter.values.push_back(value);
  std::sort(parameter.values.begin(), parameter.values.end());
  parameter.values.erase(std::unique(parameter.values.begin(), parameter.values.end()), parameter.values.end());
  return parameter;
}

Parameter flag(const char* name, bool own) { return {name, {0, 1}, own ? 1 : 0}; }

bool by_rows(const Plan& plan) { return plan.lane_dim < 0; }

// Units of work that threads take by ticket: what a launch grid is on a GPU.
std::int64_t units(const Problem& p, const Plan& plan) {
  if (by_rows(plan)) {
    if (plan.algorithm == Algorithm::split_rows) return p.rows * ((p.n + plan.tile - 1) / plan.tile);
    const std::int64_t row = std::max<std::int64_t>(1, p.n * bytes(p.in_dtype));
    return (p.rows * row + plan.batch - 1) / plan.batch;
  }
  const std::int64_t columns = p.dim[plan.lane_dim].size, strips = p.rows / columns * strip_count(columns, plan.strip);
  return plan.algorithm == Algorithm::split_columns ? strips * ((p.n + cpu::kChunk - 1) / cpu::kChunk) : strips;
}

struct Context {
  Problem problem;
  cpu::CpuInfo cpu;
  CpuFigures figures;

  Plan plan(const Parameters& parameters) const { return make_plan(problem, cpu, cpu_tuning(parameters)); }
  double rate(double ms) const { return ms > 0 ? figures.copy_ms / ms : 0; }
};
using Shared = std::shared_ptr<const Context>;

// What every stage looks at, and the rule that ends every one.
Look look_at(const Context& c, const Plan& plan, double ms) {
  const double amplification = static_cast<double>(plan.bytes_moved) / static_cast<double>(std::max<std::int64_t>(1, plan.bytes_required));
  Look look{{{"traffic amplification", amplification}, {"of the copy", c.rate(ms)}}, ""};
  if (amplification <= kLeastAmplification && c.rate(ms) >= kFullRate)
    look.skip = fmt::format("every byte moves once and at {:.2f} of the copy's rate: nothing is left to gain", c.rate(ms));
  return look;
}

Stage grid(const Shared& c, const Plan& plan) {
  const std::int64_t most = c->problem.threads > 0 ? c->problem.threads : c->cpu.cores;
  Parameter threads = powers("threads", 1, most, plan.threads);
  if (threads.values.back() < most) threads.values.push_back(most);
  return {"grid and parallel mapping",
          {threads, flag("split", plan.algorithm == Algorithm::split_rows || plan.algorithm == Algorithm::split_columns)},
          [c](const Parameters& parameters, double ms) {
            const Plan now = c->plan(parameters);
            Look look = look_at(*c, now, ms);
            const double busy = c->figures.busy(parameters);
            look.metrics["cores busy"] = busy;
            look.metrics["units of work"] = static_cast<double>(units(c->problem, now));
            if (look.skip.empty() && busy >= kBusy && c->rate(ms) >= kMappedRate)
              look.skip =
                  fmt::format("the cores are busy {:.0f} % of the time and the rate is {:.2f} of the copy's", 100 * busy, c->rate(ms));
            return look;
          }};
}

Stage tiling(const Shared& c, const Plan& plan) {
  const std::int64_t element = bytes(c->problem.kernel);
  std::vector<Parameter> parameters;
  if (by_rows(plan)) {
    cpu::Tuning split;
    split.split = 1;  // its tile, whether the planner splits rows or not
    parameters.push_back(powers("tile", cpu::kChunk, 256 * cpu::kChunk, make_plan(c->problem, c->cpu, split).tile));
    parameters.push_back(powers("batch", 16 << 10, 16 << 20, plan.batch));
  } else {
    parameters.push_back(powers("strip", std::max<std::int64_t>(1, 64 / element), 32768 / element, plan.strip));
  }
  return {"block tiling", parameters, [c](const Parameters& now, double ms) {
            const Plan its = c->plan(now);
            Look look = look_at(*c, its, ms);
            look.metrics["tile"] = static_cast<double>(its.tile);
            look.metrics["strip"] = static_cast<double>(its.strip);
            if (look.skip.empty() && c->rate(ms) >= kTiledRate)
              look.skip = fmt::format("the rate is {:.2f} of the copy's: tiles do not hold it back", c->rate(ms));
            return look;
          }};
}

Parameter ahead(const Plan& plan) { return by_rows(plan) ? powers("ahead", 256, 16384, plan.ahead) : powers("ahead", 1, 64, plan.ahead); }

Stage memory(const Shared& c, const Plan& plan) {
  return {"memory efficiency and latency hiding", {flag("streaming", plan.streaming), ahead(plan)}, [c](const Parameters& now, double ms) {
            const Plan its = c->plan(now);
            Look look = look_at(*c, its, ms);
            look.metrics["results bypass the cache"] = its.streaming;
            look.metrics["elements ahead"] = static_cast<double>(its.ahead);
            return look;
          }};
}

Stage micro(const Shared& c, const Plan& plan) {
  return {"final micro-tuning", {ahead(plan), flag("staged", plan.staged)}, [c](const Parameters& now, double ms) {
            const Plan its = c->plan(now);
            Look look = look_at(*c, its, ms);
            look.metrics["elements ahead"] = static_cast<double>(its.ahead);
            look.metrics["through a buffer"] = its.staged;
            return look;
          }};
}

}  // namespace

std::string what_runs(const Problem& problem, const Plan& plan) {
  std::string text = fmt::format("{} threads {} staged {} streaming {}", name(plan.algorithm), plan.threads, plan.staged, plan.streaming);
  if (plan.algorithm == Algorithm::split_rows) return text + fmt::format(" tile {}", plan.tile);
  if (!by_rows(plan)) return text + fmt::format(" strip {} ahead {}", plan.strip, plan.staged ? 0 : plan.ahead);
  const std::int64_t row = std::max<std::int64_t>(1, problem.n * bytes(problem.in_dtype));
  text += fmt::format(" rows {}", std::clamp<std::int64_t>(plan.batch / row, 1, problem.rows));
  return plan.streaming && plan.algorithm == Algorithm::rows ? text + fmt::format(" ahead {}", plan.ahead) : text;
}

std::vector<Stage> cpu_stages(const Problem& problem, const cpu::CpuInfo& cpu, const CpuFigures& figures) {
  const Shared context = std::make_shared<const Context>(Context{problem, cpu, figures});
  const Plan plan = make_plan(problem, cpu);
  if (plan.algorithm == Algorithm::none) return {};
  return {grid(context, plan), tiling(context, plan), memory(context, plan), micro(context, plan)};
}

}  // namespace cumulus::tuning
