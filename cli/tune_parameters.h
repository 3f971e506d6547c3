// Parameters of the tuner as people write them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tuning/parameters.h"

namespace cumulus::cli {

// "strip 1024, threads 2", as tables print them, or "strip=1024,threads=2": parameters with these names. CliError (kExitUsage) for anything
// else; it names `option`, the part and the rule.
tuning::Parameters parse_parameters(std::string_view option, std::string_view text, const std::vector<std::string>& names);

}  // namespace cumulus::cli
