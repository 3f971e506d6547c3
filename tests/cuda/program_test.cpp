// From name to machine code: the key, and where the code comes from. Compilations are real where this machine has NVRTC.
#include "cuda/program.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "cuda/kernel_sources.h"
#include "cuda/pack.h"
#include "error.h"
#include "fake_driver.h"
#include "fake_nvrtc.h"
#include "temporary_folder.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;
using Origin = CubinSource::Origin;
using support::FakeDriver;

constexpr SourceFile kFiles[] = {
    {"scale.cuh",
     "#include \"twice.h\"\nextern \"C\" __global__ void scale(float* x) { x[threadIdx.x] = twice(x[threadIdx.x]) * FACTOR; }\n"},
    {"twice.h", "__device__ inline float twice(float x) { return x + x; }\n"},
};
const KernelSources kSources = {kFiles, "hash of the files"};

KernelSpec spec_of(int factor) { return {"scale.cuh", "scale", {"-DFACTOR=" + std::to_string(factor)}}; }

TEST(KernelKey, HoldsAllThatTheCodeDependsOn) {
  const KernelSpec spec = spec_of(2);
  KernelSpec source = spec, name = spec, options = spec;
  source.source = "other.cuh";
  name.name = "other";
  options.options.push_back("-DX");
  const NvrtcFile file{"/libnvrtc.so.13", "", 13, 1, 1}, newer{"/libnvrtc.so.13", "", 13, 1, 2};
  const std::set<std::string> keys = {kernel_key(spec, 90, "a"),       kernel_key(spec, 80, "a"),       kernel_key(spec, 90, "b"),
                                      kernel_key(source, 90, "a"),     kernel_key(name, 90, "a"),       kernel_key(options, 90, "a"),
                                      kernel_key(spec, 90, "a", file), kernel_key(spec, 90, "a", newer)};
  EXPECT_EQ(keys.size(), 8u);
  for (const char* part : {"cumulus 0.", "a\n", "scale.cuh", "90", "-DFACTOR=2", "--fmad=false"})
    EXPECT_NE(kernel_key(spec, 90, "a").find(part), std::string::npos) << part;
}

TEST(KernelSources, AreEmbedded) {
  std::set<std::string> names;
  for (const SourceFile& file : kernel_sources()) {
    EXPECT_TRUE(names.insert(file.name).second) << file.name;
    EXPECT_GT(std::strlen(file.text), 50u) << file.name;
  }
  EXPECT_TRUE(names.contains("args.h"));
  EXPECT_EQ(std::strlen(kernel_sources_hash()), 64u);
}

std::string failure_of(CubinSource& source) {
  try {
    source.get(spec_of(1), 90);
  } catch (const Failure& failure) {
    return failure.message;
  }
  return "no failure";
}

void expect_parts(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
}

TEST(NoCompiler, SaysWhatToDo) {
  support::FakeSystem system;
  CubinSource source(system, 12080, kSources);
  expect_parts(failure_of(source), {"no NVRTC", "pip install", "CUMULUS_NVRTC", "CUMULUS_PACK"});
  system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
  expect_parts(failure_of(source), {"12.8", "newer", "/usr/local/cuda/lib64/libnvrtc.so.13", "update the driver", "NVRTC 12"});
  EXPECT_TRUE(system.opens.empty()) << "one that is too new is not even opened";
  system.add("/usr/lib/libnvrtc.so.12");
  expect_parts(failure_of(source), {"does not open"});
}

TEST(NoCompiler, NamesTheVariableThatDecidesAlone) {
  support::FakeSystem system;
  system.add("/usr/local/cuda/lib64/libnvrtc.so.12");
  system.variables["CUMULUS_NVRTC"] = "/typo";
  CubinSource source(system, 12080, kSources);
  std::string text = failure_of(source);
  expect_parts(text, {"CUMULUS_NVRTC decides alone, and is \"/typo\"", "there is none", "unset it"});
  EXPECT_EQ(text.find("install"), std::string::npos) << text;
  system.add("/mine/libnvrtc.so.13");
  system.variables["CUMULUS_NVRTC"] = "/mine/libnvrtc.so.13";
  text = failure_of(source);
  expect_parts(text, {"newer", "CUMULUS_NVRTC decides alone, and is \"/mine/libnvrtc.so.13\"", "unset it", "NVRTC 12"});
  EXPECT_EQ(text.find("install"), std::string::npos) << text;
  system.add("/mine/libnvrtc.so.12");
  system.variables["CUMULUS_NVRTC"] = "/mine/libnvrtc.so.12";
  expect_parts(failure_of(source),
               {"does not open", "CUMULUS_NVRTC decides alone, and is \"/mine/libnvrtc.so.12\"", "correct or unset it"});
}

