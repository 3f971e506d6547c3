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

// ---- for GPUs ----

constexpr std::int64_t kK = 1024;
constexpr std::int64_t kSide = 32 * kK;

// clang-format off
const BenchCase kCudaTable[] = {
    // The five workloads of KernelBench level 1 at their own size; 92 by its new and its old definition, whose results are 32769 wide.
    {.name = "workload/89-cumsum",    .shape = {kSide, kSide}, .axis = 1, .to_reach = 0.97},
    {.name = "workload/90-cumprod",   .shape = {kSide, kSide}, .axis = 1, .op = prod, .to_reach = 0.97},
    {.name = "workload/91-reverse",   .shape = {kSide, kSide}, .axis = 1, .reverse = true, .to_reach = 0.97},
    {.name = "workload/92-exclusive", .shape = {kSide, kSide}, .axis = 1, .kind = exclusive, .to_reach = 0.97},
    {.name = "workload/92-prefixes",  .shape = {kSide - 1, kSide}, .axis = 1, .kind = prefixes, .to_reach = 0.95},
    {.name = "workload/93-mask-bool", .shape = {kSide, kSide}, .axis = 1, .mask = select, .to_reach = 0.97},
    {.name = "workload/93-mask-f32",  .shape = {kSide, kSide}, .axis = 1, .mask = multiply, .to_reach = 0.96},

    // The same by the path for GPUs before Hopper.
    {.name = "before-hopper/89-cumsum",    .shape = {kSide, kSide}, .axis = 1, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/90-cumprod",   .shape = {kSide, kSide}, .axis = 1, .op = prod, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/91-reverse",   .shape = {kSide, kSide}, .axis = 1, .reverse = true, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/92-exclusive", .shape = {kSide, kSide}, .axis = 1, .kind = exclusive, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/92-prefixes",  .shape = {kSide - 1, kSide}, .axis = 1, .kind = prefixes, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/93-mask-bool", .shape = {kSide, kSide}, .axis = 1, .mask = select, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/93-mask-f32",  .shape = {kSide, kSide}, .axis = 1, .mask = multiply, .capability = 80, .to_reach = 0.92},
    {.name = "before-hopper/columns",      .shape = {kSide, kSide}, .axis = 0, .capability = 80},
    {.name = "before-hopper/2^30",         .shape = {1 << 30}, .capability = 80},

    {.name = "rows/32768x32767",         .shape = {kSide, kSide - 1}, .axis = 1, .to_reach = 0.95},
    {.name = "rows/32768x32767-reverse", .shape = {kSide, kSide - 1}, .axis = 1, .reverse = true, .to_reach = 0.95},
    {.name = "rows/32767x32769",         .shape = {kSide - 1, kSide + 1}, .axis = 1, .to_reach = 0.95},
    {.name = "rows/32767x32769-reverse", .shape = {kSide - 1, kSide + 1}, .axis = 1, .reverse = true, .to_reach = 0.95},
    {.name = "rows/262144x4096",         .shape = {256 * kK, 4 * kK}, .axis = 1, .to_reach = 0.97},
    {.name = "rows/131072x8192",         .shape = {128 * kK, 8 * kK}, .axis = 1, .to_reach = 0.97},
    {.name = "rows/65536x16384",         .shape = {64 * kK, 16 * kK}, .axis = 1, .to_reach = 0.97},
    {.name = "rows/65536x16384-reverse", .shape = {64 * kK, 16 * kK}, .axis = 1, .reverse = true, .to_reach = 0.97},
    {.name = "rows/52428x20480",         .shape = {52428, 20 * kK}, .axis = 1, .to_reach = 0.97},
    {.name = "rows/43690x24576",         .shape = {43690, 24 * kK}, .axis = 1, .to_reach = 0.97},
    {.name = "rows/429496x2500",         .shape = {429496, 2500}, .axis = 1},
    {.name = "rows/429324x2501",         .shape = {429324, 2501}, .axis = 1},
    {.name = "rows/214748x5000",         .shape = {214748, 5000}, .axis = 1},
    {.name = "rows/214705x5001",         .shape = {214705, 5001}, .axis = 1},
    {.name = "rows/119304x9000",         .shape = {119304, 9000}, .axis = 1},
    {.name = "rows/119291x9001",         .shape = {119291, 9001}, .axis = 1},
    {.name = "rows/53684x20001",         .shape = {53684, 20001}, .axis = 1},
    {.name = "rows/16384x65536",         .shape = {16 * kK, 64 * kK}, .axis = 1, .to_reach = 0.94},
    {.name = "rows/8192x131072",         .shape = {8 * kK, 128 * kK}, .axis = 1, .to_reach = 0.94},
    {.name = "rows/4096x2^18",           .shape = {4 * kK, 256 * kK}, .axis = 1, .to_reach = 0.94},
    {.name = "rows/1024x2^20",           .shape = {kK, kMillion}, .axis = 1, .to_reach = 0.94},
    {.name = "rows/128x2^22",            .shape = {128, 4 * kMillion}, .axis = 1, .to_reach = 0.94},
    {.name = "rows/16x2^26",             .shape = {16, 64 * kMillion}, .axis = 1, .to_reach = 0.94},
    {.name = "1d/2^30",                  .shape = {kK * kMillion}, .to_reach = 0.94},
    {.name = "1d/2^30-1",                .shape = {kK * kMillion - 1}},

    {.name = "columns/32768x32768",           .shape = {kSide, kSide}, .axis = 0, .to_reach = 0.93},
    {.name = "columns/32768x32768-reverse",   .shape = {kSide, kSide}, .axis = 0, .reverse = true, .to_reach = 0.93},
    {.name = "columns/32768x32768-exclusive", .shape = {kSide, kSide}, .axis = 0, .kind = exclusive, .to_reach = 0.93},
    {.name = "columns/32767x32768-prefixes",  .shape = {kSide - 1, kSide}, .axis = 0, .kind = prefixes, .to_reach = 0.93},
    {.name = "columns/32768x32768-mask-bool", .shape = {kSide, kSide}, .axis = 0, .mask = select, .to_reach = 0.93},
    {.name = "columns/32768x32768-mask-f32",  .shape = {kSide, kSide}, .axis = 0, .mask = multiply, .to_reach = 0.93},
    {.name = "columns/512x1024x2048",         .shape = {512, kK, 2 * kK}, .axis = 1, .to_reach = 0.93},
    {.name = "columns/65536x16384",           .shape = {64 * kK, 16 * kK}, .axis = 0},
    {.name = "columns/131072x8192",           .shape = {128 * kK, 8 * kK}, .axis = 0, .to_reach = 0.92},
    {.name = "columns/2^20x1024",             .shape = {kMillion, kK}, .axis = 0, .to_reach = 0.92},
    {.name = "columns/2^24x64",               .shape = {16 * kMillion, 64}, .axis = 0, .to_reach = 0.92},
    {.name = "columns/2^26x16",               .shape = {64 * kMillion, 16}, .axis = 0},
    {.name = "columns/2^28x4",                .shape = {256 * kMillion, 4}, .axis = 0, .to_reach = 0.90},

    {.name = "short/2^20x1024", .shape = {kMillion, kK}, .axis = 1, .to_reach = 0.97},
    {.name = "short/2^20x1000", .shape = {kMillion, 1000}, .axis = 1, .to_reach = 0.96},
    {.name = "short/2^24x64",   .shape = {16 * kMillion, 64}, .axis = 1, .to_reach = 0.97},
    {.name = "short/2^24x63",   .shape = {16 * kMillion, 63}, .axis = 1, .to_reach = 0.96},
    {.name = "short/2^26x16",   .shape = {64 * kMillion, 16}, .axis = 1, .to_reach = 0.97},
    {.name = "short/2^28x4",    .shape = {256 * kMillion, 4}, .axis = 1, .to_reach = 0.97},

    {.name = "op/max",        .shape = {kSide, kSide}, .axis = 1, .op = max},
    {.name = "op/min",        .shape = {kSide, kSide}, .axis = 1, .op = min},
    {.name = "op/recurrence", .shape = {kSide, kSide}, .axis = 1, .op = recurrence},

    {.name = "dtype/u8-i64-rows", .shape = {kSide / 2, kSide}, .axis = 1, .in = DType::u8, .out = DType::i64, .to_reach = 0.92},
};

