#include "cuda/bench_device.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <utility>

#include "cuda/device_arrays.h"
#include "cuda/launch.h"
#include "cuda/program.h"
#include "cuda/yardstick_sources.h"
#include "error.h"
#include "tuning/statistics.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

constexpr int kMaxRounds = 1000;
constexpr int kBurst = 100;  // calls; few enough for the queue of a stream, so that the host never waits for the GPU
constexpr unsigned kThreads = 256;
constexpr std::int64_t kVector = 16, kVectorsRead = 4;

using Clock = std::chrono::steady_clock;
double us_since(Clock::time_point start) { return std::chrono::duration<double, std::micro>(Clock::now() - start).count(); }

CUdeviceptr address(const cumulus_tensor& t) { return std::bit_cast<CUdeviceptr>(t.data); }

// ---- yardsticks ----

CubinSource& yardstick_cubins(const Driver& driver) {
  static auto& source = *new CubinSource(real_system(), driver.version, {yardstick_sources(), yardstick_sources_hash()});
  return source;
}

// The kernels of yardsticks.cuh in a context, each loaded when it is first asked for.
class Yardsticks {
 public:
  Yardsticks(const DeviceArrays& arrays, const DeviceInfo& info, CubinSource& cubins) : arrays_(arrays), info_(info), cubins_(cubins) {}

  // What launches a kernel over `threads` threads: its parameters are copied, and it may run any number of times.
  template <class... Parameters>
  std::function<void()> launch(const char* kernel, std::int64_t threads, Parameters... parameters) const {
    const Driver& driver = arrays_.driver();
    const CUfunction function = load_kernel(driver, cubins_, arrays_.context_id(), {"yardsticks.cuh", kernel, {}}, info_);
    const auto blocks = static_cast<unsigned>(std::max<std::int64_t>(1, (threads + kThreads - 1) / kThreads));
    return [&driver, function, blocks, stream = arrays_.stream(), parameters...]() mutable {
      void* pointers[] = {&parameters..., nullptr};
      check(driver, driver.cuLaunchKernel(function, blocks, 1, 1, kThreads, 1, 1, 0, stream, pointers, nullptr), "cuLaunchKernel");
    };
  }

 private:
  const DeviceArrays& arrays_;
  const DeviceInfo& info_;
  CubinSource& cubins_;
};

// ---- rounds ----

