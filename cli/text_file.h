// Small text files: read whole, written whole.
#pragma once

#include <string>

namespace cumulus::cli {

// The file's bytes. Throws CliError: kExitIo where it cannot be read, kExitUsage where it is longer than `limit` bytes.
std::string read_text(const std::string& path, std::size_t limit);

// Throws what write_text would for a file that exists, or a folder: before minutes of work.
void check_place(const std::string& path, bool force);

// Writes a file at once, through a temporary one beside it. A file that exists is replaced with `force`, else it is an error (kExitUsage).
void write_text(const std::string& path, const std::string& text, bool force);

}  // namespace cumulus::cli
