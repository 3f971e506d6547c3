#include "cuda/plan.h"

#include <algorithm>
#include <array>
#include <bit>
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
constexpr int kTileRegisters = 144;

constexpr int kMostWarps = 32;  // of a block

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

// 1 or -1 if all tensors run along the axis together, else 0.
int common_step(const Problem& p) {
  const bool together = unit(p.axis.out) && p.axis.in == p.axis.out && (inputs(p.op) == 1 || p.axis.in2 == p.axis.out) &&
                        (!p.masked() || p.axis.mask == p.axis.out);
  return together ? static_cast<int>(p.axis.out) : 0;
}

// Does every row begin where a vector of four elements (of at most 16 bytes) does, and end where one does?
bool rows_aligned(const Problem& p, int step) {
  if (step == 0 || p.n % 4 != 0 || p.n_out % 4 != 0) return false;
  const auto fits = [&](const void* data, DType dtype, std::int64_t Dim::*stride) {
    const std::int64_t size = bytes(dtype), vector = std::min<std::int64_t>(4 * size, 16), in_vector = vector / size;
    // Planned for without memory: as if allocated, and so aligned.
    const std::int64_t first = data ? static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data)) + (step < 0 ? size : 0) : 0;
    bool all = first % vector == 0;
    for (int i = 0; i < p.dims; ++i) all = all && p.dim[i].*stride % in_vector == 0;
    return all;
  };
  return fits(p.in, p.in_dtype, &Dim::in) && (inputs(p.op) == 1 || fits(p.in2, p.in_dtype, &Dim::in2)) &&
         (!p.masked() || fits(p.mask, p.mask_dtype, &Dim::mask)) && fits(p.out, p.out_dtype, &Dim::out);
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

void plan_short_rows(const Problem& p, const DeviceInfo& device, Plan& plan) {
  plan.layout = Layout::short_rows;
  plan.lanes = power_above(divide_up(p.n_out, 4));
  plan.warps = kShortThreads / 32;
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, divide_up(p.rows * plan.lanes, kShortThreads)));
  // All the warps an SM can hold hide the memory's latency, if 32 registers do.
  const int registers = 16 + 4 * element_bytes(p) + (p.masked() ? 16 : 0) + (plan.total ? 8 : 0) +
                        (plan.aligned && p.in_dtype == DType::f32 && p.in_dtype == p.out_dtype ? 0 : 8);
  plan.blocks_per_sm = std::clamp(device.registers_per_sm / (registers * kShortThreads), 1, device.warps_per_sm / plan.warps);
  plan.reason = "rows of at most 128 results: several in one warp";
}

// Rows that are one piece of memory in every tensor, but do not begin where vectors do.
bool plan_packed_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  if (plan.step == 0 || plan.aligned || p.dims > 1) return false;
  const auto packed = [&](std::int64_t Dim::*stride, std::int64_t n) { return p.dims == 0 || p.dim[0].*stride == n; };
  if (!packed(&Dim::in, p.n) || !packed(&Dim::out, p.n_out) || (inputs(p.op) == 2 && !packed(&Dim::in2, p.n)) ||
      (p.masked() && !packed(&Dim::mask, p.n)))
    return false;
  plan_short_rows(p, device, plan);
  plan.layout = Layout::packed_rows;
  // Finding a quad's place costs as much as scanning it: a thread does it for some at a time, fewer of wide elements.
  const std::int64_t widest = std::max<std::int64_t>(element_bytes(p), bytes(p.in_dtype) * inputs(p.op));
  plan.segments = tuning.segments > 0 ? std::min(tuning.segments, 8) : std::clamp(static_cast<int>(16 / widest), 1, 4);
  const auto shared = [&] {
    const auto piece = [&](std::int64_t element) { return divide_up(kShortThreads * plan.segments * 4 * element + 16, 128) * 128; };
    const std::int64_t in = piece(bytes(p.in_dtype)) * inputs(p.op) + (p.masked() ? piece(bytes(p.mask_dtype)) : 0);
    return static_cast<std::int32_t>(std::max(in, piece(bytes(p.out_dtype))));
  };
  while (plan.segments > 1 && shared() > device.shared_per_block) --plan.segments;
  plan.shared = shared();
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, divide_up(p.rows * plan.lanes, kShortThreads * plan.segments)));
  const int more = 1 + plan.segments / 2;  // quads of a thread take registers
  plan.blocks_per_sm = std::max(1, std::min(plan.blocks_per_sm / more, device.shared_per_sm / (plan.shared + device.shared_reserved)));
  plan.reason = "rows of at most 128 results, one behind the other: a block's rows pass through shared memory as vectors";
  return true;
}

