// The kernel cache on disk: what it gives back is what was stored, or nothing, whatever happens to the files.
#include "cuda/cache.h"

#include <gtest/gtest.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "../cpu/process.h"
#include "fake_system.h"
#include "temporary_folder.h"

namespace {

using namespace cumulus::cuda;
namespace fs = std::filesystem;

constexpr std::int64_t kMiB = 1 << 20;

// A kernel whose bytes follow from `number`, so that a mix of two is noticed.
Cubin cubin_of(unsigned number, std::size_t size = 20000) {
  Cubin cubin{"kernel_" + std::to_string(number), std::string(size, '\0')};
  std::uint64_t state = number;
  for (char& c : cubin.code) c = static_cast<char>((state = state * 6364136223846793005u + 1442695040888963407u) >> 56);
  return cubin;
}
std::string key_of(unsigned number) { return "key\nof " + std::to_string(number) + "\n"; }

class Cache : public testing::Test {
 protected:
  std::vector<fs::path> files() const {
    std::vector<fs::path> list;
    for (const auto& entry : fs::directory_iterator(folder)) list.push_back(entry.path());
    return list;
  }
  fs::path only_file() const {
    const auto list = files();
    EXPECT_EQ(list.size(), 1u);
    return list.at(0);
  }
  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

  support::TemporaryFolder temporary;
  const std::string folder = temporary.path + "/above/kernels";
  const DiskCache cache{folder, 64 * kMiB};
};

TEST_F(Cache, GivesBackWhatWasStored) {
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt);
  EXPECT_EQ(cache.state(), CacheState::absent);
  for (unsigned k = 0; k < 20; ++k) EXPECT_EQ(cache.store(key_of(k), cubin_of(k, k * 777)), CacheState::usable);
  for (unsigned k = 0; k < 20; ++k) EXPECT_EQ(cache.load(key_of(k)), cubin_of(k, k * 777));
  EXPECT_EQ(cache.load("another key"), std::nullopt);
  std::int64_t bytes = 0, entries = 0;
  EXPECT_EQ(cache.state(&bytes, &entries), CacheState::usable);
  EXPECT_EQ(entries, 20);
  EXPECT_GT(bytes, 777 * 190);
}

TEST_F(Cache, IsForThisUserAlone) {
  cache.store(key_of(1), cubin_of(1));
  EXPECT_EQ(fs::status(folder).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(fs::path(folder).parent_path()).permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(only_file()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(Cache, AReplacedEntryIsTheNewOne) {
  cache.store(key_of(1), cubin_of(1));
  cache.store(key_of(1), cubin_of(2));
  EXPECT_EQ(cache.load(key_of(1)), cubin_of(2));
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(Cache, AnyDamagedByteIsAMissAndIsCleanedUp) {
  const Cubin cubin = cubin_of(1, 300);
  cache.store(key_of(1), cubin);
  const fs::path file = only_file();
  const std::string whole = bytes_of(file);
  for (std::size_t k = 0; k < whole.size(); ++k) {
    std::string damaged = whole;
    damaged[k] = static_cast<char>(damaged[k] ^ (1 << (k % 8)));
    write(file, damaged);
    ASSERT_EQ(cache.load(key_of(1)), std::nullopt) << "byte " << k;
    ASSERT_FALSE(fs::exists(file)) << "byte " << k;
  }
  EXPECT_EQ(cache.store(key_of(1), cubin), CacheState::usable);
  EXPECT_EQ(cache.load(key_of(1)), cubin);
}

TEST_F(Cache, AnyTruncationAndAnyAdditionIsAMiss) {
  cache.store(key_of(1), cubin_of(1, 200));
  const fs::path file = only_file();
  const std::string whole = bytes_of(file);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write(file, whole.substr(0, size));
    ASSERT_EQ(cache.load(key_of(1)), std::nullopt) << size << " bytes";
  }
  write(file, whole + '\0');
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt);
}

TEST_F(Cache, AnotherKeysEntryUnderThisNameIsAMiss) {
  cache.store(key_of(1), cubin_of(1));
  const fs::path file = only_file();
  write(file, to_bytes(key_of(2), cubin_of(2)));  // as if both keys had one hash
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt);
  EXPECT_TRUE(fs::exists(file)) << "it is whole, and the other key's";
}

TEST_F(Cache, WhatIsNoFileIsAMiss) {
  cache.store(key_of(1), cubin_of(1));
  const fs::path file = only_file();
  const std::string whole = bytes_of(file);
  fs::remove(file);
  write(temporary.path + "/elsewhere", whole);
  fs::create_symlink(temporary.path + "/elsewhere", file);
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt) << "a link";
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt) << "a folder";
  fs::remove(file);
  ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt) << "a pipe";
}

