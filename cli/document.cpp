#include "document.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "output.h"
#include "text_lines.h"

namespace cumulus::cli {
namespace {

using Lines = std::vector<DocumentLine>;

std::string place(int line) { return fmt::format("line {}", line); }

[[noreturn]] void fail_at(int line, const std::string& message) { throw FormatError(fmt::format("{}: {}", place(line), message)); }

// --- Sections -------------------------------------------------------------------------------------------------------------------

struct Heading {
  const char* text;
  bool needed;
};
enum Part : std::uint8_t { kGpu, kStage, kCode, kProfile, kRules, kParts };
constexpr Heading kHeadings[kParts] = {{"# Target GPU", true},
                                       {"[OPTIMIZATION STAGE]", true},
                                       {"[CURRENT CODE]", true},
                                       {"[NCU PROFILING METRICS]", true},
                                       {"OUTPUT RULES", false}};

struct Section {
  int heading = 0;  // its line; 0: not there
  Lines lines;      // as they are
};
using Sections = std::array<Section, kParts>;

// Which section a line begins; kParts if none.
int heading_of(std::string_view line) {
  const std::string text = lower(trimmed(line));
  for (int part = 0; part < kParts; ++part)
    if (part == kRules ? text.starts_with(lower(kHeadings[part].text)) : text == lower(kHeadings[part].text)) return part;
  return kParts;
}

bool is_fence(std::string_view line) { return line.starts_with("```"); }

// Headings count outside fenced blocks alone: code may say anything.
Sections split(std::string_view text) {
  Sections sections;
  Section* current = nullptr;
  int number = 0, fence = 0;
  for (const std::string_view line : lines_of(text)) {
    ++number;
    if (is_fence(line)) fence = fence ? 0 : number;
    const int part = fence ? int{kParts} : heading_of(line);
    if (part < kParts) {
      current = &sections[static_cast<std::size_t>(part)];
      if (current->heading)
        fail_at(number, fmt::format("a second {}, the first is at line {}: leave one", kHeadings[part].text, current->heading));
      current->heading = number;
    } else if (current) {
      current->lines.push_back({number, std::string(line)});
    }
  }
  if (fence) fail_at(fence, "the block that begins here is not closed: end it with a line ```");
  for (int part = 0; part < kParts; ++part)
    if (kHeadings[part].needed && !sections[static_cast<std::size_t>(part)].heading)
      fail_at(std::max(number, 1), fmt::format("the document ends without the section {}: add it", kHeadings[part].text));
  return sections;
}

// --- The spec table -------------------------------------------------------------------------------------------------------------

// "• `num_warps`: **text**" -> "num_warps: text"; `bullet` says whether there was one.
std::string plain_line(std::string_view line, bool& bullet) {
  std::string_view text = trimmed(line);
  bullet = false;
  for (const std::string_view mark : {"• ", "- ", "* "})
    if (text.starts_with(mark)) {
      bullet = true;
      text = trimmed(text.substr(mark.size()));
      break;
    }
  std::string result;
  for (const char c : text)
    if (c != '*' && c != '`') result += c;
  return result;
}

// "Label: value"; false where there is no colon.
bool split_label(std::string_view line, std::string_view& label, std::string_view& value) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return false;
  label = trimmed(line.substr(0, colon));
  value = trimmed(line.substr(colon + 1));
  return true;
}

void parse_gpu(const Section& section, Document& document) {
  std::vector<SpecFigure> figures;
  for (const DocumentLine& line : section.lines) {
    bool bullet = false;
    const std::string text = plain_line(line.text, bullet);
    std::string_view label, value;
    if (!split_label(text, label, value)) {
      if (!text.empty()) fail_at(line.number, fmt::format("{} is no line of a spec table: write 'Label: value'", in_quotes(text)));
      continue;
    }
    if (lower(label) == "gpu name") document.gpu_name = value;
    else if (const SpecFigure figure = read_spec_line(label, value, place(line.number)); figure.field) figures.push_back(figure);
    // Other labels, such as the architecture's name, tell nothing that is needed.
  }
  if (document.gpu_name.empty()) fail_at(section.heading, "the spec table has no line 'GPU Name: ...': add it");
  document.gpu = device_of(document.gpu_name, figures, place(section.heading));
}

// --- The stage ------------------------------------------------------------------------------------------------------------------

struct StageWords {
  Stage stage;
  const char* words[2];  // either, in the focus
};
constexpr StageWords kStageWords[] = {{Stage::grid, {"grid", "parallel"}},
                                      {Stage::tiles, {"tiling", "tile size"}},
                                      {Stage::memory, {"memory", "latency"}},
                                      {Stage::micro, {"micro", "final"}}};

Stage stage_of(const DocumentLine& focus) {
  const std::string text = lower(focus.text);
  for (const StageWords& known : kStageWords)
    for (const char* word : known.words)
      if (text.find(word) != std::string::npos) return known.stage;
  fail_at(focus.number, fmt::format("the focus {} is none of the four stages: grid and parallel mapping, block tiling, memory efficiency "
                                    "and latency hiding, final micro-tuning",
                                    in_quotes(focus.text)));
}

// "num_warps ∈ {2,4,8}" -> candidates; nothing where the line has no such list.
std::optional<Candidates> candidates_of(const DocumentLine& line) {
  const std::size_t open = line.text.find('{'), close = line.text.find('}', std::min(open, line.text.size()));
  if (open == std::string::npos) return std::nullopt;
  if (close == std::string::npos) fail_at(line.number, "a list of values begins with { and does not end: add }");
  std::size_t end = open;
  while (end > 0 && !is_identifier_char(line.text[end - 1])) --end;
  std::size_t begin = end;
  while (begin > 0 && is_identifier_char(line.text[begin - 1])) --begin;
  if (begin == end) return std::nullopt;
  Candidates found{line.text.substr(begin, end - begin), {}};
  const char *at = line.text.data() + open + 1, *const stop = line.text.data() + close;
  while (at < stop) {
    while (at < stop && (*at == ' ' || *at == ',')) ++at;
    int value = 0;
    const auto [next, error] = std::from_chars(at, stop, value);
    if (at < stop && (error != std::errc() || value < 1))
      fail_at(line.number, fmt::format("{} takes {}: list positive integers, such as {{1, 2, 3}}", found.parameter,
                                       in_quotes(std::string_view(line.text).substr(open, close - open + 1))));
    if (at < stop) found.values.push_back(value);
    at = next;
  }
  if (found.values.empty()) fail_at(line.number, fmt::format("{} has an empty list of values: list some", found.parameter));
  return found;
}

void parse_stage(const Section& section, StageText& stage) {
  enum { none, metrics, rules, parameters, autotune } list = none;
  for (const DocumentLine& line : section.lines) {
    bool bullet = false;
    const DocumentLine item{line.number, plain_line(line.text, bullet)};
    std::string_view label, value;
    if (!bullet && split_label(item.text, label, value)) {
      const std::string which = lower(label);
      if (which == "focus") stage.focus = {line.number, std::string(value)};
      else if (which == "metrics") list = metrics;
      else if (which == "rules" || which == "guidelines") list = rules;
      else if (which.starts_with("param")) list = parameters;
      else if (which.starts_with("autotune")) list = autotune;
      else fail_at(line.number, fmt::format("the label {} is unknown: use Focus, Metrics, Rules, Params or Autotune", in_quotes(label)));
      continue;
    }
    if (item.text.empty() || item.text.starts_with('#')) continue;
    if (list == metrics) stage.metrics.push_back(item);
    if (list == rules) stage.rules.push_back(item);
    if (list == autotune) stage.autotune.push_back(item);
    if (list == parameters || list == autotune)
      if (auto found = candidates_of(item)) stage.parameters.push_back(std::move(*found));
  }
  if (stage.focus.text.empty()) fail_at(section.heading, "the stage has no line 'Focus: ...': add it");
  stage.stage = stage_of(stage.focus);
}

// --- The code -------------------------------------------------------------------------------------------------------------------

std::string parse_code(const Section& section) {
  std::string code;
  bool inside = false, found = false;
  for (const DocumentLine& line : section.lines) {
    if (is_fence(line.text)) {
      if (inside) break;
      inside = found = true;
    } else if (inside) {
      code += line.text + '\n';
    }
  }
  if (!found) fail_at(section.heading, "no fenced block ```python ... ``` follows: add the code");
  if (trimmed(code).empty()) fail_at(section.heading, "the block of code is empty: add the code");
  return code;
}

// --- The profile ----------------------------------------------------------------------------------------------------------------

struct Metric {
  const char* name;
  std::optional<double> KernelProfile::*member;
};
constexpr const char* kDeadStall = "smsp__warp_issue_stalled_memory_dependency_per_warp_active.pct";
constexpr const char* kStall = "smsp__warp_issue_stalled_long_scoreboard_per_warp_active.pct";
constexpr Metric kMetrics[] = {{"sm__throughput.avg.pct_of_peak_sustained_elapsed", &KernelProfile::sm},
                               {"sm__warps_active.avg.pct_of_peak_sustained_active", &KernelProfile::warps_active},
                               {"dram__throughput.avg.pct_of_peak_sustained_elapsed", &KernelProfile::dram},
                               {"lts__t_sector_hit_rate.pct", &KernelProfile::l2_hit},
                               {kStall, &KernelProfile::stall},
                               {kDeadStall, &KernelProfile::stall}};
constexpr const char* kGrid = "launch__grid_size";

// Where a key of the profile stands; the section's line where it cannot be told (a key with escapes).
int line_of(const Section& section, const std::string& key, int from = 0) {
  for (const DocumentLine& line : section.lines)
    if (line.number >= from && line.text.find('"' + key + '"') != std::string::npos) return line.number;
  return std::max(section.heading, from);
}

Json parse_json(const Section& section) {
  std::string text;
  int first = 0, depth_end = 0;
  for (const DocumentLine& line : section.lines) {
    const std::string_view trim = trimmed(line.text);
    if (!first && trim.empty()) continue;
    if (!first) first = line.number;
    if (trim.starts_with("**") || is_fence(trim)) break;  // what follows the profile
    text += line.text + '\n';
    depth_end = line.number;
  }
  if (!first || !trimmed(text).starts_with('{'))
    fail_at(first ? first : section.heading, "the profile is no JSON object: write {\"kernel\": {\"metric\": number}}");
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    const std::size_t at = std::min(error.byte, text.size());
    const auto line =
        first + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at > 0 ? at - 1 : 0), '\n'));
    fail_at(std::min(line, depth_end), "the profile is no JSON from here on: correct it, or cut what follows it");
  } catch (const Json::exception&) {
    fail_at(first, "the profile has a number that no computer holds: correct it");
  }
}

