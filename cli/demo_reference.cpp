#include "demo_reference.h"

#include <cstdint>

namespace cumulus::cli {
namespace {

constexpr std::size_t kQuad = 4, kChildren = 32, kSegment = kQuad * kChildren, kChunk = kSegment * kChildren;

template <class T>
T combine(DemoOp op, T earlier, T later) {
  return op == DemoOp::sum ? earlier + later : earlier * later;
}

// Inside a sum the identity is -0: adding it changes nothing, not even a zero's sign.
template <class T>
T identity(DemoOp op) {
  return op == DemoOp::sum ? T(-0.0) : T(1);
}

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// Prefixes of every group of 32 by halving: the left half's total, then the prefix inside the right half.
template <class T>
void halve(std::vector<T>& v, DemoOp op) {
  for (std::size_t group = 0; group < v.size(); group += kChildren)
    for (std::size_t half = 1; half < kChildren; half *= 2)
      for (std::size_t lane = 0; lane < kChildren; ++lane)
        if (lane & half) v[group + lane] = combine(op, v[group + ((lane & ~(2 * half - 1)) | (half - 1))], v[group + lane]);
}

// The last prefix of every group of `width` in `from`, padded with identities to a whole number of 32.
template <class To, class From>
void collect_totals(const std::vector<From>& from, std::size_t width, DemoOp op, std::vector<To>& to) {
  const std::size_t count = from.size() / width;
  to.assign(round_up(count, kChildren), identity<To>(op));
  for (std::size_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i * width + width - 1]);
}

}  // namespace

void OrderReference::prefixes(std::span<const float> x, DemoOp op, std::span<float> r) {
  const std::size_t n = x.size();

  // Up: prefixes of the children of every node
  quads_.assign(round_up(n > 0 ? n : 1, kQuad), identity<float>(op));
  for (std::size_t i = 0; i < n; ++i) quads_[i] = i % kQuad ? combine(op, quads_[i - 1], x[i]) : x[i];
  for (std::size_t i = n; i < quads_.size(); ++i)
    if (i % kQuad) quads_[i] = combine(op, quads_[i - 1], quads_[i]);
  collect_totals(quads_, kQuad, op, segments_);
  halve(segments_, op);
  collect_totals(segments_, kChildren, op, chunks_);
  halve(chunks_, op);
  upper_.assign(1, {});
  collect_totals(chunks_, kChildren, op, upper_[0]);
  halve(upper_[0], op);
  while (upper_.back().size() > kChildren) {
    std::vector<double> next;
    collect_totals(upper_.back(), kChildren, op, next);
    halve(next, op);
    upper_.push_back(std::move(next));
  }
  std::vector<double> top;  // one level more: n may be a whole node
  collect_totals(upper_.back(), kChildren, op, top);
  halve(top, op);
  upper_.push_back(std::move(top));

  // Down: R(i) is found along the digits of i, zero digits skipped
  for (std::size_t chunk = 0; chunk * kChunk <= n; ++chunk) {
    double wide = identity<double>(op);
    for (std::size_t level = upper_.size(); level-- > 0;) {
      std::size_t node = chunk;
      for (std::size_t k = 0; k < level; ++k) node /= kChildren;
      if (node % kChildren) wide = combine(op, wide, upper_[level][node - 1]);
    }
    const auto narrow = static_cast<float>(wide);
    for (std::size_t segment = chunk * kChildren; segment < (chunk + 1) * kChildren && segment * kSegment <= n; ++segment) {
      const float base = segment % kChildren ? combine(op, narrow, chunks_[segment - 1]) : narrow;
      for (std::size_t quad = segment * kChildren; quad < (segment + 1) * kChildren && quad * kQuad <= n; ++quad) {
        const float before = quad % kChildren ? combine(op, base, segments_[quad - 1]) : base;
        r[quad * kQuad] = before;
        for (std::size_t i = quad * kQuad + 1; i < (quad + 1) * kQuad && i <= n; ++i) r[i] = combine(op, before, quads_[i - 1]);
      }
    }
  }
  r[0] = op == DemoOp::sum ? 0.0f : 1.0f;
}

void serial_prefixes(std::span<const float> x, DemoOp op, std::span<double> r) {
  r[0] = op == DemoOp::sum ? 0.0 : 1.0;
  for (std::size_t i = 0; i < x.size(); ++i) r[i + 1] = combine<double>(op, r[i], x[i]);
}

}  // namespace cumulus::cli
