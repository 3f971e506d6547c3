// Threads, streams, graphs and comings and goings of streams at once, for as long as wanted; every result is compared with the CPU's bits.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "case.h"

namespace gpu_check {
namespace {

using support::Built;

constexpr int kThreads = 4, kStreams = 4;  // of each thread; and one that it shares with a neighbour
constexpr int kCases = 96;
constexpr std::size_t kMostBytes = 16 << 20;  // of a case's tensors: each of 41 slots has room for the largest

// A case with its result, made before the GPU is kept busy.
struct Prepared {
  Job job;
  Built given, expected;
  Image image;
  bool repeatable;  // nothing that is read is written
  explicit Prepared(const Job& j) : job(j), given(j.c), expected(expected_of(given)), image(given) {
    repeatable = !j.c.in_place && j.c.total != support::Total::is_initial;
  }
};

struct Counts {
  std::atomic<long> launches{0}, results{0}, replays{0}, graphs{0}, streams{0};
};

class Soak {
 public:
  explicit Soak(std::uint64_t seed) : seed_(seed), pool_(kCases) {
    in_parallel(pool_.size(), [&](std::size_t i) {
      thread_local Lane lane;
      Random random(support::mix(seed) + i);
      do pool_[i] = std::make_unique<Prepared>(random_job(random));
      while (pool_[i]->image.bytes() > kMostBytes);
      if (const std::string trouble = lane.worker.check(pool_[i]->job, pool_[i]->given); !trouble.empty()) fail(*pool_[i], trouble);
    });
    for (const auto& each : pool_) most_ = std::max(most_, each->image.bytes());
    std::printf("%d cases, %d of them wrong before any of them meets another\n", kCases, wrong_.load());
    std::fflush(stdout);
  }

  // How many results were wrong.
  int run(int seconds) {
    const CurrentContext context;
    end_ = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    for (CUstream& stream : shared_) stream = new_stream();
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) threads.emplace_back([&, t] { guarded([&] { work(t); }); });
    threads.emplace_back([&] { guarded([&] { come_and_go(); }); });
    for (std::thread& t : threads) t.join();
    std::printf("soak: %ld launches, %ld results compared, %ld replays of %ld graphs, %ld streams that came and went, %d wrong\n",
                counts_.launches.load(), counts_.results.load(), counts_.replays.load(), counts_.graphs.load(), counts_.streams.load(),
                wrong_.load());
    return wrong_;
  }

 private:
  bool going_on() const { return wrong_ == 0 && std::chrono::steady_clock::now() < end_; }

  void fail(const Prepared& which, const std::string& trouble) {
    ++wrong_;
    const std::lock_guard lock(mutex_);
    std::printf("WRONG: %s\n  %s\n", describe(which.job, which.given).c_str(), trouble.substr(0, 1500).c_str());
    std::fflush(stdout);
  }
  template <class F>
  void guarded(const F& f) {
    try {
      f();
    } catch (const Failure& failure) {
      ++wrong_;
      const std::lock_guard lock(mutex_);
      std::printf("FAILED: %s\n", failure.message.c_str());
    }
  }

  // A place on the device for one case at a time, on one stream.
  struct Slot {
    Slot(CUstream s, std::size_t bytes) : stream(s), device(bytes), host(bytes) {
      CHECK(cuEventCreate(&done, cuda::CU_EVENT_DISABLE_TIMING));
    }
    ~Slot() { gpu().cuEventDestroy(done); }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;

    CUstream stream;
    DeviceMemory device;
    HostMemory host;
    CUevent done;
    const Prepared* under_way = nullptr;
    // A scan of `captured`'s tensors in this slot, that can be launched again.
    const Prepared* captured = nullptr;
    cuda::CUgraphExec graph = nullptr;
  };

  void scan(const Slot& slot, const Prepared& which) {
    Problem problem = which.image.at(slot.device.at, which.given, which.job.host_scalar);
    problem.stream = slot.stream;
    Call call;
    call.tuning = which.job.tuning;
    call.initial_on_host = which.job.host_scalar;
    cuda::run(problem, call);
    ++counts_.launches;
  }

  void upload(const Slot& slot, const Prepared& which) {
    which.image.write(which.given, slot.host.data());
    if (which.image.bytes() > 0) CHECK(cuMemcpyHtoDAsync(slot.device.at, slot.host.data(), which.image.bytes(), slot.stream));
  }

