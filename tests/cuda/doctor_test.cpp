// The doctor's findings, case by case, on machines that exist on paper only.
#include "cuda/doctor.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "cuda/driver_api.h"
#include "cuda/pack.h"
#include "cuda/program.h"
#include "fake_driver.h"
#include "temporary_folder.h"

namespace {

using namespace cumulus::cuda;
using support::FakeDriver;
using support::FakeLibrary;
using support::FakeSystem;

class Doctor : public testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::reset();
    system.variables["CUMULUS_CACHE_DIR"] = temporary.path + "/cache";
  }

  // The finding on `what` has this state and says all of these.
  void expect(const std::string& what, Finding::State state, std::initializer_list<const char*> parts) {
    for (const Finding& finding : doctor(system)) {
      if (finding.what != what) continue;
      EXPECT_EQ(finding.state, state) << finding.detail;
      for (const char* part : parts) EXPECT_NE(finding.detail.find(part), std::string::npos) << "\"" << part << "\" in: " << finding.detail;
      return;
    }
    ADD_FAILURE() << "no finding on " << what;
  }
  bool has(const std::string& what) {
    for (const Finding& finding : doctor(system))
      if (finding.what == what) return true;
    return false;
  }
  // A pack of such keys, and its path.
  std::string add_pack(const std::string& name, const std::vector<std::string>& keys) {
    const std::string path = temporary.path + "/" + name;
    std::string bytes = "cumulus pack 1\n";
    for (const std::string& key : keys) {
      const std::string entry = to_bytes(key, {"name", "code"});
      const std::uint64_t size = entry.size();
      bytes.append(reinterpret_cast<const char*>(&size), sizeof size).append(entry);
    }
    std::ofstream(path, std::ios::binary) << bytes;
    system.add(path);
    return path;
  }
  void with_driver() { system.add_library("libcuda.so.1", support::fake_libcuda(), "/usr/lib/libcuda.so.580.1"); }

  support::TemporaryFolder temporary;
  FakeSystem system;
};

int stub_init(unsigned) { return 34; }
int stub_version(int*) { return 34; }

