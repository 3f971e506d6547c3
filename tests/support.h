// What the tests share: scans described by a Case, and check(), which runs one through the public interface on every SIMD target
// this CPU supports and compares all of its memory, bit for bit, with the reference.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cumulus/cumulus.hpp"
#include "numbers.h"
#include "plan.h"
#include "shape.h"
#include "tensor.h"
#include "types.h"

namespace support {

using cumulus::Kind;
using cumulus::Op;

// ---- the lists, from cumulus/list.inc ----

inline constexpr DType kAllDTypes[] = {
#define CUMULUS_DTYPE(name, text, value, bytes, family) DType::name,
#include "cumulus/list.inc"
};
inline constexpr Op kAllOps[] = {
#define CUMULUS_OP(name, value, inputs) Op::name,
#include "cumulus/list.inc"
};
inline constexpr Kind kAllKinds[] = {Kind::inclusive, Kind::exclusive, Kind::prefixes};

// Every (op, input, result) the library promises.
struct Supported {
  Op op;
  DType in, out;
};
const std::vector<Supported>& supported();

// ---- settings ----

bool full();  // CUMULUS_FULL=1: the exhaustive run
std::uint64_t setting(const char* name, std::uint64_t fallback);
std::uint64_t seed();                                     // CUMULUS_SEED, else of this day; printed once
bool sanitized();                                         // built with a sanitizer: slow, and memory is dear
bool thread_sanitized();                                  // ThreadSanitizer: no threads after fork, no foreign OpenMP
void for_each_target(const std::function<void()>& body);  // with each SIMD target of this CPU forced in turn

// ---- one scan, described ----

enum class Mask { none, select, multiply };
enum class First { none, scalar, dropped, kept };  // initial: one number, a tensor without the axis, or with it of size 1
enum class Total { none, own, is_initial };

struct Case {
  Op op = Op::sum;
  DType in = DType::f32, out = DType::f32;
  Kind kind = Kind::inclusive;
  bool reverse = false;
  Sizes shape = {1000};
  int axis = 0;
  Layout in_layout, in2_layout, out_layout, mask_layout, row_layout;  // row_layout: of initial and total
  Mask mask = Mask::none;
  Sizes mask_shape;  // empty: the input's
  First first = First::none;
  DType first_dtype = DType::none;  // none: the accumulator
  Total total = Total::none;
  DType total_dtype = DType::none;  // none: the accumulator
  bool in_place = false;
  Fill fill = Fill::uniform;
  std::uint64_t seed = 1;
  std::vector<int> threads = {1};
};

bool may_be_in_place(const Case& c);       // same element size and no longer output
Fill natural_fill(Op op, Random& random);  // one under which long scans keep their information

Case random_case(Random& random);  // any supported call of at most some 100000 elements

// The tensors of a case, ready to run. In place, `out` is not used: `in` is, seen as the result's dtype.
struct Built {
  explicit Built(const Case& c);
  cumulus::TensorView result() const;
  const Tensor& total_memory() const { return c.total == Total::is_initial ? initial : total; }
  cumulus::ScanSpec spec() const;
  void run_product(int threads) const;             // cumulus::scan, which throws
  void run_plan(const cumulus::Plan& plan) const;  // the same with a given plan
  void run_reference() const;
  cumulus::Problem problem() const;                           // checked and canonical; data pointers are this object's
  testing::AssertionResult equals(const Built& other) const;  // all memory, inputs too

  Case c;
  Tensor in, in2, out, mask, initial, total;
};
std::string describe(const Built& b);

// Another plan that serves the problem: more threads than small sizes get, split rows or columns, streaming stores, staging.
cumulus::Plan other_plan(const cumulus::Problem& problem, Random& random);

// Runs the case on every target and thread count, and with a random other plan; true if all bits are the reference's (else a failure is
// recorded).
bool check(const Case& c);

}  // namespace support
