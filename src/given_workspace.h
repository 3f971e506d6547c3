// Memory that a call on a GPU gives for the blocks of its launch to talk through.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cumulus/cumulus.h"

namespace cumulus {

// Zeroed once, aligned to 16 bytes, used by one launch after the other (cumulus_workspace_bytes); null: the library's own is used.
struct GivenWorkspace {
  void* memory = nullptr;
  std::int64_t bytes = 0;
};

// Of a call whose structure may be from before there was one; throws Failure.
GivenWorkspace given_workspace(const cumulus_scan_args& args);

// That structure's size.
inline constexpr std::size_t kFirstArgsSize = offsetof(cumulus_scan_args, workspace);

}  // namespace cumulus
