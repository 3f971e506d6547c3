// cumulus pack: GPU kernels built ahead of time, for machines without a compiler and for a first call without a wait.
#include "cuda/pack.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <memory>
#include <optional>

#include "commands.h"
#include "cpu/cpu_info.h"
#include "output.h"
#include "progress.h"
#include "scan_options.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus pack sums.pack --arch 90                          sums of f32, f64, i32, i64 for sm_90
  cumulus pack all.pack --arch 80,89,90 --op sum,max --dtype f32,bf16

Put the file into the folder `cumulus` beside the library (PREFIX/lib/cumulus), or name it in CUMULUS_PACK. It holds machine code
for this version of Cumulus. NVRTC is needed here, and neither a GPU nor a driver; where the file is used, the driver alone.)";

struct PackOptions {
  std::string out;
  std::vector<int> architectures;
  std::vector<std::string> ops = {"sum"}, dtypes = {"f32", "f64", "i32", "i64"};
  int threads = 0;
  bool json = false;
};

void pack(const PackOptions& options) {
  std::vector<Op> ops;
  std::vector<DType> dtypes;
  for (const std::string& op : options.ops) ops.push_back(parse_op(op));
  for (const std::string& dtype : options.dtypes) dtypes.push_back(parse_dtype(dtype));
  const int threads = options.threads > 0 ? options.threads : cpu::cpu_info().cores;
  std::optional<Progress> progress;
  const cuda::PackReport report = cuda::pack(options.out, options.architectures, ops, dtypes, threads, [&](int, int total) {
    if (!progress) progress.emplace("kernels", total);
    progress->advance(1);
  });
  progress.reset();
  if (options.json) return print_json({{"file", options.out}, {"kernels", report.kernels}, {"bytes", report.bytes}});
  print(fmt::format("{}: {} kernels, {}\n", options.out, report.kernels, bytes_text(report.bytes)));
}

}  // namespace

void add_pack(CLI::App& app, int&) {
  auto* command = app.add_subcommand("pack", "Build GPU kernels ahead of time");
  const auto options = std::make_shared<PackOptions>();
  command->add_option("OUT", options->out, "The file to write")->type_name("OUT.pack")->required();
  command->add_option("--arch", options->architectures, "Compute capabilities, 89 for sm_89")
      ->type_name("N,...")
      ->delimiter(',')
      ->required();
  command->add_option("--op", options->ops, "Operations (default sum)")->type_name("OP,...")->delimiter(',');
  command->add_option("--dtype", options->dtypes, "dtypes (default f32,f64,i32,i64)")->type_name("DTYPE,...")->delimiter(',');
  command->add_option("--threads", options->threads, "Threads that compile (default: all)")->type_name("N")->check(CLI::Range(0, 65536));
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options] { pack(*options); });
}

}  // namespace cumulus::cli