// What a small call is to take.
constexpr std::pair<int, double> kSmallUs[] = {{10, 5}, {14, 6}, {16, 6.5}, {20, 8.5}};
constexpr std::pair<int, double> kMiddle[] = {{24, 0.88}, {27, 0.95}};
// clang-format on

template <class Goals>
double goal_of(const Goals& goals, int log) {
  for (const auto& [of, goal] : goals)
    if (of == log) return goal;
  return 0;
}

std::vector<BenchCase> all_cuda_cases() {
  std::vector<BenchCase> cases(std::begin(kCudaTable), std::end(kCudaTable));
  for (const DType t : {DType::f16, DType::bf16, DType::f64, DType::i32, DType::i64}) {
    const std::int64_t rows = cumulus::bytes(t) == 8 ? kSide / 2 : kSide;
    const auto add = [&](const char* what, std::vector<std::int64_t> shape, int axis) {
      cases.push_back({.name = fmt::format("dtype/{}-{}", name(t), what),
                       .shape = std::move(shape),
                       .axis = axis,
                       .in = t,
                       .out = t,
                       .to_reach = 0.92});
    };
    add("rows", {rows, kSide}, 1), add("columns", {rows, kSide}, 0), add("1d", {rows * kSide}, 0);
  }
  for (int log = 10; log <= 29; ++log)
    cases.push_back({.name = fmt::format("{}/2^{}", log <= 20 ? "small" : "middle", log),
                     .shape = {std::int64_t{1} << log},
                     .to_reach = goal_of(kMiddle, log),
                     .to_reach_us = goal_of(kSmallUs, log)});
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

const std::vector<BenchCase>& cuda_bench_cases() {
  static const std::vector<BenchCase> cases = all_cuda_cases();
  return cases;
}

std::vector<BenchCase> select_cases(const std::vector<BenchCase>& cases, const std::vector<std::string>& globs) {
  if (globs.empty()) return cases;
  std::vector<BenchCase> chosen;
  const auto matches = [](const std::string& glob, const BenchCase& c) { return fnmatch(glob.c_str(), c.name.c_str(), 0) == 0; };
  for (const std::string& glob : globs)
    if (std::none_of(cases.begin(), cases.end(), [&](const BenchCase& c) { return matches(glob, c); }))
      throw CliError(kExitUsage, fmt::format("no case is named '{}': see cumulus bench --list, for a GPU's with --cuda 0", glob));
  for (const BenchCase& c : cases)
    if (std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) { return matches(glob, c); })) chosen.push_back(c);
  return chosen;
}

const char* name(MaskUse mask) { return mask == MaskUse::none ? "none" : mask == select ? "select" : "multiply"; }
const char* name(InputLayout layout) {
  return layout == contiguous ? "contiguous" : layout == every_second ? "every_second" : "transposed";
}

}  // namespace cumulus::cli
