#include "advice.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "commands.h"
#include "cuda/report.h"
#include "output.h"
#include "text_lines.h"
#include "types.h"

namespace cumulus::cli {
namespace {

using cuda::Layout;

// --- What Cumulus reaches -------------------------------------------------------------------------------------------------------

// A copy of the same bytes reaches this share of the data sheet's bandwidth: 4272 of 4800 GB/s (device-to-device memcpy of 4 GiB, H200).
constexpr double kCopyShare = 4272.0 / 4800;

// Times of a copy of the same bytes divided by times of a scan, f32: docs/performance.md (`cumulus bench --cuda`, H200, commit 646846f).
// `before_hopper`: the path of compute capabilities below 9.0, forced on that GPU.
struct Measured {
  Layout layout;
  bool before_hopper, aligned;
  WorkloadMask mask;
  double of_copy;
  const char* name;
};
constexpr Measured kMeasured[] = {
    {Layout::rows, false, true, WorkloadMask::none, 0.989, "workload/89-cumsum"},
    {Layout::rows, true, true, WorkloadMask::none, 0.988, "before-hopper/89-cumsum"},
    {Layout::rows, false, true, WorkloadMask::boolean, 0.978, "workload/93-mask-bool"},
    {Layout::rows, false, true, WorkloadMask::real, 1.016, "workload/93-mask-f32"},
    {Layout::rows, false, false, WorkloadMask::none, 0.957, "workload/92-prefixes"},
    {Layout::split_rows, false, true, WorkloadMask::none, 0.962, "1d/2^30"},
    {Layout::split_rows, true, true, WorkloadMask::none, 0.612, "before-hopper/2^30"},
    {Layout::split_rows, false, false, WorkloadMask::none, 0.868, "1d/2^30-1"},
    {Layout::short_rows, false, true, WorkloadMask::none, 0.996, "short/2^24x64"},
    {Layout::packed_rows, false, false, WorkloadMask::none, 0.990, "short/2^24x63"},
};

// The case of the plan's structure: of the GPU's own path if that was measured, else of Hopper's.
const Measured* measured_case(const cuda::Plan& plan, WorkloadMask mask, bool before_hopper) {
  const Measured* best = nullptr;
  for (const Measured& one : kMeasured)
    if (one.layout == plan.layout && one.aligned == plan.aligned && one.mask == mask &&
        (one.before_hopper == before_hopper || !one.before_hopper))
      if (!best || one.before_hopper == before_hopper) best = &one;
  return best;
}

std::optional<Prediction> predict(const Advice& advice, const Workload& workload, const cuda::DeviceInfo& gpu) {
  const bool before_hopper = gpu.capability < 90;
  const Measured* found = measured_case(advice.plan, workload.mask, before_hopper);
  if (!found || advice.problem.in_dtype != DType::f32) return std::nullopt;
  std::string basis = fmt::format("{:.3f} of a copy as in '{}', a copy at {:.3f} of the data sheet's bandwidth, both measured on an H200",
                                  found->of_copy, found->name, kCopyShare);
  if (before_hopper && !found->before_hopper) basis += "; on the path for Hopper, because that before it was not measured in this case";
  const double rate = static_cast<double>(gpu.bandwidth) * kCopyShare * found->of_copy;
  return Prediction{static_cast<double>(advice.plan.bytes_moved) / rate, basis};
}

// --- What the profile says ------------------------------------------------------------------------------------------------------

constexpr double kWrites = 35, kReuse = 65;     // L2 hit rates, per cent: see moves() below
constexpr double kBusy = 75, kMemoryBusy = 80;  // per cent of the peak
constexpr double kStallSkip = 15, kWarpsSkip = 60;

std::string percent(const std::optional<double>& value) { return value ? fmt::format("{:.2f} %", *value) : "absent"; }

std::string limit_of(const KernelProfile& kernel) {
  if (kernel.dram && *kernel.dram >= kMemoryBusy)
    return fmt::format("DRAM bandwidth ({} of the peak): only fewer bytes make it faster", percent(kernel.dram));
  if (kernel.sm && *kernel.sm >= kBusy)
    return fmt::format("the SMs ({} of the peak, DRAM {}): instructions, not memory", percent(kernel.sm), percent(kernel.dram));
  if (kernel.warps_active && *kernel.warps_active < 50)
    return fmt::format("latency: only {} of the warps are active", percent(kernel.warps_active));
  if (kernel.stall && *kernel.stall > kStallSkip)
    return fmt::format("latency: {} of the active warps wait for memory", percent(kernel.stall));
  if (!kernel.dram || !kernel.sm) return "unknown: the profile lacks DRAM or SM throughput";
  return fmt::format("nothing at its peak (DRAM {}, SMs {}): latency, to be confirmed by the long-scoreboard stall", percent(kernel.dram),
                     percent(kernel.sm));
}

// The largest grids of a document walk the tensors; kernels with a fraction of their blocks work on totals of blocks.
bool walks_tensors(const KernelProfile& kernel, const std::vector<KernelProfile>& kernels) {
  std::int64_t largest = 0;
  for (const KernelProfile& other : kernels) largest = std::max(largest, other.grid.value_or(0));
  return !kernel.grid || *kernel.grid >= largest / 2;
}

// In a streaming kernel a sector that is read misses L2 and one that is written hits: the hit rate is the share of writes, 0 for reading
// alone, 50 % for a copy. Far above that, sectors are touched again: they are counted once.
bool writes_tensor(const KernelProfile& kernel) { return kernel.l2_hit.value_or(0) >= kWrites; }

struct Traffic {
  std::int64_t in, out;  // bytes of the input (mask included) and of the result
};

Traffic traffic_of(const Problem& problem, const cuda::Plan& plan) {
  const std::int64_t out = problem.rows * problem.n_out * bytes(problem.out_dtype);
  return {plan.bytes_required - out, out};
}

void read_profile(const Document& document, const Traffic& traffic, Advice& advice) {
  const auto bandwidth = static_cast<double>(document.gpu.bandwidth);
  bool first = true;
  for (const KernelProfile& kernel : document.kernels) {
    KernelFinding finding{kernel.name, walks_tensors(kernel, document.kernels), 0, 0, std::nullopt, limit_of(kernel)};
    if (finding.whole) {
      finding.bytes = (first ? traffic.in : traffic.out) + (writes_tensor(kernel) ? traffic.out : 0);
      if (kernel.dram && *kernel.dram > 0) finding.seconds = static_cast<double>(finding.bytes) / (bandwidth * *kernel.dram / 100);
      first = false;
    }
    finding.passes = traffic.out > 0 ? static_cast<double>(finding.bytes) / static_cast<double>(traffic.out) : 0;
    advice.kernels.push_back(std::move(finding));
  }
}

int count(std::string_view text, std::string_view part) {
  int found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++found;
  return found;
}

// PyTorch's own kernels around those of the profile: each reads and writes a whole tensor.
void read_torch_calls(const std::string& code, const Traffic& traffic, Advice& advice) {
  const int flips = count(code, ".flip("), cats = count(code, "torch.cat(");
  if (__builtin_mul_overflow(std::int64_t{2} * (flips + cats), traffic.out, &advice.torch_bytes))
    throw CliError(kExitUsage, fmt::format("--shape: {} flips and cats of {} each move more bytes than 63 bits count: give a smaller shape",
                                           flips + cats, bytes_text(traffic.out)));
  if (flips > 0) advice.torch_calls = fmt::format("{} flip{}", flips, flips > 1 ? "s" : "");
  if (cats > 0) advice.torch_calls += fmt::format("{}{} cat{}", flips > 0 ? ", " : "", cats, cats > 1 ? "s" : "");
}

void sum_up(const cuda::DeviceInfo& gpu, Advice& advice) {
  const auto bandwidth = static_cast<double>(gpu.bandwidth);
  double profiled = 0, seconds = 0;  // of any number of kernels: more bytes than an integer may count
  bool timed = true;
  for (const KernelFinding& kernel : advice.kernels) {
    if (!kernel.whole) continue;
    profiled += static_cast<double>(kernel.bytes);
    timed = timed && kernel.seconds;
    seconds += kernel.seconds.value_or(0);
  }
  const double all = profiled + static_cast<double>(advice.torch_bytes);
  advice.amplification = advice.plan.bytes_required > 0 ? all / static_cast<double>(advice.plan.bytes_required) : 1;
  advice.best_seconds = all / bandwidth;
  if (!timed || seconds <= 0) return;
  advice.dram_rate = profiled / seconds / bandwidth;
  advice.now_seconds = seconds + static_cast<double>(advice.torch_bytes) / bandwidth;
}

// --- What the stage allows ------------------------------------------------------------------------------------------------------

// The least value of a counter over the kernels that walk tensors; nothing if one lacks it.
std::optional<double> least(const Document& document, const Advice& advice, std::optional<double> KernelProfile::*member) {
  std::optional<double> found;
  for (std::size_t i = 0; i < document.kernels.size(); ++i) {
    if (!advice.kernels[i].whole) continue;
    const std::optional<double>& value = document.kernels[i].*member;
    if (!value) return std::nullopt;
    found = std::min(found.value_or(*value), *value);
  }
  return found;
}

// The values that the code gives a parameter: "num_stages=2"; Triton's own default where it names none.
std::vector<int> current_values(const std::string& code, const std::string& parameter) {
  std::vector<int> values;
  const std::string text = parameter + "=";
  for (std::size_t at = 0; (at = code.find(text, at)) != std::string::npos;) {
    at += text.size();
    int value = 0;
    if (std::from_chars(code.data() + at, code.data() + code.size(), value).ec == std::errc()) values.push_back(value);
  }
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  if (values.empty() && parameter == "num_warps") return {4};
  if (values.empty() && parameter == "num_stages") return {3};
  return values;
}

Decision skip_rule(const Document& document, const Advice& advice) {
  const std::optional<double> warps = least(document, advice, &KernelProfile::warps_active),
                              sm = least(document, advice, &KernelProfile::sm), stall = least(document, advice, &KernelProfile::stall),
                              hit = least(document, advice, &KernelProfile::l2_hit);
  const auto verdict = [](bool known, bool skip) { return !known ? "undecided" : skip ? "skip" : "enter"; };
  switch (document.stage.stage) {
    case Stage::grid:
      return {"skip when SM throughput >= 75 %", verdict(sm.has_value(), sm >= 75), fmt::format("least of the kernels: {}", percent(sm))};
    case Stage::tiles:
      return {"skip when warps active >= 60 %", verdict(warps.has_value(), warps >= kWarpsSkip),
              fmt::format("least of the kernels: {}", percent(warps))};
    case Stage::memory:
      return {"skip when the memory stall <= 15 %", verdict(stall.has_value(), stall <= kStallSkip),
              stall ? fmt::format("least of the kernels: {}", percent(stall)) : "the profile has no stall metric"};
    case Stage::micro:
      break;
  }
  return {"skip when L2 hit rate >= 90 % and the memory stall <= 10 %", verdict(hit && (*hit < 90 || stall), hit >= 90 && stall <= 10),
          fmt::format("L2 hit rate {}, stall {}", percent(hit), percent(stall))};
}

Decision nothing_left_rule(const Advice& advice) {
  const std::string rule = "skip every stage when amplification <= 1.02 and the rate >= 0.97 of a copy";
  const std::string rate =
      advice.dram_rate ? fmt::format("{:.2f} of a copy (at an H200's {:.3f} of the bandwidth)", *advice.dram_rate / kCopyShare, kCopyShare)
                       : "unknown";
  const bool skip = advice.amplification <= 1.02 && advice.dram_rate && *advice.dram_rate >= 0.97 * kCopyShare;
  return {rule, skip ? "skip" : "enter", fmt::format("amplification at least {:.2f}, rate {}", advice.amplification, rate)};
}

// One parameter that the stage may touch: which values to try beside the current ones.
Decision parameter_rule(const Document& document, const Advice& advice, const Candidates& candidates) {
  const std::vector<int> current = current_values(without_comments(document.code), candidates.parameter);
  const std::string rule = fmt::format("{} in {{{}}}", candidates.parameter, fmt::join(candidates.values, ", "));
  const std::optional<double> warps = least(document, advice, &KernelProfile::warps_active),
                              stall = least(document, advice, &KernelProfile::stall);
  if (candidates.parameter == "num_warps" && warps >= kWarpsSkip)
    return {rule, "keep",
            fmt::format("occupancy suggests no change: at least {} of the warps are active, and 60 % are enough", percent(warps))};
  if (candidates.parameter == "num_stages" && document.stage.stage == Stage::memory && stall && *stall <= kStallSkip)
    return {rule, "keep", fmt::format("memory stalls are low: {}", percent(stall))};
  std::vector<int> tries;
  for (const int value : candidates.values) {
    const bool is_current = std::find(current.begin(), current.end(), value) != current.end();
    const bool near = document.stage.stage != Stage::micro || candidates.parameter != "num_stages" ||
                      std::any_of(current.begin(), current.end(), [&](int c) { return std::abs(c - value) == 1; });
    if (!is_current && near) tries.push_back(value);
  }
  const std::string bound = advice.dram_rate
                                ? fmt::format("; at most a factor of {:.2f} is to be had, for DRAM runs at {:.0f} % of its peak",
                                              std::max(1.0, 1 / *advice.dram_rate), 100 * *advice.dram_rate)
                                : "";
  const bool unsure = document.stage.stage == Stage::memory && candidates.parameter == "num_stages" && !stall;
  const std::string now =
      fmt::format("{}now {}{}", unsure ? "unsure, for the profile has no stall metric; " : "", fmt::join(current, ", "), bound);
  if (tries.empty()) return {rule, "keep", now + "; no other value is near"};
  return {rule, fmt::format("try {}", fmt::join(tries, ", ")),
          now + "; the original stays among the candidates, a gain below 2 % is reverted"};
}

void decide(const Document& document, Advice& advice) {
  std::vector<Decision>& decisions = advice.decisions;
  for (const std::string& dead : document.dead_metrics)
    decisions.push_back({dead, "dead metric", fmt::format("no GPU has it: collect {}", replacement(dead))});
  decisions.push_back(nothing_left_rule(advice));
  decisions.push_back(skip_rule(document, advice));
  const bool skipped = decisions.end()[-1].verdict == "skip" || decisions.end()[-2].verdict == "skip";
  for (const Candidates& candidates : document.stage.parameters) {
    if (skipped) decisions.push_back({candidates.parameter, "keep", "the stage is skipped"});
    else decisions.push_back(parameter_rule(document, advice, candidates));
  }
  if (document.stage.stage == Stage::memory)
    decisions.push_back({"no rewrite of access patterns without metric evidence", advice.amplification > 1.02 ? "allowed" : "refused",
                         fmt::format("amplification at least {:.2f}", advice.amplification)});
  const double factor = advice.floor_seconds > 0 ? advice.best_seconds / advice.floor_seconds : 1;
  if (factor > 1.02)
    decisions.push_back(
        {"what any tuning of these kernels can reach", fmt::format("{:.2f} ms", 1e3 * advice.best_seconds),
         fmt::format("the same passes at the full bandwidth, {:.2f} times the floor: the number of passes has to change", factor)});
}

}  // namespace

Advice advise(const Document& document, const Workload& workload, std::int64_t rows, std::int64_t columns, DType dtype) {
  Advice advice{};
  advice.problem = problem_of(workload, rows, columns, dtype);
  advice.plan = cuda::make_plan(advice.problem, document.gpu);
  advice.floor_seconds = cuda::floor_seconds(advice.plan, document.gpu);
  advice.prediction = predict(advice, workload, document.gpu);
  const Traffic traffic = traffic_of(advice.problem, advice.plan);
  read_profile(document, traffic, advice);
  read_torch_calls(without_comments(document.code), traffic, advice);
  sum_up(document.gpu, advice);
  decide(document, advice);
  return advice;
}

}  // namespace cumulus::cli
