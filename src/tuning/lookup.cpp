#include "tuning/lookup.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "cuda/driver.h"
#include "cuda/trial.h"
#include "cumulus/cumulus.h"
#include "tuning/cuda_stages.h"

namespace cumulus::tuning {
namespace {

constexpr std::int64_t kLeastBytes = 1 << 20;
constexpr std::uintmax_t kMostFileBytes = 16 << 20;  // a longer file is none of ours

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// The text of what is at `path`, or why it cannot be had. Only an ordinary file is opened: a folder has no text, a pipe may wait for ever.
std::optional<std::string> text_at(const std::string& path, std::string& why) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) return why = "it is a folder", std::nullopt;
  if (!std::filesystem::is_regular_file(status)) return why = error ? error.message() : "it is no ordinary file", std::nullopt;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return why = error.message(), std::nullopt;
  if (size > kMostFileBytes)
    return why = fmt::format("it has {} bytes, and no tuning file has more than {}", size, kMostFileBytes), std::nullopt;
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file) return why = std::strerror(errno), std::nullopt;
  // read() says by a state what an iterator of the stream throws.
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) return why = "it cannot be read", std::nullopt;
  return text;
}

// What a process looks up: made at the first call that wants it, then immutable; never destroyed, as a scan may run while it exits.
struct Known {
  File file;
  Table table;
  bool cuda = false;  // has entries of GPUs
};

const Known& known() {
  static const Known& once = *[] {
    auto* made = new Known;
    if (switched_off()) {
      made->file.note = "CUMULUS_TUNING=off";
      return made;
    }
    made->file = read_file(file_path());
    if (made->file.cache.entries.empty()) return made;  // nobody needs the machine then
    const std::vector<Entry>& entries = made->file.cache.entries;
    made->table = Table(entries, this_machine(cpu::cpu_info()));
    made->cuda = std::any_of(entries.begin(), entries.end(), [](const Entry& entry) { return entry.machine.backend == "cuda"; });
    return made;
  }();
  return once;
}

// What this process's GPUs look up, each made at its first call. Two threads may make the same one: the second is dropped.
const Table& cuda_table(int device) {
  static const Table none;
  static constinit std::array<std::atomic<const Table*>, 64> tables{};
  const auto index = static_cast<std::size_t>(device);
  if (!known().cuda || device < 0 || index >= tables.size()) return none;
  if (const Table* made = tables[index].load(std::memory_order_acquire)) return *made;
  const auto* made = new Table(known().file.cache.entries, cuda::tuning_machine(device));
  const Table* other = nullptr;
  if (tables[index].compare_exchange_strong(other, made, std::memory_order_acq_rel)) return *made;
  delete made;
  return *other;
}

// The entry that fits, if what it says can be launched for this very problem.
Found find_cuda(const Problem& problem, int device, const cuda::DeviceInfo& info) {
  const Table& table = cuda_table(device);
  if (table.empty() || !is_looked_up(problem)) return {};
  const Found found = table.find(call_of(problem));
  if (!found.entry) return {};
  return why_unfit(problem, make_plan(problem, info, cuda_tuning(found.entry->tuning)), info).empty() ? found : Found{};
}

std::string why_default(const Known& k, bool small) {
  if (small) return "calls that move less than 1 MiB are not tuned";
  if (!k.file.note.empty()) return k.file.note;
  if (k.file.path.empty()) return "neither XDG_CONFIG_HOME nor HOME says where a tuning file would be";
  return fmt::format("no entry in {} fits", k.file.path);
}

std::string why_entry(const Entry& entry, const Known& k) {
  const std::string what = entry.tuning.empty() ? "nothing was faster than the planner's choice"
                                                : fmt::format("{} saved {:.1f} %", text_of(entry.tuning), 100 * (1 - entry.ratio));
  return fmt::format("{}, {} rows of {} on {}, {}, {}", what, entry.rows, entry.length, entry.machine.device, entry.date, k.file.path);
}

}  // namespace

std::string file_path() {
  if (const std::string file = environment("CUMULUS_TUNING_FILE"); !file.empty()) return file;
  if (const std::string folder = environment("XDG_CONFIG_HOME"); !folder.empty()) return folder + "/cumulus/tuning.json";
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.config/cumulus/tuning.json";
}

bool switched_off() { return environment("CUMULUS_TUNING") == "off"; }

Machine this_machine(const cpu::CpuInfo& cpu) {
  return {"cpu",
          fmt::format("{}, L2 {} KiB, L3 {} KiB", cpu::model_name(), cpu.l2 >> 10, cpu.l3 >> 10),
          cpu.simd,
          cpu.cores,
          fmt::format("{} order {}", cumulus_version(), cumulus_order_version()),
          __VERSION__,
          "",
          kPolicy};
}

File read_file(const std::string& path) {
  File found{path, {}, "", false};
  if (path.empty()) return found;
  std::error_code error;
  if (std::filesystem::status(path, error).type() == std::filesystem::file_type::not_found) {
    found.note = fmt::format("there is no tuning file {}", path);
    return found;
  }
  std::string why;
  const auto text = text_at(path, why);
  auto cache = text ? parse(*text, why) : std::nullopt;
  if (cache) {
    found.cache = *std::move(cache);
    return found;
  }
  found.ignored = true;
  found.note = fmt::format("{} is not used: {}: CUMULUS_TUNING_FILE names another, `cumulus tune` makes one", path, why);
  return found;
}

bool is_looked_up(const Problem& problem) { return bytes_required(problem) >= kLeastBytes; }

Planned planned(const Problem& problem, const cpu::CpuInfo& cpu) {
  Planned result{make_plan(problem, cpu), Source::none, ""};
  const Known& k = known();
  const bool small = !is_looked_up(problem);
  const Found found = small ? Found{} : k.table.find(call_of(problem, result.plan.shape));
  result.source = found.source;
  if (!found.entry) {
    result.why = why_default(k, small);
    return result;
  }
  result.plan = make_plan(problem, cpu, cpu_tuning(found.entry->tuning));
  result.why = why_entry(*found.entry, k);
  return result;
}

Plan plan_to_run(const Problem& problem, const cpu::CpuInfo& cpu) {
  const Plan plan = make_plan(problem, cpu);
  if (!is_looked_up(problem)) return plan;
  const Table& table = known().table;
  if (table.empty()) return plan;
  const Found found = table.find(call_of(problem, plan.shape));
  return found.entry ? make_plan(problem, cpu, cpu_tuning(found.entry->tuning)) : plan;
}

CudaPlanned planned(const Problem& problem, int device, const cuda::DeviceInfo& info) {
  const Found found = find_cuda(problem, device, info);
  if (!found.entry) return {make_plan(problem, info), Source::none, why_default(known(), !is_looked_up(problem))};
  return {make_plan(problem, info, cuda_tuning(found.entry->tuning)), found.source, why_entry(*found.entry, known())};
}

cuda::Tuning cuda_tuning_to_run(const Problem& problem, int device) {
  if (!known().cuda) return {};
  const Found found = find_cuda(problem, device, cuda::device_info(device));
  return found.entry ? cuda_tuning(found.entry->tuning) : cuda::Tuning{};
}

}  // namespace cumulus::tuning
