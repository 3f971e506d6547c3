// The sections of tuning sessions and profiles.
#include <fmt/core.h>

#include <algorithm>

#include "report_page.h"

namespace cumulus::cli {
namespace {

std::string value_of(const Json& object, const char* key) { return object.is_object() && object.contains(key) ? text_of(object[key]) : ""; }

std::optional<double> quotient(std::optional<double> a, std::optional<double> b) { return a && b ? std::optional(*a / *b) : std::nullopt; }

// "inclusive sum, f32, 32768 x 32768": rows and elements of each.
std::string problem_title(const Json& problem) {
  std::string text;
  const auto add = [&](const std::string& part, const char* separator) {
    if (!part.empty()) text += (text.empty() ? "" : separator) + part;
  };
  add(value_of(problem, "reverse") == "true" ? "reverse" : "", "");
  add(value_of(problem, "kind"), " ");
  add(value_of(problem, "op"), " ");
  add(value_of(problem, "in_dtype"), ", ");
  add(value_of(problem, "rows"), ", ");
  add(value_of(problem, "length"), " x ");
  return text.empty() ? "a scan" : text;
}

std::string title_of(const char* what, const Json& problem, const Json& machine) {
  const std::string name = machine_name(machine);
  return fmt::format("{}: {}{}", what, problem_title(problem), name.empty() ? "" : " on " + name);
}

std::string ms_text(std::optional<double> ms) { return ms ? figure(*ms) + " ms" : ""; }

// What could not be measured is null.
DataTable key_table(const std::string& caption, const char* what, const Json& object) {
  DataTable table{caption, {what, "value"}, {}};
  for (const auto& [key, value] : object.items())
    table.rows.push_back({{key, {}}, value.is_null() ? Cell{"not measured", {}} : text_cell(text_of(value))});
  return table;
}

// --- Tuning ---------------------------------------------------------------------------------------------------------------------

// What differs from the original: a candidate changes one or two of many parameters.
std::string changes(const Json& tuning, const Json& original) {
  if (!tuning.is_object() || !original.is_object()) return text_of(tuning);
  std::string text;
  const auto add = [&](const std::string& key, const std::string& value) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, value);
  };
  for (const auto& [key, value] : tuning.items())
    if (!original.contains(key) || original[key] != value) add(key, text_of(value));
  for (const auto& [key, value] : original.items())
    if (!tuning.contains(key)) add(key, "as planned");
  return text.empty() ? "the original" : text;
}

std::size_t count_decided(const TuneSession& session, const char* decision) {
  std::size_t found = 0;
  for (const TuneStage& stage : session.stages)
    found += static_cast<std::size_t>(std::count_if(stage.candidates.begin(), stage.candidates.end(),
                                                    [&](const TuneCandidate& candidate) { return candidate.decision == decision; }));
  return found;
}

std::size_t count_candidates(const TuneSession& session) {
  std::size_t found = 0;
  for (const TuneStage& stage : session.stages) found += stage.candidates.size();
  return found;
}

Headlines tune_headlines(const TuneSession& session) {
  Headlines found;
  // Pairs where there are any: the two times alone are from other rounds.
  const auto gain = session.ratio ? std::optional(1 / *session.ratio) : quotient(session.original_ms, session.result_ms);
  if (session.result == session.original) found.entries.emplace_back("kept", "the original: nothing was proven to be faster");
  else if (gain) found.entries.emplace_back(fmt::format("{:.3f}\u00d7", *gain), "as fast as the original");
  found.entries.emplace_back(fmt::format("{} of {}", count_decided(session, "accepted"), count_candidates(session)), "candidates accepted");
  const auto skipped =
      std::count_if(session.stages.begin(), session.stages.end(), [](const TuneStage& stage) { return !stage.skipped.empty(); });
  found.entries.emplace_back(fmt::format("{} of {}", skipped, session.stages.size()), "stages skipped");
  if (session.seconds) found.entries.emplace_back(figure(*session.seconds) + " s", "of search");
  return found;
}

std::string tuning_text(const Json& tuning, std::optional<double> ms) {
  std::string text = text_of(tuning);
  if (text.empty() && ms) text = "as planned";
  return ms ? ms_text(ms) + ": " + text : text;
}

Facts tune_facts(const TuneSession& session) {
  return without_empty({{{"machine", text_of(session.machine)},
                         {"commit", session.commit},
                         {"problem", text_of(session.problem)},
                         {"search", session.search},
                         {"ended early", session.stopped},
                         {"evaluations", session.evaluations ? figure(*session.evaluations) : ""},
                         {"original", tuning_text(session.original, session.original_ms)},
                         {"result", tuning_text(session.result, session.result_ms)},
                         {"result's time over the original's", session.ratio ? fmt::format("{:.4f}", *session.ratio) : ""}}});
}

// Pairs are what decides, so they are what is shown; a time alone is from other rounds.
DotPlot tune_plot(const TuneSession& session) {
  DotPlot plot;
  plot.title = "Candidates";
  plot.axis = "of the incumbent's speed, measured in pairs; further right is faster";
  plot.target_label = "as fast as the incumbent";
  plot.figures = "speed";
  plot.group_titles = true;
  plot.series = {"accepted"};
  for (const TuneStage& stage : session.stages) {
    for (const TuneCandidate& candidate : stage.candidates) {
      if (!candidate.ratio) continue;
      const double speed = 1 / *candidate.ratio;
      const std::string decision = candidate.decision.empty() ? "undecided" : candidate.decision;
      const std::size_t series = series_index(plot.series, decision);
      const std::string name = changes(candidate.tuning, session.original);
      plot.rows.push_back(
          {stage.name,
           name,
           fmt::format("{:.3f}", speed),
           {{series, speed, fmt::format("{}, {}: {}, {:.3f} of the incumbent's speed", stage.name, name, decision, speed)}}});
    }
  }
  return plot;
}

