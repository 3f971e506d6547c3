// Every kernel compiles for every architecture without a GPU: NVRTC and the assembler say how many registers it takes, that nothing is
// spilled or kept in local memory, and that as many blocks fit on an SM as the plan means to.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>

#include "cuda/device.h"
#include "cuda/kernel_sources.h"
#include "cuda/nvrtc.h"
#include "cuda/plan.h"
#include "error.h"
#include "support.h"

namespace {

using namespace support;
using cumulus::Problem;
using cumulus::cuda::DeviceInfo;
using cumulus::cuda::Plan;

// One device for each architecture; 8.6 has no preset of its own: the limits of 8.9, but fewer blocks on an SM.
std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> all;
  for (const char* key : {"a100", "4090", "4090", "h200", "b200", "5090"}) all.push_back(*cumulus::cuda::find_preset(key));
  all[1].capability = 86, all[1].blocks_per_sm = 16;
  return all;
}

struct Shape {
  const char* name;
  std::int64_t rows, n;
  bool columns;
};
// The default of every layout, and rows of every tile shape.
constexpr Shape kShapes[] = {{"short rows", 1 << 20, 16, false},       {"rows of 128", 1 << 20, 128, false},
                             {"rows of 1000", 1 << 20, 1000, false},   {"rows of 4096", 1 << 18, 4096, false},
                             {"rows of 8192", 1 << 17, 8192, false},   {"rows of 16384", 1 << 16, 16384, false},
                             {"rows of 32768", 1 << 15, 32768, false}, {"rows of 40960", 1 << 15, 40960, false},
                             {"rows of 32767", 1 << 15, 32767, false}, {"1-D", 1, 1 << 30, false},
                             {"columns", 1 << 15, 1 << 15, true},      {"narrow columns", 64, 1 << 24, true},
                             {"4 long columns", 4, 1 << 28, true},     {"20 long columns", 20, 1 << 24, true},
                             {"8192 columns", 8192, 1 << 17, true},    {"1-D of 2^20", 1, 1 << 20, false}};

struct Kernel {
  Op op;
  DType in, out, mask;
  Shape shape;
  bool odd;  // not contiguous
  bool reverse = false;
  Kind kind = Kind::inclusive;  // of columns any, of rows one without a result more

  Problem problem() const {
    Problem p{};
    p.op = op, p.kind = kind;
    p.in_dtype = in, p.out_dtype = out, p.mask_dtype = mask, p.initial_dtype = p.total_dtype = DType::none;
    p.acc = cumulus::accumulator(out), p.kernel = cumulus::kernel_accumulator(op, out);
    p.n = p.n_out = shape.n, p.rows = shape.rows;
    if (kind == Kind::prefixes) ++p.n_out;
    const std::int64_t along = shape.columns ? shape.rows : odd ? 2 : 1, across = shape.columns ? 1 : along * shape.n;
    const std::int64_t step = reverse ? -along : along;
    p.axis = {shape.n, step, step, step, step, 0, 0};
    if (shape.rows > 1) p.dims = 1, p.dim[0] = {shape.rows, across, across, across, across, 1, 1};
    return p;
  }
  std::string text() const {
    return std::string(cumulus::name(op)) + " " + cumulus::name(in) + " to " + cumulus::name(out) +
           (mask == DType::none ? "" : std::string(", mask ") + cumulus::name(mask)) + ", " + shape.name + (odd ? " strided" : "") +
           (reverse ? " in reverse" : "") + (kind == Kind::prefixes ? ", prefixes" : "");
  }
};

class Compiler {
 public:
  // Null where there is no NVRTC.
  static const Compiler* get() {
    static const std::unique_ptr<Compiler> compiler = []() -> std::unique_ptr<Compiler> {
      const auto found = cumulus::cuda::find_nvrtc(cumulus::cuda::real_system());
      return found.empty() ? nullptr : std::unique_ptr<Compiler>(new Compiler(found.front()));
    }();
    return compiler.get();
  }

