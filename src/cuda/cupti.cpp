#include "cuda/cupti.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include <fmt/format.h>

namespace cumulus::cuda {
namespace {

constexpr LibraryName kCupti{"libcupti.so", "CUMULUS_CUPTI", "cuda_cupti", "extras/CUPTI/lib64"};
constexpr const char* kNeeded = "CUPTI of CUDA 12.6 or later is needed: pip install nvidia-cuda-cupti, or name the file in CUMULUS_CUPTI";

// ---- errors ----

struct Reason {
  CUptiResult result;
  CuptiProblem problem;
  const char* way_out;
};
constexpr const char* kRights =
    "counters are for administrators on this machine: run as root (in a container with --cap-add SYS_ADMIN), or let everyone read them: "
    "load the nvidia module with NVreg_RestrictProfilingToAdminUsers=0";
constexpr const char* kBusy =
    "another profiler holds the counters: stop it (Nsight, PyTorch's or Triton's profiler, DCGM: dcgmi profiling --pause) and try again";
constexpr Reason kReasons[] = {
    {CUPTI_ERROR_INSUFFICIENT_PRIVILEGES, CuptiProblem::no_rights, kRights},
    {CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES, CuptiProblem::no_rights,
     "this virtual GPU does not show its counters: enable profiling for it on the host"},
    {CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED, CuptiProblem::busy, kBusy},
    {CUPTI_ERROR_HARDWARE_BUSY, CuptiProblem::busy, kBusy},
    {CUPTI_ERROR_OLD_PROFILER_API_INITIALIZED, CuptiProblem::busy, kBusy},
    {CUPTI_ERROR_NOT_COMPATIBLE, CuptiProblem::unsupported, "it does not suit the driver: name one of the driver's CUDA in CUMULUS_CUPTI"},
    {CUPTI_ERROR_NOT_SUPPORTED, CuptiProblem::unsupported, "this GPU or driver has no range profiler: update the driver"},
    {CUPTI_ERROR_INVALID_CHIP_NAME, CuptiProblem::unsupported, "it does not know this GPU: name a newer one in CUMULUS_CUPTI"},
    {CUPTI_ERROR_VIRTUALIZED_DEVICE_NOT_SUPPORTED, CuptiProblem::unsupported, "this virtual GPU has no counters: profile on a whole one"},
    {CUPTI_ERROR_CONFIDENTIAL_COMPUTING_NOT_SUPPORTED, CuptiProblem::unsupported, "confidential computing hides counters: turn it off"},
    {CUPTI_ERROR_MIG_DEVICE_NOT_SUPPORTED, CuptiProblem::unsupported, "a part of a GPU (MIG) has no counters: profile on a whole one"},
    {CUPTI_ERROR_SLI_DEVICE_NOT_SUPPORTED, CuptiProblem::unsupported, "GPUs joined by SLI have no counters: turn SLI off"},
    {CUPTI_ERROR_WSL_DEVICE_NOT_SUPPORTED, CuptiProblem::unsupported, "WSL shows no counters of this GPU: profile on Linux"},
};
constexpr Reason kOther{CUPTI_ERROR_UNKNOWN, CuptiProblem::failed,
                        "stop other profilers, or try a CUPTI of the driver's CUDA release (CUMULUS_CUPTI)"};

const Reason& reason_of(CUptiResult result) {
  const auto* found = std::find_if(std::begin(kReasons), std::end(kReasons), [&](const Reason& r) { return r.result == result; });
  return found == std::end(kReasons) ? kOther : *found;
}

[[noreturn]] void fail(const Cupti& cupti, CUptiResult result, const char* call) {
  const char* text = nullptr;
  if (cupti.cuptiGetResultString(result, &text) != CUPTI_SUCCESS || !text) text = "an unknown code";
  const Reason& reason = reason_of(result);
  throw CuptiFailure{reason.problem, fmt::format("{} returned {} ({}; {}): {}", call, text, result, cupti.path, reason.way_out)};
}

template <class Params>
Params params() {
  Params p{};
  p.structSize = struct_size<Params>();
  return p;
}

#define CUMULUS_CUPTI_CALL(cupti, function, argument)                                                                   \
  do {                                                                                                                  \
    if (const CUptiResult result = (cupti).function(argument); result != CUPTI_SUCCESS) fail(cupti, result, #function); \
  } while (false)

using Image = std::vector<std::uint8_t>;

// ---- the host half ----

class Host {
 public:
  Host(const Cupti& cupti, const std::string& chip, const Image& availability) : cupti_(cupti) {
    auto p = params<CUpti_Profiler_Host_Initialize_Params>();
    p.profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER;
    p.pChipName = chip.c_str();
    p.pCounterAvailabilityImage = availability.empty() ? nullptr : availability.data();
    CUMULUS_CUPTI_CALL(cupti, cuptiProfilerHostInitialize, &p);
    object_ = p.pHostObject;
  }
  ~Host() {
    auto p = params<CUpti_Profiler_Host_Deinitialize_Params>();
    p.pHostObject = object_;
    cupti_.cuptiProfilerHostDeinitialize(&p);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Metrics that are added at once share passes.
  CUptiResult add(std::vector<const char*> metrics) {
    auto p = params<CUpti_Profiler_Host_ConfigAddMetrics_Params>();
    p.pHostObject = object_;
    p.ppMetricNames = metrics.data();
    p.numMetrics = metrics.size();
    return cupti_.cuptiProfilerHostConfigAddMetrics(&p);
  }

  Image config() const {
    auto size = params<CUpti_Profiler_Host_GetConfigImageSize_Params>();
    size.pHostObject = object_;
    CUMULUS_CUPTI_CALL(cupti_, cuptiProfilerHostGetConfigImageSize, &size);
    Image image(size.configImageSize);
    auto p = params<CUpti_Profiler_Host_GetConfigImage_Params>();
    p.pHostObject = object_;
    p.configImageSize = image.size();
    p.pConfigImage = image.data();
    CUMULUS_CUPTI_CALL(cupti_, cuptiProfilerHostGetConfigImage, &p);
    return image;
  }

  std::vector<double> evaluate(const Image& data, std::vector<const char*> metrics) const {
    std::vector<double> values(metrics.size());
    auto p = params<CUpti_Profiler_Host_EvaluateToGpuValues_Params>();
    p.pHostObject = object_;
    p.pCounterDataImage = data.data();
    p.counterDataImageSize = data.size();
    p.ppMetricNames = metrics.data();
    p.numMetrics = metrics.size();
    p.pMetricValues = values.data();
    CUMULUS_CUPTI_CALL(cupti_, cuptiProfilerHostEvaluateToGpuValues, &p);
    return values;
  }

 private:
  const Cupti& cupti_;
  CUpti_Profiler_Host_Object object_ = nullptr;
};

int passes_of(const Cupti& cupti, Image& config) {
  auto p = params<CUpti_Profiler_Host_GetNumOfPasses_Params>();
  p.configImageSize = config.size();
  p.pConfigImage = config.data();
  CUMULUS_CUPTI_CALL(cupti, cuptiProfilerHostGetNumOfPasses, &p);
  return static_cast<int>(p.numOfPasses);
}

// Which of the metrics the chip has. Releases differ in what they return for one that it lacks, and a host that refused one may refuse all
// that follow: each is tried on a host of its own.
CounterPlan choose_metrics(const Cupti& cupti, const std::string& chip, const Image& availability, std::span<const char* const> metrics) {
  CounterPlan plan{};
  CUptiResult refused = CUPTI_SUCCESS;
  for (const char* metric : metrics) {
    const CUptiResult result = Host(cupti, chip, availability).add({metric});
    if (result != CUPTI_SUCCESS) refused = result;
    (result == CUPTI_SUCCESS ? plan.metrics : plan.missing).push_back(metric);
  }
  if (plan.metrics.empty()) fail(cupti, refused, "cuptiProfilerHostConfigAddMetrics");
  return plan;
}

// Adds the plan's metrics to a fresh host; their config, and the plan's passes.
Image add_metrics(const Cupti& cupti, Host& host, CounterPlan& plan) {
  if (const CUptiResult result = host.add(plan.metrics); result != CUPTI_SUCCESS) fail(cupti, result, "cuptiProfilerHostConfigAddMetrics");
  Image config = host.config();
  plan.passes = passes_of(cupti, config);
  return config;
}

// ---- the range profiler ----

class Profiler {
 public:
  explicit Profiler(const Cupti& cupti) : cupti_(cupti) {
    auto p = params<CUpti_Profiler_Initialize_Params>();
    CUMULUS_CUPTI_CALL(cupti, cuptiProfilerInitialize, &p);
  }
  ~Profiler() {
    auto p = params<CUpti_Profiler_DeInitialize_Params>();
    cupti_.cuptiProfilerDeInitialize(&p);
  }
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;

  std::string chip(int device) const {
    auto p = params<CUpti_Device_GetChipName_Params>();
    p.deviceIndex = static_cast<std::size_t>(device);
    CUMULUS_CUPTI_CALL(cupti_, cuptiDeviceGetChipName, &p);
    return p.pChipName;
  }

  // Which counters this GPU, driver and user may read. The first place where missing rights show.
  Image availability(CUcontext context) const {
    auto p = params<CUpti_Profiler_GetCounterAvailability_Params>();
    p.ctx = context;
    CUMULUS_CUPTI_CALL(cupti_, cuptiProfilerGetCounterAvailability, &p);
    Image image(p.counterAvailabilityImageSize);
    p.pCounterAvailabilityImage = image.data();
    CUMULUS_CUPTI_CALL(cupti_, cuptiProfilerGetCounterAvailability, &p);
    return image;
  }

 private:
  const Cupti& cupti_;
};

// Counters of one range, which is run again and again until every pass has seen it.
class Range {
 public:
  Range(const Cupti& cupti, CUcontext context) : cupti_(cupti) {
    auto p = params<CUpti_RangeProfiler_Enable_Params>();
    p.ctx = context;
    CUMULUS_CUPTI_CALL(cupti, cuptiRangeProfilerEnable, &p);
    object_ = p.pRangeProfilerObject;
  }
  ~Range() {
    auto p = object_params();
    cupti_.cuptiRangeProfilerDisable(&p);
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

  void configure(const Image& config, std::vector<const char*> metrics) {
    auto size = params<CUpti_RangeProfiler_GetCounterDataSize_Params>();
    size.pRangeProfilerObject = object_;
    size.pMetricNames = metrics.data();
    size.numMetrics = metrics.size();
    size.maxNumOfRanges = 1;
    size.maxNumRangeTreeNodes = 1;
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerGetCounterDataSize, &size);
    data_.assign(size.counterDataSize, 0);
    auto init = params<CUpti_RangeProfiler_CounterDataImage_Initialize_Params>();
    init.pRangeProfilerObject = object_;
    init.counterDataSize = data_.size();
    init.pCounterData = data_.data();
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerCounterDataImageInitialize, &init);
    auto p = params<CUpti_RangeProfiler_SetConfig_Params>();
    p.pRangeProfilerObject = object_;
    p.configSize = config.size();
    p.pConfig = config.data();
    p.counterDataImageSize = data_.size();
    p.pCounterDataImage = data_.data();
    p.range = CUPTI_UserRange;
    p.replayMode = CUPTI_UserReplay;
    p.maxRangesPerPass = 1;
    p.numNestingLevels = 1;
    p.minNestingLevel = 1;
    p.targetNestingLevel = 1;
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerSetConfig, &p);
  }

  // One pass; true if it was the last.
  bool pass(const std::function<void()>& work) {
    auto object = object_params();
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerStart, &object);
    auto push = params<CUpti_RangeProfiler_PushRange_Params>();
    push.pRangeProfilerObject = object_;
    push.pRangeName = "scan";
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerPushRange, &push);
    work();
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerPopRange, &object);
    auto stop = params<CUpti_RangeProfiler_Stop_Params>();
    stop.pRangeProfilerObject = object_;
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerStop, &stop);
    return stop.isAllPassSubmitted != 0;
  }

  const Image& decode() {
    auto p = params<CUpti_RangeProfiler_DecodeData_Params>();
    p.pRangeProfilerObject = object_;
    CUMULUS_CUPTI_CALL(cupti_, cuptiRangeProfilerDecodeData, &p);
    if (p.numOfRangeDropped > 0)
      throw CuptiFailure{CuptiProblem::failed, fmt::format("{} dropped the measured range: try again", cupti_.path)};
    return data_;
  }

 private:
  CUpti_RangeProfiler_Object_Params object_params() const {
    auto p = params<CUpti_RangeProfiler_Object_Params>();
    p.pRangeProfilerObject = object_;
    return p;
  }

  const Cupti& cupti_;
  CUpti_RangeProfiler_Object object_ = nullptr;
  Image data_;
};

}  // namespace

