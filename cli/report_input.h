// What `cumulus report` reads: the JSON of bench, tune and profile, told apart by content and brought into one form.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "output.h"

namespace cumulus::cli {

// An entry of `cumulus bench --json`, of bench/peers.py or of the Python package's measurements.
struct BenchEntry {
  std::string name, source, device, simd, commit, version, date;
  std::string op, kind, in_dtype, out_dtype, shape;
  Json machine;
  std::string candidate;  // "": the scan itself, with its peers beside it; else one contestant among entries of the same name
  std::string problem;    // why there are no figures to trust: "wrong: differs by up to 0.5"; "" where all is well
  std::optional<double> threads, bytes, us, spread, gbps, of_copy, of_memcpy;
  std::vector<std::pair<std::string, double>> peers;          // name, us
  std::vector<std::pair<std::string, std::string>> versions;  // of the peers
};

struct TuneCandidate {
  Json tuning;
  std::optional<double> ms, ratio, spread, rounds;  // ratio: its time over the incumbent's, the median of pairs
  std::string decision, reason;
};

struct TuneStage {
  std::string name, skipped;  // why it was; "" where it ran
  Json metrics;
  std::vector<TuneCandidate> candidates;
};

// Of `cumulus tune --json`.
struct TuneSession {
  std::string commit, search, stopped;  // stopped: why it ended early
  Json machine, problem;
  Json original, result;                                                      // tunings
  std::optional<double> original_ms, result_ms, ratio, seconds, evaluations;  // ratio: the result's time over the original's
  std::vector<TuneStage> stages;
};

// Of `cumulus profile --json`.
struct ProfileSession {
  std::string commit, resource, evidence, why_no_counters;
  Json machine, problem, plan, launch, occupancy;
  Json metrics, missing_metrics;  // missing_metrics: why, for those that are null
  std::optional<double> moved, required, ms, copy_ms, floor_ms, spread;
};

struct ReportFile {
  std::string name, holds;  // holds: "62 bench entries"
};

struct ReportInput {
  std::vector<ReportFile> files;
  std::vector<BenchEntry> bench;
  std::vector<TuneSession> tunes;
  std::vector<ProfileSession> profiles;
};

// Adds what `text`, the content of the file `name`, holds. Throws CliError (kExitUsage) that names the file, the place in it and what
// was expected there.
void read_report_input(const std::string& name, const std::string& text, ReportInput& input);

// A scalar as it is read, an object as "key value, key value".
std::string text_of(const Json& value);

}  // namespace cumulus::cli
