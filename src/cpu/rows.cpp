// Rows: the axis is contiguous, or gathered into a buffer where it is not.
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cpu/context.h"

namespace cumulus::cpu {
namespace {

constexpr std::int64_t kPiece = 1024;            // elements staged at a time; whole segments
constexpr std::int64_t kMaxPrefetchStep = 4096;  // bytes a segment
constexpr std::int64_t kMostRepitched = 128;     // bytes that StageKernels::repitch moves at once at most

// Results that bypass the cache. A piece is laid into a bounce buffer as it will lie in memory, and its whole cache lines leave
// with the next piece's scan. The part of a line at a piece's end waits for the next piece, whichever row that belongs to: only
// where a run of memory begins or ends are parts of lines stored by ordinary means. Reversed rows are laid from high addresses
// to low ones (`step` -1).
class Outlet {
 public:
  static constexpr std::int64_t bytes_for(std::int64_t piece_bytes) { return piece_bytes + 4 * 64; }

  Outlet(const StageKernels& stage, char* first, char* second) : stage_(stage), bounce_{first, second} {}

  // The next result has `size` bytes at `first`, and those after it follow in steps of `step`.
  void go_to(char* first, std::int64_t size, std::int64_t step) {
    char* const next = step > 0 ? first : first + size;
    if (next == next_ && step == step_) return;
    end_run();
    next_ = next, step_ = step;
  }

  // Where the next `bytes` bytes are to be laid: the lowest address.
  char* lay(std::int64_t bytes) {
    low_ = step_ > 0 ? next_ - rest_ : next_ - bytes;
    bytes_ = rest_ + bytes;
    laid_ = bounce_[turn_ ^= 1] + address(low_) % 64;
    std::memcpy(step_ > 0 ? laid_ : laid_ + bytes, waiting_, sizeof waiting_);
    next_ += step_ * bytes;
    return step_ > 0 ? laid_ + rest_ : laid_;
  }

  // Sends what was laid on its way.
  void send() {
    const std::int64_t below = std::min<std::int64_t>(bytes_, (64 - address(low_) % 64) % 64);  // the first whole line
    const std::int64_t above = (bytes_ - below) % 64, whole = bytes_ - below - above;
    pending_ = {laid_ + below, low_ + below, whole};
    if (step_ > 0) {
      if (below > 0) std::memcpy(low_, laid_, static_cast<std::size_t>(below));
      rest_ = above;
      std::memcpy(waiting_, laid_ + below + whole, sizeof waiting_);
    } else {
      if (above > 0) std::memcpy(low_ + below + whole, laid_ + below + whole, static_cast<std::size_t>(above));
      rest_ = below;
      std::memcpy(waiting_, laid_, sizeof waiting_);
    }
  }

  // Lines that wait to be stored past the cache: the caller's from here on.
  Drain take() { return std::exchange(pending_, {}); }

  void finish() {
    end_run();
    const Drain left = take();
    if (left.bytes > 0) stage_.stream_copy(left.to, left.from, static_cast<std::size_t>(left.bytes));
  }

 private:
  static std::int64_t address(const char* p) { return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p)); }

  void end_run() {
    if (rest_ > 0) std::memcpy(step_ > 0 ? next_ - rest_ : next_, waiting_, static_cast<std::size_t>(rest_));
    rest_ = 0;
  }

  const StageKernels& stage_;
  char* bounce_[2];
  int turn_ = 0;
  Drain pending_;
  char* next_ = nullptr;  // where the next piece begins (step -1: ends) in memory
  std::int64_t step_ = 1;
  char* low_ = nullptr;  // what is laid: its lowest address in memory, its place in the bounce buffer, its bytes
  char* laid_ = nullptr;
  std::int64_t bytes_ = 0;
  std::int64_t rest_ = 0;  // of `waiting_`
  char waiting_[64] = {};
};

// What a thread needs to scan rows: buffers for one chunk, and the way out for results that bypass the cache.
struct RowBuffers {
  static constexpr std::int64_t kBounceBytes = Outlet::bytes_for((kPiece + kSegment + 1) * 16);

  const Context& c;
  Scratch scratch;
  Planes elements, factors;
  void* chunk_state;
  Outlet outlet;