  struct Use {
    int registers = 0, stack = 0, spilled = 0;
  };
  Use compile(const Problem& p, const Plan& plan, int capability) const {
    std::vector<std::string> options = {"-std=c++17", "--fmad=false", "--ptxas-options=-v"};
    for (const std::string& option : definitions(p, plan)) options.push_back(option);
    const auto files = cumulus::cuda::kernel_sources();
    const auto main = std::find_if(files.begin(), files.end(), [](const auto& f) { return f.name == std::string(cumulus::cuda::kSource); });
    const auto compiled = nvrtc_.compile(*main, files, cumulus::cuda::kEntry, capability, options);
    const auto number = [&](const char* pattern) {
      std::smatch match;
      return std::regex_search(compiled.log, match, std::regex(pattern)) ? std::stoi(match[1]) : -1;
    };
    return {number("Used (\\d+) registers"), number("(\\d+) bytes stack frame"), number("(\\d+) bytes spill stores")};
  }
  bool supports(int capability) const { return nvrtc_.supports(capability); }

 private:
  explicit Compiler(const cumulus::cuda::NvrtcFile& file) : nvrtc_(cumulus::cuda::real_system(), file) {}
  cumulus::cuda::Nvrtc nvrtc_;
};

// `spilled`: bytes of a thread at most.
void check(const Kernel& kernel, const DeviceInfo& device, int spilled = 0) {
  const Problem p = kernel.problem();
  const Plan plan = make_plan(p, device);
  SCOPED_TRACE(kernel.text() + " for " + std::to_string(device.capability) + ", " + name(plan.layout) + ", " + std::to_string(plan.warps) +
               " warps x " + std::to_string(plan.segments));
  Compiler::Use use;
  try {
    use = Compiler::get()->compile(p, plan, device.capability);
  } catch (const cumulus::Failure& f) {
    ADD_FAILURE() << f.message;
    return;
  }
  const int each = (use.registers + 7) / 8 * 8;
  if (std::getenv("CUMULUS_VERBOSE"))
    std::printf("%d %-10s %s: %d registers, %d shared, %d blocks, stack %d, spilled %d\n", device.capability, name(plan.layout),
                kernel.text().c_str(), use.registers, plan.shared, plan.blocks_per_sm, use.stack, use.spilled);
  EXPECT_GT(use.registers, 0) << "the compiler says nothing of registers";
  EXPECT_LE(use.stack, (spilled + 7) / 8 * 8) << "local memory";
  EXPECT_LE(use.spilled, spilled) << "bytes are spilled";
  EXPECT_LE(each * static_cast<int>(plan.threads) * plan.blocks_per_sm, device.registers_per_sm);
  EXPECT_LE(plan.shared, device.shared_per_block);
  EXPECT_LE((plan.shared + device.shared_reserved) * plan.blocks_per_sm, device.shared_per_sm);
  EXPECT_LE(plan.warps * plan.blocks_per_sm, device.warps_per_sm);
}

// Every supported op and pair, unmasked, and masks with the same dtype.
std::vector<Kernel> all_kernels() {
  std::vector<Kernel> all;
  for (const Supported& s : supported())
    for (const Shape& shape : kShapes) {
      all.push_back({s.op, s.in, s.out, DType::none, shape, false});
      if (s.in != s.out) continue;
      all.push_back({s.op, s.in, s.out, DType::boolean, shape, false});
      if (s.op != Op::recurrence) all.push_back({s.op, s.in, s.out, s.in, shape, false});
      if (!shape.columns) all.push_back({s.op, s.in, s.out, DType::none, shape, true});
    }
  return all;
}

// Bytes that rare kernels are known to spill at most (docs/cuda-kernels.md says which, and why they are left).
int known_spill(const Kernel& kernel, cumulus::cuda::Layout layout) {
  using cumulus::cuda::Layout;
  if (layout == Layout::split_columns) return 160;
  if (layout != Layout::rows && layout != Layout::spread_rows) return 0;
  return kernel.op == Op::prod ? 228 : kernel.op == Op::recurrence ? 164 : 72;
}

