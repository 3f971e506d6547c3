// Layouts of rows that are contiguous, or all of whose tensors run along the axis together.
#include <array>

#include "cuda/plan_layouts.h"

namespace cumulus::cuda::planning {
namespace {

constexpr int kShortRow = 128;
constexpr int kShortThreads = 256;
// Registers that hold a tile: half of a thread's, more would spill (measured by tests/cuda/compile_test).
constexpr int kTileRegisters = 144;
// split_rows: warps of a scanning block that do nothing else, where warps of any role scan (kernels/split_rows.cuh).
constexpr int kOwnScanners = 4;
// A row is one block's, if there are so many for each block, and they have fewer chunks: longer ones leave blocks idle at the end.
constexpr int kOwnRows = 8, kOwnChunks = 32;
// Tiles of a launch whose end is a large part of it: scanners there are worth more than what they disturb.
constexpr std::int64_t kFewTiles = 1 << 15;
// Rows for all blocks of an SM that walk.
constexpr int kManyRows = 16;
// A block's chunk is one of 32 nodes of 32 at most, and sixteen bits count tiles (kernels/spread_rows.cuh).
constexpr std::int64_t kSpreadChunks = 1024, kSpreadTiles = 0xffff;
// Where spread_rows is chosen: from so many chunks of a call up to so many of four-byte elements, in fewer rows than half the SMs. Measured
// on an H200: docs/decisions.md. A ring with bulk copies (9.0 and newer) is faster beyond half as many.
constexpr std::int64_t kSpreadLeast = 3, kSpreadMost = 1024;

int power_above(std::int64_t v) { return static_cast<int>(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(v, 1)))); }

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

// What the compiler needs beyond that, in rows that are walked or held, for some architectures.
int more_registers(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (is_kept_narrow(p, plan)) return !plan.walks || device.capability >= 100 ? 32 : 0;
  return device.capability < 90 && plan.walks && !plan.aligned && plan.step != 0 && element_bytes(p) == 4 ? 24 : 0;
}

// What rows have behind whole tiles, if it is a segment at most: the last warp can take it with the last tile. Results of such a tail, at
// most; 0: none. A segment costs a few registers. The largest tiles have them only where rows are held, and by no more warps than may have
// all registers each.
int tail_of(const Problem& p, const Plan& plan, std::int64_t needed) {
  const int tile = plan.warps * plan.segments;
  if (needed <= tile || tile % 32 != 0 || (needed - 1) % tile != 0) return 0;
  if (p.n_out - (needed - 1) * kSegment <= kTailQuad) return kTailQuad;
  const bool large = plan.segments * segment_registers(p, plan.aligned) > kTileRegisters * 2 / 3;
  return !large || (needed - 1 == tile && plan.warps <= 8) ? static_cast<int>(kSegment) : 0;
}

// What takes no more registers beside its elements than the kernel's own, and the shifting of rows that begin anywhere.
bool is_plain(const Problem& p, const Plan& plan) {
  return plan.step != 0 && bytes(p.in_dtype) == 4 && p.in_dtype == p.out_dtype && inputs(p.op) == 1 && !p.masked() && !plan.total;
}

// Is a ring faster than walking rows, where there are rows for all blocks? It needs much shared memory and bulk copies. As measured on an
// H200: docs/decisions.md.
bool is_ring_faster(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (device.capability < 90 || !plan.aligned || inputs(p.op) == 2 || p.masked()) return false;
  const std::int64_t capacity = row_capacity(p, true), kRowsOfWarps = 257 * kSegment;  // what eight warps hold
  if (element_bytes(p) == 8) return p.rows >= kManyRows * device.sms && p.n_out > capacity;
  if (p.in_dtype != DType::f32 || p.out_dtype != DType::f32 || p.rows < kOwnRows * device.sms) return false;
  return (p.n_out > kRowsOfWarps && p.n_out < 512 * kSegment) || p.n_out >= kOwnChunks * kChunk;  // not whole steps, or long
}

struct TileShape {
  int warps, segments;  // of a warp
};

