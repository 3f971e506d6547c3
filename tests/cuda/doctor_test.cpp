// The doctor's findings, case by case, on machines that exist on paper only.
#include "cuda/doctor.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "cuda/driver_api.h"
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
  void with_driver() { system.add_library("libcuda.so.1", support::fake_libcuda(), "/usr/lib/libcuda.so.580.1"); }

  support::TemporaryFolder temporary;
  FakeSystem system;
};

int stub_init(unsigned) { return 34; }
int stub_version(int*) { return 34; }

TEST_F(Doctor, NoDriverForEachReason) {
  expect("CUDA driver", Finding::note, {"no NVIDIA GPU", "CPU"});
  EXPECT_EQ(doctor(system).size(), 1u) << "without a driver nothing else matters";
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
  system.variables["CUDA_VISIBLE_DEVICES"] = "";
  expect("CUDA driver", Finding::note, {"CUDA_VISIBLE_DEVICES", "unset"});
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
}

TEST_F(Doctor, Packs) {
  with_driver();
  system.add("/opt/cumulus/lib/cumulus/bad.pack");
  expect("kernel packs", Finding::fail, {"0 kernels", "bad.pack"});
}

}  // namespace
