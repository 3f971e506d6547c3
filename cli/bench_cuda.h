// `cumulus bench --cuda N`.
#pragma once

#include "bench_results.h"

namespace cumulus::cli {

// False where bits differ from the CPU's, or a case failed.
bool bench_cuda(const BenchOptions& options);

}  // namespace cumulus::cli
