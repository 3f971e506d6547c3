#include "tuning/cuda_stages.h"

#include <algorithm>
#include <array>
#include <memory>
#include <set>

#include <fmt/format.h>

namespace cumulus::tuning {
namespace {

constexpr double kLeastAmplification = 1.02, kFullRate = 0.97;  // nothing is left to gain
constexpr double kWarpsActive = 0.60, kTiledRate = 0.95;        // enough of an SM's warps, at a rate that shows it
constexpr int kAsync = static_cast<int>(cuda::Copies::async), kBulk = static_cast<int>(cuda::Copies::bulk),
              kTensor = static_cast<int>(cuda::Copies::tensor);
constexpr int kBeforeHopper = 80, kHopper = 90;  // the path of loads in flight, and that of bulk copies

struct Field {
  const char* name;
  int cuda::Tuning::*tuned;
};
constexpr Field kFields[] = {
    {"capability", &cuda::Tuning::capability}, {"layout", &cuda::Tuning::layout},   {"warps", &cuda::Tuning::warps},
    {"segments", &cuda::Tuning::segments},     {"chunks", &cuda::Tuning::chunks},   {"slots", &cuda::Tuning::slots},
    {"flight", &cuda::Tuning::flight},         {"columns", &cuda::Tuning::columns}, {"blocks", &cuda::Tuning::blocks},
    {"reducers", &cuda::Tuning::reducers},     {"storers", &cuda::Tuning::storers}, {"scanners", &cuda::Tuning::scanners},
    {"copies", &cuda::Tuning::copies},         {"team", &cuda::Tuning::team},       {"panel", &cuda::Tuning::panel}};

Parameter values(const char* name, std::int64_t own, std::vector<std::int64_t> all) {
  all.push_back(own);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return {name, std::move(all), own};
}

struct Context {
  Problem problem;
  cuda::DeviceInfo device;
  CudaFigures figures;

