// Threads of a scan: oneTBB workers beside the caller. A good guest: see `parallel_allowed`.
#pragma once

#include <functional>

namespace cumulus::cpu {

// May this call use other threads? No inside a parallel region (oneTBB task, OpenMP region) or in a forked child, whose
// worker threads do not exist.
bool parallel_allowed();

// Runs body(worker) on up to `threads` threads, the caller among them, each at most once per index. Returns when all have.
// Bodies take their work by ticket, so that the call finishes even if no other thread ever comes.
void parallel(int threads, bool pin, const std::function<void(int)>& body);

// Tells the processor that this thread spins.
inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace cumulus::cpu
