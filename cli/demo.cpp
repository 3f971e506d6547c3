// cumulus demo: the workloads that Cumulus is for, on this machine, each checked and timed.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <thread>

#include "commands.h"
#include "cpu/copy.h"
#include "cpu/cpu_info.h"
#include "demo_reference.h"
#include "machine.h"
#include "measure.h"
#include "output.h"
#include "progress.h"
#include "shape.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus demo                       8192 x 8192, 1.4 GB of memory, a few seconds
  cumulus demo --size 1024           where memory is short
  cumulus demo --size 32768          the size of the published figures; needs 23 GB
  cumulus demo --threads 1 --json

Every row of every result is checked twice: against a sum (or product) in f64, and bit for bit against the order, computed by
an independent scalar program. 'of copy' compares with the best copy of the same bytes (memcpy or streaming, with the same
number of threads) measured in turn with the scan: 1.00 is the speed of a copy. The exit code is 1 if any check fails.)";

// The largest relative error to accept. Sums of positive numbers: the order's own is below 1e-6 at any length. Products: every
// rounding counts in full, as the steps of a random walk whose standard deviation is below 0.6 * 2^-24 * sqrt(n).
double max_error(DemoOp op, std::int64_t n) { return op == DemoOp::sum ? 1e-5 : 8 * 0x1p-24 * std::sqrt(static_cast<double>(n)); }

struct DemoOptions {
  std::int64_t size = 8192;
  int threads = 0, rounds = 7;
  bool pin = false, json = false;
};

enum class MaskKind { none, boolean, real };

// One row of the table. `benchmark` is the number of the KernelBench problem.
struct Case {
  int benchmark;
  const char* name;
  DemoOp op;
  Kind kind;
  bool reverse;
  MaskKind mask;
  bool drops_row;  // the old definition of 92: the last row of x is left out, the result is one wider
};

constexpr Case kCases[] = {
    {89, "inclusive sum", DemoOp::sum, Kind::inclusive, false, MaskKind::none, false},
    {90, "inclusive product", DemoOp::prod, Kind::inclusive, false, MaskKind::none, false},
    {91, "reverse sum", DemoOp::sum, Kind::inclusive, true, MaskKind::none, false},
    {92, "exclusive sum", DemoOp::sum, Kind::exclusive, false, MaskKind::none, false},
    {92, "exclusive sum, old definition", DemoOp::sum, Kind::prefixes, false, MaskKind::none, true},
    {93, "masked sum, bool mask", DemoOp::sum, Kind::inclusive, false, MaskKind::boolean, false},
    {93, "masked sum, f32 mask", DemoOp::sum, Kind::inclusive, false, MaskKind::real, false},
};

struct Result {
  std::vector<std::int64_t> shape, out_shape;
  std::int64_t bytes = 0;
  double ms = 0, copy_ms = 0, error = 0, max_error = 0;
  const char* copy = "";
  bool bits_equal = false;

  double gbps() const { return static_cast<double>(bytes) / ms / 1e6; }
  double ratio() const { return copy_ms / ms; }
  bool ok() const { return bits_equal && error <= max_error; }
};

// --- Data -----------------------------------------------------------------------------------------------------------------------

// body(row) for every row, on several threads.
void for_rows(std::int64_t rows, int threads, const std::function<void(std::int64_t first, std::int64_t last)>& body) {
  constexpr std::int64_t kStep = 16;
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    for (std::int64_t row; (row = next.fetch_add(kStep)) < rows;) body(row, std::min(rows, row + kStep));
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

std::uint64_t splitmix(std::uint64_t& state) {
  std::uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

struct Data {
  std::int64_t size;
  Buffer x, near_one, out, mask, real_mask, scratch;

  Data(std::int64_t n, int threads)
      : size(n),
        x(elements() * 4),
        near_one(elements() * 4),
        out((elements() + static_cast<std::size_t>(n)) * 4),
        mask(elements()),
        real_mask(elements() * 4),
        scratch(elements() * 4) {
    for_rows(n, threads, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) fill(row);
    });
  }
  std::size_t elements() const { return static_cast<std::size_t>(size) * static_cast<std::size_t>(size); }
  static std::int64_t bytes_needed(std::int64_t n) { return n * n * (5 * 4 + 1) + 64 * n; }

 private:
  // Uniform in [0, 1); factors near 1, so that products neither vanish nor overflow (yet not so near that roundings of their
  // products all go one way); about half of the mask is set.
  void fill(std::int64_t row) {
    const auto spread = static_cast<float>(std::min(0.5, 4 / std::sqrt(static_cast<double>(size))));
    std::uint64_t state = static_cast<std::uint64_t>(row) << 32;
    const std::size_t begin = static_cast<std::size_t>(row * size), end = begin + static_cast<std::size_t>(size);
    for (std::size_t i = begin; i < end; ++i) {
      const std::uint64_t bits = splitmix(state);
      const float uniform = static_cast<float>(bits >> 40) * 0x1p-24f;
      x.as<float>()[i] = uniform;
      near_one.as<float>()[i] = 1.0f + (2 * uniform - 1) * spread;
      mask.as<std::uint8_t>()[i] = bits & 1;
      real_mask.as<float>()[i] = static_cast<float>(bits & 1);
      scratch.as<float>()[i] = 0;
    }
  }
};

