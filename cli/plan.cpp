// cumulus plan: what a scan would do, and why, without running it.
#include "plan.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <memory>
#include <optional>

#include "array_file.h"
#include "commands.h"
#include "cpu/cpu_info.h"
#include "cuda/device.h"
#include "cuda/driver.h"
#include "cuda/report.h"
#include "gpu_models.h"
#include "output.h"
#include "scan_options.h"
#include "shape.h"
#include "tuning/lookup.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus plan --shape 32768x32768 --axis 1 --dtype f32
  cumulus plan --shape 2^28x4 --axis 1 --kind exclusive --threads 8
  cumulus plan --shape 4096x4096 --strides 1,4096 --axis 1 --dtype f32      a transposed view
  cumulus plan --shape 1024x1024 --axis 1 --mask bool --json
  cumulus plan --shape 32768x32768 --axis 1 --device 4090                   for a GPU, which need not be here
  cumulus plan x.npy --axis 0                                               the shape, dtype and order of a file

What it prints: the shape in canonical form and its case, the algorithm with its parameters, the bytes it moves against those
that any scan must move, and why it was chosen. A plan changes speed only, never a bit of the result.)";

struct PlanOptions {
  std::string in, shape, strides, in_dtype, mask, presets;
  ScanOptions scan;
  bool json = false;
};

struct Input {
  std::vector<std::int64_t> shape, strides;
  DType dtype;
  bool fortran_order = false;
};

Input from_file(const PlanOptions& options) {
  if (!options.shape.empty() || !options.strides.empty()) throw CliError(kExitUsage, "either a file or --shape and --strides, not both");
  const InputArray array(options.in, options.in_dtype == "bf16");
  return {array.shape(), contiguous_strides(array.shape(), array.fortran_order()), array.dtype(), array.fortran_order()};
}

// --shape and --dtype; the input's dtype is the result's, or f32, unless --in-dtype says otherwise.
Input from_options(const PlanOptions& options) {
  if (options.shape.empty())
    throw CliError(kExitUsage, "name a file or a shape: cumulus plan x.npy --axis 1, or cumulus plan --shape 4096x4096 --axis 1");
  Input input;
  input.shape = parse_shape(options.shape);
  input.strides = options.strides.empty() ? contiguous_strides(input.shape, false) : parse_integers(options.strides, "--strides");
  if (input.strides.size() != input.shape.size())
    throw CliError(kExitUsage, fmt::format("--strides {}: {} values for a shape of rank {}", options.strides, input.strides.size(),
                                           input.shape.size()));
  input.dtype = parse_dtype(!options.in_dtype.empty() ? options.in_dtype : !options.scan.dtype.empty() ? options.scan.dtype : "f32");
  return input;
}

Dims dims(const std::vector<std::int64_t>& values) { return {values.data(), static_cast<int>(values.size())}; }

