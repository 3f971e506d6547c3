#include "support.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "cpu/run.h"
#include "reference.h"

namespace support {

using cumulus::bytes;
using cumulus::Family;
using cumulus::family;

const std::vector<Supported>& supported() {
  static const std::vector<Supported> list = [] {
    std::vector<Supported> all;
    for (Op op : kAllOps)
      for (DType in : kAllDTypes)
        for (DType out : kAllDTypes)
          if (cumulus::supported_pair(in, out) && cumulus::has_kernel(op, cumulus::kernel_accumulator(op, out)))
            all.push_back({op, in, out});
    return all;
  }();
  return list;
}

// ---- settings ----

std::uint64_t setting(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 0) : fallback;
}

bool full() { return setting("CUMULUS_FULL", 0) != 0; }

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const auto day = std::chrono::duration_cast<std::chrono::hours>(std::chrono::system_clock::now().time_since_epoch()).count() / 24;
    const std::uint64_t s = setting("CUMULUS_SEED", static_cast<std::uint64_t>(day));
    std::printf("CUMULUS_SEED=%llu repeats this run\n", static_cast<unsigned long long>(s));
    return s;
  }();
  return value;
}

#if defined(__has_feature)
#define CUMULUS_HAS_FEATURE(x) __has_feature(x)
#else
#define CUMULUS_HAS_FEATURE(x) 0
#endif
bool thread_sanitized() {
#if defined(__SANITIZE_THREAD__) || CUMULUS_HAS_FEATURE(thread_sanitizer)
  return true;
#else
  return false;
#endif
}

bool sanitized() {
#if defined(__SANITIZE_ADDRESS__) || CUMULUS_HAS_FEATURE(address_sanitizer)
  return true;
#else
  return thread_sanitized();
#endif
}

void for_each_target(const std::function<void()>& body) {
  for (cumulus::cpu::Target target : cumulus::cpu::supported_targets()) {
    SCOPED_TRACE(cumulus::cpu::name(target));
    const cumulus::cpu::ForceTarget guard(target);
    body();
  }
}

// ---- numbers from nowhere ----

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

namespace {

std::uint64_t hash_at(std::uint64_t seed, std::int64_t u) {
  return mix(seed * 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(u + 1) * 0xD1B54A32D192ED03u);
}

struct Format {
  int p, e;  // bits of the significand (the hidden one counts) and of the exponent
};

Format format_of(DType t) {
  switch (t) {
    case DType::f16:
      return {11, 5};
    case DType::bf16:
      return {8, 8};
    case DType::f32:
      return {24, 8};
    default:
      return {53, 11};
  }
}

// The bits of a double rounded to t. f16 and bf16 go through f32: the fills have few enough bits for that to be exact.
std::uint64_t bits_of(DType t, double v) {
  const auto narrow = static_cast<float>(v);
  std::uint32_t b32;
  std::uint64_t b64;
  std::memcpy(&b32, &narrow, 4);
  std::memcpy(&b64, &v, 8);
  switch (t) {
    case DType::f16:
      return reference::to_f16(narrow);
    case DType::bf16:
      return reference::to_bf16(narrow);
    case DType::f32:
      return b32;
    default:
      return b64;
  }
}

double uniform_value(DType t, std::uint64_t h) {  // in [-1, 1), exact in t
  const int p = format_of(t).p;
  return std::ldexp(static_cast<double>(static_cast<std::int64_t>(h >> (64 - p)) - (std::int64_t{1} << (p - 1))), 1 - p);
}

std::uint64_t float_bits(Fill how, DType t, std::uint64_t h) {
  const auto [p, e] = format_of(t);
  const int width = p + e;
  const std::uint64_t low = 1ull << (p - 1), sign = 1ull << (width - 1), top = 1ull << (width - 2), ones = ((1ull << e) - 1) * low;
  const std::uint64_t one = ((1ull << (e - 1)) - 1) * low, bits = h >> (64 - width);
  const double v = uniform_value(t, h);
  switch (how) {
    case Fill::uniform:
      return bits_of(t, v);
    case Fill::near_one:
      return bits_of(t, (h & 1 ? -1.0 : 1.0) * (1 + v / 64));
    case Fill::small:
      return bits_of(t, static_cast<double>(h & 15) - 8);
    case Fill::wide:
      return (bits & ones) == ones ? bits ^ top : bits;
    case Fill::zeros:
      return (h & 1) * sign;
    case Fill::tiny:
      return bits & (sign | (2 * low - 1));
    case Fill::special: {
      const std::uint64_t table[16] = {0,        sign,    one, sign | one, ones,     sign | ones,       ones | low >> 1, 1,
                                       sign | 1, low - 1, low, sign | low, ones - 1, sign | (ones - 1), one + 1,         one - low};
      return (h & 15) == 0 ? table[h >> 8 & 15] : bits_of(t, v);
    }
    case Fill::units:
      break;
  }
  return 0;
}

std::uint64_t integer_bits(Fill how, DType t, std::uint64_t h) {
  const std::uint64_t all = ~0ull >> (64 - 8 * bytes(t)), half = all >> 1;
  const bool is_signed = family(t) == Family::signed_;
  switch (how) {
    case Fill::near_one:
      return h | 1;
    case Fill::zeros:
      return h & 1;
    case Fill::small:
      return (h & 15) - 8;
    case Fill::special: {
      const std::uint64_t table[4] = {is_signed ? half + 1 : 0, is_signed ? half : all, 0, 1};
      return (h & 15) == 0 ? table[h >> 8 & 3] : h;
    }
    default:
      return h;
  }
}

std::uint64_t element_bits(Fill how, DType t, std::uint64_t h) {
  if (family(t) == Family::boolean) return how == Fill::near_one ? (h & 15) > 0 : h & 1;
  return family(t) == Family::real ? float_bits(how, t, h) : integer_bits(how, t, h);
}

}  // namespace

