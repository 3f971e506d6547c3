// What the rest of the library calls of the CUDA backend, in a build without it.
#include "cuda/bench_device.h"
#include "cuda/doctor.h"
#include "cuda/driver.h"
#include "cuda/host.h"
#include "cuda/launch.h"
#include "cuda/pack.h"
#include "cuda/profile.h"
#include "cuda/trial.h"
#include "error.h"

namespace cumulus::cuda {
namespace {

constexpr const char* kMissing = "this build has no CUDA backend: move the tensors to the CPU, or build with -DCUMULUS_CUDA=ON";

}  // namespace

void run(const Problem&, const Call&) { fail_unsupported(kMissing); }
std::int64_t workspace_bytes(const Problem&, const Call&) { fail_unsupported(kMissing); }

HostRunSeconds run_from_host(const cumulus_scan_args&, int, const Tuning&) { fail_unsupported(kMissing); }

GpuProfile profile_scan(const cumulus_scan_args&, int, int) { fail_unsupported(kMissing); }

struct GpuBench::State {};
GpuBench::GpuBench(const cumulus_scan_args&, int, const Tuning&) { fail_unsupported(kMissing); }
GpuBench::~GpuBench() = default;
void GpuBench::result(void*) const { fail_unsupported(kMissing); }
std::vector<GpuSeries> GpuBench::measure(const GpuEffort&) const { fail_unsupported(kMissing); }
FirstCall first_call(const cumulus_scan_args&, int) { fail_unsupported(kMissing); }
GpuCeilings measure_ceilings(int) { fail_unsupported(kMissing); }

struct Trial::State {};
Trial::Trial(const cumulus_scan_args&, int) { fail_unsupported(kMissing); }
Trial::~Trial() = default;
const Problem& Trial::problem() const { fail_unsupported(kMissing); }
const DeviceInfo& Trial::device() const { fail_unsupported(kMissing); }
void Trial::compile(std::span<const Tuning>) const { fail_unsupported(kMissing); }
bool Trial::keep_reference(const void*) { fail_unsupported(kMissing); }
std::optional<std::int64_t> Trial::first_difference(const Tuning&) const { fail_unsupported(kMissing); }
void Trial::result(const Tuning&, void*) const { fail_unsupported(kMissing); }
double Trial::scan_ms(const Tuning&) const { fail_unsupported(kMissing); }
double Trial::copy_ms() const { fail_unsupported(kMissing); }
std::optional<MeasuredCounters> Trial::counters(const Tuning&, std::span<const Quantity>, std::string&) const {
  fail_unsupported(kMissing);
}
tuning::Machine tuning_machine(int) { fail_unsupported(kMissing); }

const DeviceInfo& device_info(int) { fail_unsupported(kMissing); }

bool is_pack(const std::string&) { fail_unsupported(kMissing); }
Pack pack(std::span<const int>, std::span<const Op>, std::span<const DType>, int, const PackProgress&) { fail_unsupported(kMissing); }

std::vector<Finding> doctor(System&) { return {{Finding::note, "CUDA", "this build has no CUDA backend: scans run on the CPU"}}; }

}  // namespace cumulus::cuda
