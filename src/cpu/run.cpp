#include "cpu/run.h"

#include <cstdlib>
#include <cstring>
#include <limits>

#include "cpu/context.h"
#include "cpu/copy.h"
#include "cpu/cpu_info.h"
#include "cpu/fp_environment.h"
#include "tuning/lookup.h"

namespace cumulus::cpu {
namespace {

template <class T>
void put(Value& value, int plane, T x) {
  std::memcpy(value.lane[plane], &x, sizeof x);
}

// A small number in every lane type's own format; `acc` is the accumulator, which for limits may be narrower than its lanes.
void put_number(Value& value, int plane, DType kernel, double x) {
  switch (kernel) {
    case DType::f32:
    case DType::c64:
      return put(value, plane, static_cast<float>(x));
    case DType::f64:
    case DType::c128:
      return put(value, plane, x);
    case DType::i32:
    case DType::u32:
      return put(value, plane, static_cast<std::int32_t>(x));
    default:
      return put(value, plane, static_cast<std::int64_t>(x));
  }
}

// The dtype's least (or greatest) value, infinite for floats.
void put_limit(Value& value, DType acc, bool least) {
  const auto integer = [&](auto low, auto high) {
    if (bytes(acc) == 8) put(value, 0, least ? static_cast<std::uint64_t>(low) : static_cast<std::uint64_t>(high));
    else put(value, 0, least ? static_cast<std::uint32_t>(low) : static_cast<std::uint32_t>(high));
  };
  switch (acc) {
    case DType::f32:
      return put(value, 0, least ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity());
    case DType::f64:
      return put(value, 0, least ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity());
    case DType::i8:
      return integer(INT8_MIN, INT8_MAX);
    case DType::i16:
      return integer(INT16_MIN, INT16_MAX);
    case DType::i32:
      return integer(INT32_MIN, INT32_MAX);
    case DType::i64:
      return integer(INT64_MIN, INT64_MAX);
    case DType::u8:
      return integer(0u, UINT8_MAX);
    case DType::u16:
      return integer(0u, UINT16_MAX);
    case DType::u32:
      return integer(0u, UINT32_MAX);
    default:
      return integer(std::uint64_t{0}, UINT64_MAX);
  }
}

// The op's identity, inside and as an empty prefix shows it.
void set_identity(const Problem& p, int planes, Value& identity, Value& shown) {
  switch (p.op) {
    case Op::sum:
      for (int k = 0; k < planes; ++k) put_number(identity, k, p.kernel, -0.0);
      break;
    case Op::prod:
    case Op::recurrence:
      put_number(identity, 0, p.kernel, 1.0);
      put_number(shown, 0, p.kernel, 1.0);
      break;
    case Op::max:
    case Op::min:
      put_limit(identity, p.acc, p.op == Op::max);
      shown = identity;
      break;
  }
}

void run_none(const Context& c) {
  const Problem& p = c.p;
  for (std::int64_t row = 0; row < p.rows; ++row) {
    const Offsets offsets = offsets_of(p, row);
    Value value;
    c.load_start(offsets, value);
    if (c.first_shown) value = c.shown;
    const void* end[kMaxPlanes];
    for (int k = 0; k < c.planes; ++k) end[k] = value.plane(k);
    if (p.kind == Kind::prefixes) c.store_value(p.out_dtype, c.out(offsets.out), end);
    c.store_total(offsets, end);
  }
}

// Small calls skip the system call that counts cores.
CpuInfo describe(const Problem& p) {
  static const CpuInfo once = cpu_info();
  CpuInfo cpu = once;
  cpu.simd = name(current_target());
  cpu.cores = 1;
  if (p.threads == 0 && bytes_required(p) >= (1 << 20)) cpu = cpu_info();
  return cpu;
}

}  // namespace

Context::Context(const Problem& problem, const Plan& chosen)
    : p(problem), plan(chosen), kernel(kernels(problem.op, problem.kernel)), stage(stage_kernels()) {
  planes = kernel.planes;
  input_planes = planes / inputs(p.op);
  out_plane = planes - input_planes;
  const bool initial = p.initial_dtype != DType::none;
  has_start = initial || p.op != Op::recurrence;
  first_shown = !initial;
  set_identity(p, planes, identity, shown);
}

void Context::load_start(const Offsets& row, Value& start) const {
  start = identity;
  if (p.initial_dtype == DType::none) return;
  void* lanes[kMaxPlanes];
  for (int k = 0; k < input_planes; ++k) lanes[k] = start.plane(out_plane + k);
  load_scalar(p.initial_dtype, at(p.initial, p.initial_dtype, row.initial), p.acc, lanes);
}

void Context::store_total(const Offsets& row, const void* const end[]) const {
  if (p.total_dtype != DType::none) store_value(p.total_dtype, at(p.total, p.total_dtype, row.total), end);
}

Offsets offsets_of(const Problem& p, std::int64_t row, int skip) {
  Offsets offsets;
  for (int i = p.dims - 1; i >= 0; --i) {
    if (i == skip) continue;
    offsets.add(p.dim[i], row % p.dim[i].size);
    row /= p.dim[i].size;
  }
  return offsets;
}

namespace {

// The thread's block. Trivially destructible, because a scan may still run in a destructor at the thread's or process's end:
// `ScratchOwner` frees the block when its turn comes, and a scan after that frees its own.
thread_local unsigned char* scratch_memory = nullptr;
thread_local std::size_t scratch_size = 0;
thread_local bool scratch_kept = true;

void free_scratch() {
  ::operator delete[](scratch_memory, std::align_val_t{64});
  scratch_memory = nullptr;
  scratch_size = 0;
}

struct ScratchOwner {
  ~ScratchOwner() {
    scratch_kept = false;
    free_scratch();
  }
};

}  // namespace

Scratch::~Scratch() {
  if (!scratch_kept) free_scratch();
}

Scratch::Scratch(std::size_t bytes) {
  thread_local ScratchOwner owner;
  (void)owner;
  if (scratch_size < bytes) {
    free_scratch();
    scratch_memory = new (std::align_val_t{64}) unsigned char[bytes];
    scratch_size = bytes;
  }
  next_ = scratch_memory;
}

namespace {

// One small row that lies as the kernel wants it, and nothing else: in such a call, making a plan would take longer than the scan.
bool is_small_row(const Problem& p) {
  return p.dims == 0 && p.n > 0 && p.n <= 2 * kChunk && p.kind != Kind::prefixes && p.in_dtype == p.kernel && p.out_dtype == p.kernel &&
         family(p.kernel) != Family::complex && inputs(p.op) == 1 && !p.masked() && p.initial_dtype == DType::none &&
         p.total_dtype == DType::none && p.axis.in == p.axis.out && (p.axis.out == 1 || p.axis.out == -1);
}

void run_small_row(const Problem& p) {
  const FpEnvironment environment;
  const OpKernels& kernel = kernels(p.op, p.kernel);
  Value start, shown, end;
  set_identity(p, 1, start, shown);
  const void* const lanes[] = {start.plane(0)};
  std::int64_t slots[Carry::slots_for(1, 1)];
  Carry carry;
  carry.slots = slots;
  kernel.carry_start(carry, lanes);

  RowArgs args{};
  args.in[0] = p.in, args.out[0] = p.out;
  args.in_backward = args.out_backward = p.axis.out < 0;
  args.n = p.n;
  args.rows = 1;
  args.exclusive = p.kind == Kind::exclusive;
  args.shown[0] = shown.plane(0);
  args.carry = &carry;
  args.end[0] = end.plane(0);
  kernel.scan(args);
}

}  // namespace

void run(const Problem& p) {
  if (is_small_row(p)) return run_small_row(p);
  const Tuning* const forced = ForceTuning::current();
  Plan plan = forced ? make_plan(p, describe(p), *forced) : tuning::plan_to_run(p, describe(p));
  if (plan.threads > 1 && !parallel_allowed()) {
    Problem serial = p;
    serial.threads = 1;
    plan = make_plan(serial, describe(serial));
  }
  run(p, plan);
}

void run(const Problem& p, const Plan& plan) {
  if (plan.shape == ShapeCase::empty) return;
  const FpEnvironment environment;
  const Context context(p, plan);
  switch (plan.algorithm) {
    case Algorithm::none:
      return run_none(context);
    case Algorithm::short_rows:
      return run_short_rows(context);
    case Algorithm::rows:
      return run_rows(context);
    case Algorithm::split_rows:
      return run_split_rows(context);
    case Algorithm::columns:
      return run_columns(context);
    case Algorithm::split_columns:
      return run_split_columns(context);
  }
}

void copy(void* to, const void* from, std::size_t bytes, CopyKind kind, int threads, bool pin_threads) {
  constexpr std::size_t kPiece = 256 << 10;
  const auto pieces = static_cast<std::int64_t>((bytes + kPiece - 1) / kPiece);
  const StageKernels& stage = stage_kernels();
  Tickets tickets(pieces);
  parallel(threads > 0 ? threads : cpu_info().cores, pin_threads, [&](int) {
    for (std::int64_t ticket; tickets.take(ticket);) {
      const std::size_t first = static_cast<std::size_t>(ticket) * kPiece, count = std::min(kPiece, bytes - first);
      auto* target = static_cast<char*>(to) + first;
      const auto* source = static_cast<const char*>(from) + first;
      kind == CopyKind::streaming ? stage.stream_copy(target, source, count) : static_cast<void>(std::memcpy(target, source, count));
    }
    stage.fence();
  });
}

}  // namespace cumulus::cpu