void fill(Fill how, DType t, std::uint64_t seed, std::int64_t n, void* to) {
  char* p = static_cast<char*>(to);
  if (family(t) != Family::complex) {
    for (std::int64_t i = 0; i < n; ++i, p += bytes(t)) {
      const std::uint64_t b = element_bits(how, t, hash_at(seed, i));
      std::memcpy(p, &b, static_cast<std::size_t>(bytes(t)));  // little-endian
    }
    return;
  }
  const DType part = t == DType::c64 ? DType::f32 : DType::f64;
  for (std::int64_t i = 0; i < 2 * n; ++i, p += bytes(part)) {
    const std::uint64_t h = hash_at(seed, i);
    std::uint64_t b = float_bits(how, part, h);
    if (how == Fill::near_one && i % 2) b = bits_of(part, uniform_value(part, h) / 64);  // imaginary parts near 0
    if (how == Fill::units) {
      const std::uint64_t turn = hash_at(seed, i - i % 2) & 3;
      b = bits_of(part, turn % 2 == static_cast<std::uint64_t>(i % 2) ? (turn < 2 ? 1.0 : -1.0) : 0.0);
    }
    std::memcpy(p, &b, static_cast<std::size_t>(bytes(part)));
  }
}

Fill natural_fill(Op op, Random& random) {
  const bool product = op == Op::prod || op == Op::recurrence;
  const Fill plain = product ? Fill::near_one : op == Op::sum ? Fill::uniform : Fill::wide;
  return random.chance(60) ? plain : random.pick(std::vector{Fill::uniform, Fill::zeros, Fill::tiny, Fill::special, Fill::small});
}

// ---- memory ----

GuardPages::Place GuardPages::current = GuardPages::off;

