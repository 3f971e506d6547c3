// Compiles the emulated kernels of one op; included by emulated_<op>.cpp, so that they compile side by side.
#pragma once

#include <type_traits>

#include "cuda/kernels/column_strips.cuh"
#include "cuda/kernels/columns.cuh"
#include "cuda/kernels/rows.cuh"
#include "cuda/kernels/short_rows.cuh"
#include "cuda/kernels/split_columns.cuh"
#include "cuda/kernels/split_rows.cuh"
#include "cuda/kernels/spread_rows.cuh"
#include "emulated.h"

namespace emulated {

using namespace cumulus::cuda;

template <class S>
void add_layouts(const std::vector<int>& types) {
  constexpr bool kContiguous = S::kStep != 0;
  const auto put = [&]<class Run>(Layout layout, std::vector<int> shape, const Run&) {
    std::vector<int> key = types;
    key.insert(key.end(), {static_cast<int>(layout), kContiguous, S::kAligned});
    key.insert(key.end(), shape.begin(), shape.end());
    add(key, [](const HostArgs& a, const TensorMap* map) {
      if constexpr (std::is_invocable_v<Run, const HostArgs&, const TensorMap*>) Run{}(a, map);
      else Run{}(a);
    });
  };
  put(Layout::short_rows, {4}, [](const HostArgs& a) { ShortRowsKernel<S, 4, kMaxDims>::run(a, block_threads()); });
  put(Layout::short_rows, {32}, [](const HostArgs& a) { ShortRowsKernel<S, 32, kMaxDims>::run(a, block_threads()); });
  // warps, segments, walks, tail
  put(Layout::rows, {1, 2, false, 0}, [](const HostArgs& a) { RowsKernel<S, 1, 2, false, kMaxDims>::run(a); });
  put(Layout::rows, {8, 8, true, 0}, [](const HostArgs& a) { RowsKernel<S, 8, 8, true, kMaxDims>::run(a); });
  put(Layout::rows, {8, 8, false, 0}, [](const HostArgs& a) { RowsKernel<S, 8, 8, false, kMaxDims>::run(a); });
  put(Layout::rows, {5, 8, false, 0}, [](const HostArgs& a) { RowsKernel<S, 5, 8, false, kMaxDims>::run(a); });
  put(Layout::rows, {8, 4, true, 4}, [](const HostArgs& a) { RowsKernel<S, 8, 4, true, kMaxDims, 4>::run(a); });
  put(Layout::rows, {8, 4, true, 128}, [](const HostArgs& a) { RowsKernel<S, 8, 4, true, kMaxDims, 128>::run(a); });
  put(Layout::rows, {8, 8, true, 4}, [](const HostArgs& a) { RowsKernel<S, 8, 8, true, kMaxDims, 4>::run(a); });
  put(Layout::rows, {8, 8, true, 128}, [](const HostArgs& a) { RowsKernel<S, 8, 8, true, kMaxDims, 128>::run(a); });
  put(Layout::rows, {8, 8, false, 4}, [](const HostArgs& a) { RowsKernel<S, 8, 8, false, kMaxDims, 4>::run(a); });
  put(Layout::rows, {8, 8, false, 128}, [](const HostArgs& a) { RowsKernel<S, 8, 8, false, kMaxDims, 128>::run(a); });
  constexpr int warps = kContiguous && !S::kAligned ? 16 : 8;
  put(Layout::spread_rows, {warps, 32 / warps}, [](const HostArgs& a) { SpreadRowsKernel<S, warps, 32 / warps, kMaxDims>::run(a); });
  // chunks, slots, flight, reducers, storers, team, scanners, copies
  if constexpr (kContiguous) {
    if constexpr (!S::kAligned) {
      put(Layout::packed_rows, {4, 2}, [](const HostArgs& a) { PackedRowsKernel<S, 4, 256, 2, kMaxDims>::run(a); });
      put(Layout::packed_rows, {32, 2}, [](const HostArgs& a) { PackedRowsKernel<S, 32, 256, 2, kMaxDims>::run(a); });
    }
    put(Layout::split_rows, {1, 4, 2, 1, 2, 4, 2, 2},
        [](const HostArgs& a) { SplitRowsKernel<S, 1, 4, 2, 1, 2, 4, 2, 2, kMaxDims>::run(a); });
    put(Layout::split_rows, {2, 3, 1, 2, 1, 2, 3, 1},
        [](const HostArgs& a) { SplitRowsKernel<S, 2, 3, 1, 2, 1, 2, 3, 1, kMaxDims>::run(a); });
    put(Layout::split_rows, {1, 4, 2, 1, 2, 4, 0, 2},
        [](const HostArgs& a) { SplitRowsKernel<S, 1, 4, 2, 1, 2, 4, 0, 2, kMaxDims>::run(a); });
    put(Layout::split_rows, {2, 3, 1, 2, 1, 2, 0, 1},
        [](const HostArgs& a) { SplitRowsKernel<S, 2, 3, 1, 2, 1, 2, 0, 1, kMaxDims>::run(a); });
  } else {
    put(Layout::split_rows, {1, 4, 2, 1, 2, 1, 2, 0},
        [](const HostArgs& a) { SplitRowsKernel<S, 1, 4, 2, 1, 2, 1, 2, 0, kMaxDims>::run(a); });
    put(Layout::split_rows, {1, 4, 2, 1, 2, 1, 0, 0},
        [](const HostArgs& a) { SplitRowsKernel<S, 1, 4, 2, 1, 2, 1, 0, 0, kMaxDims>::run(a); });
    put(Layout::columns, {}, [](const HostArgs& a) { ColumnsKernel<S, kMaxDims>::run(a, block_threads()); });
    if constexpr (!S::kHalves) {
      constexpr int data = S::In::kBytes > S::Out::kBytes ? S::In::kBytes : S::Out::kBytes, element = sizeof(typename S::Element) / 2,
                    widest = data > element ? data : element, each = 8 / widest,
                    columns = each < 1   ? 1
                              : each > 4 ? 4
                                         : each,
                    walked = widest <= 2 ? 1 : columns;  // by a thread of column_ring
      put(Layout::column_ring, {walked, 5, 3, 2, 2}, [](const HostArgs& a) { ColumnRingKernel<S, walked, 4, 3, 2, 2, kMaxDims>::run(a); });
      put(Layout::column_ring, {1, 3, 2, 1, 1}, [](const HostArgs& a) { ColumnRingKernel<S, 1, 2, 2, 1, 1, kMaxDims>::run(a); });
      if constexpr (S::kMask == kNoMask && !S::kTwoInputs) {  // copies: tensor, and backward
        put(Layout::column_ring, {walked, 5, 3, 2, 3},
            [](const HostArgs& a, const TensorMap* map) { ColumnRingKernel<S, walked, 4, 3, 2, 3, kMaxDims>::run(a, map); });
        put(Layout::column_ring, {walked, 5, 3, 2, 4},
            [](const HostArgs& a, const TensorMap* map) { ColumnRingKernel<S, walked, 4, 3, 2, 3, kMaxDims, true>::run(a, map); });
      }
      // columns, narrow, side, slots, flight, loaders, reducers, starters, storers, scanners, panel, copies
      constexpr bool large = sizeof(typename S::Element) > 8;
      constexpr int starters = large || S::In::kBytes > 8 ? 1 : 2, loaders = large ? 1 : 2, warps = large ? 14 : 15;
      put(Layout::split_columns, {1, 0, 1, 4, 2, 1, 1, starters, 2, 1, 8, 2},
          [](const HostArgs& a) { ColumnStripsKernel<S, 1, false, 4, 2, 1, 1, starters, 2, 1, 8, warps, 2, kMaxDims>::run(a); });
      put(Layout::split_columns, {1, 0, 1, 4, 2, 1, 1, 1, 2, 0, 1, 2},
          [](const HostArgs& a) { ColumnStripsKernel<S, 1, false, 4, 2, 1, 1, 1, 2, 0, 1, 14, 2, kMaxDims>::run(a); });
      if constexpr (S::kMask == kNoMask && !S::kTwoInputs) {
        put(Layout::split_columns, {1, 0, 1, 4, 2, 1, 1, starters, 2, 1, 8, 3}, [](const HostArgs& a, const TensorMap* map) {
          ColumnStripsKernel<S, 1, false, 4, 2, 1, 1, starters, 2, 1, 8, warps, 3, kMaxDims>::run(a, map);
        });
        put(Layout::split_columns, {1, 0, 1, 4, 2, 1, 1, starters, 2, 1, 8, 4}, [](const HostArgs& a, const TensorMap* map) {
          ColumnStripsKernel<S, 1, true, 4, 2, 1, 1, starters, 2, 1, 8, warps, 3, kMaxDims>::run(a, map);
        });
      }
      if constexpr (columns >= 2) {
        put(Layout::split_columns, {2, 0, 1, 3, 1, 2, 2, 1, 1, 2, 2, 1},
            [](const HostArgs& a) { ColumnStripsKernel<S, 2, false, 3, 1, 2, 2, 1, 1, 2, 2, 15, 1, kMaxDims>::run(a); });
        put(Layout::split_columns, {2, 0, 1, 3, 1, 2, 2, 1, 1, 0, 1, 1},
            [](const HostArgs& a) { ColumnStripsKernel<S, 2, false, 3, 1, 2, 2, 1, 1, 0, 1, 15, 1, kMaxDims>::run(a); });
      }
      put(Layout::split_columns, {1, 3, 8, 4, 2, loaders, 1, starters, 2, 3, 1, 2},
          [](const HostArgs& a) { SplitColumnsKernel<S, NarrowTile<S, 3, 8>, 4, 2, loaders, 1, starters, 2, 3, 2, kMaxDims>::run(a); });
      put(Layout::split_columns, {1, 20, 1, 4, 2, loaders, 1, starters, 2, 3, 1, 2},
          [](const HostArgs& a) { SplitColumnsKernel<S, NarrowTile<S, 20, 1>, 4, 2, loaders, 1, starters, 2, 3, 2, kMaxDims>::run(a); });
      put(Layout::split_columns, {1, 12, 2, 3, 1, loaders, 2, starters, 1, 4, 1, 1},
          [](const HostArgs& a) { SplitColumnsKernel<S, NarrowTile<S, 12, 2>, 3, 1, loaders, 2, starters, 1, 4, 1, kMaxDims>::run(a); });
    }
  }
}

// Kinds and directions are told at run time here.
template <int op, int in, int out, int mask>
void add_types() {
  add_layouts<Scan<op, in, out, mask, Variant<2, false, -1, -1, false>>>({op, in, out, mask, 0});
  add_layouts<Scan<op, in, out, mask, Variant<2, true, -1, -1, false>>>({op, in, out, mask, 0});
  add_layouts<Scan<op, in, out, mask, Variant<0, false, -1, -1, false>>>({op, in, out, mask, 0});
  if constexpr (in == kC64 || in == kC128) add_layouts<Scan<op, in, out, mask, Variant<0, false, -1, -1, true>>>({op, in, out, mask, 1});
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
