#include "cuda/program.h"

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "cuda/kernel_sources.h"
#include "cuda/pack.h"
#include "error.h"

namespace cumulus::cuda {
namespace {

// The order fixes every operation: no contraction, no flushing of subnormals, correctly rounded division and roots.
const std::vector<std::string>& common_options() {
  static const auto& options =
      *new std::vector<std::string>{"--std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true"};
  return options;
}

std::string no_compiler(const std::vector<NvrtcFile>& found, int driver_version) {
  std::string text = "no NVRTC, the CUDA compiler, to build kernels with: ";
  if (found.empty())
    return text +
           "install it (pip install nvidia-cuda-nvrtc, or the CUDA toolkit), or name its file in CUMULUS_NVRTC, or give kernels built "
           "ahead "
           "of time (`cumulus pack`, CUMULUS_PACK)";
  text += fmt::format("the driver supports CUDA {}.{}, and what was found is newer:", driver_version / 1000, driver_version % 1000 / 10);
  for (const NvrtcFile& file : found) text += fmt::format(" {} ({}),", file.path, file.origin);
  text.pop_back();
  return text + fmt::format(": update the driver, or install NVRTC {}", driver_version / 1000);
}

}  // namespace

KernelSources embedded_sources() { return {kernel_sources(), kernel_sources_hash()}; }

std::string kernel_key(const KernelSpec& spec, int capability, const std::string& sources_hash) {
  std::string key = fmt::format("cumulus {}.{}.{}\nsources {}\nsource {}\nkernel {}\narchitecture {}\n", CUMULUS_VERSION_MAJOR,
                                CUMULUS_VERSION_MINOR, CUMULUS_VERSION_PATCH, sources_hash, spec.source, spec.name, capability);
  for (const auto* options : {&common_options(), &spec.options})
    for (const std::string& option : *options) key += fmt::format("option {}\n", option);
  return key;
}

std::string kernel_key(const KernelSpec& spec, int capability, const std::string& sources_hash, const NvrtcFile& compiler) {
  return kernel_key(spec, capability, sources_hash) + fmt::format("nvrtc {}\n", identity(compiler));
}

// ---- machine code ----

struct CubinSource::State {
  // Held while a kernel is looked for, so that other threads wait for it instead of compiling it too.
  struct Slot {
    std::mutex mutex;
    std::optional<Cubin> cubin;
  };

  State(System& s, int version, KernelSources all)
      : system(s), driver_version(version), sources(std::move(all)), disk(cache_folder(s), cache_limit(s)) {}

  System& system;
  const int driver_version;
  const KernelSources sources;
  const DiskCache disk;

  std::mutex mutex;  // guards what follows
  std::map<std::string, std::shared_ptr<Slot>> slots;
  std::optional<std::map<std::string, PackedKernel>> packed;
  std::optional<std::vector<NvrtcFile>> found, usable;
  std::map<std::string, std::shared_ptr<const Nvrtc>> open;

  std::shared_ptr<Slot> slot(const std::string& key) {
    const std::lock_guard lock(mutex);
    auto& slot = slots[key];
    if (!slot) slot = std::make_shared<Slot>();
    return slot;
  }

  std::optional<Cubin> from_pack(const std::string& key) {
    const std::lock_guard lock(mutex);
    if (!packed) {
      packed.emplace();
      for (const std::string& path : find_packs(system))
        for (PackedKernel& kernel : list_pack(path)) packed->emplace(kernel.key, std::move(kernel));
    }
    const auto found = packed->find(key);
    return found == packed->end() ? std::nullopt : read_packed(found->second);
  }

  // Looked for once; a look that found nothing usable is repeated, so that an install helps without a restart.
  std::vector<NvrtcFile> compilers() {
    const std::lock_guard lock(mutex);
    if (!usable || usable->empty()) {
      found = find_nvrtc(system);
      usable = usable_nvrtc(*found, driver_version);
    }
    return *usable;
  }

