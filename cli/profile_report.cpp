#include "profile_report.h"

#include <fmt/core.h>

#include <algorithm>

#include "cuda/report.h"
#include "spec_table.h"
#include "types.h"

namespace cumulus::cli {
namespace {

using cuda::GpuProfile;
using cuda::MeasuredCounters;
using cuda::Quantity;

// The thresholds of advise: from here on a unit is the one that holds everything up.
constexpr double kMemoryBusy = 80, kSmBusy = 75;     // per cent of the peak
constexpr double kFewWarps = 50, kMemoryStall = 15;  // per cent
constexpr double kWasted = 1.05;                     // bytes moved / bytes that must move
constexpr double kCopyLike = 0.85;                   // of a copy's rate
constexpr const char* kKernelName = cuda::kEntry;

double as_double(std::int64_t value) { return static_cast<double>(value); }
std::string percent(double value) { return fmt::format("{:.1f} %", value); }
std::string percent(const std::optional<double>& value) { return value ? percent(*value) : "unknown"; }
std::string bytes_text(double bytes) { return cumulus::cli::bytes_text(static_cast<std::int64_t>(bytes)); }

std::string time_text(double ms) { return ms < 1 ? fmt::format("{:.1f} us", 1e3 * ms) : fmt::format("{:.3f} ms", ms); }

std::string scan_text(const BenchCase& scan) {
  return fmt::format("{}{} {} of {} {} along axis {}{}{}", scan.reverse ? "reverse " : "", kKindName[static_cast<int>(scan.kind)],
                     name(scan.op), shape_text(scan.shape), name(scan.in), scan.axis,
                     scan.in == scan.out ? "" : fmt::format(" to {}", name(scan.out)),
                     scan.mask == MaskUse::none ? "" : fmt::format(", mask {}", scan.mask == MaskUse::select ? "bool" : name(scan.in)));
}

// What both devices' profiles have; `cumulus report` reads it.
Json head_json(const BenchCase& scan, const char* device, Json machine) {
  const std::int64_t length = scan.shape[static_cast<std::size_t>(scan.axis)];
  return {{"kind", "profile"},
          {"version", 1},
          {"device", device},
          {"machine", std::move(machine)},
          {"problem",
           {{"op", name(scan.op)},
            {"kind", kKindName[static_cast<int>(scan.kind)]},
            {"reverse", scan.reverse},
            {"in_dtype", name(scan.in)},
            {"out_dtype", name(scan.out)},
            {"shape", scan.shape},
            {"axis", scan.axis},
            {"mask", name(scan.mask)},
            {"rows", scan.count() / length},
            {"length", length}}}};
}

Json limit_json(const Limit& limit) { return {{"resource", limit.resource}, {"evidence", limit.evidence}}; }

Json or_null(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

// ---- the GPU's numbers ----

struct Times {
  Summary scan;  // in ms, whatever its fields are called
  double copy;   // ms of a copy of as many bytes
  double gbps;

  double ratio() const { return copy / scan.median_us; }
};

Times times_of(const GpuProfile& profile) {
  const double must = as_double(profile.plan.bytes_required);
  const Summary scan = summarise(profile.scan_ms);
  const double copy = summarise(profile.copy_ms).median_us * must / as_double(std::max<std::int64_t>(profile.copied, 1));
  return {scan, copy, must / scan.median_us / 1e6};
}

struct Occupancy {
  double planned;                  // per cent of the warps that an SM can hold, were its blocks all there
  std::optional<double> achieved;  // as counted
};

Occupancy occupancy_of(const GpuProfile& profile) {
  const auto& plan = profile.plan;
  const double warps = static_cast<double>(plan.threads) / profile.device.warp * plan.blocks_per_sm;
  return {100 * std::min(1.0, warps / profile.device.warps_per_sm),
          profile.counters ? (*profile.counters)[Quantity::warps_active] : std::nullopt};
}

// A unit and how busy it was.
struct Unit {
  const char* name;
  Quantity quantity;
  double busy;  // from here on it is the limit
};
constexpr Unit kUnits[] = {{"DRAM bandwidth", Quantity::dram, kMemoryBusy},
                           {"L2 cache", Quantity::l2, kMemoryBusy},
                           {"L1 and shared memory", Quantity::l1, kMemoryBusy},
                           {"the SMs' instructions", Quantity::sm, kSmBusy}};

// "DRAM bandwidth 40.0 %, L2 cache 31.0 %", without one of them.
std::string others_text(const MeasuredCounters& counters, const Unit* without) {
  std::string text;
  for (const Unit& unit : kUnits)
    if (&unit != without && counters[unit.quantity])
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", unit.name, percent(counters[unit.quantity]));
  return text.empty() ? "no other unit was counted" : text;
}

const Unit* busiest(const MeasuredCounters& counters) {
  const Unit* found = nullptr;
  for (const Unit& unit : kUnits)
    if (const auto& value = counters[unit.quantity]; value && *value >= unit.busy)
      if (!found || *value > *counters[found->quantity]) found = &unit;
  return found;
}

std::string waste_text(const GpuProfile& profile) {
  const auto traffic = traffic_of(profile);
  if (!traffic || traffic->amplification <= kWasted) return "";
  return fmt::format("; it moves {:.2f} times what must move: fewer bytes come first", traffic->amplification);
}

Limit limit_by_counters(const GpuProfile& profile, const MeasuredCounters& counters) {
  if (const Unit* unit = busiest(counters))
    return {unit->name,
            fmt::format("at {} of its peak ({}){}", percent(counters[unit->quantity]), others_text(counters, unit), waste_text(profile))};
  const std::string units = others_text(counters, nullptr);
  if (static_cast<int>(profile.plan.grid) < profile.device.sms)
    return {"parallelism", fmt::format("{} blocks for {} SMs ({})", profile.plan.grid, profile.device.sms, units)};
  if (const auto& warps = counters[Quantity::warps_active]; warps && *warps < kFewWarps)
    return {"latency", fmt::format("only {} of the warps are active and no unit is at its peak ({})", percent(warps), units)};
  if (const auto& stall = counters[Quantity::stall]; stall && *stall > kMemoryStall)
    return {"latency", fmt::format("{} of the active warps wait for memory and no unit is at its peak ({})", percent(stall), units)};
  if (!counters[Quantity::dram] || !counters[Quantity::sm]) return {"unknown", fmt::format("the chip lacks a counter for it ({})", units)};
  return {"nothing at its peak", fmt::format("{}: latency, launches or too few bytes in flight", units)};
}

// ---- the GPU's texts ----

std::string traffic_text(const GpuProfile& profile) {
  const double must = as_double(profile.plan.bytes_required), planned = as_double(profile.plan.bytes_moved);
  const std::string tail =
      fmt::format("{} must move; planned {} = {:.3f} of it", bytes_text(must), bytes_text(planned), must > 0 ? planned / must : 1);
  const auto traffic = traffic_of(profile);
  if (!traffic) return fmt::format("{}; what DRAM moved was not counted", tail);
  return fmt::format("{} moved by DRAM (read {}, written {}) = {:.3f} of what must move; {}", bytes_text(traffic->read + traffic->written),
                     bytes_text(traffic->read), bytes_text(traffic->written), traffic->amplification, tail);
}

std::string occupancy_text(const GpuProfile& profile) {
  const Occupancy occupancy = occupancy_of(profile);
  return fmt::format("planned {} ({} blocks of {} threads an SM, the driver finds room for {}); achieved {}", percent(occupancy.planned),
                     profile.plan.blocks_per_sm, profile.plan.threads, profile.blocks_per_sm,
                     occupancy.achieved ? percent(occupancy.achieved) : "not counted");
}

// The metrics with a name each, those that were counted and those that the chip lacks.
std::string metrics_text(const MeasuredCounters& counters) {
  Table table({"metric", "value", "note"});
  for (int q = 0; q < cuda::kQuantities; ++q) {
    const auto quantity = static_cast<Quantity>(q);
    const auto& value = counters[quantity];
    const std::string note = quantity == Quantity::stall ? fmt::format("in place of {}, which no GPU has", kDeadStallMetric) : "";
    table.add({cuda::kQuantityNames[q].metric, value ? fmt::format("{:.2f}", *value) : "none",
               value ? note : fmt::format("{} has no such metric", counters.chip)});
  }
  return table.text();
}

Json metrics_json(const MeasuredCounters& counters) {
  Json json = Json::object();
  for (int q = 0; q < cuda::kQuantities; ++q) json[cuda::kQuantityNames[q].metric] = or_null(counters[static_cast<Quantity>(q)]);
  return json;
}

Json launch_json(const GpuProfile& profile) {
  return {{"launch__grid_size", profile.plan.grid},
          {"launch__block_size", profile.plan.threads},
          {"launch__registers_per_thread", profile.registers},
          {"launch__shared_mem_per_block", profile.plan.shared + profile.static_shared}};
}

// A module that makes the same call. Where it is one of KernelBench's problems, `advise` recognises it.
std::string code_of(const BenchCase& scan) {
  const Workload* workload = workload_of(scan);
  if (!workload)
    return fmt::format("import cumulus.torch  # {}: none of KernelBench's problems, so there is no ModelNew for it here\n",
                       scan_text(scan));
  const std::string arguments = workload->mask == WorkloadMask::none ? "x" : "x, mask";
  const char* function = workload->op == Op::prod            ? "plain_cumprod"
                         : workload->reverse                 ? "reverse_cumsum"
                         : workload->kind == Kind::exclusive ? "exclusive_cumsum"
                                                             : "plain_cumsum";
  return fmt::format(
      "import torch\nimport cumulus.torch as ct\n\n\ndef {0}({1}, dim):\n    return ct.{2}\n\n\nclass ModelNew(torch.nn.Module):\n"
      "    def __init__(self, dim):\n        super().__init__()\n        self.dim = dim\n\n    def forward(self, {1}):\n"
      "        return {0}({1}, self.dim)\n",
      function, arguments, workload->call);
}

std::string advise_command(const BenchCase& scan) {
  const Workload* workload = workload_of(scan);
  if (!workload) return "cumulus advise FILE --workload NAME --shape ROWSxCOLUMNS";
  return fmt::format("cumulus advise FILE --workload {} --shape {}x{} --dtype {}", workload->key, scan.shape[0], scan.shape[1],
                     name(scan.in));
}

}  // namespace

Limit limit_of(const GpuProfile& profile) {
  if (profile.counters) return limit_by_counters(profile, *profile.counters);
  const Times times = times_of(profile);
  if (times.ratio() >= kCopyLike)
    return {"DRAM bandwidth", fmt::format("by timing alone: {:.2f} of the rate of a copy on the device", times.ratio())};
  return {"unknown", fmt::format("by timing alone: {:.2f} of the rate of a copy on the device; counters would tell", times.ratio())};
}

std::optional<MeasuredTraffic> traffic_of(const GpuProfile& profile) {
  if (!profile.counters) return std::nullopt;
  const auto &read = (*profile.counters)[Quantity::bytes_read], &written = (*profile.counters)[Quantity::bytes_written];
  if (!read || !written || profile.plan.bytes_required <= 0) return std::nullopt;
  return MeasuredTraffic{*read, *written, (*read + *written) / as_double(profile.plan.bytes_required)};
}

const Workload* workload_of(const BenchCase& scan) {
  if (scan.shape.size() != 2 || scan.axis != 1 || scan.in != scan.out) return nullptr;
  for (const Workload& workload : workloads()) {
    const WorkloadMask mask = scan.mask == MaskUse::none     ? WorkloadMask::none
                              : scan.mask == MaskUse::select ? WorkloadMask::boolean
                                                             : WorkloadMask::real;
    if (workload.op == scan.op && workload.kind == scan.kind && workload.reverse == scan.reverse && workload.mask == mask &&
        !workload.drops_row)
      return &workload;
  }
  return nullptr;
}

std::string table_of(const BenchCase& scan, const GpuProfile& profile) {
  const cuda::Plan& plan = profile.plan;
  const cuda::DeviceInfo& gpu = profile.device;
  const Times times = times_of(profile);
  const Limit limit = limit_of(profile);
  std::vector<std::pair<std::string, std::string>> lines = {
      {"scan", scan_text(scan)},
      {"device", fmt::format("{}, compute capability {}.{}, {} SMs", gpu.name, gpu.capability / 10, gpu.capability % 10, gpu.sms)},
      {"kernel",
       fmt::format("{}, {} copies: {} blocks of {} threads", cuda::name(plan.layout), cuda::name(plan.copies), plan.grid, plan.threads)},
      {"time", fmt::format("{}, median of {} (spread {:.1f} %), {:.0f} GB/s, {:.3f} of a device copy's rate",
                           time_text(times.scan.median_us), profile.scan_ms.size(), 100 * times.scan.spread, times.gbps, times.ratio())},
      {"floor time", fmt::format("{}, at {:.0f} GB/s", time_text(1e3 * cuda::floor_seconds(plan, gpu)), as_double(gpu.bandwidth) / 1e9)},
      {"bytes", traffic_text(profile)},
      {"registers", fmt::format("{} a thread, {} bytes spilled", profile.registers, profile.spilled)},
      {"shared memory", fmt::format("{} bytes a block", plan.shared + profile.static_shared)},
      {"occupancy", occupancy_text(profile)}};
  if (const auto& counters = profile.counters)
    lines.emplace_back("passes", fmt::format("{} runs for all counters ({}, {})", counters->passes, counters->chip, counters->library));
  lines.emplace_back("limited by", fmt::format("{}: {}", limit.resource, limit.evidence));
  return text_list(lines) + "\n" +
         (profile.counters ? metrics_text(*profile.counters) : fmt::format("No counters: {}\n", profile.why_no_counters));
}

Json json_of(const BenchCase& scan, const GpuProfile& profile) {
  const Times times = times_of(profile);
  const Occupancy occupancy = occupancy_of(profile);
  const auto traffic = traffic_of(profile);
  const cuda::Plan& plan = profile.plan;
  const auto counted = [&](double MeasuredTraffic::*member) { return traffic ? Json((*traffic).*member) : Json(nullptr); };
  Json json = head_json(scan, "cuda", {{"gpu", profile.device.name}});
  json["ms"] = times.scan.median_us;
  json["spread"] = times.scan.spread;
  json["rounds"] = profile.scan_ms.size();
  json["gbps"] = times.gbps;
  json["copy_ms"] = times.copy;
  json["ratio_copy"] = times.ratio();
  json["floor_ms"] = 1e3 * cuda::floor_seconds(plan, profile.device);
  json["traffic"] = {{"moved", traffic ? Json(traffic->read + traffic->written) : Json(nullptr)},
                     {"read", counted(&MeasuredTraffic::read)},
                     {"written", counted(&MeasuredTraffic::written)},
                     {"required", plan.bytes_required},
                     {"planned", plan.bytes_moved},
                     {"amplification", counted(&MeasuredTraffic::amplification)}};
  json["plan"] = {{"algorithm", cuda::name(plan.layout)}, {"copies", cuda::name(plan.copies)}, {"reason", plan.reason ? plan.reason : ""}};
  json["launch"] = {{"grid", plan.grid},
                    {"threads", plan.threads},
                    {"registers", profile.registers},
                    {"spilled", profile.spilled},
                    {"shared", plan.shared + profile.static_shared},
                    {"blocks_per_sm", {{"planned", plan.blocks_per_sm}, {"room_for", profile.blocks_per_sm}}}};
  json["occupancy"] = {{"planned", occupancy.planned}, {"achieved", or_null(occupancy.achieved)}};
  json["metrics"] = profile.counters ? metrics_json(*profile.counters) : Json(nullptr);
  json["dead_metrics"] = {{kDeadStallMetric, cuda::kQuantityNames[static_cast<int>(Quantity::stall)].metric}};
  json["passes"] = profile.counters ? Json(profile.counters->passes) : Json(nullptr);
  json["chip"] = profile.counters ? Json(profile.counters->chip) : Json(nullptr);
  json["why_no_counters"] = profile.counters ? Json(nullptr) : Json(profile.why_no_counters);
  json["limiting"] = limit_json(limit_of(profile));
  json["gpu"] = spec_json(profile.device, "the CUDA driver");
  return json;
}

std::string document_of(const BenchCase& scan, const GpuProfile& profile) {
  Json metrics = launch_json(profile);
  const Json counted = metrics_json(*profile.counters);
  for (const auto& [key, value] : counted.items())
    if (!value.is_null()) metrics[key] = value;
  std::string names;
  for (const Quantity quantity : {Quantity::dram, Quantity::l2_hit, Quantity::stall})
    names += fmt::format("- {}\n", cuda::kQuantityNames[static_cast<int>(quantity)].metric);
  return fmt::format(
      "{} by Cumulus; read it with: {}\n\n# Target GPU\n{}\n[OPTIMIZATION STAGE]\nFocus: Memory efficiency & latency hiding.\n\nMetrics:\n"
      "{}\n[CURRENT CODE]\n```python\n{}```\n\n[NCU PROFILING METRICS]\n{}\n",
      scan_text(scan), advise_command(scan), spec_table(profile.device.name, profile.device), names, code_of(scan),
      Json{{kKernelName, metrics}}.dump(2));
}

// ---- the CPU ----

Limit limit_of(const CpuProfile& profile) {
  const bool cached = profile.plan.bytes_required <= profile.last_cache;
  const std::string evidence = fmt::format("{:.2f} of the rate of the best copy ({})", profile.ratio(), profile.best_copy);
  if (profile.ratio() >= kCopyLike) return {cached ? "cache bandwidth" : "memory bandwidth", evidence};
  const auto value = [&](std::string_view key) -> std::optional<double> {
    for (const CpuCounter& counter : profile.counters)
      if (key == counter.key) return counter.value;
    return std::nullopt;
  };
  const auto cycles = value("cycles"), instructions = value("instructions");
  if (cycles && instructions && *cycles > 0)
    return {"the cores", fmt::format("{}, at {:.2f} instructions a cycle", evidence, *instructions / *cycles)};
  return {"the cores, or few bytes in flight", evidence + "; the counters that would tell are missing"};
}

std::string table_of(const BenchCase& scan, const CpuProfile& profile) {
  const Plan& plan = profile.plan;
  const Limit limit = limit_of(profile);
  const double must = as_double(plan.bytes_required), us = profile.scan.median_us;
  std::string text = text_list(
      {{"scan", scan_text(scan)},
       {"plan", fmt::format("{}, {} threads, {}", name(plan.algorithm), plan.threads, profile.simd)},
       {"time", fmt::format("{}, median of {} (spread {:.1f} %), {:.1f} GB/s, {:.3f} of the best copy's rate ({})", time_text(us / 1e3),
                            profile.rounds, 100 * profile.scan.spread, must / us / 1e3, profile.ratio(), profile.best_copy)},
       {"bytes", fmt::format("{} must move; planned {} = {:.3f} of it", bytes_text(must), bytes_text(as_double(plan.bytes_moved)),
                             must > 0 ? as_double(plan.bytes_moved) / must : 1)},
       {"limited by", fmt::format("{}: {}", limit.resource, limit.evidence)}});
  Table table({"counter", "a call", "an element", "note"});
  for (const CpuCounter& counter : profile.counters)
    table.add({counter.name, counter.value ? fmt::format("{:.0f}", *counter.value) : "none",
               counter.value ? fmt::format("{:.4f}", *counter.value / as_double(std::max<std::int64_t>(scan.count(), 1))) : "",
               counter.why_none});
  return text + "\n" + table.text();
}

Json json_of(const BenchCase& scan, const CpuProfile& profile) {
  Json json = head_json(scan, "cpu", {{"cpu", profile.model}, {"simd", profile.simd}});
  json["ms"] = profile.scan.median_us / 1e3;
  json["spread"] = profile.scan.spread;
  json["rounds"] = profile.rounds;
  json["gbps"] = as_double(profile.plan.bytes_required) / profile.scan.median_us / 1e3;
  json["copy_ms"] = profile.copy_us / 1e3;
  json["ratio_copy"] = profile.ratio();
  json["best_copy"] = profile.best_copy;
  json["traffic"] = {{"moved", nullptr}, {"required", profile.plan.bytes_required}, {"planned", profile.plan.bytes_moved}};
  json["plan"] = {{"algorithm", name(profile.plan.algorithm)}, {"threads", profile.plan.threads}};
  json["metrics"] = Json::object();
  json["missing_metrics"] = Json::object();
  for (const CpuCounter& counter : profile.counters) {
    json["metrics"][counter.key] = or_null(counter.value);
    if (!counter.value) json["missing_metrics"][counter.key] = counter.why_none;
  }
  json["limiting"] = limit_json(limit_of(profile));
  return json;
}

}  // namespace cumulus::cli
