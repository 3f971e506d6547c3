#include "cpu/threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/partitioner.h>
#include <oneapi/tbb/task.h>
#include <oneapi/tbb/task_arena.h>

#include "cpu/fp_environment.h"

#if defined(CUMULUS_THREAD_SANITIZER)
#include <sanitizer/tsan_interface.h>
#endif

namespace cumulus::cpu {
namespace {

// A forked child has none of its parent's other threads, but all the locks that they held, in oneTBB and anywhere. So a child of a
// process that had any works alone; oneTBB may have been in use without us, hence from the library's loading on.
std::atomic<bool> had_threads{false}, forked_child{false};

bool has_threads() {
  struct stat tasks;  // a link for each thread, besides a folder's own two
  return stat("/proc/self/task", &tasks) != 0 || tasks.st_nlink != 3;
}

const int watches_forks = pthread_atfork([] { had_threads.store(has_threads()); }, nullptr,
                                         [] {
                                           if (had_threads.load()) forked_child.store(true);
                                         });

// OpenMP's own word on whether this thread is in a parallel region; null when no OpenMP library is loaded.
bool in_openmp_region() {
  using InParallel = int (*)();
  static std::atomic<InParallel> found{nullptr};
  InParallel in_parallel = found.load(std::memory_order_relaxed);
  if (!in_parallel) {
    in_parallel = reinterpret_cast<InParallel>(dlsym(RTLD_DEFAULT, "omp_in_parallel"));
    if (in_parallel) found.store(in_parallel, std::memory_order_relaxed);
  }
  return in_parallel && in_parallel() != 0;
}

// One arena per thread count, made on first use and never destroyed: a scan may run while the process exits. A count beyond
// what oneTBB would ever serve is cut to it, or it would print a warning.
tbb::task_arena& arena_of(int threads) {
  threads = std::min(threads, static_cast<int>(tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism)));
  static constinit std::mutex mutex;
  const std::lock_guard lock(mutex);
  static auto& arenas = *new std::map<int, std::unique_ptr<tbb::task_arena>>;
  auto& arena = arenas[threads];
  if (!arena) arena = std::make_unique<tbb::task_arena>(threads);
  return *arena;
}

// Binds a worker to one core of the process's mask while it works, and puts its own mask back.
class Pin {
 public:
  Pin(bool wanted, const cpu_set_t& mask, int worker) {
    if (!wanted || sched_getaffinity(0, sizeof saved_, &saved_) != 0) return;
    int skip = worker % CPU_COUNT(&mask);
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (!CPU_ISSET(core, &mask) || skip-- > 0) continue;
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(core, &one);
      pinned_ = sched_setaffinity(0, sizeof one, &one) == 0;
      return;
    }
  }
  ~Pin() {
    if (pinned_) sched_setaffinity(0, sizeof saved_, &saved_);
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

 private:
  cpu_set_t saved_;
  bool pinned_ = false;
};

// oneTBB is not built with ThreadSanitizer, nor is this file, the one that has oneTBB's headers: the hand-over of tasks, seen by
// half, looks like races. So it is told that a body starts after its call and ends before the call returns.
#if defined(CUMULUS_THREAD_SANITIZER)
void happens_before(void* what) { __tsan_release(what); }
void happens_after(void* what) { __tsan_acquire(what); }
#else
void happens_before(void*) {}
void happens_after(void*) {}
#endif

}  // namespace

bool parallel_allowed() {
  return watches_forks == 0 && !forked_child.load(std::memory_order_relaxed) && tbb::task::current_context() == nullptr &&
         !in_openmp_region();
}

void parallel(int threads, bool pin, const std::function<void(int)>& body) {
  if (threads <= 1) return body(0);
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (pin && sched_getaffinity(0, sizeof mask, &mask) != 0) pin = false;
  const std::thread::id caller = std::this_thread::get_id();
  static char start, end;  // static, so that a body reads nothing of the call before it is told
  happens_before(&start);
  arena_of(threads).execute([&] {
    tbb::parallel_for(
        0, threads,
        [&](int worker) {
          happens_after(&start);
          const FpEnvironment environment;
          const Pin pinned(pin && std::this_thread::get_id() != caller, mask, worker);
          body(worker);
          happens_before(&end);
        },
        tbb::simple_partitioner());
  });
  happens_after(&end);
}

}  // namespace cumulus::cpu
