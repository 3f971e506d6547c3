#include "plan.h"

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "cpu/kernels.h"

namespace cumulus {
namespace {

using cpu::kChunk;
using cpu::kSegment;

constexpr std::int64_t kThreadBytes = 512 << 10;    // a thread's share at least: less does not pay for waking it (Zen 5, 2 cores)
constexpr std::int64_t kStreamingBytes = 64 << 20;  // above, or above twice the last cache: results bypass the cache
constexpr std::int64_t kStripBytes = 2048;          // of one step of a strip of columns
constexpr std::int64_t kStagedStripBytes = 2048;    // the same where a tile of several steps must stay in the first cache
constexpr std::int64_t kOneStepBytes = 16384;       // the same where a column has one step
constexpr std::int64_t kLeastStripBytes = 128;
constexpr std::int64_t kMostStripBytes = 64 << 10;  // that may be forced: beyond, a strip's state leaves every cache
constexpr std::int64_t kBatchBytes = 256 << 10;     // of input, rows taken at a time
constexpr std::int64_t kMostBatchBytes = 1 << 30;   // that may be forced
constexpr std::int64_t kMostAhead = 1 << 20;        // the same
constexpr std::int64_t kRowsAhead = 2048;           // elements; 16 segments
constexpr std::int64_t kColumnsAhead = 4;           // steps; the next quad

bool unit(std::int64_t stride) { return stride == 1 || stride == -1; }

bool along_axis(const Problem& p) { return unit(p.axis.in) && unit(p.axis.out) && (inputs(p.op) == 1 || unit(p.axis.in2)); }

// The dimension to walk in vectors, or -1 for the axis itself.
int choose_lane_dim(const Problem& p) {
  if (p.dims == 0) return -1;
  const int last = p.dims - 1;  // smallest |out stride|
  if (p.n_out == 1 && p.dim[last].out == 1) return last;
  if (along_axis(p)) return -1;
  if (p.dim[last].out == 1) return last;
  for (int i = last; i >= 0; --i)
    if (unit(p.dim[i].in) && !unit(p.axis.in)) return i;
  return p.dim[last].out < std::abs(p.axis.out) ? last : -1;
}

ShapeCase shape_case(const Problem& p, int lane_dim) {
  if (p.rows == 0 || (p.n_out == 0 && p.total_dtype == DType::none)) return ShapeCase::empty;
  if (lane_dim < 0) return along_axis(p) ? ShapeCase::rows : ShapeCase::strided;
  const Dim& lane = p.dim[lane_dim];
  return lane.out == 1 && unit(lane.in) ? ShapeCase::columns : ShapeCase::strided;
}

std::int64_t round_down(std::int64_t value, std::int64_t unit) { return value / unit * unit; }

bool chosen(std::int64_t tuned) { return tuned != cpu::kPlannersChoice; }
bool choose(std::int64_t tuned, bool own) { return chosen(tuned) ? tuned != 0 : own; }

void plan_rows(const Problem& p, const cpu::CpuInfo& cpu, const cpu::Tuning& tuning, std::int64_t element, Plan& plan) {
  plan.strip = 1;
  plan.batch = chosen(tuning.batch) ? std::clamp<std::int64_t>(tuning.batch, 1, kMostBatchBytes) : kBatchBytes;
  plan.ahead = chosen(tuning.ahead) ? std::clamp<std::int64_t>(tuning.ahead, 0, kMostAhead) : kRowsAhead;
  if (padded_length(p) <= kSegment && p.rows > 1) {
    plan.algorithm = Algorithm::short_rows;
    plan.tile = p.n;
    plan.reason = "rows of at most 128 elements: several are scanned in one vector pass";
    return;
  }
  plan.algorithm = Algorithm::rows;
  plan.tile = kChunk;
  plan.reason = plan.threads > 1 ? "enough rows to give every thread whole ones" : "one thread scans row after row";
  const std::int64_t wanted = chosen(tuning.tile) ? std::min(tuning.tile, p.n) : cpu.l2 / 4 / element;
  const std::int64_t tile = std::max(kChunk, round_down(wanted, kChunk));
  if (choose(tuning.split, plan.threads > 1 && p.rows < 4 * plan.threads && p.n >= 2 * tile)) {
    plan.algorithm = Algorithm::split_rows;
    plan.tile = tile;
    plan.reason = "few long rows: threads take tiles by ticket, add them up in cache, and hand the node totals on";
  }
}

void plan_columns(const Problem& p, const cpu::Tuning& tuning, std::int64_t element, Plan& plan) {
  plan.algorithm = Algorithm::columns;
  const std::int64_t columns = p.dim[plan.lane_dim].size, outer = p.rows / columns;
  const bool one_step = p.n == 1;  // nothing to walk: only the cost of a strip counts
  std::int64_t strip = std::max<std::int64_t>(1, (one_step ? kOneStepBytes : plan.staged ? kStagedStripBytes : kStripBytes) / element);
  const std::int64_t least = std::max<std::int64_t>(1, kLeastStripBytes / element);
  const auto units = [&] { return outer * strip_count(columns, strip); };
  while (plan.threads > 1 && strip > least && units() < 2 * plan.threads) strip /= 2;
  if (chosen(tuning.strip)) strip = std::clamp<std::int64_t>(tuning.strip, 1, kMostStripBytes / element);
  plan.strip = std::min(strip, columns);
  plan.tile = p.n;
  plan.ahead = chosen(tuning.ahead) ? std::clamp<std::int64_t>(tuning.ahead, 1, kMostAhead) : kColumnsAhead;
  plan.reason = "the axis is not contiguous: vectors hold neighbouring columns and walk along it";
  if (choose(tuning.split, plan.threads > 1 && units() < plan.threads && p.n >= 4 * kChunk)) {
    plan.algorithm = Algorithm::split_columns;
    plan.tile = kChunk;
    plan.reason = "too few columns for the threads: chunks of the axis are taken by ticket and their totals handed on";
  }
}

}  // namespace

std::int64_t padded_length(const Problem& p) {
  const bool one_more = p.kind == Kind::prefixes || (p.kind == Kind::exclusive && p.total_dtype != DType::none);
  return p.n + (one_more ? 1 : 0);
}

std::int64_t strip_count(std::int64_t columns, std::int64_t strip) { return std::max<std::int64_t>(1, (columns + strip / 2) / strip); }

Plan make_plan(const Problem& p, const cpu::CpuInfo& cpu, const cpu::Tuning& tuning) {
  Plan plan{};
  plan.lane_dim = choose_lane_dim(p);
  plan.shape = shape_case(p, plan.lane_dim);
  plan.bytes_required = plan.bytes_moved = bytes_required(p);
  plan.threads = 1;
  if (plan.shape == ShapeCase::empty || p.n == 0) {
    plan.algorithm = Algorithm::none;
    plan.reason = "no elements along the axis: only initial values are shown";
    return plan;
  }
  const std::int64_t element = bytes(p.kernel) * inputs(p.op);
  const std::int64_t most = p.threads > 0 ? p.threads : cpu.cores;
  plan.threads = static_cast<std::int32_t>(std::clamp<std::int64_t>(plan.bytes_required / kThreadBytes, 1, most));
  if (chosen(tuning.threads)) plan.threads = static_cast<std::int32_t>(std::clamp<std::int64_t>(tuning.threads, 1, most));
  plan.streaming = choose(tuning.streaming, plan.bytes_required > std::min(kStreamingBytes, 2 * cpu.l3));
  const std::int64_t written = p.rows * p.n_out * bytes(p.out_dtype);
  if (plan.bytes_required > cpu.l3 && !plan.streaming) plan.bytes_moved += written;  // lines are read before they are written

  // Kernels read and write accumulators where they lie, in one direction, and apply masks of their own type that lie alike.
  const bool plain = p.in_dtype == p.out_dtype && p.out_dtype == p.acc && family(p.acc) != Family::complex &&
                     bytes(p.acc) == bytes(p.kernel) &&
                     (!p.masked() || p.mask_dtype == DType::boolean || (family(p.acc) == Family::real && p.mask_dtype == p.acc));
  const bool staged = choose(tuning.staged, false);
  if (plan.lane_dim < 0) {
    plan_rows(p, cpu, tuning, element, plan);
    const bool alike =
        p.axis.in == p.axis.out && (inputs(p.op) == 1 || p.axis.in2 == p.axis.out) && (!p.masked() || p.axis.mask == p.axis.out);
    const bool short_rows = plan.algorithm == Algorithm::short_rows;
    plan.staged = staged || !plain || plan.shape != ShapeCase::rows || !alike || (short_rows && (p.axis.out != 1 || p.masked()));
  } else {
    const Dim& lane = p.dim[plan.lane_dim];
    plan.staged =
        staged || !plain || lane.in != 1 || lane.out != 1 || (inputs(p.op) == 2 && lane.in2 != 1) || (p.masked() && lane.mask != 1);
    plan_columns(p, tuning, element, plan);
  }
  return plan;
}

const char* name(ShapeCase shape) {
  switch (shape) {
    case ShapeCase::empty:
      return "empty";
    case ShapeCase::rows:
      return "rows";
    case ShapeCase::columns:
      return "columns";
    case ShapeCase::strided:
      return "strided";
  }
  return "";
}

const char* name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::none:
      return "none";
    case Algorithm::short_rows:
      return "short_rows";
    case Algorithm::rows:
      return "rows";
    case Algorithm::split_rows:
      return "split_rows";
    case Algorithm::columns:
      return "columns";
    case Algorithm::split_columns:
      return "split_columns";
  }
  return "";
}

std::string to_json(const Problem& p, const Plan& plan, const cpu::CpuInfo& cpu, const char* source) {
  return nlohmann::ordered_json{{"op", name(p.op)},
                                {"kind", kKindName[static_cast<int>(p.kind)]},
                                {"in_dtype", name(p.in_dtype)},
                                {"out_dtype", name(p.out_dtype)},
                                {"accumulator", name(p.acc)},
                                {"rows", p.rows},
                                {"length", p.n},
                                {"shape_case", name(plan.shape)},
                                {"algorithm", name(plan.algorithm)},
                                {"staged", plan.staged},
                                {"streaming", plan.streaming},
                                {"threads", plan.threads},
                                {"simd", cpu.simd},
                                {"tile", plan.tile},
                                {"strip", plan.strip},
                                {"batch", plan.batch},
                                {"ahead", plan.ahead},
                                {"bytes_moved", plan.bytes_moved},
                                {"bytes_required", plan.bytes_required},
                                {"source", source},
                                {"reason", plan.reason}}
      .dump();
}

}  // namespace cumulus
