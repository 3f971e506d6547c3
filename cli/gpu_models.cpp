#include "gpu_models.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "commands.h"
#include "cuda/driver.h"
#include "error.h"
#include "json_problem.h"
#include "output.h"
#include "spec_table.h"
#include "text_file.h"
#include "text_lines.h"

namespace cumulus::cli {
namespace {

constexpr std::size_t kLongestFile = 1 << 20;

// "NVIDIA GeForce RTX 4090" -> "4090"
std::string plain(std::string_view name) {
  std::string text;
  for (const char c : lower(name))
    if (std::isalnum(static_cast<unsigned char>(c))) text += c;
  for (const std::string_view prefix : {"nvidia", "geforce", "rtx"})
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  return text;
}

std::string text_at(const Json& json, const char* key, const std::string& otherwise) {
  const auto found = json.find(key);
  if (found == json.end()) return otherwise;
  if (!found->is_string()) throw FormatError(fmt::format("key {}: this is {}, no text: put it into quotes", key, found->type_name()));
  return found->get<std::string>();
}

bool is_known(const std::string& key) {
  const auto fields = spec_fields();
  return key == "name" || key == "source" ||
         std::any_of(fields.begin(), fields.end(), [&](const SpecField& field) { return key == field.key; });
}

// One model of a user's file. Throws FormatError without the file's and model's names.
GpuModel read_model(const std::string& key, const Json& json, const std::string& file) {
  if (plain(key).empty()) throw FormatError("the model's name has neither letters nor digits: give it some");
  if (!json.is_object()) throw FormatError(fmt::format("this is {}, no object: write {{\"sms\": 76, ...}}", json.type_name()));
  std::vector<SpecFigure> figures;
  std::string known = "name, source";
  for (const SpecField& field : spec_fields()) {
    known += fmt::format(", {}", field.key);
    if (const auto found = json.find(field.key); found != json.end()) {
      const std::string where = fmt::format("key {}", field.key);
      if (!found->is_number())
        throw FormatError(fmt::format("{}: this is {}, no number: write it without quotes", where, found->type_name()));
      figures.push_back({&field, found->get<double>(), where});
    }
  }
  for (const auto& item : json.items())
    if (!is_known(item.key())) throw FormatError(fmt::format("key {} is unknown: use {}", item.key(), known));
  return {key, text_at(json, "source", file), device_of(text_at(json, "name", key), figures, "its figures")};
}

std::vector<GpuModel> read_models(const std::string& file) {
  const std::string text = read_text(file, kLongestFile);
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    throw CliError(kExitUsage, fmt::format("{}: {}: correct it to JSON", file, json_problem(error.what())));
  }
  if (!json.is_object())
    throw CliError(kExitUsage, fmt::format("{}: no object of models: write {{\"my-gpu\": {{\"sms\": 76, ...}}}}", file));
  std::vector<GpuModel> models;
  for (const auto& [key, value] : json.items()) {
    try {
      models.push_back(read_model(key, value, file));
    } catch (const FormatError& error) {
      throw CliError(kExitUsage, fmt::format("{}: {}: {}", file, in_quotes(key), error.what()));
    }
  }
  return models;
}

}  // namespace

GpuModels::GpuModels(const std::string& file) {
  if (!file.empty()) models_ = read_models(file);
  for (const cuda::Preset& preset : cuda::presets()) models_.push_back({preset.key, preset.source, preset.device});
}

const GpuModel* GpuModels::find(std::string_view name) const {
  const std::string wanted = plain(name);
  for (const GpuModel& model : models_)
    if (!wanted.empty() && (wanted == plain(model.key) || wanted == plain(model.device.name))) return &model;
  return nullptr;
}

std::string GpuModels::keys() const {
  std::string text;
  for (const GpuModel& model : models_) text += fmt::format("{}{}", text.empty() ? "" : ", ", model.key);
  return text;
}

RunningGpus running_gpus() {
  RunningGpus running;
  try {
    for (;;) running.devices.push_back(cuda::device_info(static_cast<int>(running.devices.size())));
  } catch (const Failure& failure) {  // the first number that is no device, or no driver at all
    if (running.devices.empty()) running.why_none = failure.message;
  }
  return running;
}

void add_presets_option(CLI::App& command, std::string& file) {
  command.add_option("--presets", file, "More GPU models, in the form that `cumulus device --preset NAME --json` prints")
      ->type_name("FILE.json");
}

}  // namespace cumulus::cli
