// Layouts whose threads lie along another dimension than the axis.
#include "cuda/plan_layouts.h"

namespace cumulus::cuda {
namespace planning {
namespace {

constexpr int kColumnThreads = 128;                // of `columns`
constexpr int kColumnWarps = 4, kColumnRows = 16;  // of `column_ring`: that walk; of a slot
constexpr int kColumnTeam = 4;                     // warps of a reducer or storer (kernels/column_roles.cuh)
constexpr int kMostPanel = 8;                      // strips that are shared, whose tiles are taken together
constexpr int kNarrow = 32;                        // lanes of a warp: of so few columns, several segments lie side by side in them

// Do pieces of rows (along the lanes) begin and end where vectors of so many bytes do?
bool pieces_aligned(const Problem& p, int lane_dim, const void* data, DType dtype, std::int64_t Dim::*stride, std::int64_t vector) {
  const std::int64_t size = bytes(dtype);
  bool all = p.dim[lane_dim].*stride == 1 && reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(vector) == 0 &&
             p.dim[lane_dim].size * size % vector == 0 && p.axis.*stride * size % vector == 0;
  for (int i = 0; i < p.dims; ++i) all = all && (i == lane_dim || p.dim[i].*stride * size % vector == 0);
  return all;
}

// A bulk copy for each row costs more than it moves if that is less than a KiB.
bool large_pieces(std::int64_t width, std::int64_t in, std::int64_t mask) {
  return width * in >= 1024 && (mask == 0 || width * mask >= 1024);
}

// The dimension beside columns and axis, if there is one.
const Dim* outer_dim(const Problem& p, int lane_dim) { return p.dims == 2 ? &p.dim[1 - lane_dim] : nullptr; }

// Can one copy bring the rows of a strip? The tensor's map must be able to say where they lie (cuTensorMapEncodeTiled).
bool fits_tensor_map(const Problem& p, int lane_dim, std::int64_t width) {
  const std::int64_t in = bytes(p.in_dtype), columns = p.dim[lane_dim].size, step = std::abs(p.axis.in) * in;
  if (inputs(p.op) == 2 || p.masked() || p.dims > 2 || !pieces_aligned(p, lane_dim, p.in, p.in_dtype, &Dim::in, 16)) return false;
  constexpr std::int64_t kMostStride = (std::int64_t{1} << 40) - 1, kMostIndex = 0x7fffffff - kChunk;  // coordinates have 31 bits
  if (step == 0 || step > kMostStride || width * in % 16 != 0 || width * in > 256 * kTensorElement) return false;
  const Dim* outer = outer_dim(p, lane_dim);
  if (p.n > 1 && step < columns * in) return false;  // rows that overlap
  if (outer &&
      (outer->in < p.n * std::abs(p.axis.in) || outer->in * in > kMostStride || outer->in * in % step != 0 || outer->size > kMostIndex))
    return false;
  return p.n <= kMostIndex && columns <= kMostIndex && columns * in / kTensorElement <= kMostIndex;
}

// `small`: what the planner takes for pieces that are not large.
Copies column_copies(const DeviceInfo& device, const Tuning& tuning, bool large, bool fits_map, Copies small) {
  if (device.capability < 90) return Copies::async;
  const Copies own = large ? Copies::bulk : fits_map ? small : Copies::async, asked = static_cast<Copies>(tuning.copies);
  return asked == Copies::plain || (asked == Copies::tensor && !fits_map) ? own : asked;
}

// Do the rows of all tensors lie one behind the other, and have few columns?
bool is_narrow(const Problem& p, int lane_dim) {
  const std::int64_t columns = p.dim[lane_dim].size;
  const auto packed = [&](std::int64_t Dim::*stride) { return p.dim[lane_dim].*stride == 1 && std::abs(p.axis.*stride) == columns; };
  return columns <= kNarrow && packed(&Dim::in) && packed(&Dim::out) && (inputs(p.op) == 1 || packed(&Dim::in2)) &&
         (!p.masked() || packed(&Dim::mask));
}

// Can pieces of rows be copied as vectors?
bool loads_vectors(const Problem& p, int lane_dim) {
  const auto fits = [&](const void* data, DType dtype, std::int64_t Dim::*stride) {
    return pieces_aligned(p, lane_dim, data, dtype, stride, 16);
  };
  return fits(p.in, p.in_dtype, &Dim::in) && (inputs(p.op) == 1 || fits(p.in2, p.in_dtype, &Dim::in2)) &&
         (!p.masked() || fits(p.mask, p.mask_dtype, &Dim::mask));
}

// Can results of a thread's neighbouring columns be stored as one vector?
bool stores_vectors(const Problem& p, int lane_dim, int columns) {
  return p.dim[lane_dim].size % columns == 0 && pieces_aligned(p, lane_dim, p.out, p.out_dtype, &Dim::out, columns * bytes(p.out_dtype));
}

// Strips of columns (kernels/column_strips.cuh): each one a block's, if that leaves few blocks idle; or shared, and some blocks scan.
void plan_strips(const Problem& p, const Tuning& tuning, std::int64_t strips, std::int64_t control, Plan& plan) {
  const std::int64_t blocks = plan.grid, groups = strips * plan.columns;
  // Levels of a group of columns, R at its next chunk's start, and the chunk's number.
  const std::int64_t group = plan.levels * 6 * wide_bytes(p) * 32 + 32 * element_bytes(p) + 4;
  plan.scanners = static_cast<int>(std::min({std::int64_t{tuning.scanners > 0 ? tuning.scanners : 4}, groups, blocks / 2}));
  const auto scanned = [&] { return control + divide_up(groups, plan.scanners) * group; };
  while (plan.scanners > 0 && plan.scanners < blocks / 2 && scanned() > plan.shared) ++plan.scanners;
  if (10 * strips >= 9 * divide_up(strips, blocks) * blocks || plan.scanners == 0 || scanned() > plan.shared) {
    plan.scanners = 0, plan.starters = 1;
    plan.grid = static_cast<std::uint32_t>(std::min(blocks, strips));
  }
}

// Strips that are shared, and whose tiles of one chunk blocks take together. A tile in a ring waits for R, and so for the last tile of its
// chunk: of those that all blocks can hold, in slots and in storers' registers, a panel's chunk is two thirds at most. And all its groups
// of 32 columns must find a warp that scans. `blocks`: of a large problem, so that a small one, which is all held, needs no kernel of its
// own.
int panel_of(const Problem& p, const Tuning& tuning, std::int64_t blocks, const Plan& plan) {
  if (plan.scanners == 0) return 1;
  const bool holds = inputs(p.op) == 1 && plan.columns * element_bytes(p) <= 8;  // ColumnRoles::kHolds
  const std::int64_t held = (blocks - plan.scanners) * (plan.slots + (holds ? plan.storers : 0)),
                     wanted = tuning.panel > 0 ? tuning.panel : std::min<std::int64_t>(held * 2 / (3 * kChunk / kSegment), kMostPanel);
  return static_cast<int>(std::clamp<std::int64_t>(wanted, 1, std::max(plan.warps * plan.scanners / plan.columns, 1)));
}

}  // namespace

Layout choose_columns(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (plan.lane_dim >= 0 && is_narrow(p, plan.lane_dim) && p.n * p.dim[plan.lane_dim].size >= kChunk) return Layout::split_columns;
  // Strips of 128 columns for every SM (64, if elements do not have four bytes), or walking columns leaves the device idle.
  const int strip = bytes(p.in_dtype) == 4 && element_bytes(p) == 4 ? 128 : 64;
  return p.rows < strip * device.sms && p.n >= 16 * kSegment ? Layout::split_columns : Layout::column_ring;
}

void plan_columns(const Problem& p, const DeviceInfo& device, Plan& plan) {
  plan.layout = Layout::columns;
  plan.step = 0;
  plan.aligned = false;
  plan.levels = levels_for(p.n_out + 4);
  // Of long columns of wide elements, the carry of fewer threads fits: 960 bytes each of complex128's recurrence from 2^32 elements on.
  const std::int64_t carry = plan.levels * 6 * wide_bytes(p);
  int threads = kColumnThreads;
  while (threads > 32 && carry * threads > device.shared_per_block) threads /= 2;
  plan.warps = threads / 32;
  const std::int64_t columns = plan.lane_dim >= 0 ? p.dim[plan.lane_dim].size : 1;
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, p.rows / columns * divide_up(columns, threads)));
  plan.shared = static_cast<std::int32_t>(carry * threads);
  plan.blocks_per_sm = 1;
  plan.reason =
      plan.lane_dim >= 0 ? "the axis is not contiguous: threads lie along another dimension and walk the axis" : "one thread walks a row";
}

