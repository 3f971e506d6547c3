// The sections of measured cases: one for each machine, SIMD target and commit.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "measure.h"
#include "report_page.h"

namespace cumulus::cli {
namespace {

struct Contestant {
  std::string name, measured_by, problem;
  std::optional<double> us, times, of_copy;  // times: of Cumulus's time in the same rounds
};

// Entries of one case, brought together.
struct Case {
  BenchEntry scan;  // Cumulus's own entry; where there is none, it has no time
  std::string name;
  std::set<std::string> sources;
  std::vector<Contestant> peers;
};

struct Run {
  std::string title;
  std::vector<const BenchEntry*> entries;
  std::vector<Case> cases;
};

std::string threads_text(double threads) { return fmt::format("{:g} {}", threads, threads == 1 ? "thread" : "threads"); }

// --- Bringing entries together --------------------------------------------------------------------------------------------------

std::string title_of(const BenchEntry& entry) {
  std::string title = machine_name(entry.machine);
  if (title.empty()) title = "unknown machine";
  const std::string& how = entry.device.empty() || entry.device == "cpu" ? entry.simd : entry.device;
  if (!how.empty()) title += ", " + how;
  return entry.commit.empty() ? title : title + ", at " + entry.commit;
}

bool same_run(const BenchEntry& a, const BenchEntry& b) {
  return a.machine == b.machine && a.device == b.device && a.simd == b.simd && a.commit == b.commit;
}

std::vector<Run> runs_of(const std::vector<BenchEntry>& entries) {
  std::vector<Run> runs;
  for (const BenchEntry& entry : entries) {
    auto run = std::find_if(runs.begin(), runs.end(), [&](const Run& other) { return same_run(*other.entries[0], entry); });
    if (run == runs.end()) run = runs.insert(runs.end(), {title_of(entry), {}, {}});
    run->entries.push_back(&entry);
  }
  return runs;
}

bool is_cumulus(const BenchEntry& entry) { return entry.candidate.empty() || entry.candidate == "cumulus"; }

// One contestant of several entries, and what another program measured of a case, join the case; the same measured again is another row.
bool joins(const BenchEntry& entry, const Case& c) {
  if (c.scan.name != entry.name || c.scan.threads != entry.threads || c.scan.shape != entry.shape || c.scan.in_dtype != entry.in_dtype)
    return false;
  if (entry.candidate.empty()) return !c.sources.contains(entry.source) && !(entry.of_copy && c.scan.of_copy);
  if (is_cumulus(entry)) return !c.scan.us;
  return std::none_of(c.peers.begin(), c.peers.end(), [&](const Contestant& peer) { return peer.name == entry.candidate; });
}

void take_scan(const BenchEntry& entry, Case& c) {
  if (!c.scan.us || (entry.of_copy && !c.scan.of_copy)) c.scan = entry;
}

void join(const BenchEntry& entry, Case& c) {
  c.sources.insert(entry.source);
  if (is_cumulus(entry)) take_scan(entry, c);
  else c.peers.push_back({entry.candidate, entry.source, entry.problem, entry.us, {}, entry.of_copy});
  for (const auto& [name, us] : entry.peers)
    c.peers.push_back({name, entry.source, "", us, entry.us ? std::optional(us / *entry.us) : std::nullopt, {}});
}

void place_peers(Case& c) {
  for (Contestant& peer : c.peers) {
    if (!peer.times && peer.us && c.scan.us) peer.times = *peer.us / *c.scan.us;
    if (!peer.of_copy && peer.times && c.scan.of_copy) peer.of_copy = *c.scan.of_copy / *peer.times;
  }
}

// A case without an entry of Cumulus keeps what its entries share, and no figure of another's.
BenchEntry without_figures(BenchEntry entry) {
  entry.us = entry.spread = entry.gbps = entry.of_copy = entry.of_memcpy = std::nullopt;
  entry.problem.clear();
  return entry;
}

void add_case(const BenchEntry& entry, std::vector<Case>& cases) {
  auto found = std::find_if(cases.begin(), cases.end(), [&](const Case& c) { return joins(entry, c); });
  if (found == cases.end()) found = cases.insert(cases.end(), {without_figures(entry), "", {}, {}});
  join(entry, *found);
}

// The number of threads that most cases ran on, which a case's name then leaves out; 0: none is known.
double usual_threads(const std::vector<Case>& cases) {
  std::map<double, int> counts;
  for (const Case& c : cases) ++counts[c.scan.threads.value_or(0)];
  return std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
}

void name_cases(std::vector<Case>& cases) {
  const double usual = usual_threads(cases);
  std::map<std::string, int> seen;
  for (Case& c : cases) {
    c.name = c.scan.name;
    if (c.scan.threads && c.scan.threads != usual) c.name += ", " + threads_text(*c.scan.threads);
    if (const int times = ++seen[c.name]; times > 1) c.name += fmt::format(", run {}", times);
  }
}

std::string group_of(const std::string& name) { return name.substr(0, name.find('/')); }

// Groups in the order in which they first appear.
void sort_by_group(std::vector<Case>& cases) {
  std::map<std::string, std::size_t> place;
  for (const Case& c : cases) place.emplace(group_of(c.name), place.size());
  std::stable_sort(cases.begin(), cases.end(),
                   [&](const Case& a, const Case& b) { return place.at(group_of(a.name)) < place.at(group_of(b.name)); });
}

void gather_cases(Run& run) {
  for (const BenchEntry* entry : run.entries) add_case(*entry, run.cases);
  for (Case& c : run.cases) place_peers(c);
  name_cases(run.cases);
  sort_by_group(run.cases);
}

// --- What a run comes to --------------------------------------------------------------------------------------------------------

// Figures of a result that is wrong are compared with nothing.
bool is_right(const Case& c) { return c.scan.problem.empty(); }

const Contestant* best_peer(const Case& c) {
  const Contestant* best = nullptr;
  if (!is_right(c)) return best;
  for (const Contestant& peer : c.peers)
    if (peer.times && peer.problem.empty() && (!best || *peer.times < *best->times)) best = &peer;
  return best;
}

Headlines headlines_of(const Run& run) {
  Headlines found{{{std::to_string(run.cases.size()), run.cases.size() == 1 ? "case" : "cases"}}};
  std::vector<double> of_copy, of_peer;
  for (const Case& c : run.cases) {
    if (c.scan.of_copy && is_right(c)) of_copy.push_back(*c.scan.of_copy);
    if (const Contestant* best = best_peer(c)) of_peer.push_back(*best->times);
  }
  if (!of_copy.empty()) {
    found.entries.emplace_back(ratio_cell(median(of_copy)).text, "of the copy, in the median");
    const auto near = std::count_if(of_copy.begin(), of_copy.end(), [](double x) { return x >= 0.9; });
    found.entries.emplace_back(fmt::format("{} of {}", near, of_copy.size()), "at 0.9 of the copy or more");
  }
  if (!of_peer.empty()) {
    found.entries.emplace_back(ratio_cell(median(of_peer)).text + "\u00d7", "as fast as the best peer, in the median");
    const auto slower = std::count_if(of_peer.begin(), of_peer.end(), [](double x) { return x < 1; });
    found.entries.emplace_back(fmt::format("{} of {}", slower, of_peer.size()), "slower than the best peer");
  }
  return found;
}

// Each value once, in the order of their first entries.
template <class Value>
std::string distinct(const Run& run, const Value& value) {
  std::vector<std::string> found;
  for (const BenchEntry* entry : run.entries)
    if (std::string text = value(*entry); !text.empty() && std::find(found.begin(), found.end(), text) == found.end())
      found.push_back(std::move(text));
  std::string text;
  for (const std::string& part : found) text += (text.empty() ? "" : "; ") + part;
  return text;
}

std::string machine_text(const Json& machine) {
  if (!machine.is_object()) return text_of(machine);
  std::string text;
  for (const auto& [key, value] : machine.items()) {
    const bool cache = (key == "l1" || key == "l2" || key == "l3") && value.is_number_integer();
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, cache ? cache_text(value.get<std::int64_t>()) : text_of(value));
  }
  return text;
}

std::string dates_of(const Run& run) {
  std::set<std::string> dates;
  for (const BenchEntry* entry : run.entries)
    if (!entry->date.empty()) dates.insert(entry->date);
  if (dates.empty()) return "";
  return dates.size() == 1 ? *dates.begin() : *dates.begin() + " to " + *dates.rbegin();
}

std::string threads_of(const Run& run) {
  const double usual = usual_threads(run.cases);
  return usual > 0 ? fmt::format("{:g}, where a case does not say otherwise", usual) : "";
}

Facts facts_of(const Run& run) {
  return without_empty({{{"machine", machine_text(run.entries[0]->machine)},
                         {"device", run.entries[0]->device},
                         {"SIMD target", run.entries[0]->simd},
                         {"commit", run.entries[0]->commit},
                         {"version", distinct(run, [](const BenchEntry& entry) { return entry.version; })},
                         {"threads", threads_of(run)},
                         {"measured by", distinct(run, [](const BenchEntry& entry) { return entry.source; })},
                         {"peers", distinct(run,
                                            [](const BenchEntry& entry) {
                                              std::string text;
                                              for (const auto& [name, version] : entry.versions)
                                                text += (text.empty() ? "" : ", ") + name + " " + version;
                                              return text;
                                            })},
                         {"date", dates_of(run)}}});
}

// --- Plots ----------------------------------------------------------------------------------------------------------------------

// Beside the copy or, where no copy was measured, beside Cumulus itself.
DotPlot::Row dots_of(const Case& c, bool copies, std::vector<std::string>& series) {
  DotPlot::Row row{group_of(c.name), c.name, "", {}};
  for (const Contestant& peer : c.peers) {
    const std::optional<double> x = copies ? peer.of_copy : peer.times ? std::optional(1 / *peer.times) : std::nullopt;
    if (!x || !peer.problem.empty()) continue;
    const std::string times = peer.times ? fmt::format(", {} times Cumulus's time", ratio_cell(peer.times).text) : "";
    row.dots.push_back({series_index(series, peer.name), *x, fmt::format("{}, {}: {}{}", c.name, peer.name, ratio_cell(x).text, times)});
  }
  const std::optional<double> own = copies ? c.scan.of_copy : c.scan.us && !row.dots.empty() ? std::optional(1.0) : std::nullopt;
  if (!own || !is_right(c)) return row;
  if (copies) row.figure = ratio_cell(own).text;
  row.dots.push_back({0, *own, fmt::format("{}, Cumulus: {}", c.name, ratio_cell(own).text)});  // last: on top of the others
  return row;
}

DotPlot ratio_plot(const Run& run, bool copies) {
  DotPlot plot;
  plot.title = copies ? "Beside a copy of the same bytes" : "Beside Cumulus";
  plot.axis = copies ? "of the copy's speed; further right is faster" : "of Cumulus's speed; further right is faster";
  plot.target_label = copies ? "as fast as a copy" : "as fast as Cumulus";
  plot.figures = copies ? "Cumulus" : "";
  plot.series = {"Cumulus"};
  for (const Case& c : run.cases)
    if (DotPlot::Row row = dots_of(c, copies, plot.series); !row.dots.empty()) plot.rows.push_back(std::move(row));
  return plot;
}

std::optional<double> copy_gbps(const BenchEntry& entry) {
  return entry.gbps && entry.of_copy ? std::optional(*entry.gbps / *entry.of_copy) : std::nullopt;
}

// The copies' rates scatter: one median for each doubling of the size.
RatePlot::Ceiling ceiling_of(const std::string& name, const std::vector<std::pair<double, double>>& copies) {
  std::map<int, std::vector<std::pair<double, double>>> octaves;
  for (const auto& copy : copies) octaves[static_cast<int>(std::floor(std::log2(copy.first) + 0.5))].push_back(copy);
  RatePlot::Ceiling ceiling{name, {}};
  for (const auto& [octave, group] : octaves) {
    std::vector<double> bytes, rates;
    for (const auto& [size, rate] : group) bytes.push_back(size), rates.push_back(rate);
    ceiling.at.emplace_back(median(bytes), median(rates));
  }
  return ceiling;
}

RatePlot rate_plot(const Run& run) {
  RatePlot plot{"Rate by size", {}, {}, {}};
  std::vector<std::string> threads;  // a series and a ceiling for each
  std::vector<std::vector<std::pair<double, double>>> copies;
  for (const Case& c : run.cases) {
    const std::optional<double> copy = copy_gbps(c.scan);
    if (!c.scan.bytes || !copy || !is_right(c)) continue;
    const std::size_t series = series_index(threads, c.scan.threads ? ", " + threads_text(*c.scan.threads) : "");
    copies.resize(threads.size());
    copies[series].emplace_back(*c.scan.bytes, *copy);
    plot.points.push_back(
        {series, *c.scan.bytes, *c.scan.gbps,
         fmt::format("{}: {} GB/s of {}, the copy {} GB/s", c.name, figure(*c.scan.gbps), bytes_cell(c.scan.bytes).text, figure(*copy))});
  }
  for (std::size_t i = 0; i < threads.size(); ++i) {
    plot.series.push_back("Cumulus" + threads[i]);
    plot.ceilings.push_back(ceiling_of("copy" + threads[i], copies[i]));
  }
  return plot;
}

// --- Tables ---------------------------------------------------------------------------------------------------------------------

std::string dtype_text(const BenchEntry& entry) {
  return entry.out_dtype.empty() || entry.out_dtype == entry.in_dtype ? entry.in_dtype : entry.in_dtype + " to " + entry.out_dtype;
}

DataTable case_table(const Run& run) {
  DataTable table{"Cases",
                  {"case", "operation", "shape", "dtype", "moves", "time, \u00b5s", "spread", "GB/s", "copy, GB/s", "of the copy",
                   "of memcpy", "best peer", "its time in Cumulus's", "problem"},
                  {}};
  for (const Case& c : run.cases) {
    const Contestant* best = best_peer(c);
    table.rows.push_back({{c.name, {}},
                          {c.scan.op + (c.scan.kind.empty() ? "" : ", " + c.scan.kind), {}},
                          {c.scan.shape, {}},
                          {dtype_text(c.scan), {}},
                          bytes_cell(c.scan.bytes),
                          number_cell(c.scan.us),
                          percent_cell(c.scan.spread),
                          number_cell(c.scan.gbps),
                          number_cell(copy_gbps(c.scan)),
                          ratio_cell(c.scan.of_copy),
                          ratio_cell(c.scan.of_memcpy),
                          {best ? best->name : "", {}},
                          ratio_cell(best ? best->times : std::nullopt),
                          {c.scan.problem, {}}});
  }
  return without_empty_columns(std::move(table));
}

DataTable peer_table(const Run& run) {
  DataTable table{"Peers", {"case", "peer", "time, \u00b5s", "times Cumulus", "of the copy", "measured by", "problem"}, {}};
  for (const Case& c : run.cases)
    for (const Contestant& peer : c.peers)
      table.rows.push_back({{c.name, {}},
                            {peer.name, {}},
                            number_cell(peer.us),
                            ratio_cell(peer.times),
                            ratio_cell(peer.of_copy),
                            {peer.measured_by, {}},
                            {peer.problem, {}}});
  return without_empty_columns(std::move(table));
}

Section section_of(Run& run) {
  gather_cases(run);
  Section section{run.title, {headlines_of(run), facts_of(run)}};
  const bool copies = std::any_of(run.cases.begin(), run.cases.end(), [](const Case& c) { return c.scan.of_copy.has_value(); });
  if (DotPlot plot = ratio_plot(run, copies); !plot.rows.empty()) section.blocks.emplace_back(std::move(plot));
  if (RatePlot plot = rate_plot(run); !plot.points.empty()) section.blocks.emplace_back(std::move(plot));
  section.blocks.emplace_back(case_table(run));
  if (DataTable table = peer_table(run); !table.rows.empty()) section.blocks.emplace_back(std::move(table));
  return section;
}

}  // namespace

std::vector<Section> bench_sections(const std::vector<BenchEntry>& entries) {
  std::vector<Section> sections;
  for (Run& run : runs_of(entries)) sections.push_back(section_of(run));
  return sections;
}

}  // namespace cumulus::cli
