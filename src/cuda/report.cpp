#include "cuda/report.h"

#include <nlohmann/json.hpp>

#include "types.h"

namespace cumulus::cuda {

double floor_seconds(const Plan& plan, const DeviceInfo& device) {
  return static_cast<double>(plan.bytes_required) / static_cast<double>(device.bandwidth);
}

const char* reason(const Problem& p, const Plan& plan) {
  // The planner says how the axis lies, which says nothing of one without elements.
  return p.n == 0 && plan.layout != Layout::none ? "no elements along the axis: only initial values are shown" : plan.reason;
}

std::string to_json(const Problem& p, const Plan& plan, const DeviceInfo& device) {
  nlohmann::ordered_json json = {{"op", cumulus::name(p.op)},
                                 {"kind", kKindName[static_cast<int>(p.kind)]},
                                 {"in_dtype", cumulus::name(p.in_dtype)},
                                 {"out_dtype", cumulus::name(p.out_dtype)},
                                 {"accumulator", cumulus::name(p.acc)},
                                 {"rows", p.rows},
                                 {"length", p.n},
                                 {"device", device.name},
                                 {"capability", device.capability},
                                 {"algorithm", name(plan.layout)},
                                 {"copies", name(plan.copies)},
                                 {"grid", plan.grid},
                                 {"threads", plan.threads},
                                 {"shared", plan.shared},
                                 {"blocks_per_sm", plan.blocks_per_sm}};
  if (plan.layout == Layout::short_rows) json["lanes"] = plan.lanes;
  if (plan.layout == Layout::rows || plan.layout == Layout::packed_rows || plan.layout == Layout::spread_rows)
    json["segments"] = plan.segments;
  if (plan.layout == Layout::rows) json["walks"] = plan.walks, json["tail"] = plan.tail, json["scatters"] = plan.scatters;
  const bool ring = plan.layout == Layout::column_ring, columns = plan.layout == Layout::split_columns,
             rows = plan.layout == Layout::split_rows;
  if (ring || columns || rows) json["slots"] = plan.slots, json["flight"] = plan.flight;
  if (columns || rows) json["reducers"] = plan.reducers, json["storers"] = plan.storers, json["scanners"] = plan.scanners;
  if (rows) json["chunks"] = plan.chunks, json["team"] = plan.team;
  if (ring || columns) json["columns"] = plan.columns;
  if (columns)
    json["loaders"] = plan.loaders, json["starters"] = plan.starters, json["narrow"] = plan.narrow, json["side"] = plan.side,
    json["panel"] = plan.panel;
  json["workspace_bytes"] = 8 * plan.workspace_words;
  json["bytes_moved"] = plan.bytes_moved;
  json["bytes_required"] = plan.bytes_required;
  json["floor_us"] = 1e6 * floor_seconds(plan, device);
  json["definitions"] = definitions(p, plan);
  json["reason"] = reason(p, plan);
  return json.dump();
}

}  // namespace cumulus::cuda