TEST_F(Doctor, NoDriverForEachReason) {
  expect("CUDA driver", Finding::note, {"no NVIDIA GPU", "CPU"});
  system.add("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
  system.add("/sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
  expect("CUDA driver", Finding::fail, {"on the bus", "no driver is installed"});
  system.add("/dev/dxg");
  expect("CUDA driver", Finding::note, {"WSL", "Windows"});
  system.add("/.dockerenv");
  expect("CUDA driver", Finding::note, {"container", "--gpus all"});
  system.add("/proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04\nGCC version: 13\n");
  expect("CUDA driver", Finding::fail, {"580.159.04", "container", "--gpus all"});
  system.files.erase("/.dockerenv");
  expect("CUDA driver", Finding::fail, {"580.159.04", "install"});
}

TEST_F(Doctor, AStub) {
  FakeLibrary stub = {{"cuInit", reinterpret_cast<void*>(&stub_init)}, {"cuDriverGetVersion", reinterpret_cast<void*>(&stub_version)}};
  system.add_library("libcuda.so.1", stub, "/cuda/lib64/stubs/libcuda.so");
  expect("CUDA driver", Finding::fail, {"/cuda/lib64/stubs/libcuda.so", "stub"});
}

TEST_F(Doctor, HiddenDevices) {
  with_driver();
  FakeDriver::get().init_result = CUDA_ERROR_NO_DEVICE;
  for (const char* all : {"", "-1"}) {
    system.variables["CUDA_VISIBLE_DEVICES"] = all;
    expect("CUDA driver", Finding::fail, {"/dev/nvidiactl", "--gpus all", "CUDA_VISIBLE_DEVICES"});
    system.add("/dev/nvidiactl");
    expect("CUDA driver", Finding::note, {"CUDA_VISIBLE_DEVICES", "unset"});
    system.files.erase("/dev/nvidiactl");
  }
  system.variables["CUDA_VISIBLE_DEVICES"] = "0";
  expect("CUDA driver", Finding::fail, {"/dev/nvidiactl", "--gpus all", "CUDA_VISIBLE_DEVICES"});
  system.add("/dev/nvidiactl");
  system.add("/proc/driver/nvidia/capabilities/mig/config");
  expect("CUDA driver", Finding::fail, {"CUDA_VISIBLE_DEVICES", "--gpus all", "nvidia-smi -L"});
  FakeDriver::get().init_result = 0;
  system.variables["CUDA_VISIBLE_DEVICES"] = "1";
  expect("CUDA driver", Finding::ok, {"CUDA_VISIBLE_DEVICES=1"});
}

TEST_F(Doctor, DriverWithoutDevice) {
  with_driver();
  system.add("/dev/nvidiactl");
  FakeDriver::get().init_result = CUDA_ERROR_NO_DEVICE;
  expect("CUDA driver", Finding::fail, {"no device", "nvidia-smi"});
  system.add("/proc/driver/nvidia/capabilities/mig/config");
  expect("CUDA driver", Finding::fail, {"MIG", "nvidia-smi -L"});
}

TEST_F(Doctor, VersionMismatch) {
  with_driver();
  FakeDriver::get().init_result = CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
  system.add("/proc/driver/nvidia/version", "NVRM version: 570.1\n");
  expect("CUDA driver", Finding::fail, {"does not match", "libcuda.so.580.1", "570.1", "reboot"});
  FakeDriver::get().init_result = 0;
  FakeDriver::get().version = 11040;
  expect("CUDA driver", Finding::fail, {"11.4", "12.0", "update"});
}

TEST_F(Doctor, Devices) {
  with_driver();
  expect("CUDA driver", Finding::ok, {"libcuda.so.580.1", "CUDA 13.0", "2 devices"});
  expect("CUDA device 0", Finding::ok, {"NVIDIA H200", "9.0", "132 SMs", "140.4 GiB", "4800 GB/s"});
  expect("CUDA device 1", Finding::ok, {"NVIDIA H200"});
  FakeDriver::get().device_name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb";
  expect("CUDA device 0", Finding::ok, {"MIG", "part of a GPU"});
  FakeDriver::get().compute_mode = 2;
  expect("CUDA device 0", Finding::fail, {"prohibits", "nvidia-smi -c"});
  FakeDriver::get().compute_mode = 3;
  expect("CUDA device 0", Finding::ok, {"exclusive"});
  FakeDriver::get().capability = 75;
  expect("CUDA device 0", Finding::fail, {"7.5", "8.0", "CPU"});
  FakeDriver::get().fail = {{"cuDeviceTotalMem", 999}};
  expect("CUDA device 0", Finding::fail, {"cuDeviceTotalMem", "999"});
}

TEST_F(Doctor, Compiler) {
  with_driver();
  expect("NVRTC", Finding::fail, {"not found", "pip install", "CUMULUS_NVRTC"});
  system.variables["CUMULUS_NVRTC"] = "/nowhere";
  expect("NVRTC", Finding::fail, {"/nowhere", "unset"});
  system.variables.erase("CUMULUS_NVRTC");
  system.add("/usr/local/cuda/lib64/libnvrtc.so.14");
  expect("NVRTC", Finding::fail, {"newer", "13.0", "libnvrtc.so.14", "update the driver"});
  system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
  expect("NVRTC", Finding::fail, {"libnvrtc.so.13", "does not open"});
}

TEST_F(Doctor, Cache) {
  namespace fs = std::filesystem;
  with_driver();
  const std::string folder = temporary.path + "/cache";
  expect("kernel cache", Finding::ok, {folder.c_str(), "will be made"});
  fs::create_directory(folder);
  fs::permissions(folder, fs::perms::owner_all);
  expect("kernel cache", Finding::ok, {folder.c_str(), "0 kernels", "256 MiB"});
  fs::permissions(folder, fs::perms::all);
  expect("kernel cache", Finding::note, {"not used", "others may enter", "chmod 700"});
  fs::remove(folder);
  fs::create_symlink("/tmp", folder);
  expect("kernel cache", Finding::note, {"not used", "link"});
  system.variables["CUMULUS_CACHE_DIR"] = "";
  expect("kernel cache", Finding::note, {"off"});
  fs::create_symlink(temporary.path + "/nothing", temporary.path + "/dangling");
  system.variables["CUMULUS_CACHE_DIR"] = temporary.path + "/dangling/cache";
  expect("kernel cache", Finding::note, {"not used", "cannot be made", (temporary.path + "/dangling is no folder").c_str()});
}

TEST_F(Doctor, ACacheSizeThatIsNotUnderstood) {
  with_driver();
  for (const char* size : {"2G", "-1", "1048577"}) {
    system.variables["CUMULUS_CACHE_SIZE"] = size;
    expect("kernel cache", Finding::note, {size, "CUMULUS_CACHE_SIZE", "MiB", "256 is used"});
  }
  for (const char* size : {"", "2048"}) {
    system.variables["CUMULUS_CACHE_SIZE"] = size;
    expect("kernel cache", Finding::ok, {"will be made"});
  }
}

// ---- a compiler that opens; whether it compiles is as a test says ----

int nvrtc_result = 0;  // of nvrtcCompileProgram
std::vector<std::string> nvrtc_compiled;

int fake_version(int* major, int* minor) { return *major = 13, *minor = 0, 0; }
int fake_count(int* count) { return *count = 2, 0; }
int fake_archs(int* archs) { return archs[0] = 80, archs[1] = 90, 0; }
const char* fake_error(int) { return "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE"; }
int fake_create(void**, const char*, const char*, int, const char* const*, const char* const*) { return 0; }
int fake_destroy(void**) { return 0; }
int fake_name(void*, const char*) { return 0; }
int fake_compile(void*, int, const char* const* options) { return nvrtc_compiled.emplace_back(options[0]), nvrtc_result; }
constexpr const char kLog[] = "nvrtc: error: no builtins.\n  Is it there?\n";
int fake_log_size(void*, std::size_t* size) { return *size = sizeof kLog, 0; }
int fake_log(void*, char* log) { return std::memcpy(log, kLog, sizeof kLog), 0; }
int fake_size(void*, std::size_t* size) { return *size = 1, 0; }
int fake_bytes(void*, char* bytes) { return *bytes = '\0', 0; }
int fake_lowered(void*, const char* name, const char** lowered) { return *lowered = name, 0; }

FakeLibrary& fake_nvrtc() {
  static FakeLibrary library = {{"nvrtcVersion", reinterpret_cast<void*>(&fake_version)},
                                {"nvrtcGetNumSupportedArchs", reinterpret_cast<void*>(&fake_count)},
                                {"nvrtcGetSupportedArchs", reinterpret_cast<void*>(&fake_archs)},
                                {"nvrtcGetErrorString", reinterpret_cast<void*>(&fake_error)},
                                {"nvrtcCreateProgram", reinterpret_cast<void*>(&fake_create)},
                                {"nvrtcDestroyProgram", reinterpret_cast<void*>(&fake_destroy)},
                                {"nvrtcAddNameExpression", reinterpret_cast<void*>(&fake_name)},
                                {"nvrtcCompileProgram", reinterpret_cast<void*>(&fake_compile)},
                                {"nvrtcGetProgramLogSize", reinterpret_cast<void*>(&fake_log_size)},
                                {"nvrtcGetProgramLog", reinterpret_cast<void*>(&fake_log)},
                                {"nvrtcGetCUBINSize", reinterpret_cast<void*>(&fake_size)},
                                {"nvrtcGetCUBIN", reinterpret_cast<void*>(&fake_bytes)},
                                {"nvrtcGetLoweredName", reinterpret_cast<void*>(&fake_lowered)}};
  return library;
}

class DoctorWithCompiler : public Doctor {
 protected:
  void SetUp() override {
    Doctor::SetUp();
    nvrtc_result = 0;
    nvrtc_compiled.clear();
    const std::string path = "/usr/local/cuda/lib64/libnvrtc.so.13";
    system.add(path);
    system.add_library(path, fake_nvrtc());
  }
};

TEST_F(DoctorWithCompiler, CompilesForEachArchitecture) {
  with_driver();
  expect("NVRTC", Finding::ok, {"libnvrtc.so.13", "CUDA 13.0"});
  EXPECT_EQ(nvrtc_compiled, std::vector<std::string>{"--gpu-architecture=sm_90"}) << "two devices of one architecture";
  FakeDriver::get().capability = 120;
  expect("NVRTC", Finding::fail, {"does not know sm_120", "install a newer one"});
}

TEST_F(DoctorWithCompiler, OneThatOpensButCannotCompile) {
  with_driver();
  nvrtc_result = 7;
  expect("NVRTC", Finding::fail,
         {"libnvrtc.so.13", "cannot compile", "sm_90", "BUILTIN_OPERATION_FAILURE", "libnvrtc-builtins", "no builtins.   Is it there?"});
  system.libraries.erase("libcuda.so.1");
  expect("NVRTC", Finding::note, {"cannot compile"});
}

TEST_F(DoctorWithCompiler, OneThatWorksBehindABrokenOne) {
  with_driver();
  system.variables["CUDA_PATH"] = "/broken";
  system.add("/broken/lib64/libnvrtc.so.13");
  expect("NVRTC", Finding::ok, {"/usr/local/cuda/lib64/libnvrtc.so.13", "passed over: ", "/broken/lib64/libnvrtc.so.13"});
}

TEST_F(DoctorWithCompiler, WithoutADriverTheRestIsToldToo) {
  expect("NVRTC", Finding::ok, {"libnvrtc.so.13", "CUDA 13.0"});
  expect("kernel cache", Finding::ok, {"will be made"});
  EXPECT_FALSE(has("kernel packs"));
  system.files.clear();
  expect("NVRTC", Finding::note, {"not found", "pip install", "cumulus pack"});
  system.variables["CUMULUS_PACK"] = "/nowhere";
  expect("kernel packs", Finding::note, {"CUMULUS_PACK", "/nowhere"});
  system.variables["CUMULUS_PACK"] = add_pack("own.pack", {kernel_key({}, 90, embedded_sources().hash)});
  expect("kernel packs", Finding::ok, {"1 kernels", "own.pack", "sm_90"});
}

// ---- packs ----

TEST_F(Doctor, Packs) {
  with_driver();
  system.add("/opt/cumulus/lib/cumulus/bad.pack");
  expect("kernel packs", Finding::fail, {"0 kernels", "bad.pack"});
}

TEST_F(Doctor, PacksThatThisLibraryCannotUseDoNotMakeUpForNoCompiler) {
  with_driver();
  const KernelSpec kernel{"rows.cuh", "scan", {}};
  const std::string hash = embedded_sources().hash, own = kernel_key(kernel, 90, hash), other_gpu = kernel_key(kernel, 80, hash),
                    other_sources = kernel_key(kernel, 90, hash + "x"), other_version = "cumulus 9.9.9" + own.substr(own.find('\n'));
  system.variables["CUMULUS_PACK"] = add_pack("useless.pack", {other_gpu, other_sources, other_version});
  expect("kernel packs", Finding::fail, {"3 kernels", "useless.pack", "none for this version or these GPUs (sm_90)", "CUMULUS_PACK"});
  expect("NVRTC", Finding::fail, {"not found"});
  system.variables["CUMULUS_PACK"] = add_pack("useful.pack", {other_gpu, other_sources, own});
  expect("kernel packs", Finding::ok, {"3 kernels", "1 for this version and sm_90"});
  expect("NVRTC", Finding::note, {"not found"});
}

TEST_F(Doctor, APackThatIsAskedForAndYieldsNothing) {
  with_driver();
  EXPECT_FALSE(has("kernel packs"));
  system.variables["CUMULUS_PACK"] = "";
  EXPECT_FALSE(has("kernel packs")) << "empty: none";
  system.variables["CUMULUS_PACK"] = "/nowhere/x.pack";
  expect("kernel packs", Finding::fail, {"CUMULUS_PACK", "/nowhere/x.pack", "where there is none", "cumulus pack"});
  system.add("/without/packs.txt");
  system.variables["CUMULUS_PACK"] = "/without";
  expect("kernel packs", Finding::fail, {"CUMULUS_PACK", "/without", "without any *.pack"});
  const std::string path = temporary.path + "/text.pack";
  std::ofstream(path) << "no pack";
  system.add(path);
  system.variables["CUMULUS_PACK"] = path;
  expect("kernel packs", Finding::fail, {"CUMULUS_PACK", path.c_str(), "is no pack"});
}

}  // namespace
