// A report as Markdown with tables, as code forges show it. Plots are left out: their figures are in the tables.
#include <fmt/core.h>

#include <cctype>

#include "report_page.h"

namespace cumulus::cli {
namespace {

bool is_word(const std::string& text, std::size_t i) {
  return i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) || (text[i] & 0x80) != 0);
}

// Nothing in the text is markup. An underscore within a word is none as it stands, and reads better.
std::string escape(const std::string& text) {
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '&') escaped += "&amp;";
    else if (c == '<') escaped += "&lt;";
    else if (c == '>') escaped += "&gt;";
    else if (c == ':' && text.compare(i, 3, "://") == 0) escaped += "&#58;";  // no address becomes a link
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) escaped += ' ';
    else if (c == '_' && i > 0 && is_word(text, i - 1) && is_word(text, i + 1)) escaped += c;
    else if (c != '\0' && std::string_view("\\`*_[]|~#").find(c) != std::string_view::npos) escaped += {'\\', c};
    else escaped += c;
  }
  return escaped;
}

std::string markdown_of(const Paragraph& paragraph) { return escape(paragraph.text) + "\n\n"; }

std::string markdown_of(const Headlines& headlines) {
  std::string text;
  for (const auto& [figure, meaning] : headlines.entries) text += fmt::format("- **{}** {}\n", escape(figure), escape(meaning));
  return text + "\n";
}

std::string markdown_of(const Facts& facts) {
  std::string text = "| | |\n|---|---|\n";
  for (const auto& [name, value] : facts.entries) text += fmt::format("| {} | {} |\n", escape(name), escape(value));
  return text + "\n";
}

std::string markdown_of(const DotPlot&) { return ""; }
std::string markdown_of(const RatePlot&) { return ""; }

std::string markdown_of(const DataTable& table) {
  std::string text = fmt::format("### {}\n\n|", escape(table.caption)), rule = "|";
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    text += fmt::format(" {} |", escape(table.columns[c]));
    rule += is_numeric(table, c) ? "---:|" : "---|";
  }
  text += "\n" + rule + "\n";
  for (const std::vector<Cell>& row : table.rows) {
    text += "|";
    for (const Cell& cell : row) text += fmt::format(" {} |", escape(cell.text));
    text += "\n";
  }
  return text + "\n";
}

}  // namespace

std::string markdown(const Page& page) {
  std::string text = fmt::format("# {}\n\n{}\n\n", escape(page.title), escape(page.lede));
  for (const Section& section : page.sections) {
    text += fmt::format("## {}\n\n", escape(section.title));
    for (const Block& block : section.blocks) text += std::visit([](const auto& one) { return markdown_of(one); }, block);
  }
  text.pop_back();  // the empty line after the last block
  return text;
}

}  // namespace cumulus::cli