  void download(Slot& slot, const Prepared& which) {
    if (which.image.bytes() > 0) CHECK(cuMemcpyDtoHAsync(slot.host.data(), slot.device.at, which.image.bytes(), slot.stream));
    CHECK(cuEventRecord(slot.done, slot.stream));
    slot.under_way = &which;
  }

  void compare(Slot& slot) {
    const Prepared* which = slot.under_way;
    if (!which) return;
    slot.under_way = nullptr;
    CHECK(cuEventSynchronize(slot.done));
    ++counts_.results;
    if (which->image.same(slot.host.data(), which->expected)) return;
    const Built got = which->given;
    which->image.read(slot.host.data(), got);
    if (const auto equal = which->expected.equals(got); !equal) fail(*which, equal.message());
  }

  void capture(Slot& slot, const Prepared& which) {
    drop(slot);
    cuda::CUgraph graph = nullptr;
    CHECK(cuStreamBeginCapture(slot.stream, cuda::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    scan(slot, which);
    CHECK(cuStreamEndCapture(slot.stream, &graph));
    CHECK(cuGraphInstantiateWithFlags(&slot.graph, graph, 0));
    CHECK(cuGraphDestroy(graph));
    slot.captured = &which;
    ++counts_.graphs;
  }
  void drop(Slot& slot) {
    if (slot.graph) CHECK(cuGraphExecDestroy(slot.graph));
    slot.graph = nullptr, slot.captured = nullptr;
  }

  // Keeps its streams busy: on each, in turn, a case is compared and the next one begun.
  void work(int thread) {
    const CurrentContext context;
    Random random(support::mix(seed_ + 1) + static_cast<std::uint64_t>(thread));
    std::vector<std::unique_ptr<Slot>> slots;
    for (int s = 0; s < kStreams; ++s) {
      const CUstream stream = new_stream();
      for (int k = 0; k < 2; ++k) slots.push_back(std::make_unique<Slot>(stream, most_));
    }
    slots.push_back(
        std::make_unique<Slot>(shared_[static_cast<std::size_t>(thread / 2)], most_));  // a stream that captures must be one's own
    slots.push_back(std::make_unique<Slot>(cuda::CU_STREAM_PER_THREAD, most_));
    while (going_on()) {
      for (std::size_t s = 0; s < slots.size(); ++s) {
        Slot& slot = *slots[s];
        compare(slot);
        const bool own = s < 2 * kStreams;
        if (own && random.chance(3)) capture(slot, any(random));
        const bool replay = slot.graph && random.chance(40);
        const Prepared& which = replay ? *slot.captured : any(random);
        upload(slot, which);
        for (auto times = which.repeatable ? random.between(1, 6) : 1; times > 0; --times) {
          if (!replay) {
            scan(slot, which);
          } else {
            CHECK(cuGraphLaunch(slot.graph, slot.stream));
            ++counts_.replays;
          }
        }
        download(slot, which);
      }
    }
    for (auto& slot : slots) compare(*slot), drop(*slot);
  }

  // Streams that live for one scan, so that their handles come again; and another context current, or none, when it is asked for.
  void come_and_go() {
    Random random(support::mix(seed_ + 2));
    std::unique_ptr<Slot> slot;
    {
      const CurrentContext context;
      slot = std::make_unique<Slot>(nullptr, most_);
    }
    while (going_on()) {
      const Prepared& which = any(random);
      CUstream stream;
      {
        const CurrentContext context;
        slot->stream = stream = new_stream();
        upload(*slot, which);
      }
      const int current = static_cast<int>(random.below(2 + gpu().devices)) - 1;  // no context, the device's own, or another's
      if (current < 0 || current >= gpu().devices) {
        scan(*slot, which);
      } else {
        const CurrentContext context(current);
        scan(*slot, which);
      }
      const CurrentContext context;
      download(*slot, which);
      compare(*slot);
      CHECK(cuStreamDestroy(stream));
      ++counts_.streams;
    }
    const CurrentContext context;
    slot.reset();
  }

  const Prepared& any(Random& random) const { return *pool_[static_cast<std::size_t>(random.below(kCases))]; }

  const std::uint64_t seed_;
  std::vector<std::unique_ptr<Prepared>> pool_;
  std::chrono::steady_clock::time_point end_;
  std::size_t most_ = 0;
  std::array<CUstream, kThreads / 2> shared_{};
  Counts counts_;
  std::atomic<int> wrong_{0};
  std::mutex mutex_;
};

}  // namespace

int soak(int seconds, std::uint64_t seed) { return Soak(seed).run(seconds); }

}  // namespace gpu_check