KernelProfile parse_kernel(const std::string& name, const Json& json, const Section& section, std::vector<std::string>& dead) {
  const int at = line_of(section, name);
  if (!json.is_object()) fail_at(at, fmt::format("kernel {} has no metrics: write {{\"metric\": number}}", in_quotes(name)));
  KernelProfile kernel;
  kernel.name = name;
  for (const auto& [key, value] : json.items()) {
    const int line = line_of(section, key, at);
    if (!value.is_number()) fail_at(line, fmt::format("{} of {} is no number: write one", in_quotes(key), in_quotes(name)));
    const double number = value.get<double>();
    if (key == kGrid) {
      if (!(number >= 1 && number <= 0x1p62) || number != std::floor(number))
        fail_at(line, fmt::format("{} of {} is {:g}: a grid is a whole number of blocks from 1 on", key, in_quotes(name), number));
      kernel.grid = static_cast<std::int64_t>(number);
    }
    for (const Metric& metric : kMetrics) {
      if (key != metric.name) continue;
      // Counters read in several passes overshoot 100 a little.
      if (!(number >= 0 && number <= 120)) fail_at(line, fmt::format("{} of {} is {:g}: give a percentage", key, in_quotes(name), number));
      kernel.*metric.member = number;
    }
    if (replacement(key)) dead.push_back(key);
  }
  return kernel;
}

