// Errors inside the library: thrown as Failure, turned into a status and the thread's message at the C boundary (capi.cpp).
#pragma once

#include <string>
#include <utility>

#include "cumulus/cumulus.h"

namespace cumulus {

struct Failure {
  cumulus_status status;
  std::string message;
};

[[noreturn]] inline void fail_invalid(std::string message) { throw Failure{CUMULUS_INVALID_ARGUMENT, std::move(message)}; }
[[noreturn]] inline void fail_unsupported(std::string message) { throw Failure{CUMULUS_UNSUPPORTED, std::move(message)}; }

}  // namespace cumulus
