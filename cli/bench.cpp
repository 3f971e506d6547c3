// cumulus bench: named cases, each measured beside copies of the same bytes and beside its C++ peers in the same rounds; on a GPU:
// bench_cuda.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include "bench_arrays.h"
#include "bench_cases.h"
#include "bench_cuda.h"
#include "bench_measure.h"
#include "bench_peers.h"
#include "bench_results.h"
#include "commands.h"
#include "cpu/copy.h"
#include "cpu/cpu_info.h"
#include "cumulus/cumulus.hpp"
#include "machine.h"
#include "output.h"
#include "progress.h"
#include "text_file.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus bench --list                                    the cases
  cumulus bench --case 'rows/*' --case 'columns/*'        some of them, on all cores
  cumulus bench --case 'workload/*' --threads 1,2 --pin   with one and two threads, bound to cores
  cumulus bench --quick --no-peers                        a first impression
  cumulus bench --json results.json                       everything, with commit, machine and date
  cumulus bench --cuda 0 --case 'workload/*'              on a GPU; --list --cuda 0 shows its cases
  cumulus bench --cuda 0 --first-calls                    what a first call takes

Every case is measured in interleaved rounds: the scan, memcpy on one thread, the best copy on as many threads as the scan,
then the peers; medians. Copies move as many bytes as the scan, so a ratio of 1 means as fast as a copy. The best copy is the
one that writes past the cache or, where everything fits into the last-level cache, the fastest of all. 'spread' is the
90th percentile less the 10th, over the median. Bytes are those that any implementation must read and write.

On a GPU: CUDA events around one call after the L2 cache was flushed, and the same call as a node of a graph; beside the driver's copy
and plain kernels. Calls that move at most a quarter of the L2 cache are measured with their data in it, beside an empty kernel, with
the host's time for a call. Bits are compared with the CPU's. PyTorch, CUB and CuPy are measured by bench/gpu_peers.py.)";

struct Machine {
  cpu::CpuInfo cpu;
  std::string model;
};

struct Result {
  Summary scan;
  int calls;
  std::size_t rounds;
  double memcpy_us, copy_us;
  std::vector<std::pair<std::string, double>> copies, peers;  // name, median in us
};

// --- Measuring ------------------------------------------------------------------------------------------------------------------

std::vector<Contestant> copies(const BenchArrays& arrays, const Machine& machine, std::int64_t bytes, int threads) {
  const void* from = arrays.in();
  void* to = arrays.out();
  const std::size_t size = arrays.copy_bytes();
  const auto copy = [=](cpu::CopyKind kind) { return [=] { cpu::copy(to, from, size, kind, threads); }; };
  std::vector<Contestant> found;
  found.push_back(contestant("memcpy_1", [=] {
    std::memcpy(to, from, size);
    asm volatile("" ::: "memory");
  }));
  found.push_back(contestant(fmt::format("streaming_{}", threads), copy(cpu::CopyKind::streaming)));
  if (bytes <= machine.cpu.l3 && threads > 1) found.push_back(contestant(fmt::format("memcpy_{}", threads), copy(cpu::CopyKind::memcpy)));
  return found;
}

Result measure_case(const BenchCase& c, const BenchOptions& options, const Machine& machine, int threads) {
  const BenchArrays arrays(c);
  const ScanSpec spec = arrays.spec(threads);
  std::vector<Contestant> all;
  all.push_back(contestant("cumulus", [&] { arrays.scan(spec); }));
  for (Contestant& copy : copies(arrays, machine, c.bytes(), threads)) all.push_back(std::move(copy));
  const std::size_t first_peer = all.size();
  if (options.peers)
    for (Contestant& peer : peers(c, arrays.in(), arrays.out(), threads)) all.push_back(std::move(peer));

  measure(all, {options.rounds, options.seconds});
  Result result{summarise(all[0].us), all[0].calls, all[0].us.size(), 0, 0, {}, {}};
  for (std::size_t i = 1; i < all.size(); ++i)
    (i < first_peer ? result.copies : result.peers).emplace_back(all[i].name, summarise(all[i].us).median_us);
  result.memcpy_us = result.copies[0].second;
  result.copy_us = result.copies[1].second;
  if (c.bytes() <= machine.cpu.l3)
    for (const auto& copy : result.copies) result.copy_us = std::min(result.copy_us, copy.second);
  return result;
}

