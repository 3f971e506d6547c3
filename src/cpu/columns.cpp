// Columns: the axis is walked in vectors of neighbouring columns, strip by strip.
#include <array>
#include <cstdlib>
#include <cstring>

#include "cpu/context.h"

namespace cumulus::cpu {
namespace {

constexpr std::int64_t kTileValues = 4096;         // of a staged tile, per plane
constexpr std::int64_t kLeastStreamedBytes = 256;  // shorter lines gain nothing from bypassing the cache

// Strides of one tensor within a strip.
struct Strides {
  std::int64_t axis, lane;
};

// A strip of neighbouring columns of one row of strips: where it lies and how it is vectorised.
struct Strip {
  Offsets first;
  Dim axis, lane;       // the problem's, lanes possibly turned around
  std::int64_t width;   // columns
  std::int64_t padded;  // to whole vectors
  int variant;          // of the column kernel
};

struct StripBuffers {
  std::int64_t padded, steps;  // of a tile
  int levels;
  Scratch scratch;
  Planes packed, tile, factors, edge;
  void* state;
  void* other_state;

  StripBuffers(const Context& c, std::int64_t widest, int levels_)
      : padded(widest),
        steps(std::clamp<std::int64_t>(kTileValues / widest / 16 * 16, 16, kChunk)),
        levels(levels_),
        scratch(3 * planes_bytes(c.kernel, steps * widest) + planes_bytes(c.kernel, widest) +
                2 * Scratch::padded(c.kernel.column_bytes(widest, levels))) {
    for (Planes* planes : {&packed, &tile, &factors}) planes->take(scratch, c.kernel, steps * widest);
    edge.take(scratch, c.kernel, widest);
    state = scratch.take(c.kernel.column_bytes(widest, levels));
    other_state = scratch.take(c.kernel.column_bytes(widest, levels));
  }
};

// n lanes of a plane, all `value`.
void fill(const Context& c, void* plane, const void* value, std::int64_t n) {
  const auto fill_as = [&](auto bits) {
    std::memcpy(&bits, value, sizeof bits);
    std::fill_n(static_cast<decltype(bits)*>(plane), n, bits);
  };
  c.kernel.lane_bytes == 4 ? fill_as(std::uint32_t{}) : fill_as(std::uint64_t{});
}

// The column kernel that covers `width` columns in the fewest vectors, and of those the one that wastes the fewest lanes.
int choose_variant(const OpKernels& kernel, std::int64_t width, std::int64_t& padded) {
  int best = 0;
  std::int64_t fewest = width + 1;
  padded = width;
  for (int k = 0; k < 3; ++k) {
    const std::int64_t lanes = kernel.column_lanes[k];
    if (lanes == 0) continue;
    const std::int64_t vectors = (width + lanes - 1) / lanes;
    if (vectors <= fewest) best = k, fewest = vectors, padded = vectors * lanes;
  }
  return best;
}

// Asks for the line that will be read where the next tile has this one. Lines too far apart are not seen coming by hardware.
void prefetch_line(const char* line, std::int64_t size) {
  for (std::int64_t b = 0; b < size; b += 64) __builtin_prefetch(line + b);
}

struct Columns {
  const Context& c;
  const Problem& p;
  const Dim& lanes;     // the dimension of the columns
  std::int64_t strips;  // per row of strips
  std::int64_t units;
  int levels;

  explicit Columns(const Context& context)
      : c(context),
        p(context.p),
        lanes(p.dim[context.plan.lane_dim]),
        strips(strip_count(lanes.size, context.plan.strip)),
        units(p.rows / lanes.size * strips),
        levels(levels_for(p.n)) {}

  std::int64_t widest() const {
    std::int64_t last, others;
    choose_variant(c.kernel, lanes.size - (strips - 1) * c.plan.strip, last);
    choose_variant(c.kernel, std::min(c.plan.strip, lanes.size), others);
    return std::max(last, others);
  }

