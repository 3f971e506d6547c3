// What a caller may force of a CPU plan. No choice changes a bit of any result.
#pragma once

#include <array>
#include <cstdint>

namespace cumulus::cpu {

inline constexpr std::int64_t kPlannersChoice = -1;

// What the planner cannot use for a problem it ignores: a tile where nothing is split, more threads than the call allows.
struct Tuning {
  std::int64_t threads = kPlannersChoice;
  std::int64_t split = kPlannersChoice;      // 1: threads share each row or strip, 0: they take whole ones
  std::int64_t tile = kPlannersChoice;       // split rows: elements taken at a time, whole chunks of 4096
  std::int64_t strip = kPlannersChoice;      // columns taken at a time
  std::int64_t batch = kPlannersChoice;      // whole rows: bytes of input taken at a time
  std::int64_t ahead = kPlannersChoice;      // elements between what is scanned and what is asked for
  std::int64_t streaming = kPlannersChoice;  // 1: results bypass the cache, 0: they do not
  std::int64_t staged = kPlannersChoice;     // 1: elements pass through a buffer even where they need not

  bool operator==(const Tuning&) const = default;
};

// The fields by name, for files and command lines.
struct TuningField {
  const char* name;
  std::int64_t Tuning::*value;
};
inline constexpr std::array<TuningField, 8> kTuningFields = {{{"threads", &Tuning::threads},
                                                              {"split", &Tuning::split},
                                                              {"tile", &Tuning::tile},
                                                              {"strip", &Tuning::strip},
                                                              {"batch", &Tuning::batch},
                                                              {"ahead", &Tuning::ahead},
                                                              {"streaming", &Tuning::streaming},
                                                              {"staged", &Tuning::staged}}};

// Forces the plans of this thread's calls while it lives; nothing is looked up meanwhile. For the tuner and for tests.
class ForceTuning {
 public:
  explicit ForceTuning(const Tuning& tuning);
  ~ForceTuning();
  ForceTuning(const ForceTuning&) = delete;
  ForceTuning& operator=(const ForceTuning&) = delete;

  static const Tuning* current();  // null: nothing is forced

 private:
  const Tuning tuning_;
  const Tuning* const before_;
};

}  // namespace cumulus::cpu
