// cumulus tune: searches faster parameters for a scan on this machine, and keeps them where calls look them up.
#include <CLI/CLI.hpp>
#include <fmt/chrono.h>
#include <fmt/core.h>

#include <csignal>
#include <ctime>
#include <map>
#include <memory>

#include "case_options.h"
#include "commands.h"
#include "cuda/driver.h"
#include "cuda/report.h"
#include "cuda/trial.h"
#include "machine.h"
#include "output.h"
#include "progress.h"
#include "text_file.h"
#include "tune_cache.h"
#include "tune_cpu.h"
#include "tune_cuda.h"
#include "tune_parameters.h"
#include "tune_report.h"
#include "tuning/cuda_stages.h"
#include "tuning/lookup.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus tune --shape 4096x4096 --axis 1                         at most a minute, on all cores; the result is saved
  cumulus tune --shape 4096x4096 --axis 1 --dry-run               what would be tried
  cumulus tune --shape 2^22x8 --axis 0 --budget 20s --json s.json the whole session as JSON, for `cumulus report`
  cumulus tune --shape 4096x4096 --axis 1 --start 'threads 1'     from a start of your own; nothing is saved then
  cumulus tune --shape 32768x32768 --axis 1 --cuda 0 --search exhaustive --budget 3min
  cumulus tune --list                                             what is saved
  cumulus tune --export mine.json                                 and --import, --merge, --freeze, --unfreeze

Candidates are judged in paired, interleaved rounds with cold caches, after their bits were compared. One is accepted only where a
sign test says that its median gain is above the margin; the result meets the original once more at the end. Ctrl-C keeps what is
proven. Tuning changes speed only, never a bit. `cumulus plan` says where a scan's parameters come from; CUMULUS_TUNING=off
switches the look-up off, CUMULUS_TUNING_FILE names another file.)";

struct TuneOptions : CaseOptions {
  int cuda = -1;
  double seconds = 60, margin = 1.5;
  int evaluations = 1000;
  std::uint64_t memory = 0, seed = 1;
  std::string search = "staged";
  std::vector<std::string> start;
  int repeat = 1;
  std::string json, commit;
  bool planner = true, counters = true, dry_run = false, save = true, force = false;

  bool list = false, freeze = false, unfreeze = false;
  std::string export_to, import_from;
  std::vector<std::string> merge;
};

// ---- What is to be tuned ----

bool keeps(const TuneOptions& options) { return options.save && options.start.empty(); }

// What is saved must be found: nobody would see that it never is.
void check_looked_up(const BenchCase& c, const Problem& problem) {
  if (!tuning::is_looked_up(problem))
    throw CliError(kExitUsage, fmt::format("--shape {}: this call moves {}, and one that moves less than 1 MiB looks nothing up: "
                                           "tune a larger shape, or add --no-save to see what there is to gain",
                                           shape_text(c.shape), bytes_text(bytes_required(problem))));
}

BenchCase tunable_case(const TuneOptions& options) {
  if (options.scan.device != "cpu")
    throw CliError(kExitUsage, fmt::format("--device {}: tune says --cuda N for a GPU, and nothing for the CPU", options.scan.device));
  if (options.cuda >= 0) check_no_cpu_options(options.scan, fmt::format("--cuda {}", options.cuda));
  BenchCase c = case_of(options, "tune");
  if (c.mask == MaskUse::multiply && c.in != DType::f32)
    throw CliError(kExitUnsupported, fmt::format("--mask same with {} elements: tuning knows multiplying masks of f32 only", name(c.in)));
  const Problem problem = problem_of(c, options.scan.threads);  // refuses what no call may be
  check_size(c);
  if (keeps(options)) check_looked_up(c, problem);
  return c;
}

tuning::Search parse_search(const std::string& text) {
  for (const tuning::Search search : {tuning::Search::staged, tuning::Search::exhaustive, tuning::Search::random})
    if (text == tuning::name(search)) return search;
  throw CliError(kExitUsage, fmt::format("--search {}: staged, exhaustive or random", text));
}