// Registers that one segment takes in the rows kernel: elements and what they are made of while it is under way, or, where that is less and
// rows are aligned, as it came (kKeep in kernels/memory.cuh).
int segment_registers(const Problem& p, bool aligned) {
  const int raw = static_cast<int>(bytes(p.in_dtype)) * inputs(p.op), mask = p.masked() ? static_cast<int>(bytes(p.mask_dtype)) : 0;
  if (aligned && raw + mask < element_bytes(p)) return raw + mask + element_bytes(p) / 4;
  return std::max(element_bytes(p), raw) + mask;
}

// Registers beside those: for the levels above, addresses, conversions. Generous where it is not the plain case that is measured.
int working_registers(const Problem& p, const Plan& plan) {
  const int element = element_bytes(p);
  const bool plain = p.in_dtype == p.out_dtype && !p.masked() && p.op == Op::sum && plan.step != 0 && !plan.total;
  if (plain && element <= 8) return element <= 4 ? 48 : 80;
  return 80 + 4 * element + (plan.step == 0 ? 32 : 0) + (p.masked() ? 16 : 0);
}

int most_segments(const Problem& p, bool aligned) {
  // Shifting takes time in which a block neither loads nor stores: rows that are not aligned are walked, by two blocks of an SM.
  // Elements of 8 bytes and more leave room for two blocks, too.
  const unsigned most = element_bytes(p) > 8 ? 4 : element_bytes(p) == 8 ? 8 : aligned ? 32 : 16;
  return static_cast<int>(
      std::clamp<unsigned>(std::bit_floor(static_cast<unsigned>(kTileRegisters / segment_registers(p, aligned))), 1, most));
}

std::int64_t row_capacity(const Problem& p, bool aligned) {
  const int most = most_segments(p, aligned);
  return (most == 32 ? 10 * 32 : (element_bytes(p) >= 8 ? 4 : 8) * most) * kSegment;
}

// Blocks of an SM whose threads may have so many registers each: those lie in four partitions, and a warp's in one of them.
int blocks_by_registers(const DeviceInfo& device, int registers, int warps) {
  const int most = std::max(1, std::min(device.blocks_per_sm, device.warps_per_sm / warps));
  const auto fits = [&](int blocks) {
    const auto in_partition = static_cast<int>(divide_up(blocks * warps, 4));
    return device.registers_per_sm / 4 / (32 * in_partition) / 8 * 8 >= registers;
  };
  int blocks = 1;
  while (blocks < most && fits(blocks + 1)) ++blocks;
  return blocks;
}

// Elements that are narrower in memory stay so in registers, and leave room for three blocks of an SM.
bool is_kept_narrow(const Problem& p, const Plan& plan) { return plan.aligned && bytes(p.in_dtype) * inputs(p.op) < element_bytes(p); }

// Are rows whole tiles and one segment, or a part of one, which the last warp can take with the last tile? It costs a few registers. The
// largest tiles have them only where rows are held, and by no more warps than may have all registers each.
bool has_tail(const Problem& p, const Plan& plan, std::int64_t needed) {
  const int tile = plan.warps * plan.segments;
  const bool large = plan.segments * segment_registers(p, plan.aligned) > kTileRegisters * 2 / 3;
  return needed > tile && tile % 32 == 0 && (needed - 1) % tile == 0 && (!large || (needed - 1 == tile && plan.warps <= 8));
}

// Rows that begin anywhere, whose shifting takes no more registers than are left to sixteen warps.
bool is_odd_and_plain(const Problem& p, const Plan& plan) {
  return plan.step != 0 && !plan.aligned && bytes(p.in_dtype) == 4 && p.in_dtype == p.out_dtype && inputs(p.op) == 1 && !p.masked() &&
         !plan.total;
}

