// Parameters by name: what the tuner moves, files store and people read. The backends' own structs are made from them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cpu/tuning.h"

namespace cumulus::tuning {

// Only what differs from the planner's choice; empty: its own plan.
using Parameters = std::map<std::string, std::int64_t>;

// "strip 1024, threads 2"; "the planner's choice" for none.
std::string text_of(const Parameters& parameters);

// A name that the backend does not have is left out: it can only come from another version's file.
cpu::Tuning cpu_tuning(const Parameters& parameters);
std::vector<std::string> cpu_names();

}  // namespace cumulus::tuning
