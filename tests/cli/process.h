// Runs the built command in a folder of its own, and reads and writes .npy files byte by byte, without the code under test.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "emulator.h"

namespace cli_test {

struct Outcome {
  int code = -1;  // 128 + signal where one ended it
  std::string out, err;
};

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::filesystem::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// A folder that is gone with the test; commands run in it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "cumulus-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  }

  // Runs `program` (the command itself by default). file_limit: the largest file it may write, in bytes.
  Outcome run(const std::vector<std::string>& arguments, long file_limit = -1, const std::string& program = CUMULUS_CLI_PATH) const {
    const std::string out = path_.string() + ".out", err = path_.string() + ".err";
    std::vector<std::string> words = {program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    if (program == CUMULUS_CLI_PATH) words = support::command_line(program, arguments);
    const std::vector<char*> argv = support::exec_arguments(words);
    const pid_t child = fork();
    if (child == 0) {
      const int out_file = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600),
                err_file = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (chdir(path_.c_str()) != 0 || dup2(out_file, 1) < 0 || dup2(err_file, 2) < 0) _exit(126);
      if (file_limit >= 0) {
        const rlimit limit{static_cast<rlim_t>(file_limit), static_cast<rlim_t>(file_limit)};
        setrlimit(RLIMIT_FSIZE, &limit);
      }
      execvp(argv[0], argv.data());
      _exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    Outcome outcome{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read_file(out), read_file(err)};
    std::filesystem::remove(out);
    std::filesystem::remove(err);
    return outcome;
  }

 private:
  std::filesystem::path path_;
};

// A version 1.0 file with the header text NumPy would write.
inline std::string npy(const std::string& descr, bool fortran, const std::string& shape, const std::string& elements) {
  std::string dict = "{'descr': '" + descr + "', 'fortran_order': " + (fortran ? "True" : "False") + ", 'shape': " + shape + ", }";
  dict.resize((10 + dict.size() + 1 + 63) / 64 * 64 - 11, ' ');
  dict += '\n';
  std::string file = "\x93NUMPY\x01";
  file += '\0';
  file += static_cast<char>(dict.size() & 0xff);
  file += static_cast<char>(dict.size() >> 8);
  return file + dict + elements;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// The elements of a version 1.0 file, whose header text must contain `header`.
template <class T>
std::vector<T> elements(const std::string& file, const std::string& header) {
  if (file.size() < 10) {
    ADD_FAILURE() << "no .npy file: " << file.size() << " bytes";
    return {};
  }
  const std::size_t start = 10 + static_cast<unsigned char>(file[8]) + 256u * static_cast<unsigned char>(file[9]);
  EXPECT_NE(file.substr(0, start).find(header), std::string::npos) << "header: " << file.substr(10, start - 10);
  std::vector<T> values((file.size() - start) / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), file.data() + start, values.size() * sizeof(T));
  return values;
}

}  // namespace cli_test
