// cumulus doctor: what works here, what does not, and what to do about it.
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <oneapi/tbb/version.h>
#include <strings.h>
#include <unistd.h>

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "commands.h"
#include "cpu/cpu_info.h"
#include "cpu/kernels.h"
#include "cuda/doctor.h"
#include "demo_reference.h"
#include "machine.h"
#include "output.h"
#include "tuning/lookup.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus doctor             a line per finding: ok, note (works, could be better), FAIL (with the way out)
  cumulus doctor --json

Exit codes: 0 when Cumulus is usable here, 1 when a check of its results fails.)";

struct Finding {
  enum State { ok, note, fail } state;
  std::string what, detail;
};

constexpr const char* kStateName[] = {"ok", "note", "FAIL"};

// --- The self-check: small scans on every SIMD target, against the scalar order -----------------------------------------------------

std::vector<float> test_data(std::size_t n) {
  std::vector<float> x(n);
  std::uint32_t state = 12345;
  for (float& value : x) value = static_cast<float>((state = state * 1664525 + 1013904223) >> 8) * 0x1p-24f - 0.25f;
  return x;
}

// Rows of `width` along axis 1 (or columns of `rows` along axis 0), compared bit for bit.
bool scan_agrees(std::int64_t rows, std::int64_t width, int axis, int threads) {
  const std::vector<float> x = test_data(static_cast<std::size_t>(rows * width));
  std::vector<float> y(x.size());
  scan(view(x, {rows, width}), view(y, {rows, width}), {.axis = axis, .threads = threads});
  const auto n = static_cast<std::size_t>(axis == 1 ? width : rows), lines = x.size() / n;
  const std::size_t step = axis == 1 ? 1 : lines, next = axis == 1 ? n : 1;
  OrderReference order;
  std::vector<float> line(n), expected(n + 1);
  for (std::size_t l = 0; l < lines; ++l) {
    for (std::size_t i = 0; i < n; ++i) line[i] = x[l * next + i * step];
    order.prefixes(line, DemoOp::sum, expected);
    for (std::size_t i = 0; i < n; ++i)
      if (std::bit_cast<std::uint32_t>(y[l * next + i * step]) != std::bit_cast<std::uint32_t>(expected[i + 1])) return false;
  }
  return true;
}

bool integers_agree() {
  std::vector<std::int64_t> x(1001), y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::int64_t>(i) - 300;
  scan(view(x), view(y));
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (y[i] != (sum += x[i])) return false;
  return true;
}

Finding check_target(cpu::Target target) {
  const cpu::ForceTarget forced(target);
  const std::string what = fmt::format("results on {}", cpu::name(target));
  try {
    const bool right = scan_agrees(1, 300007, 1, 1) && scan_agrees(33, 257, 1, 1) && scan_agrees(257, 33, 0, 1) && integers_agree();
    if (right) return {Finding::ok, what, "bits equal to the order"};
    return {Finding::fail, what,
            "WRONG: please report this with the output of `cumulus device`; CUMULUS_SIMD chooses another target meanwhile"};
  } catch (const std::exception& error) {
    return {Finding::fail, what, error.what()};
  }
}

// --- Findings -------------------------------------------------------------------------------------------------------------------

std::string names(const std::vector<cpu::Target>& targets) {
  std::vector<std::string> texts;
  texts.reserve(targets.size());
  for (const cpu::Target target : targets) texts.emplace_back(cpu::name(target));
  return texts.empty() ? "none" : fmt::format("{}", fmt::join(texts, ", "));
}

Finding simd_finding() {
  const auto compiled = cpu::compiled_targets(), supported = cpu::supported_targets();
  std::string detail = fmt::format("{} in use; this processor runs {} of {}", cumulus_simd_target(), names(supported), names(compiled));
  if (supported.empty()) return {Finding::fail, "SIMD", detail + "; an x86-64 processor with SSE4 or an AArch64 one is needed"};
  const char* wanted = std::getenv("CUMULUS_SIMD");
  if (wanted) detail += fmt::format("; CUMULUS_SIMD={} asks for a choice", wanted);
  if (wanted && strcasecmp(wanted, cumulus_simd_target()) != 0)
    return {Finding::note, "SIMD", detail + fmt::format(" that this processor does not have: choose one of {}", names(supported))};
  if (wanted && cpu::current_target() != supported.front()) return {Finding::note, "SIMD", detail + ": unset it for full speed"};
  if (cpu::name(supported.front()) == std::string_view("SSE4"))
    return {Finding::note, "SIMD", detail + "; results are the same, AVX2 would be about twice as fast"};
  return {Finding::ok, "SIMD", detail};
}

Finding cores_finding() {
  const int cores = cpu::cpu_info().cores, affinity = cpu::affinity_cores(), quota = cpu::quota_cores(), online = cores_online();
  const std::string detail =
      fmt::format("{} of {} (affinity {}, quota {})", cores, online, affinity, quota > 0 ? std::to_string(quota) : "none");
  if (cores >= online) return {Finding::ok, "cores", detail};
  return {
      Finding::note, "cores",
      detail + (quota > 0 && quota < affinity ? ": the container's CPU quota limits it" : ": the affinity mask limits it; see taskset")};
}