// ---- finding and opening ----

std::vector<LibraryFile> find_cupti(System& system) { return find_library(system, kCupti); }

Cupti open_cupti(System& system, const LibraryFile& file) {
  const auto refuse = [&](const std::string& why) -> CuptiFailure {
    return {CuptiProblem::missing, fmt::format("CUPTI {} ({}) {}; {}", file.path, file.origin, why, kNeeded)};
  };
  std::string error;
  void* library = system.open(file.path, error);
  if (!library) throw refuse(fmt::format("does not open: {}", error));
  Cupti cupti{};
  cupti.path = file.path;
  const auto load = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(system.symbol(library, name));
    if (!function) throw refuse(fmt::format("has no {}", name));
  };
  load(cupti.cuptiGetResultString, "cuptiGetResultString");
#define CUMULUS_CUPTI(name, Params) load(cupti.name, #name);
#include "cuda/cupti_functions.inc"
  return cupti;
}

Cupti open_cupti(System& system, int driver_version) {
  std::optional<CuptiFailure> first;
  const std::vector<LibraryFile> found = find_cupti(system), usable = usable_nvrtc(found, driver_version);
  for (const LibraryFile& file : usable) try {
      return open_cupti(system, file);
    } catch (CuptiFailure& failure) {
      if (!first) first = std::move(failure);
    }
  if (first) throw CuptiFailure(*first);
  if (!found.empty())
    throw CuptiFailure{CuptiProblem::missing, fmt::format("CUPTI {} ({}) is newer than the driver's CUDA {}.{}: update the driver, or pip "
                                                          "install 'nvidia-cuda-cupti-cu{}'",
                                                          found[0].path, found[0].origin, driver_version / 1000, driver_version % 1000 / 10,
                                                          driver_version / 1000)};
  throw CuptiFailure{CuptiProblem::missing, fmt::format("libcupti.so was not found; {}", kNeeded)};
}