// A block's tile for rows of `needed` segments.
void choose_tile(const Problem& p, const Tuning& tuning, std::int64_t needed, Plan& plan) {
  const int most = plan.step == 0 ? std::min(8, most_segments(p, false)) : most_segments(p, plan.aligned);
  plan.warps = element_bytes(p) >= 8 ? 4 : 8, plan.segments = most;
  const bool narrow = is_kept_narrow(p, plan);
  if (needed <= std::min(8, most)) plan.warps = 1, plan.segments = power_above(needed);  // a warp holds the row
  else if (needed <= 64) plan.segments = std::min(4, most), plan.warps = std::max(power_above(divide_up(needed, plan.segments)), 1);
  else if (needed <= 128 && plan.step < 0 && most == 32) plan.warps = 4;  // with 8 warps of 16 segments, rows in reverse spill 120 bytes
  else if (narrow && most == 32) plan.warps = 4;
  else if (element_bytes(p) == 8 && plan.aligned && p.in_dtype == p.out_dtype && !p.masked()) plan.warps = 2, plan.segments = 16;
  else if (needed <= 128) plan.segments = std::min(16, most);
  else if (needed <= 256 && is_odd_and_plain(p, plan)) plan.warps = 2 * static_cast<int>(divide_up(needed, 32)), plan.segments = 16;
  else if (p.masked() && plan.aligned && most == 16) plan.warps = 4;  // of 294 tunings on an H200 the fastest, by 1.5 %
  else if (needed <= 192 && most == 32) plan.warps = 2 * static_cast<int>(divide_up(needed, 32)), plan.segments = 16;
  else if (needed <= 256 && most == 32) plan.warps = static_cast<int>(divide_up(needed, 32));
  else if (needed <= 320 && most == 32) plan.segments = 16;  // nine or ten warps that hold a row spill
  plan.warps = std::min(plan.warps, element_bytes(p) > 8 ? 8 : 16);
  if (tuning.warps > 0) plan.warps = tuning.warps;
  if (tuning.segments > 0) plan.segments = tuning.segments;
  // What is walked is whole chunks, and as many as make a balanced subtree.
  const int tile = plan.warps * plan.segments;
  if (tile < needed || (tile > 32 && tile % 32 != 0)) plan.warps = static_cast<int>(std::bit_floor(static_cast<unsigned>(plan.warps)));
  while (plan.warps * plan.segments < 32 && plan.warps * plan.segments < needed) plan.warps *= 2;
}

void plan_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  plan.layout = Layout::rows;
  const std::int64_t needed = divide_up(p.n_out, kSegment);
  choose_tile(p, tuning, needed - 1, plan);  // as if nothing were left over
  plan.tail = has_tail(p, plan, needed);
  if (!plan.tail) choose_tile(p, tuning, needed, plan);
  else if (plan.warps == 16 && tuning.warps == 0 && tuning.segments == 0)
    plan.warps = 8;  // prefixes of 8192: twice the blocks, 0.90 to 0.93 of a copy; of 32768, in two steps: 0.90 to 0.94
  const int tile = plan.warps * plan.segments;
  plan.walks = needed - plan.tail > tile;
  plan.levels = levels_for(p.n_out + tile * kSegment);
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, p.rows));
  plan.shared = static_cast<std::int32_t>(divide_up(tile * element_bytes(p), 16) * 16 + plan.levels * 6 * wide_bytes(p));
  const bool narrow = is_kept_narrow(p, plan);
  const int registers = plan.segments * segment_registers(p, plan.aligned) + working_registers(p, plan) + (narrow && !plan.walks ? 32 : 0);
  plan.blocks_per_sm = blocks_by_registers(device, registers, plan.warps);
  plan.reason = plan.walks ? "a block walks a row, a tile of it in registers" : "a block holds a row in registers";
}

// A row is one block's, if there are so many for each block, and they have fewer chunks: longer ones leave blocks idle at the end.
constexpr int kOwnRows = 8, kOwnChunks = 32;