tuning::Parameters parse_start(const TuneOptions& options) {
  const std::vector<std::string> names = options.cuda >= 0 ? tuning::cuda_names() : tuning::cpu_names();
  tuning::Parameters start;
  for (const std::string& text : options.start)
    for (const auto& [name, value] : parse_parameters("--start", text, names)) start[name] = value;
  return start;
}

void check_memory(std::int64_t needed, const TuneOptions& options) {
  const std::int64_t available = memory_available();
  if (options.memory > 0 && static_cast<std::uint64_t>(needed) > options.memory)
    throw CliError(
        kExitUsage,
        fmt::format("--memory {}: this scan's arrays, its reference and the flush buffer need {}: allow more, or tune a smaller shape",
                    bytes_text(static_cast<std::int64_t>(options.memory)), bytes_text(needed)));
  if (available > 0 && needed > available - available / 8)
    throw CliError(kExitUnsupported,
                   fmt::format("tuning this scan needs {} of memory, {} are available: tune a smaller shape; calls of up to four "
                               "times its size find the result too",
                               bytes_text(needed), bytes_text(available)));
}

// A scan on one backend: what the session needs, and what is told and saved of it.
struct Target {
  tuning::Subject subject;
  std::vector<tuning::Stage> stages;
  std::vector<tuning::Parameters> space;  // of a search without stages; empty: all of the stages' values
  std::shared_ptr<void> owner;            // of what they refer to
  std::string reference, metrics;         // what bits are compared with, what stages look at
  Problem problem;
  tuning::Machine machine;
  Json plan;
  std::string gpu;
  std::shared_ptr<TuningTurn> turn;  // on a GPU
};

Target cpu_target(const BenchCase& c, const TuneOptions& options) {
  check_memory(CpuSubject::bytes_needed(c), options);
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const Problem problem = problem_of(c, options.scan.threads);
  const auto subject = std::make_shared<CpuSubject>(c, options.scan.threads);
  return {subject->subject(),
          tuning::cpu_stages(problem, cpu, subject->figures()),
          {},
          subject,
          subject->reference(),
          "of the plan",
          problem,
          tuning::this_machine(cpu),
          Json::parse(to_json(problem, make_plan(problem, cpu), cpu)),
          "",
          nullptr};
}

Target cuda_target(const BenchCase& c, const TuneOptions& options) {
  const cuda::DeviceInfo& gpu = cuda::device_info(options.cuda);  // refuses before minutes of work
  check_memory(CudaSubject::bytes_needed(c), options);
  const auto turn = std::make_shared<TuningTurn>(options.cuda);
  const auto subject = std::make_shared<CudaSubject>(c, options.cuda, options.counters);
  const Problem& problem = subject->problem();
  const std::vector<tuning::Stage> stages = subject->stages();
  return {subject->subject(),
          stages,
          tuning::cuda_space(problem, gpu),
          subject,
          subject->reference(),
          subject->metrics(),
          problem,
          cuda::tuning_machine(options.cuda),
          Json::parse(cuda::to_json(problem, make_plan(problem, gpu), gpu)),
          gpu.name,
          turn};
}

// ---- The session ----

volatile std::sig_atomic_t interrupted = 0;

// The first Ctrl-C ends the session in good order; a second one ends the process.
void catch_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
}

tuning::Session run_session(const TuneOptions& options, const Target& target) {
  constexpr std::int64_t kSteps = 1000;
  Progress progress("tune", kSteps);
  std::int64_t shown = 0;
  tuning::Options how;
  how.search = parse_search(options.search);
  how.rule.margin = options.margin / 100;
  how.seconds = options.seconds;
  how.evaluations = options.evaluations;
  how.start = parse_start(options);
  how.planner = options.planner;
  how.space = target.space;
  how.seed = options.seed;
  how.stop = [] { return interrupted != 0; };
  how.progress = [&](const std::string& what, double part) {
    const auto now = static_cast<std::int64_t>(part * kSteps);
    progress.label("tune: " + what);
    progress.advance(now - shown);
    shown = now;
  };
  catch_interrupt();
  return tuning::tune(target.subject, target.stages, how);
}

