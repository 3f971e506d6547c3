// cumulus pack: GPU kernels built ahead of time, for machines without a compiler and for a first call without a wait.
#include "cuda/pack.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>

#include "commands.h"
#include "cpu/cpu_info.h"
#include "output.h"
#include "progress.h"
#include "scan_options.h"
#include "text_file.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus pack sums.pack --arch 90                          sums of f32, f64, i32, i64 for sm_90
  cumulus pack all.pack --arch 80,89,90 --op sum,max --dtype f32,bf16

Put the file into the folder `cumulus` beside the library (PREFIX/lib/cumulus), or name it in CUMULUS_PACK. It holds machine code
for this version of Cumulus. A pack that is there already is replaced when the new one is complete; any other file is left as it is,
and an error. NVRTC is needed here, and neither a GPU nor a driver; where the file is used, the driver alone.)";

struct PackOptions {
  std::string out;
  std::vector<std::string> architectures, ops = {"sum"}, dtypes = {"f32", "f64", "i32", "i64"};
  int threads = 0;
  bool json = false;
};

// "90", "9.0" or "sm_90".
int parse_capability(const std::string& text) {
  std::string digits = text.starts_with("sm_") ? text.substr(3) : text;
  if (digits.size() > 2 && digits[digits.size() - 2] == '.') digits.erase(digits.size() - 2, 1);
  const bool number = std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!number || digits.size() < 2 || digits.size() > 3)
    throw CliError(kExitUsage, fmt::format("--arch {}: a compute capability is needed, as 90, 9.0 or sm_90; without a letter behind it",
                                           text.empty() ? "\"\"" : text));
  return std::atoi(digits.c_str());
}

// The file to write. Nothing but a pack is replaced, as nothing else was made by this command.
std::string checked_target(const std::string& out) {
  std::string target = check_target(out);
  if (std::filesystem::exists(target) && !cuda::is_pack(target))
    throw CliError(kExitUsage, fmt::format("{} exists and is no pack of kernels: it is left as it is; name another file", out));
  return target;
}

void pack(const PackOptions& options) {
  std::vector<int> capabilities;
  std::vector<Op> ops;
  std::vector<DType> dtypes;
  for (const std::string& architecture : options.architectures) capabilities.push_back(parse_capability(architecture));
  for (const std::string& op : options.ops) ops.push_back(parse_op(op));
  for (const std::string& dtype : options.dtypes) dtypes.push_back(parse_dtype(dtype));
  const int threads = options.threads > 0 ? options.threads : cpu::cpu_info().cores;
  const std::string target = checked_target(options.out);  // before minutes of work
  std::optional<Progress> progress;
  const cuda::Pack packed = cuda::pack(capabilities, ops, dtypes, threads, [&](int, int total) {
    if (!progress) progress.emplace("kernels", total);
    progress->advance(1);
  });
  progress.reset();
  write_text(target, packed.bytes, true);
  if (options.json) return print_json({{"file", options.out}, {"kernels", packed.kernels}, {"bytes", packed.bytes.size()}});
  print(fmt::format("{}: {} kernels, {}\n", options.out, packed.kernels, bytes_text(static_cast<std::int64_t>(packed.bytes.size()))));
}

}  // namespace

void add_pack(CLI::App& app, int&) {
  auto* command = app.add_subcommand("pack", "Build GPU kernels ahead of time");
  const auto options = std::make_shared<PackOptions>();
  command->add_option("OUT", options->out, "The file to write; a pack of that name is replaced, nothing else is")
      ->type_name("OUT.pack")
      ->required();
  command->add_option("--arch", options->architectures, "Compute capabilities: 89, 8.9 or sm_89")
      ->type_name("N,...")
      ->delimiter(',')
      ->required();
  command->add_option("--op", options->ops, "Operations (default sum)")
      ->type_name("OP,...")
      ->delimiter(',')
      ->check(CLI::IsMember(std::vector<std::string>(kOpName, kOpName + kOps)));
  add_dtypes_option(*command, "--dtype", options->dtypes, "dtypes (default f32,f64,i32,i64)");
  command->add_option("--threads", options->threads, "Threads that compile (default: all)")->type_name("N")->check(CLI::Range(0, 65536));
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options] { pack(*options); });
}

}  // namespace cumulus::cli
