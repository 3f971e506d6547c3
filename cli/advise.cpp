// cumulus advise: reads a task document of a kernel optimiser, says what its profile means, and answers it.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <memory>

#include "advice.h"
#include "commands.h"
#include "cuda/report.h"
#include "document.h"
#include "gpu_models.h"
#include "model_sources.h"
#include "output.h"
#include "scan_options.h"
#include "text_file.h"
#include "types.h"
#include "workloads.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus advise task.txt                       floor, what the profile says, what the stage allows, Cumulus's plan
  cumulus advise task.txt --emit model.py       also writes ModelNew: imports, wrapper, class
  cumulus advise task.txt --workload 91         where the code does not say what it computes
  cumulus advise task.txt --shape 4096x8192 --dtype f16 --json

A document has a spec table (# Target GPU), a stage ([OPTIMIZATION STAGE]), code ([CURRENT CODE]) and a profile of each kernel
([NCU PROFILING METRICS]); docs/advise.md has one, worked through. Bytes and times of the document's kernels are inferred from its
counters and are the least that fits them. Cumulus's own time is a prediction: measure with `cumulus bench`.)";

constexpr std::size_t kLongestDocument = 16 << 20;
constexpr std::int64_t kLongestSide = std::int64_t{1} << 31;

struct AdviseOptions {
  std::string document, workload, shape = "32768x32768", dtype = "f32", emit, presets;
  bool force = false, json = false;
};

struct Answer {
  Document document;
  const Workload* workload;
  std::vector<std::string> evidence;  // empty where --workload said it
  std::int64_t rows, columns;
  std::vector<std::string> differs;  // from the model of the same name
  bool known;                        // there is such a model
  Advice advice;
};

// --- Finding out ----------------------------------------------------------------------------------------------------------------

Document read_document(const std::string& path) {
  try {
    return parse_document(read_text(path, kLongestDocument));
  } catch (const FormatError& error) {
    throw CliError(kExitUsage, fmt::format("{}: {}", path, error.what()));
  }
}

std::string workload_keys() {
  std::vector<std::string> keys;
  for (const Workload& workload : workloads()) keys.emplace_back(workload.key);
  return fmt::format("{}", fmt::join(keys, ", "));
}

void choose_workload(const AdviseOptions& options, Answer& answer) {
  if (!options.workload.empty()) {
    answer.workload = find_workload(options.workload);
    return;  // the option's check knows them all
  }
  Recognised recognised = recognise(answer.document.code);
  if (!recognised.workload)
    throw CliError(kExitUsage, fmt::format("{}: cannot tell what the code computes ({}): say --workload, one of {}", options.document,
                                           fmt::join(recognised.evidence, "; "), workload_keys()));
  answer.workload = recognised.workload;
  answer.evidence = std::move(recognised.evidence);
  if (answer.workload->mask == WorkloadMask::boolean)
    answer.evidence.emplace_back("taken as bool, as the problem draws it; --workload 93 for a mask of x's dtype");
}

void choose_shape(const std::string& text, Answer& answer) {
  const std::vector<std::int64_t> shape = parse_shape(text);
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || shape[0] > kLongestSide || shape[1] > kLongestSide)
    throw CliError(kExitUsage, fmt::format("--shape {}: give rows and columns from 1 to 2^31, such as 32768x32768", text));
  answer.rows = shape[0];
  answer.columns = shape[1];
}

Answer answer_of(const AdviseOptions& options) {
  Answer answer{};
  answer.document = read_document(options.document);
  choose_workload(options, answer);
  choose_shape(options.shape, answer);
  const GpuModels models(options.presets);
  if (const GpuModel* model = models.find(answer.document.gpu_name)) {
    answer.known = true;
    answer.differs = differences(answer.document.gpu, model->device);
  }
  answer.advice = advise(answer.document, *answer.workload, answer.rows, answer.columns, parse_dtype(options.dtype));
  return answer;
}

// --- Telling --------------------------------------------------------------------------------------------------------------------

std::string ms(double seconds) { return fmt::format("{:.2f} ms", 1e3 * seconds); }

std::string gpu_text(const Answer& answer) {
  const std::string text = fmt::format("{}, {:.1f}, {} SMs, {:g} GB/s", answer.document.gpu_name, answer.document.gpu.capability / 10.0,
                                       answer.document.gpu.sms, static_cast<double>(answer.document.gpu.bandwidth) / 1e9);
  if (!answer.known) return text + "; no model of this name is known, the table is taken as it is";
  return text +
         (answer.differs.empty() ? "; as the known model" : fmt::format("; unlike the known model: {}", fmt::join(answer.differs, "; ")));
}

