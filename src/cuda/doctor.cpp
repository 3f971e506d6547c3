#include "cuda/doctor.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "cuda/cache.h"
#include "cuda/driver.h"
#include "cuda/nvrtc.h"
#include "cuda/pack.h"
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
      const bool hidden = system.environment("CUDA_VISIBLE_DEVICES").has_value();
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

std::string text_of(const NvrtcFile& file) { return fmt::format("{} ({})", file.path, file.origin); }

Finding compiler_finding(System& system, const OpenedDriver& opened, bool packed) {
  const std::vector<NvrtcFile> found = find_nvrtc(system);
  const Finding::State bad = packed ? Finding::note : Finding::fail;
  if (found.empty()) {
    const auto wanted = system.environment("CUMULUS_NVRTC");
    return {bad, "NVRTC",
            wanted && !wanted->empty()
                ? fmt::format("CUMULUS_NVRTC is \"{}\", where there is none: name libnvrtc.so.N or its folder, or unset it", *wanted)
                : "not found: pip install nvidia-cuda-nvrtc, or install the CUDA toolkit, or name the file in CUMULUS_NVRTC"};
  }
  const std::vector<NvrtcFile> usable = usable_nvrtc(found, opened.driver.version);
  std::string passed_over;
  for (const NvrtcFile& file : found)
    if (std::find(usable.begin(), usable.end(), file) == usable.end())
      passed_over += fmt::format("; passed over, newer than the driver's CUDA {}: {}", release(opened.driver.version), text_of(file));
  if (usable.empty())
    return {bad, "NVRTC",
            fmt::format("none for this driver{}: update the driver, or install NVRTC {}", passed_over, opened.driver.version / 1000)};
  try {
    const Nvrtc nvrtc(system, usable.front());
    std::string unknown;
    for (int k = 0; k < opened.driver.devices; ++k)
      if (const int capability = query_device(opened.driver, k).capability; !nvrtc.supports(capability))
        unknown += fmt::format("; it does not know sm_{} of device {}: install a newer one", capability, k);
    return {unknown.empty() ? Finding::ok : bad, "NVRTC",
            fmt::format("{}, CUDA {}{}{}", text_of(usable.front()), release(nvrtc.version()), unknown, passed_over)};
  } catch (const Failure& failure) {
    return {bad, "NVRTC", failure.message + passed_over};
  }
}

Finding cache_finding(System& system) {
  const DiskCache cache(cache_folder(system), cache_limit(system));
  std::int64_t bytes = 0, entries = 0;
  const CacheState state = cache.state(&bytes, &entries);
  const std::string held =
      fmt::format("{}: {} kernels, {:.1f} of {} MiB", cache.folder(), entries, static_cast<double>(bytes) / (1 << 20), cache.limit() >> 20);
  const auto unused = [&](const char* why) {
    return Finding{Finding::note, "kernel cache",
                   fmt::format("{} is not used: {}; kernels are compiled anew in each process", cache.folder(), why)};
  };
  switch (state) {
    case CacheState::usable:
      return {Finding::ok, "kernel cache", held};
    case CacheState::absent:
      return {Finding::ok, "kernel cache", fmt::format("{} will be made by the first scan on a GPU", cache.folder())};
    case CacheState::off:
      return {Finding::note, "kernel cache",
              "off (CUMULUS_CACHE_DIR or CUMULUS_CACHE_SIZE, or no HOME): kernels are compiled anew in each process"};
    case CacheState::read_only:
      return {Finding::note, "kernel cache", held + "; it cannot be written: new kernels are not kept"};
    case CacheState::full:
      return {Finding::note, "kernel cache", held + "; the disk is full: new kernels are not kept"};
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

}  // namespace

std::vector<Finding> doctor(System& system) {
  const OpenedDriver opened = open_driver(system);
  std::vector<Finding> findings = {driver_finding(system, opened)};
  if (opened.problem != DriverProblem::none) return findings;
  for (int k = 0; k < opened.driver.devices; ++k) findings.push_back(device_finding(opened.driver, k));
  std::size_t kernels = 0;
  const std::vector<std::string> packs = find_packs(system);
  for (const std::string& path : packs) kernels += list_pack(path).size();
  findings.push_back(compiler_finding(system, opened, kernels > 0));
  findings.push_back(cache_finding(system));
  if (!packs.empty())
    findings.push_back({kernels > 0 ? Finding::ok : Finding::fail, "kernel packs",
                        fmt::format("{} kernels built ahead of time in {}{}", kernels, packs.front(),
                                    packs.size() > 1 ? fmt::format(" and {} more", packs.size() - 1) : "")});
  return findings;
}

}  // namespace cumulus::cuda
