// Files of cubins built ahead of time: found, read, and never trusted when damaged.
#include "cuda/pack.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "error.h"
#include "fake_system.h"
#include "temporary_folder.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;

std::string pack_bytes(int entries) {
  std::string bytes = "cumulus pack 1\n";
  for (int k = 0; k < entries; ++k) {
    const std::string entry = to_bytes("key " + std::to_string(k), {"name", std::string(100, static_cast<char>('a' + k))});
    const std::uint64_t size = entry.size();
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size).append(entry);
  }
  return bytes;
}

TEST(Packs, AreFoundByVariableOrBesideTheLibrary) {
  support::FakeSystem system;
  EXPECT_TRUE(find_packs(system).empty());
  system.add("/opt/cumulus/lib/cumulus/sm_90.pack");
  system.add("/opt/cumulus/lib/cumulus/readme.txt");
  EXPECT_EQ(find_packs(system), std::vector<std::string>{"/opt/cumulus/lib/cumulus/sm_90.pack"});
  system.own = "/opt/cumulus/bin/cumulus";
  system.add("/opt/cumulus/bin/../lib/cumulus/sm_90.pack");  // the same file, as the fake system sees it
  EXPECT_EQ(find_packs(system), std::vector<std::string>{"/opt/cumulus/bin/../lib/cumulus/sm_90.pack"});
  system.add("/mine/a.pack");
  system.add("/mine/b.pack");
  system.variables["CUMULUS_PACK"] = "/mine";
  EXPECT_EQ(find_packs(system), (std::vector<std::string>{"/mine/a.pack", "/mine/b.pack"}));
  system.variables["CUMULUS_PACK"] = "/mine/b.pack";
  EXPECT_EQ(find_packs(system), std::vector<std::string>{"/mine/b.pack"});
  system.variables["CUMULUS_PACK"] = "/nothing";
  EXPECT_TRUE(find_packs(system).empty());
}

TEST(Packs, DamagedEntriesAreLeftOut) {
  const support::TemporaryFolder temporary;
  const std::string path = temporary.path + "/p.pack", whole = pack_bytes(3);
  // The kernels that can be used, by key.
  const auto read = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    std::set<std::string> keys;
    for (const PackedKernel& kernel : list_pack(path))
      if (const auto cubin = read_packed(kernel)) {
        EXPECT_EQ(cubin->code.size(), 100u);
        keys.insert(kernel.key);
      }
    return keys;
  };
  EXPECT_EQ(read(whole), (std::set<std::string>{"key 0", "key 1", "key 2"}));
  for (std::size_t k = 0; k < whole.size(); ++k) {
    std::string damaged = whole;
    damaged[k] = static_cast<char>(damaged[k] ^ 1);
    EXPECT_LT(read(damaged).size(), 3u) << "byte " << k;
    EXPECT_LT(read(whole.substr(0, k)).size(), 3u) << k << " bytes";
  }
  EXPECT_TRUE(read("").empty());
  EXPECT_TRUE(list_pack(temporary.path + "/none").empty());
}

TEST(Packs, APathThatCannotBeWrittenIsNamed) {
  support::FakeSystem system;
  CubinSource source(system, 13000, {{}, ""});
  try {
    write_pack("/proc/nothing/x.pack", source, {}, 1, nullptr);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("/proc/nothing/x.pack"), std::string::npos) << failure.message;
  }
}

TEST(Packs, AFailureLeavesNoHalfFile) {
  const support::TemporaryFolder temporary;
  support::FakeSystem system;  // no compiler
  CubinSource source(system, 13000, {{}, ""});
  const std::vector<PackItem> items = {{{"a.cuh", "a", {}}, 90}, {{"b.cuh", "b", {}}, 90}};
  EXPECT_THROW(write_pack(temporary.path + "/x.pack", source, items, 2, nullptr), Failure);
  EXPECT_TRUE(std::filesystem::is_empty(temporary.path));
}

TEST(Packs, CommonKernelsCoverEveryLayoutOnce) {
  const Op ops[] = {Op::sum, Op::max};
  const DType dtypes[] = {DType::f32, DType::c64, DType::boolean};
  const std::vector<PackItem> items = common_kernels(90, ops, dtypes);
  std::set<std::string> layouts, keys;
  int complex = 0;
  for (const PackItem& item : items) {
    EXPECT_EQ(item.capability, 90);
    EXPECT_TRUE(keys.insert(kernel_key(item.kernel, 90, "")).second);
    for (const std::string& option : item.kernel.options) {
      if (option.starts_with("-DCUMULUS_LAYOUT=")) layouts.insert(option);
      complex += option == "-DCUMULUS_IN=14" &&
                 std::find(item.kernel.options.begin(), item.kernel.options.end(), "-DCUMULUS_OP=2") != item.kernel.options.end();
    }
  }
  EXPECT_EQ(layouts.size(), 8u) << ::testing::PrintToString(layouts);
  EXPECT_EQ(complex, 0) << "complex numbers have no max";
  EXPECT_GT(items.size(), 40u);
  EXPECT_LT(items.size(), 300u);
}

TEST(Packs, TooOldArchitecturesAreRefused) {
  const int capabilities[] = {75};
  EXPECT_THROW(pack("/tmp/never.pack", capabilities, {}, {}, 1, nullptr), Failure);
}

}  // namespace
