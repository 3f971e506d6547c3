// Files of cubins built ahead of time: found, read, and never trusted when damaged.
#include "cuda/pack.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <fstream>
#include <new>
#include <set>

#include "error.h"
#include "fake_nvrtc.h"
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

TEST(Packs, AreKnownByTheirBeginning) {
  const support::TemporaryFolder temporary;
  const std::string path = temporary.path + "/p";
  const auto is = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    return is_pack(path);
  };
  EXPECT_TRUE(is(pack_bytes(0)));
  EXPECT_TRUE(is(pack_bytes(2)));
  EXPECT_FALSE(is("cumulus pack"));
  EXPECT_FALSE(is("notes of somebody's, longer than a pack's beginning"));
  EXPECT_FALSE(is(""));
  EXPECT_FALSE(is_pack(temporary.path + "/none"));
  EXPECT_FALSE(is_pack(temporary.path));
}

TEST(Packs, AFailureOfOneThreadEndsAll) {
  support::FakeSystem system;  // no compiler
  CubinSource source(system, 13000, {{}, ""});
  const std::vector<PackItem> items = {{{"a.cuh", "a", {}}, 90}, {{"b.cuh", "b", {}}, 90}};
  for (const int threads : {1, 2, 65536}) EXPECT_THROW(build_pack(source, items, threads, nullptr), Failure);
}

// Items for a compiler that is none.
struct FakeItems {
  FakeItems() {
    system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
    system.add_library("/usr/local/cuda/lib64/libnvrtc.so.13", compiler);
  }
  support::FakeNvrtc<0> compiler;
  support::FakeSystem system;
  const SourceFile files[1] = {{"a.cuh", ""}};
  CubinSource source{system, 13000, {files, ""}};
  const std::vector<PackItem> items{8, {{"a.cuh", "a", {}}, 90}};
};

// What no Failure describes, as an allocation that fails in one of the threads.
TEST(Packs, AnyExceptionReachesTheCaller) {
  FakeItems fake;
  EXPECT_THROW(build_pack(fake.source, fake.items, 4, [](int, int) { throw std::bad_alloc(); }), std::bad_alloc);
}

TEST(Packs, ThreadsThatCannotStartAreDoneWithout) {
  pthread_attr_t before, larger;
  ASSERT_EQ(pthread_getattr_default_np(&before), 0);
  ASSERT_EQ(pthread_getattr_default_np(&larger), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&larger, std::size_t{1} << 48), 0);  // more than there are addresses
  ASSERT_EQ(pthread_setattr_default_np(&larger), 0);
  FakeItems fake;
  int kernels = 0;
  EXPECT_NO_THROW(kernels = build_pack(fake.source, fake.items, 4, nullptr).kernels);
  EXPECT_EQ(kernels, 8);
  pthread_setattr_default_np(&before);
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
  EXPECT_THROW(pack(capabilities, {}, {}, 1, nullptr), Failure);
}

TEST(Packs, WhatHasNoKernelIsRefusedByName) {
  const int capabilities[] = {90};
  const auto refusal = [&](std::vector<Op> ops, std::vector<DType> dtypes) {
    try {
      pack(capabilities, ops, dtypes, 1, nullptr);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.status, CUMULUS_INVALID_ARGUMENT);
      return failure.message;
    }
    return std::string();
  };
  EXPECT_EQ(refusal({Op::max}, {DType::c64}).find("dtype c64 has no kernels with op max"), 0u) << refusal({Op::max}, {DType::c64});
  EXPECT_EQ(refusal({Op::sum, Op::prod}, {DType::f32, DType::boolean}).find("dtype bool has no kernels with op sum,prod"), 0u);
  EXPECT_EQ(refusal({Op::sum, Op::min}, {DType::c64}).find("op min has no kernels with dtype c64"), 0u);
}

}  // namespace
