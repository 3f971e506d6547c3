#include "report_input.h"

#include <fmt/core.h>

#include <cmath>
#include <string_view>

#include "commands.h"
#include "json_problem.h"
#include "text_lines.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExpected =
    "expected is what `cumulus bench --json`, `cumulus tune --json`, `cumulus profile --json` or a file of bench/results holds";

// A key's value, with the file and the place in it for messages. What is missing or null is absent, never an error.
class Node {
 public:
  Node(const Json& value, std::string where) : value_(value), where_(std::move(where)) {}

  const Json& json() const { return value_; }
  bool absent() const { return value_.is_null(); }

  Node operator[](const std::string& key) const {
    static const Json nothing;
    if (!absent() && !value_.is_object()) fail("an object");
    const auto found = absent() ? value_.end() : value_.find(key);
    return {absent() || found == value_.end() ? nothing : *found, fmt::format("{}, \"{}\"", where_, key)};
  }

  std::vector<Node> elements(const char* of) const {
    std::vector<Node> found;
    if (!absent() && !value_.is_array()) fail("a list");
    for (std::size_t i = 0; i < value_.size(); ++i) found.emplace_back(value_[i], fmt::format("{}, {} {}", where_, of, i + 1));
    return found;
  }

  std::string text() const { return text_of(value_); }

  std::optional<double> number() const {
    if (absent()) return {};
    if (!value_.is_number()) fail("a number");
    return value_.get<double>();
  }

  // Times, sizes and ratios: a log axis has no place for others, and their quotients stay finite.
  std::optional<double> positive() const {
    const std::optional<double> value = number();
    if (value && !(*value >= 1e-30 && *value <= 1e30)) fail("a number from 1e-30 to 1e30");
    return value;
  }

  // The same where 0 says that nothing was timed.
  std::optional<double> timed() const { return value_ == 0 ? std::nullopt : positive(); }

  [[noreturn]] void fail(const std::string& expected) const {
    throw CliError(kExitUsage, fmt::format("{}: {} belongs here, not {}; {}", where_, expected,
                                           in_quotes(value_.dump(-1, ' ', false, Json::error_handler_t::replace)), kExpected));
  }

 private:
  const Json& value_;
  std::string where_;
};

std::string shape_of(const Node& node) {
  std::string text;
  for (const Node& size : node.elements("size")) text += (text.empty() ? "" : " x ") + size.text();
  return text;
}

std::vector<std::pair<std::string, double>> peers_of(const Node& node) {
  std::vector<std::pair<std::string, double>> peers;
  for (const auto& item : node.json().items())
    if (const auto us = node[item.key()].positive()) peers.emplace_back(item.key(), *us);
  return peers;
}

std::vector<std::pair<std::string, std::string>> versions_of(const Node& entry) {
  std::vector<std::pair<std::string, std::string>> versions;
  for (const char* key : {"peer_versions", "versions"})
    for (const auto& item : entry[key].json().items())
      if (!item.value().is_null()) versions.emplace_back(item.key(), text_of(item.value()));
  if (const std::string torch = entry["torch"].text(); !torch.empty()) versions.emplace_back("torch", torch);
  return versions;
}

std::string problem_of(const Node& entry) {
  const std::string status = entry["status"].text(), message = entry["message"].text();
  if (status.empty() || status == "correct" || status == "timed") return "";
  return message.empty() ? status : status + ": " + message;
}

BenchEntry bench_entry(const Node& node) {
  BenchEntry entry;
  entry.name = node["case"].text();
  entry.source = node["source"].text();
  entry.device = node["device"].text();
  entry.simd = node["simd"].text();
  entry.commit = node["commit"].text();
  entry.version = node["version"].text();
  entry.date = node["date"].text();
  entry.op = node["op"].text();
  entry.kind = node["kind"].text() + (node["reverse"].json() == true ? ", reverse" : "");
  entry.in_dtype = node["dtype"].text();
  entry.out_dtype = node["out_dtype"].text();
  entry.shape = shape_of(node["shape"]);
  entry.machine = node["machine"].json();
  entry.candidate = node["candidate"].text();
  entry.problem = problem_of(node);
  if (entry.device.empty() || entry.device == "cpu") entry.threads = node["threads"].positive();  // beside a GPU: the host's
  entry.bytes = node["bytes"].positive();
  entry.us = node["median_us"].positive();
  entry.spread = node["spread"].number();
  entry.gbps = node["gbps"].positive();
  entry.of_copy = node["ratio_copy"].positive();
  entry.of_memcpy = node["ratio_memcpy"].positive();
  entry.peers = peers_of(node["peers"]);
  entry.versions = versions_of(node);
  if (!entry.us && entry.problem.empty()) node["median_us"].fail("a time (`bench --list` measures none)");
  if (!entry.gbps && entry.bytes && entry.us) entry.gbps = *entry.bytes / *entry.us / 1e3;
  return entry;
}