  explicit RowBuffers(const Context& context)
      : c(context),
        scratch(2 * planes_bytes(c.kernel, kChunk) + Scratch::padded(kChunkStateBytes) + 2 * Scratch::padded(kBounceBytes)),
        chunk_state((elements.take(scratch, c.kernel, kChunk), factors.take(scratch, c.kernel, kChunk), scratch.take(kChunkStateBytes))),
        outlet(c.stage, scratch.take<char>(kBounceBytes), scratch.take<char>(kBounceBytes)) {}

  // Before the thread is done: what still waits.
  void finish() {
    outlet.finish();
    if (c.plan.streaming) c.stage.fence();
  }
};

// Elements [first, first + n) of a row as planes: cast to the accumulator, masked.
void load_elements(const Context& c, const Offsets& row, std::int64_t first, std::int64_t n, void* const planes[], void* const factors[]) {
  const Problem& p = c.p;
  c.load(p.in_dtype)(c.in(0, row.in + first * p.axis.in), p.axis.in, n, planes);
  if (inputs(p.op) == 2) c.load(p.in_dtype)(c.in(1, row.in2 + first * p.axis.in2), p.axis.in2, n, planes + c.input_planes);
  if (!p.masked()) return;
  const char* mask = at(p.mask, p.mask_dtype, row.mask + first * p.axis.mask);
  if (p.mask_dtype == DType::boolean) {
    const void* shown[kMaxPlanes];
    for (int k = 0; k < c.planes; ++k) shown[k] = c.shown.plane(k);
    c.stage.select[c.kernel.lane_bytes / 8](planes, c.planes, mask, p.axis.mask, n, shown);
  } else {
    c.load(p.mask_dtype)(mask, p.axis.mask, n, factors);
    c.stage.multiply[static_cast<int>(p.kernel)](planes, factors, n);
    if (c.wrap()) c.wrap()(planes[0], n);
  }
}

// Where a thread will read next, to be asked for while it scans.
struct Ahead {
  const Offsets* row;  // null: nowhere
  std::int64_t first;
};

Ahead ahead_of(const Context& c, const Offsets& row, std::int64_t first) {
  return {c.plan.streaming ? &row : nullptr, first + c.plan.ahead};
}

// Asks for the memory `further` elements behind `ahead`, a segment's worth at a time.
void prefetch_from(const Context& c, const Ahead& ahead, std::int64_t further, RowArgs& args) {
  if (!ahead.row) return;
  const Problem& p = c.p;
  const Offsets& row = *ahead.row;
  const std::int64_t first = ahead.first + further;
  const std::int64_t size = bytes(p.in_dtype);
  args.prefetch[0] = {c.in(0, row.in + first * p.axis.in), p.axis.in * size * kSegment};
  if (inputs(p.op) == 2) args.prefetch[1] = {c.in(1, row.in2 + first * p.axis.in2), p.axis.in2 * size * kSegment};
  if (p.masked())
    args.prefetch[2] = {at(p.mask, p.mask_dtype, row.mask + first * p.axis.mask), p.axis.mask * bytes(p.mask_dtype) * kSegment};
  for (Prefetch& fetch : args.prefetch)
    if (std::abs(fetch.step) > kMaxPrefetchStep) fetch = {};  // gathered elements: too many lines to ask for
}

// Can the kernel store this row's results where they belong?
bool out_direct(const Context& c, const Offsets& row, std::int64_t first) {
  if (c.plan.staged) return false;
  if (!c.plan.streaming) return true;
  for (int i = 0; i < c.p.dims; ++i)  // all rows alike, so that those in line are one run
    if (c.p.dim[i].out % c.kernel.lanes != 0) return false;
  const std::int64_t lowest = c.p.axis.out > 0 ? first : -first - (c.kernel.lanes - 1);
  return c.aligned(c.out(row.out + lowest), c.kernel.lanes);
}

// A row's input where it lies, from element `first` on.
void set_input(const Context& c, const Offsets& row, std::int64_t first, RowArgs& args) {
  args.in[0] = c.in(0, row.in + first * c.p.axis.in);
  if (c.planes == 2) args.in[1] = c.in(1, row.in2 + first * c.p.axis.in2);
  args.in_backward = c.p.axis.in < 0;
  if (c.p.masked()) args.mask = c.mask(row.mask + first * c.p.axis.mask);
}

