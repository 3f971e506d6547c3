// The plan of a call: a pure function of the problem and the machine's description. Tested without running anything.
#pragma once

#include <cstdint>
#include <string>

#include "cpu/cpu_info.h"
#include "cpu/tuning.h"
#include "shape.h"

namespace cumulus {

enum class Algorithm : std::uint8_t {
  none,          // nothing to scan; initial values become totals and first prefixes
  short_rows,    // rows of at most 128 elements, several in one vector pass
  rows,          // whole rows, shared out over the threads
  split_rows,    // rows longer than a thread's share: tiles by ticket, node totals handed from tile to tile
  columns,       // strips of columns, walked along the axis
  split_columns  // too few columns for the threads: the axis is split as well
};

struct Plan {
  ShapeCase shape;
  Algorithm algorithm;
  bool staged;     // elements pass through an in-cache buffer (conversion, mask, strides, short reversed rows)
  bool streaming;  // results bypass the cache (non-temporal stores)
  std::int32_t threads;
  std::int32_t lane_dim;     // columns: index into Problem::dim of the dimension walked in vectors; -1 for rows
  std::int64_t tile;         // elements along the axis that a thread takes at a time
  std::int64_t strip;        // columns taken at a time; 1 for rows
  std::int64_t batch;        // rows: bytes of input that a thread takes at a time, in whole rows
  std::int64_t ahead;        // elements along the axis between what is scanned and what is asked for
  std::int64_t bytes_moved;  // memory traffic of this plan
  std::int64_t bytes_required;
  const char* reason;  // one sentence, for people

  bool operator==(const Plan&) const = default;
};

Plan make_plan(const Problem& problem, const cpu::CpuInfo& cpu, const cpu::Tuning& tuning = {});

// Elements that a padded short row must hold: exclusive scans find R(n) one place after the last element.
std::int64_t padded_length(const Problem& problem);

// Strips of columns, the last of up to one and a half times the others' width: a narrow one would waste most of each line.
std::int64_t strip_count(std::int64_t columns, std::int64_t strip);

const char* name(ShapeCase shape);
const char* name(Algorithm algorithm);

// The problem and its plan as one JSON object (keys as in docs/architecture.md).
// `source` says where the parameters come from.
std::string to_json(const Problem& problem, const Plan& plan, const cpu::CpuInfo& cpu, const char* source = "default");

}  // namespace cumulus
