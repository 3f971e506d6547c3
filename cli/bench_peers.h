// What C++ offers otherwise, on the same arrays: std::inclusive_scan (seq, par_unseq), tbb::parallel_scan, plain loops.
#pragma once

#include <vector>

#include "bench_cases.h"
#include "bench_measure.h"

namespace cumulus::cli {

// The peers of a case: forward inclusive f32 sums of contiguous arrays have some, other cases none.
//   1-D and rows of 64 Ki elements or more: row after row; std_seq, std_par_unseq and tbb_scan each on whole rows.
//   Shorter rows: std_seq row after row; std_par_unseq and tbb_rows share the rows among threads, one std::inclusive_scan each.
//   Columns: row_accumulators, a plain loop out[i] = out[i-1] + in[i] over rows of the inner dimension, on one thread.
std::vector<Contestant> peers(const BenchCase& bench_case, const void* in, void* out, int threads);

}  // namespace cumulus::cli