  Strip strip(std::int64_t unit) const {
    Strip s;
    const std::int64_t number = unit % strips, begin = number * c.plan.strip;
    s.width = number == strips - 1 ? lanes.size - begin : c.plan.strip;
    s.variant = choose_variant(c.kernel, s.width, s.padded);
    s.first = offsets_of(p, unit / strips, c.plan.lane_dim);
    s.axis = p.axis;
    s.lane = lanes;
    s.lane.size = s.width;
    s.first.add(lanes, begin);
    if ((c.plan.staged || s.width != s.padded) &&
        p.axis.out == -s.width * lanes.out) {  // reversed whole lines: turned around they are one run of memory
      s.first.add(lanes, s.width - 1);
      s.lane = {s.width, -lanes.in, -lanes.in2, -lanes.out, -lanes.mask, -lanes.initial, -lanes.total};
    }
    return s;
  }

  bool out_direct(const Strip& s) const {
    const std::int64_t line = s.axis.out * bytes(p.out_dtype), vector = c.kernel.column_lanes[s.variant] * c.kernel.lane_bytes;
    return !c.plan.staged && s.width == s.padded &&
           (!c.plan.streaming || (c.aligned(c.out(s.first.out), c.kernel.column_lanes[s.variant]) && line % vector == 0));
  }

  // Can the kernel read steps [at, at + n) where they lie? The last vector may reach beyond the strip, into the next line in
  // memory, if there is one; but not in place, where another thread may be writing there.
  bool in_direct(const Strip& s, std::int64_t at, std::int64_t n) const {
    if (c.plan.staged || s.lane.in != 1 || (inputs(p.op) == 2 && s.axis.in2 != s.axis.in)) return false;
    if (s.width == s.padded) return true;
    const std::int64_t lines = (s.padded - s.width + lanes.size - 1) / lanes.size;
    return !c.in_place() && std::abs(s.axis.in) == lanes.size && (!p.masked() || s.axis.mask == s.axis.in) &&
           (s.axis.in > 0 ? at + n + lines <= p.n : at >= lines);
  }

  // Are the results of a tile laid one line right after the other, as in memory? Of a single vector, each line overwrites what
  // the one before it stored too much.
  bool packs(const Strip& s) const {
    return s.padded == c.kernel.column_lanes[s.variant] && std::abs(s.lane.out) == 1 && s.axis.out == s.width * s.lane.out;
  }

  ColumnArgs args(const Strip& s, void* state, std::int64_t position) const {
    ColumnArgs args{};
    args.width = s.padded;
    args.position = position;
    args.exclusive = p.kind != Kind::inclusive;
    args.has_start = c.has_start;
    if (c.first_shown)
      for (int k = 0; k < c.planes; ++k) args.shown[k] = c.shown.plane(k);
    args.state = state;
    args.levels = levels;
    return args;
  }

  // ---- Staging ----

  // Loads `steps` lines of one tensor into planes of `padded` values a line.
  void load_lines(DType dtype, const char* from, Strides by, std::int64_t steps, const Strip& s, StripBuffers& b,
                  void* const planes[]) const {
    const auto load = c.load(dtype);
    const auto line_of = [&](void* const* to, std::int64_t line, std::int64_t pitch) {
      std::array<void*, kMaxPlanes> planes_at{};
      for (int k = 0; k < c.input_planes; ++k) planes_at[static_cast<std::size_t>(k)] = lane(c, to[k], line * pitch);
      return planes_at;
    };
    if (std::abs(by.lane) == 1 && by.axis == s.width * by.lane) {  // one run of memory
      if (s.width == s.padded) return load(from, by.lane, steps * s.width, planes);
      load(from, by.lane, steps * s.width, b.packed.at);
      for (int k = 0; k < c.input_planes; ++k)
        c.stage.repitch(b.packed.at[k], s.width, planes[k], s.padded, steps, s.width, c.kernel.lane_bytes);
    } else if (std::abs(by.axis) == 1 && std::abs(by.lane) > 1) {  // columns are contiguous
      for (std::int64_t j = 0; j < s.width; ++j)
        load(from + j * by.lane * bytes(dtype), by.axis, steps, line_of(b.packed.at, j, steps).data());
      for (int k = 0; k < c.input_planes; ++k)
        c.stage.transpose(b.packed.at[k], steps, planes[k], s.padded, s.width, steps, c.kernel.lane_bytes);
    } else {
      for (std::int64_t i = 0; i < steps; ++i) {
        const char* line = from + i * by.axis * bytes(dtype);
        load(line, by.lane, s.width, line_of(planes, i, s.padded).data());
        if (by.lane == 1) prefetch_line(line + steps * by.axis * bytes(dtype), s.width * bytes(dtype));
      }
    }
  }

