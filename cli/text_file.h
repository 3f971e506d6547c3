// Files that are read whole or written whole: texts, and packs of kernels.
#pragma once

#include <string>

namespace cumulus::cli {

// The file's bytes. Throws CliError: kExitIo where it cannot be read, kExitUsage where it is longer than `limit` bytes.
std::string read_text(const std::string& path, std::size_t limit);

// The path with symbolic links followed; what does not exist yet stays as it is named.
std::string behind_links(const std::string& path);

// The regular file, behind links, that a new one of this name would make or replace. Throws CliError (kExitIo) where that cannot be, before
// minutes of work: a folder, a pipe or device, a link that leads nowhere, a missing folder, no permission.
std::string check_target(const std::string& path);

// Throws what write_text would for a file that exists, or a folder: before minutes of work.
void check_place(const std::string& path, bool force);

// Writes a file at once, through a temporary one beside it. A file that exists is replaced with `force`, else it is an error (kExitUsage).
void write_text(const std::string& path, const std::string& text, bool force);

}  // namespace cumulus::cli
