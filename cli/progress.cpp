#include "progress.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace cumulus::cli {
namespace {

constexpr std::chrono::milliseconds kFirst{400}, kEvery{100};  // nothing at all for short work
constexpr int kWidth = 30;

bool is_terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) != 0 && term && std::string_view(term) != "dumb";
}

}  // namespace

Progress::Progress(std::string label, std::int64_t total) : label_(std::move(label)), total_(total), enabled_(is_terminal()) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
}

void Progress::advance(std::int64_t amount) {
  done_ += amount;
  draw();
}

void Progress::label(std::string text) {
  label_ = std::move(text);
  draw();
}

void Progress::draw() {
  const auto now = Clock::now();
  if (!enabled_ || now - start_ < kFirst || now - last_ < kEvery) return;
  last_ = now;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  if (total_ <= 0) {
    fmt::print(stderr, "\r{}  {:.1f} s\x1b[K", label_, seconds);
    return;
  }
  const double part = std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_));
  const int filled = static_cast<int>(part * kWidth);
  const std::string left = done_ > 0 ? fmt::format("{:.0f} s left", seconds * (1 - part) / part) : "";
  fmt::print(stderr, "\r{} [{}{}] {:3.0f} %  {}\x1b[K", label_, std::string(filled, '#'), std::string(kWidth - filled, '.'), 100 * part,
             left);
  std::fflush(stderr);
}

}  // namespace cumulus::cli
