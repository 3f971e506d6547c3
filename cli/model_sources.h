// The modules of python/cumulus/kernelbench/models/ as text, embedded by cmake/embed.cmake.
#pragma once

#include <span>

namespace cumulus::cli {

struct SourceFile {
  const char* name;  // "level1_89_cumsum.py"
  const char* text;
};

std::span<const SourceFile> model_sources();
const char* model_sources_hash();  // SHA-256 of all of them

}  // namespace cumulus::cli