std::string text_of(const Problem& problem, const tuning::Planned& planned, const cpu::CpuInfo& cpu) {
  const Plan& plan = planned.plan;
  std::string dimensions = fmt::format("{} along the axis", problem.n);
  for (int d = 0; d < problem.dims; ++d)
    dimensions += fmt::format("; {} (strides in {}, out {})", problem.dim[d].size, problem.dim[d].in, problem.dim[d].out);
  const double ratio = plan.bytes_required > 0 ? static_cast<double>(plan.bytes_moved) / static_cast<double>(plan.bytes_required) : 1;
  std::vector<std::pair<std::string, std::string>> lines;
  lines.emplace_back("scan", fmt::format("{} {}, {} to {}, accumulated in {}", kKindName[static_cast<int>(problem.kind)], name(problem.op),
                                         name(problem.in_dtype), name(problem.out_dtype), name(problem.acc)));
  lines.emplace_back("dimensions", dimensions);
  lines.emplace_back("axis strides", fmt::format("in {}, out {}", problem.axis.in, problem.axis.out));
  lines.emplace_back("rows", fmt::format("{}", problem.rows));
  lines.emplace_back("shape case", name(plan.shape));
  lines.emplace_back("algorithm", name(plan.algorithm));
  lines.emplace_back("parameters",
                     fmt::format("threads {}, tile {}, strip {}, batch {}, ahead {}, staged {}, streaming {}", plan.threads, plan.tile,
                                 plan.strip, plan.batch, plan.ahead, plan.staged ? "yes" : "no", plan.streaming ? "yes" : "no"));
  lines.emplace_back("chosen by", fmt::format("{}: {}", tuning::name(planned.source), planned.why));
  lines.emplace_back("bytes", fmt::format("{} moved / {} that must move = {:.3f}", plan.bytes_moved, plan.bytes_required, ratio));
  lines.emplace_back("machine", fmt::format("{} cores, {}, L1 {}, L2 {}, L3 {}", cpu.cores, cpu.simd, cache_text(cpu.l1),
                                            cache_text(cpu.l2), cache_text(cpu.l3)));
  lines.emplace_back("why", plan.reason ? plan.reason : "");
  return text_list(lines);
}

// The GPU to plan for: a model's name, or this machine's first ("cuda"); none for the CPU.
std::optional<cuda::DeviceInfo> choose_gpu(const PlanOptions& options) {
  const std::string& device = options.scan.device;
  const GpuModels models(options.presets);
  if (device == "cpu") return std::nullopt;
  if (device == "cuda") return cuda::device_info(0);
  if (const GpuModel* known = models.find(device)) return known->device;
  throw CliError(kExitUsage, fmt::format("--device {}: give cpu, cuda, {}, or a model of --presets FILE.json", device, models.keys()));
}

// What the planner's constants rest on: those of Hopper on exhaustive searches (docs/tuning.md), others on what a device is said to have.
const char* evidence_of_defaults(const cuda::DeviceInfo& gpu) {
  return gpu.capability == 90 ? "measured on an H200" : "from the device's figures, not measured on its architecture";
}

std::string text_of(const Problem& problem, const tuning::CudaPlanned& planned, const cuda::DeviceInfo& gpu) {
  const cuda::Plan& plan = planned.plan;
  const double ratio = plan.bytes_required > 0 ? static_cast<double>(plan.bytes_moved) / static_cast<double>(plan.bytes_required) : 1;
  const Json json = Json::parse(cuda::to_json(problem, plan, gpu));
  std::string parameters;
  for (const auto& [key, value] : json.items())
    if (value.is_number_integer() && key != "rows" && key != "length" && key != "capability" && !key.starts_with("bytes"))
      parameters += fmt::format("{}{} {}", parameters.empty() ? "" : ", ", key, value.get<std::int64_t>());
  return text_list(
      {{"scan", fmt::format("{} {}, {} to {}, accumulated in {}", kKindName[static_cast<int>(problem.kind)], name(problem.op),
                            name(problem.in_dtype), name(problem.out_dtype), name(problem.acc))},
       {"rows", fmt::format("{} of {}", problem.rows, problem.n)},
       {"algorithm", fmt::format("{}, {} copies", cuda::name(plan.layout), cuda::name(plan.copies))},
       {"parameters", parameters},
       {"chosen by", fmt::format("{}: {}", tuning::name(planned.source), planned.why)},
       {"defaults", evidence_of_defaults(gpu)},
       {"bytes", fmt::format("{} moved / {} that must move = {:.3f}", plan.bytes_moved, plan.bytes_required, ratio)},
       {"floor time", fmt::format("{:.2f} us, at the data sheet's {:.0f} GB/s", 1e6 * cuda::floor_seconds(plan, gpu),
                                  static_cast<double>(gpu.bandwidth) / 1e9)},
       {"device", fmt::format("{}, compute capability {}.{}, {} SMs", gpu.name, gpu.capability / 10, gpu.capability % 10, gpu.sms)},
       {"why", cuda::reason(problem, plan)}});
}

