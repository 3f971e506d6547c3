// The one entry. The host compiles this file for each call's types and layout, which it gives as macros (src/cuda/plan.cpp).
#include "column_strips.cuh"
#include "columns.cuh"
#include "rows.cuh"
#include "short_rows.cuh"
#include "split_columns.cuh"
#include "split_rows.cuh"
#include "spread_rows.cuh"

namespace cumulus::cuda {
using CompiledScan = Scan<CUMULUS_OP, CUMULUS_IN, CUMULUS_OUT, CUMULUS_MASK,
                          Variant<CUMULUS_STEP, CUMULUS_ALIGNED, CUMULUS_EXCLUSIVE, CUMULUS_TOTAL, CUMULUS_HALVES>>;
}

#if CUMULUS_COPIES == 3  // kCopyTensor
#define CUMULUS_MAP_ARGUMENT , const __grid_constant__ cumulus::cuda::TensorMap map
#define CUMULUS_MAP &map
#else
#define CUMULUS_MAP_ARGUMENT
#define CUMULUS_MAP nullptr
#endif

extern "C" __global__ void __launch_bounds__(CUMULUS_THREADS, CUMULUS_BLOCKS_PER_SM)
    cumulus_scan_kernel(const __grid_constant__ cumulus::cuda::Args<CUMULUS_DIMS> a CUMULUS_MAP_ARGUMENT) {
  using namespace cumulus::cuda;
#if CUMULUS_LAYOUT == 1
  ShortRowsKernel<CompiledScan, CUMULUS_LANES, CUMULUS_DIMS>::run(a, CUMULUS_THREADS);
#elif CUMULUS_LAYOUT == 2
  RowsKernel<CompiledScan, CUMULUS_THREADS / 32, CUMULUS_SEGMENTS, CUMULUS_WALKS, CUMULUS_DIMS, CUMULUS_TAIL>::run(a);
#elif CUMULUS_LAYOUT == 3
  SplitRowsKernel<CompiledScan, CUMULUS_CHUNKS, CUMULUS_SLOTS, CUMULUS_FLIGHT, CUMULUS_REDUCERS, CUMULUS_STORERS, CUMULUS_TEAM,
                  CUMULUS_SCANNERS, CUMULUS_COPIES, CUMULUS_DIMS>::run(a);
#elif CUMULUS_LAYOUT == 8
  SpreadRowsKernel<CompiledScan, CUMULUS_THREADS / 32, CUMULUS_SEGMENTS, CUMULUS_DIMS>::run(a);
#elif CUMULUS_LAYOUT == 7
#if CUMULUS_NARROW
  SplitColumnsKernel<CompiledScan, NarrowTile<CompiledScan, CUMULUS_NARROW, CUMULUS_SIDE>, CUMULUS_SLOTS, CUMULUS_FLIGHT, CUMULUS_LOADERS,
                     CUMULUS_REDUCERS, CUMULUS_STARTERS, CUMULUS_STORERS, CUMULUS_SCANNERS, CUMULUS_COPIES, CUMULUS_DIMS>::run(a);
#else
  ColumnStripsKernel<CompiledScan, CUMULUS_COLUMNS, CUMULUS_BACKWARD, CUMULUS_SLOTS, CUMULUS_FLIGHT, CUMULUS_LOADERS, CUMULUS_REDUCERS,
                     CUMULUS_STARTERS, CUMULUS_STORERS, CUMULUS_SCANNERS, CUMULUS_PANEL, CUMULUS_THREADS / 32, CUMULUS_COPIES,
                     CUMULUS_DIMS>::run(a, CUMULUS_MAP);
#endif
#elif CUMULUS_LAYOUT == 6
  PackedRowsKernel<CompiledScan, CUMULUS_LANES, CUMULUS_THREADS, CUMULUS_SEGMENTS, CUMULUS_DIMS>::run(a);
#elif CUMULUS_LAYOUT == 5
  ColumnRingKernel<CompiledScan, CUMULUS_COLUMNS, CUMULUS_THREADS / 32 - 1, CUMULUS_SLOTS, CUMULUS_FLIGHT, CUMULUS_COPIES, CUMULUS_DIMS,
                   CUMULUS_BACKWARD>::run(a, CUMULUS_MAP);
#else
  ColumnsKernel<CompiledScan, CUMULUS_DIMS>::run(a, CUMULUS_THREADS);
#endif
}