TEST(Compile, EveryKernelFitsItsRegisters) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  const std::vector<Kernel> all = all_kernels();
  const std::vector<DeviceInfo> on = devices();
  // The usual few are always the same, and spill nothing.
  Random random(full() ? seed() : 1);
  const std::size_t asked = setting("CUMULUS_COMPILE_COUNT", full() ? 500 : 12);  // 0: every one on every device, which takes hours
  const std::size_t count = asked > 0 ? asked : all.size() * on.size();
  for (std::size_t i = 0; i < count; ++i) {
    const Kernel& kernel = asked > 0 ? random.pick(all) : all[i / on.size()];
    const DeviceInfo& device = asked > 0 ? random.pick(on) : on[i % on.size()];
    if (Compiler::get()->supports(device.capability))
      check(kernel, device, full() || asked == 0 ? known_spill(kernel, make_plan(kernel.problem(), device).layout) : 0);
  }
}

// The kernels that the figures of docs/performance.md are made with. Before Hopper rows of 40960 are walked, and spill 28 bytes.
TEST(Compile, F32SumsFit) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  for (const Shape& shape : kShapes)
    for (const DeviceInfo& device : devices())
      if ((device.capability == 80 || device.capability == 90 || full()) && (shape.n != 40960 || device.capability >= 90))
        check({Op::sum, DType::f32, DType::f32, DType::none, shape, false}, device);
}

// Tiles of columns that one copy brings; in reverse they are other kernels.
TEST(Compile, TensorCopiesFit) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  const Shape split{"long columns", 1024, 1 << 20, true};
  for (bool reverse : {false, true}) {
    for (const Kernel& kernel : {Kernel{Op::sum, DType::f32, DType::f32, DType::none, split, false, reverse},
                                 Kernel{Op::sum, DType::f64, DType::f64, DType::none, split, false, reverse}})
      for (const DeviceInfo& device : devices()) {
        if (device.capability < 90 || (device.capability > 90 && !full() && kernel.in != DType::f32)) continue;
        EXPECT_EQ(make_plan(kernel.problem(), device).copies, cumulus::cuda::Copies::tensor);
        if (Compiler::get()->supports(device.capability)) check(kernel, device);
      }
  }
}

// What is left over after whole tiles takes no more registers than its tile leaves.
TEST(Compile, F32SumsWithATailFit) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  for (const Shape& shape : {Shape{"rows of 4097", 1 << 18, 4097, false}, Shape{"rows of 8193", 1 << 17, 8193, false},
                             Shape{"rows of 32769", 1 << 15, 32769, false}, Shape{"rows of 32772", 1 << 15, 32772, false},
                             Shape{"rows of 65540", 1 << 14, 65540, false}, Shape{"rows of 32868", 1 << 15, 32868, false}}) {
    for (bool reverse : {false, true}) {
      const Kernel kernel{Op::sum, DType::f32, DType::f32, DType::none, shape, false, reverse};
      for (const DeviceInfo& device : devices()) {
        if (device.capability != 90 && !full()) continue;
        EXPECT_GT(make_plan(kernel.problem(), device).tail, 0) << kernel.text();
        const bool walked = shape.n == 65540 && device.capability < 90, reversed = shape.n == 32772 && reverse && device.capability == 80;
        check(kernel, device, walked ? 60 : reversed ? 4 : 0);
      }
    }
  }
}