tuning::Entry entry_of(const tuning::Session& session, const Target& target) {
  return {target.machine,   tuning::call_of(target.problem),
          session.result,   target.problem.rows,
          target.problem.n, session.result_ms,
          session.ratio,    fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)))};
}

// A session from another start says nothing of the planner's choice; one without a gain that ended before anything was judged proves
// nothing.
std::string save(const TuneOptions& options, const tuning::Session& session, const Target& target) {
  if (!options.save) return "not saved: --no-save";
  if (!options.start.empty()) return "not saved: --start compares with another start than the planner's choice";
  if (session.result.empty() && (!session.stopped.empty() || !session.proven())) return "not saved: nothing was proven before it ended";
  return save_tuning(tuning_file(), entry_of(session, target));
}

Json to_json(const TuneOptions& options, const tuning::Session& session, const Target& target) {
  Json json = {{"kind", "tune"},
               {"version", 1},
               {"commit", options.commit},
               {"machine", {{"cpu", cpu::model_name()}, {"gpu", target.gpu}}},
               {"problem", target.plan},
               {"search", options.search},
               {"metrics_from", target.metrics}};
  json.update(session_json(session));
  return json;
}

std::vector<tuning::Stage> dry_stages(const BenchCase& c, const TuneOptions& options) {
  const Problem problem = problem_of(c, options.scan.threads);
  if (options.cuda >= 0) return tuning::cuda_stages(problem, cuda::device_info(options.cuda), {});
  return tuning::cpu_stages(problem, cpu::cpu_info(), {});
}

void tune_scan(const TuneOptions& options) {
  const BenchCase bench_case = tunable_case(options);
  if (options.dry_run) return print(stages_text(dry_stages(bench_case, options)));
  // Before minutes of work:
  parse_start(options), parse_search(options.search);
  const bool to_file = !options.json.empty() && options.json != "-";
  if (to_file) check_place(options.json, options.force);
  if (keeps(options)) check_tuning_file(tuning_file());
  const Target target = options.cuda >= 0 ? cuda_target(bench_case, options) : cpu_target(bench_case, options);
  std::string text = fmt::format("bits compared with: {}\nmetrics: {}\n", target.reference, target.metrics);
  Json sessions = Json::array();
  for (int i = 0; i < options.repeat && interrupted == 0; ++i) {
    const tuning::Session session = run_session(options, target);
    text += fmt::format("{}{}{}\n", i > 0 ? "\n" : "", session_text(session), save(options, session, target));
    sessions.push_back(to_json(options, session, target));
  }
  const Json& json = options.repeat == 1 ? sessions.at(0) : sessions;
  if (options.json == "-") return print_json(json);
  print(text);
  if (to_file) write_text(options.json, json.dump(2) + "\n", options.force);
}

void list(const TuneOptions& options) {
  if (options.json.empty()) return print(list_tuning(tuning_file()));
  const Json json = tuning_json(tuning_file());
  if (options.json == "-") return print_json(json);
  write_text(options.json, json.dump(2) + "\n", options.force);
}

void tune(const TuneOptions& options) {
  if (options.list) return list(options);
  if (!options.export_to.empty()) return export_tuning(tuning_file(), options.export_to, options.force);
  if (!options.import_from.empty()) return print(import_tuning(tuning_file(), options.import_from) + "\n");
  if (!options.merge.empty()) return print(merge_tuning(tuning_file(), options.merge) + "\n");
  if (options.freeze || options.unfreeze) return print(freeze_tuning(tuning_file(), options.freeze) + "\n");
  tune_scan(options);
}

// Both replace the text by the number in it, or say what is wrong with it: CLI11's own words are of units and factors.
std::string to_seconds(std::string& text) {
  static const CLI::AsNumberWithUnit units(std::map<std::string, double>{{"s", 1}, {"min", 60}, {"h", 3600}});
  constexpr double kMost = 3.6e6;
  const std::string given = text;
  try {
    if (units(text).empty())
      if (const double seconds = std::stod(text); seconds > 0 && seconds <= kMost) return "";
  } catch (const std::exception&) {  // no number, no unit of ours, or more than a number holds
  }
  return fmt::format("{} is no time that tuning can take: give one above 0 and up to 1000h, such as 20s or 3min", given);
}