void check_version(const Node& node) {
  const Node version = node["version"];
  if (!version.absent() && version.number() != 1) version.fail("version 1, the only one that this cumulus reads,");
}

// A candidate that was not timed may have a time of 0, and then a ratio that says nothing.
TuneCandidate tune_candidate(const Node& node) {
  TuneCandidate candidate{node["tuning"].json(), {}, {}, {}, {}, node["decision"].text(), node["reason"].text()};
  candidate.ms = node["ms"].timed();
  if (!candidate.ms) return candidate;
  candidate.ratio = node["ratio"].positive();
  candidate.spread = node["spread"].number();
  candidate.rounds = node["rounds"].number();
  return candidate;
}

TuneStage tune_stage(const Node& node) {
  TuneStage stage{node["name"].text(), node["skipped"].text(), node["metrics"].json(), {}};
  for (const Node& candidate : node["candidates"].elements("candidate")) stage.candidates.push_back(tune_candidate(candidate));
  return stage;
}

TuneSession tune_session(const Node& node) {
  check_version(node);
  TuneSession session;
  session.commit = node["commit"].text();
  session.search = node["search"].text();
  session.stopped = node["stopped"].text();
  session.machine = node["machine"].json();
  session.problem = node["problem"].json();
  session.original = node["original"]["tuning"].json();
  session.original_ms = node["original"]["ms"].timed();
  session.result = node["result"]["tuning"].json();
  session.result_ms = node["result"]["ms"].timed();
  session.ratio = node["result"]["ratio"].positive();
  session.seconds = node["seconds"].number();
  session.evaluations = node["evaluations"].number();
  for (const Node& stage : node["stages"].elements("stage")) session.stages.push_back(tune_stage(stage));
  return session;
}

ProfileSession profile_session(const Node& node) {
  check_version(node);
  ProfileSession session;
  session.commit = node["commit"].text();
  session.resource = node["limiting"]["resource"].text();
  session.evidence = node["limiting"]["evidence"].text();
  session.why_no_counters = node["why_no_counters"].text();
  session.machine = node["machine"].json();
  session.problem = node["problem"].json();
  session.plan = node["plan"].json();
  session.launch = node["launch"].json();
  session.occupancy = node["occupancy"].json();
  session.metrics = node["metrics"].json();
  session.missing_metrics = node["missing_metrics"].json();
  session.moved = node["traffic"]["moved"].positive();
  session.required = node["traffic"]["required"].positive();
  session.ms = node["ms"].positive();
  session.copy_ms = node["copy_ms"].positive();
  session.floor_ms = node["floor_ms"].positive();
  session.spread = node["spread"].number();
  return session;
}

void read_entry(const Node& node, ReportInput& input) {
  if (!node.json().is_object()) node.fail("an object");
  const std::string kind = node["kind"].text();  // of a bench entry: of the scan
  if (kind == "tune") input.tunes.push_back(tune_session(node));
  else if (kind == "profile") input.profiles.push_back(profile_session(node));
  else if (node["case"].json().is_string()) input.bench.push_back(bench_entry(node));
  else node.fail("a measured case, a tuning session or a profile");
}

Json parse(const std::string& name, const std::string& text) {
  // Deeper than any of these files, and shallow enough for whatever walks a value by recursion.
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > 32) throw CliError(kExitUsage, fmt::format("{} is nested more than 32 levels deep; {}", name, kExpected));
    return true;
  };
  try {
    return Json::parse(text, shallow);
  } catch (const Json::exception& error) {
    throw CliError(kExitUsage, fmt::format("{} is no JSON: {}; {}", name, json_problem(error.what()), kExpected));
  }
}

void count(std::string& holds, std::size_t n, const char* one, const char* many) {
  if (n > 0) holds += fmt::format("{}{} {}", holds.empty() ? "" : ", ", n, n == 1 ? one : many);
}

}  // namespace

std::string text_of(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.{}g}", value.get<double>(), std::abs(value.get<double>()) >= 1e5 ? 15 : 6);
  if (!value.is_object()) return value.dump();
  std::string text;
  for (const auto& item : value.items())
    if (const std::string part = text_of(item.value()); !part.empty())
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", item.key(), part);
  return text;
}

void read_report_input(const std::string& name, const std::string& text, ReportInput& input) {
  const Json json = parse(name, text);
  const Node node(json, name);
  const std::size_t bench = input.bench.size(), tunes = input.tunes.size(), profiles = input.profiles.size();
  if (json.is_array())
    for (const Node& entry : node.elements("entry")) read_entry(entry, input);
  else read_entry(node, input);
  std::string holds;
  count(holds, input.bench.size() - bench, "bench entry", "bench entries");
  count(holds, input.tunes.size() - tunes, "tuning session", "tuning sessions");
  count(holds, input.profiles.size() - profiles, "profile", "profiles");
  input.files.push_back({name, holds.empty() ? "nothing measured" : holds});
}

}  // namespace cumulus::cli