  cuda::Plan plan(const Parameters& parameters) const { return make_plan(problem, device, cuda_tuning(parameters)); }
};
using Shared = std::shared_ptr<const Context>;

// Threads that can do nothing for most of the device: candidates of that kind take minutes where others take milliseconds.
bool idles(const cuda::Plan& plan, const cuda::DeviceInfo& device) {
  return static_cast<std::int64_t>(plan.grid) * plan.threads < std::int64_t{32} * device.sms;
}

// What every stage looks at: the counters' figures where there are any, else the plan's.
struct Seen {
  double amplification, warps_active, rate;
  std::map<std::string, double> metrics;
};

Seen see(const Context& c, const Parameters& parameters, double ms) {
  const cuda::Plan plan = c.plan(parameters);
  const auto required = static_cast<double>(std::max<std::int64_t>(1, plan.bytes_required));
  Seen seen{static_cast<double>(plan.bytes_moved) / required,
            static_cast<double>(plan.warps * plan.blocks_per_sm) / static_cast<double>(std::max(1, c.device.warps_per_sm)),
            ms > 0 ? c.figures.copy_ms / ms : 0,
            {{"launch grid", plan.grid}}};
  const auto counted = c.figures.counters ? c.figures.counters(parameters) : std::nullopt;
  if (counted) {
    seen.amplification = counted->bytes_moved / required;
    seen.warps_active = counted->warps_active;
    seen.metrics["DRAM throughput, counted"] = counted->dram;
  }
  const char* const origin = counted ? "counted" : "of the plan";
  seen.metrics["of the copy"] = seen.rate;
  seen.metrics[fmt::format("traffic amplification, {}", origin)] = seen.amplification;
  seen.metrics[fmt::format("warps active, {}", origin)] = seen.warps_active;
  return seen;
}

// And the rule that ends every stage.
Look look_at(const Seen& seen) {
  Look look{seen.metrics, ""};
  if (seen.amplification <= kLeastAmplification && seen.rate >= kFullRate)
    look.skip = fmt::format("every byte moves once and at {:.2f} of the copy's rate: nothing is left to gain", seen.rate);
  return look;
}

std::function<Look(const Parameters&, double)> looks(const Shared& c) {
  return [c](const Parameters& parameters, double ms) { return look_at(see(*c, parameters, ms)); };
}

// Those that can serve the problem and keep the device busy with it.
std::vector<std::int64_t> layouts(const Problem& problem, const cuda::DeviceInfo& device) {
  std::vector<std::int64_t> found;
  for (int layout = 1; layout <= static_cast<int>(cuda::kLastLayout); ++layout) {
    const cuda::Plan plan = make_plan(problem, device, cuda_tuning({{"layout", layout}}));
    if (static_cast<int>(plan.layout) == layout && !idles(plan, device)) found.push_back(layout);
  }
  return found;
}

Stage grid(const Shared& c, const cuda::Plan& plan) {
  const std::int64_t sms = c->device.sms;
  return {"grid and parallel mapping",
          {values("layout", static_cast<int>(plan.layout), layouts(c->problem, c->device)),
           values("blocks", plan.grid, {sms / 2, sms, 2 * sms})},
          looks(c)};
}

Stage tiling(const Shared& c, const cuda::Plan& plan) {
  return {"block tiling",
          {values("segments", plan.segments, {1, 2, 4, 8, 16, 32}), values("chunks", plan.chunks, {1, 2, 4}),
           values("columns", plan.columns, {1, 2, 4})},
          [c](const Parameters& parameters, double ms) {
            const Seen seen = see(*c, parameters, ms);
            Look look = look_at(seen);
            if (look.skip.empty() && seen.warps_active >= kWarpsActive && seen.rate >= kTiledRate)
              look.skip = fmt::format("{:.0f} % of the warps are active, at {:.2f} of the copy's rate", 100 * seen.warps_active, seen.rate);
            return look;
          }};
}

Stage memory(const Shared& c, const cuda::Plan& plan) {
  const std::int64_t own = c->device.capability >= kHopper ? c->device.capability : kBeforeHopper;
  return {"memory efficiency and latency hiding",
          {values("slots", plan.slots, {2, 3, 4, 5, 6, 8, 12, 16, 24}), values("flight", plan.flight, {1, 2, 3, 4, 5, 6, 8}),
           values("capability", own, {kBeforeHopper}), values("copies", static_cast<int>(plan.copies), {kAsync, kBulk, kTensor})},
          looks(c)};
}

Stage micro(const Shared& c, const cuda::Plan& plan) {
  const auto near = [](const char* name, std::int64_t own) { return values(name, own, {std::max<std::int64_t>(1, own - 1), own + 1}); };
  const int warps = plan.layout == cuda::Layout::column_ring ? plan.warps - 1 : plan.warps;  // one of the ring's loads
  return {"final micro-tuning",
          {values("warps", warps, {1, 2, 4, 8, 16}), near("flight", plan.flight), near("reducers", plan.reducers),
           near("storers", plan.storers), near("scanners", plan.scanners), values("team", plan.team, {1, 2, 4})},
          looks(c)};
}

// ---- the space of an exhaustive search ----

// Values that are set together, as roles that share a block's warps are.
using Choices = std::vector<std::vector<Parameters>>;

std::vector<Parameters> each(const char* name, std::vector<std::int64_t> all) {
  std::vector<Parameters> choices;
  for (const std::int64_t value : all) choices.push_back({{name, value}});
  return choices;
}

std::vector<Parameters> roles(std::vector<std::array<std::int64_t, 3>> all) {
  std::vector<Parameters> choices;
  for (const auto& [reducers, storers, scanners] : all)
    choices.push_back({{"reducers", reducers}, {"storers", storers}, {"scanners", scanners}});
  return choices;
}

// From too little to too much of everything that a layout has. Rings have three slots at least: one being filled, one used, one free.
Choices space_of(cuda::Layout layout, const cuda::DeviceInfo& device) {
  const std::int64_t sms = device.sms;
  const auto paths = each("capability", {device.capability, kBeforeHopper});
  switch (layout) {
    case cuda::Layout::rows:
      return {each("warps", {1, 2, 4, 5, 8, 10, 16}), each("segments", {1, 2, 4, 8, 16, 32})};
    case cuda::Layout::spread_rows:
      return {each("warps", {8, 16})};
    case cuda::Layout::split_rows:
      return {paths,
              each("blocks", {sms / 4, sms / 2, sms}),
              each("chunks", {1, 2, 4}),
              each("slots", {3, 4, 6, 9, 12, 24}),
              each("flight", {1, 2, 3, 4}),
              roles({{2, 4, 4}, {3, 4, 8}, {4, 6, 8}, {4, 8, 12}})};
    case cuda::Layout::column_ring:
      return {paths,
              each("copies", {kAsync, kBulk, kTensor}),
              each("columns", {1, 2, 4}),
              each("warps", {2, 4, 8}),
              each("slots", {3, 4, 8, 16}),
              each("flight", {1, 2, 4, 8})};
    case cuda::Layout::split_columns:
      return {paths,
              each("copies", {kAsync, kBulk, kTensor}),
              each("columns", {1, 2}),
              each("slots", {3, 6, 12}),
              each("flight", {1, 2, 4}),
              each("scanners", {3, 7})};
    default:
      return {};  // nothing to choose
  }
}

void for_each_combination(const Choices& choices, const std::function<void(const Parameters&)>& visit, const Parameters& chosen = {}) {
  if (choices.empty()) return visit(chosen);
  for (const Parameters& choice : choices.front()) {
    Parameters more = chosen;
    more.insert(choice.begin(), choice.end());
    for_each_combination({choices.begin() + 1, choices.end()}, visit, more);
  }
}

}  // namespace

cuda::Tuning cuda_tuning(const Parameters& parameters) {
  cuda::Tuning tuning;
  for (const Field& field : kFields)
    if (const auto found = parameters.find(field.name); found != parameters.end())
      tuning.*field.tuned = static_cast<int>(std::clamp<std::int64_t>(found->second, 0, 1 << 20));
  if (tuning.layout > static_cast<int>(cuda::kLastLayout)) tuning.layout = 0;
  return tuning;
}

std::vector<std::string> cuda_names() {
  std::vector<std::string> names;
  for (const Field& field : kFields) names.emplace_back(field.name);
  return names;
}

std::string what_launches(const Problem& problem, const cuda::Plan& plan) {
  std::string text = fmt::format("grid {} shared {}", plan.grid, plan.shared);
  for (const std::string& definition : definitions(problem, plan)) text += " " + definition;
  return text;
}

std::string why_unfit(const Problem& p, const cuda::Plan& plan, const cuda::DeviceInfo& device) {
  if (plan.grid == 0 || plan.threads == 0) return "no thread would run";
  if (static_cast<int>(plan.threads) > device.threads_per_block)
    return fmt::format("{} threads, a block has at most {}", plan.threads, device.threads_per_block);
  if (plan.shared > device.shared_per_block)
    return fmt::format("{} bytes of shared memory, a block has at most {}", plan.shared, device.shared_per_block);
  if (plan.warps * plan.blocks_per_sm > device.warps_per_sm) return fmt::format("an SM has {} warps", device.warps_per_sm);
  if (plan.layout == cuda::Layout::rows) {
    constexpr int kChunkSegments = 32, kMostSegments = 512;
    if (plan.segments < 1 || plan.segments > kChunkSegments || (plan.segments & (plan.segments - 1)) != 0)
      return fmt::format("{} segments of a warp are no power of two up to {}", plan.segments, kChunkSegments);
    const int tile = plan.warps * plan.segments, chunks = tile / kChunkSegments;
    if (tile > kMostSegments || (tile >= kChunkSegments && tile % kChunkSegments != 0) || (plan.walks && (chunks & (chunks - 1)) != 0))
      return fmt::format("a tile of {} segments is no balanced part of the order", tile);
  }
  const bool ring = plan.layout == cuda::Layout::split_rows || plan.layout == cuda::Layout::split_columns;
  if (ring &&
      ((plan.reducers > 1 && plan.reducers + plan.flight > plan.slots) || (plan.storers > 1 && plan.storers + plan.flight > plan.slots)))
    return fmt::format("a ring of {} slots is too short for its warps", plan.slots);
  if (p.rows == 0) return "there are no rows";
  return "";
}

std::vector<Stage> cuda_stages(const Problem& problem, const cuda::DeviceInfo& device, const CudaFigures& figures) {
  const Shared context = std::make_shared<const Context>(Context{problem, device, figures});
  const cuda::Plan plan = make_plan(problem, device);
  if (plan.layout == cuda::Layout::none) return {};
  return {grid(context, plan), tiling(context, plan), memory(context, plan), micro(context, plan)};
}

std::vector<Parameters> cuda_space(const Problem& problem, const cuda::DeviceInfo& device) {
  const auto launched = [&](const Parameters& parameters) {
    const cuda::Plan plan = make_plan(problem, device, cuda_tuning(parameters));
    const bool good = plan.layout != cuda::Layout::none && why_unfit(problem, plan, device).empty() && !idles(plan, device);
    return good ? what_launches(problem, plan) : "";
  };
  std::vector<Parameters> space = {{}};
  std::set<std::string> seen = {launched({}), ""};
  for (const std::int64_t layout : layouts(problem, device)) {
    for_each_combination(space_of(static_cast<cuda::Layout>(layout), device), [&](Parameters parameters) {
      parameters["layout"] = layout;
      const std::string launch = launched(parameters);
      if (!seen.insert(launch).second) return;
      for (const Field& field : kFields) {
        Parameters fewer = parameters;
        if (fewer.erase(field.name) > 0 && launched(fewer) == launch) parameters = fewer;
      }
      space.push_back(parameters);
    });
  }
  return space;
}

}  // namespace cumulus::tuning
