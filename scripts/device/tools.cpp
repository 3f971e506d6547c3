// The programs that scripts/device/all runs, as one file: each would have the same 20 MB of kernels in it. It is the program whose name it
// has, through a link (scripts/device/all makes them), or the one that its first argument names.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <string>

int cumulus_main(int, char**);
int gpu_check_main(int, char**);

namespace {

int tests_main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

}  // namespace

int main(int argc, char** argv) {
  for (int k = 0; k < 2 && k < argc; ++k) {
    const std::string name = std::filesystem::path(argv[k]).filename();
    if (name == "cumulus") return cumulus_main(argc - k, argv + k);
    if (name == "gpu_check") return gpu_check_main(argc - k, argv + k);
    if (name == "cumulus_cuda_tests") return tests_main(argc - k, argv + k);
  }
  std::printf("usage: tools cumulus|gpu_check|cumulus_cuda_tests ARGUMENTS, or a link of that name\n");
  return 2;
}
