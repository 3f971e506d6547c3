// cumulus report: what it reads, that both pages say all of it, that nothing in a file can become markup, and that it never leaves half
// an output. report_browser_test.py looks at the page as a browser draws it.
#include "report_page.h"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>

#include "commands.h"
#include "process.h"

namespace {

using namespace cumulus::cli;
using cli_test::Folder;
using cli_test::Outcome;
using cli_test::read_file;
using cli_test::write_file;

std::string data(const std::string& name) { return read_file(std::filesystem::path(CUMULUS_TEST_DATA).parent_path() / "cli/data" / name); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

Json entry(const std::string& name, double us = 100) {
  return {{"case", name},
          {"op", "sum"},
          {"kind", "inclusive"},
          {"dtype", "f32"},
          {"out_dtype", "f32"},
          {"shape", {128, 1024}},
          {"bytes", 1048576},
          {"device", "cpu"},
          {"threads", 2},
          {"simd", "AVX3"},
          {"median_us", us},
          {"spread", 0.0325},
          {"ratio_copy", 0.875},
          {"ratio_memcpy", 1.25},
          {"source", "cumulus bench"},
          {"peers", {{"slow_peer", 4 * us}}},
          {"commit", "abcdef"},
          {"machine", {{"cpu", "Test CPU"}, {"l2", 1048576}}}};
}

struct Pages {
  std::string html, markdown;
};

Pages pages(const std::vector<std::string>& texts, const std::string& title = "A report") {
  ReportInput input;
  for (std::size_t i = 0; i < texts.size(); ++i) read_report_input("file" + std::to_string(i) + ".json", texts[i], input);
  const Page page = make_page(input, title);
  return {html(page), markdown(page)};
}

std::string message(const std::string& text) {
  try {
    pages({text});
  } catch (const CliError& error) {
    EXPECT_EQ(error.code, kExitUsage);
    return error.what();
  }
  ADD_FAILURE() << "taken: " << text;
  return "";
}

// What is wrong with the nesting of tags, or "". Elements that HTML leaves open, and those that SVG closes at once, are none.
std::string nesting(const std::string& html) {
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at)) {
    if (html.compare(at, 2, "<!") == 0) {
      at = html.find('>', at);
      continue;
    }
    const bool end = html[at + 1] == '/';
    std::size_t to = at + 1 + end;
    while (to < html.size() && std::isalnum(static_cast<unsigned char>(html[to]))) ++to;
    const std::string name = html.substr(at + 1 + end, to - at - 1 - end);
    bool quoted = false;
    for (; to < html.size() && (quoted || html[to] != '>'); ++to) {
      if (html[to] == '"') quoted = !quoted;
      if (html[to] == '<') return "a < within the tag " + name;
    }
    if (name.empty() || to == html.size()) return "a lone < at " + std::to_string(at);
    at = to;
    if (end) {
      if (open.empty() || open.back() != name) return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    } else if (html[to - 1] != '/' && name != "meta" && name != "link") {
      open.push_back(name);
      if (name == "script" || name == "style") at = html.find("</" + name, at);  // their text is no markup
    }
  }
  return open.empty() ? "" : open.back() + " is left open";
}

// --- Content ----------------------------------------------------------------------------------------------------------------------

TEST(Report, TellsOfBenchTuneAndProfileInBothForms) {
  const Pages made = pages({Json::array({entry("rows/one")}).dump(), data("report_tune.json"), data("report_profile.json")});
  EXPECT_EQ(nesting(made.html), "");
  for (const char* text : {"rows/one",
                           "slow_peer",
                           "Test CPU",
                           "l2 1 MiB",
                           "abcdef",
                           "128 x 1024",
                           "3.2 %",
                           "10.49",
                           "0.88",
                           "4.00",  // bench
                           "0.22",  // its peer
                           "Test GPU",
                           "0123456789ab",
                           "staged",
                           "grid and parallel mapping",
                           "81.5 % is 75 % or more",
                           "44.25",
                           "1.0005",
                           "warps 8",  // tune
                           "0.9015",
                           "1.2 %",
                           "accepted",
                           "in 12 of 12 rounds",
                           "1.2225",
                           "stopped early",
                           "wrong bits",
                           "element 77 differs",
                           "1.119",
                           "refused",
                           "below the margin",
                           "1.113",
                           "1 of 4",
                           "1 of 3",
                           "12.50 s",
                           "0.8988",
                           "DRAM bandwidth",
                           "nothing else above 63 %",
                           "12.25",
                           "91.75",
                           "50.125",
                           "2075000",
                           "not measured",
                           "this chip has no such counter",
                           "grid 4096, registers 40",
                           "interrupted",
                           "0.97",
                           "1.001",  // profile
                           "8.6 GB",
                           "2.005 ms",
                           "file0.json",
                           "1 bench entry",
                           "1 tuning session",
                           "1 profile"}) {
    EXPECT_TRUE(has(made.html, text)) << text;
    EXPECT_TRUE(has(made.markdown, text)) << text;
  }
}

