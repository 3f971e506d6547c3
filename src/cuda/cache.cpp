#include "cuda/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace cumulus::cuda {
namespace {

constexpr std::string_view kMagic = "cumulus cubin 1\n";
constexpr std::string_view kSuffix = ".cubin", kTemporary = ".tmp";
constexpr std::int64_t kMostBytes = 64 << 20;     // of one entry: far more than any kernel
constexpr std::int64_t kTouchSeconds = 3600;      // a used entry's time stamp is renewed no more often
constexpr int kMostAttempts = 100;                // at a temporary name that is free
constexpr std::int64_t kAbandonedSeconds = 3600;  // a temporary file this old belongs to a process that died

struct Header {
  std::uint64_t key_bytes, name_bytes, code_bytes, checksum;
};

// A file descriptor that closes itself.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  File& operator=(File&&) = delete;
  operator int() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  int descriptor_;
};

// Opens the folder if it is safe to use; everything then happens relative to it, whatever its path comes to mean.
File open_folder(const std::string& path, CacheState& state) {
  File folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status;
  if (!folder) {
    state = errno == ENOENT ? CacheState::absent : errno == ENOTDIR || errno == ELOOP ? CacheState::not_a_folder : CacheState::unreachable;
    // A folder that its owner alone may enter cannot be opened by others: say whose it is.
    if (errno == EACCES && lstat(path.c_str(), &status) == 0 && status.st_uid != geteuid()) state = CacheState::foreign;
    return File(-1);
  }
  if (fstat(folder, &status) != 0) state = CacheState::unreachable;
  else if (status.st_uid != geteuid()) state = CacheState::foreign;
  else if ((status.st_mode & 077) != 0) state = CacheState::open_to_others;
  else return state = CacheState::usable, std::move(folder);
  return File(-1);
}

// Makes the folder and those above it, for this user alone.
void make_folders(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    mkdir(path.substr(0, slash).c_str(), 0700);
  mkdir(path.c_str(), 0700);
}

// No block or no file more for this user. Some file systems tell neither number.
bool is_full(const struct statvfs& disk) { return (disk.f_blocks > 0 && disk.f_bavail == 0) || (disk.f_files > 0 && disk.f_favail == 0); }

