// The interface between the CPU driver and the SIMD kernels: one table of functions per (op, accumulator) and target.
//
// Kernels work on planes: arrays of plain accumulators, one per component of an element (a complex number is two planes, a
// pair of complex numbers four). Everything else (dtypes, strides, masks, reversal) is staged by the driver, see stage.h.
#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace cumulus::cpu {

inline constexpr int kMaxPlanes = 4;
inline constexpr std::int64_t kSegment = 128;  // level 1 of the order
inline constexpr std::int64_t kChunk = 4096;   // level 2
inline constexpr int kMaxLevels = 11;          // levels 3 and up that 2^63 elements can need
inline constexpr int kChunkStateBytes = 7 * kMaxPlanes * 64;

// Levels 3 and up that a row of n elements reaches.
constexpr int levels_for(std::int64_t n) {
  int levels = n < kChunk ? 0 : 1;
  for (std::int64_t chunks = n / kChunk; chunks >= 32; chunks /= 32) ++levels;
  return levels;
}

// What the order needs to know of a row's earlier chunks: a counter per level with its five left totals, and the value
// R(i) contributed by that level and those above. All in the carry type; every slot is 8 bytes wide.
struct Carry {
  std::int64_t chunks = 0;
  int levels = 0;          // in use so far
  bool has_start = false;  // false: the recurrence without an initial value starts from nothing
  int segments = 0;        // done of the chunk that is under way
  std::int64_t* slots = nullptr;
  void* chunk = nullptr;  // kChunkStateBytes, aligned to vectors: level 2's counter between two calls inside a chunk

  // start[planes], then per level: value[planes], left[5][planes]
  static constexpr std::int64_t slots_for(int planes, int levels) { return planes * (1 + 6 * std::int64_t{levels}); }
};

// Memory that will be needed soon: kernels ask for `step` bytes of it (either sign) with every segment they scan, so that the
// next tile is on its way while this one is computed.
struct Prefetch {
  const char* at = nullptr;
  std::int64_t step = 0;
};
inline constexpr int kPrefetches = 3;  // in, in2, mask

// Finished results on their way out: whole cache lines that a kernel stores past the cache, some with every segment, while it
// computes the next ones. Stores in bursts would leave the memory idle in between.
struct Drain {
  const char* from = nullptr;  // both aligned to 64 bytes
  char* to = nullptr;
  std::int64_t bytes = 0;
};

// A mask that the kernel applies while it loads: `select` hides elements, `factor` multiplies them (float kernels of one plane).
struct Mask {
  const std::uint8_t* select = nullptr;
  const void* factor = nullptr;
  const void* hidden[kMaxPlanes] = {};  // what a hidden element counts as

  bool any() const { return select != nullptr || factor != nullptr; }
};

struct RowArgs {
  const void* in[kMaxPlanes];
  Mask mask;                       // walked in in's direction
  void* out[kMaxPlanes];           // a null plane is not stored
  bool in_backward, out_backward;  // the pointers stand at the first element and memory goes down from there
  std::int64_t n;                  // elements, starting at a segment; only a row's last call may end inside one
  bool exclusive;
  bool streaming;                 // out is aligned to vectors and bypasses the cache
  const void* shown[kMaxPlanes];  // exclusive: what the very first element shows instead of R(0), or null
  Carry* carry;                   // advanced by n
  void* end[kMaxPlanes];          // receives R at the end of this call
  std::int64_t rows;              // whole rows, all from `start`; 1 where `carry` comes from an earlier call
  std::int64_t in_step[kMaxPlanes], out_step[kMaxPlanes], mask_step;  // elements from row to row
  const void* const* start;                                           // rows > 1: accumulators, or null for nothing
  Prefetch prefetch[kPrefetches];
  Drain drain;
};

struct ShortRowsArgs {
  const void* in[kMaxPlanes];  // rows padded to 4 << quads_log2 elements
  void* out[kMaxPlanes];
  std::int64_t segments;  // of 128 elements; both buffers hold that much
  int quads_log2;         // 0 to 5
  bool exclusive;
  bool streaming;
  const void* start[kMaxPlanes];  // one value per row if start_per_row, else one; null: the row starts from nothing
  bool start_per_row;
  const void* shown[kMaxPlanes];  // as in RowArgs
  Prefetch prefetch[kPrefetches];
};

// Columns are walked together, a vector of them at a time. The state between calls lives in `state` (see column_bytes).
struct ColumnArgs {
  const void* in[kMaxPlanes];
  Mask mask;
  void* out[kMaxPlanes];                            // all null: only the state is advanced
  std::int64_t in_stride, out_stride, mask_stride;  // elements from one step to the next
  std::int64_t n;                                   // steps; a multiple of 4 except in a column's last call
  std::int64_t width;                               // columns: a multiple of the kernel's lanes
  std::int64_t position;                            // steps done by earlier calls
  bool exclusive;
  bool streaming;
  bool has_start;
  std::int64_t ahead;             // steps from what is read to what is asked for at the same time
  const void* shown[kMaxPlanes];  // exclusive: what step 0 shows, one value for all columns, or null
  void* state;
  int levels;  // capacity of each column's carry
};

struct OpKernels {
  int planes;
  int lane_bytes;       // one plane's element
  int lanes;            // of a full vector
  int column_lanes[3];  // widths for which a column kernel exists: full vectors, halves, quarters (0: none)

  void (*carry_start)(Carry& carry, const void* const start[]);                       // start: accumulators, or null for nothing
  void (*carry_push)(Carry& carry, const void* const totals[], std::int64_t chunks);  // appends chunk totals
  void (*carry_value)(const Carry& carry, void* const value[]);                       // R at the carry's position, in the accumulator

  void (*scan)(RowArgs& args);
  void (*chunk_totals)(const RowArgs& args, std::int64_t chunks, void* const totals[]);  // of args' input alone
  void (*short_rows)(const ShortRowsArgs& args);

  // Column kernels, by index into column_lanes. start: per-column values [plane][width], or null planes.
  std::int64_t (*column_bytes)(std::int64_t width, int levels);  // size of the state
  void (*column_start)(const ColumnArgs& args, const void* const start[]);
  void (*columns[3])(const ColumnArgs& args);
  void (*column_end)(const ColumnArgs& args, void* const end[]);  // R at the position args.position: [plane][width]
  // For an axis split over threads: totals of the chunk that a call has just ended, and their hand-over to another state
  // that stands at that chunk's start.
  void (*column_totals)(const ColumnArgs& args, void* const totals[]);      // [plane][width]
  void (*column_push)(const ColumnArgs& args, const void* const totals[]);  // [plane][width]
};

enum class Target : std::uint8_t { sse4, avx2, avx3, neon, other };

const char* name(Target target);
std::vector<Target> compiled_targets();   // best first
std::vector<Target> supported_targets();  // of those, what this CPU runs; best first
Target current_target();                  // the best supported, or a lesser one named by CUMULUS_SIMD

// Tests only: kernels of another target for as long as the guard lives.
class ForceTarget {
 public:
  explicit ForceTarget(Target target);
  ~ForceTarget();
  ForceTarget(const ForceTarget&) = delete;
  ForceTarget& operator=(const ForceTarget&) = delete;

 private:
  int previous_;
};

int vector_bytes(Target target);

// Kernels of the current target; has_kernel(op, acc) must hold.
const OpKernels& kernels(Op op, DType acc);

}  // namespace cumulus::cpu
