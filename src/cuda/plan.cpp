#include "cuda/plan.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <string>

#include "types.h"

namespace cumulus::cuda {
namespace {

constexpr std::int64_t kSegment = 128, kChunk = 4096;
constexpr std::int64_t kMostBlocks = 0x7fffffff;
constexpr int kShortRow = 128;
constexpr int kColumnThreads = 128;
constexpr int kShortThreads = 256;
// Registers that hold a tile: half of a thread's, more would spill (measured by tests/cuda/compile_test).
constexpr int kTileRegisters = 160;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
int power_above(std::int64_t v) { return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(v, 1)))); }
bool unit(std::int64_t stride) { return stride == 1 || stride == -1; }

// Levels from 3 up that a sequence of n elements, rounded up by what a kernel takes at once, reaches.
int levels_for(std::int64_t n) {
  int levels = 1;
  for (std::int64_t chunks = n / kChunk; chunks >= 32; chunks /= 32) ++levels;
  return levels;
}

// A kernel's element in registers: narrow integers ride in 32 bits, pairs are two.
int element_bytes(const Problem& p) { return static_cast<int>(bytes(p.kernel)) * inputs(p.op); }
int wide_bytes(const Problem& p) {
  const bool widens = inputs(p.op) == 1 && (p.kernel == DType::f32 || p.kernel == DType::c64);
  return element_bytes(p) * (widens ? 2 : 1);
}

bool aligned(const void* data, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(bytes(dtype)) == 0;
}

// Complex numbers need to be aligned to their parts only; then no vector may be used.
bool half_aligned(const Problem& p) {
  const auto half = [](const void* data, DType dtype) { return family(dtype) == Family::complex && !aligned(data, dtype); };
  return half(p.in, p.in_dtype) || half(p.in2, p.in_dtype) || half(p.out, p.out_dtype) ||
         (p.masked() && p.mask_dtype != DType::boolean && half(p.mask, p.mask_dtype));
}

bool along_axis(const Problem& p) {
  return unit(p.axis.out) && p.axis.in == p.axis.out && (inputs(p.op) == 1 || p.axis.in2 == p.axis.out) &&
         (!p.masked() || p.axis.mask == p.axis.out);
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

// ---- layouts ----

void plan_short_rows(const Problem& p, Plan& plan) {
  plan.layout = Layout::short_rows;
  plan.lanes = power_above(divide_up(p.n_out, 4));
  plan.warps = kShortThreads / 32;
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, divide_up(p.rows * plan.lanes, kShortThreads)));
  plan.blocks_per_sm = 1;
  plan.reason = "rows of at most 128 results: several in one warp";
}

// Registers that one segment takes: elements, or what they are made of while it is under way.
int segment_registers(const Problem& p) {
  const int raw = static_cast<int>(bytes(p.in_dtype)) * inputs(p.op), mask = p.masked() ? static_cast<int>(bytes(p.mask_dtype)) : 0;
  return std::max(std::max(element_bytes(p), raw) + mask, 1);
}

int most_segments(const Problem& p) {
  return static_cast<int>(std::clamp<unsigned>(std::bit_floor(static_cast<unsigned>(kTileRegisters / segment_registers(p))), 1, 32));
}

std::int64_t row_capacity(const Problem& p) { return 8 * most_segments(p) * kSegment; }

void plan_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  plan.layout = Layout::rows;
  const std::int64_t needed = divide_up(p.n_out, kSegment);
  const int most = most_segments(p);
  plan.warps = 8, plan.segments = most;
  if (needed <= std::min(8, most)) plan.warps = 1, plan.segments = power_above(needed);  // a warp holds the row
  else if (needed <= 64) plan.segments = std::min(4, most), plan.warps = std::max(power_above(divide_up(needed, plan.segments)), 1);
  else if (needed <= 128) plan.segments = std::min(16, most);
  else if (needed <= 192 && most == 32) plan.warps = 6;
  if (plan.warps > 16) plan.warps = 16;
  if (tuning.warps > 0) plan.warps = tuning.warps;
  if (tuning.segments > 0) plan.segments = tuning.segments;
  while (plan.warps * plan.segments < 32 && plan.warps * plan.segments < needed) plan.warps *= 2;  // what is walked is whole chunks
  const int tile = plan.warps * plan.segments;
  plan.levels = levels_for(p.n_out + tile * kSegment);
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, p.rows));
  plan.shared = static_cast<std::int32_t>(divide_up(tile * element_bytes(p), 16) * 16 + plan.levels * 6 * wide_bytes(p));
  const int registers = plan.segments * segment_registers(p) + 40 + 2 * element_bytes(p), threads = plan.warps * 32;
  plan.blocks_per_sm =
      std::clamp(device.registers_per_sm / (registers * threads), 1, std::min(device.blocks_per_sm, device.warps_per_sm / plan.warps));
  plan.reason = needed <= tile ? "a block holds a row in registers" : "a block walks a row, a tile of it in registers";
}