Buffer::Buffer(std::int64_t size, int pattern) : size_(size) {
  const auto room = static_cast<std::size_t>(size);
  if (GuardPages::current == GuardPages::off) {
    data_ = static_cast<char*>(::operator new(room, std::align_val_t(64)));
  } else {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), pages = (room + page - 1) / page * page;
    mapped_ = pages + 2 * page;
    void* mapping = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<char*>(mapping);
    if (pages && mprotect(mapping_ + page, pages, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    data_ = mapping_ + page + (GuardPages::current == GuardPages::behind ? pages - room : 0);
  }
  std::memset(data_, pattern, room);
}

Buffer::Buffer(const Buffer& other) : Buffer(other.size_) {
  if (size_) std::memcpy(data_, other.data_, static_cast<std::size_t>(size_));
}

Buffer& Buffer::operator=(Buffer other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Buffer::~Buffer() {
  if (mapping_) munmap(mapping_, mapped_);
  else ::operator delete(data_, std::align_val_t(64));
}

Tensor::Tensor(DType t, Sizes sizes, const Layout& layout, int pattern) : dtype(t), shape(std::move(sizes)), strides(shape.size(), 0) {
  std::int64_t step = 1, lowest = 0, highest = 0;
  for (std::size_t k = shape.size(); k-- > 0;) {
    const std::size_t axis = layout.order.empty() ? k : static_cast<std::size_t>(layout.order[k]);
    const std::int64_t gap = layout.gap.empty() ? 1 : layout.gap[axis];
    const std::int64_t stride = gap * step;
    step *= gap ? gap * std::max<std::int64_t>(shape[axis], 1) : 1;
    const bool back = !layout.flip.empty() && layout.flip[axis];
    strides[axis] = back ? -stride : stride;
    (back ? lowest : highest) += strides[axis] * (std::max<std::int64_t>(shape[axis], 1) - 1);
  }
  start = layout.offset - lowest;
  memory = Buffer((start + highest + 1) * bytes(t), pattern);
}

Tensor& Tensor::filled(Fill how, std::uint64_t seed) {
  fill(how, dtype, seed, memory.size() / bytes(dtype), memory.data());
  return *this;
}

namespace {

bool is_nan(DType t, const char* p) {
  double d;
  float f;
  std::uint16_t h;
  switch (t) {
    case DType::f16:
      return std::memcpy(&h, p, 2), std::isnan(reference::from_f16(h));
    case DType::bf16:
      return std::memcpy(&h, p, 2), std::isnan(reference::from_bf16(h));
    case DType::f32:
      return std::memcpy(&f, p, 4), std::isnan(f);
    case DType::f64:
      return std::memcpy(&d, p, 8), std::isnan(d);
    default:
      return false;
  }
}

std::string hex(DType t, const char* p) {
  std::string text = "0x";
  char digits[3];
  for (std::int64_t k = bytes(t); k-- > 0;) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(p[k]));
    text += digits;
  }
  return text;
}

}  // namespace

bool same_element(DType t, const char* a, const char* b) {
  if (std::memcmp(a, b, static_cast<std::size_t>(bytes(t))) == 0) return true;
  if (family(t) == Family::complex) {
    const DType part = t == DType::c64 ? DType::f32 : DType::f64;
    return same_element(part, a, b) && same_element(part, a + bytes(part), b + bytes(part));
  }
  return is_nan(t, a) && is_nan(t, b);
}

