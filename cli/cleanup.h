// Temporary files that vanish whatever ends the process (short of SIGKILL).
#pragma once

#include <sys/stat.h>

#include <string>

namespace cumulus::cli {

// Creates a file from a name that ends in XXXXXX and returns it open, or -1 with errno. Until it is forgotten, the signals that
// would end the process remove it first: an interrupt, a termination, and SIGBUS, which a mapped file raises when it is
// truncated by another program or its disk fails; that one also prints a message and exits with kExitIo.
int make_temporary(std::string& name);

// The file got its final name.
void forget_temporary(const std::string& name);

// Removes it; nothing happens for an empty or unknown name.
void remove_temporary(const std::string& name);

// The permissions of a new file: those of a temporary one are its owner's alone.
mode_t new_file_mode();

// Throws CliError (kExitIo): "<what> <path>: <the errno's words>".
[[noreturn]] void fail_io(const std::string& what, const std::string& path, int error);

}  // namespace cumulus::cli