// The ring of tiles; false if not even one tile fits.
bool plan_split_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  const int in = static_cast<int>(bytes(p.in_dtype)),
            streams = in * inputs(p.op) + (p.masked() ? static_cast<int>(bytes(p.mask_dtype)) : 0);
  plan.chunks = std::clamp(8 / streams, 1, 4);
  if (tuning.chunks > 0) plan.chunks = tuning.chunks;
  plan.reducers = tuning.reducers > 0 ? tuning.reducers : 3;
  plan.storers = tuning.storers > 0 ? tuning.storers : 2;
  plan.scanners = tuning.scanners > 0 ? tuning.scanners : element_bytes(p) <= 4 ? 16 : 8;
  plan.levels = levels_for(p.n_out + kChunk);
  const auto stage = [&](int element) { return divide_up(plan.chunks * kChunk * element + 16, 128) * 128; };
  const std::int64_t slot = stage(in) * inputs(p.op) + (p.masked() ? stage(static_cast<int>(bytes(p.mask_dtype))) : 0);
  // Control (kernels/split_rows.cuh): barriers and tile numbers by slot, flags, 64 + 8 wide values.
  const auto control = [&](int slots) {
    return divide_up(24 * slots + 4 * (3 + plan.scanners + 64 + 8 + 1) + 32 + 72 * wide_bytes(p), 128) * 128;
  };
  const std::int64_t carry = plan.levels * 6 * wide_bytes(p);
  const int most = tuning.slots > 0 ? tuning.slots : 8;
  plan.slots = 0;
  while (plan.slots < most && control(plan.slots + 1) + carry + (plan.slots + 1) * slot <= device.shared_per_block) ++plan.slots;
  if (plan.slots == 0) return false;
  plan.layout = Layout::split_rows;
  // 42 to 56 KiB on the way are best on an H200. A warp waiting for a tile must not lag a whole round of the ring behind the loader.
  plan.flight = std::clamp(tuning.flight > 0 ? tuning.flight : static_cast<int>(65536 / slot), 1, std::max(plan.slots - 2, 1));
  plan.reducers = std::min(plan.reducers, std::max(plan.slots - plan.flight, 1));
  plan.storers = std::min(plan.storers, std::max(plan.slots - plan.flight, 1));
  plan.warps = 1 + plan.reducers + plan.storers + plan.scanners;
  plan.shared = static_cast<std::int32_t>(control(plan.slots) + carry + plan.slots * slot);
  const std::int64_t tiles = p.rows * divide_up(p.n_out, plan.chunks * kChunk), chunks = p.n / kChunk;
  plan.grid = static_cast<std::uint32_t>(std::min<std::int64_t>(tuning.blocks > 0 ? tuning.blocks : device.sms, tiles));
  plan.blocks_per_sm = 1;
  plan.workspace_words = kWorkspaceHeader + p.rows * (2 * chunks + 1) * divide_up(element_bytes(p), 4);
  plan.copies = !plan.contiguous ? Copies::plain : device.capability >= 90 ? Copies::bulk : Copies::async;
  plan.reason = "long rows: tiles by ticket through a ring in shared memory, node totals from block to block";
  return true;
}

void plan_columns(const Problem& p, Plan& plan) {
  plan.layout = Layout::columns;
  plan.contiguous = false;
  plan.warps = kColumnThreads / 32;
  plan.levels = levels_for(p.n_out + 4);
  const std::int64_t columns = plan.lane_dim >= 0 ? p.dim[plan.lane_dim].size : 1;
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, p.rows / columns * divide_up(columns, kColumnThreads)));
  plan.shared = static_cast<std::int32_t>(plan.levels * 6 * wide_bytes(p) * kColumnThreads);
  plan.blocks_per_sm = 1;
  plan.reason =
      plan.lane_dim >= 0 ? "the axis is not contiguous: threads lie along another dimension and walk the axis" : "one thread walks a row";
}

Layout choose(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (plan.lane_dim >= 0 || p.n == 0) return Layout::columns;
  if (p.n_out <= kShortRow) return Layout::short_rows;
  const std::int64_t capacity = row_capacity(p);
  if (p.n_out <= capacity) return Layout::rows;
  const bool few = p.rows < device.sms;
  return few || p.n_out >= 2 * capacity ? Layout::split_rows : Layout::rows;
}

}  // namespace

Plan make_plan(const Problem& p, const DeviceInfo& real, const Tuning& tuning) {
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
  plan.contiguous = along_axis(p) && !plan.halves;
  plan.dims = p.dims <= 2 ? 2 : p.dims <= 6 ? 6 : kMaxDims;
  if (p.rows == 0 || (p.n_out == 0 && p.total_dtype == DType::none)) {
    plan.layout = Layout::none;
    plan.reason = "no elements: nothing to do";
    return plan;
  }
  Layout layout = choose(p, device, plan);
  if (tuning.layout > 0 && p.n > 0) layout = static_cast<Layout>(tuning.layout);
  if (layout == Layout::short_rows && p.n_out > kShortRow) layout = Layout::rows;
  if (layout != Layout::columns && plan.lane_dim >= 0) plan.lane_dim = -1;  // forced
  if (layout == Layout::split_rows && !plan_split_rows(p, device, tuning, plan)) layout = Layout::rows;
  if (layout == Layout::short_rows) plan_short_rows(p, plan);
  if (layout == Layout::rows) plan_rows(p, device, tuning, plan);
  if (layout == Layout::columns) plan_columns(p, plan);
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
  define("CONTIGUOUS", plan.contiguous);
  define("DIMS", plan.dims);
  define("THREADS", static_cast<int>(plan.threads));
  define("BLOCKS_PER_SM", plan.blocks_per_sm);
  switch (plan.layout) {
    case Layout::none:
    case Layout::columns:
      break;
    case Layout::short_rows:
      define("LANES", plan.lanes);
      break;
    case Layout::rows:
      define("SEGMENTS", plan.segments);
      break;
    case Layout::split_rows:
      define("CHUNKS", plan.chunks);
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
  a.flags = (p.kind == Kind::inclusive ? 0u : kExclusive) | (p.total_dtype != DType::none ? kHasTotal : 0u);
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
  }
  return "";
}

}  // namespace cumulus::cuda
