#include "tune_parameters.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "commands.h"
#include "text_lines.h"

namespace cumulus::cli {

tuning::Parameters parse_parameters(std::string_view option, std::string_view text, const std::vector<std::string>& names) {
  tuning::Parameters parameters;
  for (std::size_t from = 0, to; from < text.size(); from = to + 1) {
    to = std::min(text.find(',', from), text.size());
    const std::string_view part = trimmed(text.substr(from, to - from));
    const std::size_t gap = std::min(part.find_first_of(" ="), part.size());
    const std::string name(part.substr(0, gap));
    const std::string_view number = trimmed(part.substr(std::min(gap + 1, part.size())));
    std::int64_t value = -1;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    const bool known = std::find(names.begin(), names.end(), name) != names.end();
    if (!known || error != std::errc() || end != number.data() + number.size() || value < 0)
      throw CliError(kExitUsage,
                     fmt::format("{} {}: \"NAME NUMBER, NAME NUMBER\" is needed, with names of {}", option, part, fmt::join(names, ", ")));
    parameters[name] = value;
  }
  return parameters;
}

}  // namespace cumulus::cli