// The ring of tiles; false if not even one tile fits.
bool plan_split_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  const int in = static_cast<int>(bytes(p.in_dtype)),
            streams = in * inputs(p.op) + (p.masked() ? static_cast<int>(bytes(p.mask_dtype)) : 0);
  plan.chunks = std::clamp(4 / streams, 1, 2);
  if (tuning.chunks > 0) plan.chunks = tuning.chunks;
  // Of elements of eight bytes and more a ring holds few tiles, none of which may stay in it for long: teams of warps share a tile. Narrow
  // elements are more a second, so more warps. Measured on an H200: docs/decisions.md.
  const int element = element_bytes(p);
  const auto [reducers, storers, team, scanners] = element > 16  ? std::array{1, 1, 2, 4}
                                                   : element > 8 ? std::array{1, 2, 2, 4}
                                                   : element > 4 ? std::array{1, 2, 4, in < 8 ? 8 : 4}
                                                   : in <= 2     ? std::array{3, 6, 2, 15}
                                                                 : std::array{4, 6, 1, 7};
  plan.team = static_cast<int>(std::bit_floor(static_cast<unsigned>(std::clamp(tuning.team > 0 ? tuning.team : team, 1, 8))));
  const std::int64_t blocks = tuning.blocks > 0 ? tuning.blocks : device.sms;
  const bool own = tuning.scanners == 0 && p.n < kOwnChunks * kChunk && p.rows >= (tuning.blocks > 0 ? 2 : kOwnRows) * blocks;
  plan.reducers = tuning.reducers > 0                ? tuning.reducers
                  : plan.chunks == 1 || element <= 4 ? reducers
                                                     : reducers * (own ? 2 : plan.team);  // teams have tiles of one chunk
  plan.storers = tuning.storers > 0 ? tuning.storers : storers;
  // Rows that are a block's own need none.
  plan.scanners = own ? 0 : std::min(tuning.scanners > 0 ? tuning.scanners : scanners, kMostWarps);
  plan.levels = levels_for(p.n_out + kChunk);
  const auto stage = [&](int element) { return divide_up(plan.chunks * kChunk * element + 16, 128) * 128; };
  const std::int64_t slot =
      stage(in) * inputs(p.op) + (p.masked() ? stage(static_cast<int>(bytes(p.mask_dtype))) : 0) + plan.chunks * 32 * element_bytes(p);
  // Control (kernels/split_rows.cuh): barriers and places by slot, flags, 64 + 8 wide values or R at chunks' ends.
  const auto control = [&](int slots) {
    const std::int64_t values = own ? slots * (plan.chunks + 1) * element : 72 * wide_bytes(p);
    return divide_up(56 * slots + 4 * (plan.scanners + 64 + 8) + 112 + values, 128) * 128;
  };
  const std::int64_t carry = plan.levels * 6 * wide_bytes(p);
  const int most = tuning.slots > 0 ? tuning.slots : 24;
  plan.slots = 0;
  while (plan.slots < most && control(plan.slots + 1) + carry + (plan.slots + 1) * slot <= device.shared_per_block) ++plan.slots;
  if (plan.slots == 0) return false;
  plan.layout = Layout::split_rows;
  // 42 to 56 KiB on the way are best for one row on an H200, a tile more for several; of large tiles of rows that are a block's own, three.
  // A warp waiting for a tile must not lag a whole round of the ring behind the loader.
  const std::int64_t on_the_way = own && in >= 8 ? 84 << 10 : own || p.rows == 1 ? 50 << 10 : 66 << 10;
  plan.flight =
      std::clamp(tuning.flight > 0 ? tuning.flight : static_cast<int>((on_the_way + slot / 2) / slot), 1, std::max(plan.slots - 2, 1));
  plan.reducers = std::min({plan.reducers, std::max(plan.slots - plan.flight, 1), kMostWarps / 4});
  plan.storers = std::min({plan.storers, std::max(plan.slots - plan.flight, 1), kMostWarps / 2});
  const auto others = [&] { return 1 + plan.reducers * (plan.chunks == 1 ? plan.team : 1) + plan.storers * plan.team; };
  while (others() > kMostWarps - 4) plan.team /= 2;
  // Narrow elements: a block that does nothing else scans with warps of any role, and few are scanners only.
  const bool alone = in <= 2 && element <= 4 && plan.scanners >= 4;
  if (!alone) plan.scanners = std::min(plan.scanners, kMostWarps - others());
  plan.warps = others() + (own ? 1 : alone ? std::max(plan.scanners - others(), 4) : plan.scanners);
  plan.shared = static_cast<std::int32_t>(control(plan.slots) + carry + plan.slots * slot);
  const std::int64_t tiles = p.rows * divide_up(p.n_out, plan.chunks * kChunk), chunks = p.n / kChunk;
  plan.grid = static_cast<std::uint32_t>(std::min<std::int64_t>(blocks, own ? p.rows : tiles));
  plan.blocks_per_sm = 1;
  plan.workspace_words = kWorkspaceHeader + (own ? 0 : p.rows * (2 * chunks + 1) * divide_up(element_bytes(p), 4));
  plan.copies = plan.step == 0 ? Copies::plain : device.capability >= 90 ? Copies::bulk : Copies::async;
  plan.reason = own ? "long rows: a block walks a row, tile after tile through a ring in shared memory"
                    : "long rows: tiles by ticket through a ring in shared memory, node totals from block to block";
  return true;
}

