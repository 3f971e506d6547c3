// The reference itself is right: equal to results of the order's executable definition (data/make_fixtures.py), to sums done by
// hand, and its f16 and bf16 conversions to the definition of rounding to nearest even.
#include "reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "support.h"

namespace {

using cumulus::DType;
using cumulus::Family;
using cumulus::family;
using support::mix;

template <class List>
int index_of(const List& names, const std::string& name) {
  int k = 0;
  for (const char* each : names) {
    if (each && name == each) return k;
    ++k;
  }
  ADD_FAILURE() << "unknown name in the fixtures: " << name;
  return 0;
}

DType dtype_named(const std::string& name) {
  for (DType t : support::kAllDTypes)
    if (name == cumulus::name(t)) return t;
  ADD_FAILURE() << "unknown dtype in the fixtures: " << name;
  return DType::f32;
}

struct Fixture {
  std::string op, in, out, kind, direction, mask, initial, fill;
  std::int64_t n;
  std::uint64_t seed;
  std::string hash, total, text;
};

std::vector<Fixture> fixtures() {
  std::ifstream file(std::string(CUMULUS_TEST_DATA) + "/order_fixtures.txt");
  EXPECT_TRUE(file) << CUMULUS_TEST_DATA;
  std::vector<Fixture> all;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Fixture f;
    std::string bar;
    words >> f.op >> f.in >> f.out >> f.kind >> f.direction >> f.mask >> f.initial >> f.fill >> f.n >> f.seed >> bar >> f.hash >> f.total;
    f.text = line;
    all.push_back(f);
  }
  return all;
}

// Bits of the components of an element, every NaN as one.
void append_bits(DType t, const char* p, std::vector<std::uint64_t>& to) {
  if (family(t) == Family::complex) {
    const DType part = t == DType::c64 ? DType::f32 : DType::f64;
    append_bits(part, p, to);
    return append_bits(part, p + cumulus::bytes(part), to);
  }
  std::uint64_t bits = 0, nan = 0;
  std::memcpy(&bits, p, static_cast<std::size_t>(cumulus::bytes(t)));
  switch (t) {
    case DType::f16:
      nan = 0x7E00;
      break;
    case DType::bf16:
      nan = 0x7FC0;
      break;
    case DType::f32:
      nan = 0x7FC00000;
      break;
    case DType::f64:
      nan = 0x7FF8000000000000;
      break;
    default:
      break;
  }
  to.push_back(nan && support::same_element(t, p, reinterpret_cast<const char*>(&nan)) ? nan : bits);
}

// "c128:0.1,-0.3", "f64:-0.0", "i64:-5"
cumulus::Initial initial_of(const std::string& text) {
  const std::string type = text.substr(0, text.find(':')), value = text.substr(text.find(':') + 1);
  if (type == "i64") return static_cast<std::int64_t>(std::stoll(value));
  if (type == "f32") return std::stof(value);
  if (type == "f64") return std::stod(value);
  return std::complex<double>(std::stod(value), std::stod(value.substr(value.find(',') + 1)));
}