void plan(const PlanOptions& options) {
  const std::optional<cuda::DeviceInfo> gpu = choose_gpu(options);
  if (gpu) check_no_cpu_options(options.scan, "--device " + options.scan.device);
  Input input = options.in.empty() ? from_options(options) : from_file(options);
  const bool flat = options.scan.axis == "flat" || options.scan.axis == "none";
  if (flat) {
    if (input.fortran_order || !options.strides.empty()) throw CliError(kExitUsage, "--axis flat needs an array in C order: name an axis");
    std::int64_t count = 1;
    for (const std::int64_t size : input.shape)
      if (__builtin_mul_overflow(count, size, &count)) throw CliError(kExitUsage, "--axis flat: more than 2^63 elements");
    input.shape = {count};
    input.strides = {1};
  }
  const int axis = flat ? 0 : choose_axis(options.scan.axis, static_cast<int>(input.shape.size()));
  const DType dtype = choose_dtype(parse_op(options.scan.op), input.dtype, options.scan.dtype);
  const ScanSpec base = to_spec(options.scan, axis);
  if (input.shape.empty()) input.shape = input.strides = {1};  // as `run` does, and NumPy
  std::vector<std::int64_t> out_shape = input.shape;
  if (base.kind == Kind::prefixes) ++out_shape[static_cast<std::size_t>(axis)];

  const ConstTensorView in(nullptr, input.dtype, dims(input.shape), dims(input.strides));
  const TensorView out(nullptr, dtype, dims(out_shape), dims(contiguous_strides(out_shape, input.fortran_order)));
  ScanSpec spec = base;
  if (!options.mask.empty()) spec.mask = ConstTensorView(nullptr, options.mask == "bool" ? DType::boolean : input.dtype, dims(input.shape));
  const cumulus_scan_args args = detail::to_c(in, base.op == Op::recurrence ? &in : nullptr, out, spec);
  Problem problem;
  canonicalise(args, false, problem);
  if (gpu) {
    tuning::CudaPlanned planned{make_plan(problem, *gpu), tuning::Source::none, "tuned parameters are looked up for --device cuda only"};
    if (options.scan.device == "cuda") planned = tuning::planned(problem, 0, *gpu);
    Json json = Json::parse(cuda::to_json(problem, planned.plan, *gpu));
    json["source"] = tuning::name(planned.source);
    json["defaults"] = evidence_of_defaults(*gpu);
    if (options.json) return print_json(json);
    return print(text_of(problem, planned, *gpu));
  }
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const tuning::Planned planned = tuning::planned(problem, cpu);
  if (options.json) return print_json(Json::parse(to_json(problem, planned.plan, cpu, tuning::name(planned.source))));
  print(text_of(problem, planned, cpu));
}

}  // namespace

void add_plan(CLI::App& app, int&) {
  auto* command = app.add_subcommand("plan", "Show what a scan would do, and why, without running it");
  const auto options = std::make_shared<PlanOptions>();
  command->add_option("IN", options->in, "Take shape, dtype and order from this file")->type_name("IN.npy");
  command->add_option("--shape", options->shape, "Sizes, such as 32768x32768 or 2^20x8")->type_name("SHAPE");
  command->add_option("--strides", options->strides, "Strides of the input in elements, such as 1,4096; default C order")
      ->type_name("STRIDES");
  add_scan_options(*command, options->scan);
  add_dtype_option(*command, "--in-dtype", options->in_dtype, "dtype of the input (default: that of --dtype, else f32)");
  command->add_option("--mask", options->mask, "With a mask of bool, or of the same dtype as the input")
      ->type_name("MASK")
      ->check(CLI::IsMember({"bool", "same"}));
  add_presets_option(*command, options->presets);
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options] { plan(*options); });
}

}  // namespace cumulus::cli
