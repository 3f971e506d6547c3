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

// Where CUMULUS_NVRTC is set, nothing that is installed elsewhere helps. "" where it is not.
std::string wanted_compiler(System& system) {
  const auto wanted = system.environment("CUMULUS_NVRTC");
  return wanted && !wanted->empty() ? fmt::format("CUMULUS_NVRTC decides alone, and is \"{}\"", *wanted) : "";
}

// What to say of kernels built ahead of time where there is no compiler; nothing to who is building them.
std::string about_packs(System& system, int driver_version) {
  if (driver_version == kAnyDriver) return "";
  const auto wanted = system.environment("CUMULUS_PACK");
  if (!wanted || wanted->empty()) return ", or give kernels built ahead of time (`cumulus pack`, CUMULUS_PACK)";
  for (const std::string& path : find_packs(system))
    if (!list_pack(path).empty()) return fmt::format("; CUMULUS_PACK is \"{}\", which has no usable code of this kernel", *wanted);
  return fmt::format("; CUMULUS_PACK is \"{}\", where no kernels can be read: name a file of `cumulus pack` or its folder", *wanted);
}

std::string no_compiler(System& system, const std::vector<NvrtcFile>& found, int driver_version) {
  const std::string wanted = wanted_compiler(system), packs = about_packs(system, driver_version);
  std::string text = "no NVRTC, the CUDA compiler, to build kernels with: ";
  if (found.empty()) {
    if (!wanted.empty()) return text + wanted + ", where there is none: name libnvrtc.so.N or its folder, or unset it" + packs;
    return text + "install it (pip install nvidia-cuda-nvrtc, or the CUDA toolkit), or name its file in CUMULUS_NVRTC" + packs;
  }
  text += fmt::format("the driver supports CUDA {}.{}, and what was found is newer:", driver_version / 1000, driver_version % 1000 / 10);
  for (const NvrtcFile& file : found) text += fmt::format(" {} ({}),", file.path, file.origin);
  text.pop_back();
  if (!wanted.empty())
    return text + fmt::format("; {}: unset it, name NVRTC {} in it, or update the driver", wanted, driver_version / 1000) + packs;
  return text + fmt::format(": update the driver, or install NVRTC {}", driver_version / 1000) + packs;
}

