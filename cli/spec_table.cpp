#include "spec_table.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cuda/driver.h"
#include "text_lines.h"

namespace cumulus::cli {
namespace {

using cuda::DeviceInfo;

constexpr double kMiB = 1 << 20, kGiB = 1 << 30;

// An int member, in units of `scale`.
template <int DeviceInfo::*member, int scale = 1>
double get_int(const DeviceInfo& device) {
  return static_cast<double>(device.*member) / scale;
}
template <int DeviceInfo::*member, int scale = 1>
void set_int(DeviceInfo& device, double value) {
  device.*member = static_cast<int>(std::lround(value * scale));
}
template <double DeviceInfo::*member>
double get_real(const DeviceInfo& device) {
  return device.*member;
}
template <double DeviceInfo::*member>
void set_real(DeviceInfo& device, double value) {
  device.*member = value;
}

// In the table's order. The least and most are wide: they refuse slips of the pen, not unusual GPUs.
constexpr SpecField kFields[] = {
    {"compute_capability", "Compute Capability", "", 1, 99, false, true, get_int<&DeviceInfo::capability, 10>,
     set_int<&DeviceInfo::capability, 10>},
    {"sms", "Number of SMs", "", 1, 4096, true, true, get_int<&DeviceInfo::sms>, set_int<&DeviceInfo::sms>},
    {"bandwidth_gbps", "Memory Bandwidth", "GB/s", 1, 1e6, false, true,
     [](const DeviceInfo& d) { return static_cast<double>(d.bandwidth) / 1e9; },
     [](DeviceInfo& d, double value) { d.bandwidth = std::llround(value * 1e9); }},
    {"tf32_tflops", "TF32 Tensor Core TFLOPS", "with dense", 0, 1e6, false, false, get_real<&DeviceInfo::tf32>,
     set_real<&DeviceInfo::tf32>},
    {"bf16_tflops", "BFLOAT16 Tensor Core TFLOPS", "with dense", 0, 1e6, false, false, get_real<&DeviceInfo::bf16>,
     set_real<&DeviceInfo::bf16>},
    {"fp16_tflops", "FP16 Tensor Core TFLOPS", "with dense", 0, 1e6, false, false, get_real<&DeviceInfo::fp16>,
     set_real<&DeviceInfo::fp16>},
    {"registers_per_thread", "Maximum number of registers per thread", "", 16, 1024, true, false,
     get_int<&DeviceInfo::registers_per_thread>, set_int<&DeviceInfo::registers_per_thread>},
    {"threads_per_block", "Maximum threads per block", "", 32, 4096, true, false, get_int<&DeviceInfo::threads_per_block>,
     set_int<&DeviceInfo::threads_per_block>},
    {"threads_per_sm", "Maximum threads per SM", "", 32, 65536, true, false,
     [](const DeviceInfo& d) { return static_cast<double>(d.warps_per_sm) * d.warp; }, nullptr},
    {"warp", "Warp size", "", 32, 32, true, false, get_int<&DeviceInfo::warp>, set_int<&DeviceInfo::warp>},
    {"warps_per_sm", "Maximum concurrent warps per SM", "", 1, 2048, true, false, get_int<&DeviceInfo::warps_per_sm>,
     set_int<&DeviceInfo::warps_per_sm>},
    {"shared_per_sm_kib", "Shared memory capacity per SM", "KB", 16, 65536, false, false, get_int<&DeviceInfo::shared_per_sm, 1024>,
     set_int<&DeviceInfo::shared_per_sm, 1024>},
    {"shared_per_block_kib", "Maximum shared memory per thread block", "KB", 16, 65536, false, false,
     get_int<&DeviceInfo::shared_per_block, 1024>, set_int<&DeviceInfo::shared_per_block, 1024>},
    {"l2_mib", "L2 cache (global, all SM shared)", "MB", 0.25, 65536, false, true,
     [](const DeviceInfo& d) { return static_cast<double>(d.l2) / kMiB; },
     [](DeviceInfo& d, double value) { d.l2 = std::llround(value * kMiB); }},
    {"memory_gib", nullptr, "GB", 0, 1e6, false, false, [](const DeviceInfo& d) { return static_cast<double>(d.memory) / kGiB; },
     [](DeviceInfo& d, double value) { d.memory = std::llround(value * kGiB); }},
};

bool is_capability(const SpecField& field) { return &field == &kFields[0]; }

// What a person calls it: the label, or the key where the table has none.
const char* title(const SpecField& field) { return field.label ? field.label : field.key; }

std::string number(const SpecField& field, double value) {
  return is_capability(field) ? fmt::format("{:.1f}", value) : fmt::format("{:.10g}", value);
}

std::string with_unit(const SpecField& field, double value) {
  return number(field, value) + (*field.unit ? std::string(" ") + field.unit : "");
}

// Whether what follows a number says the field's unit; `factor` brings the number to it.
bool reads_unit(const SpecField& field, std::string_view rest, double& factor) {
  factor = 1;
  const std::string_view unit = field.unit;
  if (unit.empty() || unit == "with dense") return true;  // words may follow
  if (unit == "GB/s" && rest.starts_with("TB/s")) return factor = 1000, true;
  if (rest.starts_with(unit)) return true;
  return unit.size() == 2 && rest.starts_with(std::string{unit[0], 'i', 'B'});  // KiB: what is meant by KB here
}

[[noreturn]] void fail_format(const std::string& where, const std::string& message) {
  throw FormatError(fmt::format("{}: {}", where, message));
}

void check(const SpecFigure& figure) {
  const SpecField& field = *figure.field;
  const bool tenths = !is_capability(field) || std::abs(figure.value * 10 - std::round(figure.value * 10)) < 1e-6;
  if (!(figure.value >= field.least && figure.value <= field.most) || (field.whole && figure.value != std::floor(figure.value)) || !tenths)
    fail_format(figure.where, fmt::format("{} is {}: give {} between {:g} and {:g}", title(field), fmt::format("{:g}", figure.value),
                                          field.whole            ? "a whole number"
                                          : is_capability(field) ? "major.minor, such as 8.9,"
                                                                 : "a number",
                                          field.least, field.most));
}

const SpecFigure* given(const std::vector<SpecFigure>& figures, const SpecField& field) {
  const auto found = std::find_if(figures.begin(), figures.end(), [&](const SpecFigure& figure) { return figure.field == &field; });
  return found == figures.end() ? nullptr : &*found;
}

}  // namespace

std::span<const SpecField> spec_fields() { return kFields; }

SpecFigure read_spec_line(std::string_view label, std::string_view value, const std::string& where) {
  const auto* field =
      std::find_if(std::begin(kFields), std::end(kFields), [&](const SpecField& f) { return f.label && lower(f.label) == lower(label); });
  if (field == std::end(kFields)) return {nullptr, 0, where};
  SpecFigure figure{field, 0, where};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), figure.value);
  const std::string_view rest = value.substr(static_cast<std::size_t>(end - value.data()));
  double factor = 1;
  const bool starts = !value.empty() && value[0] >= '0' && value[0] <= '9';  // neither "inf" nor "-1"
  if (!starts || error != std::errc() || (!rest.empty() && rest[0] != ' ' && rest[0] != 'K' && rest[0] != 'M' && rest[0] != 'G') ||
      !reads_unit(*field, trimmed(rest), factor))
    fail_format(where,
                fmt::format("{} is {}: write a number{}", field->label, in_quotes(value),
                            *field->unit ? fmt::format(" and its unit, as in '{}'", with_unit(*field, field->most > 1e5 ? 100 : 96)) : ""));
  figure.value *= factor;
  return figure;
}

