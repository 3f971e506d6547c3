// A report as data, which report_html and report_markdown write down: so both say the same.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "report_input.h"

namespace cumulus::cli {

struct Paragraph {
  std::string text;
};

// The few numbers to remember: each large, with what it is.
struct Headlines {
  std::vector<std::pair<std::string, std::string>> entries;
};

struct Facts {
  std::vector<std::pair<std::string, std::string>> entries;  // name, value
};

struct Cell {
  std::string text;
  std::optional<double> value;  // what it is sorted by; without one, by its text
};

struct DataTable {
  std::string caption;
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
};

// A row of dots for each case, one dot a series, along one axis with a line at the target.
struct DotPlot {
  struct Dot {
    std::size_t series;
    double x;
    std::string label;
  };
  struct Row {
    std::string group, name, figure;  // rows of one group stand together; figure: the number at the row's end
    std::vector<Dot> dots;
  };
  std::string title, axis, target_label, figures;  // figures: what stands over the rows' figures
  double target = 1;
  bool from_zero = false;           // a linear axis, whatever the spread
  bool group_titles = false;        // a group's name stands over its rows
  std::vector<std::string> series;  // the first one is what the report is about
  std::vector<Row> rows;
};

// Rates against sizes, both logarithmic, under the ceilings: for each, the rate that it had at some sizes.
struct RatePlot {
  struct Point {
    std::size_t series;
    double bytes, gbps;
    std::string label;
  };
  struct Ceiling {
    std::string name;
    std::vector<std::pair<double, double>> at;  // bytes, GB/s
  };
  std::string title;
  std::vector<std::string> series;
  std::vector<Point> points;
  std::vector<Ceiling> ceilings;
};

using Block = std::variant<Paragraph, Headlines, Facts, DotPlot, RatePlot, DataTable>;

struct Section {
  std::string title;
  std::vector<Block> blocks;
};

struct Page {
  std::string title, lede;
  std::vector<Section> sections;
};

Page make_page(const ReportInput& input, const std::string& title);

// The sections of each kind: report_bench.cpp, report_sessions.cpp.
std::vector<Section> bench_sections(const std::vector<BenchEntry>& entries);
Section tune_section(const TuneSession& session);
Section profile_section(const ProfileSession& session);

// --- Helpers of the above -------------------------------------------------------------------------------------------------------

std::string figure(double value);                                                     // four digits: "10391", "3.212", "0.0614"
Cell number_cell(std::optional<double> value);                                        // figure(), or nothing
Cell ratio_cell(std::optional<double> value);                                         // two decimals or, below 0.1, four
Cell percent_cell(std::optional<double> value);                                       // "2.5 %" of 0.025
Cell bytes_cell(std::optional<double> value);                                         // "268 MB"
Cell text_cell(std::string text);                                                     // sorted as a number where it is one
std::string machine_name(const Json& machine);                                        // its GPU or else its processor
std::size_t series_index(std::vector<std::string>& series, const std::string& name);  // adds a new one
bool is_numeric(const DataTable& table, std::size_t column);                          // every text in it is sorted as a number
Facts without_empty(Facts facts);                                                     // entries that have a value
DataTable without_empty_columns(DataTable table);                                     // columns in which some row has a text

std::string html(const Page& page);
std::string markdown(const Page& page);

}  // namespace cumulus::cli