// Input and output of a row where they lie.
void set_direct(const Context& c, const Offsets& row, std::int64_t first, RowArgs& args) {
  set_input(c, row, first, args);
  args.out[c.out_plane] = c.out(row.out + first * c.p.axis.out);
  args.out_backward = c.p.axis.out < 0;
  args.streaming = c.plan.streaming;
}

// Scans elements [first, first + n) of a row, `first` at a chunk; end receives R(first + n). Of prefixes, the last one too.
// Without buffers the kernel reads and writes where the elements lie.
void scan_part(const Context& c, const Offsets& row, std::int64_t first, std::int64_t n, const Ahead& ahead, Carry& carry, Value& end,
               RowBuffers* buffers) {
  const Problem& p = c.p;
  RowArgs args{};
  args.exclusive = p.kind != Kind::inclusive;
  args.carry = &carry;
  args.rows = 1;
  const void* end_lanes[kMaxPlanes];
  for (int k = 0; k < c.planes; ++k) args.end[k] = end.plane(k), end_lanes[k] = end.plane(k);
  if (first == 0 && c.first_shown)
    for (int k = 0; k < c.planes; ++k) args.shown[k] = c.shown.plane(k);
  const std::int64_t last_prefix = p.kind == Kind::prefixes && first + n == p.n ? 1 : 0;

  // Where the elements lie as the kernel wants them, the whole part is one call.
  if (!buffers || out_direct(c, row, first)) {
    set_direct(c, row, first, args);
    prefetch_from(c, ahead, 0, args);
    args.n = n;
    c.kernel.scan(args);
    if (last_prefix) c.store_value(p.out_dtype, c.out(row.out + p.n * p.axis.out), end_lanes);
    return;
  }

  // Else pieces pass through a buffer, small enough to stay in the first cache.
  const std::int64_t size = bytes(p.out_dtype), step = p.axis.out;
  const bool bypass = c.plan.streaming && std::abs(step) == 1;
  const bool converts =
      std::abs(step) != 1 || (c.plan.staged && step != 1) || family(p.kernel) == Family::complex || size != c.kernel.lane_bytes;
  const auto store = c.store(p.out_dtype);
  if (bypass) buffers->outlet.go_to(c.out(row.out + first * step), size, step);
  carry.chunk = buffers->chunk_state;
  void* const* elements = buffers->elements.at;
  for (std::int64_t done = 0; done < n; done += args.n) {
    const std::int64_t from = first + done;
    args.n = n - done <= kPiece + kSegment ? n - done : kPiece;  // no short piece at the end
    const std::int64_t results = args.n + (done + args.n == n ? last_prefix : 0);
    if (c.plan.staged) {
      load_elements(c, row, from, args.n, elements, buffers->factors.at);
      for (int k = 0; k < c.planes; ++k) args.in[k] = elements[k];
    } else {
      set_input(c, row, from, args);
    }
    for (int k = c.out_plane; k < c.planes; ++k) args.out[k] = elements[k];
    prefetch_from(c, ahead, done, args);
    args.drain = buffers->outlet.take();
    char* laid = c.out(row.out + from * step);  // of the first result
    if (bypass) laid = buffers->outlet.lay(results * size) + (step > 0 ? 0 : (results - 1) * size);
    if (!converts) args.out[c.out_plane] = laid, args.out_backward = step < 0;
    c.kernel.scan(args);
    args.shown[0] = nullptr;
    if (converts) store(elements + c.out_plane, laid, step, args.n, false);
    if (results > args.n) c.store_value(p.out_dtype, laid + args.n * step * size, end_lanes);
    if (bypass) buffers->outlet.send();
  }
}

void finish_row(const Context& c, const Offsets& row, const Value& end) {
  const void* lanes[kMaxPlanes];
  for (int k = 0; k < c.planes; ++k) lanes[k] = end.plane(k);
  c.store_total(row, lanes);
}

