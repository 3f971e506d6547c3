// A scan in blocks has the bits of one call, for every layout and with every optional tensor.
#include "../../cli/blocks.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "../../cli/npy.h"

namespace {

using cumulus::ConstTensorView;
using cumulus::Dims;
using cumulus::DType;
using cumulus::TensorView;
using Shape = std::vector<std::int64_t>;

Dims dims(const Shape& shape) { return {shape.data(), static_cast<int>(shape.size())}; }

std::size_t count(const Shape& shape) {
  return static_cast<std::size_t>(std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>()));
}

template <class View, class T>
View view_of(std::vector<T>& data, DType dtype, const Shape& shape, bool fortran) {
  return {data.data(), dtype, dims(shape), dims(cumulus::cli::contiguous_strides(shape, fortran))};
}

void compare(const Shape& shape, int axis, bool fortran, bool keep_axis, std::int64_t blocks) {
  Shape out_shape = shape, row_shape = shape;
  ++out_shape[static_cast<std::size_t>(axis)];
  if (keep_axis) row_shape[static_cast<std::size_t>(axis)] = 1;
  else row_shape.erase(row_shape.begin() + axis);
  Shape mask_shape(shape.begin() + 1, shape.end());  // broadcast along the first dimension

  std::mt19937 random(7);
  std::vector<float> x(count(shape)), initial(count(row_shape));
  std::vector<std::uint8_t> mask(count(mask_shape));
  for (float& value : x) value = static_cast<float>(random() % 1000) / 7;
  for (float& value : initial) value = static_cast<float>(random() % 1000) / 3;
  for (std::uint8_t& value : mask) value = random() & 1;

  std::vector<float> out[2], total[2];
  for (const int run : {0, 1}) {
    out[run].assign(count(out_shape), -1);
    total[run].assign(count(row_shape), -1);
    cumulus::cli::Job job;
    job.in = view_of<ConstTensorView>(x, DType::f32, shape, fortran);
    job.out = view_of<TensorView>(out[run], DType::f32, out_shape, fortran);
    job.spec.kind = cumulus::Kind::prefixes;
    job.spec.axis = axis;
    job.spec.mask = view_of<ConstTensorView>(mask, DType::boolean, mask_shape, false);
    job.spec.initial = view_of<ConstTensorView>(initial, DType::f32, row_shape, false);
    job.spec.total = view_of<TensorView>(total[run], DType::f32, row_shape, fortran);
    double parts = 0;
    cumulus::cli::scan_in_blocks(job, run == 0 ? 1 : blocks, [&](double part) { parts += part; });
    EXPECT_NEAR(parts, 1, 1e-9);
  }
  EXPECT_EQ(out[0], out[1]);
  EXPECT_EQ(total[0], total[1]);
}

TEST(Blocks, ChangeNothing) {
  for (const Shape& shape : {Shape{37, 300}, Shape{300, 37}, Shape{5, 6, 70}, Shape{1, 9, 1}, Shape{4, 0}}) {
    for (int axis = 0; axis < static_cast<int>(shape.size()); ++axis) {
      for (const bool fortran : {false, true})
        for (const bool keep_axis : {false, true})
          for (const std::int64_t blocks : {2, 5, 1000}) compare(shape, axis, fortran, keep_axis, blocks);
    }
  }
}

}  // namespace
