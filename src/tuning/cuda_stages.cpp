#include "tuning/cuda_stages.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

namespace cumulus::tuning {
namespace {

constexpr double kLeastAmplification = 1.02, kFullRate = 0.97;  // nothing is left to gain
constexpr double kWarpsActive = 0.60;                           // of an SM's, by the plan
constexpr int kBeforeHopper = 80, kHopper = 90;                 // the path of loads in flight, and that of bulk copies

struct Field {
  const char* name;
  int cuda::Tuning::*tuned;
};
constexpr Field kFields[] = {
    {"capability", &cuda::Tuning::capability}, {"layout", &cuda::Tuning::layout},    {"warps", &cuda::Tuning::warps},
    {"segments", &cuda::Tuning::segments},     {"chunks", &cuda::Tuning::chunks},    {"slots", &cuda::Tuning::slots},
    {"flight", &cuda::Tuning::flight},         {"columns", &cuda::Tuning::columns},  {"blocks", &cuda::Tuning::blocks},
    {"reducers", &cuda::Tuning::reducers},     {"storers", &cuda::Tuning::storers},  {"scanners", &cuda::Tuning::scanners},
    {"panel", &cuda::Tuning::panel},           {"scanning", &cuda::Tuning::scanning}};

Parameter values(const char* name, std::int64_t own, std::vector<std::int64_t> all) {
  all.push_back(own);
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return {name, std::move(all), own};
}

struct Context {
  Problem problem;
  cuda::DeviceInfo device;
  double copy_ms;

  cuda::Plan plan(const Parameters& parameters) const { return make_plan(problem, device, cuda_tuning(parameters)); }
};
using Shared = std::shared_ptr<const Context>;

double warps_active(const Context& c, const cuda::Plan& plan) {
  return static_cast<double>(plan.warps * plan.blocks_per_sm) / static_cast<double>(std::max(1, c.device.warps_per_sm));
}

// What every stage looks at, and the rule that ends every one. Counters are `cumulus profile`'s: these figures are the plan's.
Look look_at(const Context& c, const Parameters& parameters, double ms) {
  const cuda::Plan plan = c.plan(parameters);
  const double amplification = static_cast<double>(plan.bytes_moved) / static_cast<double>(std::max<std::int64_t>(1, plan.bytes_required));
  const double rate = ms > 0 ? c.copy_ms / ms : 0;
  Look look{{{"traffic amplification", amplification},
             {"of the copy", rate},
             {"launch grid", plan.grid},
             {"warps active", warps_active(c, plan)}},
            ""};
  if (amplification <= kLeastAmplification && rate >= kFullRate)
    look.skip = fmt::format("every byte moves once and at {:.2f} of the copy's rate: nothing is left to gain", rate);
  return look;
}

std::function<Look(const Parameters&, double)> looks(const Shared& c) {
  return [c](const Parameters& parameters, double ms) { return look_at(*c, parameters, ms); };
}

Stage grid(const Shared& c, const cuda::Plan& plan) {
  const std::int64_t sms = c->device.sms;
  return {"grid and parallel mapping",
          {values("layout", static_cast<int>(plan.layout), {1, 2, 3, 4, 5, 6, 7}), values("blocks", plan.grid, {sms / 2, sms, 2 * sms}),
           values("scanning", plan.scanning, {1, 2, 4, 8})},
          looks(c)};
}

Stage tiling(const Shared& c, const cuda::Plan& plan) {
  return {"block tiling",
          {values("segments", plan.segments, {1, 2, 4, 8, 16, 32}), values("chunks", plan.chunks, {1, 2, 4}),
           values("columns", plan.columns, {1, 2, 4}), values("panel", plan.panel, {1, 2, 4, 8, 16})},
          [c](const Parameters& parameters, double ms) {
            Look look = look_at(*c, parameters, ms);
            if (const double active = warps_active(*c, c->plan(parameters)); look.skip.empty() && active >= kWarpsActive)
              look.skip = fmt::format("{:.0f} % of the warps are active", 100 * active);
            return look;
          }};
}

Stage memory(const Shared& c, const cuda::Plan& plan) {
  const std::int64_t own = c->device.capability >= kHopper ? c->device.capability : kBeforeHopper;
  return {"memory efficiency and latency hiding",
          {values("slots", plan.slots, {2, 3, 4, 5, 6, 8, 12, 16, 24}), values("flight", plan.flight, {1, 2, 3, 4, 5, 6, 8}),
           values("capability", own, {kBeforeHopper})},
          looks(c)};
}

Stage micro(const Shared& c, const cuda::Plan& plan) {
  const auto near = [](const char* name, std::int64_t own) { return values(name, own, {std::max<std::int64_t>(1, own - 1), own + 1}); };
  const int warps = plan.layout == cuda::Layout::column_ring ? plan.warps - 1 : plan.warps;  // one of the ring's loads
  return {"final micro-tuning",
          {values("warps", warps, {1, 2, 4, 8, 16}), near("flight", plan.flight), near("reducers", plan.reducers),
           near("storers", plan.storers), near("scanners", plan.scanners)},
          looks(c)};
}

}  // namespace

cuda::Tuning cuda_tuning(const Parameters& parameters) {
  cuda::Tuning tuning;
  for (const Field& field : kFields)
    if (const auto found = parameters.find(field.name); found != parameters.end())
      tuning.*field.tuned = static_cast<int>(std::clamp<std::int64_t>(found->second, 0, 1 << 20));
  if (tuning.layout > static_cast<int>(cuda::Layout::split_columns)) tuning.layout = 0;
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
  return text + fmt::format(" panel {} scanning {}", plan.panel, plan.scanning);
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

std::vector<Stage> cuda_stages(const Problem& problem, const cuda::DeviceInfo& device, double copy_ms) {
  const Shared context = std::make_shared<const Context>(Context{problem, device, copy_ms});
  const cuda::Plan plan = make_plan(problem, device);
  if (plan.layout == cuda::Layout::none) return {};
  return {grid(context, plan), tiling(context, plan), memory(context, plan), micro(context, plan)};
}

}  // namespace cumulus::tuning