  std::shared_ptr<const Nvrtc> opened(const NvrtcFile& file) {
    const std::lock_guard lock(mutex);
    auto& nvrtc = open[file.path];
    if (!nvrtc) nvrtc = std::make_shared<const Nvrtc>(system, file);
    return nvrtc;
  }
};

CubinSource::CubinSource(System& system, int driver_version, KernelSources sources)
    : state_(std::make_shared<State>(system, driver_version, std::move(sources))) {}

const std::string& CubinSource::sources_hash() const { return state_->sources.hash; }

Cubin CubinSource::compile(const KernelSpec& spec, int capability) {
  const std::vector<NvrtcFile> usable = state_->compilers();
  if (usable.empty()) {
    const std::lock_guard lock(state_->mutex);
    throw Failure{CUMULUS_DEVICE_ERROR, no_compiler(*state_->found, state_->driver_version)};
  }
  const SourceFile* main = nullptr;
  for (const SourceFile& file : state_->sources.files)
    if (spec.source == file.name) main = &file;
  if (!main) throw Failure{CUMULUS_INTERNAL, fmt::format("kernel source {} is not embedded in this library", spec.source)};
  std::vector<std::string> options = common_options();
  options.insert(options.end(), spec.options.begin(), spec.options.end());

  // The first compiler that opens, is not too new after all (its name did not tell), and knows the architecture.
  std::string reasons;
  for (const NvrtcFile& file : usable) {
    try {
      const auto nvrtc = state_->opened(file);
      if (nvrtc->version() / 1000 > state_->driver_version / 1000) reasons += fmt::format("; {} is newer than the driver", file.path);
      else if (!nvrtc->supports(capability))
        reasons += fmt::format("; {} of CUDA {}.{} does not know sm_{}", file.path, nvrtc->version() / 1000, nvrtc->version() % 1000 / 10,
                               capability);
      else {
        Compiled compiled = nvrtc->compile(*main, state_->sources.files, spec.name, capability, options);
        return {std::move(compiled.lowered_name), std::move(compiled.cubin)};
      }
    } catch (const Failure& failure) {
      if (failure.status == CUMULUS_INTERNAL) throw;  // the kernel does not compile: another compiler is no answer
      reasons += "; " + failure.message;
    }
  }
  throw Failure{CUMULUS_DEVICE_ERROR,
                fmt::format("no NVRTC that was found can compile for sm_{}{}: name one in CUMULUS_NVRTC", capability, reasons)};
}

Cubin CubinSource::get(const KernelSpec& spec, int capability, Origin* origin) {
  const std::string key = kernel_key(spec, capability, sources_hash());
  const auto slot = state_->slot(key);
  const std::lock_guard lock(slot->mutex);
  Origin where = Origin::memory;
  if (!slot->cubin) {
    slot->cubin = state_->from_pack(key);
    where = Origin::pack;
  }
  if (!slot->cubin) {
    const std::vector<NvrtcFile> usable = state_->compilers();
    const std::string disk_key = usable.empty() ? "" : kernel_key(spec, capability, sources_hash(), usable.front());
    if (!usable.empty()) slot->cubin = state_->disk.load(disk_key);
    where = Origin::disk;
    if (!slot->cubin) {
      where = Origin::compiled;
      slot->cubin = compile(spec, capability);
      state_->disk.store(disk_key, *slot->cubin);
    }
  }
  if (origin) *origin = where;
  return *slot->cubin;
}

CubinSource& cubins(const Driver& driver) {
  static auto& source = *new CubinSource(real_system(), driver.version);
  return source;
}

// ---- loaded kernels ----

CUfunction load_kernel(const Driver& driver, CubinSource& source, std::uint64_t context, const KernelSpec& spec, const DeviceInfo& device) {
  using Key = std::pair<std::uint64_t, std::string>;
  static auto& mutex = *new std::mutex;
  static auto& loaded = *new std::map<Key, CUfunction>;
  const Key key{context, kernel_key(spec, device.capability, source.sources_hash())};
  {
    const std::lock_guard lock(mutex);
    if (const auto found = loaded.find(key); found != loaded.end()) return found->second;
  }
  const Cubin cubin = source.get(spec, device.capability);
  const RelaxedCapture relaxed(driver);
  CUmodule module = nullptr;
  CUfunction function = nullptr;
  int fixed = 0;  // bytes of shared memory that the kernel declares itself
  check(driver, driver.cuModuleLoadDataEx(&module, cubin.code.data(), 0, nullptr, nullptr), "cuModuleLoadDataEx");
  try {
    check(driver, driver.cuModuleGetFunction(&function, module, cubin.lowered_name.c_str()), "cuModuleGetFunction");
    check(driver, driver.cuFuncGetAttribute(&fixed, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function), "cuFuncGetAttribute");
    check(driver, driver.cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, device.shared_per_block - fixed),
          "cuFuncSetAttribute");
  } catch (...) {
    driver.cuModuleUnload(module);
    throw;
  }
  const std::lock_guard lock(mutex);
  const auto [entry, inserted] = loaded.emplace(key, function);
  if (!inserted) driver.cuModuleUnload(module);  // another thread was quicker
  return entry->second;
}

}  // namespace cumulus::cuda
