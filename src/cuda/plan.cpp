#include "cuda/plan.h"

#include <string>

#include <fmt/core.h>

#include "cuda/plan_layouts.h"
#include "error.h"

namespace cumulus::cuda {
namespace {

bool unit(std::int64_t stride) { return stride == 1 || stride == -1; }

bool aligned(const void* data, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(bytes(dtype)) == 0;
}

// Complex numbers need to be aligned to their parts only; then no vector may be used.
bool half_aligned(const Problem& p) {
  const auto half = [](const void* data, DType dtype) { return family(dtype) == Family::complex && !aligned(data, dtype); };
  return half(p.in, p.in_dtype) || half(p.in2, p.in_dtype) || half(p.out, p.out_dtype) ||
         (p.masked() && p.mask_dtype != DType::boolean && half(p.mask, p.mask_dtype));
}

// 1 or -1 if all tensors run along the axis together, else 0.
int common_step(const Problem& p) {
  const bool together = unit(p.axis.out) && p.axis.in == p.axis.out && (inputs(p.op) == 1 || p.axis.in2 == p.axis.out) &&
                        (!p.masked() || p.axis.mask == p.axis.out);
  return together ? static_cast<int>(p.axis.out) : 0;
}

// The dimension that neighbouring threads walk, or -1 for the axis itself.
int choose_lane_dim(const Problem& p) {
  if (p.dims == 0) return -1;
  const int last = p.dims - 1;  // smallest |out stride|
  if (p.n == 0) return last;
  if (p.n_out == 1 && p.dim[last].out == 1) return last;
  if (unit(p.axis.in) && unit(p.axis.out)) return -1;
  if (p.dim[last].out == 1) return last;
  for (int i = last; i >= 0; --i)
    if (unit(p.dim[i].in) && !unit(p.axis.in)) return i;
  return p.dim[last].out < std::abs(p.axis.out) ? last : -1;
}

}  // namespace

Plan make_plan(const Problem& p, const DeviceInfo& real, const Tuning& tuning) {
  using namespace planning;
  if (real.capability < kLeastCapability)
    fail_unsupported(fmt::format("{} has compute capability {}.{}, but 8.0 (Ampere) or later is needed: scan on the CPU", real.name,
                                 real.capability / 10, real.capability % 10));
  DeviceInfo device = real;
  if (tuning.capability > 0 && tuning.capability < device.capability) {
    // The path before Hopper: no bulk copies, 99 KB of shared memory for a block.
    device.capability = tuning.capability;
    device.shared_per_block = std::min(device.shared_per_block, 99 * 1024);
  }
  Plan plan{};
  plan.bytes_required = plan.bytes_moved = bytes_required(p);
  plan.lane_dim = choose_lane_dim(p);
  plan.halves = half_aligned(p);
  plan.step = plan.halves ? 0 : common_step(p);
  plan.aligned = p.n % 4 == 0 && p.n_out % 4 == 0 && rows_begin_aligned(p, plan.step);
  plan.exclusive = p.kind != Kind::inclusive;
  plan.total = p.total_dtype != DType::none;
  plan.dims = p.dims <= 2 ? 2 : p.dims <= 6 ? 6 : kMaxDims;
  if (p.rows == 0 || (p.n_out == 0 && p.total_dtype == DType::none)) {
    plan.layout = Layout::none;
    plan.reason = "no elements: nothing to do";
    return plan;
  }
  Layout layout = plan.lane_dim >= 0 || p.n == 0 ? choose_columns(p, device, plan) : choose_rows(p, device, plan);
  if (tuning.layout > 0 && p.n > 0) layout = static_cast<Layout>(tuning.layout);
  if (layout != Layout::columns && layout != Layout::column_ring && layout != Layout::split_columns) plan.lane_dim = -1;  // forced
  // Where one cannot serve, a more general one does.
  if (layout == Layout::spread_rows && !plan_spread_rows(p, device, tuning, plan)) layout = Layout::split_rows;
  if (layout == Layout::split_rows && !plan_split_rows(p, device, tuning, plan)) layout = Layout::rows;
  if (layout == Layout::split_columns && !plan_split_columns(p, device, tuning, plan)) layout = Layout::column_ring;
  if (layout == Layout::column_ring && !plan_column_ring(p, device, tuning, plan)) layout = Layout::columns;
  if (layout == Layout::packed_rows && !plan_packed_rows(p, device, tuning, plan)) layout = Layout::short_rows;
  if (layout == Layout::short_rows && !plan_short_rows(p, device, plan)) layout = Layout::rows;
  if (layout == Layout::rows) plan_rows(p, device, tuning, plan);
  if (layout == Layout::columns) plan_columns(p, device, plan);
  plan.threads = static_cast<std::uint32_t>(plan.warps * 32);
  return plan;
}

std::vector<std::string> definitions(const Problem& p, const Plan& plan) {
  std::vector<std::string> out;
  const auto define = [&](const char* macro, int value) { out.push_back(std::string("-DCUMULUS_") + macro + "=" + std::to_string(value)); };
  define("LAYOUT", static_cast<int>(plan.layout));
  define("OP", static_cast<int>(p.op));
  define("IN", static_cast<int>(p.in_dtype));
  define("OUT", static_cast<int>(p.out_dtype));
  define("MASK", !p.masked() ? 0 : p.mask_dtype == DType::boolean ? 1 : 2);
  define("HALVES", plan.halves);
  define("STEP", plan.step);
  define("ALIGNED", plan.aligned);
  define("EXCLUSIVE", plan.exclusive);
  define("TOTAL", plan.total);
  define("DIMS", plan.dims);
  define("THREADS", static_cast<int>(plan.threads));
  define("BLOCKS_PER_SM", plan.blocks_per_sm);
  switch (plan.layout) {
    case Layout::none:
    case Layout::columns:
      break;
    case Layout::short_rows:
    case Layout::packed_rows:
      define("LANES", plan.lanes);
      if (plan.layout == Layout::packed_rows) define("SEGMENTS", plan.segments);
      break;
    case Layout::column_ring:
      define("COLUMNS", plan.columns);
      define("BACKWARD", plan.backward);
      define("SLOTS", plan.slots);
      define("FLIGHT", plan.flight);
      define("COPIES", static_cast<int>(plan.copies));
      break;
    case Layout::rows:
      define("SEGMENTS", plan.segments);
      define("WALKS", plan.walks);
      define("TAIL", plan.tail);
      break;
    case Layout::spread_rows:
      define("SEGMENTS", plan.segments);
      break;
    case Layout::split_columns:
    case Layout::split_rows:
      if (plan.layout == Layout::split_columns) {
        define("COLUMNS", plan.columns);
        define("BACKWARD", plan.backward);
        define("LOADERS", plan.loaders);
        define("STARTERS", plan.starters);
        define("NARROW", plan.narrow);
        define("SIDE", plan.side);
        define("PANEL", plan.panel);
      } else {
        define("CHUNKS", plan.chunks);
        define("TEAM", plan.team);
      }
      define("SLOTS", plan.slots);
      define("FLIGHT", plan.flight);
      define("REDUCERS", plan.reducers);
      define("STORERS", plan.storers);
      define("SCANNERS", plan.scanners);
      define("COPIES", static_cast<int>(plan.copies));
      break;
  }
  return out;
}

void fill_args(const Problem& p, const Plan& plan, bool initial_on_host, std::uint64_t* workspace, std::int64_t words, HostArgs& a) {
  a.in = p.in, a.in2 = p.in2, a.mask = p.mask, a.initial = p.initial;
  a.out = p.out, a.total = p.total;
  static_assert(sizeof(std::uint64_t) == sizeof(unsigned long long));
  a.workspace = reinterpret_cast<unsigned long long*>(workspace);
  a.workspace_words = words;
  a.n = p.n, a.n_out = p.n_out, a.rows = p.rows;
  a.in_step = p.axis.in, a.in2_step = p.axis.in2, a.mask_step = p.axis.mask, a.out_step = p.axis.out;
  a.flags = (p.kind == Kind::inclusive ? 0u : kExclusive) | (p.total_dtype != DType::none ? kHasTotal : 0u) |
            (plan.scatters ? kScattersRows : 0u);
  a.initial_dtype = static_cast<int>(p.initial_dtype), a.total_dtype = static_cast<int>(p.total_dtype);
  a.value[0] = a.value[1] = 0;
  if (p.initial_dtype != DType::none) {
    a.flags |= kHasInitial;
    if (initial_on_host) {
      a.flags |= kInitialInline;
      if (p.initial) std::copy_n(static_cast<const char*>(p.initial), bytes(p.initial_dtype), reinterpret_cast<char*>(a.value));
    }
  }
  a.levels = plan.levels;
  a.dims = p.dims;
  int used = 0;
  const auto put = [&](const Dim& d) { a.dim[used++] = {d.size, d.in, d.in2, d.out, d.mask, d.initial, d.total}; };
  for (int i = 0; i < p.dims; ++i)
    if (i != plan.lane_dim) put(p.dim[i]);
  if (plan.lane_dim >= 0) put(p.dim[plan.lane_dim]);
}
const char* name(Layout layout) {
  switch (layout) {
    case Layout::none:
      return "none";
    case Layout::short_rows:
      return "short_rows";
    case Layout::rows:
      return "rows";
    case Layout::split_rows:
      return "split_rows";
    case Layout::columns:
      return "columns";
    case Layout::column_ring:
      return "column_ring";
    case Layout::packed_rows:
      return "packed_rows";
    case Layout::split_columns:
      return "split_columns";
    case Layout::spread_rows:
      return "spread_rows";
  }
  return "";
}

const char* name(Copies copies) {
  switch (copies) {
    case Copies::plain:
      return "plain";
    case Copies::async:
      return "async";
    case Copies::bulk:
      return "bulk";
    case Copies::tensor:
      return "tensor";
  }
  return "";
}

}  // namespace cumulus::cuda