  void load_tile(const Strip& s, std::int64_t first, std::int64_t steps, StripBuffers& b) const {
    load_lines(p.in_dtype, c.in(0, s.first.in + first * s.axis.in), {s.axis.in, s.lane.in}, steps, s, b, b.tile.at);
    if (inputs(p.op) == 2)
      load_lines(p.in_dtype, c.in(1, s.first.in2 + first * s.axis.in2), {s.axis.in2, s.lane.in2}, steps, s, b, b.tile.at + c.input_planes);
    if (!p.masked()) return;
    const char* mask = at(p.mask, p.mask_dtype, s.first.mask + first * s.axis.mask);
    if (p.mask_dtype == DType::boolean) {
      const void* shown[kMaxPlanes];
      for (int k = 0; k < c.planes; ++k) shown[k] = c.shown.plane(k);
      const auto select = c.stage.select[c.kernel.lane_bytes / 8];
      const bool one_run = s.width == s.padded && std::abs(s.lane.mask) == 1 && s.axis.mask == s.width * s.lane.mask;
      if (one_run) return select(b.tile.at, c.planes, mask, s.lane.mask, steps * s.width, shown);
      for (std::int64_t i = 0; i < steps; ++i) {
        void* line[kMaxPlanes];
        for (int k = 0; k < c.planes; ++k) line[k] = lane(c, b.tile.at[k], i * s.padded);
        select(line, c.planes, mask + i * s.axis.mask, s.lane.mask, s.width, shown);
        if (s.lane.mask == 1) prefetch_line(mask + (i + steps) * s.axis.mask, s.width);
      }
    } else {
      load_lines(p.mask_dtype, mask, {s.axis.mask, s.lane.mask}, steps, s, b, b.factors.at);
      c.stage.multiply[static_cast<int>(p.kernel)](b.tile.at, b.factors.at, steps * s.padded);
      if (c.wrap()) c.wrap()(b.tile.at[0], steps * s.padded);
    }
  }

  void store_tile(const Strip& s, std::int64_t first, std::int64_t steps, StripBuffers& b) const {
    const auto store = c.store(p.out_dtype);
    char* to = c.out(s.first.out + first * s.axis.out);
    void* const* tile = b.tile.at + c.out_plane;
    const Strides by{s.axis.out, s.lane.out};
    const std::int64_t size = bytes(p.out_dtype);
    if (std::abs(by.lane) == 1 && by.axis == s.width * by.lane) {
      if (s.width == s.padded || packs(s)) return store(tile, to, by.lane, steps * s.width, c.plan.streaming);
      for (int k = 0; k < c.input_planes; ++k)
        c.stage.repitch(tile[k], s.padded, b.packed.at[k], s.width, steps, s.width, c.kernel.lane_bytes);
      store(b.packed.at, to, by.lane, steps * s.width, c.plan.streaming);
    } else if (std::abs(by.axis) == 1 && std::abs(by.lane) > 1) {
      for (int k = 0; k < c.input_planes; ++k)
        c.stage.transpose(tile[k], s.padded, b.packed.at[k], steps, steps, s.width, c.kernel.lane_bytes);
      for (std::int64_t j = 0; j < s.width; ++j) {
        const void* line[kMaxPlanes];
        for (int k = 0; k < c.input_planes; ++k) line[k] = lane(c, b.packed.at[k], j * steps);
        store(line, to + j * by.lane * size, by.axis, steps, false);
      }
    } else {
      const bool streaming = c.plan.streaming && s.width * size >= kLeastStreamedBytes;
      for (std::int64_t i = 0; i < steps; ++i) {
        const void* line[kMaxPlanes];
        for (int k = 0; k < c.input_planes; ++k) line[k] = lane(c, tile[k], i * s.padded);
        store(line, to + i * by.axis * size, by.lane, s.width, streaming);
      }
    }
  }