// What would become of a folder that is not there yet.
CacheState state_of_absent(const std::string& path) {
  const std::string above = nearest_above(path);
  struct stat status;
  struct statvfs disk;
  if (stat(above.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || faccessat(AT_FDCWD, above.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
    return CacheState::cannot_be_made;
  return statvfs(above.c_str(), &disk) == 0 && is_full(disk) ? CacheState::full : CacheState::absent;
}

// A new temporary file of this process; its name in `temporary`. A process that died may have had this one's number (in a container each
// is 1), and left names behind.
File make_temporary(int folder, const std::string& name, std::string& temporary) {
  static std::atomic<unsigned> counter{0};
  int descriptor = -1;
  errno = EEXIST;
  for (int attempt = 0; descriptor < 0 && errno == EEXIST && attempt < kMostAttempts; ++attempt) {
    temporary = fmt::format("{}.{}.{}{}", name, getpid(), counter++, kTemporary);
    descriptor = openat(folder, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  }
  return File(descriptor);
}

std::string file_name(std::string_view key) { return fmt::format("{:016x}{:016x}{}", hash(key, 1), hash(key, 2), kSuffix); }

struct Entry {
  std::string name;
  std::int64_t bytes, used;  // seconds since 1970
};

std::vector<Entry> entries_of(int folder) {
  std::vector<Entry> entries;
  const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = copy >= 0 ? fdopendir(copy) : nullptr;
  if (!listing) {
    if (copy >= 0) close(copy);
    return entries;
  }
  while (const dirent* entry = readdir(listing)) {
    const std::string_view name = entry->d_name;
    struct stat status;
    if (!name.ends_with(kSuffix) && !name.ends_with(kTemporary)) continue;
    if (fstatat(folder, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode))
      entries.push_back({std::string(name), status.st_size, status.st_mtim.tv_sec});
  }
  closedir(listing);
  return entries;
}

// Drops abandoned temporary files and, beyond the limit, the entries that were not used for longest.
void evict(int folder, std::int64_t limit) {
  std::vector<Entry> entries = entries_of(folder);
  const std::int64_t now = std::time(nullptr);
  std::int64_t bytes = 0;
  for (const Entry& entry : entries) {
    if (!entry.name.ends_with(kTemporary)) bytes += entry.bytes;
    else if (now - entry.used > kAbandonedSeconds) unlinkat(folder, entry.name.c_str(), 0);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (bytes <= limit) break;
    if (entry.name.ends_with(kTemporary)) continue;
    unlinkat(folder, entry.name.c_str(), 0);
    bytes -= entry.bytes;
  }
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

bool read_all(int file, std::string& bytes) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t got = read(file, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

std::uint64_t mixed(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

// Words through SplitMix64's finaliser, each with the state so far.
std::uint64_t hash(std::string_view bytes, std::uint64_t seed) {
  std::uint64_t state = mixed(seed ^ 0x9E3779B97F4A7C15u) + bytes.size();
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const std::size_t count = std::min(bytes.size(), sizeof word);
    std::memcpy(&word, bytes.data(), count);
    state = mixed(state + 0x9E3779B97F4A7C15u + word);
    bytes.remove_prefix(count);
  }
  return mixed(state);
}

std::string to_bytes(std::string_view key, const Cubin& cubin) {
  std::string payload;
  payload.reserve(key.size() + cubin.lowered_name.size() + cubin.code.size());
  payload.append(key).append(cubin.lowered_name).append(cubin.code);
  const Header header{key.size(), cubin.lowered_name.size(), cubin.code.size(), hash(payload)};
  std::string bytes(kMagic);
  bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
  return bytes.append(payload);
}

std::optional<KeyedCubin> from_bytes(std::string_view bytes) {
  Header header;
  if (bytes.size() < kMagic.size() + sizeof header || !bytes.starts_with(kMagic)) return std::nullopt;
  std::memcpy(&header, bytes.data() + kMagic.size(), sizeof header);
  const std::string_view payload = bytes.substr(kMagic.size() + sizeof header);
  if (header.key_bytes > payload.size() || header.name_bytes > payload.size() - header.key_bytes ||
      header.code_bytes != payload.size() - header.key_bytes - header.name_bytes || header.checksum != hash(payload))
    return std::nullopt;
  return KeyedCubin{std::string(payload.substr(0, header.key_bytes)),
                    {std::string(payload.substr(header.key_bytes, header.name_bytes)),
                     std::string(payload.substr(header.key_bytes + header.name_bytes))}};
}

std::optional<std::string> key_of(std::string_view bytes) {
  Header header;
  if (bytes.size() < kMagic.size() + sizeof header || !bytes.starts_with(kMagic)) return std::nullopt;
  std::memcpy(&header, bytes.data() + kMagic.size(), sizeof header);
  bytes.remove_prefix(kMagic.size() + sizeof header);
  if (header.key_bytes > bytes.size()) return std::nullopt;
  return std::string(bytes.substr(0, header.key_bytes));
}

std::string cache_folder(System& system) {
  if (const auto folder = system.environment("CUMULUS_CACHE_DIR")) return *folder;
  // The XDG specification: a relative path is to be ignored.
  if (const auto base = system.environment("XDG_CACHE_HOME"); base && base->starts_with('/')) return *base + "/cumulus";
  if (const auto home = system.environment("HOME"); home && home->starts_with('/')) return *home + "/.cache/cumulus";
  return "";
}

std::int64_t cache_limit(System& system, bool* understood) {
  constexpr std::int64_t kDefault = 256;
  auto text = system.environment("CUMULUS_CACHE_SIZE");
  if (text && text->empty()) text.reset();
  char* end = nullptr;
  const long long mib = text ? std::strtoll(text->c_str(), &end, 10) : kDefault;
  const bool valid = !text || (end != text->c_str() && *end == '\0' && mib >= 0 && mib <= 1 << 20);
  if (understood) *understood = valid;
  return (valid ? mib : kDefault) << 20;
}

std::string nearest_above(const std::string& path) {
  std::string above = path;
  struct stat status;
  do {
    above.erase(above.find_last_not_of('/') + 1);
    const std::size_t slash = above.rfind('/');
    if (slash == std::string::npos) return ".";
    above.erase(std::max<std::size_t>(slash, 1));
  } while (above != "/" && lstat(above.c_str(), &status) != 0);
  return above;
}

std::optional<Cubin> DiskCache::load(std::string_view key) const {
  CacheState state;
  if (folder_.empty() || limit_ == 0) return std::nullopt;
  const File folder = open_folder(folder_, state);
  if (!folder) return std::nullopt;
  const std::string name = file_name(key);
  const File file(openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (!file || fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid()) return std::nullopt;
  std::optional<KeyedCubin> found;
  if (status.st_size <= kMostBytes) {
    std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
    if (read_all(file, bytes)) found = from_bytes(bytes);
  }
  if (!found) unlinkat(folder, name.c_str(), 0);  // damaged: the next store replaces it
  if (!found || found->key != key) return std::nullopt;
  if (std::time(nullptr) - status.st_mtim.tv_sec > kTouchSeconds) futimens(file, nullptr);
  return std::move(found->cubin);
}

CacheState DiskCache::store(std::string_view key, const Cubin& cubin) const {
  if (folder_.empty() || limit_ == 0) return CacheState::off;
  CacheState state;
  make_folders(folder_);
  const File folder = open_folder(folder_, state);
  if (!folder) return state;
  const std::string bytes = to_bytes(key, cubin), name = file_name(key);
  if (static_cast<std::int64_t>(bytes.size()) > std::min(limit_, kMostBytes)) return CacheState::full;

  std::string temporary;
  {
    const File file = make_temporary(folder, name, temporary);
    if (!file) {
      state = errno == ENOSPC || errno == EDQUOT ? CacheState::full : CacheState::read_only;
      evict(folder, limit_);  // what is left behind may be in the way
      return state;
    }
    if (!write_all(file, bytes)) state = CacheState::full;
  }
  if (state == CacheState::usable && renameat(folder, temporary.c_str(), folder, name.c_str()) != 0) state = CacheState::read_only;
  if (state != CacheState::usable) unlinkat(folder, temporary.c_str(), 0);
  evict(folder, limit_);
  return state;
}

CacheState DiskCache::state(std::int64_t* bytes, std::int64_t* entries) const {
  if (bytes) *bytes = 0;
  if (entries) *entries = 0;
  if (folder_.empty() || limit_ == 0) return CacheState::off;
  CacheState state;
  const File folder = open_folder(folder_, state);
  if (!folder) return state == CacheState::absent ? state_of_absent(folder_) : state;
  for (const Entry& entry : entries_of(folder)) {
    if (entry.name.ends_with(kTemporary)) continue;
    if (bytes) *bytes += entry.bytes;
    if (entries) ++*entries;
  }
  if (faccessat(folder, ".", W_OK, AT_EACCESS) != 0) return CacheState::read_only;
  struct statvfs disk;
  return fstatvfs(folder, &disk) == 0 && is_full(disk) ? CacheState::full : CacheState::usable;
}

}  // namespace cumulus::cuda
