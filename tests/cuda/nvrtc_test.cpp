// NVRTC: where it is looked for, in which order, which is passed over; and, where this machine has one, real compilations.
#include "cuda/nvrtc.h"

#include <gtest/gtest.h>

#include "error.h"
#include "fake_system.h"

namespace {

using namespace cumulus;
using namespace cumulus::cuda;
using support::FakeLibrary;
using support::FakeSystem;
using support::Paths;
using support::paths;

TEST(FindNvrtc, InTheOrderOfPreference) {
  FakeSystem system;
  FakeLibrary loaded;
  system.add("/torch/libnvrtc.so.12");
  system.add_library("libnvrtc.so.12", loaded, "/torch/libnvrtc.so.12");
  system.already_loaded = {"libnvrtc.so.12"};
  system.own = "/env/lib/python3.12/site-packages/cumulus/lib/libcumulus.so.0";
  system.add("/env/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13");
  system.add("/env/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
  system.variables["CUDA_PATH"] = "/cuda/path";
  system.add("/cuda/path/lib64/libnvrtc.so.12");
  system.variables["CUDA_HOME"] = "/cuda/home";
  system.add("/cuda/home/lib/libnvrtc.so.13");
  system.variables["LD_LIBRARY_PATH"] = "/ld/one::/ld/two";
  system.add("/ld/two/libnvrtc.so.12");
  system.add("/etc/ld.so.conf", "# comment\ninclude /etc/ld.so.conf.d/*.conf\n/conf/last # why\n");
  system.add("/etc/ld.so.conf.d/a.conf", "  /conf/first\n");
  system.add("/etc/ld.so.conf.d/a.txt", "/conf/not\n");
  for (const char* folder : {"/conf/first", "/conf/last", "/conf/not"}) system.add(std::string(folder) + "/libnvrtc.so.12");
  system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
  EXPECT_EQ(paths(find_nvrtc(system)),
            (Paths{"/torch/libnvrtc.so.12", "/env/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                   "/env/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "/cuda/path/lib64/libnvrtc.so.12",
                   "/cuda/home/lib/libnvrtc.so.13", "/ld/two/libnvrtc.so.12", "/conf/first/libnvrtc.so.12", "/conf/last/libnvrtc.so.12",
                   "/usr/local/cuda/lib64/libnvrtc.so.13"}));
  EXPECT_TRUE(system.opens.empty()) << "looking opens nothing";
  EXPECT_LE(system.lists, 1) << "and lists nothing but the loader's configuration";
}

TEST(FindNvrtc, CumulusNvrtcDecidesAlone) {
  FakeSystem system;
  system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
  system.add("/mine/lib/libnvrtc.so.12");
  system.add("/mine/lib/libnvrtc.so.13");
  system.add("/mine/lib/libnvrtc-builtins.so.13.0");
  system.add("/mine/lib/libnvrtc.alt.so.13");
  system.variables["CUMULUS_NVRTC"] = "/mine/lib/libnvrtc.so.12";
  EXPECT_EQ(paths(find_nvrtc(system)), Paths{"/mine/lib/libnvrtc.so.12"});
  system.variables["CUMULUS_NVRTC"] = "/mine/lib";
  EXPECT_EQ(paths(find_nvrtc(system)), (Paths{"/mine/lib/libnvrtc.so.13", "/mine/lib/libnvrtc.so.12"}));
  system.variables["CUMULUS_NVRTC"] = "/nowhere";
  EXPECT_TRUE(find_nvrtc(system).empty());
  system.variables["CUMULUS_NVRTC"] = "";
  EXPECT_EQ(paths(find_nvrtc(system)), Paths{"/usr/local/cuda/lib64/libnvrtc.so.13"});
}

TEST(FindNvrtc, PythonPackagesOfEveryKind) {
  FakeSystem system;
  system.loaded_files = {"/torch/lib/python3.11/site-packages/torch/lib/libtorch_cuda.so"};
  system.variables = {{"PYTHONPATH", "/extra"}, {"VIRTUAL_ENV", "/venv"}, {"CONDA_PREFIX", "/conda"}, {"HOME", "/home/me"}};
  system.add_link("/proc/self/exe", "/usr/bin/python3.12");
  const Paths expected = {"/torch/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                          "/extra/nvidia/cu13/lib/libnvrtc.so.13",
                          "/venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
                          "/conda/lib/python3.10/site-packages/nvidia/cu14/lib/libnvrtc.so.14",
                          "/usr/lib/python3.12/dist-packages/nvidia/cu13/lib/libnvrtc.so.13",
                          "/home/me/.local/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"};
  for (const std::string& path : expected) system.add(path);
  system.add("/venv/lib/python3.12/site-packages/nvidia/cudnn/lib/libcudnn.so.9");
  EXPECT_EQ(paths(find_nvrtc(system)), expected);
}

TEST(FindNvrtc, LinksAreFollowedAndNamedOnce) {
  FakeSystem system;
  system.add("/usr/local/cuda-13.0/lib/libnvrtc.so.13.0.88");
  system.add_link("/usr/local/cuda/lib64/libnvrtc.so.13", "/usr/local/cuda-13.0/lib/libnvrtc.so.13.0.88");
  system.add_link("/usr/local/cuda/lib/libnvrtc.so.13", "/usr/local/cuda-13.0/lib/libnvrtc.so.13.0.88");
  const auto found = find_nvrtc(system);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, "/usr/local/cuda-13.0/lib/libnvrtc.so.13.0.88");
  EXPECT_EQ(found[0].major, 13);
}

TEST(FindNvrtc, OneNewerThanTheDriverIsPassedOver) {
  FakeSystem system;
  system.add("/usr/local/cuda/lib64/libnvrtc.so.13");
  system.add("/usr/local/cuda/lib64/libnvrtc.so.12");
  const auto found = find_nvrtc(system);
  EXPECT_EQ(paths(usable_nvrtc(found, 13000)), (Paths{"/usr/local/cuda/lib64/libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.12"}));
  EXPECT_EQ(paths(usable_nvrtc(found, 12080)), Paths{"/usr/local/cuda/lib64/libnvrtc.so.12"});
  EXPECT_TRUE(usable_nvrtc(found, 11080).empty());
}

TEST(FindNvrtc, IdentityIsPathSizeAndTime) {
  const NvrtcFile file{"/a", "here", 13, 10, 20};
  EXPECT_EQ(identity(file), identity({"/a", "elsewhere", 13, 10, 20})) << "how it was found does not matter";
  EXPECT_NE(identity(file), identity({"/b", "here", 13, 10, 20}));
  EXPECT_NE(identity(file), identity({"/a", "here", 13, 11, 20}));
  EXPECT_NE(identity(file), identity({"/a", "here", 13, 10, 21}));
}

TEST(OpenNvrtc, FailuresNameTheFile) {
  FakeSystem system;
  const NvrtcFile file{"/broken/libnvrtc.so.13", "CUDA_PATH", 13, 1, 1};
  try {
    Nvrtc nvrtc(system, file);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("/broken/libnvrtc.so.13"), std::string::npos);
    EXPECT_NE(failure.message.find("CUDA_PATH"), std::string::npos);
  }
  FakeLibrary empty;
  system.add_library("/broken/libnvrtc.so.13", empty);
  try {
    Nvrtc nvrtc(system, file);
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_NE(failure.message.find("nvrtcVersion"), std::string::npos) << failure.message;
  }
}

