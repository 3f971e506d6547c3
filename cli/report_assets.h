// The style and the script of a report's page, embedded by cmake/embed.cmake.
#pragma once

#include "model_sources.h"

namespace cumulus::cli {

std::span<const SourceFile> report_assets();
const char* report_assets_hash();

}  // namespace cumulus::cli
