// `cumulus run`, end to end: files in, files out, and what is left after every kind of failure.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "process.h"

namespace {

using cli_test::bytes_of;
using cli_test::elements;
using cli_test::Folder;
using cli_test::npy;
using cli_test::Outcome;
using cli_test::read_file;
using cli_test::write_file;
using Floats = std::vector<float>;
using Longs = std::vector<std::int64_t>;

const std::string kTwoByThree = npy("<f4", false, "(2, 3)", bytes_of(Floats{1, 2, 3, 4, 5, 6}));

// Runs on x.npy into y.npy and returns y's elements.
template <class T>
std::vector<T> scanned(const Folder& folder, const std::vector<std::string>& options, const std::string& header) {
  std::vector<std::string> arguments = {"run", "x.npy", "y.npy"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  const Outcome outcome = folder.run(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return elements<T>(read_file(folder / "y.npy"), header);
}

TEST(Run, ScansEveryKindAndDirection) {
  const Folder folder;
  write_file(folder / "x.npy", kTwoByThree);
  const std::string same = "'shape': (2, 3)";
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1"}, same), Floats({1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "-1", "--op", "prod"}, same), Floats({1, 2, 6, 4, 20, 120}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "0"}, same), Floats({1, 2, 3, 5, 7, 9}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--kind", "exclusive"}, same), Floats({0, 1, 3, 0, 4, 9}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--kind", "prefixes"}, "'shape': (2, 4)"), Floats({0, 1, 3, 6, 0, 4, 9, 15}));
  EXPECT_EQ(scanned<float>(folder, {"--axis=1", "--reverse"}, same), Floats({6, 5, 3, 15, 11, 6}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--op", "max", "--reverse"}, same), Floats({3, 3, 3, 6, 6, 6}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "flat"}, "'shape': (6,)"), Floats({1, 3, 6, 10, 15, 21}));
  EXPECT_EQ(scanned<double>(folder, {"--axis", "1", "--dtype", "float64"}, "'<f8'"), std::vector<double>({1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--threads", "1"}, same),
            scanned<float>(folder, {"--axis", "1", "--threads", "2", "--pin"}, same));
}

TEST(Run, TakesMaskInitialAndTotal) {
  const Folder folder;
  write_file(folder / "x.npy", kTwoByThree);
  write_file(folder / "bool.npy", npy("|b1", false, "(3,)", std::string("\1\0\1", 3)));
  write_file(folder / "real.npy", npy("<f4", false, "(2, 1)", bytes_of(Floats{2, 10})));
  write_file(folder / "start.npy", npy("<f8", false, "(2,)", bytes_of(std::vector<double>{100, 200})));
  const std::string same = "'shape': (2, 3)";
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--mask", "bool.npy"}, same), Floats({1, 1, 4, 4, 4, 10}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--mask", "real.npy"}, same), Floats({2, 6, 12, 40, 90, 150}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--initial", "-1.5"}, same), Floats({-0.5, 1.5, 4.5, 2.5, 7.5, 13.5}));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1", "--initial", "start.npy", "--total", "t.npy"}, same),
            Floats({101, 103, 106, 204, 209, 215}));
  EXPECT_EQ(elements<float>(read_file(folder / "t.npy"), "'shape': (2,)"), Floats({106, 215}));
}

TEST(Run, ComputesTheRecurrence) {
  const Folder folder;
  write_file(folder / "x.npy", npy("<f4", false, "(3,)", bytes_of(Floats{2, 3, 4})));
  write_file(folder / "b.npy", npy("<f4", false, "(3,)", bytes_of(Floats{1, 1, 1})));
  EXPECT_EQ(scanned<float>(folder, {"--op", "recurrence", "--in2", "b.npy", "--initial", "1"}, "(3,)"), Floats({3, 10, 41}));
}

TEST(Run, FollowsNumpysDtypes) {
  const Folder folder;
  const auto rule = [&](const std::string& descr, const std::string& bytes, const std::vector<std::string>& options,
                        const std::string& result) {
    write_file(folder / "x.npy", npy(descr, false, "(2,)", bytes));
    return scanned<std::int64_t>(folder, options, "'" + result + "'");
  };
  EXPECT_EQ(rule("|b1", "\1\1", {}, "<i8"), Longs({1, 2}));
  EXPECT_EQ(rule("|i1", "\x7f\x7f", {}, "<i8"), Longs({127, 254}));
  EXPECT_EQ(rule("<u2", std::string("\1\0\2\0", 4), {}, "<u8"), Longs({1, 3}));
  EXPECT_EQ(rule("|b1", "\1\1", {"--op", "max", "--dtype", "i64"}, "<i8"), Longs({1, 1}));
  write_file(folder / "x.npy", npy("|u1", false, "(2,)", "\5\3"));
  EXPECT_EQ(scanned<std::uint8_t>(folder, {"--op", "min"}, "'|u1'"), (std::vector<std::uint8_t>{5, 3}));
  EXPECT_EQ(scanned<std::uint8_t>(folder, {"--dtype", "u8"}, "'|u1'"), (std::vector<std::uint8_t>{5, 8}));
}

TEST(Run, KeepsFortranOrderAndSwapsBytes) {
  const Folder folder;
  write_file(folder / "x.npy", npy("<f4", true, "(2, 3)", bytes_of(Floats{1, 4, 2, 5, 3, 6})));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1"}, "'fortran_order': True"), Floats({1, 4, 3, 9, 6, 15}));
  write_file(folder / "x.npy", npy(">i4", false, "(2,)", std::string("\0\0\0\1\0\0\1\0", 8)));
  EXPECT_EQ(scanned<std::int64_t>(folder, {}, "'<i8'"), Longs({1, 257}));
  write_file(folder / "x.npy", npy(">c8", false, "(1,)", std::string("\x3f\x80\0\0\x40\0\0\0", 8)));
  EXPECT_EQ(scanned<float>(folder, {}, "'<c8'"), Floats({1, 2}));
}

TEST(Run, ReadsElementsThatAreNotAligned) {
  const Folder folder;
  const std::string dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}";
  std::string file("\x93NUMPY\x01\0", 8);
  file += static_cast<char>(dict.size());
  file += '\0';
  ASSERT_NE((10 + dict.size()) % 4, 0u);
  write_file(folder / "x.npy", file + dict + bytes_of(Floats{1, 2}));
  EXPECT_EQ(scanned<float>(folder, {}, "(2,)"), Floats({1, 3}));
}

TEST(Run, TakesEmptyAndScalarArrays) {
  const Folder folder;
  write_file(folder / "x.npy", npy("<f4", false, "(0, 3)", ""));
  EXPECT_EQ(scanned<float>(folder, {"--axis", "0"}, "'shape': (0, 3)"), Floats());
  EXPECT_EQ(scanned<float>(folder, {"--axis", "0", "--kind", "prefixes", "--initial", "7"}, "'shape': (1, 3)"), Floats({7, 7, 7}));
  write_file(folder / "x.npy", npy("<f4", false, "()", bytes_of(Floats{5})));
  EXPECT_EQ(scanned<float>(folder, {}, "'shape': (1,)"), Floats({5}));
}

TEST(Run, TreatsRawBytesAsBfloat16OnRequest) {
  const Folder folder;
  write_file(folder / "x.npy", npy("<V2", false, "(2,)", std::string("\x80\x3f\0\x40", 4)));  // 1, 2
  const Outcome refused = folder.run({"run", "x.npy", "y.npy"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("--in-dtype bf16"), std::string::npos) << refused.err;
  EXPECT_EQ(scanned<std::uint16_t>(folder, {"--in-dtype", "bf16"}, "'<V2'"), (std::vector<std::uint16_t>{0x3f80, 0x4040}));
  EXPECT_EQ(scanned<float>(folder, {"--in-dtype", "bf16", "--dtype", "f32"}, "'<f4'"), Floats({1, 3}));
}

TEST(Run, ReplacesItsInput) {
  const Folder folder;
  write_file(folder / "x.npy", kTwoByThree);
  EXPECT_EQ(folder.run({"run", "x.npy", "x.npy", "--axis", "1"}).code, 0);
  EXPECT_EQ(elements<float>(read_file(folder / "x.npy"), "(2, 3)"), Floats({1, 3, 6, 4, 9, 15}));
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"x.npy"}));
}

