// Checks bits and measures speed on a GPU, with nothing but the driver, NVRTC and this program.
//   gpu_check bits N SEED [KERNELS]  N random calls against the CPU's bits, of KERNELS kernels (1000; N: each call its own)
//   gpu_check layouts [NAMES]        small calls of every layout (or of those named, with commas between), on both paths
//   gpu_check soak SECONDS SEED      threads, streams and graphs at once, every result compared
//   gpu_check table [WORD]           full-size cases (whose names contain WORD): bits, and the ratio to a copy of the same bytes
//   gpu_check sweep WORD [TUNINGS]   those cases under other tunings, or the ones given: "storers=2,scanners=7;flight=3"
//   gpu_check small [TUNINGS]        1-D scans of 2^10 to 2^27 elements
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "gpu.h"

using namespace gpu_check;

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto word = [&](int k) { return argc > k ? std::string(argv[k]) : std::string(); };
  try {
    const CurrentContext context;
    if (mode == "bits" && (argc == 4 || argc == 5)) {
      const int count = std::stoi(argv[2]);
      return check_bits(count, std::stoull(argv[3]), std::clamp(argc == 5 ? std::stoi(argv[4]) : 1000, 1, std::max(count, 1))) != 0;
    }
    if (mode == "layouts") return check_layouts(word(2)) != 0;
    if (mode == "soak" && argc == 4) return soak(std::stoi(argv[2]), std::stoull(argv[3])) != 0;
    if (mode == "table") return check_table(word(2), std::getenv("CUMULUS_NO_BITS") == nullptr) != 0;
    if (mode == "sweep" && (argc == 3 || argc == 4)) return sweep(argv[2], word(3)) != 0;
    if (mode == "small") return small_sizes(word(2)) != 0;
  } catch (const Failure& f) {
    std::printf("%s\n", f.message.c_str());
    return 1;
  } catch (const std::exception& e) {  // a word that is no number
    std::printf("%s: %s\n", mode.c_str(), e.what());
  }
  std::printf(
      "usage: gpu_check bits N SEED [KERNELS] | layouts [NAMES] | soak SECONDS SEED | table [WORD] | sweep WORD [TUNINGS] | small "
      "[TUNINGS]\n");
  return 2;
}
