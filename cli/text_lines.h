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

bool is_identifier_char(char c);

}  // namespace cumulus::cli