TEST_F(Cache, AnOpenFolderIsNotUsedAtAll) {
  cache.store(key_of(1), cubin_of(1));
  for (const fs::perms more : {fs::perms::group_read, fs::perms::group_write, fs::perms::others_exec, fs::perms::others_write}) {
    fs::permissions(folder, fs::perms::owner_all | more);
    EXPECT_EQ(cache.state(), CacheState::open_to_others);
    EXPECT_EQ(cache.load(key_of(1)), std::nullopt);
    EXPECT_EQ(cache.store(key_of(2), cubin_of(2)), CacheState::open_to_others);
    EXPECT_EQ(files().size(), 1u);
  }
  fs::permissions(folder, fs::perms::owner_all);
  EXPECT_EQ(cache.load(key_of(1)), cubin_of(1));
}

TEST_F(Cache, ALinkToAFolderIsNotUsed) {
  const std::string link = temporary.path + "/link";
  fs::create_directory(temporary.path + "/real");
  fs::permissions(temporary.path + "/real", fs::perms::owner_all);
  fs::create_symlink(temporary.path + "/real", link);
  const DiskCache linked(link, kMiB);
  EXPECT_EQ(linked.store(key_of(1), cubin_of(1)), CacheState::not_a_folder);
  EXPECT_EQ(linked.load(key_of(1)), std::nullopt);
  EXPECT_TRUE(fs::is_empty(temporary.path + "/real"));
}

TEST_F(Cache, AFileInItsPlaceIsNotUsed) {
  write(temporary.path + "/file", "");
  EXPECT_EQ(DiskCache(temporary.path + "/file", kMiB).store(key_of(1), cubin_of(1)), CacheState::not_a_folder);
  EXPECT_EQ(DiskCache(temporary.path + "/file/below", kMiB).store(key_of(1), cubin_of(1)), CacheState::not_a_folder);
  EXPECT_EQ(DiskCache("/proc/cumulus_cannot_be_made", kMiB).store(key_of(1), cubin_of(1)), CacheState::absent);
}

TEST_F(Cache, AForeignFolderIsNotUsed) {
  cache.store(key_of(1), cubin_of(1));
  if (chown(folder.c_str(), 12345, 12345) != 0) GTEST_SKIP() << "only root can give a folder away";
  EXPECT_EQ(cache.state(), CacheState::foreign);
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt);
  EXPECT_EQ(cache.store(key_of(2), cubin_of(2)), CacheState::foreign);
}

TEST_F(Cache, AForeignFileIsNotUsed) {
  cache.store(key_of(1), cubin_of(1));
  if (chown(only_file().c_str(), 12345, 12345) != 0) GTEST_SKIP() << "only root can give a file away";
  EXPECT_EQ(cache.load(key_of(1)), std::nullopt);
}

// In a child that is an ordinary user: permissions do not stop root.
TEST_F(Cache, AReadOnlyFolderIsReadAndNotWritten) {
  fs::permissions(temporary.path, fs::perms::all);
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(0);
    int wrong = 0;
    wrong |= cache.store(key_of(1), cubin_of(1)) != CacheState::usable;
    wrong |= chmod(folder.c_str(), 0500) != 0 ? 2 : 0;
    wrong |= cache.store(key_of(2), cubin_of(2)) != CacheState::read_only ? 4 : 0;
    wrong |= cache.load(key_of(1)) != cubin_of(1) ? 8 : 0;
    wrong |= cache.state() != CacheState::read_only ? 16 : 0;
    chmod(folder.c_str(), 0700);
    _exit(wrong);
  }
  EXPECT_EQ(support::wait_for(child, 60), 0);
}