// --- One case -------------------------------------------------------------------------------------------------------------------

struct Call {
  ConstTensorView in;
  TensorView out;
  ScanSpec spec;
  std::int64_t rows, width;
};

Call call_of(const Case& c, const Data& data, const DemoOptions& options) {
  const std::int64_t rows = data.size - (c.drops_row ? 1 : 0), width = data.size + (c.kind == Kind::prefixes ? 1 : 0);
  Call call{{(c.op == DemoOp::prod ? data.near_one : data.x).as(), DType::f32, {rows, data.size}},
            {data.out.as(), DType::f32, {rows, width}},
            {},
            rows,
            width};
  call.spec.op = c.op == DemoOp::prod ? Op::prod : Op::sum;
  call.spec.kind = c.kind;
  call.spec.axis = 1;
  call.spec.reverse = c.reverse;
  call.spec.threads = options.threads;
  call.spec.pin_threads = options.pin;
  if (c.mask == MaskKind::boolean) call.spec.mask = ConstTensorView(data.mask.as(), DType::boolean, {rows, data.size});
  if (c.mask == MaskKind::real) call.spec.mask = ConstTensorView(data.real_mask.as(), DType::f32, {rows, data.size});
  return call;
}

std::int64_t required_bytes(const Call& call) {
  Problem problem;
  canonicalise(detail::to_c(call.in, nullptr, call.out, call.spec), true, problem);
  return bytes_required(problem);
}

// A copy that moves as many bytes as the scan, read and written together.
void copy_same_bytes(const Data& data, std::int64_t bytes, cpu::CopyKind kind, const DemoOptions& options) {
  const auto whole = static_cast<std::int64_t>(data.elements() * 4);
  for (std::int64_t left = bytes / 2; left > 0; left -= whole)
    cpu::copy(data.scratch.as(), data.x.as(), static_cast<std::size_t>(std::min(left, whole)), kind, options.threads, options.pin);
}

void measure(const Call& call, const Data& data, const DemoOptions& options, Result& result) {
  std::vector<double> scans, memcpys, streams;
  for (int round = -1; round < options.rounds; ++round) {  // the first warms up
    const double scan_ms = time_ms([&] { scan(call.in, call.out, call.spec); });
    const double memcpy_ms = time_ms([&] { copy_same_bytes(data, result.bytes, cpu::CopyKind::memcpy, options); });
    const double stream_ms = time_ms([&] { copy_same_bytes(data, result.bytes, cpu::CopyKind::streaming, options); });
    if (round < 0) continue;
    scans.push_back(scan_ms);
    memcpys.push_back(memcpy_ms);
    streams.push_back(stream_ms);
  }
  result.ms = median(scans);
  const double memcpy_ms = median(memcpys), stream_ms = median(streams);
  result.copy_ms = std::min(memcpy_ms, stream_ms);
  result.copy = memcpy_ms < stream_ms ? "memcpy" : "streaming";
}

// One row's check, with the memory it needs.
class RowChecker {
 public:
  RowChecker(const Case& c, const Data& data)
      : case_(c), data_(data), x_(static_cast<std::size_t>(data.size)), bits_(x_.size() + 1), exact_(x_.size() + 1) {}

  double error = 0;
  bool bits_equal = true;

  void check(std::int64_t row, std::int64_t width) {
    load(row);
    order_.prefixes(x_, case_.op, bits_);
    serial_prefixes(x_, case_.op, exact_);
    const std::size_t first = case_.kind == Kind::inclusive ? 1 : 0;
    const auto n = static_cast<std::size_t>(width);
    const float* out = data_.out.as<float>() + row * width;
    for (std::size_t i = 0; i < n; ++i) {
      const float got = out[case_.reverse ? n - 1 - i : i];
      bits_equal = bits_equal && std::bit_cast<std::uint32_t>(got) == std::bit_cast<std::uint32_t>(bits_[first + i]);
      const double want = exact_[first + i], off = std::abs(got - want);
      const double relative = off == 0 ? 0 : off / std::abs(want);
      if (!(relative <= error)) error = std::isnan(relative) ? std::numeric_limits<double>::infinity() : relative;
    }
  }

 private:
  void load(std::int64_t row) {
    const std::size_t n = x_.size(), begin = static_cast<std::size_t>(row) * n;
    const float* x = (case_.op == DemoOp::prod ? data_.near_one : data_.x).as<float>() + begin;
    for (std::size_t i = 0; i < n; ++i) {
      float value = x[i];
      if (case_.mask == MaskKind::boolean) value = data_.mask.as<std::uint8_t>()[begin + i] ? value : 0.0f;
      if (case_.mask == MaskKind::real) value *= data_.real_mask.as<float>()[begin + i];
      x_[case_.reverse ? n - 1 - i : i] = value;
    }
  }

  const Case& case_;
  const Data& data_;
  OrderReference order_;
  std::vector<float> x_, bits_;
  std::vector<double> exact_;
};