// A tile that holds rows of `needed` segments: of its shapes that of which an SM has most under way, in so far as a warp with more segments
// takes longer. The weight is what rows of many widths took on an H200: docs/decisions.md.
TileShape held_tile(const Problem& p, const DeviceInfo& device, const Plan& plan, std::int64_t needed) {
  constexpr int kWarpTime = 77;  // of a warp, beside its segments
  TileShape best = {};
  double most = 0;
  for (int segments : {8, 16}) {
    const int warps = static_cast<int>(divide_up(needed, segments));
    const bool spills = segments > 8 && plan.aligned && plan.step < 0;  // 120 bytes
    if (warps > 16 || spills || (segments > 8 && needed <= 32)) continue;
    const int blocks = blocks_by_registers(device, segments * segment_registers(p, plan.aligned) + working_registers(p, plan), warps);
    const double under_way = static_cast<double>(blocks * needed) / (kWarpTime + segments);
    if (under_way > most) most = under_way, best = {warps, segments};
  }
  return best;
}

// Rows that are read lie multiples of 128 KiB apart, those that are written do not. Where an SM has one block, an H200 is slower then than
// with any other distances, unless its blocks read from several places: 0.92 and 0.955 of a copy. It was not found why (docs/decisions.md).
bool drifts(const Problem& p) {
  constexpr std::int64_t kApart = 128 << 10;
  const auto fits = [](std::int64_t stride, DType dtype) { return stride != 0 && stride * bytes(dtype) % kApart == 0; };
  return p.dims == 1 && fits(p.dim[0].in, p.in_dtype) && !fits(p.dim[0].out, p.out_dtype);
}

// A block's tile for rows of `needed` segments, which holds them or walks. As measured on an H200: docs/decisions.md.
TileShape tile_shape(const Problem& p, const DeviceInfo& device, const Plan& plan, std::int64_t needed) {
  const int most = plan.step == 0 ? std::min(8, most_segments(p, false)) : most_segments(p, plan.aligned);
  const int usual = element_bytes(p) >= 8 ? 4 : 8;  // warps
  const bool plain = is_plain(p, plan), shifted = plain && !plan.aligned;
  // A tile of a power of two, where it is faster if it is filled: of aligned rows, and of others of some 4096 results.
  const bool fills = needed <= 128 && 4 * needed > 3 * power_above(needed) && (plan.aligned || power_above(needed) == 32);
  if (needed <= std::min(8, most)) return {1, power_above(needed)};  // a warp holds the row
  if (plain && !fills && needed <= (plan.aligned ? 64 : 128)) return held_tile(p, device, plan, needed);
  if (needed <= 64) return {power_above(divide_up(needed, std::min(4, most))), std::min(4, most)};
  if (needed <= 128 && plan.step < 0 && most == 32) return {4, most};  // with 16 segments, rows in reverse spill 120 bytes
  if (is_kept_narrow(p, plan) && most == 32) return {4, most};
  if (element_bytes(p) == 8 && plan.aligned && p.in_dtype == p.out_dtype && !p.masked()) return {2, 16};
  if (needed <= 192 && most == 32) return {2 * static_cast<int>(divide_up(needed, 32)), 16};
  if (needed <= 128) return {usual, std::min(16, most)};
  if (needed > 160 && needed % 32 == 0 && needed <= 256 && shifted) return {static_cast<int>(needed / 16), 16};  // all warps are full
  if (needed <= 240 && shifted) return {needed <= 192 ? 4 : 8, 16};
  if (needed <= 256 && shifted) return {16, 16};
  if (p.masked() && plan.aligned && most == 16) return {4, most};  // of 294 tunings the fastest, by 1.5 %
  if (needed <= 256 && most == 32) return {static_cast<int>(divide_up(needed, 32)), most};
  if (needed <= 320 && most == 32) return {usual, 16};  // nine or ten warps that hold a row spill
  return {usual, most};
}

void choose_tile(const Problem& p, const DeviceInfo& device, const Tuning& tuning, std::int64_t needed, Plan& plan) {
  const TileShape shape = tile_shape(p, device, plan, needed);
  plan.warps = tuning.warps > 0 ? tuning.warps : std::min(shape.warps, element_bytes(p) > 8 ? 8 : 16);
  plan.segments = tuning.segments > 0 ? tuning.segments : shape.segments;
  // What is walked is whole chunks, and as many as make a balanced subtree.
  if (plan.warps * plan.segments < needed) plan.warps = static_cast<int>(std::bit_floor(static_cast<unsigned>(plan.warps)));
  while (plan.warps * plan.segments < 32 && plan.warps * plan.segments < needed) plan.warps *= 2;
}

}  // namespace

