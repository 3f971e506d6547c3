// The real operating system, as far as reading its files goes.
#include "cuda/system.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cuda/nvrtc.h"
#include "fake_system.h"
#include "temporary_folder.h"

namespace {

using namespace cumulus::cuda;
namespace fs = std::filesystem;

TEST(RealSystem, ReadsFilesWholeAndNothingElse) {
  const support::TemporaryFolder temporary;
  for (const std::size_t size : {0u, 1u, 4095u, 4096u, 4097u, 20000u}) {
    const std::string path = temporary.path + "/file", text(size, 'x');
    std::ofstream(path, std::ios::binary) << text;
    EXPECT_EQ(real_system().read(path), text) << size;
  }
  EXPECT_EQ(real_system().read(temporary.path), std::nullopt) << "a folder";
  EXPECT_EQ(real_system().read(temporary.path + "/none"), std::nullopt);
  EXPECT_TRUE(real_system().read("/proc/self/status")) << "a file that tells no size";
}

// As the loader's configuration is in `folder`, read as the real system reads it.
class ConfiguredSystem : public support::FakeSystem {
 public:
  explicit ConfiguredSystem(std::string folder) : folder_(std::move(folder)) {}
  std::vector<std::string> list(const std::string& path) override {
    return path == kFolder ? real_system().list(folder_) : Base::list(path);
  }
  std::optional<std::string> read(const std::string& path) override {
    return path.starts_with(kFolder) ? real_system().read(folder_ + path.substr(kFolder.size())) : Base::read(path);
  }

 private:
  using Base = support::FakeSystem;
  static constexpr std::string_view kFolder = "/etc/ld.so.conf.d";
  const std::string folder_;
};

TEST(RealSystem, AFolderAmongTheLoadersFilesDoesNotEndTheSearchForNvrtc) {
  const support::TemporaryFolder temporary;
  fs::create_directory(temporary.path + "/a.conf");
  std::ofstream(temporary.path + "/b.conf") << "/configured\n";
  ConfiguredSystem system(temporary.path);
  system.add("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n");
  system.add("/configured/libnvrtc.so.13");
  EXPECT_EQ(support::paths(find_nvrtc(system)), support::Paths{"/configured/libnvrtc.so.13"});
}

}  // namespace
