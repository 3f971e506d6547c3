// The plan of a call on a GPU: a pure function of the problem and the device's description. Tested without any GPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cuda/args.h"
#include "cuda/device.h"
#include "shape.h"

namespace cumulus::cuda {

enum class Layout : std::uint8_t {
  none,           // nothing to do: no launch
  short_rows,     // rows of at most 128 results: several in one warp
  rows,           // a block for each row, which it holds in registers or walks
  split_rows,     // long rows cut into tiles: tickets, a ring in shared memory, node totals through memory
  columns,        // threads walk columns along the axis, elements come through registers
  column_ring,    // the same, pieces of rows come through a ring in shared memory
  packed_rows,    // short rows one behind the other, not aligned: a block's come through shared memory
  split_columns,  // too few columns for the device: the axis is cut as well, as in split_rows
  spread_rows     // few rows of middle length: a block for each chunk, totals through memory
};
inline constexpr Layout kLastLayout = Layout::spread_rows;

// How tiles come into shared memory: loads, cp.async (8.0), bulk copies of pieces, tensor copies of whole tiles (9.0).
enum class Copies : std::uint8_t { plain, async, bulk, tensor };

// What a caller may force; zero means the planner's own choice. No choice changes a bit of any result.
struct Tuning {
  int capability = 0;  // plan as for this compute capability (80 for the path before Hopper), if the device has it
  int layout = 0;      // of Layout, where it can serve the problem
  int warps = 0;
  int segments = 0;                             // rows: of 128 elements, for each warp
  int chunks = 0;                               // split_rows: of 4096 elements, for each tile
  int slots = 0;                                // split_rows: tiles in the ring
  int flight = 0;                               // split_rows: loads in flight
  int columns = 0;                              // column_ring: of a thread
  int blocks = 0;                               // split_rows: blocks in the grid; one is enough
  int reducers = 0, storers = 0, scanners = 0;  // split_rows, split_columns: by role; of strips that are shared, blocks that scan
  int panel = 0;                                // split_columns: of strips that are shared, those whose tiles are taken together
  int team = 0;                                 // split_rows: warps that share a tile
  int copies = 0;                               // columns through a ring: of Copies, where the device has them and the problem allows them

  bool operator==(const Tuning&) const = default;
};

struct Plan {
  Layout layout;
  Copies copies;
  bool backward;  // tensor copies: memory's rows run against the axis
  int step;       // along the axis: 1 or -1; 0 for any other
  bool aligned;   // rows begin where vectors of four do, lengths are multiples of four
  bool exclusive, total;
  bool walks;                       // rows: longer than a tile
  int tail;                         // rows: whole tiles and up to so many results, which the last tile takes with it; 0: no tail
  bool scatters;                    // rows: neighbouring blocks take rows that lie far from each other
  bool halves;                      // complex numbers that are aligned to their parts only
  int lanes;                        // short_rows: lanes of a warp for each row
  int warps, segments;              // rows, spread_rows; packed_rows: segments are quads of a thread
  int chunks, slots, flight;        // split_rows: chunks of a tile, tiles in the ring, loads in flight
  int reducers, storers, scanners;  // split_rows, split_columns: warps or teams by role; strips: blocks that scan, 0 if not shared
  int panel;                        // split_columns: strips whose tiles of a chunk are taken together; 1 if they are not shared
  int columns;                      // column_ring: of a thread
  int team;                         // split_rows: warps of each storer, and of a reducer of one-chunk tiles
  int loaders, starters;            // split_columns: warps that fill slots; that wait for R at tiles' ends
  int narrow, side;                 // split_columns: a row's columns, where they are few; segments side by side in a warp's lanes
  int lane_dim;                     // columns: index into Problem::dim; -1 for rows
  int levels;                       // of the order from level 3 up
  int dims;                         // capacity of the kernel's argument
  std::uint32_t grid, threads;
  std::int32_t shared;           // bytes of dynamic shared memory
  std::int32_t blocks_per_sm;    // that are meant to be resident: registers and shared memory must allow them
  std::int64_t workspace_words;  // of 8 bytes, the header included; 0 where none is needed
  std::int64_t bytes_moved, bytes_required;
  const char* reason;  // one sentence, for people

  bool operator==(const Plan&) const = default;
};

Plan make_plan(const Problem& problem, const DeviceInfo& device, const Tuning& tuning = {});

// What the kernel's source is compiled with: "-DCUMULUS_OP=0" and so on, always in the same order. The entry is kEntry of kernel.cuh.
std::vector<std::string> definitions(const Problem& problem, const Plan& plan);
inline constexpr const char* kEntry = "cumulus_scan_kernel";
inline constexpr const char* kSource = "kernel.cuh";

// The kernel's argument. `workspace` has at least plan.workspace_words words and `words` in all. A host scalar as initial value is
// copied, if the problem says it is on the host (`initial_on_host`).
void fill_args(const Problem& problem, const Plan& plan, bool initial_on_host, std::uint64_t* workspace, std::int64_t words,
               HostArgs& args);

// What a plan with tensor copies has a map made of.
TensorShape tensor_shape(const Problem& problem, const Plan& plan);

const char* name(Layout layout);
const char* name(Copies copies);

}  // namespace cumulus::cuda