void start_carry(const Context& c, const Offsets& row, Carry& carry) {
  Value start;
  c.load_start(row, start);
  const void* lanes[kMaxPlanes];
  for (int k = 0; k < c.planes; ++k) lanes[k] = start.plane(k);
  c.kernel.carry_start(carry, c.has_start ? lanes : nullptr);
}

void scan_row(const Context& c, const Offsets& row, RowBuffers* buffers) {
  std::int64_t slots[Carry::slots_for(kMaxPlanes, kMaxLevels)];
  Carry carry;
  carry.slots = slots;
  start_carry(c, row, carry);
  Value end;
  scan_part(c, row, 0, c.p.n, ahead_of(c, row, 0), carry, end, buffers);
  finish_row(c, row, end);
}

// Rows [begin, end) that follow each other along the innermost dimension, in one call of the kernel where nothing differs from
// row to row but the place. Returns how many were done.
std::int64_t scan_alike(const Context& c, std::int64_t begin, std::int64_t end) {
  const Problem& p = c.p;
  if (c.plan.staged || p.dims == 0 || p.kind == Kind::prefixes || p.total_dtype != DType::none) return 0;
  const Dim& inner = p.dim[p.dims - 1];
  const std::int64_t rows = std::min(end - begin, inner.size - begin % inner.size);
  const bool backward = p.axis.out < 0;  // then the last row comes first, and all memory is walked downwards
  const std::int64_t direction = backward ? -1 : 1;
  const Offsets first = offsets_of(p, backward ? begin + rows - 1 : begin);
  const bool in_line = !c.plan.streaming || inner.out * bytes(p.out_dtype) % (c.kernel.lanes * c.kernel.lane_bytes) == 0;
  if (rows < 2 || inner.initial != 0 || !in_line || !out_direct(c, first, 0)) return 0;

  std::int64_t slots[Carry::slots_for(kMaxPlanes, kMaxLevels)];
  Carry carry;
  carry.slots = slots;
  Value start, end_value;
  c.load_start(first, start);
  const void* lanes[kMaxPlanes];
  RowArgs args{};
  set_direct(c, first, 0, args);
  prefetch_from(c, ahead_of(c, first, 0), 0, args);
  for (int k = 0; k < c.planes; ++k) {
    lanes[k] = start.plane(k);
    args.end[k] = end_value.plane(k);
    if (c.first_shown) args.shown[k] = c.shown.plane(k);
  }
  args.exclusive = p.kind != Kind::inclusive;
  args.carry = &carry;
  args.n = p.n;
  args.rows = rows;
  args.start = c.has_start ? lanes : nullptr;
  args.in_step[0] = direction * inner.in, args.in_step[1] = direction * inner.in2;
  args.out_step[c.out_plane] = direction * inner.out;
  args.mask_step = direction * inner.mask;
  c.kernel.scan(args);
  return rows;
}

bool needs_buffers(const Context& c) { return c.plan.staged || c.plan.streaming; }

}  // namespace

void run_rows(const Context& c) {
  const Problem& p = c.p;
  if (p.rows == 1 && !needs_buffers(c)) return scan_row(c, Offsets{}, nullptr);
  const std::int64_t row_bytes = std::max<std::int64_t>(1, p.n * bytes(p.in_dtype));
  const std::int64_t share = std::max<std::int64_t>(1, p.rows / (8 * c.plan.threads));
  const std::int64_t batch = std::clamp<std::int64_t>(c.plan.batch / row_bytes, 1, c.plan.threads > 1 ? share : p.rows);
  Tickets tickets((p.rows + batch - 1) / batch);
  const auto work = [&](int) {
    RowBuffers buffers(c);
    for (std::int64_t ticket; tickets.take(ticket);) {
      const std::int64_t begin = ticket * batch, end = std::min(p.rows, begin + batch);
      for (std::int64_t i = begin; i < end; ++i) {
        if (const std::int64_t done = scan_alike(c, i, end); done > 0) {
          i += done - 1;
          continue;
        }
        const std::int64_t row = p.axis.in < 0 ? begin + end - 1 - i : i;  // memory is read in one direction
        scan_row(c, offsets_of(p, row), &buffers);
      }
    }
    buffers.finish();
  };
  c.plan.threads > 1 ? parallel(c.plan.threads, p.flags & CUMULUS_PIN_THREADS, work) : work(0);
}

