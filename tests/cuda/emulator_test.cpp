// The emulator finds what it is there for: one small kernel with a planted defect for each finding, and its right twin that passes.
#include "emulator/emulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "cuda/kernels/mail.cuh"

namespace {

using namespace cumulus::cuda;

using Findings = std::vector<std::string>;

// Runs the kernel under a few schedules, and gives all findings.
Findings run(const std::function<void()>& kernel, emulator::Launch launch = {}) {
  if (launch.shared == 0) launch.shared = 4096;
  Findings all;
  for (launch.seed = 1; launch.seed <= 20; ++launch.seed)
    for (const std::string& finding : emulator::launch(launch, kernel)) all.push_back(finding);
  return all;
}

bool has(const Findings& findings, const std::string& words) {
  return std::any_of(findings.begin(), findings.end(), [&](const std::string& f) { return f.find(words) != std::string::npos; });
}

u32* words() { return reinterpret_cast<u32*>(shared_memory()); }
emulator::Launch threads(u32 count, u32 blocks = 1) {
  emulator::Launch launch;
  launch.threads = count, launch.blocks = blocks;
  return launch;
}

TEST(Emulator, ShufflesAndBallotsPassValues) {
  std::array<u32, 32> out{};
  emulator::Launch launch = threads(32);
  launch.memory = {{out.data(), sizeof out, true}};
  const auto findings = run(
      [&] {
        const u32 lane = lane_index();
        const u32 v = shuffle(lane * 10, (lane + 1) & 31);
        store_global<4>(&out[lane], v + ballot(lane % 2 == 0) / 0x55555555u);
      },
      launch);
  EXPECT_EQ(findings, Findings{});
  for (u32 lane = 0; lane < 32; ++lane) EXPECT_EQ(out[lane], (lane + 1) % 32 * 10 + 1);
}

TEST(Emulator, BlocksRunInAnyOrder) {
  std::vector<u32> first;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::vector<u32> order;
    emulator::Launch launch = threads(32, 4);
    launch.seed = seed, launch.resident = 1;
    emulator::launch(launch, [&] {
      if (lane_index() == 0) order.push_back(block_index());
    });
    ASSERT_EQ(order.size(), 4u);
    first.push_back(order[0]);
  }
  std::sort(first.begin(), first.end());
  EXPECT_EQ(std::unique(first.begin(), first.end()) - first.begin(), 4) << "every block is the first one under some seed";
}

// ---- memory ----

TEST(Emulator, FindsGlobalMemoryOutOfBounds) {
  std::array<u32, 33> memory{};
  for (u32 length : {32u, 31u}) {
    emulator::Launch launch = threads(32);
    launch.memory = {{memory.data(), length * 4, true}};
    EXPECT_EQ(has(run([&] { load_global<4>(&memory[lane_index()]); }, launch), "out of bounds: a read of global"), length == 31);
    EXPECT_EQ(has(run([&] { store_global<4>(&memory[lane_index()], 1); }, launch), "out of bounds: a write to global"), length == 31);
  }
}

TEST(Emulator, FindsWritesToInputs) {
  std::array<u32, 32> memory{};
  emulator::Launch launch = threads(32);
  launch.memory = {{memory.data(), sizeof memory, false}};
  EXPECT_TRUE(has(run([&] { store_global<4>(&memory[lane_index()], 1); }, launch), "only read"));
}

TEST(Emulator, FindsMisalignedVectors) {
  alignas(16) std::array<u32, 8> memory{};
  emulator::Launch launch = threads(32);
  launch.memory = {{memory.data(), sizeof memory, false}};
  EXPECT_TRUE(has(run([&] { load_global<16>(&memory[1]); }, launch), "not aligned"));
  EXPECT_EQ(run([&] { load_global<16>(&memory[4]); }, launch), Findings{});
}

// A prefetch changes nothing, but on a device it would fail like an access.
TEST(Emulator, FindsPrefetchesOfWhatMayNotBeRead) {
  alignas(16) static std::array<u8, 64> memory{};
  emulator::Launch launch = threads(32);
  launch.memory = {{memory.data(), 48, false}};
  const auto prefetched = [&](int from, u32 bytes) {
    return run(
        [&, from, bytes] {
          if (lane_index() == 0) bulk_prefetch(memory.data() + from, bytes);
        },
        launch);
  };
  EXPECT_EQ(prefetched(16, 32), Findings{});
  EXPECT_TRUE(has(prefetched(16, 48), "out of bounds: a read of global"));
  EXPECT_TRUE(has(prefetched(4, 16), "not aligned"));
  EXPECT_TRUE(has(prefetched(0, 24), "not aligned"));
}