// Calls that were captured in a graph. Copies of it share the graph.
class Replay {
 public:
  Replay(const DeviceArrays& arrays, const std::function<void()>& work, int times) : graph_(std::make_shared<Graph>(arrays.driver())) {
    const Driver& driver = arrays.driver();
    stream_ = arrays.stream();
    check(driver, driver.cuStreamBeginCapture(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
    try {
      for (int i = 0; i < times; ++i) work();
    } catch (...) {
      driver.cuStreamEndCapture(stream_, &graph_->graph);
      throw;
    }
    check(driver, driver.cuStreamEndCapture(stream_, &graph_->graph), "cuStreamEndCapture");
    check(driver, driver.cuGraphInstantiateWithFlags(&graph_->executable, graph_->graph, 0), "cuGraphInstantiateWithFlags");
  }

  void operator()() const { check(graph_->driver, graph_->driver.cuGraphLaunch(graph_->executable, stream_), "cuGraphLaunch"); }

 private:
  struct Graph {
    explicit Graph(const Driver& d) : driver(d) {}
    ~Graph() {
      if (executable) driver.cuGraphExecDestroy(executable);
      if (graph) driver.cuGraphDestroy(graph);
    }
    Graph(const Graph&) = delete;
    Graph& operator=(const Graph&) = delete;

    const Driver& driver;
    CUgraph graph = nullptr;
    CUgraphExec executable = nullptr;
  };

  std::shared_ptr<Graph> graph_;
  CUstream stream_ = nullptr;
};

struct Contestant {
  std::string name;
  std::function<void()> work;  // puts work in the stream
  int calls = 1;               // of it for each timing, back to back
  double share = 1;            // of the time of `work` that counts: a graph holds many calls, a copy moves more or less than a scan
  bool warm = false;           // runs once before it is timed, which leaves its data in the L2 cache
  bool on_host = false;        // by the host's clock, until all is in the stream
  std::vector<double> us = {};
};

// The flush that stands before each timing keeps the GPU busy until the host has put everything else in the stream.
class Stopwatch {
 public:
  explicit Stopwatch(const DeviceArrays& arrays) : arrays_(arrays) {
    for (CUevent* event : {&start_, &end_}) check(arrays.driver(), arrays.driver().cuEventCreate(event, CU_EVENT_DEFAULT), "cuEventCreate");
  }
  ~Stopwatch() {
    for (const CUevent event : {start_, end_}) arrays_.driver().cuEventDestroy(event);
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  double us(const Contestant& c) const { return (c.on_host ? host_us(c) : device_us(c)) * c.share / c.calls; }

 private:
  double host_us(const Contestant& c) const {
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < c.calls; ++i) c.work();
    const double us = us_since(start);
    arrays_.wait();
    return us;
  }

  double device_us(const Contestant& c) const {
    const Driver& driver = arrays_.driver();
    arrays_.flush();
    if (c.warm) c.work();
    check(driver, driver.cuEventRecord(start_, arrays_.stream()), "cuEventRecord");
    for (int i = 0; i < c.calls; ++i) c.work();
    check(driver, driver.cuEventRecord(end_, arrays_.stream()), "cuEventRecord");
    arrays_.wait();
    float ms = 0;
    check(driver, driver.cuEventElapsedTime(&ms, start_, end_), "cuEventElapsedTime");
    return 1e3 * static_cast<double>(ms);
  }

  const DeviceArrays& arrays_;
  CUevent start_ = nullptr, end_ = nullptr;
};

void run_rounds(const DeviceArrays& arrays, std::vector<Contestant>& contestants, const GpuEffort& effort) {
  const Stopwatch stopwatch(arrays);
  for (const Contestant& c : contestants) c.work();
  arrays.wait();
  const Clock::time_point start = Clock::now();
  for (int round = 0; round < kMaxRounds && (round < effort.rounds || us_since(start) < 1e6 * effort.seconds); ++round)
    for (Contestant& c : contestants) c.us.push_back(stopwatch.us(c));
}

// ---- the contestants of a case ----

// The plain kernel that reads and writes what the scan does, where a copy does not and one is written. Shares are of bytes: it leaves out
// what is less than a vector.
std::vector<Contestant> same_traffic(const DeviceArrays& arrays, const Yardsticks& yardsticks, const Problem& p) {
  const cumulus_scan_args& args = arrays.args();
  const std::int64_t vectors = static_cast<std::int64_t>(arrays.out_bytes()) / kVector;
  if (vectors == 0 || p.n_out != p.n || inputs(p.op) != 1) return {};
  if (p.mask_dtype == DType::f32 && p.in_dtype == DType::f32 && p.out_dtype == DType::f32)
    return {{"multiply_kernel", yardsticks.launch("cumulus_multiply", vectors, address(args.in), address(args.mask), arrays.out(),
                                                  static_cast<long long>(vectors))}};
  if (p.mask_dtype == DType::none && p.in_dtype == DType::u8 && p.out_dtype == DType::i64)
    return {
        {"widening_kernel", yardsticks.launch("cumulus_widen", vectors, address(args.in), arrays.out(), static_cast<long long>(vectors))}};
  return {};
}

// Copies of what fits into both arrays, in times of as many bytes as the scan moves.
std::vector<Contestant> copies(const DeviceArrays& arrays, const Yardsticks& yardsticks, const Problem& p, bool small) {
  const auto copy = [&arrays] { arrays.copy(); };
  const std::int64_t moved = arrays.copy();
  if (moved == 0) return {};
  const auto share = [&](std::int64_t bytes) { return static_cast<double>(bytes_required(p)) / static_cast<double>(bytes); };
  std::vector<Contestant> found;
  found.push_back({.name = "memcpy", .work = copy, .share = share(moved), .warm = small});
  if (const std::int64_t vectors = moved / 2 / kVector; vectors > 0)
    found.push_back(
        {.name = "copy_kernel",
         .work = yardsticks.launch("cumulus_copy", vectors, address(arrays.args().in), arrays.out(), static_cast<long long>(vectors)),
         .share = share(2 * vectors * kVector),
         .warm = small});
  if (small) found.push_back({.name = "memcpy_graph", .work = Replay(arrays, copy, kBurst), .share = share(moved) / kBurst, .warm = true});
  return found;
}

void add_small(const DeviceArrays& arrays, const Yardsticks& yardsticks, const std::function<void()>& scan, std::vector<Contestant>& all) {
  const std::function<void()> empty = yardsticks.launch("cumulus_empty", 1);
  empty();  // loaded before it is captured
  all.push_back({.name = "empty", .work = empty, .warm = true});
  all.push_back({.name = "empty_graph", .work = Replay(arrays, empty, kBurst), .share = 1.0 / kBurst, .warm = true});
  for (const auto& [name, work] : {std::pair{"burst", scan}, std::pair{"empty_burst", empty}})
    all.push_back({.name = name, .work = work, .calls = kBurst, .warm = true});
  for (const auto& [name, work] : {std::pair{"host", scan}, std::pair{"empty_host", empty}})
    all.push_back({.name = name, .work = work, .calls = kBurst, .on_host = true});
}

std::vector<Contestant> contestants_of(const DeviceArrays& arrays, const DeviceInfo& info, CubinSource& cubins, const Problem& p,
                                       const std::function<void()>& scan) {
  const Yardsticks yardsticks(arrays, info, cubins);
  const bool small = bytes_required(p) <= info.l2 / 4;
  const int nodes = small ? kBurst : 1;
  scan();  // compiles and makes its workspace, before it is captured
  std::vector<Contestant> all;
  all.push_back({.name = "scan", .work = scan, .warm = small});
  for (Contestant& copy : copies(arrays, yardsticks, p, small)) all.push_back(std::move(copy));
  all.push_back({.name = "graph", .work = Replay(arrays, scan, nodes), .share = 1.0 / nodes, .warm = small});
  for (Contestant& plain : same_traffic(arrays, yardsticks, p)) all.push_back(std::move(plain));
  if (small) add_small(arrays, yardsticks, scan, all);
  return all;
}

GpuBench::Scan scan_with(int device, const Tuning& tuning) {
  if (tuning == Tuning{})
    return [](const cumulus_scan_args& args) {
      if (const cumulus_status status = cumulus_scan(&args); status != CUMULUS_OK) throw Failure{status, cumulus_last_error()};
    };
  return [device, tuning](const cumulus_scan_args& args) {
    Problem problem;
    canonicalise(args, true, problem);
    Call call;
    call.device = device;
    call.tuning = tuning;
    run(problem, call);
  };
}

void upload(const DeviceArrays& arrays, CUdeviceptr to, std::size_t size, const cumulus_tensor& input) {
  check(arrays.driver(), arrays.driver().cuMemcpyHtoDAsync(to, input.data, size, arrays.stream()), "cuMemcpyHtoDAsync");
}

}  // namespace

// ---- a case ----

struct GpuBench::State {
  const DeviceInfo& info;
  CubinSource& cubins;
  const DeviceArrays arrays;
  const Scan scan;
  Problem problem;

