// What the tests share: inputs from an integer formula, tensors of any layout, and check(), which runs one scan through the public
// interface on every SIMD target this CPU supports and compares all of its memory, bit for bit, with the reference.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cumulus/cumulus.hpp"
#include "plan.h"
#include "shape.h"
#include "types.h"

namespace support {

using cumulus::DType;
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

// ---- numbers from nowhere ----

std::uint64_t mix(std::uint64_t z);

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(mix(seed)) {}
  std::uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15u); }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n)); }
  std::int64_t between(std::int64_t low, std::int64_t high) { return low + below(high - low + 1); }
  bool chance(int percent) { return below(100) < percent; }
  template <class C>
  auto pick(const C& values) {
    return values[static_cast<std::size_t>(below(static_cast<std::int64_t>(std::size(values))))];
  }

 private:
  std::uint64_t state_;
};

// The sequences that tests/data/make_fixtures.py defines. uniform: in [-1, 1); near_one: +-(1 +- 1/64), so that long products stay
// finite; wide: every finite magnitude; zeros: of both signs; tiny: subnormals; special: some NaN, inf, limits; units: powers of i.
enum class Fill { uniform, near_one, small, wide, zeros, tiny, special, units };
inline constexpr const char* kFillName[] = {"uniform", "near_one", "small", "wide", "zeros", "tiny", "special", "units"};
void fill(Fill how, DType t, std::uint64_t seed, std::int64_t n, void* to);

// ---- memory ----

// Aligned to 64 bytes, and exactly as large as asked for (a sanitizer sees the next byte). While a GuardPages lives, new buffers end
// just before, or begin just after, a page that faults: reads and writes outside end the test, without any sanitizer.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t bytes, int pattern = 0);
  Buffer(const Buffer& other);
  Buffer& operator=(Buffer other) noexcept;
  ~Buffer();
  char* data() const { return data_; }
  std::int64_t size() const { return size_; }

 private:
  char* data_ = nullptr;
  std::int64_t size_ = 0;
  char* mapping_ = nullptr;
  std::size_t mapped_ = 0;
};

class GuardPages {
 public:
  enum Place { off, behind, before };
  explicit GuardPages(Place place) : previous_(current) { current = place; }
  ~GuardPages() { current = previous_; }
  GuardPages(const GuardPages&) = delete;
  GuardPages& operator=(const GuardPages&) = delete;
  static Place current;

 private:
  Place previous_;
};

using Sizes = std::vector<std::int64_t>;

// How a tensor lies in memory. Empty members mean the plain choice.
struct Layout {
  std::vector<int> order;   // axes, outermost first
  Sizes gap;                // per axis: elements per step (1: dense; 0: broadcast, inputs only)
  std::vector<bool> flip;   // per axis: runs backwards in memory
  std::int64_t offset = 0;  // elements before the first, on top of the alignment of 64 bytes
};

struct Tensor {
  Tensor() = default;
  Tensor(DType t, Sizes sizes, const Layout& layout = {}, int pattern = 0);  // every byte is `pattern`
  Tensor& filled(Fill how, std::uint64_t seed);                              // the whole memory, gaps included
  char* first() const { return memory.data() + start * cumulus::bytes(dtype); }
  cumulus::TensorView view() const { return {first(), dtype, {shape.data(), rank()}, {strides.data(), rank()}}; }
  int rank() const { return static_cast<int>(shape.size()); }
  explicit operator bool() const { return dtype != DType::none; }

  DType dtype = DType::none;
  Sizes shape, strides;
  std::int64_t start = 0;  // element of memory where index 0 is
  Buffer memory;
};

// Equal bits in all of the memory; NaNs are equal. `context` goes into the message.
testing::AssertionResult same(const Tensor& expected, const Tensor& got);
bool same_element(DType t, const char* a, const char* b);

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