void check(const Case& c, const Call& call, const Data& data, int threads, Result& result) {
  std::atomic<bool> equal{true};
  std::atomic<double> error{0};
  for_rows(call.rows, threads, [&](std::int64_t first, std::int64_t last) {
    RowChecker checker(c, data);
    for (std::int64_t row = first; row < last; ++row) checker.check(row, call.width);
    if (!checker.bits_equal) equal = false;
    double seen = error;
    while (checker.error > seen && !error.compare_exchange_weak(seen, checker.error)) {
    }
  });
  result.bits_equal = equal;
  result.error = error;
}

Result run_case(const Case& c, const Data& data, const DemoOptions& options, int check_threads) {
  const Call call = call_of(c, data, options);
  Result result;
  result.shape = {call.rows, data.size};
  result.out_shape = {call.rows, call.width};
  result.bytes = required_bytes(call);
  result.max_error = max_error(c.op, data.size);
  std::memset(data.out.as(), 0xff, data.out.size());  // nothing of the last case may pass for a result
  measure(call, data, options, result);
  check(c, call, data, check_threads, result);
  return result;
}

// --- The command ----------------------------------------------------------------------------------------------------------------

Json to_json(const Case& c, const Result& r) {
  Json json = {{"case", c.name},
               {"kernelbench", c.benchmark},
               {"op", c.op == DemoOp::prod ? "prod" : "sum"},
               {"shape", r.shape},
               {"out_shape", r.out_shape}};
  json["ms"] = r.ms;
  json["bytes"] = r.bytes;
  json["gbps"] = r.gbps();
  json["ratio_copy"] = r.ratio();
  json["copy"] = r.copy;
  json["max_relative_error"] = std::isfinite(r.error) ? Json(r.error) : Json(nullptr);
  json["max_error_accepted"] = r.max_error;
  json["bits_equal"] = r.bits_equal;
  json["ok"] = r.ok();
  return json;
}

void check_memory(std::int64_t size) {
  const std::int64_t needed = Data::bytes_needed(size), available = memory_available();
  if (available > 0 && needed > available)
    throw CliError(kExitUnsupported, fmt::format("--size {} needs {} of memory, {} are available: choose a smaller one, such as --size {}",
                                                 size, bytes_text(needed), bytes_text(available),
                                                 static_cast<std::int64_t>(std::sqrt(static_cast<double>(available) / 25)) / 256 * 256));
}

bool demo(const DemoOptions& options) {
  check_memory(options.size);
  const cpu::CpuInfo cpu = cpu::cpu_info();
  const int threads = options.threads > 0 ? options.threads : cpu.cores;
  Progress progress("making data", static_cast<std::int64_t>(std::size(kCases)) + 1);
  const Data data(options.size, cpu.cores);

  Table table({"problem", "operation", "shape of the result", "ms", "GB/s", "of copy", "largest error", "bits equal"});
  Json cases = Json::array();
  bool ok = true;
  for (const Case& c : kCases) {
    progress.advance(1);
    progress.label(c.name);
    const Result r = run_case(c, data, options, cpu.cores);
    ok = ok && r.ok();
    cases.push_back(to_json(c, r));
    table.add({fmt::format("[{}]", c.benchmark), c.name, shape_text(r.out_shape), fmt::format("{:.3f}", r.ms),
               fmt::format("{:.1f}", r.gbps()), fmt::format("{:.2f}", r.ratio()), fmt::format("{:.1e}", r.error),
               r.bits_equal ? "yes" : "NO"});
  }
  if (options.json) {
    print_json({{"size", options.size},
                {"dtype", "f32"},
                {"device", "cpu"},
                {"threads", threads},
                {"simd", cpu.simd},
                {"order", cumulus_order_version()},
                {"rounds", options.rounds},
                {"cases", std::move(cases)},
                {"ok", ok}});
    return ok;
  }
  print(fmt::format("{} x {} f32 along axis 1, {} thread{}, {}, medians of {} rounds; every row checked\n\n{}\n{}\n", options.size,
                    options.size, threads, threads == 1 ? "" : "s", cpu.simd, options.rounds, table.text(),
                    ok ? "All results are right, and their bits are those of the order."
                       : "A CHECK FAILED: a result is too far from its f64 value, or its bits are not those of the order."));
  return ok;
}

}  // namespace

void add_demo(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("demo", "Run the main workloads, check every result, compare with a copy");
  const auto options = std::make_shared<DemoOptions>();
  command->add_option("--size", options->size, "Rows and columns (default 8192)")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20));
  command->add_option("--threads", options->threads, "Threads of scans and copies (default: all)")
      ->type_name("N")
      ->check(CLI::Range(0, 65536));
  command->add_option("--rounds", options->rounds, "Rounds to take the median of (default 7)")->type_name("N")->check(CLI::Range(1, 1000));
  command->add_flag("--pin", options->pin, "Bind worker threads to cores");
  add_json_flag(*command, options->json);
  set_examples(*command, kExamples);
  command->callback([options, &exit_code] {
    if (!demo(*options)) exit_code = kExitMismatch;
  });
}

}  // namespace cumulus::cli
