// Processes for the tests of good manners: a test that runs again in a process of its own, children with a time limit, threads counted.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "emulator.h"

namespace support {

inline constexpr int kTimedOut = -1000;

// The exit status of a child (negative: the signal that ended it), or kTimedOut, after which the child is gone too.
inline int wait_for(pid_t child, int seconds) {
  for (int ms = 0; ms < seconds * 1000; ++ms) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return kTimedOut;
}

// Runs the current test again, alone in a fresh process, with name=value in its environment. True in that process; false in the
// first one, where the other's exit status has been checked.
inline bool in_own_process(int expected_status = 0, const char* name = nullptr, const char* value = nullptr) {
  if (std::getenv("CUMULUS_TEST_CHILD")) return true;
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const std::string filter = std::string("--gtest_filter=") + test->test_suite_name() + "." + test->name();
  std::vector<std::string> words = command_line(std::filesystem::read_symlink("/proc/self/exe"), {filter, "--gtest_brief=1"});
  const std::vector<char*> pointers = exec_arguments(words);
  const pid_t child = fork();
  if (child == 0) {
    setenv("CUMULUS_TEST_CHILD", "1", 1);
    if (name) setenv(name, value, 1);
    execvp(pointers[0], pointers.data());
    _exit(127);
  }
  const int status = wait_for(child, 120);
  EXPECT_EQ(status, expected_status) << "of the test in its own process" << (status == 127 ? "; it could not be started" : "");
  return false;
}

inline int thread_count() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
  return count;
}

}  // namespace support
