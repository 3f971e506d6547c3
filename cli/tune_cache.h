// The user's tuning file as commands change it: one process at a time, and whole or not at all.
#pragma once

#include <string>
#include <vector>

#include "output.h"
#include "tuning/cache.h"

namespace cumulus::cli {

// The file of this user; throws CliError where nothing says where it would be.
std::string tuning_file();

// One tuning at a time on a GPU, for this user: throws CliError where another process holds it.
class TuningTurn {
 public:
  explicit TuningTurn(int gpu);
  ~TuningTurn();
  TuningTurn(const TuningTurn&) = delete;
  TuningTurn& operator=(const TuningTurn&) = delete;

 private:
  int file_;
};

// Throws CliError where the file is there and damaged: said before minutes of work, not after.
void check_tuning_file(const std::string& path);

// Adds what was measured; a later entry replaces an earlier one of the same machine and call. Returns a sentence for the user. A frozen
// file stays as it is, and the sentence says so.
std::string save_tuning(const std::string& path, const tuning::Entry& entry);

void export_tuning(const std::string& path, const std::string& to, bool force);
std::string import_tuning(const std::string& path, const std::string& from);              // never replaces an entry
std::string merge_tuning(const std::string& path, const std::vector<std::string>& from);  // the later measured one stays
std::string freeze_tuning(const std::string& path, bool frozen);
std::string list_tuning(const std::string& path);
Json tuning_json(const std::string& path);  // the same for programs: the file's name and its text

}  // namespace cumulus::cli