// A limit on the size of files fails writes half-way, as a full disk does.
TEST_F(Cache, AFullDiskLeavesNothingBehind) {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    int wrong = cache.store(key_of(1), cubin_of(1, 5000)) != CacheState::usable;
    const rlimit limit{10000, 10000};
    setrlimit(RLIMIT_FSIZE, &limit);
    wrong |= cache.store(key_of(2), cubin_of(2, 50000)) != CacheState::full ? 2 : 0;
    wrong |= cache.load(key_of(2)) != std::nullopt ? 4 : 0;
    wrong |= cache.load(key_of(1)) != cubin_of(1, 5000) ? 8 : 0;
    wrong |= files().size() != 1 ? 16 : 0;
    wrong |= cache.store(key_of(3), cubin_of(3, 5000)) != CacheState::usable ? 32 : 0;
    _exit(wrong);
  }
  EXPECT_EQ(support::wait_for(child, 60), 0);
}

// A disk of 64 KiB for this process alone, at `folder`; false where this user may not mount.
bool mount_small_disk(const std::string& folder) {
  const std::string own = "0 " + std::to_string(geteuid()) + " 1";
  if (geteuid() == 0 ? unshare(CLONE_NEWNS) != 0 : unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0) return false;
  if (geteuid() != 0) std::ofstream("/proc/self/uid_map") << own;
  return mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("tmpfs", folder.c_str(), "tmpfs", 0, "size=64k,mode=0700") == 0;
}

TEST_F(Cache, AFullDiskIsTold) {
  fs::create_directories(folder);
  constexpr int kSkip = 77;
  const pid_t child = fork();
  if (child == 0) {
    if (!mount_small_disk(folder)) _exit(kSkip);
    int wrong = cache.store(key_of(1), cubin_of(1, 5000)) != CacheState::usable;
    wrong |= cache.state() != CacheState::usable ? 2 : 0;
    const std::string block(4096, 'x');
    std::ofstream fill(folder + "/of somebody", std::ios::binary);
    while (fill << block << std::flush) {
    }
    wrong |= cache.state() != CacheState::full ? 4 : 0;
    wrong |= DiskCache(folder + "/below", kMiB).state() != CacheState::full ? 8 : 0;
    wrong |= cache.load(key_of(1)) != cubin_of(1, 5000) ? 16 : 0;
    _exit(wrong);
  }
  const int result = support::wait_for(child, 60);
  if (result == kSkip) GTEST_SKIP() << "this user may not mount a small disk";
  EXPECT_EQ(result, 0);
}

// In a child that is an ordinary user: permissions do not stop root.
TEST_F(Cache, AFolderThatCannotBeMadeIsTold) {
  write(temporary.path + "/file", "");
  fs::create_symlink(temporary.path + "/nothing", temporary.path + "/dangling");
  EXPECT_EQ(DiskCache(temporary.path + "/dangling/below", kMiB).state(), CacheState::cannot_be_made);
  EXPECT_EQ(DiskCache(temporary.path + "/file/below", kMiB).state(), CacheState::not_a_folder);
  fs::permissions(temporary.path, fs::perms::all);
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(0);
    int wrong = cache.state() != CacheState::absent;
    wrong |= mkdir((temporary.path + "/above").c_str(), 0500) != 0 ? 2 : 0;
    wrong |= cache.state() != CacheState::cannot_be_made ? 4 : 0;
    wrong |= chmod((temporary.path + "/above").c_str(), 0700) != 0 ? 8 : 0;
    wrong |= cache.state() != CacheState::absent ? 16 : 0;
    _exit(wrong);
  }
  EXPECT_EQ(support::wait_for(child, 60), 0);
}

