#include "support.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cpu/run.h"
#include "reference.h"

namespace support {

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

Fill natural_fill(Op op, Random& random) {
  const bool product = op == Op::prod || op == Op::recurrence;
  const Fill plain = product ? Fill::near_one : op == Op::sum ? Fill::uniform : Fill::wide;
  return random.chance(60) ? plain : random.pick(std::vector{Fill::uniform, Fill::zeros, Fill::tiny, Fill::special, Fill::small});
}

bool may_be_in_place(const Case& c) {
  const bool broadcast = std::find(c.in_layout.gap.begin(), c.in_layout.gap.end(), 0) != c.in_layout.gap.end();
  return cumulus::bytes(c.in) == cumulus::bytes(c.out) && c.kind != Kind::prefixes && !broadcast;
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
