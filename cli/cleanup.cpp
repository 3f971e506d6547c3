#include "cleanup.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "commands.h"

namespace cumulus::cli {
namespace {

// What a signal handler may read: fixed memory, each slot valid while its flag is set.
struct Slot {
  std::atomic<bool> used{false};
  char name[PATH_MAX];
};
Slot slots[4];

void on_signal(int number) {
  for (Slot& slot : slots)
    if (slot.used) unlink(slot.name);
  if (number == SIGBUS) {
    constexpr char message[] = "cumulus: a mapped file cannot be read or written: another program shortened it, or its disk failed\n";
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(kExitIo);
    _exit(kExitIo);
  }
  raise(number);  // SA_RESETHAND: ends the process as if there were no handler
}

void install_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGBUS}) {
    struct sigaction current {};
    if (sigaction(number, nullptr, &current) == 0 && current.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
}

}  // namespace

int make_temporary(std::string& name) {
  static const bool installed = (install_handlers(), true);
  (void)installed;
  for (Slot& slot : slots) {
    if (slot.used) continue;
    if (name.size() >= sizeof slot.name) break;
    // A signal between creation and registration would leave an empty file: block it meanwhile.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const int file = mkostemp(name.data(), O_CLOEXEC);
    const int error = errno;
    if (file >= 0) {
      std::memcpy(slot.name, name.c_str(), name.size() + 1);
      slot.used = true;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return file;
  }
  errno = ENAMETOOLONG;
  return -1;
}

void forget_temporary(const std::string& name) {
  for (Slot& slot : slots)
    if (slot.used && name == slot.name) slot.used = false;
}

void remove_temporary(const std::string& name) {
  for (Slot& slot : slots) {
    if (!slot.used || name != slot.name) continue;
    unlink(slot.name);
    slot.used = false;
  }
}

mode_t new_file_mode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

void fail_io(const std::string& what, const std::string& path, int error) {
  throw CliError(kExitIo, fmt::format("{} {}: {}", what, path, std::strerror(error)));
}

}  // namespace cumulus::cli
