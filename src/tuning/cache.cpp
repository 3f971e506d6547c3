#include "tuning/cache.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "json_problem.h"

namespace cumulus::tuning {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
constexpr int kNear = 2;                                    // buckets, rows and length together: a factor of four
constexpr std::int64_t kMostValue = std::int64_t{1} << 40;  // of a parameter: more can only be damage

// A text's place in a list of names; what is not there is damage.
template <class Value, class Names>
Value named(const Json& json, const Names& names) {
  const auto text = json.get<std::string>();
  for (std::size_t i = 0; i < std::size(names); ++i)
    if (names[i] && text == names[i]) return static_cast<Value>(i);
  throw std::invalid_argument(fmt::format("{} is not known", text));
}

DType dtype(const Json& json) {
  const auto text = json.get<std::string>();
  for (int i = 0; i < kDTypes; ++i)
    if (text == cumulus::name(static_cast<DType>(i))) return static_cast<DType>(i);
  throw std::invalid_argument(fmt::format("{} is no dtype", text));
}

constexpr const char* kShapes[] = {"empty", "rows", "columns", "strided"};

std::int64_t integer(const Json& json, std::int64_t most) {
  if (!json.is_number_integer() || json.get<std::int64_t>() < 0 || json.get<std::int64_t>() > most)
    throw std::invalid_argument(fmt::format("{} is no number from 0 to {}", json.dump(), most));
  return json.get<std::int64_t>();
}

std::int32_t small(const Json& json, std::int32_t most) { return static_cast<std::int32_t>(integer(json, most)); }

Json to_json(const Machine& m) {
  return {{"backend", m.backend}, {"device", m.device},   {"architecture", m.architecture},
          {"units", m.units},     {"library", m.library}, {"compiler", m.compiler},
          {"driver", m.driver},   {"policy", m.policy}};
}

Machine machine_from(const Json& j) {
  return {j.at("backend"), j.at("device"),   j.at("architecture"), integer(j.at("units"), INT_MAX),
          j.at("library"), j.at("compiler"), j.at("driver"),       j.at("policy")};
}

Json to_json(const Call& c) {
  return {{"op", cumulus::name(c.op)},
          {"kind", kKindName[static_cast<int>(c.kind)]},
          {"in", cumulus::name(c.in)},
          {"out", cumulus::name(c.out)},
          {"mask", cumulus::name(c.mask)},
          {"initial", cumulus::name(c.initial)},
          {"total", cumulus::name(c.total)},
          {"shape_case", kShapes[static_cast<int>(c.shape)]},
          {"reverse", c.reverse},
          {"aligned", c.aligned},
          {"threads", c.threads},
          {"rows_log2", c.rows_log2},
          {"length_log2", c.length_log2}};
}

Call call_from(const Json& j) {
  Call c{};
  c.op = named<Op>(j.at("op"), kOpName);
  c.kind = named<Kind>(j.at("kind"), kKindName);
  c.in = dtype(j.at("in")), c.out = dtype(j.at("out")), c.mask = dtype(j.at("mask"));
  c.initial = dtype(j.at("initial")), c.total = dtype(j.at("total"));
  c.shape = named<ShapeCase>(j.at("shape_case"), kShapes);
  c.reverse = j.at("reverse").get<bool>(), c.aligned = j.at("aligned").get<bool>();
  c.threads = small(j.at("threads"), INT_MAX);
  c.rows_log2 = small(j.at("rows_log2"), 63), c.length_log2 = small(j.at("length_log2"), 63);
  return c;
}

Json to_json(const Entry& e) {
  return {{"machine", to_json(e.machine)},
          {"call", to_json(e.call)},
          {"tuning", e.tuning},
          {"rows", e.rows},
          {"length", e.length},
          {"ms", e.ms},
          {"ratio", e.ratio},
          {"date", e.date}};
}

Parameters parameters_from(const Json& j) {
  Parameters parameters;
  for (const auto& [name, value] : j.items()) parameters[name] = integer(value, kMostValue);
  return parameters;
}

Entry entry_from(const Json& j) {
  return {machine_from(j.at("machine")),
          call_from(j.at("call")),
          parameters_from(j.at("tuning")),
          integer(j.at("rows"), INT64_MAX),
          integer(j.at("length"), INT64_MAX),
          j.at("ms"),
          j.at("ratio"),
          j.at("date")};
}

std::int32_t rounded_log2(std::int64_t size) { return size < 1 ? 0 : static_cast<std::int32_t>(std::lround(std::log2(size))); }

// Do rows begin at whole vectors of 16 bytes, wherever the planner looks?
bool is_aligned(const Problem& p) {
  constexpr std::int64_t kVector = 16;
  const auto fits = [](const void* data) { return reinterpret_cast<std::uintptr_t>(data) % kVector == 0; };
  if (!fits(p.in) || !fits(p.out)) return false;
  for (int i = 0; i < p.dims; ++i)
    for (const std::int64_t step : {p.dim[i].in * bytes(p.in_dtype), p.dim[i].out * bytes(p.out_dtype)})
      if (std::abs(step) > kVector && step % kVector != 0) return false;
  return true;
}

// Could timings on `other` be worth something here? The same code on the same architecture.
bool neighbours(Machine other, const Machine& machine) {
  other.device = machine.device, other.units = machine.units, other.driver = machine.driver;
  return other == machine;
}

int distance(Call a, const Call& b) {
  const int far = std::abs(a.rows_log2 - b.rows_log2) + std::abs(a.length_log2 - b.length_log2);
  a.rows_log2 = b.rows_log2, a.length_log2 = b.length_log2;
  return a == b ? far : INT_MAX;
}

}  // namespace