// Does the driver say that the code is not for it or its GPU, rather than that something else went wrong?
bool refuses_code(CUresult result) {
  return result == CUDA_ERROR_INVALID_IMAGE || result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_PTX ||
         result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
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

// Held while a kernel is looked for, so that other threads wait for it instead of compiling it too.
struct CubinSource::Slot {
  std::mutex mutex;
  std::optional<Cubin> cubin;
  Origin origin = Origin::memory;  // of the cubin, once there is one
  std::string place;               // the same for people
};

struct CubinSource::State {
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

  std::optional<Cubin> from_pack(const std::string& key, std::string& file) {
    const std::lock_guard lock(mutex);
    if (!packed) {
      packed.emplace();
      for (const std::string& path : find_packs(system))
        for (PackedKernel& kernel : list_pack(path)) packed->emplace(kernel.key, std::move(kernel));
    }
    const auto kernel = packed->find(key);
    if (kernel == packed->end()) return std::nullopt;
    file = kernel->second.path;
    return read_packed(kernel->second);
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
    throw Failure{CUMULUS_DEVICE_ERROR, no_compiler(state_->system, *state_->found, state_->driver_version)};
  }
  const SourceFile* main = nullptr;
  for (const SourceFile& file : state_->sources.files)
    if (spec.source == file.name) main = &file;
  if (!main) throw Failure{CUMULUS_INTERNAL, fmt::format("kernel source {} is not embedded in this library", spec.source)};
  std::vector<std::string> options = common_options();
  options.insert(options.end(), spec.options.begin(), spec.options.end());

  // The first compiler that opens, is not too new after all (its name did not tell), knows the architecture, and works.
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
  const std::string wanted = wanted_compiler(state_->system);
  throw Failure{CUMULUS_DEVICE_ERROR,
                fmt::format("no NVRTC that was found can compile for sm_{}{}{}", capability, reasons,
                            wanted.empty() ? ": name one in CUMULUS_NVRTC" : "; " + wanted + ": correct or unset it")};
}

// Fills the slot from the first place after `last` that has the kernel; the compiler, which is the last place, has any.
void CubinSource::find(Slot& slot, const KernelSpec& spec, int capability, Origin last) {
  const auto fill = [&](std::optional<Cubin> cubin, Origin origin, std::string place) {
    if (!cubin) return false;
    slot.cubin = std::move(cubin), slot.origin = origin, slot.place = std::move(place);
    return true;
  };
  if (last < Origin::pack) {
    std::string path;
    std::optional<Cubin> packed = state_->from_pack(kernel_key(spec, capability, sources_hash()), path);
    if (fill(std::move(packed), Origin::pack, "the pack " + path)) return;
  }
  const std::vector<NvrtcFile> usable = state_->compilers();
  const std::string disk_key = usable.empty() ? "" : kernel_key(spec, capability, sources_hash(), usable.front());
  if (last < Origin::disk && !usable.empty() && fill(state_->disk.load(disk_key), Origin::disk, "the disk cache " + state_->disk.folder()))
    return;
  fill(compile(spec, capability), Origin::compiled, "a compilation in this process");
  state_->disk.store(disk_key, *slot.cubin);
}

Cubin CubinSource::get(const KernelSpec& spec, int capability, Origin* origin) {
  const auto slot = state_->slot(kernel_key(spec, capability, sources_hash()));
  const std::lock_guard lock(slot->mutex);
  const bool known = slot->cubin.has_value();
  if (!known) find(*slot, spec, capability, Origin::memory);
  if (origin) *origin = known ? Origin::memory : slot->origin;
  return *slot->cubin;
}

std::optional<Cubin> CubinSource::instead_of(const Cubin& refused, const KernelSpec& spec, int capability) {
  const auto slot = state_->slot(kernel_key(spec, capability, sources_hash()));
  const std::lock_guard lock(slot->mutex);
  if (slot->cubin && *slot->cubin != refused) return slot->cubin;  // another thread was quicker
  if (slot->origin == Origin::compiled) return std::nullopt;
  find(*slot, spec, capability, slot->origin);
  return slot->cubin;
}

std::string CubinSource::place(const KernelSpec& spec, int capability) {
  const auto slot = state_->slot(kernel_key(spec, capability, sources_hash()));
  const std::lock_guard lock(slot->mutex);
  return slot->place;
}

CubinSource& cubins(const Driver& driver) {
  static auto& source = *new CubinSource(real_system(), driver.version);
  return source;
}

// ---- loaded kernels ----

namespace {

// Loads the kernel's machine code. What a pack or the disk cache holds may come from a newer compiler than the driver takes: then from
// the next place, until the driver takes it or has refused what was compiled for it here. `cubin` becomes what was loaded.
CUmodule load_module(const Driver& driver, CubinSource& source, const KernelSpec& spec, int capability, Cubin& cubin) {
  CUmodule module = nullptr;
  std::string tried;
  for (;;) {
    const CUresult result = driver.cuModuleLoadDataEx(&module, cubin.code.data(), 0, nullptr, nullptr);
    if (result == CUDA_SUCCESS) return module;
    tried += (tried.empty() ? "code from " : ", then from ") + source.place(spec, capability);
    std::optional<Cubin> other;
    try {
      if (refuses_code(result)) other = source.instead_of(cubin, spec, capability);
    } catch (const Failure& failure) {
      fail_driver(driver, result, "cuModuleLoadDataEx", fmt::format("{}; it cannot be compiled instead: {}", tried, failure.message));
    }
    if (!other) fail_driver(driver, result, "cuModuleLoadDataEx", tried);
    cubin = *std::move(other);
  }
}

}  // namespace

CUfunction load_kernel(const Driver& driver, CubinSource& source, std::uint64_t context, const KernelSpec& spec, const DeviceInfo& device) {
  using Key = std::pair<std::uint64_t, std::string>;
  static auto& mutex = *new std::mutex;
  static auto& loaded = *new std::map<Key, CUfunction>;
  const Key key{context, kernel_key(spec, device.capability, source.sources_hash())};
  {
    const std::lock_guard lock(mutex);
    if (const auto found = loaded.find(key); found != loaded.end()) return found->second;
  }
  Cubin cubin = source.get(spec, device.capability);
  const RelaxedCapture relaxed(driver);
  const CUmodule module = load_module(driver, source, spec, device.capability, cubin);
  CUfunction function = nullptr;
  int fixed = 0;  // bytes of shared memory that the kernel declares itself
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