bool rows_begin_aligned(const Problem& p, int step) {
  if (step == 0) return false;
  const auto fits = [&](const void* data, DType dtype, std::int64_t Dim::*stride) {
    const std::int64_t size = bytes(dtype), vector = std::min<std::int64_t>(4 * size, 16), in_vector = vector / size;
    // Planned for without memory: as if allocated, and so aligned. In reverse, rows begin behind their last element.
    const std::int64_t length = step < 0 ? (stride == &Dim::out ? p.n_out : p.n) : 0;
    const std::int64_t first =
        data ? static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(data)) + (step < 0 ? size : 0) : length * size;
    bool all = first % vector == 0;
    for (int i = 0; i < p.dims; ++i) all = all && p.dim[i].*stride % in_vector == 0;
    return all;
  };
  return fits(p.in, p.in_dtype, &Dim::in) && (inputs(p.op) == 1 || fits(p.in2, p.in_dtype, &Dim::in2)) &&
         (!p.masked() || fits(p.mask, p.mask_dtype, &Dim::mask)) && fits(p.out, p.out_dtype, &Dim::out);
}

Layout choose_rows(const Problem& p, const DeviceInfo& device, const Plan& plan) {
  if (p.n_out <= kShortRow) return Layout::packed_rows;
  const std::int64_t chunks = divide_up(p.n, kChunk), capacity = row_capacity(p, plan.aligned);
  const std::int64_t most = device.capability >= 90 ? kSpreadMost / 2 : kSpreadMost;
  if (chunks > 1 && p.rows < device.sms / 2 && p.rows * chunks >= kSpreadLeast && p.rows * chunks * element_bytes(p) <= most * 4)
    return Layout::spread_rows;
  if (is_ring_faster(p, device, plan)) return Layout::split_rows;
  if (p.n_out <= capacity) return Layout::rows;
  // Eight bytes: several blocks of an SM walk, while there are rows for them.
  if (element_bytes(p) == 8 && plan.aligned && p.rows >= kManyRows * device.sms) return Layout::rows;
  const bool few = p.rows < device.sms, many = p.rows >= kManyRows * device.sms;
  return few || p.n_out > (element_bytes(p) > 4 ? 2 : many ? 8 : 4) * capacity ? Layout::split_rows : Layout::rows;
}

bool plan_short_rows(const Problem& p, const DeviceInfo& device, Plan& plan) {
  if (p.n_out > kShortRow) return false;
  plan.lanes = power_above(divide_up(p.n_out, 4));
  const std::int64_t blocks = divide_up(p.rows, kShortThreads / plan.lanes);
  if (blocks > kMostBlocks) return false;  // each has rows once
  plan.layout = Layout::short_rows;
  plan.warps = kShortThreads / 32;
  plan.grid = static_cast<std::uint32_t>(blocks);
  // All the warps an SM can hold hide the memory's latency, if 32 registers do.
  const int registers = 16 + 4 * element_bytes(p) + (p.masked() ? 16 : 0) + (plan.total ? 8 : 0) +
                        (plan.aligned && p.in_dtype == DType::f32 && p.in_dtype == p.out_dtype ? 0 : 8) +
                        (device.capability >= 100 ? 8 : 0);
  plan.blocks_per_sm = std::clamp(device.registers_per_sm / (registers * kShortThreads), 1, device.warps_per_sm / plan.warps);
  plan.reason = "rows of at most 128 results: several in one warp";
  return true;
}

