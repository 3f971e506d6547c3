#include "cuda/launch.h"

#include <array>
#include <bit>
#include <cstring>

#include "cuda/program.h"
#include "error.h"

namespace cumulus::cuda {
namespace {

// ---- plans that a thread has made, so that a repeated call neither plans nor looks a kernel up ----

// All of a call that a plan and a kernel can depend on. Addresses matter by their alignment only.
struct Signature {
  static constexpr int kDims = 6;  // a problem with more is planned at each call
  using Strides = std::array<std::int64_t, sizeof(Dim) / sizeof(std::int64_t)>;

  struct Fixed {
    std::int64_t n, n_out, rows;
    Strides axis;
    std::uint64_t context;
    Tuning tuning;
    int device, dims;
    std::uint32_t flags;
    Op op;
    Kind kind;
    bool initial_on_host, looked_up;
    std::array<DType, 5> dtypes;
    std::array<std::uint8_t, 6> alignment;

    bool operator==(const Fixed&) const = default;
  } fixed;
  Dim dim[kDims];

  static bool fits(const Problem& p) { return p.dims <= kDims; }

  void set(const Problem& p, const Call& call, std::uint64_t context) {
    const auto alignment = [](const void* address) { return static_cast<std::uint8_t>(reinterpret_cast<std::uintptr_t>(address) % 128); };
    fixed = {p.n,
             p.n_out,
             p.rows,
             std::bit_cast<Strides>(p.axis),
             context,
             call.tuning,
             call.device,
             p.dims,
             p.flags,
             p.op,
             p.kind,
             call.initial_on_host,
             call.look_up != nullptr,
             {p.in_dtype, p.out_dtype, p.mask_dtype, p.initial_dtype, p.total_dtype},
             {alignment(p.in), alignment(p.in2), alignment(p.mask), alignment(p.initial), alignment(p.out), alignment(p.total)}};
    std::memcpy(dim, p.dim, bytes());
  }

  std::size_t bytes() const { return static_cast<std::size_t>(fixed.dims) * sizeof(Dim); }

