// cumulus profile: what measured numbers mean, texts that read back, counters that a machine lacks, and the command on the CPU.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "advice.h"
#include "cuda/driver.h"
#include "document.h"
#include "error.h"
#include "process.h"
#include "profile_counters.h"
#include "profile_report.h"

namespace {

using namespace cumulus;
using namespace cumulus::cli;
using cli_test::Folder;
using cli_test::Outcome;
using cuda::GpuProfile;
using cuda::Quantity;
using nlohmann::json;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// --- A GPU's numbers, made up ----------------------------------------------------------------------------------------------------

BenchCase scan_of(bool reverse = false, MaskUse mask = MaskUse::none, Kind kind = Kind::inclusive, Op op = Op::sum) {
  BenchCase scan;
  scan.shape = {32768, 32768};
  scan.axis = 1;
  scan.reverse = reverse;
  scan.mask = mask;
  scan.kind = kind;
  scan.op = op;
  return scan;
}

void set(GpuProfile& profile, Quantity quantity, std::optional<double> value) {
  profile.counters->values[static_cast<std::size_t>(quantity)] = value;
}

// A scan of 8 GiB on a 4090 that DRAM holds up.
GpuProfile measured() {
  GpuProfile profile{};
  profile.device = *cuda::find_preset("4090");
  profile.plan = {};
  profile.plan.layout = cuda::Layout::rows;
  profile.plan.grid = 32768;
  profile.plan.threads = 256;
  profile.plan.shared = 1024;
  profile.plan.blocks_per_sm = 3;
  profile.plan.bytes_moved = profile.plan.bytes_required = std::int64_t{1} << 33;
  profile.registers = 72;
  profile.static_shared = 16;
  profile.blocks_per_sm = 3;
  profile.scan_ms = {9.0, 9.2, 9.1};
  profile.copy_ms = {9.0, 9.0, 9.0};
  profile.copied = std::int64_t{1} << 33;
  profile.counters.emplace();
  profile.counters->passes = 7;
  profile.counters->chip = "AD102";
  profile.counters->library = "libcupti.so.13";
  const double values[] = {12.25, 49.5, 93.125, 50.0625, 31.4159265358979, 33.0, 20.5, 0x1p32, 0x1p32, 9.1e6};
  for (int q = 0; q < cuda::kQuantities; ++q) set(profile, static_cast<Quantity>(q), values[q]);
  return profile;
}

TEST(ProfileMeaning, TrafficIsReadPlusWrittenOverWhatMustMove) {
  GpuProfile profile = measured();
  ASSERT_TRUE(traffic_of(profile));
  EXPECT_DOUBLE_EQ(traffic_of(profile)->amplification, 1);
  set(profile, Quantity::bytes_read, 0x1p33);
  EXPECT_DOUBLE_EQ(traffic_of(profile)->amplification, 1.5);
  EXPECT_TRUE(has(limit_of(profile).evidence, "1.50 times what must move")) << limit_of(profile).evidence;
  set(profile, Quantity::bytes_written, std::nullopt);
  EXPECT_FALSE(traffic_of(profile));
  profile.counters.reset();
  EXPECT_FALSE(traffic_of(profile));
}

TEST(ProfileMeaning, TheBusiestUnitIsTheLimit) {
  GpuProfile profile = measured();
  EXPECT_EQ(limit_of(profile).resource, "DRAM bandwidth");
  EXPECT_TRUE(has(limit_of(profile).evidence, "93.1 %")) << limit_of(profile).evidence;
  EXPECT_FALSE(has(limit_of(profile).evidence, "must move")) << "nothing is wasted here";
  set(profile, Quantity::sm, 97.0);
  EXPECT_EQ(limit_of(profile).resource, "the SMs' instructions");
  set(profile, Quantity::sm, 12.0);
  set(profile, Quantity::dram, 40.0);
  set(profile, Quantity::l2, 85.0);
  EXPECT_EQ(limit_of(profile).resource, "L2 cache");
  set(profile, Quantity::l2, std::nullopt);
  set(profile, Quantity::l1, 81.0);
  EXPECT_EQ(limit_of(profile).resource, "L1 and shared memory");
}

TEST(ProfileMeaning, NothingAtItsPeakIsLatencyOrTooLittleWork) {
  GpuProfile profile = measured();
  set(profile, Quantity::dram, 40.0);
  EXPECT_EQ(limit_of(profile).resource, "latency");
  EXPECT_TRUE(has(limit_of(profile).evidence, "49.5 % of the warps")) << limit_of(profile).evidence;
  set(profile, Quantity::warps_active, 90.0);
  EXPECT_EQ(limit_of(profile).resource, "latency");
  EXPECT_TRUE(has(limit_of(profile).evidence, "wait for memory")) << limit_of(profile).evidence;
  set(profile, Quantity::stall, 3.0);
  EXPECT_EQ(limit_of(profile).resource, "nothing at its peak");
  set(profile, Quantity::dram, std::nullopt);
  EXPECT_EQ(limit_of(profile).resource, "unknown");
  profile.plan.grid = 60;
  EXPECT_EQ(limit_of(profile).resource, "parallelism");
  EXPECT_TRUE(has(limit_of(profile).evidence, "60 blocks for 128 SMs")) << limit_of(profile).evidence;
}

TEST(ProfileMeaning, WithoutCountersTheCopyIsTheYardstick) {
  GpuProfile profile = measured();
  profile.counters.reset();
  profile.why_no_counters = "libcupti.so was not found; install it";
  EXPECT_EQ(limit_of(profile).resource, "DRAM bandwidth");
  EXPECT_TRUE(has(limit_of(profile).evidence, "timing alone"));
  for (double& ms : profile.scan_ms) ms *= 4;
  EXPECT_EQ(limit_of(profile).resource, "unknown");
  const std::string table = table_of(scan_of(), profile);
  EXPECT_TRUE(has(table, "No counters: libcupti.so was not found; install it")) << table;
  EXPECT_TRUE(has(table, "achieved not counted")) << table;
  const Json out = json_of(scan_of(), profile);
  EXPECT_TRUE(out.at("metrics").is_null());
  EXPECT_EQ(out.at("why_no_counters"), profile.why_no_counters);
  EXPECT_NEAR(out.at("ratio_copy").get<double>(), 9.0 / 36.4, 1e-12);
  EXPECT_TRUE(out.at("traffic").at("moved").is_null());
}

// --- Texts ----------------------------------------------------------------------------------------------------------------------

TEST(ProfileTexts, TheTableTellsAll) {
  const std::string table = table_of(scan_of(true, MaskUse::select), measured());
  for (const char* part :
       {"reverse inclusive sum of 32768 x 32768 f32 along axis 1, mask bool", "RTX 4090", "9.100 ms, median of 3",
        "0.989 of a device copy's rate", "8.59 GB moved by DRAM (read 4.29 GB, written 4.29 GB) = 1.000 of what must move", "72 a thread",
        "1040 bytes a block", "planned 50.0 % (3 blocks of 256 threads an SM", "achieved 49.5 %", "7 runs for all counters (AD102",
        "DRAM bandwidth: at 93.1 %", "31.42"})
    EXPECT_TRUE(has(table, part)) << part << " in\n" << table;
  EXPECT_TRUE(has(table, std::string("in place of ") + kDeadStallMetric + ", which no GPU has")) << table;
}

TEST(ProfileTexts, AMetricThatTheChipLacksIsNamed) {
  GpuProfile profile = measured();
  set(profile, Quantity::dram, std::nullopt);
  const std::string table = table_of(scan_of(), profile);
  EXPECT_TRUE(has(table, "AD102 has no such metric")) << table;
  EXPECT_TRUE(json_of(scan_of(), profile).at("metrics").at("dram__throughput.avg.pct_of_peak_sustained_elapsed").is_null());
}

TEST(ProfileTexts, TheDeadMetricIsTheOneThatDocumentsReplace) {
  EXPECT_STREQ(replacement(kDeadStallMetric), cuda::kQuantityNames[static_cast<int>(Quantity::stall)].metric);
}

TEST(ProfileTexts, JsonHasEveryNumber) {
  const Json out = json_of(scan_of(), measured());
  EXPECT_EQ(out.at("kind"), "profile");
  EXPECT_EQ(out.at("problem").at("length"), 32768);
  EXPECT_DOUBLE_EQ(out.at("traffic").at("amplification").get<double>(), 1);
  EXPECT_DOUBLE_EQ(out.at("traffic").at("moved").get<double>(), 0x1p33);
  EXPECT_EQ(out.at("traffic").at("required"), std::int64_t{1} << 33);
  EXPECT_DOUBLE_EQ(out.at("ms").get<double>(), 9.1);
  EXPECT_DOUBLE_EQ(out.at("copy_ms").get<double>(), 9);
  EXPECT_DOUBLE_EQ(out.at("occupancy").at("planned").get<double>(), 50);
  EXPECT_DOUBLE_EQ(out.at("occupancy").at("achieved").get<double>(), 49.5);
  EXPECT_EQ(out.at("passes"), 7);
  EXPECT_EQ(out.at("launch").at("registers"), 72);
  EXPECT_EQ(out.at("launch").at("shared"), 1040);
  EXPECT_EQ(out.at("limiting").at("resource"), "DRAM bandwidth");
  EXPECT_EQ(out.at("metrics").size(), static_cast<std::size_t>(cuda::kQuantities));
  EXPECT_DOUBLE_EQ(out.at("metrics").at("dram__bytes_read.sum").get<double>(), 0x1p32);
  EXPECT_NEAR(out.at("floor_ms").get<double>(), 8.522, 1e-3);
}

// The metric form: text -> parser -> the same values, on the same device.
TEST(ProfileTexts, ADocumentReadsBackAsItWasMeasured) {
  const GpuProfile profile = measured();
  const Document document = parse_document(document_of(scan_of(), profile));
  ASSERT_EQ(document.kernels.size(), 1u);
  const KernelProfile& kernel = document.kernels[0];
  EXPECT_EQ(kernel.name, cuda::kEntry);
  EXPECT_EQ(kernel.sm, 12.25);
  EXPECT_EQ(kernel.warps_active, 49.5);
  EXPECT_EQ(kernel.dram, 93.125);
  EXPECT_EQ(kernel.l2_hit, 50.0625);
  EXPECT_EQ(kernel.stall, 31.4159265358979);
  EXPECT_EQ(kernel.grid, 32768);
  EXPECT_TRUE(document.dead_metrics.empty());
  EXPECT_EQ(document.stage.stage, Stage::memory);
  cuda::DeviceInfo expected = profile.device;
  expected.memory = document.gpu.memory;  // not in the table
  EXPECT_EQ(document.gpu, expected);
}

TEST(ProfileTexts, AdviseRecognisesTheProblem) {
  struct Known {
    const char* key;
    BenchCase scan;
  };
  for (const Known& known :
       {Known{"89", scan_of()}, Known{"90", scan_of(false, MaskUse::none, Kind::inclusive, Op::prod)}, Known{"91", scan_of(true)},
        Known{"92", scan_of(false, MaskUse::none, Kind::exclusive)}, Known{"93-bool", scan_of(false, MaskUse::select)}}) {
    ASSERT_TRUE(workload_of(known.scan)) << known.key;
    EXPECT_STREQ(workload_of(known.scan)->key, known.key);
    const Recognised recognised = recognise(parse_document(document_of(known.scan, measured())).code);
    ASSERT_TRUE(recognised.workload) << known.key;
    EXPECT_STREQ(recognised.workload->key, known.key);
  }
  EXPECT_STREQ(workload_of(scan_of(false, MaskUse::multiply))->key, "93");
  // Others are profiled as well, but none of the problems: advise must not take them for one.
  const BenchCase masked_reverse = scan_of(true, MaskUse::select), prefixes = scan_of(false, MaskUse::none, Kind::prefixes);
  for (const BenchCase& other : {masked_reverse, prefixes}) {
    EXPECT_FALSE(workload_of(other));
    EXPECT_FALSE(recognise(parse_document(document_of(other, measured())).code).workload);
  }
}

TEST(ProfileTexts, AdviseAnswersTheDocument) {
  const Folder folder;
  cli_test::write_file(folder / "task.txt", document_of(scan_of(true), measured()));
  const Outcome outcome = folder.run({"advise", "task.txt", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json advice = json::parse(outcome.out);
  EXPECT_EQ(advice.at("workload"), "91");
  EXPECT_TRUE(has(advice.at("kernels")[0].at("limit"), "DRAM bandwidth"));
  EXPECT_NEAR(advice.at("amplification_at_least").get<double>(), 1, 1e-9);
}

// --- The CPU's counters ---------------------------------------------------------------------------------------------------------

TEST(CpuCountersTest, ReasonsNameTheWayOut) {
  EXPECT_TRUE(has(perf_reason(EACCES, "4"), "perf_event_paranoid is 4"));
  EXPECT_TRUE(has(perf_reason(EACCES, "4"), "sysctl kernel.perf_event_paranoid=2"));
  EXPECT_TRUE(has(perf_reason(EPERM, "2"), "--cap-add PERFMON"));
  EXPECT_TRUE(has(perf_reason(EPERM, ""), "--cap-add PERFMON"));
  EXPECT_TRUE(has(perf_reason(ENOENT, "2"), "no such counter"));
  EXPECT_TRUE(has(perf_reason(ENOSYS, "2"), "CONFIG_PERF_EVENTS"));
  EXPECT_FALSE(perf_reason(EMFILE, "2").empty());
}

TEST(CpuCountersTest, EveryMissingCounterIsNamedWithItsReason) {
  int opened = 0, runs = 0;
  const CpuCounters counters([&](std::uint32_t, std::uint64_t) { return ++opened, -ENOENT; });
  const std::vector<CpuCounter> found = counters.count(3, [&] { ++runs; });
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(opened, 4);
  ASSERT_EQ(found.size(), 4u);
  for (const CpuCounter& counter : found) {
    EXPECT_FALSE(counter.value) << counter.key;
    EXPECT_TRUE(has(counter.why_none, "no such counter")) << counter.key;
  }
}

// An event whose readings (value, time enabled, time running) are these.
int event_that_reads(const std::vector<std::uint64_t>& numbers) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const auto size = static_cast<ssize_t>(8 * numbers.size());
  EXPECT_EQ(write(ends[1], numbers.data(), static_cast<std::size_t>(size)), size);
  close(ends[1]);
  return ends[0];
}

TEST(CpuCountersTest, ValuesAreDifferencesPerCallScaledToTheWholeTime) {
  const CpuCounters counters([](std::uint32_t, std::uint64_t config) {
    // Cycles ran for half of the time; instructions for none of it.
    return config == 0 ? event_that_reads({100, 10, 10, 700, 40, 25}) : event_that_reads({5, 10, 10, 5, 40, 10});
  });
  const std::vector<CpuCounter> found = counters.count(4, [] {});
  EXPECT_STREQ(found[0].key, "cycles");
  ASSERT_TRUE(found[0].value);
  EXPECT_DOUBLE_EQ(*found[0].value, (700 - 100) * (40 - 10) / (25 - 10) / 4.0);
  EXPECT_FALSE(found[1].value);
  EXPECT_TRUE(has(found[1].why_none, "stop other profilers")) << found[1].why_none;
}

// On this machine, whatever it has: a counter has a value or a reason, never both.
TEST(CpuCountersTest, ValueOrReason) {
  volatile double sum = 0;
  const CpuCounters counters;
  for (const CpuCounter& counter : counters.count(2, [&] {
         for (int i = 0; i < 200000; ++i) sum = sum + i;
       })) {
    EXPECT_NE(counter.value.has_value(), !counter.why_none.empty()) << counter.key;
    if (std::string(counter.key) == "instructions") {
      EXPECT_GT(counter.value.value_or(200001), 200000);
    }
  }
}

CpuProfile cpu_measured() {
  CpuProfile profile{};
  profile.plan.algorithm = Algorithm::rows;
  profile.plan.threads = 2;
  profile.plan.bytes_required = profile.plan.bytes_moved = 1 << 30;
  profile.model = "a processor";
  profile.simd = "AVX2";
  profile.last_cache = 32 << 20;
  profile.scan = {1e5, 0.01};
  profile.rounds = 15;
  profile.best_copy = "streaming_2";
  profile.copy_us = 9.5e4;
  profile.counters = {{"cycles", "cycles", 2e8, ""},
                      {"instructions", "instructions", 5e8, ""},
                      {"llc_misses", "LLC misses", std::nullopt, "this machine has none"},
                      {"dtlb_misses", "dTLB misses", 1e5, ""}};
  return profile;
}

TEST(CpuProfileMeaning, TheCopyThenTheCores) {
  CpuProfile profile = cpu_measured();
  EXPECT_EQ(limit_of(profile).resource, "memory bandwidth");
  profile.plan.bytes_required = 1 << 20;
  EXPECT_EQ(limit_of(profile).resource, "cache bandwidth");
  profile.copy_us = 3e4;
  EXPECT_EQ(limit_of(profile).resource, "the cores");
  EXPECT_TRUE(has(limit_of(profile).evidence, "2.50 instructions a cycle")) << limit_of(profile).evidence;
  profile.counters[0].value.reset();
  EXPECT_TRUE(has(limit_of(profile).evidence, "missing")) << limit_of(profile).evidence;
}

TEST(CpuProfileTexts, MissingCountersAreInTableAndJson) {
  const CpuProfile profile = cpu_measured();
  BenchCase scan = scan_of();
  const std::string table = table_of(scan, profile);
  for (const char* part : {"0.950 of the best copy's rate (streaming_2)", "LLC misses", "this machine has none", "200000000"})
    EXPECT_TRUE(has(table, part)) << part << " in\n" << table;
  const Json out = json_of(scan, profile);
  EXPECT_EQ(out.at("missing_metrics").at("llc_misses"), "this machine has none");
  EXPECT_TRUE(out.at("metrics").at("llc_misses").is_null());
  EXPECT_DOUBLE_EQ(out.at("metrics").at("cycles").get<double>(), 2e8);
}

// --- The command ----------------------------------------------------------------------------------------------------------------

TEST(ProfileCommand, ProfilesOnTheCpu) {
  const Folder folder;
  const Outcome outcome =
      folder.run({"profile", "--shape", "64x300", "--axis", "1", "--mask", "bool", "--reverse", "--rounds", "1", "--json", "p.json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* part :
       {"reverse inclusive sum of 64 x 300 f32 along axis 1, mask bool", "of the best copy's rate", "limited by", "cycles"})
    EXPECT_TRUE(has(outcome.out, part)) << part << " in\n" << outcome.out;
  const json profile = json::parse(cli_test::read_file(folder / "p.json"));
  EXPECT_EQ(profile.at("kind"), "profile");
  EXPECT_EQ(profile.at("traffic").at("required"), 64 * 300 * 9);
  EXPECT_EQ(profile.at("metrics").size(), 4u);
  for (const auto& [key, value] : profile.at("metrics").items())
    EXPECT_EQ(value.is_null(), profile.at("missing_metrics").contains(key)) << key;
  EXPECT_GT(profile.at("ms").get<double>(), 0);
}

TEST(ProfileCommand, AFileThatExistsIsRefusedBeforeAnythingIsMeasured) {
  const Folder folder;
  cli_test::write_file(folder / "p.json", "mine");
  std::vector<std::string> arguments = {"profile", "--shape", "64x300", "--axis", "1", "--rounds", "1", "--json", "p.json"};
  const Outcome refused = folder.run(arguments);
  EXPECT_EQ(refused.code, 2);
  EXPECT_TRUE(has(refused.err, "p.json exists and is left as it is")) << refused.err;
  EXPECT_EQ(refused.out, "") << "something was measured";
  EXPECT_EQ(cli_test::read_file(folder / "p.json"), "mine");
  arguments.emplace_back("--force");
  EXPECT_EQ(folder.run(arguments).code, 0);
  EXPECT_EQ(json::parse(cli_test::read_file(folder / "p.json")).at("kind"), "profile");
}

TEST(ProfileCommand, HelpTeachesByExample) {
  const Outcome outcome = Folder().run({"profile", "--help"});
  EXPECT_EQ(outcome.code, 0);
  for (const char* part : {"Examples:", "--json", "--format", "CUMULUS_CUPTI"}) EXPECT_TRUE(has(outcome.out, part)) << part;
}

TEST(ProfileCommand, PrintsJsonInBothWays) {
  const Folder folder;
  for (const std::vector<std::string>& how : {std::vector<std::string>{"--json"}, {"--format", "json"}}) {
    std::vector<std::string> arguments = {"profile", "--shape", "5000", "--op", "max", "--dtype", "i32", "--threads", "1", "--rounds", "1"};
    arguments.insert(arguments.end(), how.begin(), how.end());
    const Outcome outcome = folder.run(arguments);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const json profile = json::parse(outcome.out);
    EXPECT_EQ(profile.at("plan").at("threads"), 1);
    EXPECT_EQ(profile.at("problem").at("op"), "max");
  }
}

TEST(ProfileCommand, RefusesWhatItCannotProfile) {
  const Folder folder;
  const auto refused = [&](std::vector<std::string> arguments, int code, const char* part) {
    arguments.insert(arguments.begin(), "profile");
    const Outcome outcome = folder.run(arguments);
    EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_TRUE(has(outcome.err, part)) << part << " in " << outcome.err;
  };
  refused({}, 2, "name a shape");
  refused({"--shape", "8x8"}, 2, "needs --axis");
  refused({"--shape", "0x8", "--axis", "1"}, 2, "nothing to scan");
  refused({"--shape", "8", "--device", "4090"}, 2, "give cpu or cuda");
  refused({"--shape", "8", "--format", "metrics"}, 2, "--device cuda");
  refused({"--shape", "8", "--format", "xml"}, 2, "xml");
  refused({"--shape", "2^30x2^20", "--axis", "1"}, 2, "give a smaller shape");
  refused({"--shape", "2^40x2^20", "--axis", "1"}, 2, "give a smaller shape");
  refused({"--shape", "8", "--mask", "same", "--in-dtype", "f16"}, 4, "--mask bool");
}

TEST(ProfileCommand, WithoutAGpuSaysWhyAndHow) {
  try {
    cuda::device_info(0);
    GTEST_SKIP() << "this machine has a GPU";
  } catch (const Failure& failure) {
    const Folder folder;
    const Outcome outcome = folder.run({"profile", "--shape", "64x64", "--axis", "1", "--device", "cuda"});
    EXPECT_EQ(outcome.code, 4) << outcome.out;
    EXPECT_EQ(outcome.err, "cumulus: " + failure.message + "\n");
  }
}

}  // namespace