// Tiles that are made for the width of their rows.
TEST(Compile, F32SumsOfHeldRowsFit) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  for (const Shape& shape : {Shape{"rows of 1501", 1 << 19, 1501, false}, Shape{"rows of 2500", 1 << 18, 2500, false},
                             Shape{"rows of 5000", 1 << 17, 5000, false}, Shape{"rows of 5001", 1 << 17, 5001, false},
                             Shape{"rows of 9000", 1 << 16, 9000, false}, Shape{"rows of 9001", 1 << 16, 9001, false},
                             Shape{"rows of 12001", 1 << 16, 12001, false}, Shape{"rows of 20001", 1 << 15, 20001, false}}) {
    for (bool reverse : {false, true}) {
      for (const DeviceInfo& device : devices())
        if (device.capability == 90 || full()) check({Op::sum, DType::f32, DType::f32, DType::none, shape, false, reverse}, device);
    }
  }
}

// In reverse too, but for two: rows of 1000 spill 4 bytes, and for 8.0 rows of 32768 spill 16.
TEST(Compile, F32SumsInReverseFit) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  for (const Shape& shape : kShapes)
    for (const DeviceInfo& device : devices())
      if (device.capability == 90 && shape.n != 1000) check({Op::sum, DType::f32, DType::f32, DType::none, shape, false, true}, device);
}

// Rows that did spill, before their plans left the compiler the registers that it needs there.
TEST(Compile, RowsThatDidSpillFit) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  const auto fits = [](DType t, std::int64_t rows, std::int64_t n, const char* device) {
    check({Op::sum, t, t, DType::none, {"rows", rows, n, false}, false}, *cumulus::cuda::find_preset(device));
  };
  fits(DType::f32, 1 << 20, 16, "b200");
  fits(DType::f32, 1 << 15, 20001, "4090");
  fits(DType::i32, 1 << 15, 20001, "a100");
  fits(DType::f16, 1 << 15, 32768, "5090");
}

// Long columns that are known to spill, no more than docs/cuda-kernels.md says.
TEST(Compile, LongColumnsSpillNoMoreThanIsKnown) {
  if (!Compiler::get()) GTEST_SKIP() << "no NVRTC on this machine: the kernels are not compiled (CUMULUS_NVRTC names one)";
  constexpr Shape kFew{"4 long columns", 4, 1 << 28, true}, kSome{"20 long columns", 20, 1 << 24, true},
      kShared{"1024 columns", 1024, 1 << 20, true}, kOwn{"8192 columns", 8192, 1 << 17, true};
  const auto kernel = [](Op op, DType t, const Shape& shape, Kind kind = Kind::inclusive) {
    return Kernel{op, t, t, DType::none, shape, false, false, kind};
  };
  struct Known {
    Kernel kernel;
    const char* device;
    int bytes;
    bool usual;  // in every run
  };
  const Known all[] = {
      {kernel(Op::sum, DType::c128, kFew), "h200", 8, true},
      {kernel(Op::min, DType::f64, kOwn), "h200", 4, false},
      {kernel(Op::min, DType::f64, kOwn, Kind::prefixes), "h200", 12, true},
      {kernel(Op::recurrence, DType::u8, kFew), "a100", 8, true},
      {kernel(Op::recurrence, DType::u8, kFew), "4090", 12, true},
      {kernel(Op::recurrence, DType::u8, kSome), "a100", 16, false},
      {kernel(Op::recurrence, DType::f32, kFew), "a100", 8, false},
      {kernel(Op::recurrence, DType::f32, kSome), "a100", 16, false},
      {kernel(Op::sum, DType::c64, kShared), "h200", 20, false},
      {kernel(Op::sum, DType::c64, kShared), "a100", 16, false},
      {kernel(Op::prod, DType::i64, kShared), "h200", 32, false},
      {kernel(Op::prod, DType::i64, kOwn), "h200", 48, false},
      {kernel(Op::min, DType::f32, kShared), "h200", 4, false},
      {kernel(Op::min, DType::f64, kShared), "h200", 140, true},
      {kernel(Op::min, DType::f64, kShared), "a100", 160, false},
  };
  for (const Known& known : all)
    if (known.usual || full()) check(known.kernel, *cumulus::cuda::find_preset(known.device), known.bytes);
}

}  // namespace