  // ---- Walking ----

  // The state of a strip at its first step.
  void start(const Strip& s, void* state, StripBuffers& b) const {
    const void* start[kMaxPlanes];
    Value value;
    c.load_start(s.first, value);
    for (int k = 0; k < c.planes; ++k) fill(c, b.edge.at[k], value.plane(k), s.padded);
    if (s.lane.initial != 0) {
      Offsets column = s.first;
      for (std::int64_t j = 0; j < s.width; ++j, column.add(s.lane, 1)) {
        c.load_start(column, value);
        for (int k = 0; k < c.planes; ++k)
          std::memcpy(lane(c, b.edge.at[k], j), value.plane(k), static_cast<std::size_t>(c.kernel.lane_bytes));
      }
    }
    for (int k = 0; k < c.planes; ++k) start[k] = b.edge.at[k];
    c.kernel.column_start(args(s, state, 0), start);
  }

  // Walks steps [first, first + n) with the state at `first`; without `store`, only the state.
  void walk(const Strip& s, std::int64_t first, std::int64_t n, std::int64_t position, void* state, bool store, StripBuffers& b,
            std::int64_t ahead = 0) const {
    ColumnArgs a = args(s, state, position);
    const bool stores_direct = !store || out_direct(s);
    const std::int64_t step = stores_direct && in_direct(s, first, n) ? n : b.steps;
    const std::int64_t tile_stride = packs(s) ? s.width : s.padded;
    for (std::int64_t done = 0; done < n; done += step) {
      const std::int64_t at = first + done;
      a.n = std::min(step, n - done);
      a.position = position + done;
      if (in_direct(s, at, a.n)) {
        a.in[0] = c.in(0, s.first.in + at * s.axis.in);
        if (c.planes == 2) a.in[1] = c.in(1, s.first.in2 + at * s.axis.in2);
        a.in_stride = s.axis.in;
        a.mask = p.masked() ? c.mask(s.first.mask + at * s.axis.mask) : Mask{};
        a.mask_stride = s.axis.mask;
        a.ahead = ahead ? ahead : c.plan.ahead;
      } else {
        load_tile(s, at, a.n, b);
        for (int k = 0; k < c.planes; ++k) a.in[k] = b.tile.at[k];
        a.in_stride = s.padded;
        a.mask = {};
        a.ahead = 0;
      }
      a.streaming = stores_direct && c.plan.streaming;
      a.out_stride = stores_direct ? s.axis.out : tile_stride;
      for (int k = c.out_plane; store && k < c.planes; ++k) a.out[k] = b.tile.at[k];
      if (store && stores_direct) a.out[c.out_plane] = c.out(s.first.out + at * s.axis.out);
      c.kernel.columns[s.variant](a);
      if (!stores_direct) store_tile(s, at, a.n, b);
    }
  }

  // R(n) of every column, where prefixes and totals want it.
  void finish(const Strip& s, void* state, StripBuffers& b) const {
    if (p.kind != Kind::prefixes && p.total_dtype == DType::none) return;
    c.kernel.column_end(args(s, state, p.n), b.edge.at);
    void* const* end = b.edge.at + c.out_plane;
    if (p.kind == Kind::prefixes) c.store(p.out_dtype)(end, c.out(s.first.out + p.n * s.axis.out), s.lane.out, s.width, false);
    if (p.total_dtype != DType::none) c.store(p.total_dtype)(end, at(p.total, p.total_dtype, s.first.total), s.lane.total, s.width, false);
  }

  // Is every result its own element, converted and masked? (1 times a complex number is not: its parts may be infinite.)
  bool only_copies() const {
    return p.n == 1 && !(p.op == Op::prod && family(p.acc) == Family::complex) && p.kind == Kind::inclusive &&
           p.initial_dtype == DType::none && p.total_dtype == DType::none;
  }

