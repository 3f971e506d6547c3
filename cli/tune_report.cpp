#include "tune_report.h"

#include <fmt/core.h>

#include <cmath>

namespace cumulus::cli {
namespace {

std::string metrics_text(const std::map<std::string, double>& metrics) {
  std::string text;
  for (const auto& [name, value] : metrics)
    text += fmt::format("{}{} {:.{}f}", text.empty() ? "" : ", ", name, value, value == std::floor(value) ? 0 : 2);
  return text;
}

std::string candidates_text(const std::vector<tuning::Candidate>& candidates) {
  Table table({"  candidate", "ms", "ratio", "spread", "rounds", "decision", "why"});
  for (const tuning::Candidate& c : candidates) {
    const bool timed = !c.gains.empty();
    table.add({"  " + tuning::text_of(c.parameters), timed ? fmt::format("{:.3f}", c.ms()) : "-",
               timed ? fmt::format("{:.3f}", c.ratio()) : "-", timed ? fmt::format("{:.3f}", c.spread()) : "-",
               std::to_string(c.gains.size()), tuning::name(c.decision), c.reason});
  }
  return table.text();
}

Json candidate_json(const tuning::Candidate& c) {
  return {{"tuning", c.parameters},   {"ms", c.ms()},
          {"ratio", c.ratio()},       {"spread", c.spread()},
          {"rounds", c.gains.size()}, {"decision", tuning::name(c.decision)},
          {"reason", c.reason}};
}

Json stage_json(const tuning::StageReport& stage) {
  Json candidates = Json::array();
  for (const tuning::Candidate& candidate : stage.candidates) candidates.push_back(candidate_json(candidate));
  return {{"name", stage.name},
          {"metrics", stage.metrics},
          {"skipped", stage.skipped ? Json(*stage.skipped) : Json(nullptr)},
          {"candidates", std::move(candidates)}};
}

}  // namespace

std::string session_text(const tuning::Session& session) {
  std::string text = fmt::format("original: {}, {:.3f} ms\n", tuning::text_of(session.original), session.original_ms);
  for (std::size_t i = 0; i < session.stages.size(); ++i) {
    const tuning::StageReport& stage = session.stages[i];
    text += fmt::format("\n{}. {}\n", i + 1, stage.name);
    if (!stage.metrics.empty()) text += fmt::format("  {}\n", metrics_text(stage.metrics));
    if (stage.skipped) text += fmt::format("  skipped: {}\n", *stage.skipped);
    if (!stage.candidates.empty()) text += candidates_text(stage.candidates);
  }
  text += fmt::format("\nresult: {}", tuning::text_of(session.result));
  if (session.result != session.original)
    text += fmt::format(", {:.3f} ms, {:.1f} % less time than the original", session.result_ms, 100 * (1 - session.ratio));
  return text + fmt::format("\n{} configurations in {:.1f} s{}\n", session.evaluations, session.seconds,
                            session.stopped.empty() ? "" : "; " + session.stopped + ": what was proven by then stays");
}

Json session_json(const tuning::Session& session) {
  Json stages = Json::array();
  for (const tuning::StageReport& stage : session.stages) stages.push_back(stage_json(stage));
  return {{"original", {{"tuning", session.original}, {"ms", session.original_ms}}},
          {"stages", std::move(stages)},
          {"result", {{"tuning", session.result}, {"ms", session.result_ms}, {"ratio", session.ratio}}},
          {"seconds", session.seconds},
          {"evaluations", session.evaluations},
          {"stopped", session.stopped}};
}

std::string stages_text(const std::vector<tuning::Stage>& stages) {
  std::string text;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    text += fmt::format("{}. {}\n", i + 1, stages[i].name);
    for (const tuning::Parameter& parameter : stages[i].parameters) {
      text += fmt::format("  {:<10}", parameter.name);
      for (const std::int64_t value : parameter.values)
        text += value == parameter.own ? fmt::format(" [{}]", value) : fmt::format(" {}", value);
      text += '\n';
    }
  }
  return text;
}

}  // namespace cumulus::cli