void parse_profile(const Section& section, Document& document) {
  const Json json = parse_json(section);
  for (const auto& [name, metrics] : json.items()) document.kernels.push_back(parse_kernel(name, metrics, section, document.dead_metrics));
  if (document.kernels.empty()) fail_at(section.heading, "the profile has no kernel: add one");
}

}  // namespace

const char* name(Stage stage) {
  constexpr const char* kNames[] = {"", "grid and parallel mapping", "block tiling", "memory efficiency and latency hiding",
                                    "final micro-tuning"};
  return kNames[static_cast<int>(stage)];
}

const char* replacement(std::string_view metric) { return metric == kDeadStall ? kStall : nullptr; }

Document parse_document(std::string_view text) {
  const Sections sections = split(text);
  Document document{};
  parse_gpu(sections[kGpu], document);
  parse_stage(sections[kStage], document.stage);
  document.code = parse_code(sections[kCode]);
  for (const DocumentLine& metric : document.stage.metrics)
    if (const std::string word = metric.text.substr(0, metric.text.find(' ')); replacement(word)) document.dead_metrics.push_back(word);
  parse_profile(sections[kProfile], document);
  std::vector<std::string>& dead = document.dead_metrics;
  for (std::size_t i = dead.size(); i-- > 0;)
    if (std::find(dead.begin(), dead.begin() + static_cast<std::ptrdiff_t>(i), dead[i]) != dead.begin() + static_cast<std::ptrdiff_t>(i))
      dead.erase(dead.begin() + static_cast<std::ptrdiff_t>(i));
  return document;
}

}  // namespace cumulus::cli
