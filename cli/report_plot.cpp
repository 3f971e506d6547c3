#include "report_plot.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace cumulus::cli {
namespace {

constexpr double kWidth = 960;    // of the view box; the page scales it
constexpr double kCharacter = 7;  // a generous width at the font size of the style sheet, 12
constexpr double kRow = 19;
constexpr std::size_t kRowsPerPicture = 24;  // half a page of print, with legend and axis
constexpr int kColours = 8;                  // of the style sheet; shapes are seven, so together they tell 56 peers apart

// --- Text -----------------------------------------------------------------------------------------------------------------------

std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

double width_of(const std::string& text) { return static_cast<double>(characters(text)) * kCharacter; }

// At most `limit` characters, the last of them an ellipsis where some are left out.
std::string shortened(const std::string& text, std::size_t limit) {
  if (characters(text) <= limit) return text;
  std::size_t end = 0;
  for (std::size_t seen = 0; end < text.size(); ++end)
    if ((text[end] & 0xc0) != 0x80 && ++seen == limit) break;
  return text.substr(0, end) + "\u2026";
}

std::string text_at(double x, double y, const char* style, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\">{}</text>\n", x, y, style, escape_html(text));
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2, y2, style);
}

// --- Markers --------------------------------------------------------------------------------------------------------------------

std::string polygon(double x, double y, double r, std::initializer_list<std::pair<double, double>> corners) {
  std::string path;
  for (const auto& [dx, dy] : corners) path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x + r * dx, y + r * dy);
  return path + "Z";
}

std::string shape_path(std::size_t shape, double x, double y, double r) {
  switch (shape) {
    case 1:
      return polygon(x, y, r, {{-0.85, -0.85}, {0.85, -0.85}, {0.85, 0.85}, {-0.85, 0.85}});
    case 2:
      return polygon(x, y, r, {{0, -1.15}, {1.15, 0}, {0, 1.15}, {-1.15, 0}});
    case 3:
      return polygon(x, y, r, {{0, -1.1}, {1.05, 0.8}, {-1.05, 0.8}});
    case 4:
      return polygon(x, y, r, {{0, 1.1}, {1.05, -0.8}, {-1.05, -0.8}});
    case 5:
      return polygon(x, y, r, {{-1.1, 0}, {0.8, -1.05}, {0.8, 1.05}});
    case 6:
      return polygon(x, y, r,
                     {{-0.35, -1.1},
                      {0.35, -1.1},
                      {0.35, -0.35},
                      {1.1, -0.35},
                      {1.1, 0.35},
                      {0.35, 0.35},
                      {0.35, 1.1},
                      {-0.35, 1.1},
                      {-0.35, 0.35},
                      {-1.1, 0.35},
                      {-1.1, -0.35},
                      {-0.35, -0.35}});
    default:
      return polygon(x, y, r, {{1.1, 0}, {-0.8, -1.05}, {-0.8, 1.05}});
  }
}

// The first series is a large disc, the others have a shape and a colour each.
std::string marker(std::size_t series, double x, double y, const std::string& label) {
  const std::string title = label.empty() ? "" : fmt::format("<title>{}</title>", escape_html(label));
  if (series == 0) return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5.5\" class=\"dot c0\">{}</circle>\n", x, y, title);
  return fmt::format("<path d=\"{}\" class=\"dot c{}\">{}</path>\n", shape_path(1 + (series - 1) % 7, x, y, 4.4),
                     1 + (series - 1) % (kColours - 1), title);
}

const char* ceiling_style(std::size_t i) {
  constexpr const char* kStyles[] = {"ceiling", "ceiling dashed", "ceiling dotted"};
  return kStyles[i % 3];
}

struct Legend {
  std::string body;
  double height = 0;
};

// The dots of each series, then the line of each ceiling.
Legend legend(const std::vector<std::string>& series, const std::vector<RatePlot::Ceiling>& ceilings) {
  constexpr double kLeft = 8;
  Legend made{"", 22};
  double x = kLeft;
  for (std::size_t i = 0; i < series.size() + ceilings.size(); ++i) {
    const bool dot = i < series.size();
    const std::string name = shortened(dot ? series[i] : ceilings[i - series.size()].name, 40);
    const double width = 26 + width_of(name) + 16;
    if (x + width > kWidth && x > kLeft) x = kLeft, made.height += 20;
    const double y = made.height - 10;
    made.body += dot ? marker(i, x + 10, y, "") : line(x, y, x + 20, y, ceiling_style(i - series.size()));
    made.body += text_at(x + 24, y + 4, "name", name);
    x += width;
  }
  return made;
}

