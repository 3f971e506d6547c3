// A machine that exists on paper only: files, environment and libraries for the code that looks for them.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "cuda/nvrtc.h"
#include "cuda/system.h"

namespace support {

// Functions that a library offers.
using FakeLibrary = std::map<std::string, void*>;

class FakeSystem : public cumulus::cuda::System {
 public:
  struct Entry {
    std::string text;
    std::int64_t size = 0, modified = 1;
    std::string link;  // for symbolic links: the file it leads to
  };

  std::map<std::string, Entry> files;
  std::map<std::string, std::string> variables;
  std::map<std::string, FakeLibrary*> libraries;  // by the name or path that opens it
  std::map<FakeLibrary*, std::string> paths;      // where a library says it came from
  std::set<std::string> already_loaded;           // of `libraries`
  std::vector<std::string> loaded_files;
  std::string own = "/opt/cumulus/lib/libcumulus.so.0";
  std::vector<std::string> opens;  // what was opened, in order
  int lists = 0;                   // how many folders were listed

  void add(const std::string& path, const std::string& text = "x", std::int64_t modified = 1) {
    files[path] = {text, static_cast<std::int64_t>(text.size()), modified, ""};
  }
  void add_link(const std::string& path, const std::string& to) { files[path] = {"", 0, 1, to}; }
  void add_library(const std::string& name, FakeLibrary& library, const std::string& path = "") {
    libraries[name] = &library;
    paths[&library] = path.empty() ? name : path;
  }

  void* open(const std::string& name, std::string& error) override {
    opens.push_back(name);
    const auto found = libraries.find(name);
    if (found != libraries.end()) return found->second;
    error = name + ": cannot open shared object file: No such file or directory";
    return nullptr;
  }
  void* opened(const std::string& name) override { return already_loaded.contains(name) ? libraries.at(name) : nullptr; }
  void close(void*) override {}
  void* symbol(void* library, const char* name) override {
    const auto& functions = *static_cast<FakeLibrary*>(library);
    const auto found = functions.find(name);
    return found == functions.end() ? nullptr : found->second;
  }
  std::string path(void* library) override { return paths[static_cast<FakeLibrary*>(library)]; }
  std::vector<std::string> loaded() override { return loaded_files; }
  std::string own_path() override { return own; }

  std::optional<std::string> environment(const char* name) override {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  }
  std::optional<cumulus::cuda::FileInfo> file(const std::string& path) override {
    const std::string real = real_path(path);
    if (const auto found = files.find(real); found != files.end())
      return cumulus::cuda::FileInfo{found->second.size, found->second.modified, false};
    if (!names_in(real).empty()) return cumulus::cuda::FileInfo{0, 1, true};
    return std::nullopt;
  }
  std::vector<std::string> list(const std::string& folder) override { return ++lists, names_in(folder); }
  std::vector<std::string> names_in(const std::string& folder) const {
    const std::string start = folder.ends_with('/') ? folder : folder + "/";
    std::set<std::string> names;
    for (const auto& [path, entry] : files)
      if (path.starts_with(start)) names.insert(path.substr(start.size(), path.find('/', start.size()) - start.size()));
    return {names.begin(), names.end()};
  }
  std::optional<std::string> read(const std::string& path) override {
    const auto found = files.find(real_path(path));
    return found == files.end() ? std::nullopt : std::optional(found->second.text);
  }
  std::string real_path(const std::string& path) override {
    const auto found = files.find(path);
    return found != files.end() && !found->second.link.empty() ? found->second.link : path;
  }
};

// Where libraries were found.
using Paths = std::vector<std::string>;
inline Paths paths(const std::vector<cumulus::cuda::LibraryFile>& files) {
  Paths list;
  for (const cumulus::cuda::LibraryFile& file : files) list.push_back(file.path);
  return list;
}

}  // namespace support