// False if rows are not aligned, or columns too few to fill a block's strip.
bool plan_column_ring(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  if (plan.lane_dim < 0 || p.n == 0 || plan.halves || !loads_vectors(p, plan.lane_dim)) return false;
  // Eight bytes of a row for each thread: more would need too many registers for left totals. Narrower strips where columns are few.
  const std::int64_t in = bytes(p.in_dtype), out = bytes(p.out_dtype), mask = p.masked() ? bytes(p.mask_dtype) : 0,
                     widest = std::max(in, std::max(out, std::int64_t{element_bytes(p)} / 2));
  const std::int64_t columns = p.dim[plan.lane_dim].size, outer = p.rows / columns;
  // Of two bytes there are twice as many to walk, and a warp for every scheduler is not enough to hide what one waits for.
  plan.columns = widest <= 2 ? 1 : static_cast<int>(std::clamp<std::int64_t>(8 / widest, 1, 4));
  int warps = widest <= 2 ? 2 * kColumnWarps : kColumnWarps;
  const auto jobs = [&] { return outer * divide_up(columns, plan.columns * warps * 32); };
  while (2 * jobs() <= device.sms && plan.columns > 1) plan.columns /= 2;
  while (2 * jobs() <= device.sms && warps > 2) warps /= 2;
  if (tuning.columns > 0) plan.columns = tuning.columns;
  if (tuning.warps > 0) warps = tuning.warps;
  if (!stores_vectors(p, plan.lane_dim, plan.columns)) return false;
  const std::int64_t width = plan.columns * warps * 32;
  plan.levels = levels_for(p.n_out + kColumnRows);
  const std::int64_t row = width * (in * inputs(p.op) + mask), slot = kColumnRows * row;
  const std::int64_t carry = plan.levels * 6 * wide_bytes(p) * width, room = device.shared_per_block - 256 - carry;
  plan.slots = static_cast<int>(
      std::min<std::int64_t>(tuning.slots > 0 ? tuning.slots : std::clamp<std::int64_t>((128 << 10) / slot, 2, 16), room / slot));
  if (plan.slots < 2) return false;
  plan.flight =
      std::clamp(tuning.flight > 0 ? tuning.flight : std::max(static_cast<int>(((50 << 10) + slot / 2) / slot), 2), 1, plan.slots);
  plan.layout = Layout::column_ring;
  plan.copies = column_copies(device, tuning, large_pieces(width, in, mask), fits_tensor_map(p, plan.lane_dim, width), Copies::async);
  plan.backward = plan.copies == Copies::tensor && p.axis.in < 0;
  plan.step = 0, plan.aligned = false;
  plan.warps = warps + 1;
  plan.shared = static_cast<std::int32_t>(256 + plan.slots * slot + carry);
  plan.blocks_per_sm = 1;
  plan.grid = static_cast<std::uint32_t>(std::min<std::int64_t>(device.sms, jobs()));
  plan.reason = "the axis is not contiguous: pieces of rows come through a ring in shared memory, threads walk the columns";
  return true;
}

