// The GPUs that a command can be asked about: models by name, from the library and from a user's file, and those that run here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli11_fwd.h"
#include "cuda/device.h"

namespace cumulus::cli {

struct GpuModel {
  std::string key, source;
  cuda::DeviceInfo device;
};

// The models of a user's file (as `cumulus device --preset NAME --json` prints one), then the library's. A user's model stands before
// one of the library with the same key. Throws CliError that names file, key and rule.
class GpuModels {
 public:
  explicit GpuModels(const std::string& file = {});

  const std::vector<GpuModel>& all() const { return models_; }

  // By key or full name; case, blanks and "NVIDIA" or "RTX" around it do not matter. Null if there is none.
  const GpuModel* find(std::string_view name) const;

  // "4090, l4, ...", for a message
  std::string keys() const;

 private:
  std::vector<GpuModel> models_;
};

// The GPUs of this process, and why if there is none.
struct RunningGpus {
  std::vector<cuda::DeviceInfo> devices;
  std::string why_none;
};
RunningGpus running_gpus();

// Adds --presets FILE.json.
void add_presets_option(CLI::App& command, std::string& file);

}  // namespace cumulus::cli