DeviceInfo device_of(const std::string& name, const std::vector<SpecFigure>& figures, const std::string& where) {
  for (const SpecFigure& figure : figures) {
    check(figure);
    if (const SpecFigure* first = given(figures, *figure.field); first != &figure)
      fail_format(figure.where, fmt::format("{} is given a second time, first at {}: leave one", title(*figure.field), first->where));
  }
  for (const SpecField& field : kFields)
    if (field.needed && !given(figures, field)) fail_format(where, fmt::format("{} is missing: add it", title(field)));

  const SpecFigure& capability = *given(figures, kFields[0]);
  const int tenths = static_cast<int>(std::lround(10 * capability.value));
  if (tenths < cuda::kLeastCapability)
    fail_format(capability.where, fmt::format("compute capability {:.1f}: the GPU backend needs {:.1f} (Ampere) or later", capability.value,
                                              cuda::kLeastCapability / 10.0));
  DeviceInfo device = cuda::device_of_capability(tenths);
  device.name = name;
  device.memory = 0;
  device.tf32 = device.bf16 = device.fp16 = 0;
  for (const SpecFigure& figure : figures)
    if (figure.field->set) figure.field->set(device, figure.value);
  for (const SpecFigure& figure : figures)
    if (!figure.field->set && figure.field->get(device) != figure.value)
      fail_format(figure.where, fmt::format("{} is {:g}, but {} warps of {} threads are {:g}: correct one of them", title(*figure.field),
                                            figure.value, device.warps_per_sm, device.warp, figure.field->get(device)));
  if (device.shared_per_block > device.shared_per_sm)
    fail_format(where, fmt::format("a block's shared memory, {:g} KB, is more than an SM's, {:g} KB: correct one of them",
                                   device.shared_per_block / 1024.0, device.shared_per_sm / 1024.0));
  device.shared_reserved = std::min(device.shared_reserved, device.shared_per_sm - device.shared_per_block);
  return device;
}

std::string spec_table(const std::string& name, const DeviceInfo& device) {
  std::string text = fmt::format("GPU Name: {}\nArchitecture: {}\n", name, cuda::architecture(device.capability));
  for (const SpecField& field : kFields) {
    const double value = field.get(device);
    if (field.label && (value != 0 || field.needed)) text += fmt::format("• {}: {}\n", field.label, with_unit(field, value));
  }
  return text;
}

Json spec_json(const DeviceInfo& device, const std::string& source) {
  Json json = {{"name", device.name}, {"source", source}};
  for (const SpecField& field : kFields) {
    const double value = field.get(device);
    json[field.key] = value == std::floor(value) && !is_capability(field) ? Json(std::llround(value)) : Json(value);
  }
  return json;
}

std::vector<std::string> differences(const DeviceInfo& theirs, const DeviceInfo& ours) {
  std::vector<std::string> found;
  for (const SpecField& field : kFields)
    if (field.label && field.get(theirs) != field.get(ours))
      found.push_back(fmt::format("{} {}, not {}", field.label, with_unit(field, field.get(theirs)), with_unit(field, field.get(ours))));
  return found;
}

}  // namespace cumulus::cli
