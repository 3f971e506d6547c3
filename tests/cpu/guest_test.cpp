// A good guest: affinity is respected, calls inside others' parallel regions stay on their thread, many callers flow, the caller's
// thread is never pinned, and a scan works while the process ends.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#if !defined(__SANITIZE_THREAD__)
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>
#endif

#include "cpu/cpu_info.h"
#include "process.h"
#include "support.h"

namespace {

using namespace support;

// Scans large enough to be shared out: one long row, rows, columns, with and without conversion.
std::vector<Case> large_cases() {
  std::vector<Case> cases(5);
  cases[0].shape = {3000017};
  cases[1].shape = {700, 3001}, cases[1].axis = 1;
  cases[2].shape = {3001, 700}, cases[2].axis = 0;
  cases[3].shape = {3000017}, cases[3].in = cases[3].out = DType::f16;
  cases[4].shape = {400000, 8}, cases[4].axis = 0, cases[4].op = Op::prod, cases[4].fill = Fill::near_one;
  return cases;
}

struct Prepared {
  Built given, expected;
};
std::vector<Prepared> prepared() {
  std::vector<Prepared> all;
  for (const Case& c : large_cases()) {
    const Built given(c);
    all.push_back({given, given});
    all.back().expected.run_reference();
  }
  return all;
}

testing::AssertionResult runs_right(const Prepared& p, int threads) {
  const Built got = p.given;
  got.run_product(threads);
  return p.expected.equals(got);
}

void bind_to_first_core() {
  cpu_set_t mask, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
  CPU_ZERO(&one);
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core)
    if (CPU_ISSET(core, &mask)) CPU_SET(core, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
}

// The control of the tests below: without a reason against it, a large scan starts a second thread.
TEST(Guest, TwoCoresAreUsed) {
  if (cumulus::cpu::cpu_info().cores < 2) GTEST_SKIP() << "this process may use one core only";
  if (!in_own_process()) return;
  const int before = thread_count();
  for (const Prepared& p : prepared()) EXPECT_TRUE(runs_right(p, 0));
  EXPECT_GT(thread_count(), before);
}

TEST(Guest, AnAffinityMaskOfOneCoreMeansOneThread) {
  if (!in_own_process()) return;
  bind_to_first_core();
  EXPECT_EQ(cumulus::cpu::affinity_cores(), 1);
  const int before = thread_count();
  for (const Prepared& p : prepared()) EXPECT_TRUE(runs_right(p, 0));
  EXPECT_EQ(thread_count(), before);
}

// Clock ticks that the process's threads other than the caller have run.
std::int64_t ticks_of_others() {
  std::int64_t ticks = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    if (entry.path().filename() == std::to_string(gettid())) continue;
    std::ifstream file(entry.path() / "stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string skipped;
    std::int64_t user = 0, system = 0;
    for (int k = 3; k < 14; ++k) fields >> skipped;
    fields >> user >> system;
    ticks += user + system;
  }
  return ticks;
}

TEST(Guest, AMaskSetLaterCounts) {
  if (thread_sanitized()) GTEST_SKIP() << "ThreadSanitizer's own thread runs too";
  if (!in_own_process()) return;
  const auto all = prepared();
  for (const Prepared& p : all) EXPECT_TRUE(runs_right(p, 0));  // the pool is there now
  bind_to_first_core();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // its threads go to sleep
  const std::int64_t before = ticks_of_others();
  for (int repeat = 0; repeat < 20; ++repeat) EXPECT_TRUE(runs_right(all[0], 0));
  EXPECT_LE(ticks_of_others() - before, 1);
}

TEST(Guest, OneThreadAskedForStartsNone) {
  if (!in_own_process()) return;
  const int before = thread_count();
  for (const Prepared& p : prepared()) EXPECT_TRUE(runs_right(p, 1));
  EXPECT_EQ(thread_count(), before);
}

// Not in the build with ThreadSanitizer: it sees oneTBB's headers but not its library, and takes the hand-over of tasks for races.
#if !defined(__SANITIZE_THREAD__)
TEST(Guest, ACallInsideATbbTaskStaysOnItsThread) {
  if (!in_own_process()) return;
  const auto all = prepared();
  tbb::task_arena arena(1);  // starts no thread of its own
  const int before = thread_count();
  arena.execute([&] { tbb::parallel_for(0, 3, [&](int) { EXPECT_TRUE(runs_right(all[0], 0)); }); });
  EXPECT_EQ(thread_count(), before);
}

TEST(Guest, CallsFromManyTbbTasks) {
  const auto all = prepared();
  std::atomic<int> wrong{0};
  tbb::parallel_for(0, 40, [&](int k) { wrong += !runs_right(all[static_cast<std::size_t>(k) % all.size()], k % 3); });
  EXPECT_EQ(wrong, 0);
}
#endif

// libgomp is called directly, so that the test needs no compiler flag.
TEST(Guest, ACallInsideAnOpenMpRegionStaysOnItsThread) {
  if (thread_sanitized()) GTEST_SKIP() << "ThreadSanitizer does not know OpenMP's synchronisation";
  void* gomp = dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (!gomp) GTEST_SKIP() << "no OpenMP library here: " << dlerror();
  if (!in_own_process()) return;
  using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  const auto parallel = reinterpret_cast<Parallel>(dlsym(gomp, "GOMP_parallel"));
  const auto barrier = reinterpret_cast<void (*)()>(dlsym(gomp, "GOMP_barrier"));
  ASSERT_TRUE(parallel && barrier);
  struct State {
    std::vector<Prepared> all = prepared();
    void (*barrier)();
    std::atomic<int> before{0}, after{0}, wrong{0};
  } state;
  state.barrier = barrier;
  parallel(
      [](void* data) {
        State& s = *static_cast<State*>(data);
        s.barrier();
        s.before = thread_count();
        s.barrier();
        for (const Prepared& p : s.all) s.wrong += !runs_right(p, 0);
        s.barrier();
        s.after = thread_count();
      },
      &state, 2, 0);
  EXPECT_EQ(state.wrong, 0);
  EXPECT_EQ(state.after, state.before);
}

TEST(Guest, EightCallersFlow) {
  const auto all = prepared();
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 8; ++caller)
    callers.emplace_back([&, caller] {
      for (int k = 0; k < (sanitized() ? 2 : 10); ++k)
        wrong += !runs_right(all[static_cast<std::size_t>(caller + k) % all.size()], caller % 2 ? 0 : 2);
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

std::string mask_of(const std::filesystem::path& task) {
  std::ifstream status(task / "status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("Cpus_allowed_list:", 0) == 0) return line;
  return "";
}

TEST(Guest, PinningNeverTouchesTheCallerAndEndsWithTheCall) {
  if (!in_own_process()) return;
  const Prepared p = prepared().front();
  const std::string mask = mask_of("/proc/thread-self");
  cumulus::ScanSpec spec;
  spec.pin_threads = true;
  for (int repeat = 0; repeat < 10; ++repeat) {
    const Built got = p.given;
    cumulus::scan(got.in.view(), got.out.view(), spec);
    EXPECT_TRUE(p.expected.equals(got));
    EXPECT_EQ(mask_of("/proc/thread-self"), mask);
  }
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) EXPECT_EQ(mask_of(entry.path()), mask);
}

// Whatever is asked for, the library is silent: oneTBB, too, has something to say about more threads than cores.
TEST(Guest, NothingIsPrinted) {
  if (!in_own_process()) return;
  const auto all = prepared();
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  for (int threads : {0, 5, 300}) EXPECT_TRUE(runs_right(all[0], threads));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// ---- The end of the process ----

std::vector<Prepared>* at_exit_cases = nullptr;

// Everything the library may have of its own is already destroyed here.
void scan_at_exit() {
  bool right = true;
  for (const Prepared& p : *at_exit_cases) right = right && runs_right(p, 1) && runs_right(p, 0);
  cumulus::ScanSpec bad;
  bad.axis = 99;
  float x = 0, y = 0;
  right = right && cumulus::try_scan(cumulus::view(&x, {1}), cumulus::view(&y, {1}), bad) == cumulus::Status::invalid_argument;
  right = right && std::strstr(cumulus_last_error(), "99");
  _exit(right ? 42 : 43);
}

TEST(Guest, AScanWorksAtExitAfterOthers) {
  if (!in_own_process(42)) return;
  std::atexit(scan_at_exit);  // registered first, so it runs last
  at_exit_cases = new std::vector<Prepared>(prepared());
  for (const Prepared& p : *at_exit_cases) EXPECT_TRUE(runs_right(p, 0));
  cumulus::ScanSpec bad;
  bad.axis = 98;
  float x = 0, y = 0;
  EXPECT_EQ(cumulus::try_scan(cumulus::view(&x, {1}), cumulus::view(&y, {1}), bad), cumulus::Status::invalid_argument);
  std::exit(HasFailure() ? 1 : 0);
}

TEST(Guest, AScanWorksAtExitForTheFirstTime) {
  if (!in_own_process(42)) return;
  at_exit_cases = new std::vector<Prepared>(prepared());
  std::atexit(scan_at_exit);
  std::exit(0);
}

// A thread may scan in the destructor of its last thread-local object.
TEST(Guest, AScanWorksWhileItsThreadEnds) {
  static const auto all = prepared();
  static std::atomic<int> right{0};
  struct Last {
    ~Last() {
      for (const Prepared& p : all) right += bool(runs_right(p, 1));
    }
    void touch() {}
  };
  std::thread([] {
    thread_local Last last;
    last.touch();  // constructed before the library's own, destroyed after them
    for (const Prepared& p : all) right += bool(runs_right(p, 1));
  }).join();
  EXPECT_EQ(right, 2 * static_cast<int>(all.size()));
}

}  // namespace
