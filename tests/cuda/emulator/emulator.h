// CUDA on the CPU, as small as the kernels need it. Every thread of a block is a fiber; blocks and warps run in an order drawn from a seed,
// within what hardware may do: any block may be the first, as few as one may be resident, warps may stall at any collective and between the
// words that blocks exchange (which are seen in the order in which they were stored), asynchronous copies come late. Reported, not fixed:
// accesses out of bounds or misaligned, races on shared memory (by vector clocks, so whatever barriers do not order is found whether or not
// it happened), reads of shared memory that nobody wrote, barriers used wrongly, collectives that not all lanes reach, asynchronous copies
// that outlive their block or, of cp.async, their thread, and deadlocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace emulator {

// Global memory that a launch may touch. Whatever is not registered is out of bounds.
struct Memory {
  const void* data;
  std::size_t bytes;
  bool writable;
};

struct Launch {
  std::uint32_t blocks = 1, threads = 32;
  std::size_t shared = 0;      // bytes of dynamic shared memory
  std::uint32_t resident = 0;  // blocks that run at a time; 0: drawn from the seed
  std::uint64_t seed = 1;
  std::vector<Memory> memory;
};

// Runs `body` as every thread. Returns what was found wrong, each kind of finding once; empty when all is well.
std::vector<std::string> launch(const Launch& launch, const std::function<void()>& body);

// ---- what device_emulator.h calls, from inside a thread ----

std::uint32_t thread_index();
std::uint32_t block_index();
std::uint32_t block_count();
std::uint32_t block_threads();
unsigned char* shared_memory();

void check_global(const void* p, std::size_t bytes, bool write);
void check_shared(const void* p, std::size_t bytes, bool write);

std::uint32_t shuffle(std::uint32_t value, std::uint32_t lane);
std::uint32_t ballot(bool predicate);
void sync_warp();
void sync_block();
void pause();     // another warp's turn
void progress();  // something that a waiting thread may have waited for
// Now and then another warp's turn: before a word of global memory is read that others may write, and after one is stored.
void stall_load();
void stall_store();

void release_flag(const void* p);  // orders what came before for whoever acquires the flag after
void acquire_flag(const void* p);

void barrier_init(void* barrier, std::uint32_t count);
void barrier_arrive(void* barrier, std::uint32_t expected_bytes);
bool barrier_test(void* barrier, std::uint32_t parity);
void barrier_wait(void* barrier, std::uint32_t parity);
// A part of what a copy brings: from global memory to `offset` of its place in shared memory.
struct Piece {
  std::size_t offset;
  const void* from;
  std::size_t bytes;
};
// One copy of all the pieces, with zeros between them.
void bulk_load(void* to, std::size_t bytes, std::vector<Piece> pieces, std::size_t alignment, void* barrier);
void bulk_prefetch(const void* from, std::size_t bytes);
void async_load(void* to, const void* from, std::uint32_t bytes);
void async_arrive(void* barrier);
void async_wait();  // until all of the thread's own copies have come

}  // namespace emulator