TEST(Report, EveryCellOfAPageIsInBothForms) {
  ReportInput input;
  read_report_input("t.json", data("report_tune.json"), input);
  read_report_input("p.json", data("report_profile.json"), input);
  for (int i = 0; i < 300; ++i) read_report_input("b.json", entry(fmt::format("group{}/case{}", i % 7, i), 1 + i * 0.75).dump(), input);
  const Page page = make_page(input, "All");
  const std::string in_html = html(page), in_markdown = markdown(page);
  EXPECT_EQ(nesting(in_html), "");
  std::size_t cells = 0;
  for (const Section& section : page.sections)
    for (const Block& block : section.blocks)
      if (const auto* table = std::get_if<DataTable>(&block))
        for (const auto& row : table->rows)
          for (const Cell& cell : row) {
            ASSERT_TRUE(has(in_html, ">" + cell.text.substr(0, cell.text.find_first_of("&<>'\"")))) << cell.text;
            ASSERT_TRUE(has(in_markdown, "| " + cell.text.substr(0, cell.text.find_first_of("_&<>#~")))) << cell.text;
            ++cells;
          }
  EXPECT_GT(cells, 300u * 10);
  EXPECT_EQ(count(in_html, "class=\"dot c0\"><title>"), 300u + 300u + 1 + 4);  // ratios, rates, an accepted candidate, metrics
}

TEST(Report, PlotsHaveNamesAndTheTargetLine) {
  const Pages made = pages({Json::array({entry("rows/one")}).dump()});
  EXPECT_EQ(count(made.html, "<svg"), 2u);
  EXPECT_EQ(count(made.html, "role=\"img\">\n<title>"), 2u);
  EXPECT_TRUE(has(made.html, "class=\"target\""));
  EXPECT_TRUE(has(made.html, "class=\"ceiling\""));
  EXPECT_TRUE(has(made.html, "<title>rows/one, Cumulus: 0.88</title>"));
  EXPECT_TRUE(has(made.html, "<title>rows/one, slow_peer: 0.22, 4.00 times Cumulus&#39;s time</title>"));
}

TEST(Report, DotsStandWhereTheirFiguresSay) {
  Json fast = entry("a/fast"), slow = entry("a/slow");
  fast["ratio_copy"] = 1.0, slow["ratio_copy"] = 0.5;
  fast["peers"] = slow["peers"] = Json::object();
  const std::string page = pages({Json::array({fast, slow}).dump()}).html;
  const auto place = [&](const std::string& title) {
    const std::size_t at = page.rfind("cx=\"", page.find("<title>" + title));
    return std::stod(page.substr(at + 4));
  };
  const std::size_t target = page.rfind("x1=\"", page.find("class=\"target\""));
  EXPECT_NEAR(place("a/fast, Cumulus: 1.00"), std::stod(page.substr(target + 4)), 0.1);
  EXPECT_LT(place("a/slow, Cumulus: 0.50"), place("a/fast, Cumulus: 1.00") - 100);
}

