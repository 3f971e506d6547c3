// The yardstick copies what it should, and nothing else.
#include "cpu/copy.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support.h"

namespace {

using namespace support;
using cumulus::cpu::CopyKind;

TEST(Copy, EverySizeAlignmentAndThreadCount) {
  Random random(8);
  for (std::int64_t size : {0, 1, 63, 64, 65, 4095, 4097, 262143, 262145, 1000003})
    for (CopyKind kind : {CopyKind::memcpy, CopyKind::streaming})
      for (int threads : {0, 1, 2})
        for (std::int64_t offset : {0, 1, 8, 33}) {
          Tensor from = Tensor(DType::u8, {size + 100}).filled(Fill::wide, 1), to = Tensor(DType::u8, {size + 100}).filled(Fill::wide, 2),
                 expected = to;
          const std::int64_t source = random.below(40);
          std::memcpy(expected.memory.data() + offset, from.memory.data() + source, static_cast<std::size_t>(size));
          cumulus::cpu::copy(to.memory.data() + offset, from.memory.data() + source, static_cast<std::size_t>(size), kind, threads);
          ASSERT_TRUE(same(expected, to)) << size << " bytes to offset " << offset << " with " << threads << " threads";
        }
}

}  // namespace
