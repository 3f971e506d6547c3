// cumulus report: what bench, tune and profile measured, as a page for people.
#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "report_page.h"
#include "text_file.h"

namespace cumulus::cli {
namespace {

constexpr const char* kExamples =
    R"(  cumulus bench --json bench.json && cumulus report bench.json -o report.html
  cumulus report bench.json tune.json profile.json -o report.html --markdown report.md
  cumulus report bench/results/*.json --title 'Two machines' -o report.html
  cumulus report tune.json --markdown -                                         Markdown to stdout

FILE is JSON of `cumulus bench`, `cumulus tune` or `cumulus profile`, or of bench/results: any number, in any mixture, told apart by
content. The HTML is one file that needs no other and no network: plots, tables that sort, light and dark, printable. The Markdown
says the same in tables. An output that exists is replaced, at once, when the new one is complete.)";

constexpr std::size_t kLargest = std::size_t{64} << 20;  // bytes of an input

struct ReportOptions {
  std::vector<std::string> files;
  std::string html, markdown, title = "Cumulus report";
};

namespace fs = std::filesystem;

// Checked before anything is read: a file that is read is no output, nor is a device.
void check_output(const std::string& path, const char* option, const std::vector<std::string>& files) {
  std::error_code ignored;
  if (path.empty() || path == "-" || !fs::exists(path, ignored)) return;
  for (const std::string& file : files)
    if (fs::equivalent(path, file, ignored))
      throw CliError(kExitUsage, fmt::format("{} {} is an input as well: name another file", option, path));
  if (!fs::is_regular_file(path, ignored))
    throw CliError(kExitUsage, fmt::format("{} {} is not a regular file: name another, or - for stdout", option, path));
}

void check(const ReportOptions& options) {
  if (options.html.empty() && options.markdown.empty())
    throw CliError(kExitUsage, "name an output: -o report.html, --markdown report.md, or both");
  if (options.html == options.markdown)
    throw CliError(kExitUsage, fmt::format("-o and --markdown are both {}: name two outputs", options.html));
  check_output(options.html, "-o", options.files);
  check_output(options.markdown, "--markdown", options.files);
}

// A name may be any bytes; a page is UTF-8.
std::string as_utf8(const std::string& text) {
  return Json::parse(Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
}

ReportInput read_files(const std::vector<std::string>& files) {
  ReportInput input;
  for (const std::string& file : files) read_report_input(as_utf8(file), read_text(file, kLargest), input);
  return input;
}

void write_output(const std::string& path, const std::string& text) {
  if (path == "-") return print(text);
  std::error_code none;
  const fs::path behind_links = fs::canonical(path, none);
  write_text(none ? path : behind_links.string(), text, true);
  print(fmt::format("{}: written, {}\n", path, bytes_text(static_cast<std::int64_t>(text.size()))));
}

void report(const ReportOptions& options) {
  check(options);
  const Page page = make_page(read_files(options.files), as_utf8(options.title));
  // Both are made before either is written.
  const std::string html_text = options.html.empty() ? "" : html(page), markdown_text = options.markdown.empty() ? "" : markdown(page);
  if (!options.html.empty()) write_output(options.html, html_text);
  if (!options.markdown.empty()) write_output(options.markdown, markdown_text);
}

}  // namespace

void add_report(CLI::App& app, int&) {
  auto* command = app.add_subcommand("report", "Make a page of what bench, tune and profile measured");
  const auto options = std::make_shared<ReportOptions>();
  command->add_option("FILE", options->files, "JSON of bench, tune or profile")->type_name("FILE")->required();
  command->add_option("-o,--html", options->html, "Write the page to this file; - is stdout")->type_name("FILE.html");
  command->add_option("--markdown", options->markdown, "Write the same as Markdown; - is stdout")->type_name("FILE.md");
  command->add_option("--title", options->title, "Title of the page")->type_name("TEXT");
  set_examples(*command, kExamples);
  command->callback([options] { report(*options); });
}

}  // namespace cumulus::cli
