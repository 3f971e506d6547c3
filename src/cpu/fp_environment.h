// The floating-point environment the order needs: to nearest even, subnormals kept, no traps. Set for a scope, then the
// caller's is put back, sticky exception flags included.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace cumulus::cpu {

class FpEnvironment {
 public:
#if defined(__x86_64__)
  // Writing the register costs more than a small scan's arithmetic: only where it must change.
  FpEnvironment() : saved_(_mm_getcsr()) {
    if ((saved_ & ~kFlags) != kDefault) _mm_setcsr(kDefault);
  }
  ~FpEnvironment() {
    if (_mm_getcsr() != saved_) _mm_setcsr(saved_);
  }
#elif defined(__aarch64__)
  FpEnvironment() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("mrs %0, fpsr" : "=r"(flags_));
    asm volatile("msr fpcr, %0" ::"r"(std::uint64_t{0}) : "memory");
  }
  ~FpEnvironment() {
    asm volatile("msr fpcr, %0" ::"r"(saved_) : "memory");
    asm volatile("msr fpsr, %0" ::"r"(flags_) : "memory");
  }
#else
#error "FpEnvironment: say how this processor's floating-point environment is set"
#endif
  FpEnvironment(const FpEnvironment&) = delete;
  FpEnvironment& operator=(const FpEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr unsigned kFlags = 0x3F;      // the sticky ones
  static constexpr unsigned kDefault = 0x1F80;  // all exceptions masked, nearest even, neither FTZ nor DAZ
  unsigned saved_;
#else
  std::uint64_t saved_ = 0, flags_ = 0;
#endif
};

}  // namespace cumulus::cpu