Call call_of(const Problem& p, ShapeCase shape) {
  return {p.op,  p.kind,        p.in_dtype,    p.out_dtype, p.mask_dtype,         p.initial_dtype,  p.total_dtype,
          shape, p.axis.in < 0, is_aligned(p), p.threads,   rounded_log2(p.rows), rounded_log2(p.n)};
}

Call call_of(const Problem& p) {
  constexpr cpu::CpuInfo kAny = {1, 1, 1, 1, 1, ""};  // the shape case is the problem's alone
  return call_of(p, make_plan(p, kAny).shape);
}

std::string text_of(const Call& c) {
  return fmt::format("{}{} {}, {} to {}{}, {}, about 2^{} rows of 2^{}", c.reverse ? "reverse " : "", kKindName[static_cast<int>(c.kind)],
                     cumulus::name(c.op), cumulus::name(c.in), cumulus::name(c.out),
                     c.mask == DType::none ? "" : fmt::format(", mask {}", cumulus::name(c.mask)), kShapes[static_cast<int>(c.shape)],
                     c.rows_log2, c.length_log2);
}

std::string to_text(const Cache& cache) {
  Json entries = Json::array();
  for (const Entry& entry : cache.entries) entries.push_back(to_json(entry));
  return Json{{"kind", "cumulus-tuning"}, {"format", kFormat}, {"frozen", cache.frozen}, {"entries", std::move(entries)}}.dump(1) + "\n";
}

std::optional<Cache> parse(const std::string& text, std::string& why) {
  try {
    const Json json = Json::parse(text);
    if (json.at("kind") != "cumulus-tuning") throw std::invalid_argument("it is no tuning file");
    if (json.at("format") != kFormat)
      throw std::invalid_argument(fmt::format("its format is {}, this version reads {}", json.at("format").dump(), kFormat));
    Cache cache;
    cache.frozen = json.at("frozen").get<bool>();
    for (const Json& entry : json.at("entries")) cache.entries.push_back(entry_from(entry));
    return cache;
  } catch (const std::exception& error) {
    why = json_problem(error.what());
    return std::nullopt;
  }
}

int merge(Cache& into, const Cache& from) {
  int changed = 0;
  for (const Entry& entry : from.entries) {
    const auto same = std::find_if(into.entries.begin(), into.entries.end(),
                                   [&](const Entry& known) { return known.machine == entry.machine && known.call == entry.call; });
    if (same == into.entries.end()) into.entries.push_back(entry);
    else if (same->date < entry.date) *same = entry;
    else continue;
    ++changed;
  }
  return changed;
}

const char* name(Source source) {
  constexpr const char* kNames[] = {"exact entry", "nearest bucket", "neighbouring architecture", "default"};
  return kNames[static_cast<int>(source)];
}

Table::Table(std::vector<Entry> entries, const Machine& machine) : entries_(std::move(entries)) {
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const bool own = entries_[i].machine == machine;
    if (!own && !neighbours(entries_[i].machine, machine)) continue;
    if (!own) entries_[i].tuning.erase("threads");  // another machine's number
    usable_.push_back({entries_[i].call, own, i});
  }
}

Found Table::find(const Call& call) const {
  Found found;
  int nearest = INT_MAX;
  for (const Usable& usable : usable_) {
    const int far = distance(usable.call, call);
    if (far > kNear) continue;
    const int rank = far + (usable.own ? 0 : kNear + 1);  // any of this machine before another's
    if (rank >= nearest) continue;
    nearest = rank;
    found = {!usable.own ? Source::neighbour : far == 0 ? Source::exact : Source::bucket, &entries_[usable.entry]};
  }
  return found;
}

}  // namespace cumulus::tuning