Finding tbb_finding() {
  const std::string detail = fmt::format("oneTBB {} (built with {})", TBB_runtime_version(), TBB_VERSION_STRING);
  try {
    if (scan_agrees(1, 3000017, 1, 2) && scan_agrees(300, 9001, 1, 2))
      return {Finding::ok, "threads", detail + "; two threads give the bits of one"};
    return {Finding::fail, "threads", detail + "; two threads give WRONG results: please report this, and use --threads 1 meanwhile"};
  } catch (const std::exception& error) {
    return {Finding::fail, "threads", fmt::format("{}: {}", detail, error.what())};
  }
}

Finding huge_pages_finding() {
  const std::string state = first_line("/sys/kernel/mm/transparent_hugepage/enabled");
  const std::size_t open = state.find('['), close = state.find(']');
  if (open == std::string::npos || close == std::string::npos)
    return {Finding::note, "huge pages", "the system does not tell; large arrays may run slower"};
  const std::string mode = state.substr(open + 1, close - open - 1);
  if (mode != "never") return {Finding::ok, "huge pages", "transparent huge pages: " + mode};
  return {Finding::note, "huge pages",
          "transparent huge pages are off; as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"};
}

Finding memory_finding() {
  const std::int64_t available = memory_available();
  const std::string detail = fmt::format("{} of {} available", bytes_text(available), bytes_text(memory_total()));
  if (available > std::int64_t{1500} * 1000 * 1000) return {Finding::ok, "memory", detail};
  return {Finding::note, "memory", detail + "; `cumulus demo` needs 1.4 GB: use --size 2048"};
}

Finding perf_finding() {
  const std::string path = "/proc/sys/kernel/perf_event_paranoid", level = first_line(path);
  if (level.empty()) return {Finding::note, "perf events", "not available in this kernel or container; only profiling would need them"};
  const bool allowed = std::atoi(level.c_str()) <= 2 || geteuid() == 0;
  if (allowed) return {Finding::ok, "perf events", fmt::format("perf_event_paranoid {}", level)};
  return {Finding::note, "perf events",
          fmt::format("perf_event_paranoid {} forbids them; only profiling would need them; as root: echo 2 > {}", level, path)};
}

// A file that cannot be used is no failure: scans run with the planner's choices.
Finding tuning_finding() {
  const char* what = "tuning file";
  if (tuning::switched_off()) return {Finding::note, what, "CUMULUS_TUNING=off: the planner chooses alone"};
  const tuning::File file = tuning::read_file(tuning::file_path());
  if (file.ignored) return {Finding::note, what, file.note};
  if (file.path.empty()) return {Finding::ok, what, "none: neither XDG_CONFIG_HOME nor HOME says where it would be"};
  if (!file.note.empty()) return {Finding::ok, what, fmt::format("none: {}; `cumulus tune` makes it", file.note)};
  return {Finding::ok, what, fmt::format("{}: {} entries", file.path, file.cache.entries.size())};
}

// Nor is a GPU: scans on the CPU work.
std::vector<Finding> gpu_findings() {
  std::vector<Finding> findings;
  for (const cuda::Finding& found : cuda::doctor(cuda::real_system()))
    findings.push_back({found.state == cuda::Finding::ok ? Finding::ok : Finding::note, found.what, found.detail});
  return findings;
}

Finding terminal_finding() {
  const char *locale = std::getenv("LC_ALL"), *language = std::getenv("LANG"), *term = std::getenv("TERM");
  return {
      Finding::ok, "terminal",
      fmt::format("stderr is {}, TERM {}, locale {}; output is plain ASCII",
                  isatty(STDERR_FILENO) ? "a terminal: long work shows progress" : "not a terminal: no progress bar", term ? term : "unset",
                  locale && *locale       ? locale
                  : language && *language ? language
                                          : "C")};
}

bool doctor(bool json) {
  std::vector<Finding> findings = {
      {Finding::ok, "cumulus", fmt::format("version {}, order {}", cumulus_version(), cumulus_order_version())}, simd_finding()};
  for (const cpu::Target target : cpu::supported_targets()) findings.push_back(check_target(target));
  for (const auto& find : {tbb_finding, cores_finding, memory_finding, huge_pages_finding, perf_finding, tuning_finding})
    findings.push_back(find());
  for (Finding& finding : gpu_findings()) findings.push_back(std::move(finding));
  findings.push_back(terminal_finding());

  bool usable = true;
  Json list = Json::array();
  std::string text;
  for (const Finding& finding : findings) {
    usable = usable && finding.state != Finding::fail;
    list.push_back({{"what", finding.what},
                    {"state", finding.state == Finding::fail ? "fail" : kStateName[finding.state]},
                    {"detail", finding.detail}});
    text += fmt::format("{:<4}  {:<16}  {}\n", kStateName[finding.state], finding.what, finding.detail);
  }
  if (json) print_json({{"findings", std::move(list)}, {"usable", usable}});
  else print(text + (usable ? "\nCumulus is usable here.\n" : "\nCumulus is NOT usable here as it is: see the lines marked FAIL.\n"));
  return usable;
}

}  // namespace

void add_doctor(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("doctor", "Check that Cumulus works here, and what could be better");
  const auto json = std::make_shared<bool>(false);
  add_json_flag(*command, *json);
  set_examples(*command, kExamples);
  command->callback([json, &exit_code] {
    if (!doctor(*json)) exit_code = kExitMismatch;
  });
}

}  // namespace cumulus::cli
