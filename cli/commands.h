// The subcommands of `cumulus`. Each adds itself to the app; its callback does the work.
#pragma once

#include <stdexcept>
#include <string>

#include "cli11_fwd.h"

namespace cumulus::cli {

// What the process returns. Documented in `cumulus --help`: append, never renumber.
enum ExitCode : int {
  kExitOk = 0,
  kExitMismatch = 1,     // a check failed
  kExitUsage = 2,        // the command line or an input is wrong
  kExitIo = 3,           // reading or writing failed
  kExitUnsupported = 4,  // a valid request that this build or machine cannot do, or a bug
};

// An error for the user: what() names the value, the rule and the way out. main() prints it and returns the code.
// cumulus::Error and cumulus::Failure are mapped there too, so a callback may let them pass.
struct CliError : std::runtime_error {
  CliError(ExitCode code_, const std::string& message) : std::runtime_error(message), code(code_) {}
  ExitCode code;
};

// add_run(app, exit_code) and so on: adds the subcommand with its options. Its callback sets exit_code, which starts as
// kExitOk, when a check fails (kExitMismatch) and throws CliError on other failures.
#define CUMULUS_COMMAND(name) void add_##name(CLI::App& app, int& exit_code);
#include "commands.inc"

}  // namespace cumulus::cli
