#include "tune_cache.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include "cleanup.h"
#include "commands.h"
#include "text_file.h"
#include "tuning/lookup.h"

namespace cumulus::cli {
namespace {

constexpr std::size_t kMostBytes = 16 << 20;

// Held while the file is read, changed and written. The lock is a file of its own: the other one is replaced.
class Lock {
 public:
  explicit Lock(const std::string& path) : file_(open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (file_ < 0) fail_io("cannot open", path + ".lock", errno);
    while (flock(file_, LOCK_EX) != 0)
      if (errno != EINTR) fail_io("cannot lock", path + ".lock", errno);
  }
  ~Lock() { close(file_); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  const int file_;
};

[[noreturn]] void fail_content(const std::string& path, const std::string& why) {
  throw CliError(kExitUsage, fmt::format("{} is no tuning file of this version and is left as it is: {}", path, why));
}

tuning::Cache parse_file(const std::string& path) {
  const std::string text = read_text(path, kMostBytes);
  std::string why;
  if (std::optional<tuning::Cache> cache = tuning::parse(text, why)) return *std::move(cache);
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) fail_content(path, why + ": correct it to JSON");
  if (!json.is_object())
    fail_content(path, fmt::format("this is {}, no object: name what `cumulus tune` or its --export wrote", json.type_name()));
  fail_content(path, why);
}

// A file that is not there is an empty one; a damaged one is an error, for it may be worth more than what would replace it.
tuning::Cache current(const std::string& path) { return std::filesystem::exists(path) ? parse_file(path) : tuning::Cache{}; }

// change() returns what to tell; nothing is written where it leaves the cache as it was.
std::string update(const std::string& path, const std::function<std::string(tuning::Cache&)>& change) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  if (error) fail_io("cannot create", folder.string(), error.value());
  const Lock lock(path);
  tuning::Cache cache = current(path);
  const tuning::Cache before = cache;
  std::string told = change(cache);
  if (cache != before) write_text(path, tuning::to_text(cache), true);
  return told;
}

void refuse_frozen(const tuning::Cache& cache, const std::string& path) {
  if (cache.frozen)
    throw CliError(kExitUsage, fmt::format("{} is frozen and is left as it is: `cumulus tune --unfreeze` allows changes", path));
}

}  // namespace

TuningTurn::TuningTurn(int gpu) {
  const char* folder = std::getenv("XDG_RUNTIME_DIR");
  const std::string path = fmt::format("{}/cumulus-tune-{}-cuda{}.lock", folder && *folder ? folder : "/tmp", geteuid(), gpu);
  file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0) fail_io("cannot open", path, errno);
  if (flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  const int error = errno;
  close(file_);
  if (error != EWOULDBLOCK) fail_io("cannot lock", path, error);
  throw CliError(kExitUnsupported,
                 fmt::format("another tuning runs on CUDA device {}: wait for its end, for each would disturb the other", gpu));
}

TuningTurn::~TuningTurn() { close(file_); }

std::string tuning_file() {
  std::string path = tuning::file_path();
  if (path.empty()) throw CliError(kExitUsage, "nothing says where the tuning file is: set CUMULUS_TUNING_FILE, XDG_CONFIG_HOME or HOME");
  return path;
}

void check_tuning_file(const std::string& path) { current(path); }

std::string save_tuning(const std::string& path, const tuning::Entry& entry) {
  return update(path, [&](tuning::Cache& cache) {
    if (cache.frozen) return fmt::format("not saved: {} is frozen", path);
    tuning::merge(cache, {false, {entry}});
    return fmt::format("saved in {}", path);
  });
}

void export_tuning(const std::string& path, const std::string& to, bool force) {
  if (!std::filesystem::exists(path))
    throw CliError(kExitUsage, fmt::format("there is no tuning file {} to export: `cumulus tune` makes it", path));
  write_text(to, tuning::to_text(parse_file(path)), force);
}

std::string import_tuning(const std::string& path, const std::string& from) {
  const tuning::Cache other = parse_file(from);
  return update(path, [&](tuning::Cache& cache) {
    refuse_frozen(cache, path);
    tuning::Cache sum{cache.frozen, {}};
    sum.entries = cache.entries;
    int added = 0;
    for (const tuning::Entry& entry : other.entries) {
      const bool there = std::any_of(cache.entries.begin(), cache.entries.end(), [&](const tuning::Entry& known) {
        return known.machine == entry.machine && known.call == entry.call;
      });
      if (!there) added += tuning::merge(sum, {false, {entry}});
    }
    cache = sum;
    return fmt::format("{} of {} entries imported into {}; the others were there", added, other.entries.size(), path);
  });
}

std::string merge_tuning(const std::string& path, const std::vector<std::string>& from) {
  std::vector<tuning::Cache> others;
  for (const std::string& file : from) others.push_back(parse_file(file));
  return update(path, [&](tuning::Cache& cache) {
    refuse_frozen(cache, path);
    int changed = 0;
    for (const tuning::Cache& other : others) changed += tuning::merge(cache, other);
    return fmt::format("{} entries added or replaced in {}", changed, path);
  });
}

std::string freeze_tuning(const std::string& path, bool frozen) {
  return update(path, [&](tuning::Cache& cache) {
    cache.frozen = frozen;
    return fmt::format("{} is {}", path, frozen ? "frozen: it is looked up and no longer changed" : "no longer frozen");
  });
}

Json tuning_json(const std::string& path) {
  Json json = {{"file", path}};
  json.update(Json::parse(tuning::to_text(current(path))));
  return json;
}

std::string list_tuning(const std::string& path) {
  const tuning::Cache cache = current(path);
  Table table({"call", "device", "measured", "ratio", "tuning"});
  for (const tuning::Entry& entry : cache.entries)
    table.add({tuning::text_of(entry.call), fmt::format("{}, {} {}", entry.machine.device, entry.machine.units, entry.machine.architecture),
               entry.date, fmt::format("{:.3f}", entry.ratio), tuning::text_of(entry.tuning)});
  return fmt::format("{}: {} entries{}\n{}", path, cache.entries.size(), cache.frozen ? ", frozen" : "",
                     cache.entries.empty() ? "" : table.text());
}

}  // namespace cumulus::cli