TEST(NearestAbove, IsWhatExists) {
  const support::TemporaryFolder temporary;
  EXPECT_EQ(nearest_above(temporary.path + "/a/b/c"), temporary.path);
  EXPECT_EQ(nearest_above(temporary.path + "/a//b///"), temporary.path);
  EXPECT_EQ(nearest_above("/cumulus_is_not_here/a"), "/");
  EXPECT_EQ(nearest_above("/cumulus_is_not_here"), "/");
  EXPECT_EQ(nearest_above("relative"), ".");
  EXPECT_EQ(nearest_above("cumulus_is_not_here/a"), ".");
}

TEST_F(Cache, DropsTheLeastRecentlyUsedBeyondItsLimit) {
  const DiskCache small(folder, 200000);
  for (unsigned k = 0; k < 9; ++k) {
    ASSERT_EQ(small.store(key_of(k), cubin_of(k)), CacheState::usable);
    // Some days apart, the first the oldest.
    for (const fs::path& file : files())
      if (from_bytes(bytes_of(file))->key == key_of(k)) {
        const timespec times[2] = {{1000000 + 1000 * k, 0}, {1000000 + 1000 * k, 0}};
        ASSERT_EQ(utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
      }
  }
  EXPECT_EQ(small.load(key_of(0)), cubin_of(0));  // used: now the newest
  for (unsigned k = 9; k < 11; ++k) small.store(key_of(k), cubin_of(k));
  EXPECT_EQ(small.load(key_of(0)), cubin_of(0));
  EXPECT_EQ(small.load(key_of(1)), std::nullopt);
  EXPECT_EQ(small.load(key_of(10)), cubin_of(10));
  std::int64_t bytes = 0;
  small.state(&bytes);
  EXPECT_LE(bytes, 200000);
  EXPECT_GT(bytes, 150000);
}

TEST_F(Cache, AnEntryLargerThanTheLimitIsNotKept) {
  EXPECT_EQ(DiskCache(folder, 1000).store(key_of(1), cubin_of(1)), CacheState::full);
  EXPECT_TRUE(files().empty());
}

TEST_F(Cache, TemporaryFilesOfProcessesThatDiedGoAway) {
  cache.store(key_of(1), cubin_of(1));
  write(folder + "/old.cubin.1.1.tmp", "half");
  write(folder + "/new.cubin.1.1.tmp", "half");
  write(folder + "/something else", "of the user's");
  const timespec times[2] = {{1000000, 0}, {1000000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (folder + "/old.cubin.1.1.tmp").c_str(), times, 0), 0);
  cache.store(key_of(2), cubin_of(2));
  EXPECT_FALSE(fs::exists(folder + "/old.cubin.1.1.tmp"));
  EXPECT_TRUE(fs::exists(folder + "/new.cubin.1.1.tmp"));
  EXPECT_TRUE(fs::exists(folder + "/something else"));
}

// A process that died with this one's number left its temporary files. Which numbers this process tries next is not known here.
class Leftovers : public Cache {
 protected:
  void leave(unsigned step, bool old) {
    cache.store(key_of(1), cubin_of(1));
    const timespec times[2] = {{1000000, 0}, {1000000, 0}};
    const std::string name = only_file().string();
    for (unsigned k = 0; k < 4000; k += step) {
      const std::string left = name + "." + std::to_string(getpid()) + "." + std::to_string(k) + ".tmp";
      write(left, "half");
      ASSERT_TRUE(!old || utimensat(AT_FDCWD, left.c_str(), times, 0) == 0);
    }
  }
};

TEST_F(Leftovers, DoNotKeepAnEntryFromBeingStored) {
  leave(2, false);  // one of two stores in turn meets one
  for (const unsigned k : {2u, 3u}) {
    EXPECT_EQ(cache.store(key_of(1), cubin_of(k)), CacheState::usable);
    EXPECT_EQ(cache.load(key_of(1)), cubin_of(k));
  }
}

TEST_F(Leftovers, InEveryPlaceAreClearedAway) {
  leave(1, true);
  EXPECT_EQ(cache.store(key_of(1), cubin_of(2)), CacheState::read_only) << "no name was free";
  EXPECT_EQ(files().size(), 1u) << "they are an hour old and more";
  EXPECT_EQ(cache.store(key_of(1), cubin_of(3)), CacheState::usable);
  EXPECT_EQ(cache.load(key_of(1)), cubin_of(3));
}

TEST_F(Cache, OffMeansNoFiles) {
  EXPECT_EQ(DiskCache("", kMiB).store(key_of(1), cubin_of(1)), CacheState::off);
  EXPECT_EQ(DiskCache("", kMiB).load(key_of(1)), std::nullopt);
  EXPECT_EQ(DiskCache(folder, 0).store(key_of(1), cubin_of(1)), CacheState::off);
  EXPECT_FALSE(fs::exists(folder));
}

// Processes and their threads store, load, evict and damage the same entries at once: what is loaded is always whole and right.
TEST_F(Cache, ManyProcessesAtOnce) {
  constexpr int kProcesses = 8, kThreads = 2, kRounds = 60;
  constexpr unsigned kKeys = 12;
  const DiskCache small(folder, 8 * 21000);
  std::vector<pid_t> children;
  for (int process = 0; process < kProcesses; ++process) {
    const pid_t child = fork();
    if (child == 0) {
      std::atomic<int> wrong = 0;
      std::vector<std::thread> threads;
      for (int thread = 0; thread < kThreads; ++thread)
        threads.emplace_back([&, thread] {
          unsigned state = static_cast<unsigned>(process * kThreads + thread);
          for (int round = 0; round < kRounds; ++round) {
            const unsigned k = (state = state * 1664525 + 1013904223) >> 16 & 0xFF, key = k % kKeys;
            if (k % 3 == 0) wrong += small.store(key_of(key), cubin_of(key)) != CacheState::usable;
            else if (const auto got = small.load(key_of(key)); got && *got != cubin_of(key)) ++wrong;
            if (k == 77)
              for (const fs::path& file : files()) truncate(file.c_str(), 100);
          }
        });
      for (std::thread& thread : threads) thread.join();
      _exit(wrong == 0 ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) EXPECT_EQ(support::wait_for(child, 120), 0);
  for (const fs::path& file : files()) EXPECT_EQ(file.extension(), ".cubin") << "no temporary file is left: " << file;
  std::int64_t bytes = 0;
  small.state(&bytes);
  EXPECT_LE(bytes, small.limit());
}

TEST(CacheFolder, FollowsTheVariables) {
  support::FakeSystem system;
  EXPECT_EQ(cache_folder(system), "");
  system.variables["HOME"] = "/home/me";
  EXPECT_EQ(cache_folder(system), "/home/me/.cache/cumulus");
  system.variables["XDG_CACHE_HOME"] = "relative";
  EXPECT_EQ(cache_folder(system), "/home/me/.cache/cumulus");
  system.variables["XDG_CACHE_HOME"] = "/xdg";
  EXPECT_EQ(cache_folder(system), "/xdg/cumulus");
  system.variables["CUMULUS_CACHE_DIR"] = "/mine";
  EXPECT_EQ(cache_folder(system), "/mine");
  system.variables["CUMULUS_CACHE_DIR"] = "";
  EXPECT_EQ(cache_folder(system), "");
}

TEST(CacheLimit, IsInMebibytes) {
  support::FakeSystem system;
  EXPECT_EQ(cache_limit(system), 256 * kMiB);
  for (const auto& [text, mib] :
       std::vector<std::pair<std::string, std::int64_t>>{{"0", 0}, {"7", 7}, {"-1", 256}, {"7M", 256}, {"", 256}}) {
    system.variables["CUMULUS_CACHE_SIZE"] = text;
    bool understood = false;
    EXPECT_EQ(cache_limit(system, &understood), mib * kMiB) << text;
    EXPECT_EQ(understood, text.empty() || mib != 256) << text;
  }
}

TEST(Hash, TellsTextsApart) {
  EXPECT_NE(hash("a"), hash("b"));
  EXPECT_NE(hash("a"), hash("a", 1));
  EXPECT_NE(hash(std::string("a\0", 2)), hash("a"));
  EXPECT_NE(hash("abcdefgh"), hash("abcdefgi"));
  EXPECT_EQ(hash(""), hash(""));
}

}  // namespace