// One thread does it with the last word of shared memory, or with the one behind.
bool fails_behind_shared_memory(void (*what)(u32*), const std::string& finding) {
  const auto findings = [&](u32 place) {
    return run([&] {
      if (thread_index() != 0) return;
      store_shared(words() + 1023, 1u);
      what(words() + place);
    });
  };
  EXPECT_EQ(findings(1023), Findings{});
  return has(findings(1024), "out of bounds: " + finding + " shared");
}

TEST(Emulator, FindsSharedMemoryOutOfBounds) {
  EXPECT_TRUE(fails_behind_shared_memory([](u32* p) { store_shared(p, 1u); }, "a write to"));
  EXPECT_TRUE(fails_behind_shared_memory([](u32* p) { load_shared(p); }, "a read of"));
  EXPECT_TRUE(fails_behind_shared_memory([](u32* p) { fetch_add_shared(p, 1); }, "a read of"));
  EXPECT_TRUE(fails_behind_shared_memory([](u32* p) { store_release_shared(p, 1); }, "a flag in"));
  EXPECT_TRUE(fails_behind_shared_memory([](u32* p) { load_acquire_shared(p); }, "a flag in"));
}

TEST(Emulator, FindsMisalignedSharedMemory) {
  for (u32 place : {2u, 3u})
    EXPECT_EQ(has(run([&] {
                    if (thread_index() == 0) store_shared(reinterpret_cast<u64*>(words() + place), u64{1});
                  }),
                  "an access to shared memory is not aligned"),
              place == 3);
}

TEST(Emulator, FindsReadsOfSharedMemoryThatNobodyWrote) {
  EXPECT_TRUE(has(run([] { load_shared(words() + lane_index()); }), "nobody wrote"));
}

// ---- order ----

TEST(Emulator, FindsAMissingBlockBarrier) {
  for (bool barrier : {true, false}) {
    const auto findings = run(
        [&] {
          store_shared(words() + thread_index(), 1u);
          if (barrier) sync_block();
          load_shared(words() + (thread_index() + 32) % 64);
        },
        threads(64));
    EXPECT_EQ(has(findings, "race") || has(findings, "nobody wrote"), !barrier);
  }
}

TEST(Emulator, FindsAMissingWarpBarrier) {
  for (bool barrier : {true, false}) {
    const auto findings = run([&] {
      store_shared(words() + lane_index(), 1u);
      if (barrier) sync_warp();
      else ballot(true);  // meets, but orders no memory
      load_shared(words() + (lane_index() + 1) % 32);
    });
    EXPECT_EQ(has(findings, "read without order"), !barrier);
  }
}

TEST(Emulator, FindsWritesThatComeTooEarly) {
  for (bool barrier : {true, false}) {
    const auto findings = run([&] {
      store_shared(words() + lane_index(), 1u);
      sync_warp();
      load_shared(words() + (lane_index() + 1) % 32);
      if (barrier) sync_warp();
      store_shared(words() + lane_index(), 2u);
    });
    EXPECT_EQ(has(findings, "may still be read"), !barrier);
  }
}

TEST(Emulator, FindsTwoWritersOfOnePlace) {
  EXPECT_TRUE(has(run([] { store_shared(words(), thread_index()); }, threads(64)), "two writes"));
}

TEST(Emulator, FlagsOrderWhatCameBefore) {
  for (bool flag : {true, false}) {
    const auto findings = run(
        [&] {
          u32* ready = words() + 64;
          if (thread_index() == 0) store_shared(ready, 0u);
          sync_block();
          if (thread_index() == 0) {
            store_shared(words(), 7u);
            store_release_shared(ready, 1);
          } else if (thread_index() == 32) {
            while (flag && load_acquire_shared(ready) == 0) cumulus::cuda::pause();
            load_shared(words());
          }
        },
        threads(64));
    EXPECT_EQ(has(findings, "read without order") || has(findings, "nobody wrote"), !flag);
  }
}