  State(const Driver& driver, const DeviceInfo& i, CubinSource& c, const cumulus_scan_args& host, int device, Scan s)
      : info(i), cubins(c), arrays(driver, device, i.l2, host, upload), scan(std::move(s)) {
    canonicalise(arrays.args(), true, problem);
  }
};

GpuBench::GpuBench(const Driver& driver, const DeviceInfo& info, CubinSource& cubins, const cumulus_scan_args& host, int device, Scan scan)
    : state_(std::make_unique<State>(driver, info, cubins, host, device, std::move(scan))) {}

GpuBench::GpuBench(const cumulus_scan_args& host, int device, const Tuning& tuning)
    : GpuBench(driver(), device_info(device), yardstick_cubins(driver()), host, device, scan_with(device, tuning)) {}

GpuBench::~GpuBench() = default;

void GpuBench::result(void* out) const {
  const DeviceArrays& arrays = state_->arrays;
  const Driver& driver = arrays.driver();
  check(driver, driver.cuMemsetD8Async(arrays.out(), 0xa5, arrays.out_bytes(), arrays.stream()), "cuMemsetD8Async");
  state_->scan(arrays.args());
  check(driver, driver.cuMemcpyDtoHAsync(out, arrays.out(), arrays.out_bytes(), arrays.stream()), "cuMemcpyDtoHAsync");
  arrays.wait();
}

std::vector<GpuSeries> GpuBench::measure(const GpuEffort& effort) const {
  const auto scan = [this] { state_->scan(state_->arrays.args()); };
  std::vector<Contestant> contestants = contestants_of(state_->arrays, state_->info, state_->cubins, state_->problem, scan);
  run_rounds(state_->arrays, contestants, effort);
  std::vector<GpuSeries> series;
  for (Contestant& c : contestants) series.push_back({std::move(c.name), std::move(c.us)});
  return series;
}

// ---- a first call ----

FirstCall first_call(const cumulus_scan_args& args, int device) {
  const DeviceArrays arrays(driver(), device, device_info(device).l2, args, nullptr);
  const GpuBench::Scan scan = scan_with(device, {});
  const Clock::time_point start = Clock::now();
  scan(arrays.args());
  const double returned = us_since(start);
  arrays.wait();
  return {returned / 1e3, us_since(start) / 1e3};
}

// ---- the GPU's own rates ----

GpuCeilings measure_ceilings(const Driver& driver, const DeviceInfo& info, CubinSource& cubins, int device) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  std::size_t free = 0, total = 0;
  {
    const ContextScope scope(driver, nullptr, device);
    check(driver, driver.cuMemGetInfo(&free, &total), "cuMemGetInfo");
  }
  const std::int64_t size = std::min(kMost, static_cast<std::int64_t>(free) / 4) / kVector * kVector;
  cumulus_scan_args args{};
  args.in = args.out = {nullptr, &size, nullptr, 1, static_cast<std::int32_t>(DType::u8), CUMULUS_CPU, 0};
  const DeviceArrays arrays(driver, device, info.l2, args, nullptr);

