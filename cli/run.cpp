// cumulus run IN.npy OUT.npy: scans a file into a file.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>

#include "array_file.h"
#include "blocks.h"
#include "commands.h"
#include "cpu/cpu_info.h"
#include "cuda/host.h"
#include "measure.h"
#include "output.h"
#include "plan.h"
#include "progress.h"
#include "scan_options.h"
#include "shape.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus run x.npy y.npy --axis 1                       y = numpy.cumsum(x, axis=1)
  cumulus run x.npy y.npy --axis 0 --op prod             numpy.cumprod(x, axis=0)
  cumulus run x.npy y.npy --axis 1 --kind exclusive      each element: the sum of those before it
  cumulus run x.npy y.npy --axis 1 --reverse             from the end of each row to its start
  cumulus run x.npy y.npy --axis 1 --mask m.npy          a bool mask selects; one of x's dtype multiplies
  cumulus run x.npy y.npy --initial 100 --total t.npy    start at 100; what each row comes to goes into t.npy
  cumulus run a.npy h.npy --op recurrence --in2 b.npy    h[i] = a[i] h[i-1] + b[i]
  cumulus run x.npy x.npy --axis 1                       in place: x.npy is replaced when all is done

What it prints:
  y.npy: inclusive sum of 4096 x 4096 f32 along axis 1, ... ms, ... GB/s

Files: .npy versions 1.0 to 3.0 with elements b1, i1 to i8, u1 to u8, f2, f4, f8, c8, c16, or bfloat16 (with --in-dtype bf16;
written as 'V2', read it back with .view(ml_dtypes.bfloat16)). Big-endian input is swapped in memory; output is in this
machine's byte order, and in Fortran order when the input is (as numpy.cumsum does). Inputs are memory-mapped. Outputs are
written to a temporary file in the same folder that replaces OUT at the end: files that exist survive every failure.
As in NumPy, a 0-d array gives shape (1,). Unlike in NumPy, f16 sums accumulate in f32. The bits of the result depend neither
on the axis, the layout, nor the number of threads.)";

struct RunOptions {
  std::string in, out, in2, mask, initial, total, in_dtype;
  ScanOptions scan;
  bool json = false;
};

// Everything about a view but the shape stays: C-order views of whole arrays only.
template <class View>
View flattened(const View& view, std::int64_t count) {
  return {view.data, view.dtype, {count}, {1}};
}

std::vector<std::int64_t> without(std::vector<std::int64_t> shape, int axis) {
  shape.erase(shape.begin() + axis);
  return shape;
}

std::vector<std::int64_t> to_vector(const Dims& dims) { return {dims.begin(), dims.end()}; }

Dims to_dims(const std::vector<std::int64_t>& values) { return {values.data(), static_cast<int>(values.size())}; }

// --axis flat: the array as one row, if memory holds it in C order.
ConstTensorView flat_view(const InputArray& array, const std::vector<std::int64_t>& shape) {
  const auto larger = std::count_if(array.shape().begin(), array.shape().end(), [](std::int64_t size) { return size > 1; });
  if (array.fortran_order() && larger > 1)
    throw CliError(kExitUsage,
                   fmt::format("--axis flat: {} is in Fortran order; save np.ascontiguousarray(x) first, or name an axis", array.path()));
  if (array.shape() != shape)
    throw CliError(kExitUsage, fmt::format("--axis flat: {} has the shape {}, the input {}; with 'flat' they must be equal", array.path(),
                                           shape_text(array.shape()), shape_text(shape)));
  return flattened(array.view(), array.count());
}

// The input as it is scanned: flattened, or of rank 1 where the file's is 0, or as it is.
ConstTensorView scanned_view(const InputArray& array, const InputArray& in, bool flat) {
  if (flat) return flat_view(array, in.shape());
  return array.shape().empty() && in.shape().empty() ? flattened(array.view(), 1) : array.view();
}

void check_mask(const InputArray& mask, DType in) {
  if (mask.dtype() == DType::boolean || mask.dtype() == in) return;
  throw CliError(
      kExitUsage,
      fmt::format("--mask {} is of {}: bool selects, {} (the input's dtype) multiplies; save m.astype(bool) or m.astype(x.dtype)",
                  mask.path(), name(mask.dtype()), name(in)));
}

void check_names(const RunOptions& options) {
  if (!options.total.empty() && same_file(options.out, options.total))
    throw CliError(kExitUsage, fmt::format("OUT and --total both name {}: they are two files", options.out));
  const bool recurrence = options.scan.op == "recurrence";
  if (recurrence && options.in2.empty()) throw CliError(kExitUsage, "--op recurrence needs --in2 B.npy: h[i] = in[i] h[i-1] + in2[i]");
  if (!recurrence && !options.in2.empty())
    throw CliError(kExitUsage, fmt::format("--in2 belongs to --op recurrence, not to --op {}", options.scan.op));
}

// On a terminal, a long scan goes in blocks of rows, so that a bar can tell how far it is.
void scan_with_progress(const Job& job, std::int64_t bytes) {
  constexpr std::int64_t kBlockBytes = std::int64_t{128} << 20;  // tens of milliseconds
  Progress progress(fmt::format("{} {}", name(job.spec.op), bytes_text(bytes)), bytes);
  const std::int64_t blocks = progress.enabled() ? bytes / kBlockBytes : 1;
  scan_in_blocks(job, blocks, [&](double part) { progress.advance(static_cast<std::int64_t>(part * static_cast<double>(bytes))); });
}

