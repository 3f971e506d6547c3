#include "bench_results.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <cstdio>
#include <ctime>

#include "machine.h"
#include "text_file.h"
#include "types.h"

namespace cumulus::cli {

Json describe(const BenchCase& c) {
  return {{"case", c.name},           {"op", name(c.op)},         {"kind", kKindName[static_cast<int>(c.kind)]},
          {"dtype", name(c.in)},      {"out_dtype", name(c.out)}, {"shape", c.shape},
          {"axis", c.axis},           {"reverse", c.reverse},     {"mask", name(c.mask)},
          {"layout", name(c.layout)}, {"bytes", c.bytes()}};
}

void stamp(Json& result, const BenchOptions& options) {
  result["commit"] = options.commit;
  result["date"] = fmt::format("{:%Y-%m-%dT%H:%MZ}", fmt::gmtime(std::time(nullptr)));
  result["version"] = cumulus_version();
}

void write_results(const Json& results, const BenchOptions& options, bool again) {
  if (!options.want_json) return;
  if (options.json == "-") return print_json(results);
  write_text(options.json, results.dump(2) + "\n", options.force || again);
}

std::vector<BenchCase> that_fit(std::vector<BenchCase> cases, const BenchOptions& options, std::int64_t (*needed)(const BenchCase&)) {
  const std::int64_t memory = memory_available();
  std::erase_if(cases, [&](const BenchCase& c) {
    if (options.max_mib > 0 && c.bytes() > options.max_mib << 20) return true;
    const std::int64_t bytes = needed(c);
    if (memory == 0 || bytes < memory - memory / 8) return false;
    fmt::print(stderr, "cumulus: {} is left out: it needs {} of memory, {} are available\n", c.name, bytes_text(bytes), bytes_text(memory));
    return true;
  });
  return cases;
}

std::string time_text(double us) {
  return us < 10 ? fmt::format("{:.0f} ns", us * 1e3) : us < 10'000 ? fmt::format("{:.1f} us", us) : fmt::format("{:.2f} ms", us / 1e3);
}

}  // namespace cumulus::cli