// --- Reporting ------------------------------------------------------------------------------------------------------------------

double gbps(const BenchCase& c, const Result& r) { return static_cast<double>(c.bytes()) / r.scan.median_us / 1e3; }

Json medians(const std::vector<std::pair<std::string, double>>& entries) {
  Json json = Json::object();
  for (const auto& [name, us] : entries) json[name] = us;
  return json;
}

Json to_json(const BenchCase& c, const Result& r, const BenchOptions& options, const Machine& machine, int threads) {
  Json json = describe(c);
  json["source"] = "cumulus bench";
  json["device"] = "cpu";
  json["threads"] = threads;
  json["pinned"] = options.pin;
  json["simd"] = machine.cpu.simd;
  json["median_us"] = r.scan.median_us;
  json["spread"] = r.scan.spread;
  json["rounds"] = r.rounds;
  json["calls"] = r.calls;
  json["gbps"] = gbps(c, r);
  json["ratio_memcpy"] = r.memcpy_us / r.scan.median_us;
  json["ratio_copy"] = r.copy_us / r.scan.median_us;
  json["copies"] = medians(r.copies);
  json["peers"] = medians(r.peers);
  json["machine"] = {{"cpu", machine.model}, {"cores", machine.cpu.cores}, {"l2", machine.cpu.l2}, {"l3", machine.cpu.l3}};
  stamp(json, options);
  return json;
}

std::string best_peer_text(const Result& r) {
  if (r.peers.empty()) return "";
  const auto best = std::min_element(r.peers.begin(), r.peers.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return fmt::format("{} {:.2f}x", best->first, best->second / r.scan.median_us);
}

// A line per case as soon as it is measured: a whole run takes minutes.
void print_header() {
  fmt::print("{:<28} {:>7} {:>12} {:>7} {:>8} {:>8} {:>8}  {}\n", "case", "threads", "median", "spread", "GB/s", "/memcpy", "/copy",
             "best peer");
}

void print_line(const BenchCase& c, const Result& r, int threads) {
  fmt::print("{:<28} {:>7} {:>12} {:>6.1f}% {:>8.1f} {:>8.2f} {:>8.2f}  {}\n", c.name, threads, time_text(r.scan.median_us),
             100 * r.scan.spread, gbps(c, r), r.memcpy_us / r.scan.median_us, r.copy_us / r.scan.median_us, best_peer_text(r));
  std::fflush(stdout);
}

void list(const std::vector<BenchCase>& cases, const BenchOptions& options) {
  Json json = Json::array();
  Table table({"case", "op", "kind", "shape", "axis", "dtype", "bytes"});
  for (const BenchCase& c : cases) {
    json.push_back(describe(c));
    table.add({c.name, name(c.op), kKindName[static_cast<int>(c.kind)], shape_text(c.shape), std::to_string(c.axis),
               c.in == c.out ? name(c.in) : fmt::format("{} to {}", name(c.in), name(c.out)), bytes_text(c.bytes())});
  }
  if (options.want_json) write_results(json, options);
  else print(table.text());
}

// --- The command ----------------------------------------------------------------------------------------------------------------

void bench_cpu(BenchOptions options) {
  const Machine machine{cpu::cpu_info(), cpu::model_name()};  // before pinning, which narrows this thread's mask
  if (options.threads.empty()) options.threads = {machine.cpu.cores};
  if (options.pin) pin_threads(*std::max_element(options.threads.begin(), options.threads.end()));
  const std::vector<BenchCase> cases = that_fit(select_cases(bench_cases(), options.globs), options, BenchArrays::bytes_needed);

  Progress progress("bench", static_cast<std::int64_t>(cases.size() * options.threads.size()));
  Json results = Json::array();
  if (options.table()) print_header();
  for (const BenchCase& c : cases) {
    for (const int threads : options.threads) {
      if (!options.table()) progress.label(c.name);
      const Result result = measure_case(c, options, machine, threads);
      results.push_back(to_json(c, result, options, machine, threads));
      if (options.table()) print_line(c, result, threads);
      else progress.advance(1);
    }
  }
  write_results(results, options);
}

// False: a check failed.
bool bench(BenchOptions options) {
  if (options.to_file()) check_place(options.json, options.force);  // before minutes of work
  if (options.list) {
    list(select_cases(options.cuda >= 0 ? cuda_bench_cases() : bench_cases(), options.globs), options);
    return true;
  }
  if (options.quick) options.rounds = 3, options.seconds = 0;
  if (options.cuda >= 0) return bench_cuda(options);
  bench_cpu(std::move(options));
  return true;
}

}  // namespace

