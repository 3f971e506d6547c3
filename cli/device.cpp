// cumulus device: the machine as the library sees it, with measured rates; GPUs, those that are here and those that are known by name.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <memory>

#include "commands.h"
#include "cpu/cpu_info.h"
#include "cuda/bench_device.h"
#include "error.h"
#include "gpu_models.h"
#include "machine.h"
#include "output.h"
#include "spec_table.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus device                     cores, caches, SIMD target, memory, copy rates; GPUs and the rates that they reach
  cumulus device --json              the same for a program
  cumulus device --no-measure        without the copies: instantly
  cumulus device --list              GPU models that a plan can be made for, with the source of their figures
  cumulus device --preset 4090       one of them as a spec table
  cumulus device --preset l4 --json > mine.json      ... as a file to edit and give to --presets

A scan can be no faster than a copy of the same bytes. memcpy is the C library's; streaming writes past the cache and is the
faster one for arrays that do not fit into it. Rates count bytes read and written, medians of interleaved rounds. On a GPU: the driver's
copy and memset, and a kernel that sums, of 1 GiB or a quarter of the free memory.)";

struct DeviceOptions {
  int mib = 256, rounds = 7, threads = 0;
  std::string preset, presets;
  bool list = false, no_measure = false, pin = false, json = false;
};

// As a file of models, which --presets reads.
void print_models(const std::vector<GpuModel>& models) {
  Json json = Json::object();
  for (const GpuModel& model : models)
    if (!json.contains(model.key)) json[model.key] = spec_json(model.device, model.source);
  print_json(json);
}

void list_models(const GpuModels& models, bool json) {
  if (json) return print_models(models.all());
  Table table({"model", "name", "capability", "SMs", "GB/s", "L2", "source"});
  for (const GpuModel& model : models.all()) {
    const cuda::DeviceInfo& device = model.device;
    table.add({model.key, device.name, fmt::format("{:.1f}", device.capability / 10.0), std::to_string(device.sms),
               fmt::format("{:g}", static_cast<double>(device.bandwidth) / 1e9), cache_text(device.l2), model.source});
  }
  print(table.text());
}

void show_model(const GpuModels& models, const std::string& name, bool json) {
  const GpuModel* model = models.find(name);
  if (!model)
    throw CliError(kExitUsage, fmt::format("--preset {}: give one of {}, or a model of --presets FILE.json", name, models.keys()));
  if (json) return print_models({*model});
  print(spec_table(model->key, model->device));
}

// The rates of every GPU here, or why one has none.
std::vector<cuda::GpuCeilings> measure_gpus(const RunningGpus& gpus) {
  std::vector<cuda::GpuCeilings> measured(gpus.devices.size());
  for (std::size_t i = 0; i < measured.size(); ++i) {
    try {
      measured[i] = cuda::measure_ceilings(static_cast<int>(i));
    } catch (const Failure& failure) {
      measured[i].problem = failure.message;
    }
  }
  return measured;
}

Json rates_json(const cuda::GpuCeilings& gpu) {
  const auto gbps = [](double rate) { return rate > 0 ? Json(rate / 1e9) : Json(); };
  return {{"bytes", gpu.bytes},
          {"copy_gbps", gbps(gpu.copy)},
          {"read_gbps", gbps(gpu.read)},
          {"write_gbps", gbps(gpu.write)},
          {"problem", gpu.problem}};
}

std::string rates_text(const cuda::GpuCeilings& gpu, const cuda::DeviceInfo& device) {
  Table table({"measured", "GB/s", "of the data sheet"});
  const auto part = [&](double rate) {
    return device.bandwidth > 0 ? fmt::format("{:.3f}", rate / static_cast<double>(device.bandwidth)) : "";
  };
  for (const auto& [name, rate] : {std::pair{"copy", gpu.copy}, {"read", gpu.read}, {"write", gpu.write}})
    if (rate > 0) table.add({name, fmt::format("{:.0f}", rate / 1e9), part(rate)});
  const std::string text = gpu.bytes > 0 ? fmt::format("\nArrays of {}:\n{}", bytes_text(gpu.bytes), table.text()) : "";
  return gpu.problem.empty() ? text : text + fmt::format("\nNot measured: {}\n", gpu.problem);
}

