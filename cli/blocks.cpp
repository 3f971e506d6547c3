#include "blocks.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "types.h"

namespace cumulus::cli {
namespace {

// The part [begin, begin + size) of a view along one dimension. A view that lacks it or is broadcast along it stays whole.
template <class View>
View slice(const View& view, int dim, std::int64_t begin, std::int64_t size) {
  if (dim < 0 || dim >= view.shape.size() || view.shape[dim] == 1) return view;
  std::vector<std::int64_t> shape(view.shape.begin(), view.shape.end());
  shape[static_cast<std::size_t>(dim)] = size;
  using Byte = std::conditional_t<std::is_convertible_v<decltype(view.data), void*>, char, const char>;
  View part = view;
  if (part.data) part.data = static_cast<Byte*>(part.data) + begin * view.strides[dim] * bytes(view.dtype);  // null: no elements
  part.shape = Dims(shape.data(), static_cast<int>(shape.size()));
  return part;
}

// The job for a part of the rows.
Job part_of(const Job& job, int dim, std::int64_t begin, std::int64_t size) {
  const int rank = job.in.shape.size();
  const auto without_axis = [&](int tensor_rank) { return tensor_rank < rank && dim > job.spec.axis ? dim - 1 : dim; };
  const ScanSpec& spec = job.spec;
  Job part = job;
  part.in = slice(job.in, dim, begin, size);
  part.in2 = slice(job.in2, dim, begin, size);
  part.out = slice(job.out, dim, begin, size);
  part.spec.mask = slice(spec.mask, dim - (rank - spec.mask.shape.size()), begin, size);
  part.spec.total = slice(spec.total, without_axis(spec.total.shape.size()), begin, size);
  if (const ConstTensorView* initial = spec.initial.tensor())
    part.spec.initial = slice(*initial, without_axis(initial->shape.size()), begin, size);
  return part;
}

void scan_whole(const Job& job) {
  if (job.spec.op == Op::recurrence) linear_recurrence(job.in, job.in2, job.out, job.spec);
  else scan(job.in, job.out, job.spec);
}

// The dimension to cut: the one with the largest stride, the axis excepted; -1 where no other is larger than 1.
int block_dim(const Job& job) {
  int best = -1;
  for (int d = 0; d < job.in.shape.size(); ++d)
    if (d != job.spec.axis && job.in.shape[d] > 1 && (best < 0 || job.in.strides[d] > job.in.strides[best])) best = d;
  return best;
}

}  // namespace

void scan_in_blocks(const Job& job, std::int64_t blocks, const std::function<void(double part)>& done) {
  const int dim = block_dim(job);
  if (dim < 0 || blocks < 2) {
    scan_whole(job);
    return done(1);
  }
  const std::int64_t size = job.in.shape[dim], share = (size + blocks - 1) / blocks;
  const std::int64_t unit = job.in.strides[dim] == 1 ? 64 : 1;  // columns are cut at whole cache lines
  const std::int64_t step = std::max(unit, share / unit * unit);
  for (std::int64_t begin = 0; begin < size; begin += step) {
    const std::int64_t part = std::min(step, size - begin);
    scan_whole(part_of(job, dim, begin, part));
    done(static_cast<double>(part) / static_cast<double>(size));
  }
}

}  // namespace cumulus::cli
