// What the backend asks of the operating system when it looks for libraries and files. Tests put another one in its place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cumulus::cuda {

struct FileInfo {
  std::int64_t size;
  std::int64_t modified;  // nanoseconds since 1970
  bool folder;

  bool operator==(const FileInfo&) const = default;
};

class System {
 public:
  virtual ~System() = default;

  // ---- shared libraries ----
  virtual void* open(const std::string& name, std::string& error) = 0;  // null and `error` on failure
  virtual void* opened(const std::string& name) = 0;                    // only if it is in the process already
  virtual void close(void* library) = 0;
  virtual void* symbol(void* library, const char* name) = 0;  // null if there is none
  virtual std::string path(void* library) = 0;                // the file it came from
  virtual std::vector<std::string> loaded() = 0;              // files of all libraries in the process
  virtual std::string own_path() = 0;                         // the file that this code is in

  // ---- files and the environment ----
  virtual std::optional<std::string> environment(const char* name) = 0;
  virtual std::optional<FileInfo> file(const std::string& path) = 0;     // follows symbolic links
  virtual std::vector<std::string> list(const std::string& folder) = 0;  // names, sorted; empty if it cannot be read
  virtual std::optional<std::string> read(const std::string& path) = 0;  // a small text file
  virtual std::string real_path(const std::string& path) = 0;            // without symbolic links; `path` itself on failure
};

System& real_system();

}  // namespace cumulus::cuda
