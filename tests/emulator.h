// How tests start programs that are built here: by themselves, or under the emulator of a cross build, which CMake names.
#pragma once

#include <string>
#include <vector>

namespace support {

#if !defined(CUMULUS_EMULATOR)
#define CUMULUS_EMULATOR  // "word", "word",
#endif

// The words that run a program with arguments.
inline std::vector<std::string> command_line(const std::string& program, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {CUMULUS_EMULATOR program};
  words.insert(words.end(), arguments.begin(), arguments.end());
  return words;
}

// Words as exec takes them. They belong to `words`.
inline std::vector<char*> exec_arguments(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace support
