// Copies with the scan's own threads: the yardstick of every benchmark.
#pragma once

#include <cstddef>

namespace cumulus::cpu {

enum class CopyKind { memcpy, streaming };  // glibc's memcpy, or vector loads with non-temporal stores

// Copies `bytes` with `threads` threads (0: as many as a scan would use).
void copy(void* to, const void* from, std::size_t bytes, CopyKind kind, int threads, bool pin_threads = false);

}  // namespace cumulus::cpu