// A block's chunk is one of 32 nodes of 32 at most, and sixteen bits count tiles (kernels/spread_rows.cuh).
constexpr std::int64_t kSpreadChunks = 1024, kSpreadTiles = 0xffff;
// Where it is chosen: from so many chunks of a call up to so many of four-byte elements, in fewer rows than half the SMs. Measured on an
// H200: docs/decisions.md.
constexpr std::int64_t kSpreadLeast = 3, kSpreadMost = 1024;

bool plan_spread_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  const std::int64_t chunks = divide_up(p.n, kChunk), tiles = p.rows * chunks;
  if (chunks > kSpreadChunks || tiles > kSpreadTiles) return false;
  plan.layout = Layout::spread_rows;
  plan.warps = tuning.warps >= 16 ? 16 : 8;
  plan.segments = static_cast<int>(kChunk / kSegment) / plan.warps;
  plan.levels = levels_for(p.n_out + kChunk);
  plan.grid = static_cast<std::uint32_t>(tiles);
  const int element = element_bytes(p), wide = wide_bytes(p);
  plan.shared = static_cast<std::int32_t>(32 * (element + wide) + 3 * divide_up(wide, 16) * 16 + divide_up(28 + 4 * plan.warps, 16) * 16);
  // What the compiler needs (tests/cuda/compile_test), so that as many tiles as can be wait for each other side by side.
  const bool plain = p.in_dtype == p.out_dtype && !p.masked() && !plan.total;
  const int registers = element > 4 ? 64 + 8 * element : plain ? 80 : 96;
  plan.blocks_per_sm = blocks_by_registers(device, registers, plan.warps);
  // Of each tile its total; of one that is left its number, and R at its row's start.
  plan.workspace_words = kWorkspaceHeader + tiles * (divide_up(element, 4) + 1 + divide_up(wide, 4));
  plan.reason = "few rows of middle length: a block for each chunk, in registers, totals from block to block";
  return true;
}

void plan_columns(const Problem& p, Plan& plan) {
  plan.layout = Layout::columns;
  plan.step = 0;
  plan.aligned = false;
  plan.warps = kColumnThreads / 32;
  plan.levels = levels_for(p.n_out + 4);
  const std::int64_t columns = plan.lane_dim >= 0 ? p.dim[plan.lane_dim].size : 1;
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, p.rows / columns * divide_up(columns, kColumnThreads)));
  plan.shared = static_cast<std::int32_t>(plan.levels * 6 * wide_bytes(p) * kColumnThreads);
  plan.blocks_per_sm = 1;
  plan.reason =
      plan.lane_dim >= 0 ? "the axis is not contiguous: threads lie along another dimension and walk the axis" : "one thread walks a row";
}

// Do pieces of rows (along the lanes) begin and end where vectors of 16 bytes do?
bool pieces_aligned(const Problem& p, int lane_dim, const void* data, DType dtype, std::int64_t Dim::*stride, std::int64_t vector) {
  const std::int64_t size = bytes(dtype);
  bool all = p.dim[lane_dim].*stride == 1 && reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(vector) == 0 &&
             p.dim[lane_dim].size * size % vector == 0 && p.axis.*stride * size % vector == 0;
  for (int i = 0; i < p.dims; ++i) all = all && (i == lane_dim || p.dim[i].*stride * size % vector == 0);
  return all;
}