DataTable decision_table(const TuneSession& session) {
  DataTable table{"What each stage decided",
                  {"stage", "candidate", "time, ms", "time over the incumbent's", "spread", "rounds", "decision", "because"},
                  {}};
  for (const TuneStage& stage : session.stages) {
    if (!stage.skipped.empty()) table.rows.push_back({{stage.name, {}}, {}, {}, {}, {}, {}, {"skipped", {}}, {stage.skipped, {}}});
    for (const TuneCandidate& candidate : stage.candidates)
      table.rows.push_back({{stage.name, {}},
                            {changes(candidate.tuning, session.original), {}},
                            number_cell(candidate.ms),
                            candidate.ratio ? Cell{fmt::format("{:.4f}", *candidate.ratio), candidate.ratio} : Cell{},
                            percent_cell(candidate.spread),
                            number_cell(candidate.rounds),
                            {candidate.decision, {}},
                            {candidate.reason, {}}});
  }
  return table;
}

DataTable stage_metrics(const TuneSession& session) {
  DataTable table{"What each stage saw", {"stage", "metric", "value"}, {}};
  for (const TuneStage& stage : session.stages)
    for (std::vector<Cell>& row : key_table("", "metric", stage.metrics).rows) {
      row.insert(row.begin(), Cell{stage.name, {}});
      table.rows.push_back(std::move(row));
    }
  return table;
}

// --- Profiles -------------------------------------------------------------------------------------------------------------------

Headlines profile_headlines(const ProfileSession& session) {
  Headlines found;
  if (!session.resource.empty()) found.entries.emplace_back(session.resource, "is what limits it");
  if (const auto ratio = quotient(session.copy_ms, session.ms)) found.entries.emplace_back(ratio_cell(ratio).text, "of the copy");
  if (const auto ratio = quotient(session.moved, session.required))
    found.entries.emplace_back(fmt::format("{:.3f}\u00d7", *ratio), "the bytes that must move");
  return found;
}

std::string rate_text(std::optional<double> bytes, std::optional<double> ms) {
  return bytes && ms ? figure(*bytes / *ms / 1e6) + " GB/s" : "";
}

Facts profile_facts(const ProfileSession& session) {
  return without_empty({{{"machine", text_of(session.machine)},
                         {"commit", session.commit},
                         {"problem", text_of(session.problem)},
                         {"limited by", session.resource},
                         {"evidence", session.evidence},
                         {"plan", text_of(session.plan)},
                         {"launch", text_of(session.launch)},
                         {"occupancy", text_of(session.occupancy)},
                         {"no counters", session.why_no_counters},
                         {"time", ms_text(session.ms)},
                         {"its spread", percent_cell(session.spread).text},
                         {"the copy's time", ms_text(session.copy_ms)},
                         {"the floor", ms_text(session.floor_ms)},
                         {"bytes moved", bytes_cell(session.moved).text},
                         {"bytes that must move", bytes_cell(session.required).text},
                         {"rate of what must move", rate_text(session.required, session.ms)}}});
}

DataTable metric_table(const ProfileSession& session) {
  DataTable table = key_table("Metrics", "metric", session.metrics);
  table.columns.emplace_back("because");
  for (std::vector<Cell>& row : table.rows) row.push_back({value_of(session.missing_metrics, row[0].text.c_str()), {}});
  return table;
}

bool is_percentage(const std::string& metric) { return metric.ends_with(".pct") || metric.find(".pct_of_") != metric.npos; }

DotPlot percentage_plot(const Json& metrics) {
  DotPlot plot;
  plot.title = "Shares of a peak";
  plot.axis = "percent";
  plot.target = 100;
  plot.target_label = "the peak";
  plot.figures = "%";
  plot.from_zero = true;
  plot.series = {"measured"};
  for (const auto& [metric, value] : metrics.items()) {
    if (!is_percentage(metric) || !value.is_number() || value.get<double>() < 0) continue;
    const double percent = value.get<double>();
    plot.rows.push_back({"", metric, fmt::format("{:.1f}", percent), {{0, percent, fmt::format("{}: {:.1f} %", metric, percent)}}});
  }
  return plot;
}

}  // namespace

Section tune_section(const TuneSession& session) {
  Section section{title_of("Tuning", session.problem, session.machine), {tune_headlines(session), tune_facts(session)}};
  if (DotPlot plot = tune_plot(session); !plot.rows.empty()) section.blocks.emplace_back(std::move(plot));
  if (DataTable table = decision_table(session); !table.rows.empty()) section.blocks.emplace_back(without_empty_columns(std::move(table)));
  if (DataTable table = stage_metrics(session); !table.rows.empty()) section.blocks.emplace_back(std::move(table));
  return section;
}

Section profile_section(const ProfileSession& session) {
  Section section{title_of("Profile", session.problem, session.machine), {profile_headlines(session), profile_facts(session)}};
  if (DotPlot plot = percentage_plot(session.metrics); !plot.rows.empty()) section.blocks.emplace_back(std::move(plot));
  if (DataTable table = metric_table(session); !table.rows.empty()) section.blocks.emplace_back(without_empty_columns(std::move(table)));
  return section;
}

}  // namespace cumulus::cli
