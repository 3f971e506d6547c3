// cumulus profile: one scan under the hardware's counters, and what they say.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "bench_arrays.h"
#include "bench_measure.h"
#include "case_options.h"
#include "commands.h"
#include "cpu/copy.h"
#include "cpu/cpu_info.h"
#include "cuda/profile.h"
#include "machine.h"
#include "output.h"
#include "plan.h"
#include "profile_counters.h"
#include "profile_report.h"
#include "shape.h"
#include "text_file.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus profile --shape 32768x32768 --axis 1 --device cuda             metrics, bytes moved, occupancy, what limits it
  cumulus profile --shape 32768x32768 --axis 1 --device cuda --mask bool --reverse
  cumulus profile --shape 32768x32768 --axis 1 --device cuda --format metrics > task.txt
  cumulus advise task.txt                                                what a stage of tuning would make of it
  cumulus profile --shape 4096x4096 --axis 0                             on the CPU: perf counters, time beside a copy
  cumulus profile --shape 4096x4096 --axis 0 --json profile.json

On a GPU the scan runs once for each pass of CUPTI's range profiler, in this process; CUPTI is found as NVRTC is, or named in
CUMULUS_CUPTI. Without it, without the right to read counters, or beside another profiler, times remain and the reason is said.
Caches are flushed before each run. docs/profiling.md says what each line means.)";

struct ProfileOptions : CaseOptions {
  std::string format = "table", json;
  int rounds = 15;
  bool want_json = false, force = false;

  bool to_file() const { return want_json && json != "-"; }
};

// --- What to profile ------------------------------------------------------------------------------------------------------------

// The case as the library's arguments: views without data, which outlive `args`.
struct Described {
  std::vector<std::int64_t> out_shape;
  ConstTensorView in;
  TensorView out;
  ScanSpec spec;
  cumulus_scan_args args;
  Problem problem;

  Described(const BenchCase& scan, const ScanOptions& options)
      : out_shape(scan.out_shape()), in(nullptr, scan.in, dims(scan.shape)), out(nullptr, scan.out, dims(out_shape)) {
    spec = to_spec(options, scan.axis);
    if (scan.mask != MaskUse::none)
      spec.mask = ConstTensorView(nullptr, scan.mask == MaskUse::select ? DType::boolean : scan.in, dims(scan.shape));
    args = detail::to_c(in, scan.op == Op::recurrence ? &in : nullptr, out, spec);
    canonicalise(args, false, problem);  // refuses what is wrong before anything is allocated
    check_size(scan);
  }
  Described(const Described&) = delete;
  Described& operator=(const Described&) = delete;

 private:
  static Dims dims(const std::vector<std::int64_t>& values) { return {values.data(), static_cast<int>(values.size())}; }
};

// --- On the CPU -----------------------------------------------------------------------------------------------------------------

void check_memory(const BenchCase& scan) {
  const std::int64_t needed = BenchArrays::bytes_needed(scan), there = memory_available();
  if (there > 0 && needed > there - there / 8)
    throw CliError(kExitUsage, fmt::format("--shape {}: the arrays need {} of memory, {} are available: give a smaller shape",
                                           shape_text(scan.shape), bytes_text(needed), bytes_text(there)));
}

std::vector<Contestant> copies(const BenchArrays& arrays, int threads) {
  void* to = arrays.out();
  const void* from = arrays.in();
  const std::size_t size = arrays.copy_bytes();
  std::vector<Contestant> found;
  for (const auto& [name, kind] : {std::pair{"streaming", cpu::CopyKind::streaming}, std::pair{"memcpy", cpu::CopyKind::memcpy}})
    found.push_back(contestant(fmt::format("{}_{}", name, threads), [=, kind = kind] { cpu::copy(to, from, size, kind, threads); }));
  return found;
}