// Rows that are one piece of memory in every tensor, but do not begin where vectors do.
bool plan_packed_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  if (p.n_out > kShortRow || plan.step == 0 || plan.aligned || p.dims > 1) return false;
  const auto packed = [&](std::int64_t Dim::*stride, std::int64_t n) { return p.dims == 0 || p.dim[0].*stride == n; };
  if (!packed(&Dim::in, p.n) || !packed(&Dim::out, p.n_out) || (inputs(p.op) == 2 && !packed(&Dim::in2, p.n)) ||
      (p.masked() && !packed(&Dim::mask, p.n)))
    return false;
  if (!plan_short_rows(p, device, plan)) return false;
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
  plan.grid = static_cast<std::uint32_t>(divide_up(p.rows, kShortThreads / plan.lanes * plan.segments));
  const int more = 1 + plan.segments / 2;  // quads of a thread take registers
  plan.blocks_per_sm = std::max(1, std::min(plan.blocks_per_sm / more, device.shared_per_sm / (plan.shared + device.shared_reserved)));
  plan.reason = "rows of at most 128 results, one behind the other: a block's rows pass through shared memory as vectors";
  return true;
}

void plan_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  plan.layout = Layout::rows;
  const std::int64_t needed = divide_up(p.n_out, kSegment);
  choose_tile(p, device, tuning, needed - 1, plan);  // as if nothing were left over
  plan.tail = tail_of(p, plan, needed);
  if (plan.tail == 0) choose_tile(p, device, tuning, needed, plan);
  else if (plan.warps == 16 && plan.tail > kTailQuad && tuning.warps == 0 && tuning.segments == 0)
    plan.warps = 8;  // in two steps, but twice the blocks
  const int tile = plan.warps * plan.segments;
  plan.walks = needed - (plan.tail > 0) > tile;
  plan.levels = levels_for(p.n_out + tile * kSegment);
  plan.grid = static_cast<std::uint32_t>(std::min(kMostBlocks, p.rows));
  plan.shared = static_cast<std::int32_t>(divide_up(tile * element_bytes(p), 16) * 16 + plan.levels * 6 * wide_bytes(p));
  const int registers = plan.segments * segment_registers(p, plan.aligned) + working_registers(p, plan) + more_registers(p, device, plan);
  plan.blocks_per_sm = blocks_by_registers(device, registers, plan.warps);
  plan.scatters = !plan.walks && plan.blocks_per_sm == 1 && drifts(p);
  if (plan.scatters) plan.grid = static_cast<std::uint32_t>(std::min(divide_up(plan.grid, kRowParts), kMostBlocks / kRowParts) * kRowParts);
  plan.reason = plan.walks ? "a block walks a row, a tile of it in registers" : "a block holds a row in registers";
}

// Warps of a ring by role: reducers and storers in teams of some warps. Measured on an H200: docs/decisions.md.
struct RingRoles {
  int reducers, storers, team, scanners;
};
RingRoles ring_roles(const Problem& p, const Plan& plan, bool own, std::int64_t tiles) {
  const int in = static_cast<int>(bytes(p.in_dtype)), element = element_bytes(p);
  // Of elements of eight bytes and more a ring holds few tiles, none of which may stay in it for long: teams of warps share a tile.
  if (element > 16) return {1, 1, 2, 4};
  if (element > 8) return {1, 2, 2, 4};
  if (element > 4 && in < 4 && !plan.aligned) return {1, 2, 4, 6};  // more warps spill
  if (element > 4) return {1, own || in < 8 ? 2 : 1, 4, in < 8 ? 8 : 4};
  if (in <= 2) return {3, 6, 2, 15};  // narrow elements are more a second
  const int asking = tiles <= kFewTiles ? 8 : 7;
  if (own || plan.step == 0) return {4, plan.aligned ? 3 : 6, 1, asking};
  if (!rows_begin_aligned(p, plan.step)) return {3, 4, 2, 8};  // quads are shifted
  if (plan.chunks > 1) return {2, 1, 4, 5};                    // before Hopper
  if (p.masked() && bytes(p.mask_dtype) > 1) return {1, 1, 4, 5};
  if (p.masked() || !plan.aligned) return {2, 3, 2, 7};  // not all tiles are
  return {4, 3, 1, asking};                              // more storers than needed only disturb
}

