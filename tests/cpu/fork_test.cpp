// A forked child scans: its parent's worker threads do not exist there, and nothing may wait for them. Many tries, as hangs are rare.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include <oneapi/tbb/parallel_for.h>

#include "cpu/threads.h"
#include "process.h"
#include "support.h"

namespace {

using namespace support;

class Fork : public testing::Test {
 protected:
  static Case large() {
    Case c;
    c.shape = {1500001};
    return c;
  }

  // Forks a child that tells whether it may use threads.
  bool child_may_use_threads() {
    const pid_t child = fork();
    if (child == 0) _exit(cumulus::cpu::parallel_allowed() ? 1 : 0);
    return wait_for(child, 30) == 1;
  }

  // AddressSanitizer's allocator does not let go of its locks at a fork, unlike the C library's: a thread that is in it then would hang
  // every child. So there, oneTBB's workers go to sleep first.
  static void let_workers_sleep() {
    if (sanitized()) std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }

  // Forks `tries` children that each scan with all threads they may use and compare; stops at the first that fails.
  void fork_children(int tries, const Built& given, const Built& expected) {
    for (int k = 0; k < tries; ++k) {
      const pid_t child = fork();
      if (child == 0) {
        bool right = true;
        for (int threads : {0, 2}) {
          const Built got = given;
          right = right && cumulus::try_scan(got.in.view(), got.out.view(), [&] {
                             cumulus::ScanSpec spec;
                             spec.threads = threads;
                             return spec;
                           }()) == cumulus::Status::ok;
          right = right && expected.equals(got);
        }
        _exit(right ? 0 : 1);
      }
      ASSERT_GT(child, 0);
      const int status = wait_for(child, 30);
      ASSERT_NE(status, kTimedOut) << "child " << k << " hung";
      ASSERT_EQ(status, 0) << "child " << k;
    }
  }
};

TEST_F(Fork, AfterScansOnAllThreads) {
  if (!in_own_process()) return;
  const Built given(large()), expected = given;
  expected.run_reference();
  for (int k = 0; k < 5; ++k) {
    const Built warm = given;
    warm.run_product(0);
  }
  let_workers_sleep();
  fork_children(sanitized() ? 5 : 60, given, expected);
}

TEST_F(Fork, WhileAnotherThreadScans) {
  if (sanitized()) GTEST_SKIP() << "a thread that scans allocates, and the sanitizer's allocator does not survive a fork then";
  if (!in_own_process()) return;
  const Built given(large()), expected = given;
  expected.run_reference();
  std::atomic<bool> stop{false};
  const Built warm = given;
  warm.run_product(0);
  std::thread busy([&] {
    while (!stop) warm.run_product(2);
  });
  fork_children(40, given, expected);
  stop = true;
  busy.join();
}

TEST_F(Fork, BeforeAnyScan) {
  if (!in_own_process()) return;
  const Built given(large()), expected = given;
  expected.run_reference();
  // As servers do that fork before they work. (An emulator has threads of its own.)
  if (command_line("", {}).size() == 1) {
    EXPECT_TRUE(child_may_use_threads());
  }
  fork_children(5, given, expected);
}

// The parent used oneTBB for something else and never scanned.
TEST_F(Fork, AfterSomebodyElsesTbb) {
  if (!in_own_process()) return;
  const Built given(large()), expected = given;
  expected.run_reference();
  std::atomic<int> sum{0};
  tbb::parallel_for(0, 10000, [&](int k) { sum += k % 7; });
  let_workers_sleep();
  EXPECT_FALSE(child_may_use_threads());
  fork_children(sanitized() ? 5 : 60, given, expected);
}

}  // namespace