// An addition that is counted in shared memory orders nothing, whoever sees it; nor does it race with others.
TEST(Emulator, AdditionsOrderNothing) {
  for (bool flag : {true, false}) {
    const auto findings = run(
        [&] {
          u32 *counter = words() + 64, *ready = words() + 65;
          if (thread_index() == 0) store_shared(counter, 0u), store_shared(ready, 0u);
          sync_block();
          if (thread_index() == 0) {
            store_shared(words(), 7u);
            if (flag) store_release_shared(ready, 1);
            fetch_add_shared(counter, 1);
          } else if (thread_index() == 32) {
            while (fetch_add_shared(counter, 0) == 0) cumulus::cuda::pause();
            while (flag && load_acquire_shared(ready) == 0) cumulus::cuda::pause();
            load_shared(words());
          } else {
            fetch_add_shared(counter, 0);
          }
        },
        threads(64));
    EXPECT_EQ(findings.empty(), flag);
    EXPECT_EQ(has(findings, "read without order"), !flag);
  }
}

TEST(Emulator, FindsAdditionsToWhatIsNotYetThere) {
  EXPECT_TRUE(has(run(
                      [] {
                        if (thread_index() == 0) store_shared(words(), 0u);
                        fetch_add_shared(words(), 1);
                      },
                      threads(64)),
                  "read without order"));
}

// A message of two words, each with the launch's tag. Whoever looks at the first one's tag alone may take what lay in the second one
// before.
TEST(Emulator, MessagesMayBeHalfThere) {
  constexpr u32 kTag = 3;
  constexpr u64 kOld = 0x1111111122222222, kMessage = 0x3333333344444444;
  alignas(16) static u64 words[2];
  const auto wrong = [&](bool all_tags) {
    int wrong = 0;
    emulator::Launch launch = threads(32, 2);
    launch.resident = 2;
    launch.memory = {{words, sizeof words, true}};
    for (launch.seed = 1; launch.seed <= 200; ++launch.seed) {
      for (int i = 0; i < 2; ++i) words[i] = u64{kTag - 1} << 32 | to_words(kOld).word[i];
      const auto findings = emulator::launch(launch, [&] {
        if (lane_index() != 0) return;
        if (block_index() == 0) return Mail<u64>::publish(words, kTag, kMessage);
        u64 got = 0;
        if (all_tags) {
          while (!Mail<u64>::read(words, kTag, got)) cumulus::cuda::pause();
        } else {
          u64 first;
          while ((first = load_relaxed(words)) >> 32 != kTag) cumulus::cuda::pause();
          got = from_words<u64>({static_cast<u32>(first), static_cast<u32>(load_relaxed(words + 1))});
        }
        wrong += got != kMessage;
      });
      EXPECT_EQ(findings, Findings{});
    }
    return wrong;
  };
  EXPECT_EQ(wrong(true), 0);
  EXPECT_GT(wrong(false), 0);
}

// ---- barriers and asynchronous copies ----

struct Ring {
  Barrier full;
  alignas(16) u8 data[512];
};

// One thread copies, all read: with the barrier, or without waiting for it.
Findings copy_and_read(bool wait, bool bulk) {
  alignas(16) static std::array<u8, 512> memory;
  std::iota(memory.begin(), memory.end(), u8{0});
  emulator::Launch launch = threads(64);
  launch.memory = {{memory.data(), memory.size(), false}};
  bool right = true;
  auto findings = run(
      [&] {
        Ring& ring = *reinterpret_cast<Ring*>(shared_memory());
        if (thread_index() == 0) barrier_init(&ring.full, 1);
        sync_block();
        if (thread_index() == 0 && bulk) {
          barrier_arrive_expect(&ring.full, 512);
          bulk_load(ring.data, memory.data(), 512, &ring.full);
        } else if (thread_index() == 0) {
          for (int i = 0; i < 512; i += 16) async_load16(ring.data + i, memory.data() + i);
          async_arrive(&ring.full);
        }
        if (wait) barrier_wait(&ring.full, 0);
        for (u32 i = thread_index(); i < 512; i += 64)
          if (load_shared(ring.data + i) != static_cast<u8>(i)) right = false;
        barrier_wait(&ring.full, 0);
      },
      launch);
  if (!right) findings.push_back("wrong values");
  return findings;
}

