#include "cuda/profile.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <string_view>

#include <fmt/format.h>

#include "cuda/cupti.h"
#include "cuda/device_arrays.h"
#include "cuda/launch.h"
#include "cuda/program.h"
#include "error.h"
#include "types.h"

namespace cumulus::cuda {
namespace {

// Random elements: reals in [1/2, 1), any integers, bools. Constant data would be kinder to the memory than real data is.
std::vector<std::uint64_t> random_block(DType dtype, std::size_t words) {
  std::uint64_t random = ~std::uint64_t{0}, fixed = 0;
  switch (dtype) {
    case DType::f16:
      random = 0x03ff'03ff'03ff'03ff, fixed = 0x3800'3800'3800'3800;
      break;
    case DType::bf16:
      random = 0x007f'007f'007f'007f, fixed = 0x3f00'3f00'3f00'3f00;
      break;
    case DType::f32:
    case DType::c64:
      random = 0x007f'ffff'007f'ffff, fixed = 0x3f00'0000'3f00'0000;
      break;
    case DType::f64:
    case DType::c128:
      random = 0x000f'ffff'ffff'ffff, fixed = 0x3fe0'0000'0000'0000;
      break;
    case DType::boolean:
      random = 0x0101'0101'0101'0101;
      break;
    default:
      break;
  }
  std::vector<std::uint64_t> block(words);
  std::uint64_t state = 88172645463325252;  // xorshift64
  for (std::uint64_t& word : block) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    word = (state & random) | fixed;
  }
  return block;
}

// A random block, again and again.
void fill_random(const DeviceArrays& arrays, CUdeviceptr to, std::size_t size, const cumulus_tensor& input) {
  const Driver& driver = arrays.driver();
  const std::vector<std::uint64_t> block = random_block(static_cast<DType>(input.dtype), std::min<std::size_t>(size / 8 + 1, 1 << 20));
  std::size_t done = std::min(size, 8 * block.size());
  check(driver, driver.cuMemcpyHtoDAsync(to, block.data(), done, arrays.stream()), "cuMemcpyHtoDAsync");
  arrays.wait();  // the block goes
  for (std::size_t part = 0; done < size; done += part) {
    part = std::min(done, size - done);
    check(driver, driver.cuMemcpyDtoDAsync(to + done, to, part, arrays.stream()), "cuMemcpyDtoDAsync");
  }
}

CUcontext current_context(const Driver& driver) {
  CUcontext current = nullptr;
  check(driver, driver.cuCtxGetCurrent(&current), "cuCtxGetCurrent");
  return current;
}

void describe_kernel(const Driver& driver, const Problem& problem, std::uint64_t context, GpuProfile& profile) {
  const Plan& plan = profile.plan;
  const CUfunction kernel = load_kernel(driver, cubins(driver), context, {kSource, kEntry, definitions(problem, plan)}, profile.device);
  const auto ask = [&](int attribute) {
    int value = 0;
    check(driver, driver.cuFuncGetAttribute(&value, attribute, kernel), "cuFuncGetAttribute");
    return value;
  };
  profile.registers = ask(CU_FUNC_ATTRIBUTE_NUM_REGS);
  profile.spilled = ask(CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES);
  profile.static_shared = ask(CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
  check(driver,
        driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(&profile.blocks_per_sm, kernel, static_cast<int>(plan.threads),
                                                           static_cast<std::size_t>(plan.shared)),
        "cuOccupancyMaxActiveBlocksPerMultiprocessor");
}

std::array<Quantity, kQuantities> all_quantities() {
  std::array<Quantity, kQuantities> all{};
  for (std::size_t q = 0; q < all.size(); ++q) all[q] = static_cast<Quantity>(q);
  return all;
}

MeasuredCounters by_quantity(const Counters& counted, const std::string& library) {
  MeasuredCounters measured;
  measured.passes = counted.passes;
  measured.chip = counted.chip;
  measured.library = library;
  const auto value = [&](const char* metric) -> std::optional<double> {
    for (std::size_t i = 0; i < counted.metrics.size(); ++i)
      if (metric && std::string_view(counted.metrics[i]) == metric) return counted.values[i];
    return std::nullopt;
  };
  for (std::size_t q = 0; q < kQuantities; ++q) {
    measured.values[q] = value(kQuantityNames[q].metric);
    if (!measured.values[q]) measured.values[q] = value(kQuantityNames[q].otherwise);
  }
  return measured;
}

}  // namespace

std::vector<const char*> metric_names(std::span<const Quantity> quantities) {
  std::vector<const char*> names;
  for (const Quantity quantity : quantities) {
    const auto [metric, otherwise] = kQuantityNames[static_cast<std::size_t>(quantity)];
    names.push_back(metric);
    if (otherwise) names.push_back(otherwise);
  }
  return names;
}

std::vector<const char*> metric_names() { return metric_names(all_quantities()); }

MeasuredCounters count(System& system, const DeviceArrays& arrays, int device, std::span<const Quantity> quantities,
                       const std::function<void()>& scan) {
  const Driver& driver = arrays.driver();
  const Cupti cupti = open_cupti(system, driver.version);
  const auto flush = [&] { arrays.flush(), arrays.wait(); };
  const auto counted_scan = [&] { scan(), arrays.wait(); };
  return by_quantity(measure_counters(cupti, current_context(driver), device, metric_names(quantities), flush, counted_scan), cupti.path);
}

GpuProfile profile_scan(const Driver& driver, const DeviceInfo& info, System& system, const cumulus_scan_args& args, int device,
                        int rounds) {
  Problem problem;
  canonicalise(args, false, problem);  // refuses what is wrong before anything is allocated
  GpuProfile profile{};
  profile.device = info;
  if (make_plan(problem, info).layout == Layout::none) fail_invalid("a scan without elements launches nothing: give a shape without zeros");

  const DeviceArrays arrays(driver, device, info.l2, args, fill_random);
  canonicalise(arrays.args(), true, problem);  // now with addresses, whose alignment the plan depends on
  profile.plan = make_plan(problem, info);
  Call call;
  call.device = device;
  const auto scan = [&] { run(driver, info, problem, call); };
  scan();  // compiles, and makes the workspace
  describe_kernel(driver, problem, arrays.context_id(), profile);
  for (int round = 0; round < rounds; ++round) {
    profile.scan_ms.push_back(arrays.time_ms(scan));
    profile.copy_ms.push_back(arrays.time_ms([&] { profile.copied = arrays.copy(); }));
  }

  // Last, for the profiler slows what follows.
  try {
    profile.counters = count(system, arrays, device, all_quantities(), scan);
  } catch (const CuptiFailure& failure) {
    profile.why_no_counters = failure.message;
  }
  return profile;
}

GpuProfile profile_scan(const cumulus_scan_args& args, int device, int rounds) {
  return profile_scan(driver(), device_info(device), real_system(), args, device, rounds);
}

}  // namespace cumulus::cuda
