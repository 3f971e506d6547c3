#include "tuning/parameters.h"

#include <fmt/format.h>

namespace cumulus::tuning {

std::string text_of(const Parameters& parameters) {
  if (parameters.empty()) return "the planner's choice";
  std::string text;
  for (const auto& [name, value] : parameters) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value);
  return text;
}

cpu::Tuning cpu_tuning(const Parameters& parameters) {
  cpu::Tuning tuning;
  for (const cpu::TuningField& field : cpu::kTuningFields)
    if (const auto found = parameters.find(field.name); found != parameters.end()) tuning.*field.value = found->second;
  return tuning;
}

std::vector<std::string> cpu_names() {
  std::vector<std::string> names;
  for (const cpu::TuningField& field : cpu::kTuningFields) names.emplace_back(field.name);
  return names;
}

}  // namespace cumulus::tuning
