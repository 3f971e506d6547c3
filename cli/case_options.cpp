#include "case_options.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "commands.h"
#include "output.h"

namespace cumulus::cli {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 56;  // whose bytes fit into 64 bits, several tensors together

}  // namespace

void add_case_options(CLI::App& command, CaseOptions& options) {
  command.add_option("--shape", options.shape, "Sizes, such as 32768x32768 or 2^20x8")->type_name("SHAPE");
  add_scan_options(command, options.scan);
  add_dtype_option(command, "--in-dtype", options.in_dtype, "dtype of the input (default: that of --dtype, else f32)");
  command.add_option("--mask", options.mask, "With a mask of bool, or of the same dtype as the input")
      ->type_name("MASK")
      ->check(CLI::IsMember({"bool", "same"}));
}

BenchCase case_of(const CaseOptions& options, const char* command) {
  if (options.shape.empty()) throw CliError(kExitUsage, fmt::format("name a shape: cumulus {} --shape 4096x4096 --axis 1", command));
  BenchCase scan;
  scan.name = command;
  scan.shape = parse_shape(options.shape);
  if (scan.shape.empty()) scan.shape = {1};
  if (options.scan.axis == "flat" || options.scan.axis == "none") {
    std::int64_t count = 1;
    for (const std::int64_t size : scan.shape)
      if (__builtin_mul_overflow(count, size, &count)) throw CliError(kExitUsage, "--axis flat: more than 2^63 elements");
    scan.shape = {count};
  } else {
    scan.axis = choose_axis(options.scan.axis, static_cast<int>(scan.shape.size()));
  }
  scan.in = parse_dtype(!options.in_dtype.empty() ? options.in_dtype : !options.scan.dtype.empty() ? options.scan.dtype : "f32");
  scan.op = parse_op(options.scan.op);
  scan.kind = parse_kind(options.scan.kind);
  scan.out = choose_dtype(scan.op, scan.in, options.scan.dtype);
  scan.reverse = options.scan.reverse;
  scan.mask = options.mask.empty() ? MaskUse::none : options.mask == "bool" ? MaskUse::select : MaskUse::multiply;
  return scan;
}

void check_size(const BenchCase& scan) {
  if (scan.count() == 0)
    throw CliError(kExitUsage, fmt::format("--shape {}: there is nothing to scan: give sizes from 1 on", shape_text(scan.shape)));
  if (scan.count() > kMostElements)
    throw CliError(kExitUsage, fmt::format("--shape {}: no memory holds it: give a smaller shape", shape_text(scan.shape)));
}

}  // namespace cumulus::cli
