// Compiles the emulated kernels of one op; included by emulated_<op>.cpp, so that they compile side by side.
#pragma once

#include "cuda/kernels/columns.cuh"
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/short_rows.cuh"
#include "cuda/kernels/split_rows.cuh"
#include "emulated.h"

namespace emulated {

using namespace cumulus::cuda;

template <class S, bool kContiguous>
void add_layouts(const std::vector<int>& types) {
  const auto put = [&](Layout layout, std::vector<int> shape, Kernel kernel) {
    std::vector<int> key = types;
    key.push_back(static_cast<int>(layout));
    key.push_back(kContiguous);
    key.insert(key.end(), shape.begin(), shape.end());
    add(key, kernel);
  };
  put(Layout::short_rows, {4}, [](const HostArgs& a) { ShortRowsKernel<S, 4, kContiguous, kMaxDims>::run(a, block_threads()); });
  put(Layout::short_rows, {32}, [](const HostArgs& a) { ShortRowsKernel<S, 32, kContiguous, kMaxDims>::run(a, block_threads()); });
  put(Layout::rows, {1, 2}, [](const HostArgs& a) { RowsKernel<S, 1, 2, kContiguous, kMaxDims>::run(a); });
  put(Layout::rows, {8, 8}, [](const HostArgs& a) { RowsKernel<S, 8, 8, kContiguous, kMaxDims>::run(a); });
  // chunks, slots, flight, reducers, storers, scanners, copies
  if constexpr (kContiguous) {
    put(Layout::split_rows, {1, 4, 2, 1, 2, 2, 2}, [](const HostArgs& a) { SplitRowsKernel<S, 1, 4, 2, 1, 2, 2, 2, true, kMaxDims>::run(a); });
    put(Layout::split_rows, {2, 3, 1, 2, 1, 3, 1}, [](const HostArgs& a) { SplitRowsKernel<S, 2, 3, 1, 2, 1, 3, 1, true, kMaxDims>::run(a); });
  } else {
    put(Layout::split_rows, {1, 4, 2, 1, 2, 2, 0}, [](const HostArgs& a) { SplitRowsKernel<S, 1, 4, 2, 1, 2, 2, 0, false, kMaxDims>::run(a); });
    put(Layout::columns, {}, [](const HostArgs& a) { ColumnsKernel<S, kMaxDims>::run(a, block_threads()); });
  }
}

template <int op, int in, int out, int mask>
void add_types() {
  add_layouts<Scan<op, in, out, mask>, true>({op, in, out, mask, 0});
  add_layouts<Scan<op, in, out, mask>, false>({op, in, out, mask, 0});
  if constexpr (in == kC64 || in == kC128) add_layouts<Scan<op, in, out, mask, true>, false>({op, in, out, mask, 1});
}

// One op's share of emulated.inc.
template <int op>
struct Add {
  Add() {
    using cumulus::DType;
    using cumulus::Op;
#define CUMULUS_EMULATED(o, in, out, mask) \
  if constexpr (static_cast<int>(Op::o) == op) add_types<op, static_cast<int>(DType::in), static_cast<int>(DType::out), mask>();
#include "emulated.inc"
  }
};

}  // namespace emulated
