// GPU models to plan for without having one.
#include <algorithm>
#include <array>
#include <cctype>

#include "cuda/device.h"

namespace cumulus::cuda {
namespace {

constexpr int kKiB = 1024;
constexpr std::int64_t kMiB = 1 << 20, kGiB = 1 << 30;

// What a compute capability fixes: the CUDA C++ Programming Guide's table "Technical Specifications per Compute Capability".
DeviceInfo of_capability(int capability, int shared_per_sm, int warps_per_sm, int blocks_per_sm) {
  DeviceInfo device{};
  device.capability = capability;
  device.shared_reserved = 1 * kKiB;
  device.shared_per_sm = shared_per_sm;
  device.shared_per_block = shared_per_sm - device.shared_reserved;
  device.registers_per_sm = 65536;
  device.registers_per_thread = 255;
  device.warps_per_sm = warps_per_sm;
  device.blocks_per_sm = blocks_per_sm;
  device.threads_per_block = 1024;
  device.warp = 32;
  return device;
}

struct Model {
  const char* name;
  int sms;
  double gb_per_s;
  std::int64_t memory, l2;
  double tf32, bf16, fp16;
};

DeviceInfo device(DeviceInfo limits, const Model& model) {
  limits.name = model.name;
  limits.sms = model.sms;
  limits.bandwidth = static_cast<std::int64_t>(model.gb_per_s * 1e9);
  limits.memory = model.memory;
  limits.l2 = model.l2;
  limits.tf32 = model.tf32, limits.bf16 = model.bf16, limits.fp16 = model.fp16;
  return limits;
}

auto make_presets() {
  const DeviceInfo ampere = of_capability(80, 164 * kKiB, 64, 32);
  const DeviceInfo ada = of_capability(89, 100 * kKiB, 48, 24);
  const DeviceInfo hopper = of_capability(90, 228 * kKiB, 64, 32);
  const DeviceInfo blackwell = of_capability(100, 228 * kKiB, 64, 32);
  const DeviceInfo blackwell_client = of_capability(120, 100 * kKiB, 48, 24);
  return std::array{
      Preset{"4090", "NVIDIA Ada whitepaper 1.1, appendix A; KernelBench task documents give the same figures",
             device(ada, {"NVIDIA GeForce RTX 4090", 128, 1008, 24 * kGiB, 72 * kMiB, 82.6, 165.2, 165.2})},
      Preset{"l4", "L4 data sheet (matrix rates there are with sparsity: halved); Ada whitepaper for L2 (AD104)",
             device(ada, {"NVIDIA L4", 58, 300, 24 * kGiB, 48 * kMiB, 60, 121, 121})},
      Preset{"l40s", "L40S data sheet (matrix rates there are with sparsity: halved); Ada whitepaper for L2 (AD102)",
             device(ada, {"NVIDIA L40S", 142, 864, 48 * kGiB, 96 * kMiB, 183, 362, 362})},
      Preset{"a100", "A100 80GB SXM data sheet; A100 whitepaper for SMs and L2",
             device(ampere, {"NVIDIA A100-SXM4-80GB", 108, 2039, 80 * kGiB, 40 * kMiB, 156, 312, 312})},
      Preset{"h100", "H100 SXM5 data sheet (matrix rates there are with sparsity: halved); H100 whitepaper for SMs and L2",
             device(hopper, {"NVIDIA H100 80GB HBM3", 132, 3350, 80 * kGiB, 50 * kMiB, 494.7, 989.4, 989.4})},
      Preset{"h200", "H200 SXM data sheet; memory as nvidia-smi reports it, SMs and L2 as the driver does",
             device(hopper, {"NVIDIA H200", 132, 4800, 143771 * kMiB, 60 * kMiB, 494.7, 989.4, 989.4})},
      Preset{"b200", "DGX B200 data sheet divided by its eight GPUs; SMs and L2 as the driver reports them (Chips and Cheese, 2025)",
             device(blackwell, {"NVIDIA B200", 148, 8000, 180 * kGiB, 126 * kMiB, 1125, 2250, 2250})},
      Preset{"5090", "RTX Blackwell whitepaper 1.1, appendix A (matrix rates with f32 accumulation, dense)",
             device(blackwell_client, {"NVIDIA GeForce RTX 5090", 170, 1792, 32 * kGiB, 96 * kMiB, 104.8, 209.5, 209.5})},
  };
}

}  // namespace

// Never destroyed: a plan may be made while the process exits.
std::span<const Preset> presets() {
  static const auto& list = *new auto(make_presets());
  return list;
}

DeviceInfo device_of_capability(int capability) {
  if (capability == 86 || capability == 87) {  // A10, RTX 30, Orin: Ampere with Ada's shared memory
    DeviceInfo device = of_capability(capability, capability == 86 ? 100 * kKiB : 164 * kKiB, 48, 16);
    device.name = "compute capability 8." + std::to_string(capability % 10);
    device.sms = 1;
    return device;
  }
  const DeviceInfo* best = &presets()[0].device;
  for (const Preset& preset : presets()) {
    const int own = preset.device.capability;
    if (own <= capability && (best->capability > capability || own > best->capability)) best = &preset.device;
  }
  DeviceInfo device = *best;
  device.capability = capability;
  return device;
}

const char* architecture(int capability) {
  if (capability >= 100 && capability < 130) return "Blackwell";
  if (capability >= 90 && capability < 100) return "Hopper";
  if (capability == 89) return "Ada Lovelace";
  return capability >= 80 && capability < 89 ? "Ampere" : "unknown";
}

const DeviceInfo* find_preset(std::string_view name) {
  std::string wanted;
  for (char c : name)
    if (std::isalnum(static_cast<unsigned char>(c))) wanted += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* prefix : {"nvidia", "geforce", "rtx"})
    if (wanted.starts_with(prefix)) wanted.erase(0, std::string_view(prefix).size());
  for (const Preset& preset : presets())
    if (wanted == preset.key) return &preset.device;
  return nullptr;
}

}  // namespace cumulus::cuda