std::string to_bytes(std::string& text) {
  static const CLI::AsSizeValue units(true);
  const std::string given = text;
  try {
    if (given.find('-') == given.npos && units(text).empty() && std::stoull(text) > 0) return "";
  } catch (const std::exception&) {
  }
  return fmt::format("{} is no amount of memory: give one above 0, such as 4GB or 512MiB", given);
}

void add_cache_options(CLI::App& command, TuneOptions& options) {
  command.add_flag("--list", options.list, "Show what is saved");
  command.add_option("--export", options.export_to, "Write what is saved to FILE")->type_name("FILE");
  command.add_option("--import", options.import_from, "Add FILE's entries to what is saved, replacing none")->type_name("FILE");
  command.add_option("--merge", options.merge, "Add the files' entries; of two for the same machine and call the later measured stays")
      ->type_name("FILE")
      ->expected(1, -1);
  command.add_flag("--freeze", options.freeze, "Look the file up, but change it no more")
      ->excludes(command.add_flag("--unfreeze", options.unfreeze, "Allow changes again"));
}

}  // namespace

void add_tune(CLI::App& app, int&) {
  auto* command = app.add_subcommand("tune", "Search faster parameters for a scan on this machine, and keep them");
  const auto options = std::make_shared<TuneOptions>();
  add_case_options(*command, *options);
  command->add_option("--cuda", options->cuda, "Tune for this CUDA device")->type_name("N")->check(CLI::Range(0, 1023));
  command->add_option("--budget", options->seconds, "Seconds at most (default 60s)")
      ->type_name("TIME")
      ->transform(CLI::Validator(to_seconds, "NUMBER [s, min, h]"));
  command->add_option("--evaluations", options->evaluations, "Configurations to try at most (default 1000)")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--memory", options->memory, "Memory to use at most, such as 4GB (default: what is available)")
      ->type_name("SIZE")
      ->transform(CLI::Validator(to_bytes, "NUMBER [b, kb(=1000b), kib(=1024b), ...]"));
  command->add_option("--search", options->search, "staged (default), exhaustive or random")
      ->type_name("HOW")
      ->check(CLI::IsMember({"staged", "exhaustive", "random"}));
  command->add_option("--margin", options->margin, "Percent that a gain must exceed (default 1.5)")
      ->type_name("PERCENT")
      ->check(CLI::Range(0.0, 50.0));
  command->add_option("--seed", options->seed, "Seed of the random search (default 1)")->type_name("N");
  command
      ->add_option("--start", options->start,
                   "Start from these parameters instead of the planner's choice: \"NAME NUMBER, NAME NUMBER\", as tables print them")
      ->type_name("PARAMETERS")
      ->expected(1)
      ->take_all();
  command->add_flag("--planner,!--without-planner", options->planner,
                    "Try the planner's choice in every stage, whatever the start (default)");
  command->add_flag("--counters,!--no-counters", options->counters, "Read a GPU's hardware counters for the stages (default)");
  command->add_option("--repeat", options->repeat, "Sessions on the same data (default 1); --json has an array of them then")
      ->type_name("N")
      ->check(CLI::Range(1, 1000));
  command->add_flag("--dry-run", options->dry_run, "Show the stages, their parameters and values; measure nothing");
  command->add_flag("--save,!--no-save", options->save, "Keep the result where calls look it up (default)");
  add_cache_options(*command, *options);
  command->add_option("--commit", options->commit, "Commit to name in the JSON")->type_name("HASH");
  auto* json = command
                   ->add_option("--json", options->json,
                                "Write the session (with --list: what is saved) as JSON to FILE, or to stdout instead of the text")
                   ->type_name("[FILE|-]")
                   ->expected(0, 1);
  command->add_flag("--force", options->force, "Replace a file that exists");
  set_examples(*command, kExamples);
  command->callback([options, json] {
    if (json->count() > 0 && options->json.empty()) options->json = "-";
    tune(*options);
  });
}

}  // namespace cumulus::cli
