#include "text_file.h"

#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>

#include "cleanup.h"
#include "commands.h"

namespace cumulus::cli {
namespace {

[[noreturn]] void fail_exists(const std::string& path) {
  throw CliError(kExitUsage, fmt::format("{} exists and is left as it is: name another file, or replace it with --force", path));
}

// All of it onto the disk, or an errno.
int fill(int file, const std::string& text) {
  if (fchmod(file, new_file_mode()) != 0) return errno;
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t written = write(file, text.data() + at, text.size() - at);
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) at += static_cast<std::size_t>(written);
  }
  return 0;
}

}  // namespace

std::string read_text(const std::string& path, std::size_t limit) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) fail_io("cannot open", path, errno);
  std::string text(limit + 1, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (std::ferror(file.get())) fail_io("cannot read", path, errno);
  if (text.size() > limit) throw CliError(kExitUsage, fmt::format("{} is longer than {} bytes: name a text file", path, limit));
  return text;
}

std::string behind_links(const std::string& path) {
  std::error_code failed;
  const auto canonical = std::filesystem::weakly_canonical(path, failed);
  return failed ? path : canonical.string();
}

std::string check_target(const std::string& path) {
  if (path.empty()) throw CliError(kExitUsage, "the name of the file to write is empty: name one");
  const std::string target = behind_links(path), folder = std::filesystem::path(target).parent_path().string();
  struct stat status {};
  if (stat(target.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) fail_io("cannot write", path, EISDIR);
    if (!S_ISREG(status.st_mode))
      throw CliError(kExitIo, fmt::format("{} is not a regular file, and only such a one is replaced: name another", path));
    if (access(target.c_str(), W_OK) != 0) fail_io("cannot write", path, errno);
  } else if (lstat(target.c_str(), &status) == 0) {
    throw CliError(kExitIo, fmt::format("{} is a link that leads nowhere: remove it, or name another file", path));
  } else if (errno != ENOENT) {
    fail_io("cannot write", path, errno);
  }
  if (access(folder.empty() ? "." : folder.c_str(), W_OK | X_OK) != 0) fail_io("cannot create a file beside", path, errno);
  return target;
}

void check_place(const std::string& path, bool force) {
  struct stat status {};
  const bool exists = lstat(path.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) fail_io("cannot write", path, EISDIR);
  if (exists && !force) fail_exists(path);
}

void write_text(const std::string& path, const std::string& text, bool force) {
  check_place(path, force);
  std::string temporary = path + ".XXXXXX";
  const int file = make_temporary(temporary);
  if (file < 0) fail_io("cannot create a temporary file beside", path, errno);
  int error = fill(file, text);
  if (close(file) != 0 && error == 0) error = errno;
  // A link, unlike a rename, fails where another program made the file meanwhile.
  if (error == 0 && (force ? std::rename(temporary.c_str(), path.c_str()) : link(temporary.c_str(), path.c_str())) != 0) error = errno;
  if (error == 0 && force) forget_temporary(temporary);
  else remove_temporary(temporary);
  if (error == EEXIST) fail_exists(path);
  if (error != 0) fail_io("cannot write", path, error);
}

}  // namespace cumulus::cli