// ---- the real one ----

class RealNvrtc : public testing::Test {
 protected:
  void SetUp() override {
    const auto found = find_nvrtc(real_system());
    if (found.empty()) GTEST_SKIP() << "this machine has no NVRTC";
    nvrtc = std::make_unique<Nvrtc>(real_system(), found.front());
  }
  std::unique_ptr<Nvrtc> nvrtc;
};

constexpr SourceFile kMain = {
    "main.cuh",
    "#include \"twice.h\"\n"
    "namespace n { template <class T, int k> __global__ void scale(T* x) { x[threadIdx.x] = twice(x[threadIdx.x]) * k; } }\n"};
constexpr SourceFile kHeader = {"twice.h", "template <class T> __device__ T twice(T x) { return x + x; }\n"};

TEST_F(RealNvrtc, CompilesForEveryArchitecture) {
  for (int capability : {80, 86, 89, 90, 100, 120}) {
    if (!nvrtc->supports(capability)) continue;
    const Compiled compiled = nvrtc->compile(kMain, {&kHeader, 1}, "n::scale<float, 3>", capability, {});
    EXPECT_EQ(compiled.cubin.substr(1, 3), "ELF");
    EXPECT_EQ(compiled.lowered_name, "_ZN1n5scaleIfLi3EEEvPT_");
  }
  EXPECT_TRUE(nvrtc->supports(90));
  EXPECT_FALSE(nvrtc->supports(12));
}

TEST_F(RealNvrtc, AnErrorBringsTheLog) {
  const SourceFile broken = {"broken.cuh", "__global__ void k() { undeclared_thing = 1; }\n"};
  try {
    nvrtc->compile(broken, {}, "k", 90, {});
    FAIL();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, CUMULUS_INTERNAL);
    for (const char* part : {"nvrtcCompileProgram", "sm_90", "undeclared_thing", "broken.cuh", "CUMULUS_NVRTC"})
      EXPECT_NE(failure.message.find(part), std::string::npos) << part << " in " << failure.message;
  }
}

TEST_F(RealNvrtc, OptionsArrive) {
  const std::vector<std::string> options = {"-DVALUE=7"};
  const SourceFile source = {"option.cuh", "static_assert(VALUE == 7); extern \"C\" __global__ void plain() {}\n"};
  EXPECT_EQ(nvrtc->compile(source, {}, "plain", 80, options).lowered_name, "plain");
}

}  // namespace
