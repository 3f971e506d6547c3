// The tuning file's text, and which of its entries a machine uses.
#include "tuning/cache.h"

#include <gtest/gtest.h>

namespace {

using namespace cumulus;
using namespace cumulus::tuning;

Machine machine() { return {"cpu", "Model A, L2 1024 KiB", "AVX3", 2, "0.1.0 order 1", "gcc 12", "", kPolicy}; }

Call call() {
  Call c{};
  c.op = Op::sum, c.kind = Kind::inclusive;
  c.in = c.out = DType::f32;
  c.shape = ShapeCase::rows;
  c.aligned = true;
  c.rows_log2 = 12, c.length_log2 = 12;
  return c;
}

Entry entry(const Parameters& tuning = {{"streaming", 1}}, const std::string& date = "2026-01-01T00:00:00Z") {
  return {machine(), call(), tuning, 4096, 4096, 1.5, 0.9, date};
}

// Which entry answers for `wanted`, and how.
Source source(std::vector<Entry> entries, const Call& wanted, const Machine& here = machine()) {
  return Table(std::move(entries), here).find(wanted).source;
}

TEST(TuningCache, TextAndBack) {
  const Cache cache{true, {entry(), entry({{"threads", 1}, {"tile", 65536}}, "2026-02-01T00:00:00Z")}};
  std::string why;
  EXPECT_EQ(parse(to_text(cache), why), cache) << why;
  EXPECT_TRUE(why.empty());
}

TEST(TuningCache, NothingDamagedIsUsed) {
  const std::string text = to_text({false, {entry()}});
  const auto damaged = [&](const std::string& from, const std::string& to) {
    std::string changed = text, why;
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    EXPECT_EQ(parse(changed, why), std::nullopt) << changed;
    EXPECT_FALSE(why.empty());
    EXPECT_EQ(why.find("json.exception"), std::string::npos) << "the library's own words are for its users: " << why;
  };
  damaged("cumulus-tuning", "something");
  damaged("\"format\": 1", "\"format\": 2");
  damaged("\"streaming\": 1", "\"streaming\": -1");
  damaged("\"streaming\": 1", "\"streaming\": 1.5");
  damaged("\"streaming\": 1", "\"streaming\": 1e300");
  damaged("\"streaming\": 1", "\"streaming\": \"yes\"");
  damaged("\"rows_log2\": 12", "\"rows_log2\": 64");
  damaged("\"f32\"", "\"f31\"");
  damaged("\"sum\"", "\"sums\"");
  damaged("\"call\"", "\"cell\"");
  for (std::size_t length = 0; length + 2 < text.size(); length += 7) {
    std::string why;
    EXPECT_EQ(parse(text.substr(0, length), why), std::nullopt) << length;
    EXPECT_EQ(why.find("json.exception"), std::string::npos) << why;
  }
}

TEST(TuningCache, ExactThenNearThenNeighbour) {
  Call near = call(), far = call();
  near.length_log2 = 14;
  far.length_log2 = 15;
  EXPECT_EQ(source({entry()}, call()), Source::exact);
  EXPECT_EQ(source({entry()}, near), Source::bucket);
  EXPECT_EQ(source({entry()}, far), Source::none);
  Entry other = entry({{"threads", 8}, {"streaming", 0}});
  other.machine.device = "Model B", other.machine.units = 8;
  EXPECT_EQ(source({other}, call()), Source::neighbour);
  EXPECT_EQ(source({other, entry()}, call()), Source::exact);
  EXPECT_EQ(source({other, entry()}, near), Source::bucket) << "this machine's own, even if farther";
}

TEST(TuningCache, ANeighboursThreadsAreItsOwn) {
  Entry other = entry({{"threads", 8}, {"streaming", 0}});
  other.machine.units = 8;
  const Table table({other}, machine());
  ASSERT_NE(table.find(call()).entry, nullptr);
  EXPECT_EQ(table.find(call()).entry->tuning, (Parameters{{"streaming", 0}}));
}

TEST(TuningCache, AnotherBuildIsAMiss) {
  const auto here = [](auto change) {
    Machine m = machine();
    change(m);
    return source({entry()}, call(), m);
  };
  EXPECT_EQ(here([](Machine& m) { m.library = "0.2.0 order 1"; }), Source::none);
  EXPECT_EQ(here([](Machine& m) { m.compiler = "clang 14"; }), Source::none);
  EXPECT_EQ(here([](Machine& m) { m.architecture = "AVX2"; }), Source::none);
  EXPECT_EQ(here([](Machine& m) { m.backend = "cuda"; }), Source::none);
  EXPECT_EQ(here([](Machine& m) { m.policy = "averages"; }), Source::none);
}

TEST(TuningCache, AnotherCallIsAMiss) {
  const auto asked = [](auto change) {
    Call c = call();
    change(c);
    return source({entry()}, c);
  };
  EXPECT_EQ(asked([](Call& c) { c.op = Op::max; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.kind = Kind::exclusive; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.out = DType::f64; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.mask = DType::boolean; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.reverse = true; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.aligned = false; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.threads = 1; }), Source::none);
  EXPECT_EQ(asked([](Call& c) { c.shape = ShapeCase::columns; }), Source::none);
}

TEST(TuningCache, TheLaterMeasuredStays) {
  Cache cache{false, {entry({{"tile", 4096}}, "2026-01-02T00:00:00Z")}};
  EXPECT_EQ(merge(cache, {false, {entry({{"tile", 8192}}, "2026-01-01T00:00:00Z")}}), 0);
  EXPECT_EQ(cache.entries[0].tuning.at("tile"), 4096);
  EXPECT_EQ(merge(cache, {false, {entry({{"tile", 8192}}, "2026-01-03T00:00:00Z")}}), 1);
  EXPECT_EQ(cache.entries[0].tuning.at("tile"), 8192);
  Entry other = entry();
  other.machine.compiler = "clang 14";
  EXPECT_EQ(merge(cache, {false, {other}}), 1);
  EXPECT_EQ(cache.entries.size(), 2u) << "another build's entry is replaced by none of ours";
}

}  // namespace