  bool operator==(const Signature& other) const { return fixed == other.fixed && std::memcmp(dim, other.dim, bytes()) == 0; }
};

struct Prepared {
  Plan plan;
  CUfunction function;
};

Tuning tuning_of(const Problem& p, const Call& call) { return call.look_up ? call.look_up(p, call.device) : call.tuning; }

Prepared prepare(const Driver& driver, const DeviceInfo& device, const Problem& p, const Call& call, std::uint64_t context) {
  Prepared prepared{make_plan(p, device, tuning_of(p, call)), nullptr};
  if (prepared.plan.layout != Layout::none)
    prepared.function = load_kernel(driver, cubins(driver), context, {kSource, kEntry, definitions(p, prepared.plan)}, device);
  return prepared;
}

// The last few of a thread. Trivially destructible: a scan may run at any point of a thread's end.
struct Recent {
  static constexpr unsigned kCount = 8;
  Signature signature[kCount];
  Prepared prepared[kCount];
  unsigned used, next;
};
constinit thread_local Recent recent{};

const Prepared& prepared_for(const Driver& driver, const DeviceInfo& device, const Problem& p, const Call& call, std::uint64_t context,
                             Prepared& spare) {
  if (!Signature::fits(p)) return spare = prepare(driver, device, p, call, context);
  Signature wanted;
  wanted.set(p, call, context);
  for (unsigned k = 0; k < recent.used; ++k)
    if (recent.signature[k] == wanted) return recent.prepared[k];
  spare = prepare(driver, device, p, call, context);
  const unsigned place = recent.next++ % Recent::kCount;
  if (recent.used < Recent::kCount) ++recent.used;
  recent.signature[place] = wanted;
  return recent.prepared[place] = spare;
}

// ---- the call ----

void check_pointers(const Driver& driver, const Problem& p, const Call& call) {
  const auto check_tensor = [&](const void* data, DType dtype, bool elements, const char* role) {
    if (dtype != DType::none && elements && data) check_pointer(driver, data, call.device, role);
  };
  const bool read = p.n > 0;
  check_tensor(p.in, p.in_dtype, read, "in");
  check_tensor(p.in2, inputs(p.op) == 2 ? p.in_dtype : DType::none, read, "in2");
  check_tensor(p.mask, p.mask_dtype, read, "mask");
  check_tensor(p.out, p.out_dtype, p.n_out > 0, "out");
  check_tensor(p.total, p.total_dtype, true, "total");
  if (!call.initial_on_host) check_tensor(p.initial, p.initial_dtype, true, "initial");
}

// How much of memory around a box the second-level cache fetches with it.
constexpr int kL2Promotion = CU_TENSOR_MAP_L2_PROMOTION_NONE;

void make_map(const Driver& driver, const TensorShape& shape, TensorMap& map) {
  static_assert(kTensorElement == 8);
  const std::uint64_t sizes[] = {shape.size[0], shape.size[1], shape.size[2]}, strides[] = {shape.stride[0], shape.stride[1]};
  constexpr unsigned kSteps[] = {1, 1, 1};
  const CUresult result = driver.cuTensorMapEncodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_UINT64, 3, const_cast<void*>(shape.base), sizes,
                                                        strides, shape.box, kSteps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                                                        CU_TENSOR_MAP_SWIZZLE_NONE, kL2Promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  check(driver, result, "cuTensorMapEncodeTiled");
}

// A kernel takes as many parameters as it has: the map is there for those that copy by it.
void launch(const Driver& driver, const Prepared& prepared, CUstream stream, HostArgs& args, TensorMap& map) {
  void* parameters[] = {&args, &map};
  check(driver,
        driver.cuLaunchKernel(prepared.function, prepared.plan.grid, 1, 1, prepared.plan.threads, 1, 1,
                              static_cast<unsigned>(prepared.plan.shared), stream, parameters, nullptr),
        "cuLaunchKernel");
}

}  // namespace

void run(const Driver& driver, const DeviceInfo& device, const Problem& p, const Call& call) {
  if (p.rows == 0) return;
  const auto stream = static_cast<CUstream>(p.stream);
  const ContextScope scope(driver, stream, call.device);
  check_pointers(driver, p, call);
  Prepared spare;
  const Prepared& prepared = prepared_for(driver, device, p, call, scope.id(), spare);
  const Plan& plan = prepared.plan;
  if (plan.layout == Layout::none) return;

  HostArgs args;
  TensorMap map;
  if (plan.copies == Copies::tensor) make_map(driver, tensor_shape(p, plan), map);
  if (plan.workspace_words == 0) {
    fill_args(p, plan, call.initial_on_host, nullptr, 0, args);
    return launch(driver, prepared, stream, args, map);
  }
  WorkspaceLease workspace(driver, scope.id(), stream, call.device, 8 * plan.workspace_words, call.workspace);
  fill_args(p, plan, call.initial_on_host, workspace.memory(), workspace.words(), args);
  launch(driver, prepared, stream, args, map);
  workspace.launched();
}

void prepare(const Problem& problem, const Call& call) {
  const Driver& the_driver = driver();
  const ContextScope scope(the_driver, static_cast<CUstream>(problem.stream), call.device);
  Prepared spare;
  prepared_for(the_driver, device_info(call.device), problem, call, scope.id(), spare);
}

void run(const Problem& problem, const Call& call) { run(driver(), device_info(call.device), problem, call); }

std::int64_t workspace_bytes(const Problem& problem, const DeviceInfo& device, const Tuning& tuning) {
  return 8 * make_plan(problem, device, tuning).workspace_words;
}

std::int64_t workspace_bytes(const Problem& problem, const Call& call) {
  return workspace_bytes(problem, device_info(call.device), tuning_of(problem, call));
}

}  // namespace cumulus::cuda
