// What commands print: tables for people, JSON for programs.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli11_fwd.h"

namespace cumulus::cli {

using Json = nlohmann::ordered_json;

// Columns as wide as their widest cell; cells that start with a digit, a sign or '-' stand to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { add(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines, the names padded to one width.
std::string text_list(const std::vector<std::pair<std::string, std::string>>& entries);

void print(std::string_view text);
void print_json(const Json& value);

std::string shape_text(const std::vector<std::int64_t>& shape);  // "4096 x 4096", "scalar"
std::string bytes_text(std::int64_t bytes);                      // "268 MB"; powers of 1000, as rates are
std::string cache_text(std::int64_t bytes);                      // "48 KiB"; powers of 1024, as caches are

// Adds --json.
void add_json_flag(CLI::App& command, bool& json);

// Lines of examples under a command's options.
void set_examples(CLI::App& command, const std::string& examples);

}  // namespace cumulus::cli