void check(const Fixture& f) {
  using support::Tensor;
  const DType a = dtype_named(f.in), b = dtype_named(f.out), acc = cumulus::accumulator(b);
  const auto how = static_cast<support::Fill>(index_of(support::kFillName, f.fill));
  cumulus::ScanSpec spec;
  spec.op = static_cast<cumulus::Op>(index_of(cumulus::kOpName, f.op));
  spec.kind = static_cast<cumulus::Kind>(index_of(cumulus::kKindName, f.kind));
  spec.reverse = f.direction == "reverse";
  if (f.initial != "-") spec.initial = initial_of(f.initial);
  const Tensor in = Tensor(a, {f.n}).filled(how, f.seed);
  Tensor mask, total(acc, {}), out(b, {f.n + (f.kind == "prefixes")});
  if (f.mask == "select") {
    mask = Tensor(DType::boolean, {f.n});
    Tensor words = Tensor(DType::u64, {f.n}).filled(support::Fill::wide, f.seed + 1);
    for (std::int64_t i = 0; i < f.n; ++i) mask.memory.data()[i] = (words.memory.data()[8 * i] & 7) > 0;
  } else if (f.mask == "multiply") {
    mask = Tensor(a, {f.n}).filled(f.op == "prod" ? support::Fill::near_one : support::Fill::uniform, f.seed + 1);
  }
  if (mask) spec.mask = mask.view();
  spec.total = total.view();
  if (f.op == "recurrence") {
    const Tensor in2 = Tensor(a, {f.n}).filled(f.fill == "units" ? support::Fill::small : support::Fill::uniform, f.seed + 2);
    const cumulus::ConstTensorView view = in2.view();
    reference::scan(in.view(), &view, out.view(), spec);
  } else {
    reference::scan(in.view(), nullptr, out.view(), spec);
  }

  std::vector<std::uint64_t> bits;
  for (std::int64_t i = 0; i < out.shape[0]; ++i) append_bits(b, out.memory.data() + i * cumulus::bytes(b), bits);
  const std::size_t results = bits.size();
  append_bits(acc, total.memory.data(), bits);
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < bits.size(); ++i) hash += mix(bits[i] + (i + 1) * 0x9E3779B97F4A7C15u);
  std::ostringstream hex, total_hex;
  hex << std::hex;
  hex.width(16);
  hex.fill('0');
  hex << hash;
  EXPECT_EQ(hex.str(), f.hash) << f.text << "\nfirst result: " << std::hex << (results ? bits[0] : 0) << ", total: " << bits[results];
}

TEST(Reference, EqualsTheExecutableDefinition) {
  const std::vector<Fixture> all = fixtures();
  EXPECT_GT(all.size(), 7000u);
  for (const Fixture& f : all) {
    check(f);
    if (HasFailure()) return;
  }
}

TEST(Reference, FirstElementsByHand) {
  // 1 + 2^-24 rounds to 1 in f32: serial inside a quad, so that 1, 2^-24, 2^-24 stays 1; a second quad of small ones is added first.
  const float tiny = std::ldexp(1.0f, -24);
  const std::vector<float> in = {1, tiny, tiny, tiny, tiny, tiny, tiny, tiny};
  std::vector<float> out(8);
  reference::scan(cumulus::view(in), nullptr, cumulus::view(out), {});
  EXPECT_EQ(out[3], 1.0f);
  EXPECT_EQ(out[4], 1.0f);
  EXPECT_EQ(out[5], 1.0f + 2 * tiny);
  EXPECT_EQ(out[7], 1.0f + 4 * tiny);
}

TEST(Reference, HalfPrecisionConversionsAreNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float f16 = reference::from_f16(h), bf16 = reference::from_bf16(h);
    if (!std::isnan(f16)) {
      EXPECT_EQ(reference::to_f16(f16), h);
    }
    if (!std::isnan(bf16)) {
      EXPECT_EQ(reference::to_bf16(bf16), h);
    }
  }
  struct {
    float value;
    std::uint16_t f16, bf16;
  } const cases[] = {{1 + 0x1p-11f, 0x3C00, 0x3F80},  // ties go to even
                     {1 + 0x3p-11f, 0x3C02, 0x3F80},    {1 + 0x1p-8f, 0x3C04, 0x3F80}, {1 + 0x3p-8f, 0x3C0C, 0x3F82},
                     {65519.0f, 0x7BFF, 0x4780},        {65520.0f, 0x7C00, 0x4780},    {0x1p-24f, 0x0001, 0x3380},
                     {0x1p-25f, 0x0000, 0x3300},        {0x1.8p-25f, 0x0001, 0x3340},  {-0x1p-26f, 0x8000, 0xB280},
                     {0x1.fffffep127f, 0x7C00, 0x7F80}, {0x1p-149f, 0x0000, 0x0000},   {0x1p-133f, 0x0000, 0x0001},
                     {0x1.8p-133f, 0x0000, 0x0002},     {INFINITY, 0x7C00, 0x7F80},    {-INFINITY, 0xFC00, 0xFF80}};
  for (const auto& c : cases) {
    EXPECT_EQ(reference::to_f16(c.value), c.f16) << c.value;
    EXPECT_EQ(reference::to_bf16(c.value), c.bf16) << c.value;
  }
}

}  // namespace