// The ring of tiles; false if not even one tile fits, or blocks share more of them than they count.
bool plan_split_rows(const Problem& p, const DeviceInfo& device, const Tuning& tuning, Plan& plan) {
  const int in = static_cast<int>(bytes(p.in_dtype)),
            streams = in * inputs(p.op) + (p.masked() ? static_cast<int>(bytes(p.mask_dtype)) : 0);
  const int element = element_bytes(p);
  const std::int64_t blocks = tuning.blocks > 0 ? tuning.blocks : device.sms;
  const bool own = tuning.scanners == 0 && p.n < kOwnChunks * kChunk && p.rows >= (tuning.blocks > 0 ? 2 : kOwnRows) * blocks;
  plan.chunks = element <= 4 && in * inputs(p.op) <= 2 ? 2 : std::clamp(4 / streams, 1, 2);
  // Before Hopper few tiles fit, and each one's copies take a warp's time.
  if (device.capability < 90 && !own && element == 4 && streams == 4 && rows_begin_aligned(p, plan.step)) plan.chunks = 2;
  if (tuning.chunks > 0) plan.chunks = tuning.chunks;
  const std::int64_t tiles = p.rows * divide_up(p.n_out, plan.chunks * kChunk);
  if (!own && tiles > kMostTickets) return false;
  const auto [reducers, storers, team, scanners] = ring_roles(p, plan, own, tiles);
  plan.team = static_cast<int>(std::bit_floor(static_cast<unsigned>(std::clamp(tuning.team > 0 ? tuning.team : team, 1, 8))));
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
  // Control (kernels/split_rows.cuh): barriers and places by slot, flags, 64 + 8 wide values, R at chunks' ends.
  const auto control = [&](int slots) {
    const std::int64_t values = slots * (plan.chunks + 1) * element + (own ? 0 : 72 * wide_bytes(p));
    return divide_up(56 * slots + 4 * (plan.scanners + 64 + 8) + 128 + values, 128) * 128;
  };
  const std::int64_t carry = plan.levels * 6 * wide_bytes(p);
  const int most = tuning.slots > 0 ? tuning.slots : 24;
  plan.slots = 0;
  while (plan.slots < most && control(plan.slots + 1) + carry + (plan.slots + 1) * slot <= device.shared_per_block) ++plan.slots;
  if (plan.slots == 0) return false;
  plan.layout = Layout::split_rows;
  // 48 to 64 KiB on the way are best for one row on an H200, a tile more for several; of large tiles of rows that are a block's own, three.
  // A warp waiting for a tile must not lag a whole round of the ring behind the loader.
  const std::int64_t on_the_way = own && in >= 8 ? 84 << 10 : own || p.rows == 1 ? 56 << 10 : 66 << 10;
  plan.flight =
      std::clamp(tuning.flight > 0 ? tuning.flight : static_cast<int>((on_the_way + slot / 2) / slot), 1, std::max(plan.slots - 2, 1));
  plan.reducers = std::min({plan.reducers, std::max(plan.slots - plan.flight, 1), kMostWarps / 4});
  plan.storers = std::min({plan.storers, std::max(plan.slots - plan.flight, 1), kMostWarps / 2});
  const auto others = [&] { return 2 + plan.reducers * (plan.chunks == 1 ? plan.team : 1) + plan.storers * plan.team; };
  while (others() > kMostWarps - kOwnScanners) plan.team /= 2;
  // Narrow elements: a block that does nothing else scans with warps of any role, and few are scanners only.
  const bool alone = in <= 2 && element <= 4 && plan.scanners >= kOwnScanners;
  if (!alone) plan.scanners = std::min(plan.scanners, kMostWarps - others());
  plan.warps = others() + (own ? 0 : alone ? std::max(plan.scanners - others(), kOwnScanners) : plan.scanners);
  plan.shared = static_cast<std::int32_t>(control(plan.slots) + carry + plan.slots * slot);
  const std::int64_t chunks = p.n / kChunk;
  plan.grid = static_cast<std::uint32_t>(std::min<std::int64_t>(blocks, own ? p.rows : tiles));
  plan.blocks_per_sm = 1;
  plan.workspace_words = kWorkspaceHeader + (own ? 0 : p.rows * (2 * chunks + 1) * divide_up(element_bytes(p), 4));
  plan.copies = plan.step == 0 ? Copies::plain : device.capability >= 90 ? Copies::bulk : Copies::async;
  plan.reason = own ? "long rows: a block walks a row, tile after tile through a ring in shared memory"
                    : "long rows: tiles by ticket through a ring in shared memory, node totals from block to block";
  return true;
}

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

}  // namespace cumulus::cuda::planning
