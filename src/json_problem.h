#pragma once

#include <string>
#include <string_view>

namespace cumulus {

// A message of the JSON library for people: without its prefix, "[json.exception.parse_error.101] ", and without a whole long string that
// it did not like.
inline std::string json_problem(std::string_view what) {
  const std::size_t prefix = what.starts_with("[json.exception.") ? what.find("] ") : what.npos;
  return std::string((prefix == what.npos ? what : what.substr(prefix + 2)).substr(0, 160));
}

}  // namespace cumulus