TEST(Run, WritesThroughALinkAndKeepsPermissions) {
  const Folder folder;
  write_file(folder / "x.npy", kTwoByThree);
  write_file(folder / "target.npy", "old");
  std::filesystem::permissions(folder / "target.npy", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::create_symlink("target.npy", folder / "y.npy");
  EXPECT_EQ(scanned<float>(folder, {"--axis", "1"}, "(2, 3)").size(), 6u);
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "y.npy"));
  EXPECT_EQ(std::filesystem::status(folder / "target.npy").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(Run, PrintsASummaryOrJson) {
  const Folder folder;
  write_file(folder / "x.npy", kTwoByThree);
  const Outcome text = folder.run({"run", "x.npy", "y.npy", "--axis", "1"});
  EXPECT_EQ(text.out.find("y.npy: inclusive sum of 2 x 3 f32 along axis 1, "), 0u) << text.out;
  EXPECT_EQ(std::count(text.out.begin(), text.out.end(), '\n'), 1);
  EXPECT_EQ(text.err, "");
  const auto json = nlohmann::json::parse(folder.run({"run", "x.npy", "y.npy", "--axis", "-1", "--json"}).out);
  EXPECT_EQ(json.at("shape"), nlohmann::json({2, 3}));
  EXPECT_EQ(json.at("out_dtype"), "f32");
  EXPECT_EQ(json.at("axis"), 1);
  EXPECT_EQ(json.at("bytes"), 48);
}

// --- Failures: the exit code, what the message names, and files left as they were --------------------------------------------------

struct Failure {
  std::vector<std::string> arguments;
  int code;
  std::string message;
};

class RunFails : public testing::Test {
 protected:
  RunFails() {
    write_file(folder_ / "x.npy", kTwoByThree);
    write_file(folder_ / "y.npy", "precious");
    write_file(folder_ / "t.npy", "precious too");
    before_ = folder_.names();
  }

  void expect(const Failure& failure, long file_limit = -1) {
    const Outcome outcome = folder_.run(failure.arguments, file_limit);
    EXPECT_EQ(outcome.code, failure.code) << outcome.err;
    EXPECT_NE(outcome.err.find(failure.message), std::string::npos) << "expected '" << failure.message << "', got: " << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(read_file(folder_ / "y.npy"), "precious");
    EXPECT_EQ(read_file(folder_ / "t.npy"), "precious too");
    EXPECT_EQ(folder_.names(), before_);
  }

  void add(const std::string& name, const std::string& bytes) {
    write_file(folder_ / name, bytes);
    before_ = folder_.names();
  }

  Folder folder_;
  std::vector<std::string> before_;
};

TEST_F(RunFails, OnAWrongCommandLine) {
  const Failure failures[] = {
      {{"run", "x.npy", "y.npy"}, 2, "needs --axis"},
      {{"run", "x.npy"}, 2, "OUT is required"},
      {{"run", "x.npy", "y.npy", "--axis", "2"}, 2, "--axis 2 does not exist"},
      {{"run", "x.npy", "y.npy", "--axis", "-3"}, 2, "--axis -3 does not exist"},
      {{"run", "x.npy", "y.npy", "--axis", "one"}, 2, "--axis one"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--op", "mean"}, 2, "mean"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--kind", "both"}, 2, "both"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--dtype", "f33"}, 2, "f33"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--threads", "-1"}, 2, "--threads"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--device", "cuda", "--threads", "2"}, 2, "--threads is an option of the CPU"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--device", "cuda", "--pin"}, 2, "--pin is an option of the CPU"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--initial", "ten"}, 2, "--initial ten"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--total", "y.npy"}, 2, "two files"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--in2", "x.npy"}, 2, "recurrence"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--op", "recurrence"}, 2, "--in2"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--frob"}, 2, "--frob"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--device", "cuda"}, 4, "no CUDA"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--dtype", "i64"}, 4, "x.astype(np.int64)"},
      {{"frob"}, 2, "'frob' is no command"},
      {{}, 2, "subcommand"},
  };
  for (const Failure& failure : failures) expect(failure);
}

