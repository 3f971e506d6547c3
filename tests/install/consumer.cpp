// Uses the installed C++ interface.
#include <cumulus/cumulus.hpp>

#include <cstdio>
#include <vector>

int main() {
  const std::vector<int> x = {1, 2, 3, 4, 5, 6};
  std::vector<int> y(x.size());
  cumulus::scan(cumulus::view(x, {2, 3}), cumulus::view(y, {2, 3}), {.axis = 0, .reverse = true});
  if (y != std::vector<int>{5, 7, 9, 4, 5, 6}) return 1;
  try {
    cumulus::scan(cumulus::view(x), cumulus::view(y), {.axis = 1});
    return 1;
  } catch (const cumulus::Error& error) {
    if (error.code() != cumulus::Status::invalid_argument) return 1;
    std::printf("C++ consumer: cumulus %s; refused as it should be: %s\n", cumulus_version(), error.what());
  }
  return 0;
}
