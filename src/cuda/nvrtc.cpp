#include "cuda/nvrtc.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "error.h"

namespace cumulus::cuda {
namespace {

constexpr LibraryName kNvrtc{"libnvrtc.so", "CUMULUS_NVRTC", "cuda_nvrtc", nullptr};
// Major releases of CUDA, 12 being the least that the driver has, and minor ones of Python, to ask for by name: folders of libraries are
// large, and listing them takes milliseconds.
constexpr int kLeastMajor = 12, kMostMajor = 19;
constexpr int kLeastPython = 8, kMostPython = 19;

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

// "libnvrtc.so.13.0.88" -> 13; 0 where the name has no number, or another than CUDA's ("libcupti.so.2025.1.1").
int major_of(std::string_view path, std::string_view name) {
  const std::size_t at = path.rfind(name);
  if (at == std::string_view::npos || path.size() <= at + name.size() + 1) return 0;
  const int major = std::atoi(std::string(path.substr(at + name.size() + 1)).c_str());
  return major <= kMostMajor ? major : 0;
}

class Finder {
 public:
  Finder(System& system, const LibraryName& name) : system_(system), name_(name) {}

  std::vector<LibraryFile> find() {
    if (const auto wanted = system_.environment(name_.variable); wanted && !wanted->empty()) {
      const auto info = system_.file(*wanted);
      if (info && info->folder) add_folder(*wanted, name_.variable);
      else add(*wanted, name_.variable);
      return std::move(found_);
    }
    add_loaded();
    add_python();
    for (const char* variable : {"CUDA_PATH", "CUDA_HOME"})
      if (const auto root = system_.environment(variable); root && !root->empty()) add_toolkit(*root, variable);
    add_loader_path();
    add_toolkit("/usr/local/cuda", "/usr/local/cuda");
    return std::move(found_);
  }

 private:
  void add(const std::string& path, const char* origin) {
    const auto info = system_.file(path);
    if (!info || info->folder || info->size == 0) return;
    const std::string real = system_.real_path(path);
    if (std::any_of(found_.begin(), found_.end(), [&](const LibraryFile& known) { return known.path == real; })) return;
    const int major = major_of(real, name_.file);
    found_.push_back({real, origin, major ? major : major_of(path, name_.file), info->size, info->modified});
  }

  // Every lib*.so.N of a folder, the newest first.
  void add_folder(const std::string& folder, const char* origin) {
    for (int major = kMostMajor; major >= kLeastMajor; --major) add(fmt::format("{}/{}.{}", folder, name_.file, major), origin);
    add(fmt::format("{}/{}", folder, name_.file), origin);
  }

  void add_toolkit(const std::string& root, const char* origin) {
    if (name_.extras) add_folder(fmt::format("{}/{}", root, name_.extras), origin);
    add_folder(root + "/lib64", origin);
    add_folder(root + "/lib", origin);
  }

  void add_loaded() {
    for (int major = kMostMajor; major >= kLeastMajor; --major)
      if (void* library = system_.opened(fmt::format("{}.{}", name_.file, major))) {
        add(system_.path(library), "already loaded");
        system_.close(library);
      }
  }

  // ---- Python: wheels put libraries in <packages>/nvidia/cuda_nvrtc/lib (CUDA 12; cuda_cupti) and <packages>/nvidia/cu13/lib ----

  void add_packages(const std::string& packages) {
    const std::string nvidia = packages + "/nvidia";
    if (!system_.file(nvidia)) return;
    for (int major = kMostMajor; major > kLeastMajor; --major) add_folder(fmt::format("{}/cu{}/lib", nvidia, major), "a Python package");
    add_folder(fmt::format("{}/{}/lib", nvidia, name_.package), "a Python package");
  }

  void add_prefix(const std::string& prefix) {
    for (int minor = kMostPython; minor >= kLeastPython; --minor)
      for (const char* packages : {"site-packages", "dist-packages"})
        add_packages(fmt::format("{}/lib/python3.{}/{}", prefix, minor, packages));
    add_packages(prefix + "/lib/python3/dist-packages");  // Debian's
  }