// Few columns and a long axis.
bool plan_split_columns(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  if (plan.lane_dim < 0 || p.n == 0 || plan.halves) return false;
  const int element = element_bytes(p), widest = std::max(element, static_cast<int>(bytes(p.in_dtype)));
  const std::int64_t in = bytes(p.in_dtype), out = bytes(p.out_dtype), mask = p.masked() ? bytes(p.mask_dtype) : 0,
                     columns = p.dim[plan.lane_dim].size;
  const bool narrow = is_narrow(p, plan.lane_dim);
  plan.columns = 1;
  if (!narrow && widest <= 4 && out <= 4 && columns >= 64) plan.columns = 2;
  if (!narrow && tuning.columns > 0) plan.columns = static_cast<int>(std::min<std::int64_t>(tuning.columns, 16 / std::max(in, out)));
  if (!narrow && !(loads_vectors(p, plan.lane_dim) && stores_vectors(p, plan.lane_dim, plan.columns))) return false;
  plan.narrow = narrow ? static_cast<int>(columns) : 0;
  plan.side = narrow ? static_cast<int>(std::bit_floor(static_cast<unsigned>(kNarrow / columns))) : 1;
  const std::int64_t width = narrow ? columns : plan.columns * 32, strips = p.rows / columns * divide_up(columns, width);
  const std::int64_t tiles = divide_up(p.n_out, plan.side * kSegment) * strips;
  if (!narrow && tiles > kMostTickets / plan.columns) return false;
  plan.levels = levels_for(p.n_out + kSegment);
  const auto piece = [&] {  // of a narrow tile: NarrowTile::kPieceBytes
    const std::int64_t areas = (kSegment * columns * in + 16) * inputs(p.op) + (mask > 0 ? kSegment * columns * mask + 16 : 0);
    return areas + (divide_up(columns * in, 16) * 16 + 127 * areas) % 128;
  };
  const std::int64_t data = narrow ? plan.side * piece() : kSegment * width * (in * inputs(p.op) + mask),
                     slot = data + (kColumnTeam + 2) * 32 * plan.columns * element;
  const std::int64_t carry = divide_up((plan.levels * 6 + 1) * wide_bytes(p) * plan.columns * 32 + 4 * plan.columns, 16) * 16;
  const auto control = [&](int slots) { return divide_up(120 * slots + 40, 128) * 128; };
  const int most = tuning.slots > 0 ? tuning.slots : 13;
  plan.slots = 0;
  while (plan.slots < most && control(plan.slots + 1) + carry + (plan.slots + 1) * slot <= device.shared_per_block) ++plan.slots;
  if (plan.slots == 0) return false;
  plan.layout = Layout::split_columns;
  plan.flight =
      std::clamp(tuning.flight > 0 ? tuning.flight : static_cast<int>(((narrow && strips == 1 ? 48 << 10 : 64 << 10) + data / 2) / data), 1,
                 std::max(plan.slots - 2, 1));
  const int at_most = std::max(plan.slots - plan.flight, 1);
  const bool whole = columns == width && p.axis.in == width && inputs(p.op) == 1 && !p.masked();  // a tile is one piece
  plan.copies = column_copies(device, tuning, narrow || whole || large_pieces(width, in, mask),
                              !narrow && fits_tensor_map(p, plan.lane_dim, width), Copies::tensor);
  plan.backward = plan.copies == Copies::tensor && p.axis.in < 0;
  // Over many small copies, and over a narrow tile's divisions, a warp takes longer than a tile's time. Wider elements lack the registers.
  plan.loaders = (plan.copies != Copies::async && !narrow) || element > 8 || plan.slots < 2 ? 1 : 2;
  plan.reducers = std::min(std::max(tuning.reducers, 1), at_most);
  plan.storers = std::min(tuning.storers > 0 ? tuning.storers : narrow || element > 8 ? 1 : 2, at_most);
  while (plan.storers > 1 && 5 + kColumnTeam * (plan.reducers + plan.storers) > kMostWarps) --plan.storers;
  plan.starters = widest > 8 || (!narrow && plan.storers != 2) ? 1 : std::min(2, at_most);
  const std::int64_t chunks = p.n / kChunk, blocks = tuning.blocks > 0 ? tuning.blocks : device.sms;
  plan.grid = static_cast<std::uint32_t>(std::min(blocks, tiles));
  plan.shared = static_cast<std::int32_t>(control(plan.slots) + carry + plan.slots * slot);
  // In the first block each group of 32 lanes of a strip has a warp for its chunks, and one for its nodes of level 3.
  if (narrow) plan.scanners = std::max(tuning.scanners > 0 ? tuning.scanners : widest > 8 ? 2 : 6 - plan.loaders, 2 * plan.columns);
  else plan_strips(p, tuning, strips, control(plan.slots), plan);
  plan.step = 0, plan.aligned = false;
  plan.warps = plan.loaders + kColumnTeam * (plan.reducers + plan.storers) + plan.starters + (narrow ? plan.scanners : 0);
  if (!narrow && plan.scanners > 0) plan.warps = std::max(plan.warps, element > 8 ? 12 : 15);  // all of a block scan
  plan.panel = narrow ? 1 : panel_of(p, tuning, blocks, plan);
  plan.blocks_per_sm = 1;
  // Totals and what is found from them, of every node 32 lanes for each of its steps: of segments, and of chunks where they are handed on
  // as well.
  const std::int64_t of_node = strips * plan.columns * (32 / plan.side) * 32 * divide_up(element, 4);
  plan.workspace_words = plan.scanners > 0 ? kWorkspaceHeader + 2 * (chunks + 1 + (narrow ? chunks / 32 + 1 : 0)) * of_node : 0;
  plan.reason =
      narrow ? "long columns, few of them: segments side by side, by ticket through a ring in shared memory, totals from block to block"
      : plan.scanners > 0
          ? "long narrow columns: segments of a strip by ticket through a ring in shared memory, totals to blocks that scan them"
          : "long columns: a block walks a strip, segment after segment through a ring in shared memory";
  return true;
}

}  // namespace planning

TensorShape tensor_shape(const Problem& p, const Plan& plan) {
  using namespace planning;
  const std::int64_t in = bytes(p.in_dtype), step = p.axis.in * in;
  const bool ring = plan.layout == Layout::column_ring;
  const Dim* outer = outer_dim(p, plan.lane_dim);
  const auto pieces = [&](std::int64_t columns) { return static_cast<unsigned>(columns * in / kTensorElement); };
  const auto* base = static_cast<const char*>(p.in) + (step < 0 ? (p.n - 1) * step : 0);
  const std::int64_t row = std::abs(step);
  return {base,
          {pieces(p.dim[plan.lane_dim].size), static_cast<unsigned>(p.n), outer ? static_cast<unsigned>(outer->size) : 1},
          {static_cast<unsigned long long>(row), static_cast<unsigned long long>(outer ? outer->in * in : row)},
          {pieces(plan.columns * 32 * (ring ? plan.warps - 1 : 1)), static_cast<unsigned>(ring ? kColumnRows : kSegment), 1}};
}

}  // namespace cumulus::cuda