TEST(Emulator, CopiesComeLateAndTheirBarrierTellsWhen) {
  for (bool bulk : {true, false}) {
    EXPECT_EQ(copy_and_read(true, bulk), Findings{});
    const auto findings = copy_and_read(false, bulk);
    EXPECT_TRUE(has(findings, "wrong values")) << "a copy is not there at once";
    EXPECT_TRUE(has(findings, "read without order") || has(findings, "nobody wrote"));
  }
}

TEST(Emulator, FindsBarriersThatWereNotInitialised) {
  const auto used = [](void (*use)(Barrier*)) {
    return has(run([&] { use(reinterpret_cast<Barrier*>(shared_memory())); }), "a barrier is used that was not initialised");
  };
  EXPECT_TRUE(used([](Barrier* b) { barrier_arrive(b); }));
  EXPECT_TRUE(used([](Barrier* b) { barrier_wait(b, 0); }));
  EXPECT_TRUE(used([](Barrier* b) { barrier_test(b, 0); }));
  EXPECT_TRUE(used([](Barrier* b) { async_arrive(b); }));
}

// While bytes are still to come, all have arrived and the phase lasts.
TEST(Emulator, FindsMoreArrivalsThanABarrierExpects) {
  const auto arrive = [](int count, bool copies) {
    return has(run([&] {
                 auto* barrier = reinterpret_cast<Barrier*>(shared_memory());
                 if (lane_index() != 0) return;
                 barrier_init(barrier, 2);
                 barrier_arrive_expect(barrier, 64);
                 for (int i = 1; i < count; ++i) copies ? async_arrive(barrier) : barrier_arrive(barrier);
               }),
               "more arrivals at a barrier than it expects");
  };
  for (bool copies : {false, true}) {
    EXPECT_FALSE(arrive(2, copies));
    EXPECT_TRUE(arrive(3, copies));
  }
}

TEST(Emulator, FindsMisalignedCopies) {
  alignas(16) static std::array<u8, 64> memory{};
  emulator::Launch launch = threads(32);
  launch.memory = {{memory.data(), memory.size(), false}};
  const auto copied = [&](int to, int from, u32 bytes, bool bulk) {
    return run(
        [&, to, from, bytes] {
          Ring& ring = *reinterpret_cast<Ring*>(shared_memory());
          if (lane_index() != 0) return;
          barrier_init(&ring.full, 1);
          if (bulk) {
            barrier_arrive_expect(&ring.full, bytes);
            bulk_load(ring.data + to, memory.data() + from, bytes, &ring.full);
          } else {
            async_load16(ring.data + to, memory.data() + from);
            async_arrive(&ring.full);
          }
          barrier_wait(&ring.full, 0);
        },
        launch);
  };
  EXPECT_EQ(copied(16, 16, 32, true), Findings{});
  EXPECT_TRUE(has(copied(8, 0, 32, true), "the place of a bulk copy is not aligned"));
  EXPECT_TRUE(has(copied(0, 8, 32, true), "a bulk copy is not aligned to 16 bytes"));
  EXPECT_TRUE(has(copied(0, 0, 24, true), "a bulk copy is not aligned to 16 bytes"));
  EXPECT_EQ(copied(16, 16, 16, false), Findings{});
  EXPECT_TRUE(has(copied(8, 0, 16, false), "an access to shared memory is not aligned"));
  EXPECT_TRUE(has(copied(0, 8, 16, false), "an access to global memory is not aligned"));
}

TEST(Emulator, FindsCopiesThatOutliveTheirBlock) {
  alignas(16) static std::array<u8, 64> memory{};
  emulator::Launch launch = threads(32);
  launch.memory = {{memory.data(), memory.size(), false}};
  EXPECT_TRUE(has(run(
                      [&] {
                        Ring& ring = *reinterpret_cast<Ring*>(shared_memory());
                        if (lane_index() != 0) return;
                        barrier_init(&ring.full, 1);
                        barrier_arrive_expect(&ring.full, 64);
                        bulk_load(ring.data, memory.data(), 64, &ring.full);
                      },
                      launch),
                  "block ended"));
}