// --- Axes -----------------------------------------------------------------------------------------------------------------------

struct Axis {
  double low, high;  // values at its ends
  bool log;
  double from, to;  // places of the ends
  std::vector<double> ticks;

  double at(double value) const {
    const double share = log ? (std::log(value) - std::log(low)) / (std::log(high) - std::log(low)) : (value - low) / (high - low);
    return from + (to - from) * std::clamp(share, 0.0, 1.0);
  }
};

// 1, 2, 5 of each power of ten or, over more than `decades` of them, the powers alone, as sparse as there is room.
std::vector<double> log_ticks(double low, double high, double decades) {
  const double span = std::log10(high) - std::log10(low);
  const int step = std::max(1, static_cast<int>(std::ceil(span / 10)));
  std::vector<double> ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::log10(high) + 1e-9; power += step)
    for (const double digit : {1, 2, 5}) {
      const double tick = digit * std::pow(10, power);
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9) && (digit == 1 || span <= decades)) ticks.push_back(tick);
    }
  return ticks;
}

Axis log_axis(double low, double high, double from, double to) {
  const double margin = high < 4 * low ? 2 : 1.15;  // wide enough for two ticks
  low /= margin, high *= margin;
  return {low, high, true, from, to, log_ticks(low, high, 3.2)};
}

Axis linear_axis(double low, double high, double from, double to) {
  const double rough = (high - low) / 8, power = std::pow(10, std::floor(std::log10(rough)));
  const double step = power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10);
  Axis axis{std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, false, from, to, {}};
  const int steps = static_cast<int>(std::lround((axis.high - axis.low) / step));
  for (int i = 0; i <= steps; ++i) axis.ticks.push_back(axis.low + i * step);
  return axis;
}

// Logarithmic where values differ more than eightfold. Values that lie close together are not drawn from zero: their differences are
// what the plot is for.
Axis ratio_axis(const DotPlot& plot, double from, double to) {
  double low = plot.target, high = plot.target;
  for (const DotPlot::Row& row : plot.rows)
    for (const DotPlot::Dot& dot : row.dots) low = std::min(low, dot.x), high = std::max(high, dot.x);
  if (!plot.from_zero && low > 0 && high > 8 * low) return log_axis(low, high, from, to);
  const bool close = !plot.from_zero && high - low < 0.5 * high;
  const double margin = std::max(0.08 * (high - low), 0.01 * high);
  return linear_axis(close ? low - margin : 0, high + (plot.from_zero ? 0 : margin), from, to);
}

std::string tick_text(double value) { return fmt::format("{:g}", std::abs(value) < 1e-12 ? 0 : value); }

// --- Pictures -------------------------------------------------------------------------------------------------------------------

std::string picture(double height, const std::string& title, const std::string& description, const std::string& body) {
  return fmt::format(
      "<div class=\"plot\"><svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\">\n<title>{2}</title>\n<desc>{3}</desc>\n{4}</svg></div>\n",
      kWidth, std::ceil(height), escape_html(title), escape_html(description), body);
}

using Rows = std::vector<const DotPlot::Row*>;

// Whole groups as far as they fit.
std::vector<Rows> pictures_of(const DotPlot& plot) {
  std::vector<Rows> pictures(1);
  for (auto row = plot.rows.begin(); row != plot.rows.end();) {
    const auto end = std::find_if(row, plot.rows.end(), [&](const DotPlot::Row& other) { return other.group != row->group; });
    if (!pictures.back().empty() && pictures.back().size() + static_cast<std::size_t>(end - row) > kRowsPerPicture) pictures.emplace_back();
    for (; row != end; ++row) {
      if (pictures.back().size() == kRowsPerPicture) pictures.emplace_back();
      pictures.back().push_back(&*row);
    }
  }
  return pictures;
}

std::string dot_row(const DotPlot::Row& row, const Axis& axis, double y, std::size_t name_limit) {
  std::string body = fmt::format("<g><title>{}</title>", escape_html(row.name)) +
                     text_at(axis.from - 14, y + 4, "row", shortened(row.name, name_limit)) + "</g>\n";
  if (row.dots.size() > 1) {
    const auto [low, high] = std::minmax_element(row.dots.begin(), row.dots.end(), [](const auto& a, const auto& b) { return a.x < b.x; });
    body += line(axis.at(low->x), y, axis.at(high->x), y, "span");
  }
  for (const DotPlot::Dot& dot : row.dots) body += marker(dot.series, axis.at(dot.x), y, dot.label);
  return body + text_at(kWidth - 4, y + 4, "figure", row.figure);
}