TEST(Report, BringsEntriesOfOneCaseTogether) {
  Json python = entry("rows/one", 50), candidate = entry("kernel/1"), eager = candidate;
  python["source"] = "bench/peers.py", python["ratio_copy"] = nullptr, python["peers"] = {{"numpy", 400}};
  candidate["candidate"] = "cumulus", candidate["peers"] = Json::object();
  eager["candidate"] = "eager", eager["median_us"] = 300, eager["ratio_copy"] = 0.25, eager["peers"] = Json::object();
  const std::string page = pages({Json::array({entry("rows/one"), python, eager, candidate}).dump()}).markdown;
  EXPECT_EQ(count(page, "\n| rows/one | sum"), 1u) << page;
  EXPECT_TRUE(has(page, "| rows/one | numpy | 400 | 8.00 | 0.11 |")) << page;  // beside Cumulus's 50 us, in the same rounds
  EXPECT_EQ(count(page, "\n| kernel/1 | sum"), 1u);
  EXPECT_TRUE(has(page, "| kernel/1 | eager | 300 | 3.00 | 0.25 |")) << page;
  EXPECT_TRUE(has(pages({Json::array({entry("a"), entry("a")}).dump()}).markdown, "| a, run 2 |"));
}

TEST(Report, NamesTheThreadsWhereTheyAreNotTheUsualOnes) {
  Json one = entry("rows/one");
  one["threads"] = 1;
  const std::string page = pages({Json::array({entry("rows/one"), entry("rows/two"), one}).dump()}).markdown;
  EXPECT_TRUE(has(page, "| rows/two |"));
  EXPECT_TRUE(has(page, "| rows/one, 1 thread |"));
}

TEST(Report, KeepsWrongResultsOutOfTheComparison) {
  Json wrong = entry("kernel/1"), failed = wrong, right = wrong;
  right["candidate"] = "cumulus", wrong["candidate"] = "cheat", failed["candidate"] = "broken";
  for (Json* one : {&right, &wrong, &failed}) (*one)["peers"] = Json::object();
  wrong["median_us"] = 1, wrong["status"] = "wrong", wrong["message"] = "differs by up to 0.5";
  failed["median_us"] = nullptr, failed["status"] = "failed";
  const Pages made = pages({Json::array({right, wrong, failed}).dump()});
  EXPECT_TRUE(has(made.markdown, "wrong: differs by up to 0.5"));
  EXPECT_TRUE(has(made.markdown, "| failed |"));
  EXPECT_FALSE(has(made.markdown, "best peer"));
  EXPECT_FALSE(has(made.html, "kernel/1, cheat"));

  Json bad = entry("rows/bad");
  bad["status"] = "wrong", bad["ratio_copy"] = 9.0;
  const Pages two = pages({Json::array({bad, entry("rows/good")}).dump()});
  EXPECT_TRUE(has(two.markdown, "- **0.88** of the copy, in the median"));
  EXPECT_TRUE(has(two.markdown, "- **0 of 1** at 0.9 of the copy or more"));
  EXPECT_FALSE(has(two.html, "rows/bad, Cumulus"));
  EXPECT_FALSE(has(two.html, "<title>rows/bad: "));  // its place among the rates
}

TEST(Report, IsLenientAboutWhatIsMissing) {
  const Pages bare = pages({R"([{"case": "a", "median_us": 2}, {"kind": "tune"}, {"kind": "profile"},
    {"kind": "tune", "machine": null, "stages": [{"candidates": [{}]}, {"name": "x", "skipped": null}]},
    {"kind": "profile", "metrics": {"only": null}, "limiting": null}])"});
  EXPECT_EQ(nesting(bare.html), "");
  EXPECT_TRUE(has(bare.markdown, "unknown machine"));
  EXPECT_FALSE(has(bare.html, "nan"));
  EXPECT_FALSE(has(bare.html, "inf "));
}

TEST(Report, SaysThatTuningKeptTheOriginal) {
  Json tune = Json::parse(data("report_tune.json"));
  EXPECT_FALSE(has(pages({tune.dump()}).markdown, "**kept**"));
  tune["result"] = tune["original"];
  const std::string page = pages({tune.dump()}).markdown;
  EXPECT_TRUE(has(page, "- **kept** the original")) << page;
  EXPECT_FALSE(has(page, "as fast as the original"));
}

TEST(Report, OfNothingSaysSo) {
  const Pages made = pages({"[]"});
  EXPECT_EQ(nesting(made.html), "");
  EXPECT_TRUE(has(made.html, "The files hold no measurements."));
  EXPECT_TRUE(has(made.markdown, "nothing measured"));
}

