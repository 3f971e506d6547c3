#include "emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <boost/context/detail/fcontext.hpp>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <stdexcept>

namespace emulator {
namespace {

namespace context = boost::context::detail;

constexpr std::uint32_t kWarp = 32;
constexpr std::size_t kStack = 256 << 10;
constexpr std::uint32_t kPatience = 200000;  // turns without any progress before a launch counts as deadlocked
// Of words that blocks exchange, one in so many. Lanes read many more than they store, and few of those come between a message's words.
constexpr std::uint32_t kLoadsPerStall = 32, kStoresPerStall = 4;

// ---- vector clocks: what a thread knows of every other's time. Times are shared until somebody learns more. ----

using Times = std::vector<std::uint32_t>;
using Clock = std::shared_ptr<const Times>;

Clock joined(const Clock& a, const Clock& b) {
  if (a == b || !b) return a;
  if (!a) return b;
  auto both = std::make_shared<Times>(*a);
  for (std::size_t i = 0; i < both->size(); ++i) (*both)[i] = std::max((*both)[i], (*b)[i]);
  return both;
}

// The last accesses to a byte of shared memory.
struct Byte {
  static constexpr std::uint16_t kNobody = 0xffff;
  std::uint16_t writer = kNobody, reader[2] = {kNobody, kNobody};
  std::uint32_t written = 0, read[2] = {0, 0};
};

struct Block;
struct Warp;

struct Thread {
  Block* block = nullptr;
  Warp* warp = nullptr;
  std::uint32_t index = 0;
  context::fcontext_t fiber = nullptr;
  void* stack = nullptr;
  bool ready = true;
  std::uint32_t now = 1;
  Clock known;
  std::vector<std::function<void()>> copies;  // cp.async since the last arrival
  std::size_t under_way = 0;                  // of its earlier ones
};

struct Warp {
  std::vector<Thread*> lanes;
  std::uint32_t ready = 0;  // lanes that are
  // The collective under way, and the results of the last one.
  std::uint32_t arrived = 0, generation = 0;
  const char* kind = nullptr;
  std::uint32_t value[2][kWarp] = {};
};

struct Barrier {
  std::uint32_t count = 0, pending = 0, phase = 0;
  std::int64_t bytes = 0;  // expected and not come
  std::uint32_t copier;    // the clock entry of the copies that arrive here
  std::uint32_t copies = 0;
  Clock arriving, released;
  std::vector<Thread*> waiting;
};

// A copy under way: delivered some turns later.
struct Copy {
  Block* block;
  std::function<void()> deliver;
};

struct Block {
  std::uint32_t index = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<unsigned char> memory;
  unsigned char* shared = nullptr;
  std::vector<Byte> bytes;
  std::uint32_t living = 0, arrived = 0, generation = 0, copies = 0;
  std::map<const void*, Barrier> barriers;
  std::map<const void*, Clock> flags;
  Clock memo_a, memo_b, memo;  // the last join: lanes of a warp ask for the same
};

constexpr std::uint32_t kCopiers = 64;  // clock entries for asynchronous copies

struct Random {
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }
  std::uint32_t below(std::size_t n) { return static_cast<std::uint32_t>(next() % n); }
};

struct Machine {
  const Launch* launch = nullptr;
  const std::function<void()>* body = nullptr;
  Random random{1};
  std::vector<std::unique_ptr<Block>> resident;
  std::vector<Copy> copies;
  std::vector<void*> stacks;
  std::map<std::string, std::string> findings;  // the first of each kind, with its details
  std::uint32_t idle = 0;
  bool stopped = false;
  Thread* current = nullptr;
  context::fcontext_t scheduler = nullptr;
};
Machine* machine = nullptr;

void found(const std::string& what, const std::string& details = "") { machine->findings.emplace(what, details); }

// ---- fibers ----

void set_ready(Thread* t, bool ready) {
  if (t->ready == ready) return;
  t->ready = ready;
  t->warp->ready += ready ? 1 : static_cast<std::uint32_t>(-1);
}

// Back to the scheduler, which comes back when the thread is ready and it is its turn.
void yield() { machine->scheduler = context::jump_fcontext(machine->scheduler, nullptr).fctx; }

void wait() {
  set_ready(machine->current, false);
  yield();
}

void enter(context::transfer_t from) {
  machine->scheduler = from.fctx;
  (*machine->body)();
  Thread* t = machine->current;
  if (!t->copies.empty() || t->under_way > 0) found("a thread ended while its asynchronous copies were under way");
  set_ready(t, false);
  --t->block->living;
  machine->idle = 0;
  yield();
}

void* take_stack() {
  if (machine->stacks.empty()) {
    void* p = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    machine->stacks.push_back(p);
  }
  void* p = machine->stacks.back();
  machine->stacks.pop_back();
  return p;
}

std::unique_ptr<Block> start_block(std::uint32_t index) {
  const Launch& l = *machine->launch;
  auto block = std::make_unique<Block>();
  block->index = index;
  block->memory.resize(l.shared + 128, 0xa5);
  block->shared = block->memory.data() + (128 - reinterpret_cast<std::uintptr_t>(block->memory.data()) % 128);
  block->bytes.resize(l.shared);
  block->threads.resize(l.threads);
  block->warps.resize(l.threads / kWarp);
  block->living = l.threads;
  const Clock nothing = std::make_shared<Times>(l.threads + kCopiers, 0u);
  for (std::uint32_t i = 0; i < l.threads; ++i) {
    Thread& t = block->threads[i];
    t.block = block.get(), t.index = i, t.warp = &block->warps[i / kWarp], t.known = nothing;
    t.stack = take_stack();
    t.fiber = context::make_fcontext(static_cast<char*>(t.stack) + kStack, kStack, enter);
    t.warp->lanes.push_back(&t);
    t.warp->ready = kWarp;
  }
  return block;
}

void run(Thread* t) {
  machine->current = t;
  t->fiber = context::jump_fcontext(t->fiber, nullptr).fctx;
}

// One turn of a warp: each of its ready lanes until it waits. Which lane goes first is nobody's business.
void run(Warp& warp) {
  const std::uint32_t first = machine->random.below(kWarp);
  for (std::uint32_t i = 0; i < kWarp && warp.ready > 0; ++i) {
    Thread* t = warp.lanes[(first + i) % kWarp];
    if (t->ready) run(t);
  }
}

bool deliver_one() {
  if (machine->copies.empty()) return false;
  const std::uint32_t i = machine->random.below(machine->copies.size());
  const Copy copy = std::move(machine->copies[i]);
  machine->copies.erase(machine->copies.begin() + i);
  copy.deliver();
  --copy.block->copies;
  machine->idle = 0;
  return true;
}

void run_all() {
  Machine& m = *machine;
  std::vector<std::uint32_t> order(m.launch->blocks);
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    std::swap(order[i], order[m.random.below(i + 1)]);
  }
  const std::uint32_t most = m.launch->resident ? m.launch->resident : 1 + m.random.below(6);
  std::size_t next = 0;
  std::vector<Warp*> ready;
  while (!m.stopped) {
    while (next < order.size() && m.resident.size() < most) m.resident.push_back(start_block(order[next++]));
    if (m.resident.empty()) return;
    if (!m.copies.empty() && m.random.below(8) == 0) deliver_one();
    ready.clear();
    for (const auto& block : m.resident)
      for (Warp& warp : block->warps)
        if (warp.ready > 0) ready.push_back(&warp);
    if (ready.empty() && !deliver_one()) {
      found("deadlock: every thread waits at a barrier or a collective that not all reach");
      return;
    }
    // Some turns for a random selection, so that some warps run far ahead of others.
    for (std::size_t turns = ready.size() / 2 + 1; turns > 0 && !ready.empty(); --turns) {
      run(*ready[m.random.below(ready.size())]);
      if (++m.idle > kPatience) {
        found("deadlock: threads poll for something that does not come");
        return;
      }
    }
    for (std::size_t i = 0; i < m.resident.size();) {
      Block& block = *m.resident[i];
      if (block.living > 0) {
        ++i;
        continue;
      }
      if (block.copies > 0) found("a block ended while asynchronous copies into its shared memory were under way");
      while (block.copies > 0 && deliver_one()) {
      }
      for (Thread& t : block.threads) m.stacks.push_back(t.stack);
      m.resident.erase(m.resident.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

// ---- order between threads ----

Thread& self() { return *machine->current; }

Clock join(Block& block, const Clock& a, const Clock& b) {
  if (block.memo_a != a || block.memo_b != b) block.memo_a = a, block.memo_b = b, block.memo = joined(a, b);
  return block.memo;
}

void learn(Thread& t, const Clock& what) {
  if (what) t.known = join(*t.block, t.known, what);
}

// What a thread passes on: all it knows, and its own time, which moves on.
void add_to(Clock& sum, Thread& t) {
  auto next = std::make_shared<Times>(sum ? *sum : *t.known);
  if (sum)
    for (std::size_t i = 0; i < next->size(); ++i) (*next)[i] = std::max((*next)[i], (*t.known)[i]);
  (*next)[t.index] = t.now++;
  sum = next;
}

void order_all(Thread* const* threads, std::size_t count) {
  auto all = std::make_shared<Times>(*threads[0]->known);
  const Times* last = all.get();
  for (std::size_t i = 0; i < count; ++i) {
    const Times* known = threads[i]->known.get();
    if (known != last)
      for (std::size_t k = 0; k < all->size(); ++k) (*all)[k] = std::max((*all)[k], (*known)[k]);
    last = known;
  }
  for (std::size_t i = 0; i < count; ++i) (*all)[threads[i]->index] = std::max((*all)[threads[i]->index], threads[i]->now++);
  for (std::size_t i = 0; i < count; ++i) threads[i]->known = all;
}

bool before(const Thread& t, std::uint16_t who, std::uint32_t when) {
  return who == Byte::kNobody || who == t.index || (*t.known)[who] >= when;
}

std::size_t offset_of(const Block& block, const void* p) {
  return static_cast<std::size_t>(static_cast<const unsigned char*>(p) - block.shared);
}

std::string accesses(std::size_t offset, std::uint16_t other) {
  return "byte " + std::to_string(offset) + ", threads " + std::to_string(other) + " and " + std::to_string(self().index) + " of block " +
         std::to_string(self().block->index);
}

bool inside_shared(const void* p, std::size_t bytes) {
  const Block& block = *self().block;
  const auto* at = static_cast<const unsigned char*>(p);
  return at >= block.shared && at + bytes <= block.shared + machine->launch->shared;
}

// After what a thread could not go on from.
void give_up(const std::string& what) {
  found(what);
  machine->stopped = true;
  wait();  // for ever
}

void check_flag(const void* p) {
  if (!inside_shared(p, 4)) give_up("out of bounds: a flag in shared memory");
}

// The last of a warp to arrive goes on at once, the others when their turn comes.
std::uint32_t meet(const char* kind, std::uint32_t value, bool orders) {
  Thread& t = self();
  Warp& w = *t.warp;
  const std::uint32_t generation = w.generation;
  w.value[generation & 1][t.index % kWarp] = value;
  if (w.arrived > 0 && w.kind != kind) found("lanes of a warp meet at different collectives");
  w.kind = kind;
  if (++w.arrived == kWarp) {
    w.arrived = 0;
    ++w.generation;
    if (orders) order_all(w.lanes.data(), w.lanes.size());
    for (Thread* lane : w.lanes)
      if (lane != &t) set_ready(lane, true);
  } else {
    while (w.generation == generation) wait();
  }
  return generation & 1;
}

const char kShuffle[] = "shuffle", kBallot[] = "ballot", kSync[] = "sync";

void complete(Barrier& b) {
  if (b.pending > 0 || b.bytes != 0) return;
  ++b.phase;
  b.pending = b.count;
  b.released = b.arriving;
  for (Thread* t : b.waiting) set_ready(t, true);
  b.waiting.clear();
}

Barrier& barrier_at(void* p) {
  auto& barriers = self().block->barriers;
  const auto at = barriers.find(p);
  if (at != barriers.end()) return at->second;
  give_up("a barrier is used that was not initialised");
  return at->second;  // never
}

// An asynchronous copy has written: as the barrier's copier, at its time.
void mark_written(Block& block, std::size_t offset, std::size_t bytes, std::uint16_t who, std::uint32_t when) {
  for (std::size_t i = offset; i < offset + bytes; ++i) block.bytes[i] = {who, {Byte::kNobody, Byte::kNobody}, when, {0, 0}};
}

}  // namespace

// ---- the device's functions ----

std::uint32_t thread_index() { return self().index; }
std::uint32_t block_index() { return self().block->index; }
std::uint32_t block_count() { return machine->launch->blocks; }
std::uint32_t block_threads() { return machine->launch->threads; }
unsigned char* shared_memory() { return self().block->shared; }

void check_global(const void* p, std::size_t bytes, bool write) {
  if (reinterpret_cast<std::uintptr_t>(p) % bytes != 0) {
    found("an access to global memory is not aligned");
  }
  const auto* at = static_cast<const char*>(p);
  for (const Memory& m : machine->launch->memory) {
    const auto* begin = static_cast<const char*>(m.data);
    if (at < begin || at + bytes > begin + m.bytes) continue;
    if (write && !m.writable) found("a write to global memory that is only read");
    return;
  }
  give_up(std::string("out of bounds: a ") + (write ? "write to" : "read of") + " global memory");
}

void check_shared(const void* p, std::size_t bytes, bool write) {
  Thread& t = self();
  Block& block = *t.block;
  if (!inside_shared(p, bytes)) give_up(std::string("out of bounds: a ") + (write ? "write to" : "read of") + " shared memory");
  if (reinterpret_cast<std::uintptr_t>(p) % (bytes < 16 ? bytes : 16) != 0) found("an access to shared memory is not aligned");
  const std::size_t offset = offset_of(block, p);
  for (std::size_t i = offset; i < offset + bytes; ++i) {
    Byte& b = block.bytes[i];
    if (write) {
      if (!before(t, b.writer, b.written)) found("race: two writes to shared memory without order", accesses(i, b.writer));
      for (int k = 0; k < 2; ++k)
        if (!before(t, b.reader[k], b.read[k]))
          found("race: shared memory is written while it may still be read", accesses(i, b.reader[k]));
      b = {static_cast<std::uint16_t>(t.index), {Byte::kNobody, Byte::kNobody}, t.now, {0, 0}};
    } else {
      if (b.writer == Byte::kNobody) found("a read of shared memory that nobody wrote");
      if (!before(t, b.writer, b.written)) found("race: shared memory is read without order after its write", accesses(i, b.writer));
      const int k = b.reader[0] == t.index || b.reader[0] == Byte::kNobody ? 0
                    : b.reader[1] == t.index                               ? 1
                                                                           : static_cast<int>(i + t.now) & 1;
      b.reader[k] = static_cast<std::uint16_t>(t.index), b.read[k] = t.now;
    }
  }
}

std::uint32_t shuffle(std::uint32_t value, std::uint32_t lane) {
  Warp& w = *self().warp;
  return w.value[meet(kShuffle, value, false)][lane % kWarp];
}

std::uint32_t ballot(bool predicate) {
  Warp& w = *self().warp;
  const auto* values = w.value[meet(kBallot, predicate, false)];
  std::uint32_t mask = 0;
  for (std::uint32_t i = 0; i < kWarp; ++i) mask |= values[i] << i;
  return mask;
}

void sync_warp() { meet(kSync, 0, true); }

void sync_block() {
  Thread& t = self();
  Block& block = *t.block;
  const std::uint32_t generation = block.generation;
  if (++block.arrived == machine->launch->threads) {
    block.arrived = 0;
    ++block.generation;
    std::vector<Thread*> all;
    for (Thread& other : block.threads) all.push_back(&other);
    order_all(all.data(), all.size());
    for (Thread* other : all)
      if (other != &t) set_ready(other, true);
    machine->idle = 0;
  } else {
    while (block.generation == generation) wait();
  }
}

void pause() { yield(); }
void progress() { machine->idle = 0; }

void stall_load() {
  if (machine->random.below(kLoadsPerStall) == 0) yield();
}
void stall_store() {
  if (machine->random.below(kStoresPerStall) == 0) yield();
}

void release_flag(const void* p) {
  check_flag(p);
  add_to(self().block->flags[p], self());
  progress();
}
void acquire_flag(const void* p) {
  check_flag(p);
  const auto at = self().block->flags.find(p);
  if (at != self().block->flags.end()) learn(self(), at->second);
}

void barrier_init(void* barrier, std::uint32_t count) {
  Block& block = *self().block;
  check_shared(barrier, 8, true);
  const auto copier = static_cast<std::uint32_t>(machine->launch->threads + block.barriers.size() % kCopiers);
  Barrier& b = block.barriers[barrier];
  b = {};
  b.count = b.pending = count;
  b.copier = copier;
}

void barrier_arrive(void* barrier, std::uint32_t expected_bytes) {
  Barrier& b = barrier_at(barrier);
  if (b.pending == 0) found("more arrivals at a barrier than it expects");
  add_to(b.arriving, self());
  b.bytes += expected_bytes;
  --b.pending;
  progress();
  complete(b);
}

void barrier_wait(void* barrier, std::uint32_t parity) {
  Barrier& b = barrier_at(barrier);
  while ((b.phase & 1) == parity) {
    b.waiting.push_back(&self());
    wait();
  }
  learn(self(), b.released);
}

bool barrier_test(void* barrier, std::uint32_t parity) {
  Barrier& b = barrier_at(barrier);
  if ((b.phase & 1) == parity) return false;
  learn(self(), b.released);
  return true;
}

void bulk_prefetch(const void* from, std::size_t bytes) {
  if (bytes % 16 || reinterpret_cast<std::uintptr_t>(from) % 16) found("a bulk prefetch is not aligned to 16 bytes");
  for (std::size_t i = 0; i < bytes; i += 16) check_global(static_cast<const char*>(from) + i, 16, false);
}

void bulk_load(void* to, std::size_t bytes, std::vector<Piece> pieces, std::size_t alignment, void* barrier) {
  Block& block = *self().block;
  Barrier& b = barrier_at(barrier);
  if (reinterpret_cast<std::uintptr_t>(to) % alignment) found("the place of a bulk copy is not aligned");
  for (const Piece& p : pieces) {
    if (p.bytes % 16 || p.offset % 16 || reinterpret_cast<std::uintptr_t>(p.from) % 16) found("a bulk copy is not aligned to 16 bytes");
    for (std::size_t i = 0; i < p.bytes; i += 16) check_global(static_cast<const char*>(p.from) + i, 16, false);
  }
  for (std::size_t i = 0; i < bytes; i += 16) check_shared(static_cast<char*>(to) + i, 16, true);
  const std::uint32_t when = ++b.copies;
  mark_written(block, offset_of(block, to), bytes, static_cast<std::uint16_t>(b.copier), when);
  std::memset(to, 0x5a, bytes);
  ++block.copies;
  machine->copies.push_back({&block, [&b, to, bytes, all = std::move(pieces), when] {
                               std::memset(to, 0, bytes);
                               for (const Piece& p : all) std::memcpy(static_cast<char*>(to) + p.offset, p.from, p.bytes);
                               auto next = std::make_shared<Times>(*b.arriving);
                               (*next)[b.copier] = std::max((*next)[b.copier], when);
                               b.arriving = next;
                               b.bytes -= static_cast<std::int64_t>(bytes);
                               complete(b);
                             }});
}

void async_load(void* to, const void* from, std::uint32_t bytes) {
  Thread& t = self();
  Block& block = *t.block;
  check_global(from, bytes, false);
  check_shared(to, bytes, true);
  // Until it has come, nobody may look: not even the thread itself.
  mark_written(block, offset_of(block, to), bytes, static_cast<std::uint16_t>(machine->launch->threads + kCopiers - 1), 0xffffffffu);
  std::memset(to, 0x5a, bytes);
  const auto who = static_cast<std::uint16_t>(t.index);
  t.copies.push_back([&block, to, from, bytes, who, when = t.now] {
    std::memcpy(to, from, bytes);
    mark_written(block, offset_of(block, to), bytes, who, when);
  });
}

void async_arrive(void* barrier) {
  Thread& t = self();
  Barrier& b = barrier_at(barrier);
  add_to(b.arriving, t);
  ++t.block->copies;
  t.under_way += t.copies.size();
  machine->copies.push_back({t.block, [&b, &t, copies = std::move(t.copies)] {
                               for (const auto& copy : copies) copy();
                               t.under_way -= copies.size();
                               if (b.pending == 0) found("more arrivals at a barrier than it expects");
                               --b.pending;
                               complete(b);
                             }});
  t.copies.clear();
}

void async_wait() {
  Thread& t = self();
  for (const auto& copy : t.copies) copy();
  t.copies.clear();
  while (t.under_way > 0) yield();
}

std::vector<std::string> launch(const Launch& l, const std::function<void()>& body) {
  if (l.threads % kWarp) throw std::logic_error("the emulator runs whole warps");
  static std::vector<void*> stacks;
  Machine m;
  m.launch = &l, m.body = &body, m.random.state = l.seed;
  m.stacks = std::move(stacks);
  machine = &m;
  run_all();
  for (const auto& block : m.resident)
    for (Thread& t : block->threads) m.stacks.push_back(t.stack);
  stacks = std::move(m.stacks);
  machine = nullptr;
  std::vector<std::string> findings;
  for (const auto& [what, details] : m.findings) findings.push_back(details.empty() ? what : what + " (" + details + ")");
  return findings;
}

}  // namespace emulator
