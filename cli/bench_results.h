// What `cumulus bench` is asked for and what it writes, on every device.
#pragma once

#include <string>
#include <vector>

#include "bench_cases.h"
#include "output.h"

namespace cumulus::cli {

struct BenchOptions {
  std::vector<std::string> globs;
  std::vector<int> threads;
  int cuda = -1;  // device; -1: the CPU
  int rounds = 15;
  double seconds = 0.5;
  std::int64_t max_mib = 0;
  bool list = false, quick = false, peers = true, pin = false;
  bool check = true, first_calls = false, one_first_call = false;  // on a GPU
  std::string json, commit;
  bool want_json = false, force = false;  // force: replace a file that exists

  bool to_file() const { return want_json && json != "-"; }
  bool table() const { return !want_json || json != "-"; }
};

// The case itself.
Json describe(const BenchCase& bench_case);

// Adds the commit, the date and the library's version.
void stamp(Json& result, const BenchOptions& options);

// To options.json, if it is wanted. `again`: over the file that this run wrote before.
void write_results(const Json& results, const BenchOptions& options, bool again = false);

// Cases of at most --max-mib whose `needed` bytes of memory are there; says which are left out.
std::vector<BenchCase> that_fit(std::vector<BenchCase> cases, const BenchOptions& options, std::int64_t (*needed)(const BenchCase&));

std::string time_text(double us);

}  // namespace cumulus::cli