// ---- without a GPU ----

std::vector<std::string> chips(const Cupti& cupti) {
  auto p = params<CUpti_Profiler_Host_GetSupportedChips_Params>();
  CUMULUS_CUPTI_CALL(cupti, cuptiProfilerHostGetSupportedChips, &p);
  return {p.ppChipNames, p.ppChipNames + p.numChips};
}

CounterPlan plan_counters(const Cupti& cupti, const std::string& chip, std::span<const char* const> metrics) {
  CounterPlan plan = choose_metrics(cupti, chip, {}, metrics);
  Host host(cupti, chip, {});
  add_metrics(cupti, host, plan);
  return plan;
}

// ---- on a GPU ----

Counters measure_counters(const Cupti& cupti, CUcontext context, int device, std::span<const char* const> metrics,
                          const std::function<void()>& before, const std::function<void()>& work) {
  const Profiler profiler(cupti);
  const std::string chip = profiler.chip(device);
  const Image availability = profiler.availability(context);
  CounterPlan plan = choose_metrics(cupti, chip, availability, metrics);
  Host host(cupti, chip, availability);
  const Image config = add_metrics(cupti, host, plan);
  Range range(cupti, context);
  range.configure(config, plan.metrics);
  // CUPTI says which pass is the last; should it never say so, this ends all the same.
  const int most = 2 * plan.passes + 2;
  int done = 0;
  for (bool last = false; !last; ++done) {
    if (done == most)
      throw CuptiFailure{CuptiProblem::failed,
                         fmt::format("{} does not finish: {} passes were planned, {} made", cupti.path, plan.passes, done)};
    before();
    last = range.pass(work);
  }
  std::vector<double> values = host.evaluate(range.decode(), plan.metrics);
  return {std::move(plan.metrics), std::move(values), std::move(plan.missing), done, chip};
}

}  // namespace cumulus::cuda