std::string head_text(const AdviseOptions& options, const Answer& answer) {
  const Document& document = answer.document;
  return text_list({{"document", options.document},
                    {"stage", fmt::format("{}, {}", static_cast<int>(document.stage.stage), name(document.stage.stage))},
                    {"GPU", gpu_text(answer)},
                    {"workload", fmt::format("{}, {}: {} x {}, {}, along axis 1", answer.workload->key, answer.workload->title, answer.rows,
                                             answer.columns, options.dtype)},
                    {"recognised by", answer.evidence.empty() ? "--workload" : fmt::format("{}", fmt::join(answer.evidence, "; "))},
                    {"must move", bytes_text(answer.advice.plan.bytes_required)},
                    {"floor time", fmt::format("{}, at the table's bandwidth", ms(answer.advice.floor_seconds))}});
}

std::string profile_text(const Advice& advice) {
  Table kernels({"kernel", "moves at least", "passes", "takes at least", "held up by"});
  for (const KernelFinding& kernel : advice.kernels)
    kernels.add({kernel.name, kernel.whole ? bytes_text(kernel.bytes) : "totals of blocks",
                 kernel.whole ? fmt::format("{:.2f}", kernel.passes) : "-", kernel.seconds ? ms(*kernel.seconds) : "-", kernel.limit});
  if (advice.torch_bytes > 0)
    kernels.add({advice.torch_calls, bytes_text(advice.torch_bytes), "", "", "PyTorch's own kernels, which the profile lacks"});
  const std::string takes =
      advice.now_seconds ? fmt::format("{}, {:.2f} times the floor", ms(*advice.now_seconds), *advice.now_seconds / advice.floor_seconds)
                         : "unknown: the profile lacks a kernel's DRAM throughput";
  return "\nWhat the profile says\n" + kernels.text() +
         text_list({{"amplification", fmt::format("at least {:.2f}: bytes moved / bytes that must move", advice.amplification)},
                    {"takes at least", takes}});
}

std::string stage_text(const std::vector<Decision>& decisions) {
  Table table({"rule", "here", "because"});
  for (const Decision& decision : decisions) table.add({decision.rule, decision.verdict, decision.reason});
  return "\nWhat the stage decides\n" + table.text();
}

std::string cumulus_text(const Answer& answer) {
  const Advice& advice = answer.advice;
  std::vector<std::pair<std::string, std::string>> lines = {
      {"call", fmt::format("cumulus.torch: {}", answer.workload->call)},
      {"plan", fmt::format("{}, {} copies: {} blocks of {} threads, {} bytes of shared memory", cuda::name(advice.plan.layout),
                           cuda::name(advice.plan.copies), advice.plan.grid, advice.plan.threads, advice.plan.shared)},
      {"why", advice.plan.reason},
      {"moves", fmt::format("{}, {:.3f} of what must move", bytes_text(advice.plan.bytes_moved),
                            static_cast<double>(advice.plan.bytes_moved) / static_cast<double>(advice.plan.bytes_required))},
      {"predicted", advice.prediction ? ms(advice.prediction->seconds) : "nothing: this structure and dtype were not measured"}};
  if (advice.prediction) lines.emplace_back("prediction from", advice.prediction->basis);
  if (advice.prediction && advice.now_seconds)
    lines.emplace_back("against", fmt::format("{} or more now: {:.1f} times as fast or better, if the prediction holds",
                                              ms(*advice.now_seconds), *advice.now_seconds / advice.prediction->seconds));
  return "\nCumulus\n" + text_list(lines);
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }

