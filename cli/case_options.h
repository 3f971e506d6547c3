// A scan of random data, said by a shape and options: what `cumulus profile` and `cumulus tune` work on.
#pragma once

#include <string>

#include "bench_cases.h"
#include "scan_options.h"

namespace cumulus::cli {

struct CaseOptions {
  std::string shape, in_dtype, mask;
  ScanOptions scan;
};

// --shape, --in-dtype, --mask, and the options of every scan.
void add_case_options(CLI::App& command, CaseOptions& options);

// `command`: the subcommand, for messages. Throws CliError.
BenchCase case_of(const CaseOptions& options, const char* command);

// Refuses a case without elements, and one that no memory holds, whose arrays' bytes an integer might not count. Of a case that the library
// accepts: others may have more elements than are counted.
void check_size(const BenchCase& scan);

}  // namespace cumulus::cli
