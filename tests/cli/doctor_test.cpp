// cumulus doctor on what the environment may say wrongly. The rest of it is in commands_test.cpp.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "process.h"

namespace {

using nlohmann::json;

// A variable for the commands that start while it lives.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    const char* before = std::getenv(name);
    if (before) before_ = before;
    was_set_ = before != nullptr;
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { was_set_ ? setenv(name_, before_.c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string before_;
  bool was_set_;
};

json run_json(const cli_test::Folder& folder, const std::vector<std::string>& words) {
  const cli_test::Outcome outcome = folder.run(words);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json::parse(outcome.out, nullptr, false);
}

json finding_on(const cli_test::Folder& folder, const std::string& what) {
  const json doctor = run_json(folder, {"doctor", "--json"});
  for (const json& finding : doctor.at("findings"))
    if (finding.at("what") == what) return finding;
  ADD_FAILURE() << "no finding on " << what;
  return {{"state", ""}, {"detail", ""}};
}

// A folder in the tuning file's place is no more than a note, for the doctor, for plans and for scans.
TEST(Doctor, AFolderInTheTuningFilesPlaceIsIgnoredAndTold) {
  const cli_test::Folder folder;
  const std::string place = folder / "tuning.json";
  std::filesystem::create_directory(place);
  const Variable file("CUMULUS_TUNING_FILE", place);
  const Variable on("CUMULUS_TUNING", "");
  const json finding = finding_on(folder, "tuning file");
  EXPECT_EQ(finding.at("state"), "note");
  EXPECT_NE(finding.at("detail").get<std::string>().find(place + " is not used: it is a folder"), std::string::npos) << finding;
  const cli_test::Outcome plan = folder.run({"plan", "--shape", "1024x1024", "--axis", "1"});
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_NE(plan.out.find(place + " is not used: it is a folder"), std::string::npos) << plan.out;
  EXPECT_EQ(run_json(folder, {"demo", "--size", "1024", "--rounds", "1", "--json"}).at("ok"), true) << "scans of more than 1 MiB";
}

TEST(Doctor, TellsOfTheTuningFile) {
  const cli_test::Folder folder;
  const Variable file("CUMULUS_TUNING_FILE", folder / "tuning.json");
  const Variable on("CUMULUS_TUNING", "");
  EXPECT_NE(finding_on(folder, "tuning file").at("detail").get<std::string>().find("there is no tuning file"), std::string::npos);
  cli_test::write_file(folder / "tuning.json", R"({"kind": "cumulus-tuning", "format": 1, "frozen": false, "entries": []})");
  EXPECT_NE(finding_on(folder, "tuning file").at("detail").get<std::string>().find("0 entries"), std::string::npos);
}

}  // namespace