Json json_of(const AdviseOptions& options, const Answer& answer) {
  const Advice& advice = answer.advice;
  Json json = {{"document", options.document},
               {"stage", static_cast<int>(answer.document.stage.stage)},
               {"stage_name", name(answer.document.stage.stage)},
               {"gpu", spec_json(answer.document.gpu, options.document)},
               {"gpu_differs", answer.differs},
               {"workload", answer.workload->key},
               {"recognised_by", answer.evidence},
               {"shape", {answer.rows, answer.columns}},
               {"dtype", options.dtype},
               {"bytes_required", advice.plan.bytes_required},
               {"floor_ms", 1e3 * advice.floor_seconds},
               {"amplification_at_least", advice.amplification},
               {"now_ms_at_least", advice.now_seconds ? Json(1e3 * *advice.now_seconds) : Json(nullptr)},
               {"same_passes_ms", 1e3 * advice.best_seconds},
               {"torch_bytes", advice.torch_bytes},
               {"dead_metrics", Json::object()}};
  for (const std::string& dead : answer.document.dead_metrics) json["dead_metrics"][dead] = replacement(dead);
  json["kernels"] = Json::array();
  for (std::size_t i = 0; i < advice.kernels.size(); ++i) {
    const KernelFinding& finding = advice.kernels[i];
    const KernelProfile& profile = answer.document.kernels[i];
    json["kernels"].push_back({{"name", finding.name},
                               {"walks_tensors", finding.whole},
                               {"bytes_at_least", finding.bytes},
                               {"passes", finding.passes},
                               {"ms_at_least", finding.seconds ? Json(1e3 * *finding.seconds) : Json(nullptr)},
                               {"limit", finding.limit},
                               {"grid", profile.grid ? Json(*profile.grid) : Json(nullptr)},
                               {"sm", optional_json(profile.sm)},
                               {"warps_active", optional_json(profile.warps_active)},
                               {"dram", optional_json(profile.dram)},
                               {"l2_hit", optional_json(profile.l2_hit)},
                               {"long_scoreboard_stall", optional_json(profile.stall)}});
  }
  json["decisions"] = Json::array();
  for (const Decision& decision : advice.decisions)
    json["decisions"].push_back({{"rule", decision.rule}, {"verdict", decision.verdict}, {"reason", decision.reason}});
  json["predicted_ms"] = advice.prediction ? Json(1e3 * advice.prediction->seconds) : Json(nullptr);
  json["prediction_from"] = advice.prediction ? Json(advice.prediction->basis) : Json(nullptr);
  json["call"] = answer.workload->call;
  json["plan"] = Json::parse(cuda::to_json(advice.problem, advice.plan, answer.document.gpu));
  json["emitted"] = options.emit.empty() ? Json(nullptr) : Json(options.emit);
  return json;
}

// --- Answering ------------------------------------------------------------------------------------------------------------------

const char* model_source(const Workload& workload) {
  const std::string wanted = std::string(workload.model) + ".py";
  for (const SourceFile& file : model_sources())
    if (wanted == file.name) return file.text;
  throw CliError(kExitUnsupported, fmt::format("{} is not in this build, which is a bug: please report it", wanted));
}

void advise_on(const AdviseOptions& options) {
  if (options.force && options.emit.empty()) throw CliError(kExitUsage, "--force replaces the file of --emit: name one");
  const Answer answer = answer_of(options);
  if (!options.emit.empty()) write_text(options.emit, model_source(*answer.workload), options.force);
  if (options.json) return print_json(json_of(options, answer));
  print(head_text(options, answer) + profile_text(answer.advice) + stage_text(answer.advice.decisions) + cumulus_text(answer));
  if (!options.emit.empty()) print(fmt::format("\n{}: written, ModelNew of problem {}\n", options.emit, answer.workload->key));
}

}  // namespace

void add_advise(CLI::App& app, int&) {
  auto* command = app.add_subcommand("advise", "Answer a kernel optimiser's task document");
  const auto options = std::make_shared<AdviseOptions>();
  std::vector<std::string> keys;
  for (const Workload& workload : workloads()) keys.emplace_back(workload.key);
  command->add_option("DOCUMENT", options->document, "The task document")->type_name("FILE")->required();
  command->add_option("--workload", options->workload, "KernelBench problem that the code solves (default: recognised)")
      ->type_name("NAME")
      ->check(CLI::IsMember(keys));
  command->add_option("--shape", options->shape, "Rows and columns of x (default 32768x32768, as in KernelBench)")->type_name("SHAPE");
  add_dtype_option(*command, "--dtype", options->dtype, "dtype of x (default f32)");
  command->add_option("--emit", options->emit, "Write the module with ModelNew to this file")->type_name("FILE.py");
  command->add_flag("--force", options->force, "Replace the file of --emit if it exists");
  add_presets_option(*command, options->presets);
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options] { advise_on(*options); });
}

}  // namespace cumulus::cli