// Of cp.async: those that a barrier waits for, and those that nobody does.
TEST(Emulator, FindsCopiesThatOutliveTheirThread) {
  alignas(16) static std::array<u8, 64> memory{};
  emulator::Launch launch = threads(64);
  launch.memory = {{memory.data(), memory.size(), false}};
  for (bool arrives : {true, false})
    for (bool waits : {true, false}) {
      const auto findings = run(
          [&] {
            Ring& ring = *reinterpret_cast<Ring*>(shared_memory());
            if (thread_index() == 0) barrier_init(&ring.full, 1);
            sync_block();
            if (thread_index() == 0) {
              async_load16(ring.data, memory.data());
              if (arrives) async_arrive(&ring.full);
              if (waits) async_wait();
            } else if (arrives) {
              barrier_wait(&ring.full, 0);  // the block ends later
            }
          },
          launch);
      EXPECT_EQ(has(findings, "a thread ended while its asynchronous copies"), !waits);
      EXPECT_EQ(findings.empty(), waits);
    }
}

// Four rows of 32 bytes and two planes, of which boxes of three rows are copied: what lies outside comes as zeros.
TEST(Emulator, TensorCopiesEndWhereTheTensorDoes) {
  alignas(16) static std::array<u8, 256> memory;
  std::iota(memory.begin(), memory.end(), u8{1});
  emulator::Launch launch = threads(32);
  launch.memory = {{memory.data(), memory.size(), false}};
  const TensorMap map = map_of({memory.data(), {4, 4, 2}, {32, 128}, {4, 3, 1}});
  const auto copy = [&](int column, int row, int outer, int place) {
    return run(
        [&, place] {
          Ring& ring = *reinterpret_cast<Ring*>(shared_memory() + 128);
          u8* to = shared_memory() + place;
          if (lane_index() == 0) {
            barrier_init(&ring.full, 1);
            barrier_arrive_expect(&ring.full, 96);
            tensor_load(to, &map, column, row, outer, &ring.full);
            barrier_wait(&ring.full, 0);
            for (int y = 0; y < 3; ++y)
              for (int x = 0; x < 32; ++x) {
                const int from_row = row + y, from = column * 8 + x;
                const bool inside = from < 32 && from_row >= 0 && from_row < 4 && outer >= 0 && outer < 2;
                EXPECT_EQ(load_shared(to + y * 32 + x), inside ? memory[static_cast<std::size_t>(outer * 128 + from_row * 32 + from)] : 0);
              }
          }
        },
        launch);
  };
  for (const auto& [column, row, outer] : {std::array{0, 0, 0}, {2, 2, 1}, {0, -2, 1}, {0, -3, 0}, {0, 4, 0}, {0, 0, 2}})
    EXPECT_EQ(copy(column, row, outer, 256), Findings{});
  EXPECT_TRUE(has(copy(0, 0, 0, 272), "not aligned"));
}

// A waiter that lags a whole round behind takes the barrier's last phase for the next one, on hardware as here.
TEST(Emulator, ParityOfAPhaseTooEarlyIsTakenForDone) {
  bool passed = false;
  run([&] {
    auto* barrier = reinterpret_cast<Barrier*>(shared_memory());
    if (lane_index() != 0) return;
    barrier_init(barrier, 1);
    barrier_wait(barrier, 1);
    passed = true;
  });
  EXPECT_TRUE(passed);
}

// ---- waiting for ever ----

TEST(Emulator, FindsLanesThatDoNotMeet) {
  EXPECT_TRUE(has(run([] {
                    if (lane_index() != 5) sync_warp();
                  }),
                  "deadlock"));
  EXPECT_TRUE(has(run([] {
                    if (lane_index() == 5) ballot(true);
                    else sync_warp();
                  }),
                  "different collectives"));
}

TEST(Emulator, FindsAWaitForABlockThatCannotRun) {
  static u64 word;
  word = 0;
  emulator::Launch launch = threads(32, 2);
  launch.memory = {{&word, sizeof word, true}};
  launch.resident = 1;
  launch.seed = 1;
  bool deadlock = false;
  for (; launch.seed <= 10; ++launch.seed) {
    word = 0;
    deadlock = deadlock || has(emulator::launch(launch,
                                                [&] {
                                                  if (block_index() == 1) store_relaxed(&word, 1);
                                                  else
                                                    while (load_relaxed(&word) == 0) cumulus::cuda::pause();
                                                }),
                               "poll for something");
  }
  EXPECT_TRUE(deadlock) << "with one resident block, block 0 must not wait for block 1";
}

}  // namespace