// Few long rows. A thread takes the next tile of whole chunks, adds its chunks up while they come into its cache, waits for its
// turn, copies the running carry, pushes its own totals for the next thread, and only then scans its tile from the cache.
void run_split_rows(const Context& c) {
  const Problem& p = c.p;
  const std::int64_t tile = c.plan.tile, tiles = (p.n + tile - 1) / tile, chunks = tile / kChunk;
  const std::int64_t slots_count = Carry::slots_for(c.planes, kMaxLevels);
  const auto running_slots = std::make_unique<std::int64_t[]>(static_cast<std::size_t>(slots_count));
  Carry running;
  running.slots = running_slots.get();
  Tickets tickets(p.rows * tiles);
  Turns turns;

  const auto add_up = [&](const Offsets& row, std::int64_t first, RowBuffers& buffers, const Planes& totals) {
    RowArgs args{};
    if (!c.plan.staged) {
      set_input(c, row, first, args);
      return c.kernel.chunk_totals(args, chunks, totals.at);
    }
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
      load_elements(c, row, first + chunk * kChunk, kChunk, buffers.elements.at, buffers.factors.at);
      void* to[kMaxPlanes];
      for (int k = 0; k < c.planes; ++k) args.in[k] = buffers.elements.at[k], to[k] = lane(c, totals.at[k], chunk);
      c.kernel.chunk_totals(args, 1, to);
    }
  };

  parallel(c.plan.threads, p.flags & CUMULUS_PIN_THREADS, [&](int) {
    RowBuffers buffers(c);
    const auto memory = std::make_unique<std::int64_t[]>(static_cast<std::size_t>(slots_count + c.planes * chunks));
    Planes totals;
    for (int k = 0; k < c.planes; ++k) totals.at[k] = memory.get() + slots_count + k * chunks;
    std::int64_t ticket, following;
    tickets.take(following);
    while (following < tickets.count()) {
      ticket = following;
      const Offsets row = offsets_of(p, ticket / tiles);
      const std::int64_t index = ticket % tiles, first = index * tile, n = std::min(tile, p.n - first);
      const bool last = index == tiles - 1;
      if (!last) add_up(row, first, buffers, totals);

      turns.wait(ticket);
      if (index == 0) start_carry(c, row, running);
      Carry carry = running;
      carry.slots = memory.get();
      std::memcpy(carry.slots, running.slots, static_cast<std::size_t>(Carry::slots_for(c.planes, running.levels)) * sizeof(std::int64_t));
      if (!last) c.kernel.carry_push(running, totals.at, chunks);
      turns.pass(ticket);

      // The thread's next tile is on its way while this one is scanned.
      const bool more = tickets.take(following);
      const Offsets next_row = offsets_of(p, following / tiles);
      Value end;
      scan_part(c, row, first, n, {more ? &next_row : nullptr, following % tiles * tile}, carry, end, &buffers);
      if (last) finish_row(c, row, end);
    }
    buffers.finish();
  });
}

// ---- Rows of at most 128 elements ----

namespace {

// A batch of rows that follow each other along the innermost dimension.
struct Batch {
  Offsets first;
  std::int64_t rows;
  Dim step;            // from row to row
  std::int64_t after;  // rows that follow in the dimension
};

// `packed`: rows one after the other; `padded`: each at a multiple of a power of two of quads, as the kernel wants them.
struct ShortRows {
  const Context& c;
  const Problem& p;
  std::int64_t pitch;  // of padded rows
  int quads_log2 = 0;
  std::int64_t tile_rows;
  bool start_per_row;
  Scratch scratch;
  Planes packed, padded, factors, starts;

  static std::int64_t pitch_of(const Problem& p) {
    std::int64_t pitch = 4;
    while (pitch < padded_length(p)) pitch *= 2;
    return pitch;
  }

  explicit ShortRows(const Context& context)
      : c(context),
        p(context.p),
        pitch(pitch_of(p)),
        tile_rows(kChunk / pitch),
        start_per_row(per_row(p)),
        scratch(4 * planes_bytes(c.kernel, kChunk)) {
    while ((4 << quads_log2) < pitch) ++quads_log2;
    for (Planes* planes : {&packed, &padded, &factors, &starts}) planes->take(scratch, c.kernel, kChunk);
  }

