// Speed of full-size and small cases, as ratios to a copy of the same bytes.
// Writes JSON lines to the file that CUMULUS_JSON names; CUMULUS_COMMIT says in them what was measured.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cpu/run.h"
#include "cuda/program.h"
#include "gpu.h"
#include "tune_parameters.h"
#include "tuning/cuda_stages.h"

namespace gpu_check {
namespace {

CUstream stream() {
  static CUstream s = new_stream();
  return s;
}
void upload(CUdeviceptr to, const void* from, std::size_t bytes) {
  if (bytes) CHECK(cuMemcpyHtoDAsync(to, from, bytes, stream()));
}
void download(void* to, CUdeviceptr from, std::size_t bytes) {
  if (bytes) CHECK(cuMemcpyDtoHAsync(to, from, bytes, stream()));
}
void wait() { CHECK(cuStreamSynchronize(stream())); }

cuda::KernelSpec spec(const Problem& p, const cuda::Plan& plan) { return {cuda::kSource, cuda::kEntry, definitions(p, plan)}; }

void compile_all(const std::vector<cuda::KernelSpec>& specs) {
  in_parallel(specs.size(), [&](std::size_t i) {
    try {
      cubins(gpu()).get(specs[i], device().capability);
    } catch (const Failure& f) {
      std::printf("does not compile: %s\n", f.message.substr(0, 2000).c_str());
    }
  });
}

// ---- full-size cases ----

struct Row {
  std::string name;
  Sizes shape;
  int axis;
  DType in = DType::f32, out = DType::f32;
  Kind kind = Kind::inclusive;
  bool reverse = false;
  int mask = 0;  // 1 selects, 2 multiplies
  Tuning tuning = {};
  double goal = 0;
};

std::vector<Row> rows() {
  const Sizes square = {32768, 32768};
  const Tuning before_hopper = [] {
    Tuning t;
    t.capability = 80;
    return t;
  }();
  using enum DType;
  using enum Kind;
  std::vector<Row> r = {
      {"rows inclusive", square, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"rows reverse", square, 1, f32, f32, inclusive, true, 0, {}, 0.97},
      {"rows exclusive", square, 1, f32, f32, exclusive, false, 0, {}, 0.97},
      {"rows bool mask", square, 1, f32, f32, inclusive, false, 1, {}, 0.97},
      {"rows f32 mask", square, 1, f32, f32, inclusive, false, 2, {}, 0.96},
      {"rows prefixes 32769", {32767, 32768}, 1, f32, f32, prefixes, false, 0, {}, 0.95},
      {"rows odd 32767", {32768, 32767}, 1, f32, f32, inclusive, false, 0, {}, 0.95},
      {"rows odd 32769", {32767, 32769}, 1, f32, f32, inclusive, false, 0, {}, 0.95},
      {"rows reverse odd 32769", {32767, 32769}, 1, f32, f32, inclusive, true, 0, {}, 0.95},
      {"rows exclusive odd 32769", {32767, 32769}, 1, f32, f32, exclusive, false, 0, {}, 0.95},
      {"rows odd 8193", {131071, 8193}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows prefixes 16385", {65535, 16384}, 1, f32, f32, prefixes, false, 0, {}, 0},
      {"rows prefixes 8193", {131071, 8192}, 1, f32, f32, prefixes, false, 0, {}, 0},
      {"rows prefixes 4097", {262143, 4096}, 1, f32, f32, prefixes, false, 0, {}, 0},
      {"rows 1500", {715827, 1500}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 1501", {715350, 1501}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 2500", {429496, 2500}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 2501", {429324, 2501}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 5000", {214748, 5000}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 5001", {214705, 5001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 6000", {178956, 6000}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 6001", {178927, 6001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 9000", {119304, 9000}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 9001", {119291, 9001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 12000", {89478, 12000}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 12001", {89471, 12001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 14001", {76690, 14001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 20001", {53684, 20001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 26001", {41296, 26001}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 32772", {32764, 32772}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows reverse odd 32767", {32768, 32767}, 1, f32, f32, inclusive, true, 0, {}, 0.95},
      {"rows 24576", {43690, 24576}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"rows 20480", {52428, 20480}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"rows 40960", {26214, 40960}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 36864", {29127, 36864}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 28672", {37449, 28672}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 16384", {65536, 16384}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"rows reverse 16384", {65536, 16384}, 1, f32, f32, inclusive, true, 0, {}, 0.97},
      {"rows 8192", {131072, 8192}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"rows 4096", {262144, 4096}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"rows 65536", {16384, 65536}, 1, f32, f32, inclusive, false, 0, {}, 0.94},
      {"rows 131072", {8192, 131072}, 1, f32, f32, inclusive, false, 0, {}, 0.94},
      {"rows 2^18", {4096, 1 << 18}, 1, f32, f32, inclusive, false, 0, {}, 0.94},
      {"rows 2^20", {1024, 1 << 20}, 1, f32, f32, inclusive, false, 0, {}, 0.94},
      {"columns inclusive", square, 0, f32, f32, inclusive, false, 0, {}, 0.93},
      {"columns reverse", square, 0, f32, f32, inclusive, true, 0, {}, 0.93},
      {"columns exclusive", square, 0, f32, f32, exclusive, false, 0, {}, 0.93},
      {"columns bool mask", square, 0, f32, f32, inclusive, false, 1, {}, 0.93},
      {"columns f32 mask", square, 0, f32, f32, inclusive, false, 2, {}, 0},
      {"columns (512,1024,2048)", {512, 1024, 2048}, 1, f32, f32, inclusive, false, 0, {}, 0.93},
      {"1-D 2^30", {1 << 30}, 0, f32, f32, inclusive, false, 0, {}, 0.94},
      {"1-D odd", {(1 << 30) - 1}, 0, f32, f32, inclusive, false, 0, {}, 0},
      {"1-D f32 mask", {1 << 29}, 0, f32, f32, inclusive, false, 2, {}, 0},
      {"1-D bool mask", {1 << 29}, 0, f32, f32, inclusive, false, 1, {}, 0},
      {"1-D reverse", {1 << 30}, 0, f32, f32, inclusive, true, 0, {}, 0},
      {"1-D odd bool mask", {(1 << 29) - 1}, 0, f32, f32, inclusive, false, 1, {}, 0},
      {"1-D odd f32 mask", {(1 << 29) - 1}, 0, f32, f32, inclusive, false, 2, {}, 0},
      {"rows 2^20+1", {1023, (1 << 20) + 1}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"rows 2^20 bool mask", {1024, 1 << 20}, 1, f32, f32, inclusive, false, 1, {}, 0},
      {"rows 2^20 f32 mask", {512, 1 << 20}, 1, f32, f32, inclusive, false, 2, {}, 0},
      {"rows 2^20+1 bool mask", {1023, (1 << 20) + 1}, 1, f32, f32, inclusive, false, 1, {}, 0},
      {"(16,2^26)", {16, 1 << 26}, 1, f32, f32, inclusive, false, 0, {}, 0.94},
      {"(128,2^22)", {128, 1 << 22}, 1, f32, f32, inclusive, false, 0, {}, 0.94},
      {"(2^20,1024)", {1 << 20, 1024}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"(2^20,1000)", {1 << 20, 1000}, 1, f32, f32, inclusive, false, 0, {}, 0.96},
      {"(2^24,64)", {1 << 24, 64}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"(2^24,63)", {1 << 24, 63}, 1, f32, f32, inclusive, false, 0, {}, 0.96},
      {"(2^26,16)", {1 << 26, 16}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"(2^28,4)", {1 << 28, 4}, 1, f32, f32, inclusive, false, 0, {}, 0.97},
      {"(2^20,1024) axis 0", {1 << 20, 1024}, 0, f32, f32, inclusive, false, 0, {}, 0.92},
      {"(131072,8192) axis 0", {131072, 8192}, 0, f32, f32, inclusive, false, 0, {}, 0.92},
      {"(2^24,64) axis 0", {1 << 24, 64}, 0, f32, f32, inclusive, false, 0, {}, 0.92},
      {"(65536,16384) axis 0", {65536, 16384}, 0, f32, f32, inclusive, false, 0, {}, 0.92},
      {"(2^26,16) axis 0", {1 << 26, 16}, 0, f32, f32, inclusive, false, 0, {}, 0},
      {"(2^28,4) axis 0", {1 << 28, 4}, 0, f32, f32, inclusive, false, 0, {}, 0.90},
      {"(2^29,2) axis 0", {1 << 29, 2}, 0, f32, f32, inclusive, false, 0, {}, 0},
      {"(357913941,3) axis 0", {357913941, 3}, 0, f32, f32, inclusive, false, 0, {}, 0},
      {"(4096,16384,16) axis 1", {4096, 16384, 16}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"(65536,2048,8) axis 1", {65536, 2048, 8}, 1, f32, f32, inclusive, false, 0, {}, 0},
      {"sm_80 rows inclusive", square, 1, f32, f32, inclusive, false, 0, before_hopper, 0.92},
      {"sm_80 columns inclusive", square, 0, f32, f32, inclusive, false, 0, before_hopper, 0.92},
      {"sm_80 1-D 2^30", {1 << 30}, 0, f32, f32, inclusive, false, 0, before_hopper, 0},
  };
  for (DType t : {f16, bf16, f64, i32, i64}) {
    const std::int64_t half = bytes(t) == 8 ? 2 : 1;
    r.push_back({std::string(name(t)) + " rows", {32768 / half, 32768}, 1, t, t, inclusive, false, 0, {}, 0.92});
    r.push_back({std::string(name(t)) + " columns", {32768 / half, 32768}, 0, t, t, inclusive, false, 0, {}, 0.92});
    r.push_back({std::string(name(t)) + " 1-D", {(1 << 30) / half}, 0, t, t, inclusive, false, 0, {}, 0.92});
    r.push_back({std::string(name(t)) + " 1-D odd", {(1 << 30) / half - 1}, 0, t, t, inclusive, false, 0, {}, 0});
    r.push_back({std::string(name(t)) + " 1-D bool mask", {(1 << 29) / half}, 0, t, t, inclusive, false, 1, {}, 0});
  }
  r.push_back({"u8 to i64 rows", {16384, 32768}, 1, u8, i64, inclusive, false, 0, {}, 0.92});
  return r;
}

// Random values in a range that sums of 2^30 keep.
void fill_random(DType t, std::vector<char>& memory) {
  constexpr std::size_t kPiece = 1 << 22;
  in_parallel((memory.size() + kPiece - 1) / kPiece, [&](std::size_t piece) {
    Random random(piece * 77 + static_cast<std::uint64_t>(t));
    char* p = memory.data() + piece * kPiece;
    const std::size_t size = std::min(kPiece, memory.size() - piece * kPiece) / 8;
    for (std::size_t i = 0; i < size; ++i, p += 8) {
      std::uint64_t v = random.next();
      if (t == DType::f32) {
        float f[2] = {static_cast<float>(v & 0xffffff) * 0x1p-24f, static_cast<float>(v >> 40) * 0x1p-24f};
        std::memcpy(&v, f, 8);
      } else if (t == DType::f64) {
        const double d = static_cast<double>(v >> 11) * 0x1p-53;
        std::memcpy(&v, &d, 8);
      } else if (t == DType::f16) {
        v = (v & 0x07ff07ff07ff07ffu) | 0x2000200020002000u;
      } else if (t == DType::bf16) {
        v = (v & 0x007f007f007f007fu) | 0x3e003e003e003e00u;
      } else if (t == DType::boolean) {
        v &= 0x0101010101010101u;
      }
      std::memcpy(p, &v, 8);
    }
  });
}

Problem problem_of(const Row& row, const void* in, const void* mask, void* out) {
  Sizes out_shape = row.shape;
  if (row.kind == Kind::prefixes) ++out_shape[static_cast<std::size_t>(row.axis)];
  const auto tensor = [](const void* data, DType t, const Sizes& shape) {
    return cumulus_tensor{
        const_cast<void*>(data), shape.data(), nullptr, static_cast<std::int32_t>(shape.size()), static_cast<std::int32_t>(t), 0, 0};
  };
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.kind = static_cast<int>(row.kind), args.axis = row.axis, args.flags = row.reverse ? CUMULUS_REVERSE : 0;
  args.in = tensor(in, row.in, row.shape), args.out = tensor(out, row.out, out_shape);
  if (row.mask) args.mask = tensor(mask, row.mask == 1 ? DType::boolean : row.in, row.shape);
  Problem p;
  canonicalise(args, true, p);
  p.stream = stream();
  return p;
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

struct Timer {
  Timer() { CHECK(cuEventCreate(&begin, 0)), CHECK(cuEventCreate(&end, 0)); }
  template <class F>
  double ms(const F& f) {
    CHECK(cuEventRecord(begin, stream()));
    f();
    CHECK(cuEventRecord(end, stream()));
    CHECK(cuEventSynchronize(end));
    float t;
    CHECK(cuEventElapsedTime(&t, begin, end));
    return static_cast<double>(t);
  }
  CUevent begin, end;
};

// Medians of interleaved rounds, after some that are not counted.
struct Medians {
  double scan_ms, copy_ms;
};
template <class Scan, class Copy>
Medians measure(Timer& timer, const Scan& scan, const Copy& copy, int warm, int rounds) {
  std::vector<double> scans, copies;
  for (int i = 0; i < warm; ++i) scan(), copy();
  for (int i = 0; i < rounds; ++i) copies.push_back(timer.ms(copy)), scans.push_back(timer.ms(scan));
  return {median(scans), median(copies)};
}

bool same_bits(const char* a, const char* b, std::size_t size) {
  std::atomic<bool> same{true};
  constexpr std::size_t kPiece = 1 << 24;
  in_parallel((size + kPiece - 1) / kPiece, [&](std::size_t i) {
    if (std::memcmp(a + i * kPiece, b + i * kPiece, std::min(kPiece, size - i * kPiece)) != 0) same = false;
  });
  return same;
}

std::string cuda_version() {
  int version = 0;
  CHECK(cuDriverGetVersion(&version));
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

int check_table(const std::string& word, bool bits) {
  const char* const commit = std::getenv("CUMULUS_COMMIT");
  std::vector<Row> all;
  std::size_t most_in = 0, most_out = 0, most_mask = 0;
  for (const Row& r : rows())
    if (r.name.find(word) != std::string::npos) all.push_back(r);
  const auto count = [](const Row& r) {
    std::size_t n = 1;
    for (std::int64_t s : r.shape) n *= static_cast<std::size_t>(s);
    return n;
  };
  const auto out_count = [&](const Row& r) {
    return count(r) + (r.kind == Kind::prefixes ? count(r) / static_cast<std::size_t>(r.shape[1]) : 0);
  };
  std::vector<cuda::KernelSpec> specs;
  for (const Row& r : all) {
    most_in = std::max(most_in, count(r) * static_cast<std::size_t>(bytes(r.in)));
    most_out = std::max(most_out, out_count(r) * static_cast<std::size_t>(bytes(r.out)));
    if (r.mask) most_mask = std::max(most_mask, count(r) * static_cast<std::size_t>(r.mask == 1 ? 1 : bytes(r.in)));
    const Problem p = problem_of(r, reinterpret_cast<void*>(4096), reinterpret_cast<void*>(std::uintptr_t{1} << 40),
                                 reinterpret_cast<void*>(std::uintptr_t{1} << 41));
    specs.push_back(spec(p, make_plan(p, device(), r.tuning)));
  }
  compile_all(specs);
  const DeviceMemory in(most_in), out(std::max(most_in, most_out)), mask(most_mask);
  std::vector<char> host_in(most_in), host_mask(bits ? most_mask : 0), host_out(bits ? most_out : 0), got(bits ? most_out : 0);
  DType filled = DType::none;
  int mask_filled = 0, wrong = 0;
  std::ofstream json;
  if (const char* path = std::getenv("CUMULUS_JSON")) json.open(path, std::ios::app);
  Timer timer;
  for (const Row& r : all) {
    if (filled != r.in) {
      fill_random(r.in, host_in);
      upload(in.at, host_in.data(), host_in.size());
      wait();
      filled = r.in;
    }
    if (r.mask && mask_filled != r.mask) {
      std::vector<char> values(most_mask);
      fill_random(r.mask == 1 ? DType::boolean : r.in, values);
      upload(mask.at, values.data(), values.size());
      wait();
      if (bits) host_mask = std::move(values);
      mask_filled = r.mask;
    }
    const std::size_t out_bytes = out_count(r) * static_cast<std::size_t>(bytes(r.out));
    CHECK(cuMemsetD8Async(out.at, 0xee, out_bytes, stream()));
    const Problem p = problem_of(r, in.data(), mask.data(), out.data());
    Call call;
    call.tuning = r.tuning;
    const auto plan = make_plan(p, device(), r.tuning);
    const auto scan = [&] { cuda::run(p, call); };
    const std::size_t moved = static_cast<std::size_t>(bytes_required(p));
    const auto copy = [&] { CHECK(cuMemcpyDtoDAsync(out.at, in.at, std::min(moved / 2, most_in), stream())); };
    std::string verdict = "-";
    try {
      const double first_ms = timer.ms(scan);
      if (bits && first_ms < 100) {
        download(got.data(), out.at, out_bytes);
        wait();
        cpu::run(problem_of(r, host_in.data(), host_mask.data(), host_out.data()));
        const bool same = same_bits(got.data(), host_out.data(), out_bytes);
        verdict = same ? "equal" : "WRONG";
        wrong += !same;
      }
      const int rounds = first_ms > 50 ? 1 : 15;
      auto [scan_ms, copy_ms] = measure(timer, scan, copy, std::min(rounds, 3), rounds);
      copy_ms *= static_cast<double>(moved) / (2.0 * static_cast<double>(std::min(moved / 2, most_in)));
      std::printf("%-26s %-10s %8.3f ms  copy %7.3f ms  ratio %.3f  to reach %.2f  bits %s\n", r.name.c_str(), name(plan.layout), scan_ms,
                  copy_ms, copy_ms / scan_ms, r.goal, verdict.c_str());
      std::fflush(stdout);
      if (json)
        json << fmt::format(
                    R"({{"source": "gpu_check table", "gpu": "{}", "cuda": "{}", "commit": "{}", "date": "{:%F}", "case": "{}", )"
                    R"("layout": "{}", "scan_ms": {:.4f}, "copy_ms": {:.4f}, "bytes": {}, "ratio": {:.4f}, "goal": {}, "bits": "{}"}})",
                    device().name, cuda_version(), commit ? commit : "", fmt::gmtime(std::time(nullptr)), r.name, name(plan.layout),
                    scan_ms, copy_ms, moved, copy_ms / scan_ms, r.goal, verdict)
             << std::endl;
    } catch (const Failure& f) {
      std::printf("%-26s %s\n", r.name.c_str(), f.message.substr(0, 1500).c_str());
      ++wrong;
    }
  }
  return wrong;
}

namespace {

// `base`, and what it becomes by each of a list like "storers=2,scanners=7;flight=3".
std::vector<Tuning> changed(const Tuning& base, const std::string& list) {
  std::vector<Tuning> all = {base};
  std::istringstream changes(list);
  for (std::string change; std::getline(changes, change, ';');) {
    tuning::Parameters parameters = cli::parse_parameters("TUNINGS", change, tuning::cuda_names());
    parameters.emplace("capability", base.capability);
    all.push_back(tuning::cuda_tuning(parameters));
  }
  return all;
}

// The default tuning, and others that differ from it by little.
std::vector<Tuning> neighbours(const Tuning& base, const cuda::Plan& plan) {
  std::vector<Tuning> all = {base};
  const auto with = [&](auto... changes) {
    Tuning t = base;
    (changes(t), ...);
    all.push_back(t);
  };
  const auto set = [](int Tuning::*field, int value) { return [=](Tuning& t) { t.*field = value; }; };
  const auto each = [&](int Tuning::*field, std::initializer_list<int> values) {
    for (int v : values) with(set(field, v));
  };
  switch (plan.layout) {
    case Layout::rows:
      each(&Tuning::layout, {static_cast<int>(Layout::split_rows)});
      for (const auto& [warps, segments] :
           {std::pair{2, 16}, {4, 8}, {4, 16}, {4, 32}, {8, 4}, {8, 8}, {8, 16}, {8, 32}, {16, 4}, {16, 8}, {16, 16}})
        with(set(&Tuning::warps, warps), set(&Tuning::segments, segments));
      break;
    case Layout::split_rows:
      each(&Tuning::chunks, {1, 2, 4});
      each(&Tuning::flight, {2, 3, 4, 5, 6, 8});
      each(&Tuning::reducers, {2, 3, 4, 6});
      each(&Tuning::storers, {2, 3, 4, 6, 8, 10});
      each(&Tuning::scanners, {4, 8, 12, 16});
      with(set(&Tuning::reducers, 4), set(&Tuning::storers, 6), set(&Tuning::scanners, 14));
      with(set(&Tuning::reducers, 3), set(&Tuning::storers, 4), set(&Tuning::scanners, 16));
      for (const auto& [warps, segments] : {std::pair{2, 8}, {2, 16}, {4, 4}, {4, 8}, {4, 16}, {8, 4}, {8, 8}, {8, 16}})
        with(set(&Tuning::layout, static_cast<int>(Layout::rows)), set(&Tuning::warps, warps), set(&Tuning::segments, segments));
      break;
    case Layout::spread_rows:
      each(&Tuning::layout, {static_cast<int>(Layout::split_rows), static_cast<int>(Layout::rows)});
      each(&Tuning::warps, {16});
      break;
    case Layout::column_ring:
      each(&Tuning::layout, {static_cast<int>(Layout::split_columns)});
      each(&Tuning::columns, {1, 2, 4});
      each(&Tuning::copies, {1, 2});
      each(&Tuning::warps, {2, 4, 8});
      each(&Tuning::flight, {1, 2, 3, 4, 6});
      break;
    case Layout::split_columns:
      each(&Tuning::layout, {static_cast<int>(Layout::column_ring)});
      each(&Tuning::copies, {2});
      each(&Tuning::scanners, {4, 8, 11, 15});
      each(&Tuning::storers, {2});
      each(&Tuning::reducers, {2});
      each(&Tuning::flight, {1, 3});
      with(set(&Tuning::storers, 2), set(&Tuning::scanners, 11));
      break;
    default:
      break;
  }
  return all;
}

std::string describe(const cuda::Plan& p) {
  std::string text = std::string(name(p.layout)) + ", warps " + std::to_string(p.warps) + ", blocks " + std::to_string(p.blocks_per_sm);
  const auto add = [&](const char* what, int value) {
    if (value > 0) text += std::string(", ") + what + " " + std::to_string(value);
  };
  add("segments", p.segments), add("chunks", p.chunks), add("slots", p.slots), add("flight", p.flight), add("columns", p.columns);
  add("reducers", p.reducers), add("storers", p.storers), add("scanners", p.scanners);
  add("team", p.team), add("loaders", p.loaders), add("panel", p.panel);
  if (p.copies != cuda::Copies::plain) text += std::string(", ") + name(p.copies);
  return text;
}

}  // namespace

// The ratio to a copy of cases whose names contain `word`, under the default tuning and its neighbours, or those of `list`.
int sweep(const std::string& word, const std::string& list) {
  Timer timer;
  int wrong = 0;
  for (const Row& r : rows()) {
    if (r.name.find(word) == std::string::npos) continue;
    const Problem planned = problem_of(r, reinterpret_cast<void*>(4096), reinterpret_cast<void*>(std::uintptr_t{1} << 40),
                                       reinterpret_cast<void*>(std::uintptr_t{1} << 41));
    const DeviceMemory in(static_cast<std::size_t>(bytes_required(planned))), out(in.bytes), mask(r.mask ? in.bytes : 0);
    std::vector<char> host(std::min<std::size_t>(in.bytes, std::size_t{1} << 30));
    fill_random(r.in, host);
    for (std::size_t at = 0; at < in.bytes; at += host.size()) upload(in.at + at, host.data(), std::min(host.size(), in.bytes - at));
    if (r.mask) CHECK(cuMemsetD8Async(mask.at, 1, mask.bytes, stream()));
    const Problem p = problem_of(r, in.data(), mask.data(), out.data());
    const auto tunings = list.empty() ? neighbours(r.tuning, make_plan(p, device(), r.tuning)) : changed(r.tuning, list);
    std::vector<cuda::KernelSpec> specs;
    for (const Tuning& t : tunings) specs.push_back(spec(p, make_plan(p, device(), t)));
    compile_all(specs);
    const auto moved = static_cast<std::size_t>(bytes_required(p));
    const auto copy = [&] { CHECK(cuMemcpyDtoDAsync(out.at, in.at, moved / 2, stream())); };
    std::printf("%s\n", r.name.c_str());
    const auto results = static_cast<std::size_t>(p.rows * p.n_out * bytes(p.out_dtype));
    const std::size_t looked_at = std::min(results / 2, std::size_t{1} << 26);
    std::vector<char> first, now(2 * looked_at);  // both ends of the results, under the default tuning and under another
    for (const Tuning& t : tunings) {
      try {
        Call call;
        call.tuning = t;
        const auto scan = [&] { cuda::run(p, call); };
        const double first_ms = timer.ms(scan);
        download(now.data(), out.at, looked_at);
        download(now.data() + looked_at, out.at + results - looked_at, looked_at);
        wait();
        if (first.empty()) first = now;
        const bool same = now == first;
        wrong += !same;
        const Medians ms = measure(timer, scan, copy, 0, first_ms > 50 ? 1 : 7);
        std::printf("  %.3f  %s%s\n", ms.copy_ms / ms.scan_ms, describe(make_plan(p, device(), t)).c_str(), same ? "" : "  WRONG");
      } catch (const Failure& f) {
        std::printf("  %s\n", f.message.substr(0, 300).c_str());
      }
    }
    std::fflush(stdout);
  }
  return wrong;
}

// 1-D scans, under the default tuning and those of `list`.
int small_sizes(const std::string& list) {
  const DeviceMemory in(std::size_t{1} << 29), out(std::size_t{1} << 29);
  std::vector<char> host(std::size_t{1} << 29);
  fill_random(DType::f32, host);
  upload(in.at, host.data(), host.size());
  Timer timer;
  for (int log = 10; log <= 27; ++log) {
    const Row row{"", {std::int64_t{1} << log}, 0};
    const Problem p = problem_of(row, in.data(), nullptr, out.data());
    for (const Tuning& tuning : list.empty() ? std::vector<Tuning>{{}} : changed({}, list)) {
      Call call;
      call.tuning = tuning;
      const auto scan = [&] { cuda::run(p, call); };
      const auto copy = [&] { CHECK(cuMemcpyDtoDAsync(out.at, in.at, std::size_t{4} << log, stream())); };
      const Medians ms = measure(timer, scan, copy, 5, 51);
      std::printf("2^%d %8.2f us  copy %8.2f us  %s\n", log, 1000 * ms.scan_ms, 1000 * ms.copy_ms,
                  describe(make_plan(p, device(), tuning)).c_str());
    }
  }
  return 0;
}

}  // namespace gpu_check
