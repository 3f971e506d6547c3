#include "bench_cuda.h"

#include <fmt/core.h>
#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_reduce.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>

#include "bench_arrays.h"
#include "bench_measure.h"
#include "commands.h"
#include "cuda/bench_device.h"
#include "cuda/driver.h"
#include "cuda/report.h"
#include "error.h"
#include "progress.h"
#include "shape.h"
#include "types.h"

namespace cumulus::cli {
namespace {

struct Gpu {
  int device;
  cuda::DeviceInfo info;

  Json machine() const { return {{"gpu", info.name}, {"sms", info.sms}}; }
};

// A case's figures. Of times, the medians by the names of GpuSeries.
struct CudaResult {
  std::string kernel;  // the planner's layout
  double floor_us = 0;
  Summary scan{};
  std::size_t rounds = 0;
  std::vector<std::pair<std::string, double>> us;
  std::string status, message;  // "correct", "wrong", "timed" where bits were not compared, "failed"

  double find(const std::string& name) const {
    for (const auto& [known, median] : us)
      if (known == name) return median;
    return 0;
  }
  double ratio_to(const std::string& name) const { return find(name) / scan.median_us; }

  // What the case is held against: the plain kernel with its very traffic, where there is one, else the driver's copy.
  std::string yardstick() const {
    for (const char* plain : {"multiply_kernel", "widening_kernel"})
      if (find(plain) > 0) return plain;
    return "memcpy";
  }
  bool failed() const { return status == "wrong" || status == "failed"; }
};

// --- Measuring ------------------------------------------------------------------------------------------------------------------

bool same_bytes(const void* a, const void* b, std::int64_t size) {
  const auto* const left = static_cast<const char*>(a);
  const auto* const right = static_cast<const char*>(b);
  return tbb::parallel_reduce(
      tbb::blocked_range<std::int64_t>(0, size, 1 << 20), true,
      [=](const tbb::blocked_range<std::int64_t>& part, bool same) {
        return same && std::memcmp(left + part.begin(), right + part.begin(), part.size()) == 0;
      },
      std::logical_and<>());
}

std::int64_t bytes_needed(const BenchCase& c) { return BenchArrays::bytes_needed(c) + c.out_bytes(); }

// The CPU's result is the reference: both follow the same order.
std::string compare_bits(const BenchCase& c, const BenchArrays& arrays, const ScanSpec& spec, const cuda::GpuBench& bench,
                         BenchMemory& memory) {
  void* const result = memory.take(BenchMemory::result, c.out_bytes(), "", [](void*) {});
  bench.result(result);
  arrays.scan(spec);
  return same_bytes(result, arrays.out(), c.out_bytes()) ? "correct" : "wrong";
}

cuda::Tuning tuning_of(const BenchCase& c) {
  cuda::Tuning tuning;
  tuning.capability = c.capability;
  return tuning;
}

void plan_case(const BenchCase& c, const cumulus_scan_args& args, const Gpu& gpu, CudaResult& result) {
  Problem problem;
  canonicalise(args, false, problem);
  const cuda::Plan plan = make_plan(problem, gpu.info, tuning_of(c));
  result.kernel = name(plan.layout);
  result.floor_us = 1e6 * floor_seconds(plan, gpu.info);
}

CudaResult measure_case(const BenchCase& c, const BenchOptions& options, const Gpu& gpu, const std::shared_ptr<BenchMemory>& memory) {
  CudaResult result;
  try {
    const BenchArrays arrays(c, memory);
    const ScanSpec spec = arrays.spec(0);
    const cumulus_scan_args args = arrays.args(spec);
    plan_case(c, args, gpu, result);
    const cuda::GpuBench bench(args, gpu.device, tuning_of(c));
    result.status = options.check ? compare_bits(c, arrays, spec, bench, *memory) : "timed";
    if (result.status == "wrong") result.message = "the bits differ from the CPU's";
    for (const cuda::GpuSeries& series : bench.measure({options.rounds, options.seconds})) {
      const Summary summary = summarise(series.us);
      result.us.emplace_back(series.name, summary.median_us);
      if (series.name == "scan") result.scan = summary, result.rounds = series.us.size();
    }
  } catch (const Failure& failure) {  // other cases may still do
    result.status = "failed", result.message = failure.message;
  }
  return result;
}

// --- Reporting ------------------------------------------------------------------------------------------------------------------

Json to_json(const BenchCase& c, const CudaResult& r, const BenchOptions& options, const Gpu& gpu) {
  Json json = describe(c);
  json["source"] = "cumulus bench";
  json["device"] = "cuda";
  json["capability"] = c.capability > 0 ? c.capability : gpu.info.capability;
  json["kernel"] = r.kernel;
  json["status"] = r.status;
  json["message"] = r.message;
  json["to_reach"] = c.to_reach > 0 ? Json(c.to_reach) : Json();
  json["to_reach_us"] = c.to_reach_us > 0 ? Json(c.to_reach_us) : Json();
  if (!r.us.empty()) {
    const auto ratio = [&](const std::string& name) { return r.find(name) > 0 ? Json(r.ratio_to(name)) : Json(); };
    json["median_us"] = r.scan.median_us;
    json["ms"] = r.scan.median_us / 1e3;
    json["graph_ms"] = r.find("graph") / 1e3;
    json["spread"] = r.scan.spread;
    json["rounds"] = r.rounds;
    json["gbps"] = static_cast<double>(c.bytes()) / r.scan.median_us / 1e3;
    json["ratio_copy"] = ratio("memcpy");
    json["yardstick"] = r.yardstick();
    json["ratio_yardstick"] = ratio(r.yardstick());
    json["floor_us"] = r.floor_us;
    json["ratio_floor"] = r.floor_us / r.scan.median_us;
    json["host_ratio"] = r.find("empty_host") > 0 ? Json(r.find("host") / r.find("empty_host")) : Json();
    json["us"] = Json::object();
    for (const auto& [name, us] : r.us) json["us"][name] = us;
  }
  json["peers"] = Json::object();
  json["machine"] = gpu.machine();
  stamp(json, options);
  return json;
}

void print_header() {
  fmt::print("{:<30} {:<13} {:>10} {:>10} {:>7} {:>8} {:>7} {:>7} {:>9}  {:<8} {}\n", "case", "kernel", "call", "graph", "spread", "GB/s",
             "/copy", "/floor", "to reach", "bits", "host, of an empty launch");
}

// Of a plain kernel with the same traffic where there is one, which is said.
std::string goal_text(const BenchCase& c) {
  if (c.to_reach_us > 0) return time_text(c.to_reach_us);
  return c.to_reach > 0 ? fmt::format("{:.2f}", c.to_reach) : "";
}

std::string host_text(const CudaResult& r) {
  const double empty = r.find("empty_host");
  if (empty <= 0) return r.yardstick() == "memcpy" ? "" : fmt::format("({:.3f} of a {})", r.ratio_to(r.yardstick()), r.yardstick());
  return fmt::format("{}, {:.2f}; an empty kernel's call {}, graph {}", time_text(r.find("host")), r.find("host") / empty,
                     time_text(r.find("empty")), time_text(r.find("empty_graph")));
}

void print_line(const BenchCase& c, const CudaResult& r) {
  if (r.us.empty()) fmt::print("{:<30} {:<13} {}\n", c.name, r.kernel, r.message.substr(0, r.message.find('\n')));
  else
    fmt::print("{:<30} {:<13} {:>10} {:>10} {:>6.1f}% {:>8.1f} {:>7.3f} {:>7.3f} {:>9}  {:<8} {}\n", c.name, r.kernel,
               time_text(r.scan.median_us), time_text(r.find("graph")), 100 * r.scan.spread,
               static_cast<double>(c.bytes()) / r.scan.median_us / 1e3, r.ratio_to("memcpy"), r.floor_us / r.scan.median_us, goal_text(c),
               r.status, host_text(r));
  std::fflush(stdout);
}

bool measure_cases(const std::vector<BenchCase>& cases, const BenchOptions& options, const Gpu& gpu) {
  const auto memory = std::make_shared<BenchMemory>();
  Progress progress("bench", static_cast<std::int64_t>(cases.size()));
  Json results = Json::array();
  bool well = true;
  if (options.table()) print_header();
  for (const BenchCase& c : cases) {
    if (!options.table()) progress.label(c.name);
    const CudaResult result = measure_case(c, options, gpu, memory);
    results.push_back(to_json(c, result, options, gpu));
    well = well && !result.failed();
    if (options.table())
      print_line(c, result), write_results(results, options, results.size() > 1);  // a run takes minutes, and may be cut off
    else progress.advance(1);
  }
  if (!options.table()) write_results(results, options);
  return well;
}

// --- First calls ----------------------------------------------------------------------------------------------------------------

constexpr int kFirstCalls = 5;
constexpr double kColdUs = 150'000, kWarmUs = 5'000;  // to reach: compiled, with libraries in the page cache; from the disk cache
const std::vector<std::string> kFirstCallCases = {"workload/89-cumsum", "columns/32768x32768", "1d/2^30"};

// In a child: the only call of its process.
void print_first_call(const BenchCase& c, const BenchOptions& options) {
  const std::vector<std::int64_t> out_shape = c.out_shape();
  const auto dims = [](const std::vector<std::int64_t>& sizes) { return Dims(sizes.data(), static_cast<int>(sizes.size())); };
  const ConstTensorView in(nullptr, c.in, dims(c.shape));
  const TensorView out(nullptr, c.out, dims(out_shape));
  ScanSpec spec{.op = c.op, .kind = c.kind, .axis = c.axis, .reverse = c.reverse};
  if (c.mask != MaskUse::none) spec.mask = ConstTensorView(nullptr, c.mask == MaskUse::select ? DType::boolean : c.in, dims(c.shape));
  const cuda::FirstCall call = cuda::first_call(detail::to_c(in, c.op == Op::recurrence ? &in : nullptr, out, spec), options.cuda);
  print_json({{"returned_ms", call.returned_ms}, {"done_ms", call.done_ms}});
}

// A cache of compiled kernels that is gone with it, and that children use.
class EmptyCache {
 public:
  EmptyCache() {
    std::string name = (std::filesystem::temp_directory_path() / "cumulus-bench-XXXXXX").string();
    if (!mkdtemp(name.data())) throw CliError(kExitIo, fmt::format("cannot make a folder like {}: give another TMPDIR", name));
    path_ = name;
    setenv("CUMULUS_CACHE_DIR", (path_ / "cache").c_str(), 1);
  }
  ~EmptyCache() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  EmptyCache(const EmptyCache&) = delete;
  EmptyCache& operator=(const EmptyCache&) = delete;

