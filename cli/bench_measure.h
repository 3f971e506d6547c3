// Contestants measured in interleaved rounds (A B C A B C ...), so that whatever the machine does meets all of them alike.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace cumulus::cli {

struct Contestant {
  std::string name;
  std::function<void(int calls)> run;  // does the work `calls` times
  int calls = 1;                       // per timing: as many as make the clock's own cost vanish
  std::vector<double> us;              // per call, one entry a round
};

// A contestant whose `calls` runs work() in a loop without further indirection.
template <class Work>
Contestant contestant(std::string name, Work work) {
  return {std::move(name),
          [work](int calls) {
            for (int i = 0; i < calls; ++i) work();
          },
          1,
          {}};
}

struct Effort {
  int rounds = 15;       // at least
  double seconds = 0.5;  // at least, for all contestants of a case together
};

// Warms up, finds the calls per timing, and runs the rounds. The first contestant takes part in every round, others in at
// least three: those whose call takes longer than a quarter of a second are dropped then.
void measure(std::vector<Contestant>& contestants, const Effort& effort);

struct Summary {
  double median_us;
  double spread;  // (90th - 10th percentile) / median
};
Summary summarise(std::vector<double> us);

// Binds the calling thread and oneTBB's workers, which the library and the peers share, to one core each.
void pin_threads(int threads);

}  // namespace cumulus::cli