  static bool per_row(const Problem& p) {
    for (int i = 0; i < p.dims; ++i)
      if (p.initial_dtype != DType::none && p.dim[i].initial != 0) return true;
    return false;
  }

  // Rows of this tensor lie one after the other, so that a batch is one run of memory.
  bool contiguous(std::int64_t row_step, std::int64_t axis_step, std::int64_t length) const { return row_step == length * axis_step; }

  void load(const Batch& b) {
    const bool one_run = contiguous(b.step.in, p.axis.in, p.n) && (inputs(p.op) == 1 || contiguous(b.step.in2, p.axis.in2, p.n)) &&
                         (!p.masked() || contiguous(b.step.mask, p.axis.mask, p.n));
    // What needs only padding is padded on its way from memory. That reads up to a cache line or two behind the last row, where in
    // place another thread may be writing.
    if (one_run && !c.plan.staged && p.n != pitch && !c.in_place() && b.after * p.n * c.kernel.lane_bytes >= kMostRepitched) {
      for (int k = 0; k < c.planes; ++k)
        c.stage.repitch(c.in(k, k == 0 ? b.first.in : b.first.in2), p.n, padded.at[k], pitch, b.rows, p.n, c.kernel.lane_bytes);
      return;
    }
    if (one_run) {
      load_elements(c, b.first, 0, b.rows * p.n, p.n == pitch ? padded.at : packed.at, factors.at);
      if (p.n == pitch) return;
      for (int k = 0; k < c.planes; ++k) c.stage.repitch(packed.at[k], p.n, padded.at[k], pitch, b.rows, p.n, c.kernel.lane_bytes);
      return;
    }
    Offsets row = b.first;
    for (std::int64_t r = 0; r < b.rows; ++r, row.add(b.step, 1)) {
      void* to[kMaxPlanes];
      for (int k = 0; k < c.planes; ++k) to[k] = lane(c, padded.at[k], r * pitch);
      load_elements(c, row, 0, p.n, to, factors.at);
    }
  }

  void load_starts(const Batch& b, ShortRowsArgs& args, Value& one) {
    args.start_per_row = start_per_row;
    if (!c.has_start) return;
    Offsets row = b.first;
    c.load_start(row, one);
    for (int k = 0; k < c.planes; ++k) args.start[k] = start_per_row ? starts.at[k] : one.plane(k);
    if (!start_per_row) return;
    for (std::int64_t r = 0; r < b.rows; ++r, row.add(b.step, 1)) {
      c.load_start(row, one);
      for (int k = 0; k < c.planes; ++k) std::memcpy(lane(c, starts.at[k], r), one.plane(k), static_cast<std::size_t>(c.kernel.lane_bytes));
    }
  }

  void store(const Batch& b) {
    const auto store = c.store(p.out_dtype);
    if (contiguous(b.step.out, p.axis.out, p.n_out)) {
      void* const* from = padded.at;
      if (p.n_out != pitch) {
        for (int k = c.out_plane; k < c.planes; ++k)
          c.stage.repitch(padded.at[k], pitch, packed.at[k], p.n_out, b.rows, p.n_out, c.kernel.lane_bytes);
        from = packed.at;
      }
      store(from + c.out_plane, c.out(b.first.out), p.axis.out, b.rows * p.n_out, c.plan.streaming);
    } else {
      for (std::int64_t r = 0; r < b.rows; ++r) {
        const void* from[kMaxPlanes];
        for (int k = c.out_plane; k < c.planes; ++k) from[k - c.out_plane] = lane(c, padded.at[k], r * pitch);
        store(from, c.out(b.first.out + r * b.step.out), p.axis.out, p.n_out, false);
      }
    }
    if (p.total_dtype == DType::none) return;
    const std::int64_t end = p.kind == Kind::inclusive ? p.n - 1 : p.n;
    for (int k = c.out_plane; k < c.planes; ++k)
      c.stage.repitch(lane(c, padded.at[k], end), pitch, packed.at[k], 1, b.rows, 1, c.kernel.lane_bytes);
    c.store(p.total_dtype)(packed.at + c.out_plane, at(p.total, p.total_dtype, b.first.total), b.step.total, b.rows, false);
  }

