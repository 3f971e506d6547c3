// Compiled kernels on disk, for every process of one user. Losing an entry is never an error: it is compiled again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "cuda/system.h"

namespace cumulus::cuda {

// A compiled kernel as it is stored.
struct Cubin {
  std::string lowered_name;  // of the kernel, mangled
  std::string code;

  bool operator==(const Cubin&) const = default;
};

// A Cubin with its key as one block of bytes with a checksum, and back; nullopt for anything damaged.
struct KeyedCubin {
  std::string key;
  Cubin cubin;
};
std::string to_bytes(std::string_view key, const Cubin& cubin);
std::optional<KeyedCubin> from_bytes(std::string_view bytes);

// The key alone, from the beginning of the bytes; not checked against damage.
std::optional<std::string> key_of(std::string_view bytes);

// 64 bits that stand for a text: file names and checksums, not secrets.
std::uint64_t hash(std::string_view bytes, std::uint64_t seed = 0);

// CUMULUS_CACHE_DIR (empty: no cache), else $XDG_CACHE_HOME/cumulus, else $HOME/.cache/cumulus; "" for none.
std::string cache_folder(System& system);

// CUMULUS_CACHE_SIZE in MiB (0: no cache), else 256 MiB. `understood` (may be null) receives whether a variable that is set says so.
std::int64_t cache_limit(System& system, bool* understood = nullptr);

// The nearest place above `path` that exists: where making the folder would begin. It may be no folder.
std::string nearest_above(const std::string& path);

// absent: not there, but can be made; cannot_be_made: nor can it be made where nearest_above() is.
enum class CacheState { usable, absent, cannot_be_made, off, foreign, open_to_others, not_a_folder, unreachable, read_only, full };

// A folder of entries, one file each. A key is any text that says all that the code depends on; it is stored and compared in full.
// Entries appear whole, by renaming, and are used only if folder and file belong to this user and nobody else may enter the folder.
// Safe for any number of processes and threads at once.
class DiskCache {
 public:
  DiskCache(std::string folder, std::int64_t limit) : folder_(std::move(folder)), limit_(limit) {}

  std::optional<Cubin> load(std::string_view key) const;

  // Stores an entry, making the folder if need be, and drops the least recently used ones beyond the limit. Returns how it went.
  CacheState store(std::string_view key, const Cubin& cubin) const;

  // Looks without changing anything. `bytes` and `entries` (may be null) receive what is stored.
  CacheState state(std::int64_t* bytes = nullptr, std::int64_t* entries = nullptr) const;

  const std::string& folder() const { return folder_; }
  std::int64_t limit() const { return limit_; }

 private:
  std::string folder_;
  std::int64_t limit_;
};

}  // namespace cumulus::cuda