std::string dot_picture(const DotPlot& plot, const Rows& rows, const Axis& axis, std::size_t name_limit, const std::string& title) {
  const Legend names = plot.series.size() > 1 ? legend(plot.series, {}) : Legend{};
  const double top = names.height + 24;
  std::string dots;
  double y = top;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i == 0 || rows[i]->group != rows[i - 1]->group) {
      if (i > 0) y += 5, dots += line(8, y, kWidth, y, "rule"), y += 5;
      if (plot.group_titles) dots += text_at(8, y + kRow / 2 + 4, "name", rows[i]->group), y += kRow;
    }
    dots += dot_row(*rows[i], axis, y + kRow / 2, name_limit);
    y += kRow;
  }
  std::string body = names.body;
  for (const double tick : axis.ticks)
    body += line(axis.at(tick), top, axis.at(tick), y, "grid") + text_at(axis.at(tick), y + 16, "tick", tick_text(tick));
  const double target = axis.at(plot.target);
  body += line(target, top - 6, target, y, "target") + text_at(target, top - 10,
                                                               target > kWidth - 170 ? "aim left"
                                                               : target < 100        ? "aim right"
                                                                                     : "aim",
                                                               plot.target_label);
  if (!plot.figures.empty()) body += text_at(kWidth - 4, top - 10, "figure", plot.figures);
  body += dots + text_at((axis.from + axis.to) / 2, y + 34, "tick", plot.axis);
  return picture(y + 42, title, plot.title + ": " + plot.axis + ". The tables below hold the same figures.", body);
}

}  // namespace

std::string escape_html(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;  // HTML has no place for control characters
    }
  }
  return escaped;
}

std::string svg(const DotPlot& plot) {
  std::size_t longest = 4;
  for (const DotPlot::Row& row : plot.rows) longest = std::max(longest, characters(row.name));
  const std::size_t name_limit = std::min<std::size_t>(longest, 52);
  const Axis axis = ratio_axis(plot, static_cast<double>(name_limit) * kCharacter + 24, kWidth - 62);
  const std::vector<Rows> pictures = pictures_of(plot);
  std::string text;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const std::string part = pictures.size() > 1 ? fmt::format(", part {} of {}", i + 1, pictures.size()) : "";
    text += dot_picture(plot, pictures[i], axis, name_limit, plot.title + part);
  }
  return text;
}

std::string svg(const RatePlot& plot) {
  double least = plot.points[0].bytes, most = least, slow = plot.points[0].gbps, fast = slow;
  const auto reach = [&](double bytes, double gbps) {
    least = std::min(least, bytes), most = std::max(most, bytes), slow = std::min(slow, gbps), fast = std::max(fast, gbps);
  };
  for (const RatePlot::Point& point : plot.points) reach(point.bytes, point.gbps);
  for (const RatePlot::Ceiling& ceiling : plot.ceilings)
    for (const auto& [bytes, gbps] : ceiling.at) reach(bytes, gbps);

  const Legend names = legend(plot.series, plot.ceilings);
  const double top = names.height + 16, bottom = top + 380;
  const Axis x = log_axis(least, most, 66, kWidth - 20), y = log_axis(slow, fast * 1.1, bottom, top);
  std::string body = names.body;
  for (const double tick : x.ticks)
    body += line(x.at(tick), top, x.at(tick), bottom, "grid") + text_at(x.at(tick), bottom + 16, "tick", bytes_cell(tick).text);
  for (const double tick : y.ticks)
    body += line(x.from, y.at(tick), x.to, y.at(tick), "grid") + text_at(x.from - 8, y.at(tick) + 4, "row", tick_text(tick));
  body += text_at((x.from + x.to) / 2, bottom + 36, "tick", "bytes that must move") + text_at(8, top - 2, "name", "GB/s");
  for (std::size_t i = 0; i < plot.ceilings.size(); ++i) {
    std::string path;
    for (const auto& [bytes, gbps] : plot.ceilings[i].at)
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", x.at(bytes), y.at(gbps));
    if (plot.ceilings[i].at.size() == 1) path += "m-24 0h48";
    body +=
        fmt::format("<path d=\"{}\" class=\"{}\"><title>{}</title></path>\n", path, ceiling_style(i), escape_html(plot.ceilings[i].name));
  }
  for (const RatePlot::Point& point : plot.points) body += marker(point.series, x.at(point.bytes), y.at(point.gbps), point.label);
  return picture(
      bottom + 46, plot.title,
      plot.title + ": GB/s against the bytes of each case, with the copy's rate as the ceiling. The tables below hold the same figures.",
      body);
}

}  // namespace cumulus::cli