TEST(Report, DrawsExtremeFigures) {
  Json tiny = entry("tiny", 1e-30), huge = entry("huge", 1e29);
  tiny["ratio_copy"] = 1e-30, huge["ratio_copy"] = 1e30, huge["bytes"] = 1e30, tiny["spread"] = -1e300;
  const Pages made = pages({Json::array({tiny, huge}).dump()});
  EXPECT_EQ(nesting(made.html), "");
  for (const char* wrong : {"nan", "inf\"", "inf ", "-0.0\""}) EXPECT_FALSE(has(made.html, wrong)) << wrong;
}

// --- Escaping ---------------------------------------------------------------------------------------------------------------------

TEST(Report, NothingInAFileBecomesMarkup) {
  const std::string hostile = "<script>alert('x')</script>\"&amp; --> | `code` *bold* _em_ [link](https://e.org) \\ \n# head \x01";
  Json all = entry(hostile);
  for (auto& [key, value] : all.items())
    if (value.is_string()) value = hostile;
  all["machine"] = {{"cpu", hostile}, {hostile, hostile}};
  all["peers"] = {{hostile, 5}};
  all["versions"] = {{hostile, hostile}};
  Json tune = Json::parse(data("report_tune.json")), profile = Json::parse(data("report_profile.json"));
  tune["search"] = tune["commit"] = tune["stages"][0]["name"] = tune["stages"][0]["skipped"] = hostile;
  tune["stages"][1]["candidates"][0] = {
      {"tuning", {{hostile, hostile}}}, {"ms", 1}, {"ratio", 1}, {"decision", hostile}, {"reason", hostile}};
  tune["stages"][1]["metrics"] = profile["metrics"] = {{hostile + ".pct", 5}, {"other", hostile}};
  profile["limiting"] = {{"resource", hostile}, {"evidence", hostile}};
  const Pages made = pages({Json::array({all, tune, profile}).dump()}, hostile);
  EXPECT_EQ(nesting(made.html), "");
  EXPECT_EQ(count(made.html, "<script>"), 1u);
  EXPECT_FALSE(has(made.html, "alert('x')"));
  EXPECT_TRUE(has(made.html, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;amp;"));
  EXPECT_FALSE(has(made.html, "\x01"));
  EXPECT_FALSE(has(made.markdown, "<script>"));
  for (const char* raw : {"\n# head", " `code`", " *bold*", " _em_", "https://"}) EXPECT_FALSE(has(made.markdown, raw)) << raw;
  EXPECT_TRUE(has(made.markdown, "\\`code\\` \\*bold\\* \\_em\\_ \\[link\\](https&#58;//e.org)"));
}

TEST(Report, TablesOfMarkdownStayWhole) {
  const std::string page = pages({Json::array({entry("a|b\\|c")}).dump()}).markdown;
  for (std::size_t at = page.find("\n| a"); at != std::string::npos; at = page.find("\n| a", at + 1)) {
    std::size_t bars = 0;
    for (std::size_t i = at + 1; page[i] != '\n'; ++i) bars += page[i] == '|' && page[i - 1] != '\\';
    const std::size_t head = page.rfind("\n| case", at);
    EXPECT_EQ(bars, count(page.substr(head, page.find('\n', head + 1) - head), "|"));
  }
}

// --- Errors -----------------------------------------------------------------------------------------------------------------------

TEST(Report, ErrorsNameTheFileThePlaceAndWhatBelongsThere) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "file0.json is no JSON"},
           {"{\"a\": ", "line 1"},
           {"[1e999]", "is no JSON"},
           {std::string(100, '[') + std::string(100, ']'), "more than 32 levels"},
           {"3", "an object belongs here, not '3'"},
           {"{}", "a measured case, a tuning session or a profile"},
           {"[{\"case\": \"a\", \"median_us\": 1}, 7]", "file0.json, entry 2: an object"},
           {"[{\"case\": \"a\", \"median_us\": \"fast\"}]", "entry 1, \"median_us\": a number belongs here, not '\"fast\"'"},
           {"[{\"case\": \"a\", \"median_us\": -1}]", "from 1e-30 to 1e30"},
           {"[{\"case\": \"a\", \"median_us\": 1, \"peers\": [1]}]", "\"peers\": an object"},
           {"[{\"case\": \"a\", \"median_us\": 1, \"peers\": {\"p\": \"x\"}}]", "\"peers\", \"p\": a number"},
           {"[{\"case\": \"a\", \"median_us\": 1, \"shape\": 4}]", "\"shape\": a list"},
           {"[{\"case\": \"a\"}]", "bench --list"},
           {"{\"kind\": \"tune\", \"version\": 2}", "version 1, the only one"},
           {"{\"kind\": \"tune\", \"stages\": [{\"candidates\": [{\"ms\": true}]}]}",
            "\"stages\", stage 1, \"candidates\", candidate 1, \"ms\""},
           {"{\"kind\": \"profile\", \"traffic\": 5}", "\"traffic\": an object"},
       }) {
    const std::string error = message(text);
    EXPECT_TRUE(has(error, part)) << error;
    EXPECT_TRUE(has(error, "file0.json")) << error;
    EXPECT_TRUE(has(error, "cumulus bench --json")) << error;
  }
}