  void copy(const Strip& s, StripBuffers& b) const {
    const auto size = static_cast<std::size_t>(s.width * bytes(p.out_dtype));
    if (c.plan.staged || p.masked()) {
      load_tile(s, 0, 1, b);
      store_tile(s, 0, 1, b);
    } else if (c.plan.streaming) {
      c.stage.stream_copy(c.out(s.first.out), c.in(c.out_plane, c.out_plane == 0 ? s.first.in : s.first.in2), size);
    } else {
      std::memmove(c.out(s.first.out), c.in(c.out_plane, c.out_plane == 0 ? s.first.in : s.first.in2), size);
    }
  }

  void scan(std::int64_t unit, StripBuffers& b) const {
    const Strip s = strip(unit);
    if (only_copies()) return copy(s, b);
    start(s, b.state, b);
    walk(s, 0, p.n, 0, b.state, true, b);
    finish(s, b.state, b);
  }
};

}  // namespace

void run_columns(const Context& c) {
  const Columns columns(c);
  Tickets tickets(columns.units);
  const auto work = [&](int) {
    StripBuffers buffers(c, columns.widest(), columns.levels);
    for (std::int64_t unit; tickets.take(unit);) columns.scan(unit, buffers);
    if (c.plan.streaming) c.stage.fence();
  };
  c.plan.threads > 1 ? parallel(c.plan.threads, c.p.flags & CUMULUS_PIN_THREADS, work) : work(0);
}

// Few columns. As split rows: a thread walks the next chunk of a strip for its totals, waits for its turn, copies the running
// state, pushes its totals for the next thread, and walks its chunk again, now storing.
void run_split_columns(const Context& c) {
  const Columns columns(c);
  const Problem& p = c.p;
  const std::int64_t tiles = (p.n + kChunk - 1) / kChunk;
  const std::int64_t state_bytes = c.kernel.column_bytes(columns.widest(), columns.levels);
  const auto running = std::make_unique<std::int64_t[]>(static_cast<std::size_t>((state_bytes + 7) / 8));
  Tickets tickets(columns.units * tiles);
  Turns turns;
  parallel(c.plan.threads, p.flags & CUMULUS_PIN_THREADS, [&](int) {
    StripBuffers b(c, columns.widest(), columns.levels);
    Planes totals;
    const auto memory = std::make_unique<unsigned char[]>(planes_bytes(c.kernel, columns.widest()));
    for (int k = 0; k < c.planes; ++k)
      totals.at[k] = memory.get() + static_cast<std::size_t>(k) * Scratch::padded(Planes::bytes(c.kernel, columns.widest()));
    std::int64_t ticket, following;
    tickets.take(following);
    while (following < tickets.count()) {
      ticket = following;
      const Strip s = columns.strip(ticket / tiles);
      const std::int64_t tile = ticket % tiles, first = tile * kChunk, n = std::min(kChunk, p.n - first);
      const bool last = tile == tiles - 1;
      if (!last) {
        columns.start(s, b.other_state, b);
        columns.walk(s, first, n, 0, b.other_state, false, b);
        c.kernel.column_totals(columns.args(s, b.other_state, 0), totals.at);
      }
      turns.wait(ticket);
      if (tile == 0) columns.start(s, running.get(), b);
      std::memcpy(b.state, running.get(), static_cast<std::size_t>(c.kernel.column_bytes(s.padded, columns.levels)));
      if (!last) c.kernel.column_push(columns.args(s, running.get(), first), totals.at);
      turns.pass(ticket);

      // The thread's next tile is on its way while this one is walked again.
      const bool same_strip = tickets.take(following) && following / tiles == ticket / tiles;
      columns.walk(s, first, n, first, b.state, true, b, same_strip ? (following - ticket) * kChunk : 0);
      if (last) columns.finish(s, b.state, b);
    }
    if (c.plan.streaming) c.stage.fence();
  });
}

}  // namespace cumulus::cpu