TEST(NoCompiler, NamesAPackThatDoesNotHelp) {
  const support::TemporaryFolder temporary;
  const std::string path = temporary.path + "/p.pack";
  support::FakeSystem system;
  system.variables["CUMULUS_PACK"] = path;
  CubinSource missing(system, 12080, kSources);
  expect_parts(failure_of(missing), {"CUMULUS_PACK is", path.c_str(), "no kernels can be read"});
  system.add(path);
  std::ofstream(path) << "something else";
  CubinSource foreign(system, 12080, kSources);
  expect_parts(failure_of(foreign), {"CUMULUS_PACK is", "no kernels can be read"});
}

TEST(NoCompiler, DoesNotAdviseAPackToWhoMakesOne) {
  support::FakeSystem system;
  CubinSource source(system, kAnyDriver, kSources);
  const std::string text = failure_of(source);
  expect_parts(text, {"no NVRTC", "pip install"});
  EXPECT_EQ(text.find("pack`"), std::string::npos) << text;
}

// Two compilers of one machine: the first returns kResult, the second compiles.
template <int kResult>
struct TwoCompilers {
  TwoCompilers() {
    support::FakeNvrtc<kResult>::compilations = 0;
    support::FakeNvrtc<0>::compilations = 0;
    system.variables["CUDA_PATH"] = "/first";
    system.add("/first/lib64/libnvrtc.so.13");
    system.add_library("/first/lib64/libnvrtc.so.13", first);
    system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
    system.add_library("/usr/local/cuda/lib64/libnvrtc.so.13", second);
  }
  support::FakeNvrtc<kResult> first;
  support::FakeNvrtc<0> second;
  support::FakeSystem system;
};

TEST(BrokenCompiler, IsPassedOver) {
  TwoCompilers<7> machine;  // its builtins are not there
  CubinSource source(machine.system, 13000, kSources);
  EXPECT_EQ(source.get(spec_of(1), 90).code, "compiled");
  EXPECT_EQ(support::FakeNvrtc<7>::compilations.load(), 1);
}

TEST(BrokenCompiler, IsNotToldFromABrokenKernelByAnother) {
  TwoCompilers<6> machine;  // the kernel does not compile
  CubinSource source(machine.system, 13000, kSources);
  expect_parts(failure_of(source), {"nvrtcCompileProgram", "/first/lib64/libnvrtc.so.13"});
  EXPECT_EQ(support::FakeNvrtc<0>::compilations.load(), 0);
}

// A pack that another machine's newer compiler made, and a driver that does not load its code.
class RefusedCode : public testing::Test {
 protected:
  void SetUp() override {
    FakeDriver::reset();
    FakeDriver::get().refused_images = {{"packed", CUDA_ERROR_UNSUPPORTED_PTX_VERSION}};
    support::FakeNvrtc<0>::compilations = 0;
    const std::string entry = to_bytes(kernel_key(spec_of(1), 90, kSources.hash), {"lowered", "packed"});
    const std::uint64_t size = entry.size();
    std::ofstream(pack, std::ios::binary) << "cumulus pack 1\n" << std::string(reinterpret_cast<const char*>(&size), sizeof size) << entry;
    system.add(pack);
    system.variables["CUMULUS_PACK"] = pack;
    system.variables["CUMULUS_CACHE_DIR"] = temporary.path + "/cache";
  }
  void add_compiler() {
    system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
    system.add_library("/usr/local/cuda/lib64/libnvrtc.so.13", compiler);
  }
  // In a context of its own, so that nothing is remembered as loaded.
  void load(CubinSource& source) {
    static std::uint64_t context = 5000;
    load_kernel(support::fake_driver(), source, ++context, spec_of(1), *find_preset("h200"));
  }
  std::string failure_of_load(CubinSource& source) {
    try {
      load(source);
    } catch (const Failure& failure) {
      return failure.message;
    }
    return "no failure";
  }

  support::TemporaryFolder temporary;
  const std::string pack = temporary.path + "/p.pack";
  support::FakeNvrtc<0> compiler;
  support::FakeSystem system;
};

TEST_F(RefusedCode, OfAPackIsCompiledInstead) {
  add_compiler();
  CubinSource first(system, 13000, kSources);
  load(first);
  load(first);
  EXPECT_EQ(FakeDriver::get().loaded_images, (std::vector<std::string>{"compiled", "compiled"}));
  CubinSource second(system, 13000, kSources);  // another process: from the disk cache
  load(second);
  EXPECT_EQ(support::FakeNvrtc<0>::compilations.load(), 1);
  EXPECT_EQ(FakeDriver::get().loaded_images.size(), 3u);
}