  void add_python() {
    // Where this library, or any loaded one, lies inside a folder of packages.
    std::vector<std::string> libraries = system_.loaded();
    libraries.insert(libraries.begin(), system_.own_path());
    std::vector<std::string> seen;
    for (const std::string& path : libraries)
      for (const char* name : {"/site-packages/", "/dist-packages/"})
        if (const std::size_t at = path.find(name); at != std::string::npos) {
          std::string packages = path.substr(0, at + std::string_view(name).size() - 1);
          if (std::find(seen.begin(), seen.end(), packages) == seen.end()) add_packages(seen.emplace_back(std::move(packages)));
        }
    if (const auto paths = system_.environment("PYTHONPATH"))
      for (const std::string& path : split(*paths, ':')) add_packages(path);
    for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
      if (const auto prefix = system_.environment(variable); prefix && !prefix->empty()) add_prefix(*prefix);
    // The interpreter's own prefix, when the process is one.
    const std::string program = system_.real_path("/proc/self/exe");
    if (const std::size_t at = program.rfind("/bin/python"); at != std::string::npos) {
      add_prefix(program.substr(0, at));
      if (const auto home = system_.environment("HOME")) add_prefix(*home + "/.local");
    }
  }

  // ---- the loader: LD_LIBRARY_PATH, the configured folders, the default ones ----

  void add_configured(const std::string& file, int depth) {
    const auto text = system_.read(file);
    if (!text || depth > 3) return;
    for (std::string line : split(*text, '\n')) {
      line.erase(std::min(line.find('#'), line.size()));
      line.erase(line.find_last_not_of(" \t\r") + 1);
      line.erase(0, line.find_first_not_of(" \t"));
      if (line.starts_with('/')) add_folder(line, "the loader's path");
      if (!line.starts_with("include ")) continue;
      // include /etc/ld.so.conf.d/*.conf: the only form that distributions write.
      const std::string pattern = line.substr(line.find_first_not_of(" \t", 8));
      const std::size_t slash = pattern.rfind('/'), star = pattern.find('*');
      if (star == std::string::npos) add_configured(pattern, depth + 1);
      else if (slash != std::string::npos && star == slash + 1)
        for (const std::string& name : system_.list(pattern.substr(0, slash)))
          if (name.ends_with(pattern.substr(star + 1))) add_configured(pattern.substr(0, slash + 1) + name, depth + 1);
    }
  }

  void add_loader_path() {
    if (const auto paths = system_.environment("LD_LIBRARY_PATH"))
      for (const std::string& path : split(*paths, ':')) add_folder(path, "LD_LIBRARY_PATH");
    add_configured("/etc/ld.so.conf", 0);
    for (const char* folder : {"/lib64", "/usr/lib64", "/lib", "/usr/lib"}) add_folder(folder, "the loader's path");
  }

  System& system_;
  const LibraryName& name_;
  std::vector<LibraryFile> found_;
};

}  // namespace

std::vector<LibraryFile> find_library(System& system, const LibraryName& name) { return Finder(system, name).find(); }

std::vector<NvrtcFile> find_nvrtc(System& system) { return find_library(system, kNvrtc); }

std::vector<NvrtcFile> usable_nvrtc(std::vector<NvrtcFile> found, int driver_version) {
  std::erase_if(found, [&](const NvrtcFile& file) { return file.major > driver_version / 1000; });
  return found;
}

std::string identity(const NvrtcFile& file) { return fmt::format("{} {} {}", file.path, file.size, file.modified); }

// ---- the library ----

namespace {
using Program = struct _nvrtcProgram*;
}

struct Nvrtc::Functions {
  int (*nvrtcVersion)(int* major, int* minor);
  int (*nvrtcGetNumSupportedArchs)(int* count);
  int (*nvrtcGetSupportedArchs)(int* architectures);
  const char* (*nvrtcGetErrorString)(int result);
  int (*nvrtcCreateProgram)(Program* program, const char* text, const char* name, int count, const char* const* texts,
                            const char* const* names);
  int (*nvrtcDestroyProgram)(Program* program);
  int (*nvrtcAddNameExpression)(Program program, const char* name);
  int (*nvrtcCompileProgram)(Program program, int count, const char* const* options);
  int (*nvrtcGetProgramLogSize)(Program program, std::size_t* size);
  int (*nvrtcGetProgramLog)(Program program, char* log);
  int (*nvrtcGetCUBINSize)(Program program, std::size_t* size);
  int (*nvrtcGetCUBIN)(Program program, char* cubin);
  int (*nvrtcGetLoweredName)(Program program, const char* name, const char** lowered);
};

Nvrtc::Nvrtc(System& system, const NvrtcFile& file) : path_(file.path) {
  std::string error;
  void* library = system.open(file.path, error);
  if (!library) throw Failure{CUMULUS_DEVICE_ERROR, fmt::format("NVRTC {} ({}) does not open: {}", file.path, file.origin, error)};
  const auto functions = std::make_shared<Functions>();
#define CUMULUS_NVRTC_FUNCTION(name)                                                            \
  functions->name = reinterpret_cast<decltype(functions->name)>(system.symbol(library, #name)); \
  if (!functions->name)                                                                         \
    throw Failure{CUMULUS_DEVICE_ERROR, fmt::format("{} has no {}: it is no NVRTC of CUDA 12 or later", file.path, #name)};
  CUMULUS_NVRTC_FUNCTION(nvrtcVersion)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetNumSupportedArchs)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetSupportedArchs)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetErrorString)
  CUMULUS_NVRTC_FUNCTION(nvrtcCreateProgram)
  CUMULUS_NVRTC_FUNCTION(nvrtcDestroyProgram)
  CUMULUS_NVRTC_FUNCTION(nvrtcAddNameExpression)
  CUMULUS_NVRTC_FUNCTION(nvrtcCompileProgram)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetProgramLogSize)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetProgramLog)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetCUBINSize)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetCUBIN)
  CUMULUS_NVRTC_FUNCTION(nvrtcGetLoweredName)
