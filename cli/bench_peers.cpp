#include "bench_peers.h"

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_scan.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <cstring>
#include <execution>
#include <functional>
#include <memory>
#include <numeric>

namespace cumulus::cli {
namespace {

constexpr std::int64_t kLongRow = 1 << 16;

// The case as (outer, length, inner), the scan running over `length`.
struct Rows {
  const float* in;
  float* out;
  std::int64_t outer = 1, length = 1, inner = 1;
};

Rows rows_of(const BenchCase& c, const void* in, void* out) {
  Rows rows{static_cast<const float*>(in), static_cast<float*>(out)};
  for (int d = 0; d < static_cast<int>(c.shape.size()); ++d)
    (d < c.axis ? rows.outer : d == c.axis ? rows.length : rows.inner) *= c.shape[static_cast<std::size_t>(d)];
  return rows;
}

void scan_row(const Rows& r, std::int64_t row) {
  const float* from = r.in + row * r.length;
  std::inclusive_scan(from, from + r.length, r.out + row * r.length);
}

void std_seq(const Rows& r) {
  for (std::int64_t row = 0; row < r.outer; ++row) scan_row(r, row);
}

void std_par_unseq_long(const Rows& r) {
  for (std::int64_t row = 0; row < r.outer; ++row) {
    const float* from = r.in + row * r.length;
    std::inclusive_scan(std::execution::par_unseq, from, from + r.length, r.out + row * r.length);
  }
}

void std_par_unseq_rows(const Rows& r, const std::vector<std::int64_t>& indices) {
  std::for_each(std::execution::par_unseq, indices.begin(), indices.end(), [&r](std::int64_t row) { scan_row(r, row); });
}

void tbb_scan_long(const Rows& r) {
  for (std::int64_t row = 0; row < r.outer; ++row) {
    const float* from = r.in + row * r.length;
    float* to = r.out + row * r.length;
    tbb::parallel_scan(
        tbb::blocked_range<std::int64_t>(0, r.length), 0.0f,
        [=](const tbb::blocked_range<std::int64_t>& range, float sum, bool final) {
          for (std::int64_t i = range.begin(); i < range.end(); ++i) {
            sum += from[i];
            if (final) to[i] = sum;
          }
          return sum;
        },
        std::plus<float>());
  }
}

void tbb_rows(const Rows& r) {
  tbb::parallel_for(tbb::blocked_range<std::int64_t>(0, r.outer), [&r](const tbb::blocked_range<std::int64_t>& range) {
    for (std::int64_t row = range.begin(); row < range.end(); ++row) scan_row(r, row);
  });
}

void row_accumulators(const Rows& r) {
  const auto row_bytes = static_cast<std::size_t>(r.inner) * sizeof(float);
  for (std::int64_t o = 0; o < r.outer; ++o) {
    const float* __restrict from = r.in + o * r.length * r.inner;
    float* to = r.out + o * r.length * r.inner;
    std::memcpy(to, from, row_bytes);
    for (std::int64_t i = 1; i < r.length; ++i) {
      const float* before = to + (i - 1) * r.inner;
      float* __restrict here = to + i * r.inner;
      for (std::int64_t c = 0; c < r.inner; ++c) here[c] = before[c] + from[i * r.inner + c];
    }
  }
}

}  // namespace

std::vector<Contestant> peers(const BenchCase& c, const void* in, void* out, int threads) {
  const bool plain = c.op == Op::sum && c.in == DType::f32 && c.out == DType::f32 && c.kind == Kind::inclusive && !c.reverse &&
                     c.mask == MaskUse::none && c.layout == InputLayout::contiguous;
  if (!plain) return {};
  const Rows rows = rows_of(c, in, out);
  if (rows.inner > 1) return {contestant("row_accumulators", [rows] { row_accumulators(rows); })};

  // Parallel peers run in an arena of as many threads as the scan. std_seq comes last: when the next round begins, no worker
  // spins in the background.
  const auto arena = std::make_shared<tbb::task_arena>(threads);
  const auto in_arena = [arena](auto work) { return [arena, work] { arena->execute(work); }; };
  std::vector<Contestant> found;
  if (rows.length >= kLongRow || rows.outer == 1) {
    found.push_back(contestant("std_par_unseq", in_arena([rows] { std_par_unseq_long(rows); })));
    found.push_back(contestant("tbb_scan", in_arena([rows] { tbb_scan_long(rows); })));
  } else {
    const auto indices = std::make_shared<std::vector<std::int64_t>>(static_cast<std::size_t>(rows.outer));
    std::iota(indices->begin(), indices->end(), std::int64_t{0});
    found.push_back(contestant("std_par_unseq", in_arena([rows, indices] { std_par_unseq_rows(rows, *indices); })));
    found.push_back(contestant("tbb_rows", in_arena([rows] { tbb_rows(rows); })));
  }
  found.push_back(contestant("std_seq", [rows] { std_seq(rows); }));
  return found;
}

}  // namespace cumulus::cli
