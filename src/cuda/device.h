// What the planner needs to know of a GPU: a plain description, of the device at hand (driver.h) or of a named model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cumulus::cuda {

inline constexpr int kLeastCapability = 80;  // Ampere

struct DeviceInfo {
  std::string name;
  int capability;            // compute capability, 10 * major + minor: 89 is 8.9
  int sms;                   // streaming multiprocessors
  std::int64_t bandwidth;    // of DRAM, in bytes a second, read and written together, by the data sheet
  std::int64_t memory;       // bytes of DRAM
  std::int64_t l2;           // bytes of L2 cache
  int shared_per_sm;         // bytes of shared memory of an SM
  int shared_per_block;      // the most that one block may opt in to
  int shared_reserved;       // of an SM's shared memory, taken by the system for each block
  int registers_per_sm;      // 32-bit registers
  int registers_per_thread;  // at most
  int warps_per_sm;          // resident at once
  int blocks_per_sm;         // resident at once
  int threads_per_block;     // at most
  int warp;                  // threads of a warp
  double tf32, bf16, fp16;   // dense matrix rates in TFLOPS with f32 accumulation; 0 where unknown. Only reports show them.

  bool operator==(const DeviceInfo&) const = default;
};

// A GPU model known by a short name, for planning without one: "4090", "h200".
struct Preset {
  const char* key;
  const char* source;  // where its figures are from
  DeviceInfo device;
};

std::span<const Preset> presets();

// A device to compile for when only its compute capability is known: a model with it, or with the next lower one that is listed.
DeviceInfo device_of_capability(int capability);

// "Ada Lovelace" for 89; "unknown" for what no listed or earlier architecture has.
const char* architecture(int capability);

// Case does not matter, nor do "RTX" and the like around the key; null if there is none of that name.
const DeviceInfo* find_preset(std::string_view name);

}  // namespace cumulus::cuda