TEST_F(RefusedCode, OfTheDiskCacheIsCompiledInstead) {
  system.variables["CUMULUS_PACK"] = "";
  add_compiler();
  const std::string key = kernel_key(spec_of(1), 90, kSources.hash, find_nvrtc(system).at(0));
  ASSERT_EQ(DiskCache(temporary.path + "/cache", 1 << 20).store(key, {"lowered", "packed"}), CacheState::usable);
  CubinSource source(system, 13000, kSources);
  load(source);
  EXPECT_EQ(FakeDriver::get().loaded_images, std::vector<std::string>{"compiled"});
}

TEST_F(RefusedCode, IsNamedWhereNothingHelps) {
  CubinSource packed(system, 13000, kSources);
  expect_parts(failure_of_load(packed), {"cuModuleLoadDataEx", "the pack", pack.c_str(), "no NVRTC"});
  add_compiler();
  FakeDriver::get().refused_images["compiled"] = CUDA_ERROR_INVALID_IMAGE;
  CubinSource compiled(system, 13000, kSources);
  for (int k = 0; k < 2; ++k) expect_parts(failure_of_load(compiled), {"a compilation in this process"});
  EXPECT_EQ(support::FakeNvrtc<0>::compilations.load(), 1) << "one compilation, however often it is asked for";
}

TEST_F(RefusedCode, IsToldFromOtherFailures) {
  add_compiler();
  FakeDriver::get().refused_images["packed"] = CUDA_ERROR_OUT_OF_MEMORY;
  CubinSource source(system, 13000, kSources);
  expect_parts(failure_of_load(source), {"out of memory", pack.c_str()});
  EXPECT_EQ(support::FakeNvrtc<0>::compilations.load(), 0);
}

// The real system, with other variables.
class RealSystemWith : public System {
 public:
  std::map<std::string, std::string> variables;
  int opens = 0;

  void* open(const std::string& name, std::string& error) override { return ++opens, real_system().open(name, error); }
  void* opened(const std::string& name) override { return real_system().opened(name); }
  void close(void* library) override { real_system().close(library); }
  void* symbol(void* library, const char* name) override { return real_system().symbol(library, name); }
  std::string path(void* library) override { return real_system().path(library); }
  std::vector<std::string> loaded() override { return real_system().loaded(); }
  std::string own_path() override { return real_system().own_path(); }
  std::optional<std::string> environment(const char* name) override {
    const auto found = variables.find(name);
    return found != variables.end() ? std::optional(found->second) : real_system().environment(name);
  }
  std::optional<FileInfo> file(const std::string& path) override { return real_system().file(path); }
  std::vector<std::string> list(const std::string& folder) override { return real_system().list(folder); }
  std::optional<std::string> read(const std::string& path) override { return real_system().read(path); }
  std::string real_path(const std::string& path) override { return real_system().real_path(path); }
};

class Cubins : public testing::Test {
 protected:
  void SetUp() override {
    if (find_nvrtc(real_system()).empty()) GTEST_SKIP() << "this machine has no NVRTC";
    system.variables["CUMULUS_CACHE_DIR"] = temporary.path + "/cache";
    system.variables["CUMULUS_PACK"] = "";
  }
  CubinSource source() { return CubinSource(system, 99000, kSources); }

  support::TemporaryFolder temporary;
  RealSystemWith system;
};

TEST_F(Cubins, AreCompiledOnceThenFromMemoryThenFromDisk) {
  CubinSource first = source();
  Origin origin;
  const Cubin cubin = first.get(spec_of(3), 90, &origin);
  EXPECT_EQ(origin, Origin::compiled);
  EXPECT_EQ(cubin.lowered_name, "scale");
  EXPECT_EQ(first.get(spec_of(3), 90, &origin), cubin);
  EXPECT_EQ(origin, Origin::memory);
  first.get(spec_of(4), 90, &origin);
  EXPECT_EQ(origin, Origin::compiled);
  first.get(spec_of(3), 80, &origin);
  EXPECT_EQ(origin, Origin::compiled);

  const int opens = system.opens;
  CubinSource second = source();
  EXPECT_EQ(second.get(spec_of(3), 90, &origin), cubin);
  EXPECT_EQ(origin, Origin::disk);
  EXPECT_EQ(system.opens, opens) << "a hit does not open NVRTC";
}

TEST_F(Cubins, ADamagedEntryIsCompiledAgain) {
  Origin origin;
  const Cubin cubin = source().get(spec_of(3), 90, &origin);
  for (const auto& entry : std::filesystem::directory_iterator(temporary.path + "/cache")) std::filesystem::resize_file(entry.path(), 1000);
  EXPECT_EQ(source().get(spec_of(3), 90, &origin), cubin);
  EXPECT_EQ(origin, Origin::compiled);
  source().get(spec_of(3), 90, &origin);
  EXPECT_EQ(origin, Origin::disk);
}

