// The plots of a report as SVG, for a page whose style gives the classes their colours.
#pragma once

#include <string>

#include "report_page.h"

namespace cumulus::cli {

// A tall plot comes in several pictures, which share their axis: a page of print holds each.
std::string svg(const DotPlot& plot);
std::string svg(const RatePlot& plot);

std::string escape_html(const std::string& text);  // for text and for quoted attributes

}  // namespace cumulus::cli