#undef CUMULUS_NVRTC_FUNCTION
  functions_ = functions;
  int major = 0, minor = 0, count = 0;
  functions->nvrtcVersion(&major, &minor);
  version_ = 1000 * major + 10 * minor;
  functions->nvrtcGetNumSupportedArchs(&count);
  architectures_.resize(static_cast<std::size_t>(std::max(count, 0)));
  functions->nvrtcGetSupportedArchs(architectures_.data());
}

bool Nvrtc::supports(int capability) const {
  return std::find(architectures_.begin(), architectures_.end(), capability) != architectures_.end();
}

Compiled Nvrtc::compile(const SourceFile& main, std::span<const SourceFile> headers, const std::string& kernel, int capability,
                        std::span<const std::string> options) const {
  const Functions& f = *functions_;
  std::vector<const char*> texts, names, arguments;
  for (const SourceFile& header : headers) texts.push_back(header.text), names.push_back(header.name);
  const std::string architecture = fmt::format("--gpu-architecture=sm_{}", capability);
  arguments.push_back(architecture.c_str());
  // Without textures and launches from the device: 10 to 15 ms less of any kernel's 100 and more.
  if (version_ >= 12040) arguments.push_back("--minimal");
  for (const std::string& option : options) arguments.push_back(option.c_str());

  struct Owner {
    const Functions& f;
    Program program = nullptr;
    ~Owner() {
      if (program) f.nvrtcDestroyProgram(&program);
    }
  } owner{f};
  Compiled compiled;
  const auto step = [&](int result, const char* call) {
    if (result == 0) return;
    // Of the kernel's own errors (6) another compiler is no cure; of the rest it may be: a library of the wrong version beside it, or none.
    throw Failure{
        result == 1   ? CUMULUS_OUT_OF_MEMORY
        : result == 6 ? CUMULUS_INTERNAL
                      : CUMULUS_DEVICE_ERROR,
        fmt::format("{} of {} for sm_{} failed with {} ({}; NVRTC {}.{}, {}): give another compiler with CUMULUS_NVRTC, or report it{}{}",
                    call, kernel, capability, f.nvrtcGetErrorString(result), result, version_ / 1000, version_ % 1000 / 10, path_,
                    compiled.log.empty() ? "" : "; its log: ", compiled.log)};
  };
  const auto count = [](const auto& list) { return static_cast<int>(list.size()); };
  step(f.nvrtcCreateProgram(&owner.program, main.text, main.name, count(texts), texts.data(), names.data()), "nvrtcCreateProgram");
  step(f.nvrtcAddNameExpression(owner.program, kernel.c_str()), "nvrtcAddNameExpression");
  const int result = f.nvrtcCompileProgram(owner.program, count(arguments), arguments.data());
  std::size_t size = 0;
  if (f.nvrtcGetProgramLogSize(owner.program, &size) == 0 && size > 1) {
    compiled.log.resize(size);
    f.nvrtcGetProgramLog(owner.program, compiled.log.data());
    compiled.log.resize(size - 1);  // the terminator
  }
  step(result, "nvrtcCompileProgram");
  const char* lowered = nullptr;
  step(f.nvrtcGetLoweredName(owner.program, kernel.c_str(), &lowered), "nvrtcGetLoweredName");
  compiled.lowered_name = lowered;
  step(f.nvrtcGetCUBINSize(owner.program, &size), "nvrtcGetCUBINSize");
  compiled.cubin.resize(size);
  step(f.nvrtcGetCUBIN(owner.program, compiled.cubin.data()), "nvrtcGetCUBIN");
  return compiled;
}

}  // namespace cumulus::cuda