TEST_F(Cubins, WithoutACacheEverythingStillWorks) {
  for (const char* folder : {"", "/proc/cumulus_cannot_be_made"}) {
    system.variables["CUMULUS_CACHE_DIR"] = folder;
    Origin origin;
    for (int k = 0; k < 2; ++k) {
      EXPECT_FALSE(source().get(spec_of(3), 90, &origin).code.empty());
      EXPECT_EQ(origin, Origin::compiled);
    }
  }
}

TEST_F(Cubins, AFolderThatMustNotBeUsedCostsCompilationsOnly) {
  namespace fs = std::filesystem;
  const std::string folder = temporary.path + "/cache";
  const auto compiles_each_time = [&] {
    for (int k = 0; k < 2; ++k) {
      Origin origin;
      EXPECT_FALSE(source().get(spec_of(3), 90, &origin).code.empty());
      EXPECT_EQ(origin, Origin::compiled);
    }
  };
  fs::create_directory(folder);
  fs::permissions(folder, fs::perms::all);
  compiles_each_time();  // others could put code there
  EXPECT_TRUE(fs::is_empty(folder));
  fs::permissions(folder, fs::perms::owner_all);
  if (chown(folder.c_str(), 12345, 12345) == 0) {  // only root can give it away
    compiles_each_time();
    EXPECT_TRUE(fs::is_empty(folder));
  }
  fs::remove(folder);
  std::ofstream(folder) << "a file in its place";
  compiles_each_time();
  system.variables["CUMULUS_CACHE_SIZE"] = "0";
  compiles_each_time();
}

TEST_F(Cubins, ThreadsThatAskAtOnceCompileOnce) {
  CubinSource one = source();
  std::atomic<int> compiled = 0;
  std::vector<std::thread> threads;
  for (int k = 0; k < 8; ++k)
    threads.emplace_back([&] {
      Origin origin;
      one.get(spec_of(5), 90, &origin);
      compiled += origin == Origin::compiled;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(compiled, 1);
}

TEST_F(Cubins, ComeFromAPackWithoutAnyCompiler) {
  const std::string pack = temporary.path + "/kernels.pack";
  const std::vector<PackItem> items = {{spec_of(1), 80}, {spec_of(2), 80}, {spec_of(1), 90}, {spec_of(2), 90}};
  CubinSource builder = source();
  int done = 0;
  const Pack packed_items = build_pack(builder, items, 3, [&](int now, int total) {
    EXPECT_EQ(now, ++done);
    EXPECT_EQ(total, 4);
  });
  EXPECT_EQ(packed_items.kernels, 4);
  std::ofstream(pack, std::ios::binary) << packed_items.bytes;
  EXPECT_EQ(list_pack(pack).size(), 4u);

  support::FakeSystem bare;
  bare.variables["CUMULUS_PACK"] = pack;
  bare.add(pack);
  Origin origin;
  CubinSource packed(bare, 13000, kSources);
  EXPECT_EQ(packed.get(spec_of(2), 90, &origin), builder.compile(spec_of(2), 90));
  EXPECT_EQ(origin, Origin::pack);
  EXPECT_THROW(packed.get(spec_of(3), 90), Failure) << "not in the pack";
  CubinSource changed(bare, 13000, {kFiles, "another hash"});
  EXPECT_THROW(changed.get(spec_of(2), 90), Failure) << "a pack of other sources is not used";
}

TEST_F(Cubins, ACompilerThatDoesNotKnowTheArchitectureIsNamed) {
  CubinSource one = source();
  try {
    one.get(spec_of(3), 19);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("sm_19"), std::string::npos) << failure.message;
  }
}

TEST_F(Cubins, ABrokenKernelShowsTheLog) {
  CubinSource one = source();
  try {
    one.get({"scale.cuh", "scale", {}}, 90);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("FACTOR"), std::string::npos) << failure.message;
  }
}

TEST_F(Cubins, AreLoadedOncePerContext) {
  FakeDriver::reset();
  const Driver driver = support::fake_driver();
  CubinSource one = source();
  const DeviceInfo& device = *find_preset("h200");
  const CUfunction first = load_kernel(driver, one, 901, spec_of(1), device);
  EXPECT_EQ(load_kernel(driver, one, 901, spec_of(1), device), first);
  EXPECT_EQ(FakeDriver::get().loaded_images.size(), 1u);
  load_kernel(driver, one, 901, spec_of(2), device);
  load_kernel(driver, one, 902, spec_of(1), device);
  EXPECT_EQ(FakeDriver::get().loaded_images.size(), 3u);
  FakeDriver::get().fail = {{"cuModuleLoadDataEx", CUDA_ERROR_OUT_OF_MEMORY}};
  EXPECT_THROW(load_kernel(driver, one, 903, spec_of(1), device), Failure);
  FakeDriver::get().fail.clear();
  EXPECT_NE(load_kernel(driver, one, 903, spec_of(1), device), nullptr);
}

}  // namespace
