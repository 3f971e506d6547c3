// cumulus: the command line. Every subcommand is a file of this folder, listed in commands.inc.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "commands.h"
#include "cumulus/cumulus.hpp"
#include "error.h"

namespace cumulus::cli {
namespace {

constexpr const char* kAbout =
    "cumulus: prefix scans of tensors (cumulative sums and their relatives), with the same bits on every machine";

constexpr const char* kFooter = R"(Examples:
  cumulus run x.npy y.npy --axis 1          y = numpy.cumsum(x, axis=1)
  cumulus demo                              every workload, checked and timed on this machine
  cumulus plan --shape 4096x4096 --axis 0   what a scan would do, and why
  cumulus run --help                        every option, with examples

Exit codes: 0 done; 1 a check failed; 2 the command line or an input is wrong; 3 reading or writing failed; 4 not supported
here, or a bug. Errors go to stderr, results to stdout, as JSON with --json.
Environment: CUMULUS_SIMD=SSE4|AVX2|AVX3|NEON chooses a lesser SIMD target than the machine's best.)";

std::string version_text() {
  return fmt::format("cumulus {} (ABI {}, order {})", cumulus_version(), CUMULUS_VERSION_MAJOR, cumulus_order_version());
}

ExitCode exit_code_of(cumulus_status status) { return status == CUMULUS_INVALID_ARGUMENT ? kExitUsage : kExitUnsupported; }

int fail(ExitCode code, const char* message) {
  fmt::print(stderr, "cumulus: {}\n", message);
  return code;
}

int run_app(int argc, char** argv) {
  CLI::App app(kAbout, "cumulus");
  int exit_code = kExitOk;
  app.set_version_flag("--version", version_text(), "Print the versions of the library, its ABI and the order");
  app.require_subcommand(1);
  app.footer(kFooter);
#define CUMULUS_COMMAND(name) add_##name(app, exit_code);
#include "commands.inc"
  const auto named = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(named).empty())
    throw CliError(kExitUsage, fmt::format("'{}' is no command; see cumulus --help", argv[1]));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help and --version
    const auto commands = app.get_subcommands();
    throw CliError(kExitUsage,
                   fmt::format("{}; see cumulus {}--help", error.what(), commands.empty() ? "" : commands[0]->get_name() + " "));
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is then an error like any other
  int code = kExitUnsupported;
  try {
    code = run_app(argc, argv);
  } catch (const CliError& error) {
    return fail(error.code, error.what());
  } catch (const Error& error) {
    return fail(exit_code_of(static_cast<cumulus_status>(error.code())), error.what());
  } catch (const Failure& failure) {
    return fail(exit_code_of(failure.status), failure.message.c_str());
  } catch (const std::bad_alloc&) {
    return fail(kExitUnsupported, "not enough memory");
  } catch (const std::exception& error) {
    return fail(kExitUnsupported, error.what());
  }
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) return fail(kExitIo, "cannot write to stdout");
  return code;
}

}  // namespace cumulus::cli

int main(int argc, char** argv) { return cumulus::cli::main(argc, argv); }
