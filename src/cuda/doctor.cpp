#include "cuda/doctor.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "cuda/cache.h"
#include "cuda/driver.h"
#include "cuda/nvrtc.h"
#include "cuda/pack.h"
#include "cuda/program.h"
#include "error.h"

namespace cumulus::cuda {
namespace {

std::string release(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }
std::string first_line(System& system, const char* path) {
  const std::string text = system.read(path).value_or("");
  return text.substr(0, text.find('\n'));
}

bool in_container(System& system) {
  return system.file("/.dockerenv") || system.file("/run/.containerenv") || system.environment("KUBERNETES_SERVICE_HOST") ||
         system.environment("container");
}

// A display or compute controller of NVIDIA's on the PCI bus.
bool has_gpu(System& system) {
  const std::string bus = "/sys/bus/pci/devices/";
  for (const std::string& name : system.list(bus))
    if (first_line(system, (bus + name + "/vendor").c_str()) == "0x10de" &&
        first_line(system, (bus + name + "/class").c_str()).starts_with("0x03"))
      return true;
  return false;
}

Finding no_driver(System& system, const OpenedDriver& opened) {
  const std::string module = first_line(system, "/proc/driver/nvidia/version");
  if (!module.empty())
    return {Finding::fail, "CUDA driver",
            fmt::format("the kernel module is loaded ({}) but libcuda.so.1 is not found: {}", module,
                        in_container(system) ? "start the container with GPU access (docker run --gpus all, with nvidia-container-toolkit)"
                                             : "install the driver's libraries (libcuda1 on Debian), of the same version")};
  if (in_container(system))
    return {
        Finding::note, "CUDA driver",
        "none: this container has no GPU access: start it with docker run --gpus all (needs nvidia-container-toolkit); scans run on the "
        "CPU"};
  if (system.file("/dev/dxg"))
    return {Finding::note, "CUDA driver",
            "none in this WSL: install NVIDIA's driver on Windows, none in Linux; it appears in /usr/lib/wsl/lib; scans run on the CPU"};
  if (has_gpu(system)) return {Finding::fail, "CUDA driver", "an NVIDIA GPU is on the bus but no driver is installed: " + opened.message};
  return {Finding::note, "CUDA driver", "none, and no NVIDIA GPU on the bus: scans run on the CPU"};
}

// What the library and the module say of their releases, for a mismatch.
std::string releases(System& system, const OpenedDriver& opened) {
  const std::string module = first_line(system, "/proc/driver/nvidia/version");
  return module.empty() ? "" : fmt::format(" (library {}; module {})", opened.driver.path, module);
}

Finding driver_finding(System& system, const OpenedDriver& opened) {
  switch (opened.problem) {
    case DriverProblem::none: {
      std::string detail = fmt::format("{}, CUDA {}, {} device{}", opened.driver.path, release(opened.driver.version),
                                       opened.driver.devices, opened.driver.devices == 1 ? "" : "s");
      if (opened.driver.wsl) detail += ", WSL";
      if (const auto visible = system.environment("CUDA_VISIBLE_DEVICES"))
        detail += fmt::format("; CUDA_VISIBLE_DEVICES={} may hide others", *visible);
      return {Finding::ok, "CUDA driver", detail};
    }
    case DriverProblem::no_library:
      return no_driver(system, opened);
    case DriverProblem::no_device: {
      // Hidden on purpose is no fault.
      const bool hidden = hidden_on_purpose(system, opened.driver);
      std::string detail = opened.message;
      if (!hidden && system.file("/proc/driver/nvidia/capabilities/mig/config"))
        detail += "; if the GPU is split (MIG), an instance must exist and be given to this process: nvidia-smi -L";
      return {hidden ? Finding::note : Finding::fail, "CUDA driver", detail};
    }
    case DriverProblem::stub:
    case DriverProblem::too_old:
    case DriverProblem::init_failed:
      break;
  }
  return {Finding::fail, "CUDA driver", opened.message + releases(system, opened)};
}

Finding device_finding(const Driver& driver, int ordinal) {
  const std::string what = fmt::format("CUDA device {}", ordinal);
  try {
    const DeviceInfo info = query_device(driver, ordinal);
    std::string detail =
        fmt::format("{}, compute capability {}.{}, {} SMs, {:.1f} GiB, {:.0f} GB/s", info.name, info.capability / 10, info.capability % 10,
                    info.sms, static_cast<double>(info.memory) / (1 << 30), static_cast<double>(info.bandwidth) / 1e9);
    if (info.capability < kLeastCapability)
      return {Finding::fail, what, detail + ": too old, compute capability 8.0 (Ampere) or later is needed: scan on the CPU"};
    CUdevice device = 0;
    int mode = 0;
    if (driver.cuDeviceGet(&device, ordinal) == CUDA_SUCCESS) driver.cuDeviceGetAttribute(&mode, CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, device);
    if (mode == 2) return {Finding::fail, what, detail + ": its compute mode prohibits use: as root, nvidia-smi -c DEFAULT"};
    if (mode == 3) detail += "; exclusive: one process at a time may use it";
    if (info.name.find(" MIG ") != std::string::npos) detail += "; a part of a GPU (MIG), with that part's bandwidth";
    return {Finding::ok, what, detail};
  } catch (const Failure& failure) {
    return {Finding::fail, what, failure.message};
  }
}

// The architectures of the devices that kernels can be made for, each once.
std::vector<int> capabilities_of(const OpenedDriver& opened) {
  std::vector<int> all;
  if (opened.problem != DriverProblem::none) return all;
  for (int k = 0; k < opened.driver.devices; ++k) {
    try {
      const int capability = query_device(opened.driver, k).capability;
      if (capability >= kLeastCapability && std::find(all.begin(), all.end(), capability) == all.end()) all.push_back(capability);
    } catch (const Failure&) {  // the device's own finding says it
    }
  }
  return all;
}

std::string text_of(const std::vector<int>& capabilities) {
  std::string text;
  for (const int capability : capabilities) text += fmt::format("{}sm_{}", text.empty() ? "" : ", ", capability);
  return text;
}

// ---- kernels built ahead of time ----

struct Packs {
  std::vector<std::string> paths, unusable;  // all; those in which no kernel was found
  std::size_t kernels = 0;                   // whosever they are
  std::map<int, std::size_t> own;            // of this version and its sources, by architecture
  std::vector<int> uncovered;                // architectures of devices here that have none

