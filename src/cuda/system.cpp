#include "cuda/system.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace cumulus::cuda {
namespace {

class RealSystem final : public System {
 public:
  void* open(const std::string& name, std::string& error) override {
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      const char* reason = dlerror();
      error = reason ? reason : "unknown error";
    }
    return library;
  }

  void* opened(const std::string& name) override { return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD); }

  void close(void* library) override { dlclose(library); }

  void* symbol(void* library, const char* name) override { return dlsym(library, name); }

  std::string path(void* library) override {
    link_map* map = nullptr;
    return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map->l_name ? map->l_name : "";
  }

  std::vector<std::string> loaded() override {
    std::vector<std::string> names;
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* data) {
          if (info->dlpi_name && info->dlpi_name[0] == '/') static_cast<std::vector<std::string>*>(data)->push_back(info->dlpi_name);
          return 0;
        },
        &names);
    return names;
  }

  std::string own_path() override {
    static const char here = 0;
    Dl_info info;
    return dladdr(&here, &info) != 0 && info.dli_fname ? real_path(info.dli_fname) : "";
  }

  std::optional<std::string> environment(const char* name) override {
    const char* value = std::getenv(name);
    return value ? std::optional<std::string>(value) : std::nullopt;
  }

  std::optional<FileInfo> file(const std::string& path) override {
    struct stat status;
    if (stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileInfo{status.st_size, std::int64_t{status.st_mtim.tv_sec} * 1000000000 + status.st_mtim.tv_nsec, S_ISDIR(status.st_mode)};
  }

  std::vector<std::string> list(const std::string& folder) override {
    std::vector<std::string> names;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
      names.push_back(entry->path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::optional<std::string> read(const std::string& path) override {
    // In pieces, as files of /proc tell no size. read() says by a state what an iterator of the stream throws: a folder opens like a file.
    std::ifstream file(path, std::ios::binary);
    std::string text;
    for (char piece[4096]; file.read(piece, sizeof piece), file.gcount() > 0;) text.append(piece, static_cast<std::size_t>(file.gcount()));
    if (!file.eof()) return std::nullopt;
    return text;
  }

  std::string real_path(const std::string& path) override {
    std::error_code error;
    const auto canonical = std::filesystem::canonical(path, error);
    return error ? path : canonical.string();
  }
};

}  // namespace

// Never destroyed: a scan may run while the process exits.
System& real_system() {
  static auto& real = *new RealSystem;
  return real;
}

}  // namespace cumulus::cuda