CpuProfile profile_cpu(const BenchCase& scan, const ProfileOptions& options) {
  if (scan.mask == MaskUse::multiply && scan.in != DType::f32)
    throw CliError(kExitUnsupported,
                   fmt::format("--mask same on the CPU is profiled for f32, not {}: give --mask bool, or --in-dtype f32", name(scan.in)));
  const CpuCounters counters;  // before the scan's threads start
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const Described described(scan, options.scan);
  check_memory(scan);
  const BenchArrays arrays(scan);
  CpuProfile profile{make_plan(described.problem, cpu), cpu::model_name(), cumulus_simd_target(), cpu.l3, {}, 0, "", 0, {}};
  ScanSpec spec = arrays.spec(options.scan.threads);
  spec.pin_threads = options.scan.pin;

  std::vector<Contestant> all;
  all.push_back(contestant("cumulus", [&] { arrays.scan(spec); }));
  for (Contestant& copy : copies(arrays, profile.plan.threads)) all.push_back(std::move(copy));
  measure(all, {options.rounds, 0});
  profile.scan = summarise(all[0].us);
  profile.rounds = all[0].us.size();
  const auto* best = &all[1];
  for (const Contestant& copy : all)
    if (&copy != &all[0] && summarise(copy.us).median_us < summarise(best->us).median_us) best = &copy;
  profile.best_copy = best->name;
  profile.copy_us = summarise(best->us).median_us;
  profile.counters = counters.count(all[0].calls, [&] { arrays.scan(spec); });
  return profile;
}

// --- The command ----------------------------------------------------------------------------------------------------------------

template <class Profile>
void show(const BenchCase& scan, const Profile& profile, const ProfileOptions& options) {
  const std::string json = options.want_json || options.format == "json" ? json_of(scan, profile).dump(2) + "\n" : "";
  if (options.to_file()) write_text(options.json, json, options.force);
  if (options.format == "json" || options.json == "-") return print(json);
  if constexpr (std::is_same_v<Profile, cuda::GpuProfile>) {
    if (options.format == "metrics") {
      if (!profile.counters) throw CliError(kExitUnsupported, fmt::format("--format metrics needs counters: {}", profile.why_no_counters));
      return print(document_of(scan, profile));
    }
  }
  print(table_of(scan, profile));
}

void profile(const ProfileOptions& options) {
  check_device(options.scan);
  if (options.to_file()) check_place(options.json, options.force);  // before anything is measured
  const BenchCase scan = case_of(options, "profile");
  if (options.scan.device == "cuda") {
    const Described described(scan, options.scan);
    return show(scan, cuda::profile_scan(described.args, 0, options.rounds), options);
  }
  if (options.format == "metrics")
    throw CliError(kExitUsage, "--format metrics is a GPU's profile: add --device cuda, or take --format json");
  show(scan, profile_cpu(scan, options), options);
}

}  // namespace

void add_profile(CLI::App& app, int&) {
  auto* command = app.add_subcommand("profile", "Measure one scan with hardware counters, and say what limits it");
  const auto options = std::make_shared<ProfileOptions>();
  add_case_options(*command, *options);
  command->add_option("--rounds", options->rounds, "Rounds to take the median of (default 15)")->type_name("N")->check(CLI::Range(1, 1000));
  command->add_option("--format", options->format, "table (default), json, or metrics: a task document for `cumulus advise`")
      ->type_name("FORMAT")
      ->check(CLI::IsMember({"table", "json", "metrics"}));
  auto* json = command->add_option("--json", options->json, "Write the profile as JSON to FILE, or to stdout instead of the table")
                   ->type_name("[FILE|-]")
                   ->expected(0, 1);
  command->add_flag("--force", options->force, "Replace a file that exists");
  set_examples(*command, kExamples);
  command->callback([options, json] {
    options->want_json = json->count() > 0;
    if (options->want_json && options->json.empty()) options->json = "-";
    profile(*options);
  });
}

}  // namespace cumulus::cli