  GpuCeilings ceilings;
  ceilings.bytes = size;
  std::vector<Contestant> all;
  all.push_back({.name = "copy", .work = [&arrays] { arrays.copy(); }});
  all.push_back({.name = "write", .work = [&] {
                   check(driver, driver.cuMemsetD8Async(arrays.out(), 0x5a, static_cast<std::size_t>(size), arrays.stream()),
                         "cuMemsetD8Async");
                 }});
  try {
    const Yardsticks yardsticks(arrays, info, cubins);
    const auto vectors = static_cast<long long>(size / kVector);
    const CUdeviceptr in = address(arrays.args().in);
    yardsticks.launch("cumulus_random", vectors, in, vectors)();
    all.push_back({.name = "read",
                   .work = yardsticks.launch("cumulus_read", (vectors + kVectorsRead - 1) / kVectorsRead, in, arrays.out(), vectors)});
  } catch (const Failure& failure) {  // no compiler: what the driver itself does is measured all the same
    ceilings.problem = failure.message;
  }
  run_rounds(arrays, all, {.rounds = 11, .seconds = 0});
  const auto rate = [&](const Contestant& c, double bytes) { return 1e6 * bytes / tuning::median(c.us); };
  const auto bytes = static_cast<double>(size);
  ceilings.copy = rate(all[0], 2 * bytes);
  ceilings.write = rate(all[1], bytes);
  if (all.size() > 2) ceilings.read = rate(all[2], bytes);
  return ceilings;
}

GpuCeilings measure_ceilings(int device) { return measure_ceilings(driver(), device_info(device), yardstick_cubins(driver()), device); }

}  // namespace cumulus::cuda
