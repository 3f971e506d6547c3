#include "bench_cases.h"

#include <fmt/core.h>
#include <fnmatch.h>

#include <algorithm>

#include "commands.h"
#include "types.h"

namespace cumulus::cli {
namespace {

using enum Op;
using enum Kind;
using enum MaskUse;
using enum InputLayout;

constexpr std::int64_t kMillion = 1 << 20;

// clang-format off
const BenchCase kTable[] = {
    // The five workloads of KernelBench level 1, at a size for CPUs; 92 by its new and its old definition.
    {.name = "workload/89-cumsum",       .shape = {8192, 8192}, .axis = 1},
    {.name = "workload/90-cumprod",      .shape = {8192, 8192}, .axis = 1, .op = prod},
    {.name = "workload/91-reverse",      .shape = {8192, 8192}, .axis = 1, .reverse = true},
    {.name = "workload/92-exclusive",    .shape = {8192, 8192}, .axis = 1, .kind = exclusive},
    {.name = "workload/92-prefixes",     .shape = {8191, 8192}, .axis = 1, .kind = prefixes},
    {.name = "workload/93-mask-bool",    .shape = {8192, 8192}, .axis = 1, .mask = select},
    {.name = "workload/93-mask-f32",     .shape = {8192, 8192}, .axis = 1, .mask = multiply},

    // Rows, every kind. 4097 breaks the alignment of all rows but the first.
    {.name = "rows/4096x4096",           .shape = {4096, 4096}, .axis = 1},
    {.name = "rows/4096x4096-reverse",   .shape = {4096, 4096}, .axis = 1, .reverse = true},
    {.name = "rows/4096x4096-exclusive", .shape = {4096, 4096}, .axis = 1, .kind = exclusive},
    {.name = "rows/4096x4096-prefixes",  .shape = {4096, 4096}, .axis = 1, .kind = prefixes},
    {.name = "rows/32768x1024",           .shape = {32768, 1024}, .axis = 1},
    {.name = "rows/32768x1024-reverse",   .shape = {32768, 1024}, .axis = 1, .reverse = true},
    {.name = "rows/32768x1024-exclusive", .shape = {32768, 1024}, .axis = 1, .kind = exclusive},
    {.name = "rows/32768x1024-prefixes",  .shape = {32768, 1024}, .axis = 1, .kind = prefixes},
    {.name = "rows/4096x4097",           .shape = {4096, 4097}, .axis = 1},
    {.name = "rows/4096x4097-reverse",   .shape = {4096, 4097}, .axis = 1, .reverse = true},
    {.name = "rows/3x2^24",              .shape = {3, 16 * kMillion}, .axis = 1},
    {.name = "rows/3x2^24-reverse",      .shape = {3, 16 * kMillion}, .axis = 1, .reverse = true},

    // The axis is not the contiguous one.
    {.name = "columns/4096x4096",         .shape = {4096, 4096}, .axis = 0},
    {.name = "columns/4096x4096-reverse", .shape = {4096, 4096}, .axis = 0, .reverse = true},
    {.name = "columns/4096x4096-exclusive", .shape = {4096, 4096}, .axis = 0, .kind = exclusive},
    {.name = "columns/64x1024x512",       .shape = {64, 1024, 512}, .axis = 1},
    {.name = "columns/2^22x8-axis0",      .shape = {4 * kMillion, 8}, .axis = 0},
    {.name = "columns/2^22x8-axis1",      .shape = {4 * kMillion, 8}, .axis = 1},

    // Few columns: an inner dimension narrower than a vector or a cache line.
    {.name = "inner/2^22x2",  .shape = {4 * kMillion, 2}},
    {.name = "inner/2^22x3",  .shape = {4 * kMillion, 3}},
    {.name = "inner/2^22x4",  .shape = {4 * kMillion, 4}},
    {.name = "inner/2^22x5",  .shape = {4 * kMillion, 5}},
    {.name = "inner/2^22x6",  .shape = {4 * kMillion, 6}},
    {.name = "inner/2^22x12", .shape = {4 * kMillion, 12}},
    {.name = "inner/2^22x16", .shape = {4 * kMillion, 16}},
    {.name = "inner/1024x4096x3", .shape = {1024, 4096, 3}, .axis = 1},

    // Inputs that are not contiguous. The bytes are those of the elements, not of the cache lines they lie in.
    {.name = "strides/1d-every-second",     .shape = {16 * kMillion}, .layout = every_second},
    {.name = "strides/rows-every-second",   .shape = {4096, 4096}, .axis = 1, .layout = every_second},
    {.name = "strides/rows-transposed",     .shape = {4096, 4096}, .axis = 1, .layout = transposed},
    {.name = "strides/columns-transposed",  .shape = {4096, 4096}, .axis = 0, .layout = transposed},

    {.name = "mask/bool-4096x8192",      .shape = {4096, 8192}, .axis = 1, .mask = select},
    {.name = "mask/bool-reverse",        .shape = {4096, 8192}, .axis = 1, .reverse = true, .mask = select},
    {.name = "mask/bool-columns",        .shape = {4096, 8192}, .axis = 0, .mask = select},
    {.name = "mask/f32-4096x8192",       .shape = {4096, 8192}, .axis = 1, .mask = multiply},
    {.name = "mask/f32-columns",         .shape = {4096, 8192}, .axis = 0, .mask = multiply},

    {.name = "op/prod",       .shape = {4096, 8192}, .axis = 1, .op = prod},
    {.name = "op/max",        .shape = {4096, 8192}, .axis = 1, .op = max},
    {.name = "op/min",        .shape = {4096, 8192}, .axis = 1, .op = min},
    {.name = "op/recurrence", .shape = {4096, 8192}, .axis = 1, .op = recurrence},

    // Arrays of 512 KiB, which stay in a core's L2 cache.
    {.name = "cache/1d-2^17",      .shape = {131072}},
    {.name = "cache/rows-128x1024", .shape = {128, 1024}, .axis = 1},
    {.name = "cache/columns-128x1024", .shape = {128, 1024}, .axis = 0},

    {.name = "dtype/f32-f64",  .shape = {4096, 4096}, .axis = 1, .in = DType::f32, .out = DType::f64},
    {.name = "dtype/f16-f32",  .shape = {4096, 8192}, .axis = 1, .in = DType::f16, .out = DType::f32},
    {.name = "dtype/i32-i64",  .shape = {4096, 4096}, .axis = 1, .in = DType::i32, .out = DType::i64},
    {.name = "dtype/u8-i64",   .shape = {4096, 4096}, .axis = 1, .in = DType::u8, .out = DType::i64},
    {.name = "dtype/bool-i64", .shape = {4096, 4096}, .axis = 1, .in = DType::boolean, .out = DType::i64},
};
// clang-format on

constexpr std::int64_t kShortRows[] = {1, 2, 3, 4, 5, 8, 16, 31, 32, 63, 64};

std::vector<BenchCase> all_cases() {
  std::vector<BenchCase> cases(std::begin(kTable), std::end(kTable));
  for (int log = 6; log <= 29; ++log) cases.push_back({.name = fmt::format("1d/2^{}", log), .shape = {std::int64_t{1} << log}});
  for (const std::int64_t n : kShortRows) cases.push_back({.name = fmt::format("short/{}", n), .shape = {32 * kMillion / n, n}, .axis = 1});
#define CUMULUS_DTYPE(name_, text, value, bytes, family) \
  if (supported_pair(DType::name_, DType::name_))        \
    cases.push_back({.name = "dtype/" text, .shape = {4096, 32768 / (bytes)}, .axis = 1, .in = DType::name_, .out = DType::name_});
#include "cumulus/list.inc"
  return cases;
}

std::int64_t product(const std::vector<std::int64_t>& shape) {
  std::int64_t result = 1;
  for (const std::int64_t size : shape) result *= size;
  return result;
}

}  // namespace

std::int64_t BenchCase::count() const { return product(shape); }

std::vector<std::int64_t> BenchCase::out_shape() const {
  std::vector<std::int64_t> result = shape;
  if (kind == prefixes) ++result[static_cast<std::size_t>(axis)];
  return result;
}

std::int64_t BenchCase::in_bytes() const { return count() * cumulus::bytes(in); }
std::int64_t BenchCase::out_bytes() const { return product(out_shape()) * cumulus::bytes(out); }
std::int64_t BenchCase::mask_bytes() const { return mask == MaskUse::none ? 0 : count() * (mask == select ? 1 : cumulus::bytes(in)); }
std::int64_t BenchCase::bytes() const { return inputs(op) * in_bytes() + out_bytes() + mask_bytes(); }

const std::vector<BenchCase>& bench_cases() {
  static const std::vector<BenchCase> cases = all_cases();
  return cases;
}

std::vector<BenchCase> select_cases(const std::vector<std::string>& globs) {
  if (globs.empty()) return bench_cases();
  std::vector<BenchCase> chosen;
  const auto matches = [](const std::string& glob, const BenchCase& c) { return fnmatch(glob.c_str(), c.name.c_str(), 0) == 0; };
  for (const std::string& glob : globs)
    if (std::none_of(bench_cases().begin(), bench_cases().end(), [&](const BenchCase& c) { return matches(glob, c); }))
      throw CliError(kExitUsage, fmt::format("no case is named '{}': see cumulus bench --list", glob));
  for (const BenchCase& c : bench_cases())
    if (std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) { return matches(glob, c); })) chosen.push_back(c);
  return chosen;
}

const char* name(MaskUse mask) { return mask == MaskUse::none ? "none" : mask == select ? "select" : "multiply"; }
const char* name(InputLayout layout) {
  return layout == contiguous ? "contiguous" : layout == every_second ? "every_second" : "transposed";
}

}  // namespace cumulus::cli
