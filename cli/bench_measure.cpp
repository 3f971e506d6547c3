#include "bench_measure.h"

#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task_arena.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

namespace cumulus::cli {
namespace {

constexpr double kBatchUs = 200;     // a timing takes at least this long: the clock costs about 0.05 us
constexpr double kSlowUs = 250'000;  // slower contestants take part in three rounds only
constexpr int kSlowRounds = 3;
constexpr int kMaxRounds = 1000;

double time_us(const Contestant& contestant) {
  const auto start = std::chrono::steady_clock::now();
  contestant.run(contestant.calls);
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

double percentile(const std::vector<double>& sorted, double p) {
  return sorted[static_cast<std::size_t>(std::lround(p * static_cast<double>(sorted.size() - 1)))];
}

}  // namespace

void measure(std::vector<Contestant>& contestants, const Effort& effort) {
  for (Contestant& c : contestants) {
    time_us(c);
    while (time_us(c) < kBatchUs && c.calls < (1 << 24)) c.calls *= 2;
  }
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  for (int round = 0; round < kMaxRounds && (round < effort.rounds || seconds() < effort.seconds); ++round)
    for (Contestant& c : contestants)
      if (&c == &contestants.front() || round < kSlowRounds || c.us.front() < kSlowUs) c.us.push_back(time_us(c) / c.calls);
}

Summary summarise(std::vector<double> us) {
  std::sort(us.begin(), us.end());
  const double median = us.size() % 2 ? us[us.size() / 2] : (us[us.size() / 2 - 1] + us[us.size() / 2]) / 2;
  return {median, (percentile(us, 0.9) - percentile(us, 0.1)) / median};
}

void pin_threads(int threads) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return;
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &mask)) cores.push_back(core);
  // Every index waits until all have a thread of their own, so that each thread binds itself once. A worker that never comes
  // (a busy machine) stays unbound: hence the time limit.
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> arrived{0}, next{1};
  const auto bind = [&](int index) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cores[static_cast<std::size_t>(index) % cores.size()], &one);
    sched_setaffinity(0, sizeof one, &one);
  };
  tbb::task_arena(threads).execute([&] {
    tbb::parallel_for(
        0, threads,
        [&](int) {
          ++arrived;
          const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(1);
          while (arrived < threads && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
          if (std::this_thread::get_id() != caller) bind(next++);
        },
        tbb::simple_partitioner());
  });
  bind(0);
}

}  // namespace cumulus::cli