constexpr int kColumnWarps = 4, kColumnRows = 16;

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

// False if rows are not aligned, or columns too few to fill a block's strip.
bool plan_column_ring(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  if (plan.lane_dim < 0 || p.n == 0 || plan.halves) return false;
  const auto fits = [&](const void* data, DType dtype, std::int64_t Dim::*stride) {
    return pieces_aligned(p, plan.lane_dim, data, dtype, stride, 16);
  };
  if (!fits(p.in, p.in_dtype, &Dim::in) || (inputs(p.op) == 2 && !fits(p.in2, p.in_dtype, &Dim::in2)) ||
      (p.masked() && !fits(p.mask, p.mask_dtype, &Dim::mask)))
    return false;
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
  if (columns % plan.columns != 0 || !pieces_aligned(p, plan.lane_dim, p.out, p.out_dtype, &Dim::out, plan.columns * out)) return false;
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

constexpr int kColumnTeam = 4;  // warps of a reducer or storer (kernels/column_roles.cuh)
constexpr int kNarrow = 32;     // lanes of a warp: of so few columns, several segments lie side by side in them

// Do the rows of all tensors lie one behind the other, and have few columns?
bool is_narrow(const Problem& p, int lane_dim) {
  const std::int64_t columns = p.dim[lane_dim].size;
  const auto packed = [&](std::int64_t Dim::*stride) { return p.dim[lane_dim].*stride == 1 && std::abs(p.axis.*stride) == columns; };
  return columns <= kNarrow && packed(&Dim::in) && packed(&Dim::out) && (inputs(p.op) == 1 || packed(&Dim::in2)) &&
         (!p.masked() || packed(&Dim::mask));
}

// Can pieces of rows be copied as vectors, and results of neighbouring columns be stored as one?
bool is_wide(const Problem& p, int lane_dim, int columns_of_lane) {
  const auto fits = [&](const void* data, DType dtype, std::int64_t Dim::*stride) {
    return pieces_aligned(p, lane_dim, data, dtype, stride, 16);
  };
  return fits(p.in, p.in_dtype, &Dim::in) && (inputs(p.op) == 1 || fits(p.in2, p.in_dtype, &Dim::in2)) &&
         (!p.masked() || fits(p.mask, p.mask_dtype, &Dim::mask)) && p.dim[lane_dim].size % columns_of_lane == 0 &&
         pieces_aligned(p, lane_dim, p.out, p.out_dtype, &Dim::out, columns_of_lane * bytes(p.out_dtype));
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
  if (!narrow && !is_wide(p, plan.lane_dim, plan.columns)) return false;
  plan.narrow = narrow ? static_cast<int>(columns) : 0;
  plan.side = narrow ? static_cast<int>(std::bit_floor(static_cast<unsigned>(kNarrow / columns))) : 1;
  const std::int64_t width = narrow ? columns : plan.columns * 32, strips = p.rows / columns * divide_up(columns, width);
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
  const std::int64_t tiles = divide_up(p.n_out, plan.side * kSegment) * strips, chunks = p.n / kChunk;
  plan.grid = static_cast<std::uint32_t>(std::min<std::int64_t>(tuning.blocks > 0 ? tuning.blocks : device.sms, tiles));
  plan.shared = static_cast<std::int32_t>(control(plan.slots) + carry + plan.slots * slot);
  // In the first block each group of 32 lanes of a strip has a warp for its chunks, and one for its nodes of level 3.
  if (narrow) plan.scanners = std::max(tuning.scanners > 0 ? tuning.scanners : widest > 8 ? 2 : 6 - plan.loaders, 2 * plan.columns);
  else plan_strips(p, tuning, strips, control(plan.slots), plan);
  plan.step = 0, plan.aligned = false;
  plan.warps = plan.loaders + kColumnTeam * (plan.reducers + plan.storers) + plan.starters + (narrow ? plan.scanners : 0);
  if (!narrow && plan.scanners > 0) plan.warps = std::max(plan.warps, element > 8 ? 12 : 15);  // all of a block scan
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

// Is a ring faster than walking rows, where there are rows for all blocks? It needs much shared memory and bulk copies. As measured on an
// H200: docs/decisions.md.
bool is_ring_faster(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (device.capability < 90 || !plan.aligned || inputs(p.op) == 2 || p.masked()) return false;
  const std::int64_t capacity = row_capacity(p, true), kRowsOfWarps = 257 * kSegment;  // what eight warps hold
  if (element_bytes(p) == 8) return p.rows >= 2 * kOwnRows * device.sms && p.n_out > capacity;
  if (p.in_dtype != DType::f32 || p.out_dtype != DType::f32 || p.rows < kOwnRows * device.sms) return false;
  return (p.n_out > kRowsOfWarps && p.n_out < 512 * kSegment) || p.n_out >= kOwnChunks * kChunk;  // not whole steps, or long
}

Layout choose(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (plan.lane_dim >= 0 || p.n == 0) {
    if (plan.lane_dim >= 0 && is_narrow(p, plan.lane_dim) && p.n * p.dim[plan.lane_dim].size >= kChunk) return Layout::split_columns;
    // Strips of 128 columns for every SM (64, if elements do not have four bytes), or walking columns leaves the device idle.
    const int strip = bytes(p.in_dtype) == 4 && element_bytes(p) == 4 ? 128 : 64;
    return p.rows < strip * device.sms && p.n >= 16 * kSegment ? Layout::split_columns : Layout::column_ring;
  }
  if (p.n_out <= kShortRow) return Layout::packed_rows;
  const std::int64_t chunks = divide_up(p.n, kChunk), capacity = row_capacity(p, plan.aligned);
  if (chunks > 1 && p.rows < device.sms / 2 && p.rows * chunks >= kSpreadLeast && p.rows * chunks * element_bytes(p) <= kSpreadMost * 4)
    return Layout::spread_rows;
  if (is_ring_faster(p, device, plan)) return Layout::split_rows;
  if (p.n_out <= capacity) return Layout::rows;
  // Eight bytes: several blocks of an SM walk, while there are rows for them.
  if (element_bytes(p) == 8 && plan.aligned && p.rows >= 16 * device.sms) return Layout::rows;
  const bool few = p.rows < device.sms, many = p.rows >= 16 * device.sms;
  return few || p.n_out > (element_bytes(p) > 4 ? 2 : many ? 8 : 4) * capacity ? Layout::split_rows : Layout::rows;
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
  plan.step = plan.halves ? 0 : common_step(p);
  plan.aligned = rows_aligned(p, plan.step);
  plan.exclusive = p.kind != Kind::inclusive;
  plan.total = p.total_dtype != DType::none;
  plan.dims = p.dims <= 2 ? 2 : p.dims <= 6 ? 6 : kMaxDims;
  if (p.rows == 0 || (p.n_out == 0 && p.total_dtype == DType::none)) {
    plan.layout = Layout::none;
    plan.reason = "no elements: nothing to do";
    return plan;
  }
  Layout layout = choose(p, device, plan);
  if (tuning.layout > 0 && p.n > 0) layout = static_cast<Layout>(tuning.layout);
  if (layout != Layout::columns && layout != Layout::column_ring && layout != Layout::split_columns) plan.lane_dim = -1;  // forced
  if (layout == Layout::spread_rows && !plan_spread_rows(p, device, tuning, plan)) layout = Layout::split_rows;
  if (layout == Layout::split_rows && !plan_split_rows(p, device, tuning, plan)) layout = Layout::rows;
  if (layout == Layout::split_columns && !plan_split_columns(p, device, tuning, plan)) layout = Layout::column_ring;
  if (layout == Layout::column_ring && !plan_column_ring(p, device, tuning, plan)) layout = Layout::columns;
  if (layout == Layout::packed_rows && (p.n_out > kShortRow || !plan_packed_rows(p, device, tuning, plan))) layout = Layout::short_rows;
  if (layout == Layout::short_rows && p.n_out > kShortRow) layout = Layout::rows;
  if (layout == Layout::short_rows) plan_short_rows(p, device, plan);
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

TensorShape tensor_shape(const Problem& p, const Plan& plan) {
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
