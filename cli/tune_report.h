// A tuning session for people and for programs.
#pragma once

#include <string>

#include "output.h"
#include "tuning/engine.h"

namespace cumulus::cli {

std::string session_text(const tuning::Session& session);

// The keys that `cumulus report` reads; the caller adds what it knows of machine and problem.
Json session_json(const tuning::Session& session);

// What would be tried: each stage with its parameters and their values; [own] marks the planner's.
std::string stages_text(const std::vector<tuning::Stage>& stages);

}  // namespace cumulus::cli