 private:
  std::filesystem::path path_;
};

std::string in_shell_quotes(const std::string& word) {
  std::string quoted = "'";
  for (const char letter : word) quoted += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return quoted + "'";
}

double run_first_call(const BenchCase& c, const BenchOptions& options) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command =
      fmt::format("{} bench --cuda {} --one-first-call --case {}", in_shell_quotes(self), options.cuda, in_shell_quotes(c.name));
  FILE* const pipe = popen(command.c_str(), "r");
  if (!pipe) throw CliError(kExitIo, fmt::format("cannot start {}", command));
  std::string text;
  char piece[256];
  while (const std::size_t size = std::fread(piece, 1, sizeof piece, pipe)) text.append(piece, size);
  if (pclose(pipe) != 0) throw CliError(kExitUnsupported, fmt::format("{} failed: run it to see why", command));
  return 1e3 * Json::parse(text).at("done_ms").get<double>();
}

Json first_call_json(const BenchCase& c, const char* from, double to_reach_us, const std::vector<double>& us) {
  const Summary summary = summarise(us);
  Json json = describe(c);
  json["case"] = fmt::format("first-call/{}/{}", c.name, from);
  json.erase("bytes");  // no rate of a scan
  json["source"] = "cumulus bench";
  json["device"] = "cuda";
  json["to_reach_us"] = to_reach_us;
  json["median_us"] = summary.median_us;
  json["spread"] = summary.spread;
  json["rounds"] = us.size();
  json["times_us"] = us;
  json["peers"] = Json::object();
  return json;
}

// Each call in a process of its own.
bool measure_first_calls(const std::vector<BenchCase>& cases, const BenchOptions& options, const Gpu& gpu) {
  Json results = Json::array();
  Table table({"case", "kernel comes from", "call", "spread", "to reach"});
  for (const BenchCase& c : cases) {
    std::vector<double> cold, warm;
    for (int i = 0; i < kFirstCalls; ++i) {
      const EmptyCache cache;
      cold.push_back(run_first_call(c, options));
      warm.push_back(run_first_call(c, options));
    }
    for (const auto& [from, to_reach, us] : {std::tuple{"compiler", kColdUs, &cold}, std::tuple{"disk-cache", kWarmUs, &warm}}) {
      Json json = first_call_json(c, from, to_reach, *us);
      json["machine"] = gpu.machine();
      stamp(json, options);
      table.add(
          {c.name, from, time_text(json["median_us"]), fmt::format("{:.1f}%", 100 * json["spread"].get<double>()), time_text(to_reach)});
      results.push_back(std::move(json));
    }
  }
  if (options.table()) print(table.text());
  write_results(results, options);
  return true;
}

}  // namespace

bool bench_cuda(const BenchOptions& options) {
  const Gpu gpu{options.cuda, cuda::device_info(options.cuda)};  // refuses before anything is made
  const bool first_calls = options.first_calls || options.one_first_call;
  const std::vector<BenchCase> cases =
      select_cases(cuda_bench_cases(), options.globs.empty() && first_calls ? kFirstCallCases : options.globs);
  if (options.one_first_call) {
    print_first_call(cases.front(), options);
    return true;
  }
  if (first_calls) return measure_first_calls(cases, options, gpu);
  return measure_cases(that_fit(cases, options, bytes_needed), options, gpu);
}

}  // namespace cumulus::cli
