// A report as one HTML file that needs no other: style and script within, plots as SVG.
#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "commands.h"
#include "report_assets.h"
#include "report_page.h"
#include "report_plot.h"

namespace cumulus::cli {
namespace {

const char* asset(const char* name) {
  for (const SourceFile& file : report_assets())
    if (std::strcmp(file.name, name) == 0) return file.text;
  throw CliError(kExitUnsupported, fmt::format("{} is not in this build, which is a bug: please report it", name));
}

std::string heading(const std::string& title) { return fmt::format("<h3>{}</h3>\n", escape_html(title)); }

std::string html_of(const Paragraph& paragraph) { return fmt::format("<p>{}</p>\n", escape_html(paragraph.text)); }

std::string html_of(const Headlines& headlines) {
  std::string text = "<ul class=\"headlines\">\n";
  for (const auto& [figure, meaning] : headlines.entries)
    text += fmt::format("<li><strong>{}</strong> {}</li>\n", escape_html(figure), escape_html(meaning));
  return text + "</ul>\n";
}

std::string html_of(const Facts& facts) {
  std::string text = "<dl class=\"facts\">\n";
  for (const auto& [name, value] : facts.entries) text += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(name), escape_html(value));
  return text + "</dl>\n";
}

std::string html_of(const DotPlot& plot) { return heading(plot.title) + svg(plot); }
std::string html_of(const RatePlot& plot) { return heading(plot.title) + svg(plot); }

// Figures stand to the right, and sentences may break.
const char* style_of(const DataTable& table, std::size_t column) {
  if (is_numeric(table, column)) return " class=\"n\"";
  const bool sentences = std::any_of(table.rows.begin(), table.rows.end(), [&](const auto& row) { return row[column].text.size() > 40; });
  return sentences ? " class=\"text\"" : "";
}

std::string html_of(const DataTable& table) {
  std::vector<const char*> styles;
  for (std::size_t c = 0; c < table.columns.size(); ++c) styles.push_back(style_of(table, c));
  std::string text =
      heading(table.caption) + fmt::format("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table>\n<thead><tr>",
                                           escape_html(table.caption));
  for (std::size_t c = 0; c < table.columns.size(); ++c)
    text += fmt::format("<th scope=\"col\"{}>{}</th>", styles[c], escape_html(table.columns[c]));
  text += "</tr></thead>\n<tbody>\n";
  for (const std::vector<Cell>& row : table.rows) {
    text += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) {
      const char* const element = c == 0 ? "th scope=\"row\"" : "td";
      const std::string key = row[c].value ? fmt::format(" data-v=\"{}\"", *row[c].value) : "";
      text += fmt::format("<{}{}{}>{}</{}>", element, styles[c], key, escape_html(row[c].text), c == 0 ? "th" : "td");
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table>\n</div>\n";
}

std::string html_of(const Section& section, std::size_t number) {
  std::string text =
      fmt::format("<section id=\"s{0}\" aria-labelledby=\"h{0}\">\n<h2 id=\"h{0}\">{1}</h2>\n", number, escape_html(section.title));
  for (const Block& block : section.blocks) text += std::visit([](const auto& one) { return html_of(one); }, block);
  return text + "</section>\n";
}

std::string navigation(const Page& page) {
  std::string text = "<nav aria-label=\"Contents\">\n<ul>\n";
  for (std::size_t i = 0; i < page.sections.size(); ++i)
    text += fmt::format("<li><a href=\"#s{}\">{}</a></li>\n", i + 1, escape_html(page.sections[i].title));
  return text + "</ul>\n</nav>\n";
}

}  // namespace

// The policy forbids every request, and the icon is given so that no browser asks for one.
std::string html(const Page& page) {
  std::string text = fmt::format(
      R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{0}</title>
<link rel="icon" href="data:,">
<style>
{1}</style>
</head>
<body>
<header>
<h1>{0}</h1>
<p class="lede">{2}</p>
</header>
{3}<main>
)",
      escape_html(page.title), asset("report.css"), escape_html(page.lede), navigation(page));
  for (std::size_t i = 0; i < page.sections.size(); ++i) text += html_of(page.sections[i], i + 1);
  return text + "</main>\n<script>\n" + asset("report.js") + "</script>\n</body>\n</html>\n";
}

}  // namespace cumulus::cli