TEST_F(RunFails, OnBadInput) {
  const std::string header = npy("<f4", false, "(2, 3)", "");
  add("cut.npy", kTwoByThree.substr(0, kTwoByThree.size() - 1));
  add("cut_header.npy", kTwoByThree.substr(0, 40));
  add("lie.npy", npy("<f4", false, "(1000000000, 1000000000)", "1234"));
  add("empty.npy", "");
  add("text.npy", "1, 2, 3\n");
  add("object.npy", npy("|O", false, "(2,)", "12345678"));
  add("bool.npy", npy("|b1", false, "(2,)", "\1\1"));
  add("complex.npy", npy("<c8", false, "(1,)", "12345678"));
  add("bytes.npy", npy("|u1", false, "(2, 3)", "123456"));
  add("small.npy", npy("<f4", false, "(2,)", "12345678"));
  add("ints.npy", npy("|i1", false, "(2,)", "12"));
  const Failure failures[] = {
      {{"run", "cut.npy", "y.npy", "--axis", "1"}, 2, "claims 24 bytes of elements, 23"},
      {{"run", "cut_header.npy", "y.npy"}, 2, "cut off"},
      {{"run", "lie.npy", "y.npy", "--axis", "1"}, 2, "cut off"},
      {{"run", "empty.npy", "y.npy"}, 2, "empty"},
      {{"run", "text.npy", "y.npy"}, 2, "not a .npy file"},
      {{"run", "object.npy", "y.npy"}, 2, "Python objects"},
      {{"run", "bool.npy", "y.npy", "--op", "max"}, 4, "--dtype i64"},
      {{"run", "complex.npy", "y.npy", "--op", "max"}, 4, "no order"},
      {{"run", "complex.npy", "y.npy", "--dtype", "f32"}, 4, "--dtype f32"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--mask", "bytes.npy"}, 2, "mask"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--mask", "small.npy"}, 2, "mask"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--initial", "x.npy"}, 2, "initial"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--op", "recurrence", "--in2", "small.npy"}, 2, "in2"},
      {{"run", "x.npy", "y.npy", "--axis", "1", "--mask", "none.npy"}, 3, "none.npy"},
      {{"run", "none.npy", "y.npy"}, 3, "none.npy"},
      {{"run", "ints.npy", "y.npy", "--dtype", "i8", "--initial", "128"}, 2, "-128 to 127"},
      {{"run", "ints.npy", "y.npy", "--initial", "1.5"}, 2, "--initial 1.5"},
      {{"run", "/dev/null", "y.npy"}, 3, "regular file"},
      {{"run", ".", "y.npy"}, 3, "directory"},
  };
  for (const Failure& failure : failures) expect(failure);
}

TEST_F(RunFails, WhereItCannotWrite) {
  expect({{"run", "x.npy", "no/such/folder/y.npy", "--axis", "1"}, 3, "no/such/folder/y.npy"});
  expect({{"run", "x.npy", "/dev/full", "--axis", "1"}, 3, "regular file"});
  expect({{"run", "x.npy", ".", "--axis", "1"}, 3, "irectory"});
  if (geteuid() == 0) return;  // root may write anywhere
  std::filesystem::permissions(folder_ / "y.npy", std::filesystem::perms::owner_read);
  expect({{"run", "x.npy", "y.npy", "--axis", "1"}, 3, "y.npy"});
}

TEST_F(RunFails, WhereTheDiskIsFull) {
  expect({{"run", "x.npy", "y.npy", "--axis", "1", "--total", "t.npy"}, 3, "cannot take 152 bytes"}, 100);
  expect({{"run", "x.npy", "x.npy", "--axis", "1"}, 3, "cannot take"}, 100);
  expect({{"run", "x.npy", "y.npy", "--axis", "1", "--dtype", "f64", "--total", "t.npy"}, 3, "cannot take 176 bytes"}, 170);
  EXPECT_EQ(read_file(folder_ / "x.npy"), kTwoByThree);
}

}  // namespace