  ShortRowsArgs kernel_args() const {
    ShortRowsArgs args{};
    args.quads_log2 = quads_log2;
    args.exclusive = p.kind != Kind::inclusive;
    if (c.first_shown)
      for (int k = 0; k < c.planes; ++k) args.shown[k] = c.shown.plane(k);
    return args;
  }

  void scan_staged(const Batch& b) {
    load(b);
    ShortRowsArgs args = kernel_args();
    args.segments = (b.rows * pitch + kSegment - 1) / kSegment;
    for (int k = 0; k < c.planes; ++k) args.in[k] = padded.at[k], args.out[k] = k < c.out_plane ? nullptr : padded.at[k];
    if (c.plan.streaming) {  // the next batch is on its way while this one is scanned
      const std::int64_t size = bytes(p.in_dtype);
      args.prefetch[0] = {c.in(0, b.first.in + b.rows * b.step.in), b.rows * b.step.in * size / args.segments};
      if (inputs(p.op) == 2) args.prefetch[1] = {c.in(1, b.first.in2 + b.rows * b.step.in2), b.rows * b.step.in2 * size / args.segments};
      for (Prefetch& fetch : args.prefetch)
        if (std::abs(fetch.step) > kMaxPrefetchStep) fetch = {};
    }
    Value one;
    load_starts(b, args, one);
    c.kernel.short_rows(args);
    store(b);
  }

  // Rows that need neither padding nor conversion are scanned where they lie.
  bool direct(const Batch& b) const {
    return !c.plan.staged && pitch == p.n && p.n == p.n_out && p.total_dtype == DType::none && b.step.in == p.n && b.step.out == p.n &&
           (inputs(p.op) == 1 || b.step.in2 == p.n) && (!c.plan.streaming || c.aligned(c.out(b.first.out), c.kernel.lanes));
  }
  void scan_direct(const Batch& b) {
    ShortRowsArgs args = kernel_args();
    args.segments = b.rows * p.n / kSegment;
    args.streaming = c.plan.streaming;
    args.in[0] = c.in(0, b.first.in);
    if (c.planes == 2) args.in[1] = c.in(1, b.first.in2);
    args.out[c.out_plane] = c.out(b.first.out);
    Value one;
    load_starts(b, args, one);
    c.kernel.short_rows(args);
  }

  void scan(std::int64_t begin, std::int64_t end) {
    const Dim& inner = p.dim[p.dims - 1];
    for (std::int64_t row = begin; row < end;) {
      Batch b{offsets_of(p, row), std::min({tile_rows, end - row, inner.size - row % inner.size}), inner, 0};
      row += b.rows;
      b.after = (inner.size - row % inner.size) % inner.size;
      if (direct(b) && b.rows * pitch % kSegment == 0) {
        scan_direct(b);
        continue;
      }
      if (p.axis.out < 0) {  // last row first, so that a reversed batch is one run too
        b.first.add(inner, b.rows - 1);
        b.step = Dim{inner.size, -inner.in, -inner.in2, -inner.out, -inner.mask, -inner.initial, -inner.total};
      }
      scan_staged(b);
    }
  }
};

}  // namespace

void run_short_rows(const Context& c) {
  const Problem& p = c.p;
  const std::int64_t tile_rows = kChunk / ShortRows::pitch_of(p);
  const std::int64_t batch =
      std::max<std::int64_t>(1, 4 * c.plan.batch / bytes(p.in_dtype) / std::max<std::int64_t>(1, p.n) / tile_rows) * tile_rows;
  Tickets tickets((p.rows + batch - 1) / batch);
  const auto work = [&](int) {
    ShortRows rows(c);
    for (std::int64_t ticket; tickets.take(ticket);) rows.scan(ticket * batch, std::min(p.rows, (ticket + 1) * batch));
    if (c.plan.streaming) c.stage.fence();
  };
  c.plan.threads > 1 ? parallel(c.plan.threads, p.flags & CUMULUS_PIN_THREADS, work) : work(0);
}

}  // namespace cumulus::cpu