void show_machine(const DeviceOptions& options) {
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const int affinity = cpu::affinity_cores(), quota = cpu::quota_cores();
  const int threads = options.threads > 0 ? options.threads : cpu.cores;
  const RunningGpus gpus = running_gpus();
  std::vector<CopyRate> rates;
  std::vector<cuda::GpuCeilings> gpu_rates;
  if (!options.no_measure) {
    rates = measure_copies(static_cast<std::int64_t>(options.mib) << 20, threads, options.pin, options.rounds);
    gpu_rates = measure_gpus(gpus);
  }

  if (options.json) {
    Json json = {
        {"device", "cpu"}, {"model", cpu::model_name()}, {"cores", cpu.cores}, {"cores_online", cores_online()}, {"affinity", affinity}};
    json["quota"] = quota > 0 ? Json(quota) : Json(nullptr);
    json["simd"] = cpu.simd;
    json["vector_bytes"] = cpu.vector_bytes;
    json["l1"] = cpu.l1;
    json["l2"] = cpu.l2;
    json["l3"] = cpu.l3;
    json["memory"] = memory_total();
    json["memory_available"] = memory_available();
    json["copy_bytes"] = options.no_measure ? Json(nullptr) : Json(static_cast<std::int64_t>(options.mib) << 20);
    json["copy"] = Json::array();
    for (const CopyRate& rate : rates) json["copy"].push_back({{"name", rate.name}, {"threads", rate.threads}, {"gbps", rate.gbps}});
    json["gpus"] = Json::array();
    for (std::size_t i = 0; i < gpus.devices.size(); ++i) {
      json["gpus"].push_back(spec_json(gpus.devices[i], "the CUDA driver"));
      json["gpus"].back()["measured"] = options.no_measure ? Json(nullptr) : rates_json(gpu_rates[i]);
    }
    return print_json(json);
  }
  print(text_list({{"processor", cpu::model_name()},
                   {"cores", fmt::format("{} for this process (affinity {}, quota {}, machine {})", cpu.cores, affinity,
                                         quota > 0 ? std::to_string(quota) : "none", cores_online())},
                   {"SIMD target", fmt::format("{}, {} bytes", cpu.simd, cpu.vector_bytes)},
                   {"caches", fmt::format("L1 {}, L2 {}, L3 {}", cache_text(cpu.l1), cache_text(cpu.l2), cache_text(cpu.l3))},
                   {"memory", fmt::format("{}, {} available", bytes_text(memory_total()), bytes_text(memory_available()))}}));
  if (!rates.empty()) {
    Table table({"copy", "threads", "GB/s"});
    for (const CopyRate& rate : rates) table.add({rate.name, std::to_string(rate.threads), fmt::format("{:.1f}", rate.gbps)});
    print(fmt::format("\nCopies of {} MiB:\n{}", options.mib, table.text()));
  }
  if (gpus.devices.empty()) print(fmt::format("\nNo GPU: {}\n", gpus.why_none));
  for (std::size_t i = 0; i < gpus.devices.size(); ++i) {
    const cuda::DeviceInfo& gpu = gpus.devices[i];
    print("\n" + spec_table(gpu.name, gpu) + (options.no_measure ? "" : rates_text(gpu_rates[i], gpu)));
  }
}

void device(const DeviceOptions& options) {
  if (options.list) return list_models(GpuModels(options.presets), options.json);
  if (!options.preset.empty()) return show_model(GpuModels(options.presets), options.preset, options.json);
  if (!options.presets.empty()) throw CliError(kExitUsage, "--presets FILE.json: say --list, or --preset NAME for one of its models");
  show_machine(options);
}

}  // namespace

void add_device(CLI::App& app, int&) {
  auto* command = app.add_subcommand("device", "Show cores, caches, SIMD target, measured copy rates, and GPUs");
  const auto options = std::make_shared<DeviceOptions>();
  command->add_option("--preset", options->preset, "Show a GPU model instead, which need not be here")->type_name("MODEL");
  command->add_flag("--list", options->list, "List all GPU models");
  add_presets_option(*command, options->presets);
  command->add_option("--size", options->mib, "MiB per array to copy (default 256)")->type_name("MIB")->check(CLI::Range(1, 1 << 20));
  command->add_option("--rounds", options->rounds, "Rounds to take the median of (default 7)")->type_name("N")->check(CLI::Range(1, 1000));
  command->add_option("--threads", options->threads, "Threads of the threaded copies (default: all)")
      ->type_name("N")
      ->check(CLI::Range(0, 65536));
  command->add_flag("--pin", options->pin, "Bind worker threads to cores");
  command->add_flag("--no-measure", options->no_measure, "Measure nothing");
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options] { device(*options); });
}

}  // namespace cumulus::cli