void add_bench(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("bench", "Measure named cases beside copies and peers, on the CPU or a GPU");
  const auto options = std::make_shared<BenchOptions>();
  command->add_option("--case", options->globs, "Cases whose name matches (repeatable; default: all)")
      ->type_name("GLOB")
      ->expected(1)
      ->take_all();
  command->add_flag("--list", options->list, "List the cases, measure nothing");
  auto* cuda = command->add_option("--cuda", options->cuda, "Measure the cases for GPUs on this CUDA device")
                   ->type_name("DEVICE")
                   ->check(CLI::Range(0, 1023));
  command
      ->add_option("--threads", options->threads, "Threads of scans, copies and peers; several are measured in turn (default: all cores)")
      ->type_name("N")
      ->delimiter(',')
      ->expected(1)
      ->take_all()
      ->check(CLI::Range(1, 65536))
      ->excludes(cuda);
  command->add_option("--rounds", options->rounds, "Rounds at least (default 15)")->type_name("N")->check(CLI::Range(1, 1000));
  command->add_option("--min-time", options->seconds, "Seconds at least per case (default 0.5)")
      ->type_name("S")
      ->check(CLI::Range(0.0, 3600.0));
  command->add_option("--max-mib", options->max_mib, "Leave out cases that move more MiB")->type_name("MIB")->check(CLI::Range(1, 1 << 30));
  command->add_flag("--quick", options->quick, "Three rounds: a first impression");
  command->add_flag("--peers,!--no-peers", options->peers, "Measure C++ peers too (default)");
  command->add_flag("--pin", options->pin, "Bind the calling thread and all workers to cores")->excludes(cuda);
  command->add_flag("!--no-check", options->check, "With --cuda: do not compare bits with the CPU's")->needs(cuda);
  command
      ->add_flag("--first-calls", options->first_calls, "With --cuda: what a process's first call takes, compiled and from the disk cache")
      ->needs(cuda);
  command->add_flag("--one-first-call", options->one_first_call)->needs(cuda)->group("");  // a child of --first-calls
  command->add_option("--commit", options->commit, "Commit to name in the JSON")->type_name("HASH")->envname("CUMULUS_COMMIT");
  auto* json = command->add_option("--json", options->json, "Write results as JSON to FILE, or to stdout instead of the table")
                   ->type_name("[FILE|-]")
                   ->expected(0, 1);
  command->add_flag("--force", options->force, "Replace a file that exists");
  set_examples(*command, kExamples);
  command->callback([options, json, &exit_code] {
    options->want_json = json->count() > 0;
    if (options->json.empty()) options->json = "-";
    if (!bench(*options)) exit_code = kExitMismatch;
  });
}

}  // namespace cumulus::cli