  bool serve() const { return !own.empty() && uncovered.empty(); }  // so that a compiler can be done without
};

// The architecture of a kernel that this library may ask for: of its own version and sources. Keys are those of kernel_key().
std::optional<int> own_capability(const std::string& key) {
  static const std::string own = [] {
    const std::string any = kernel_key({}, 0, embedded_sources().hash);
    return any.substr(0, any.find("\nsource ") + 1);
  }();
  constexpr std::string_view kArchitecture = "\narchitecture ";
  const std::size_t at = key.find(kArchitecture);
  int capability = 0;
  if (!key.starts_with(own) || at == std::string::npos) return std::nullopt;
  std::from_chars(key.data() + at + kArchitecture.size(), key.data() + key.size(), capability);
  return capability;
}

Packs look_into_packs(System& system, const std::vector<int>& capabilities) {
  Packs packs{find_packs(system), {}, 0, {}, {}};
  for (const std::string& path : packs.paths) {
    const std::vector<PackedKernel> kernels = list_pack(path);
    if (kernels.empty()) packs.unusable.push_back(path);
    packs.kernels += kernels.size();
    for (const PackedKernel& kernel : kernels)
      if (const auto capability = own_capability(kernel.key)) ++packs.own[*capability];
  }
  std::copy_if(capabilities.begin(), capabilities.end(), std::back_inserter(packs.uncovered),
               [&](int capability) { return !packs.own.contains(capability); });
  return packs;
}

// Nothing to say where there are none and none are asked for.
std::optional<Finding> pack_finding(System& system, const Packs& packs, const std::vector<int>& capabilities, Finding::State bad) {
  const char* what = "kernel packs";
  const auto wanted = system.environment("CUMULUS_PACK");
  if (packs.paths.empty()) {
    if (!wanted || wanted->empty()) return std::nullopt;
    const bool there = system.file(*wanted).has_value();
    return Finding{bad, what,
                   fmt::format("CUMULUS_PACK is \"{}\", {}: name a file that `cumulus pack` wrote, or a folder of them, or unset it",
                               *wanted, there ? "a folder without any *.pack" : "where there is none")};
  }
  std::string detail = fmt::format("{} kernels built ahead of time in {}{}", packs.kernels, packs.paths.front(),
                                   packs.paths.size() > 1 ? fmt::format(" and {} more", packs.paths.size() - 1) : "");
  if (wanted) detail += " (CUMULUS_PACK)";
  for (const std::string& path : packs.unusable)
    detail += fmt::format("; {} cannot be read or is no pack: write it anew with `cumulus pack`", path);
  if (packs.kernels == 0) return Finding{bad, what, detail};

  std::vector<int> built;
  std::size_t usable = 0;
  for (const auto& [capability, count] : packs.own)
    if (capabilities.empty() || std::find(capabilities.begin(), capabilities.end(), capability) != capabilities.end())
      built.push_back(capability), usable += count;
  if (usable == 0)
    return Finding{bad, what,
                   fmt::format("{}; none for this version{}: write them anew with this version's `cumulus pack`{}", detail,
                               capabilities.empty() ? "" : fmt::format(" or these GPUs ({})", text_of(capabilities)),
                               wanted ? ", or unset CUMULUS_PACK" : "")};
  detail += fmt::format("; {} for this version and {}", usable, text_of(built));
  if (!packs.uncovered.empty()) detail += fmt::format("; none for {}", text_of(packs.uncovered));
  return Finding{packs.uncovered.empty() && packs.unusable.empty() ? Finding::ok : Finding::note, what, detail};
}

// ---- the compiler ----

std::string text_of(const NvrtcFile& file) { return fmt::format("{} ({})", file.path, file.origin); }

// Compiles the least that there is for each of the architectures; throws Failure. A compiler may open and yet lack its second library.
void try_compiler(const Nvrtc& nvrtc, const std::vector<int>& capabilities) {
  for (const int capability : capabilities) nvrtc.compile({"doctor.cu", "__global__ void nothing() {}\n"}, {}, "nothing", capability, {});
}

// A compiler's log has lines of its own; a finding is one.
std::string one_line(std::string text) {
  text.erase(text.find_last_not_of(" \n") + 1);
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// One compiler, tried for the devices here, or for any architecture if there is none.
Finding trial_of(System& system, const NvrtcFile& file, const std::vector<int>& capabilities, Finding::State bad) {
  std::string what = text_of(file);
  bool opens = false;
  try {
    const Nvrtc nvrtc(system, file);
    opens = true;
    what += fmt::format(", CUDA {}", release(nvrtc.version()));
    std::vector<int> known, unknown;
    for (const int capability : capabilities) (nvrtc.supports(capability) ? known : unknown).push_back(capability);
    if (capabilities.empty() && !nvrtc.architectures().empty()) known.push_back(nvrtc.architectures().back());
    try_compiler(nvrtc, known);
    if (unknown.empty()) return {Finding::ok, "NVRTC", what};
    return {bad, "NVRTC", fmt::format("{}; it does not know {}: install a newer one", what, text_of(unknown))};
  } catch (const Failure& failure) {
    if (!opens) return {bad, "NVRTC", one_line(failure.message)};
    return {
        bad, "NVRTC",
        fmt::format("{} opens but cannot compile; libnvrtc-builtins of the same release must be beside it or in the loader's path: install "
                    "it anew; {}",
                    what, one_line(failure.message))};
  }
}

// `bad`: what it is worth that there is none. Without a device any NVRTC will do, as for `cumulus pack`.
Finding compiler_finding(System& system, const OpenedDriver& opened, const std::vector<int>& capabilities, Finding::State bad) {
  const bool driver = opened.problem == DriverProblem::none;
  const std::string unneeded = driver ? "" : "; without a driver only `cumulus pack` needs it";
  const std::vector<NvrtcFile> found = find_nvrtc(system);
  if (found.empty()) {
    const auto wanted = system.environment("CUMULUS_NVRTC");
    return {bad, "NVRTC",
            (wanted && !wanted->empty()
                 ? fmt::format("CUMULUS_NVRTC is \"{}\", where there is none: name libnvrtc.so.N or its folder, or unset it", *wanted)
                 : "not found: pip install nvidia-cuda-nvrtc, or install the CUDA toolkit, or name the file in CUMULUS_NVRTC") +
                unneeded};
  }
  const std::vector<NvrtcFile> usable = usable_nvrtc(found, driver ? opened.driver.version : kAnyDriver);
  std::string passed_over;
  for (const NvrtcFile& file : found)
    if (std::find(usable.begin(), usable.end(), file) == usable.end())
      passed_over += fmt::format("; passed over, newer than the driver's CUDA {}: {}", release(opened.driver.version), text_of(file));
  if (usable.empty())
    return {bad, "NVRTC",
            fmt::format("none for this driver{}: update the driver, or install NVRTC {}", passed_over, opened.driver.version / 1000)};
  // As a scan does: the first that works.
  std::optional<Finding> first;
  for (const NvrtcFile& file : usable) {
    Finding finding = trial_of(system, file, capabilities, bad);
    if (finding.state == Finding::ok) {
      finding.detail += passed_over + (first ? "; passed over: " + first->detail : "");
      return finding;
    }
    if (!first) first = std::move(finding);
  }
  first->detail += passed_over + unneeded;
  return *first;
}

// ---- the disk cache ----

Finding cache_state_finding(const DiskCache& cache) {
  std::int64_t bytes = 0, entries = 0;
  const CacheState state = cache.state(&bytes, &entries);
  const std::string held =
      fmt::format("{}: {} kernels, {:.1f} of {} MiB", cache.folder(), entries, static_cast<double>(bytes) / (1 << 20), cache.limit() >> 20);
  const auto unused = [&](const std::string& why) {
    return Finding{Finding::note, "kernel cache",
                   fmt::format("{} is not used: {}; kernels are compiled anew in each process", cache.folder(), why)};
  };
  switch (state) {
    case CacheState::usable:
      return {Finding::ok, "kernel cache", held};
    case CacheState::absent:
      return {Finding::ok, "kernel cache", fmt::format("{} will be made by the first scan on a GPU", cache.folder())};
    case CacheState::cannot_be_made:
      return unused(fmt::format("it cannot be made, as {} is no folder that this user can write: set CUMULUS_CACHE_DIR",
                                nearest_above(cache.folder())));
    case CacheState::off:
      return {Finding::note, "kernel cache",
              "off (CUMULUS_CACHE_DIR or CUMULUS_CACHE_SIZE, or no HOME): kernels are compiled anew in each process"};
    case CacheState::read_only:
      return {Finding::note, "kernel cache", held + "; it cannot be written: new kernels are not kept"};
    case CacheState::full:
      return {Finding::note, "kernel cache", held + "; the disk is full: new kernels are not kept: free space, or set CUMULUS_CACHE_DIR"};
    case CacheState::foreign:
      return unused("it belongs to another user: set CUMULUS_CACHE_DIR");
    case CacheState::open_to_others:
      return unused("others may enter it, and could plant code: chmod 700 it, after looking through it, or set CUMULUS_CACHE_DIR");
    case CacheState::not_a_folder:
      return unused("it is no folder, or a link: set CUMULUS_CACHE_DIR");
    case CacheState::unreachable:
      return unused("it cannot be opened: set CUMULUS_CACHE_DIR");
  }
  return unused("unknown");
}

Finding cache_finding(System& system) {
  bool understood = true;
  const DiskCache cache(cache_folder(system), cache_limit(system, &understood));
  Finding finding = cache_state_finding(cache);
  if (understood) return finding;
  finding.detail += fmt::format("; CUMULUS_CACHE_SIZE is \"{}\", which is no whole number of MiB from 0 to 1048576: {} is used instead",
                                *system.environment("CUMULUS_CACHE_SIZE"), cache.limit() >> 20);
  return {Finding::note, finding.what, finding.detail};
}

}  // namespace

std::vector<Finding> doctor(System& system) {
  const OpenedDriver opened = open_driver(system);
  const bool driver = opened.problem == DriverProblem::none;
  std::vector<Finding> findings = {driver_finding(system, opened)};
  for (int k = 0; driver && k < opened.driver.devices; ++k) findings.push_back(device_finding(opened.driver, k));

  // Without a driver nothing of the rest is a fault: there is nothing that it would make work.
  const std::vector<int> capabilities = capabilities_of(opened);
  const Packs packs = look_into_packs(system, capabilities);
  const Finding::State bad = driver ? Finding::fail : Finding::note;
  findings.push_back(compiler_finding(system, opened, capabilities, packs.serve() ? Finding::note : bad));
  findings.push_back(cache_finding(system));
  if (auto finding = pack_finding(system, packs, capabilities, bad)) findings.push_back(*std::move(finding));
  return findings;
}

}  // namespace cumulus::cuda