testing::AssertionResult same(const Tensor& expected, const Tensor& got) {
  const char *a = expected.memory.data(), *b = got.memory.data();
  const std::int64_t size = bytes(expected.dtype), count = expected.memory.size() / size;
  if (count == 0 || std::memcmp(a, b, static_cast<std::size_t>(count * size)) == 0) return testing::AssertionSuccess();
  std::int64_t wrong = 0, at = -1;
  for (std::int64_t i = 0; i < count; ++i) {
    if (same_element(expected.dtype, a + i * size, b + i * size)) continue;
    if (wrong++ == 0) at = i;
  }
  if (wrong == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << wrong << " of " << count << " " << cumulus::name(expected.dtype)
                                     << " elements of memory differ, first at " << at - expected.start << " from index 0: expected "
                                     << hex(expected.dtype, a + at * size) << ", got " << hex(expected.dtype, b + at * size);
}

// ---- one scan, described ----

namespace {

std::string text(const Sizes& v) {
  std::string s = "(";
  for (std::size_t k = 0; k < v.size(); ++k) s += (k ? ", " : "") + std::to_string(v[k]);
  return s + ")";
}

std::string text(const cumulus::Plan& p) {
  return std::string("plan ") + cumulus::name(p.algorithm) + ", " + std::to_string(p.threads) + " threads, tile " + std::to_string(p.tile) +
         ", strip " + std::to_string(p.strip) + (p.staged ? ", staged" : "") + (p.streaming ? ", streaming" : "");
}

std::string text(const char* what, const Tensor& t) {
  return t ? std::string(", ") + what + " " + cumulus::name(t.dtype) + text(t.shape) + " strides " + text(t.strides) +
                 (t.start ? " from element " + std::to_string(t.start) : "")
           : "";
}

Sizes without(Sizes shape, int axis, bool keep) {
  if (keep) shape[static_cast<std::size_t>(axis)] = 1;
  else shape.erase(shape.begin() + axis);
  return shape;
}

// The row layout of a case, for tensors that have or lack the axis.
Layout without(const Layout& layout, int axis, bool keep) {
  if (keep) return layout;
  Layout less;
  less.offset = layout.offset;
  for (int k : layout.order)
    if (k != axis) less.order.push_back(k - (k > axis));
  less.gap = layout.gap;
  less.flip = layout.flip;
  if (!less.gap.empty()) less.gap.erase(less.gap.begin() + axis);
  if (!less.flip.empty()) less.flip.erase(less.flip.begin() + axis);
  return less;
}

}  // namespace

bool may_be_in_place(const Case& c) {
  const bool broadcast = std::find(c.in_layout.gap.begin(), c.in_layout.gap.end(), 0) != c.in_layout.gap.end();
  return bytes(c.in) == bytes(c.out) && c.kind != Kind::prefixes && !broadcast;
}

namespace {

Layout random_layout(int rank, Random& random, bool may_broadcast) {
  Layout layout;
  layout.offset = random.chance(50) ? 0 : random.below(17);
  if (random.chance(30)) return layout;
  int gaps = 2;  // each multiplies the memory
  for (int k = 0; k < rank; ++k) {
    layout.order.push_back(k);
    layout.gap.push_back(random.chance(70) ? 1 : may_broadcast && random.chance(30) ? 0 : gaps-- > 0 ? random.between(2, 4) : 1);
    layout.flip.push_back(random.chance(20));
  }
  if (random.chance(50))
    for (int k = rank - 1; k > 0; --k)
      std::swap(layout.order[static_cast<std::size_t>(k)], layout.order[static_cast<std::size_t>(random.below(k + 1))]);
  return layout;
}

}  // namespace

Case random_case(Random& random) {
  Case c;
  c.seed = random.next() >> 1;
  const auto [op, in, out] = random.pick(supported());
  c.op = op, c.in = in, c.out = out;
  c.kind = random.pick(kAllKinds), c.reverse = random.chance(50);
  c.threads = {random.pick(std::vector{1, 2, 5})};
  c.fill = natural_fill(op, random);

  // One axis of any length, others that keep the whole below `room`.
  const int rank = static_cast<int>(random.between(1, 6));
  std::int64_t room = random.chance(5) ? 600000 : 30000;
  c.shape = Sizes(static_cast<std::size_t>(rank), 1);
  std::vector<int> axes;
  for (int k = 0; k < rank; ++k) axes.insert(axes.begin() + random.below(k + 1), k);
  for (int k : axes) {
    const std::int64_t most = std::min(room, random.pick(std::vector<std::int64_t>{3, 9, 70, 700, 10000, 600000}));
    c.shape[static_cast<std::size_t>(k)] = random.chance(2) ? 0 : random.between(1, most);
    room /= std::max<std::int64_t>(1, c.shape[static_cast<std::size_t>(k)]);
  }
  c.axis = static_cast<int>(random.below(rank));

  c.in_layout = random_layout(rank, random, true);
  c.in2_layout = random_layout(rank, random, true);
  c.out_layout = random_layout(rank, random, false);
  c.row_layout = random_layout(rank, random, false);
  c.in_place = random.chance(20) && may_be_in_place(c);

  const bool may_multiply = in != DType::boolean && op != Op::recurrence;
  if (random.chance(40)) c.mask = may_multiply && random.chance(50) ? Mask::multiply : Mask::select;
  c.mask_shape = c.shape;
  for (std::int64_t& size : c.mask_shape)
    if (random.chance(20)) size = 1;
  while (c.mask_shape.size() > 1 && c.mask_shape.front() == 1 && random.chance(50)) c.mask_shape.erase(c.mask_shape.begin());
  c.mask_layout = random_layout(static_cast<int>(c.mask_shape.size()), random, true);

  c.first = random.pick(std::vector{First::none, First::none, First::scalar, First::dropped, First::kept});
  if (c.first != First::none && random.chance(30)) {
    std::vector<DType> convertible;
    for (DType t : kAllDTypes)
      if (cumulus::convertible(t, cumulus::accumulator(out))) convertible.push_back(t);
    c.first_dtype = random.pick(convertible);
  }
  if (random.chance(40)) c.total = Total::own;
  if (c.total == Total::own && random.chance(50)) c.total_dtype = out;
  if ((c.first == First::dropped || c.first == First::kept) && c.first_dtype == DType::none && random.chance(20))
    c.total = Total::is_initial;
  return c;
}

std::string describe(const Built& b) {
  const Case& c = b.c;
  std::string s = std::string(cumulus::name(c.op)) + " " + cumulus::name(c.in) + " to " + cumulus::name(c.out) + ", " +
                  cumulus::kKindName[static_cast<int>(c.kind)] + (c.reverse ? ", reverse" : "") + ", axis " + std::to_string(c.axis) +
                  ", fill " + kFillName[static_cast<int>(c.fill)] + ", seed " + std::to_string(c.seed) + (c.in_place ? ", in place" : "") +
                  (c.total == Total::is_initial ? ", total is initial" : "");
  return s + text("in", b.in) + text("in2", b.in2) + text("out", b.out) + text("mask", b.mask) + text("initial", b.initial) +
         text("total", b.total);
}

Built::Built(const Case& given) : c(given) {
  const DType acc = cumulus::accumulator(c.out);
  const auto axis = static_cast<std::size_t>(c.axis);
  const bool product = c.op == Op::prod || c.op == Op::recurrence;
  in = Tensor(c.in, c.shape, c.in_layout).filled(c.fill, c.seed);
  if (c.op == Op::recurrence)
    in2 = Tensor(c.in, c.shape, c.in2_layout).filled(c.fill == Fill::near_one ? Fill::uniform : c.fill, c.seed + 2);
  if (!c.in_place) {
    Sizes shape = c.shape;
    shape[axis] += c.kind == Kind::prefixes;
    out = Tensor(c.out, shape, c.out_layout, 0x5A);
  }
  if (c.mask != Mask::none) {
    mask = Tensor(c.mask == Mask::select ? DType::boolean : c.in, c.mask_shape.empty() ? c.shape : c.mask_shape, c.mask_layout);
    mask.filled(c.mask == Mask::select || product ? Fill::near_one : Fill::uniform, c.seed + 1);
  }
  const bool keep = c.first == First::kept;
  const Sizes rows = without(c.shape, c.axis, keep);
  const Layout layout = without(c.row_layout, c.axis, keep);
  const DType first_dtype = c.first_dtype == DType::none ? acc : c.first_dtype;
  if (c.first == First::scalar) initial = Tensor(first_dtype, {});
  else if (c.first != First::none) initial = Tensor(first_dtype, rows, layout);
  if (initial) initial.filled(product ? Fill::near_one : Fill::uniform, c.seed + 3);
  if (c.total == Total::own) total = Tensor(c.total_dtype == DType::none ? acc : c.total_dtype, rows, layout, 0x5A);
}

cumulus::TensorView Built::result() const {
  cumulus::TensorView view = (c.in_place ? in : out).view();
  view.dtype = c.out;
  return view;
}

cumulus::ScanSpec Built::spec() const {
  cumulus::ScanSpec s;
  s.op = c.op;
  s.kind = c.kind;
  s.axis = c.axis;
  s.reverse = c.reverse;
  if (mask) s.mask = mask.view();
  if (initial) s.initial = initial.view();
  if (c.total != Total::none) s.total = total_memory().view();
  return s;
}

void Built::run_product(int threads) const {
  cumulus::ScanSpec s = spec();
  s.threads = threads;
  if (in2) cumulus::linear_recurrence(in.view(), in2.view(), result(), s);
  else cumulus::scan(in.view(), result(), s);
}

cumulus::Problem Built::problem() const {
  const cumulus::ConstTensorView a = in.view(), b = in2.view();
  cumulus::ScanSpec s = spec();
  s.op = c.op;
  cumulus::Problem problem;
  cumulus::canonicalise(cumulus::detail::to_c(a, in2 ? &b : nullptr, result(), s), true, problem);
  return problem;
}

void Built::run_plan(const cumulus::Plan& plan) const { cumulus::cpu::run(problem(), plan); }

cumulus::Plan other_plan(const cumulus::Problem& problem, Random& random) {
  using cumulus::Algorithm;
  cumulus::Plan plan = cumulus::make_plan(problem, {4, 32 << 10, 256 << 10, 1 << 20, 16, "test"});
  if (plan.algorithm == Algorithm::none) return plan;
  plan.threads = static_cast<int>(random.between(1, 5));
  plan.streaming = random.chance(50);
  plan.staged = plan.staged || random.chance(50);
  if (plan.algorithm == Algorithm::rows && random.chance(60)) {
    plan.algorithm = Algorithm::split_rows;
    plan.tile = cumulus::cpu::kChunk * random.between(1, 3);
  }
  if (plan.algorithm == Algorithm::columns) {
    plan.strip = random.between(1, problem.dim[plan.lane_dim].size);
    if (random.chance(50)) {
      plan.algorithm = Algorithm::split_columns;
      plan.tile = cumulus::cpu::kChunk;
    }
  }
  return plan;
}

void Built::run_reference() const {
  const cumulus::ConstTensorView b = in2.view();
  reference::scan(in.view(), in2 ? &b : nullptr, result(), spec());
}

testing::AssertionResult Built::equals(const Built& other) const {
  const auto compare = [](const char* what, Tensor a, const Tensor& b, DType t) {
    a.dtype = t;
    const testing::AssertionResult result = same(a, b);
    return result ? result : testing::AssertionFailure() << what << ": " << result.message();
  };
  const struct {
    const char* what;
    const Tensor &a, &b;
  } all[] = {{"in", in, other.in},
             {"out", out, other.out},
             {"total", total, other.total},
             {"in2", in2, other.in2},
             {"initial", initial, other.initial},
             {"mask", mask, other.mask}};
  for (const auto& [what, a, b] : all) {
    if (!a) continue;
    if (const auto result = compare(what, a, b, c.in_place && &a == &in ? c.out : a.dtype); !result) return result;
  }
  return testing::AssertionSuccess();
}

bool check(const Case& c) {
  const Built given(c), expected = given;
  expected.run_reference();
  Random random(c.seed);
  bool good = true;
  const auto expect = [&](const std::function<void(const Built&)>& run, const auto& how) {
    const Built got = given;
    testing::AssertionResult result = testing::AssertionSuccess();
    try {
      run(got);
      result = expected.equals(got);
    } catch (const cumulus::Error& error) {
      result = testing::AssertionFailure() << "refused: " << error.what();
    }
    EXPECT_TRUE(result) << how() << ": " << describe(got);
    good = good && result;
  };
  for_each_target([&] {
    for (int threads : c.threads)
      expect([&](const Built& b) { b.run_product(threads); }, [&] { return std::to_string(threads) + " threads"; });
    if (!good) return;  // then a plan has nothing to add
    cumulus::Plan plan;
    expect([&](const Built& b) { b.run_plan(plan = other_plan(b.problem(), random)); }, [&] { return text(plan); });
  });
  return good;
}

}  // namespace support
