#include "report_page.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cumulus/cumulus.hpp"

namespace cumulus::cli {
namespace {

Section files_section(const ReportInput& input) {
  DataTable table{"What this report was made of", {"file", "holds"}, {}};
  for (const ReportFile& file : input.files) table.rows.push_back({text_cell(file.name), text_cell(file.holds)});
  return {"Files", {table}};
}

Section notes_section() {
  return {
      "How to read this",
      {Paragraph{"A scan must read every element once and write every result once, so it can be no faster than a copy of the same "
                 "bytes. \"Of the copy\" is the time of the best copy over the time of the scan, both measured in the same rounds: 1 is as "
                 "fast as a copy, more is better. GB/s counts the bytes that any implementation must read and write."},
       Paragraph{"A peer is what else computes the same result. \"Times Cumulus\" is its time over Cumulus's in the same rounds: 2 took "
                 "twice as long. A peer's place along the axis is Cumulus's ratio divided by that. Spread is the 90th percentile less the "
                 "10th, over the median."}}};
}

}  // namespace

Page make_page(const ReportInput& input, const std::string& title) {
  Page page{title, fmt::format("Cumulus {}: scans beside copies of the same bytes.", cumulus_version()), bench_sections(input.bench)};
  for (const TuneSession& session : input.tunes) page.sections.push_back(tune_section(session));
  for (const ProfileSession& session : input.profiles) page.sections.push_back(profile_section(session));
  if (page.sections.empty()) page.sections.push_back({"Nothing measured", {Paragraph{"The files hold no measurements."}}});
  page.sections.push_back(notes_section());
  page.sections.push_back(files_section(input));
  return page;
}

std::string figure(double value) {
  const double size = std::abs(value);
  if (size >= 1e15 || (size < 0.01 && size > 0)) return fmt::format("{:.3g}", value);
  const int decimals = size >= 1000 || value == std::floor(value) ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  return fmt::format("{:.{}f}", value, decimals);
}

Cell number_cell(std::optional<double> value) { return value ? Cell{figure(*value), value} : Cell{}; }

Cell ratio_cell(std::optional<double> value) {
  return value ? Cell{*value < 0.1 ? figure(*value) : fmt::format("{:.2f}", *value), value} : Cell{};
}

Cell percent_cell(std::optional<double> value) { return value ? Cell{fmt::format("{:.1f} %", 100 * *value), value} : Cell{}; }

Cell bytes_cell(std::optional<double> value) {
  if (!value) return {};
  return {*value < 9e18 ? bytes_text(static_cast<std::int64_t>(*value)) : fmt::format("{:.3g} B", *value), value};
}

Cell text_cell(std::string text) {
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc() && stopped == end) return {std::move(text), value};
  return {std::move(text), {}};
}

std::string machine_name(const Json& machine) {
  if (!machine.is_object()) return text_of(machine);
  for (const char* key : {"gpu", "cpu"})
    if (machine.contains(key) && !text_of(machine[key]).empty()) return text_of(machine[key]);
  return "";
}

std::size_t series_index(std::vector<std::string>& series, const std::string& name) {
  const auto found = std::find(series.begin(), series.end(), name);
  if (found != series.end()) return static_cast<std::size_t>(found - series.begin());
  series.push_back(name);
  return series.size() - 1;
}

bool is_numeric(const DataTable& table, std::size_t column) {
  return std::all_of(table.rows.begin(), table.rows.end(), [&](const auto& row) { return row[column].value || row[column].text.empty(); });
}

Facts without_empty(Facts facts) {
  std::erase_if(facts.entries, [](const auto& entry) { return entry.second.empty(); });
  return facts;
}

DataTable without_empty_columns(DataTable table) {
  for (std::size_t c = table.columns.size(); c-- > 0;) {
    if (std::any_of(table.rows.begin(), table.rows.end(), [&](const auto& row) { return !row[c].text.empty(); })) continue;
    table.columns.erase(table.columns.begin() + static_cast<std::ptrdiff_t>(c));
    for (auto& row : table.rows) row.erase(row.begin() + static_cast<std::ptrdiff_t>(c));
  }
  return table;
}

}  // namespace cumulus::cli
