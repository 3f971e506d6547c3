// Helpers for reading text line by line. All are total: any bytes are fine.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cumulus::cli {

// Without line ends, of either kind.
std::vector<std::string_view> lines_of(std::string_view text);

std::string_view trimmed(std::string_view text);  // of blanks and tabs
std::string lower(std::string_view text);         // ASCII letters

// 'text' for a message: one line, at most 60 bytes, no control characters.
std::string in_quotes(std::string_view text);

// A message of the JSON library for people: without its prefix, "[json.exception.parse_error.101] ", and without a whole long string that
// it did not like.
std::string json_problem(std::string_view what);

bool is_identifier_char(char c);

}  // namespace cumulus::cli