// --- The command ------------------------------------------------------------------------------------------------------------------

TEST(ReportCommand, WritesBothPagesAndReplacesOldOnes) {
  const Folder folder;
  write_file(folder / "b.json", Json::array({entry("rows/one")}).dump());
  write_file(folder / "old.html", "old");
  const Outcome outcome = folder.run({"report", "b.json", "-o", "old.html", "--markdown", "new.md", "--title", "My title"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(has(outcome.out, "old.html: written")) << outcome.out;
  EXPECT_TRUE(has(read_file(folder / "old.html"), "<h1>My title</h1>"));
  EXPECT_TRUE(has(read_file(folder / "new.md"), "# My title"));
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"b.json", "new.md", "old.html"}));
}

TEST(ReportCommand, WritesToStdout) {
  const Folder folder;
  write_file(folder / "b.json", Json::array({entry("rows/one")}).dump());
  const Outcome outcome = folder.run({"report", "b.json", "--markdown", "-"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out.rfind("# Cumulus report\n", 0), 0u) << outcome.out;
}

TEST(ReportCommand, AFailureLeavesTheOldPage) {
  const Folder folder;
  write_file(folder / "good.json", Json::array({entry("rows/one")}).dump());
  write_file(folder / "bad.json", "[{");
  write_file(folder / "r.html", "old");
  EXPECT_EQ(folder.run({"report", "good.json", "bad.json", "-o", "r.html"}).code, 2);
  EXPECT_EQ(folder.run({"report", "good.json", "-o", "r.html"}, 4096).code == 0, false);  // as on a full disk
  EXPECT_EQ(folder.run({"report", "good.json", "missing.json", "-o", "r.html"}).code, 3);
  EXPECT_EQ(read_file(folder / "r.html"), "old");
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"bad.json", "good.json", "r.html"}));
}

TEST(ReportCommand, RefusesOutputsThatWouldHurt) {
  const Folder folder;
  write_file(folder / "b.json", Json::array({entry("rows/one")}).dump());
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  const std::string before = read_file(folder / "b.json");
  for (const auto& [arguments, part] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"report", "b.json"}, "-o report.html"},
           {{"report", "-o", "r.html"}, "FILE"},
           {{"report", "b.json", "-o", "./b.json"}, "is an input as well"},
           {{"report", "b.json", "-o", "pipe"}, "not a regular file"},
           {{"report", "b.json", "-o", "."}, "not a regular file"},
           {{"report", "b.json", "-o", "r", "--markdown", "r"}, "name two outputs"}}) {
    const Outcome outcome = folder.run(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments.back();
    EXPECT_TRUE(has(outcome.err, part)) << outcome.err;
  }
  EXPECT_EQ(read_file(folder / "b.json"), before);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"b.json", "pipe"}));
}

TEST(ReportCommand, WritesBehindALink) {
  const Folder folder;
  write_file(folder / "b.json", Json::array({entry("rows/one")}).dump());
  write_file(folder / "real.html", "old");
  std::filesystem::create_symlink("real.html", folder / "link.html");
  EXPECT_EQ(folder.run({"report", "b.json", "-o", "link.html"}).code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.html"));
  EXPECT_TRUE(has(read_file(folder / "real.html"), "rows/one"));
}

}  // namespace
