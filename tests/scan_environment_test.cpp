// The caller's floating-point environment changes no bit, and a call leaves it as it was: control bits and sticky flags.
#include <gtest/gtest.h>

#include <cstdint>

#include "support.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace {

using namespace support;

// One register here stands for all: MXCSR, or FPCR in the high and FPSR in the low half.
#if defined(__x86_64__)
std::uint64_t environment() { return _mm_getcsr(); }
void set_environment(std::uint64_t bits) { _mm_setcsr(static_cast<unsigned>(bits)); }
constexpr std::uint64_t kPlain = 0x1F80, kFlush = 0x8040, kUp = 0x4000, kZero = 0x6000, kFlags = 0x3F, kTraps = 0x1F80;
constexpr std::uint64_t traps(std::uint64_t bits) { return bits & ~kTraps; }
#elif defined(__aarch64__)
std::uint64_t environment() {
  std::uint64_t control, status;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("mrs %0, fpsr" : "=r"(status));
  return control << 32 | (status & 0x9F);
}
void set_environment(std::uint64_t bits) {
  asm volatile("msr fpcr, %0" ::"r"(bits >> 32) : "memory");
  asm volatile("msr fpsr, %0" ::"r"(bits & 0x9F) : "memory");
}
constexpr std::uint64_t kPlain = 0, kFlush = 1ull << 56, kUp = 1ull << 54, kZero = 3ull << 54, kFlags = 0x9F;
constexpr std::uint64_t traps(std::uint64_t bits) { return bits | 0x9Full << 40; }  // ignored where the CPU has none
#endif

class Environment : public testing::TestWithParam<std::uint64_t> {};

TEST_P(Environment, ChangesNoBitAndIsPutBack) {
  set_environment(GetParam());
  const std::uint64_t given = environment();  // bits that this CPU lacks read as 0
  set_environment(kPlain);
  const Fill fills[] = {Fill::tiny, Fill::uniform, Fill::special, Fill::wide};
  int k = 0;
  for (const auto& [op, in, out] : supported()) {
    if (cumulus::family(out) != cumulus::Family::real && cumulus::family(out) != cumulus::Family::complex) continue;
    for (const Sizes& shape : {Sizes{3}, Sizes{6000}, Sizes{40, 130}, Sizes{300001}}) {
      if (shape[0] > 300000 && (k % 7 || sanitized())) {
        ++k;
        continue;
      }
      Case c;
      c.op = op, c.in = in, c.out = out, c.shape = shape, c.axis = static_cast<int>(k % shape.size()), c.fill = fills[k % 4];
      c.seed = static_cast<std::uint64_t>(k), c.kind = kAllKinds[k % 3], c.reverse = k % 5 == 0;
      c.first = k % 2 ? First::dropped : First::none;
      if (cumulus::convertible(DType::f64, cumulus::accumulator(out))) c.first_dtype = DType::f64;
      c.total = Total::own, c.total_dtype = k % 4 ? DType::none : out;
      c.mask = k % 3 == 0 && in != DType::boolean && op != Op::recurrence ? Mask::multiply : Mask::none;
      ++k;
      const Built fresh(c), expected = fresh;
      expected.run_reference();
      for_each_target([&] {
        for (int threads : {1, 2, 5}) {
          const Built got = fresh;
          cumulus::Status status = cumulus::Status::ok;
          const cumulus::ScanSpec spec = [&] {
            cumulus::ScanSpec s = got.spec();
            s.threads = threads;
            if (got.in2) s.op = Op::recurrence;
            return s;
          }();
          const cumulus::ConstTensorView a = got.in.view(), b = got.in2.view();
          const cumulus::TensorView result = got.result();  // args only points to the views
          const cumulus_scan_args args = cumulus::detail::to_c(a, got.in2 ? &b : nullptr, result, spec);
          set_environment(given);
          status = static_cast<cumulus::Status>(cumulus_scan(&args));
          const std::uint64_t left = environment();
          set_environment(kPlain);
          EXPECT_EQ(left, given) << "the call changed the floating-point environment: " << describe(got);
          ASSERT_EQ(status, cumulus::Status::ok) << cumulus_last_error();
          ASSERT_TRUE(expected.equals(got)) << threads << " threads: " << describe(got);
        }
      });
      if (HasFailure()) return;
    }
  }
}

constexpr const char* kNames[] = {"plain", "flush_and_up", "flush", "towards_zero_all_flags", "traps", "traps_flush_and_up"};
INSTANTIATE_TEST_SUITE_P(Of, Environment,
                         testing::Values(kPlain, kPlain | kFlush | kUp, kPlain | kFlush, kPlain | kZero | kFlags, traps(kPlain),
                                         traps(kPlain | kUp | kFlush)),
                         [](const auto& info) { return std::string(kNames[info.index]); });

// Worker threads belong to others too: after a call they must hold the environment they came with. Workers are the scan's own pool,
// so the test looks from inside: a second scan on them, called with another environment, still has the right bits.
TEST(Environments, CallsWithDifferentEnvironmentsDoNotMix) {
  Case c;
  c.shape = {400003}, c.fill = Fill::tiny;
  const Built fresh(c), expected = fresh;
  expected.run_reference();
  for (std::uint64_t given : {kPlain | kFlush, kPlain, kPlain | kUp | kFlush, kPlain}) {
    const Built got = fresh;
    set_environment(given);
    got.run_product(2);
    set_environment(kPlain);
    EXPECT_TRUE(expected.equals(got));
  }
}

// A refused call leaves the environment alone as well.
TEST(Environments, OfARefusedCallIsKept) {
  Case c;
  const Built b(c);
  cumulus::ScanSpec spec;
  spec.axis = 7;
  set_environment(kPlain | kUp);
  const cumulus::Status status = cumulus::try_scan(b.in.view(), b.out.view(), spec);
  const std::uint64_t left = environment();
  set_environment(kPlain);
  EXPECT_EQ(left, kPlain | kUp);
  EXPECT_EQ(status, cumulus::Status::invalid_argument);
}

}  // namespace
