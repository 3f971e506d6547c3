// The tuning file as it is found: whatever is in its place, nothing is thrown and people are told.
#include "tuning/lookup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace {

using namespace cumulus::tuning;
namespace fs = std::filesystem;

class TuningFile : public testing::Test {
 protected:
  TuningFile() {
    std::string name = (fs::temp_directory_path() / "cumulus_tuning_XXXXXX").string();
    folder = mkdtemp(name.data());
    path = folder + "/tuning.json";
  }
  ~TuningFile() override {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }
  void expect_ignored(const std::string& why) const {
    const File file = read_file(path);
    EXPECT_TRUE(file.ignored);
    EXPECT_TRUE(file.cache.entries.empty());
    EXPECT_NE(file.note.find(path + " is not used: "), std::string::npos) << file.note;
    EXPECT_NE(file.note.find(why), std::string::npos) << file.note;
  }

  std::string folder, path;
};

TEST_F(TuningFile, IsReadWhole) {
  const Cache cache{true, {}};
  std::ofstream(path) << to_text(cache);
  const File file = read_file(path);
  EXPECT_EQ(file.cache, cache);
  EXPECT_FALSE(file.ignored);
  EXPECT_EQ(file.note, "");
}

TEST_F(TuningFile, OneThatIsNotThereIsNoFault) {
  const File file = read_file(path);
  EXPECT_FALSE(file.ignored);
  EXPECT_EQ(file.note, "there is no tuning file " + path);
}

TEST_F(TuningFile, AFolderIsIgnored) {
  fs::create_directory(path);
  expect_ignored("it is a folder");
}

TEST_F(TuningFile, APipeIsNotWaitedFor) {
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  expect_ignored("no ordinary file");
}

TEST_F(TuningFile, OneThatIsTooLongIsNotRead) {
  std::ofstream(path) << "{";
  fs::resize_file(path, (16 << 20) + 1);
  expect_ignored("16777217 bytes");
}

TEST_F(TuningFile, DamageIsIgnored) {
  std::ofstream(path) << "{";
  expect_ignored("parse error");
}

TEST_F(TuningFile, ALinkToItselfIsIgnored) {
  fs::create_symlink(path, path);
  expect_ignored("symbolic links");
}

}  // namespace