// The scan's own time in ms: the copies to the GPU and back are not its.
double scan_on_gpu(const Job& job) {
  const bool pair = job.spec.op == Op::recurrence;
  return 1e3 * cuda::run_from_host(detail::to_c(job.in, pair ? &job.in2 : nullptr, job.out, job.spec), 0).scan;
}

// --- The command ----------------------------------------------------------------------------------------------------------------

void report(const RunOptions& options, const InputArray& in, const Job& job, bool flat, const Plan& plan, double ms) {
  const double gbps = ms > 0 ? static_cast<double>(plan.bytes_required) / ms / 1e6 : 0;
  if (options.json) {
    Json json = {
        {"in", options.in}, {"out", options.out}, {"op", options.scan.op}, {"kind", options.scan.kind}, {"reverse", options.scan.reverse}};
    json["axis"] = flat ? Json("flat") : Json(job.spec.axis);
    json["shape"] = in.shape();
    json["dtype"] = name(in.dtype());
    json["out_shape"] = to_vector(job.out.shape);
    json["out_dtype"] = name(job.out.dtype);
    json["device"] = options.scan.device;
    json["threads"] = plan.threads;
    json["simd"] = cumulus_simd_target();
    json["order"] = cumulus_order_version();
    json["bytes"] = plan.bytes_required;
    json["ms"] = ms;
    json["gbps"] = gbps;
    return print_json(json);
  }
  print(fmt::format("{}: {}{} {} of {} {} {}{}, {:.4g} ms, {:.3g} GB/s\n", options.out, options.scan.reverse ? "reverse " : "",
                    options.scan.kind, options.scan.op, shape_text(in.shape()), name(in.dtype()),
                    flat ? "flattened" : fmt::format("along axis {}", job.spec.axis),
                    job.out.dtype == in.dtype() ? "" : fmt::format(" to {}", name(job.out.dtype)), ms, gbps));
}

void run(const RunOptions& options) {
  check_device(options.scan);
  check_names(options);

  // Inputs
  const bool bf16 = options.in_dtype == "bf16", flat = options.scan.axis == "flat" || options.scan.axis == "none";
  const InputArray in(options.in, bf16);
  std::optional<InputArray> in2, mask, initial;
  if (!options.in2.empty()) in2.emplace(options.in2, bf16);
  if (!options.mask.empty()) check_mask(mask.emplace(options.mask, bf16), in.dtype());

  // The scan
  Job job;
  job.in = scanned_view(in, in, flat);
  const std::vector<std::int64_t> shape = to_vector(job.in.shape);
  const int axis = flat ? 0 : choose_axis(options.scan.axis, static_cast<int>(in.shape().size()));
  const DType dtype = choose_dtype(parse_op(options.scan.op), in.dtype(), options.scan.dtype);
  job.spec = to_spec(options.scan, axis);
  if (in2) job.in2 = scanned_view(*in2, in, flat);
  if (mask) job.spec.mask = scanned_view(*mask, in, flat);
  if (options.initial.ends_with(".npy")) job.spec.initial = initial.emplace(options.initial, bf16).view();
  else if (!options.initial.empty()) job.spec.initial = parse_initial(options.initial, dtype);
  std::vector<std::int64_t> out_shape = shape;
  if (job.spec.kind == Kind::prefixes) ++out_shape[static_cast<std::size_t>(axis)];
  const std::vector<std::int64_t> total_shape = without(shape, axis);

  // Checked in full before any file is made
  job.out = TensorView(nullptr, dtype, to_dims(out_shape), to_dims(contiguous_strides(out_shape, in.fortran_order())));
  if (!options.total.empty()) job.spec.total = TensorView(nullptr, dtype, to_dims(total_shape));
  const cumulus_scan_args args = detail::to_c(job.in, in2 ? &job.in2 : nullptr, job.out, job.spec);
  Problem problem;
  canonicalise(args, false, problem);
  const Plan plan = make_plan(problem, cpu::cpu_info());

  // Outputs
  OutputArray out(options.out, dtype, out_shape, in.fortran_order());
  job.out = out.view();
  std::optional<OutputArray> total;
  if (!options.total.empty()) job.spec.total = total.emplace(options.total, dtype, total_shape, in.fortran_order()).view();
  const double ms = options.scan.device == "cuda" ? scan_on_gpu(job) : time_ms([&] { scan_with_progress(job, plan.bytes_required); });
  if (total) total->commit();
  out.commit();
  report(options, in, job, flat, plan, ms);
}

}  // namespace

void add_run(CLI::App& app, int&) {
  auto* command = app.add_subcommand("run", "Scan a .npy file into a .npy file");
  const auto options = std::make_shared<RunOptions>();
  command->add_option("IN", options->in, "The array to scan")->type_name("IN.npy")->required();
  command->add_option("OUT", options->out, "The result; may be IN")->type_name("OUT.npy")->required();
  add_scan_options(*command, options->scan);
  command->add_option("--mask", options->mask, "bool: selects; of the input's dtype: multiplies; broadcast as in NumPy")
      ->type_name("M.npy");
  command->add_option("--initial", options->initial, "R(0): a number, or an array with the axis dropped or of size 1")
      ->type_name("V|V.npy");
  command->add_option("--total", options->total, "Write what each row comes to, of the result's dtype")->type_name("T.npy");
  command->add_option("--in2", options->in2, "Second input of --op recurrence")->type_name("B.npy");
  command->add_option("--in-dtype", options->in_dtype, "Read two-byte elements as this")
      ->type_name("DTYPE")
      ->check(CLI::IsMember({"bf16"}));
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options] { run(*options); });
}

}  // namespace cumulus::cli
