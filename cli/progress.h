// A progress bar on stderr: only on a terminal, and only for work that takes longer than a moment.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cumulus::cli {

class Progress {
 public:
  // `total` in any unit; 0 shows the label and the elapsed time alone.
  Progress(std::string label, std::int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Is anything shown? Where not, there is no reason to split work into steps.
  bool enabled() const { return enabled_; }
  void advance(std::int64_t amount);
  void label(std::string text);

 private:
  void draw();

  using Clock = std::chrono::steady_clock;
  std::string label_;
  std::int64_t total_, done_ = 0;
  bool enabled_, drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

}  // namespace cumulus::cli
