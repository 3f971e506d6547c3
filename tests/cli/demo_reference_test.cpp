// The demo's own scalar order against the tests' reference, which is checked against files: sizes around every level's node.
#include "../../cli/demo_reference.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "../reference.h"

namespace {

using cumulus::cli::DemoOp;

std::vector<float> random_data(std::size_t n, DemoOp op) {
  std::mt19937 random(static_cast<unsigned>(n));
  std::uniform_real_distribution<float> values(op == DemoOp::sum ? -1.0f : 0.999f, op == DemoOp::sum ? 1.0f : 1.001f);
  std::vector<float> x(n);
  for (float& value : x) value = values(random);
  return x;
}

TEST(DemoReference, HasTheBitsOfTheOrder) {
  cumulus::cli::OrderReference order;
  for (const DemoOp op : {DemoOp::sum, DemoOp::prod}) {
    for (const std::int64_t n : {1, 2, 3, 4, 5, 127, 128, 129, 1000, 4095, 4096, 4097, 8192, 131071, 131072, 131073, 300007}) {
      const std::vector<float> x = random_data(static_cast<std::size_t>(n), op);
      std::vector<float> expected(x.size() + 1), got(x.size() + 1);
      cumulus::ScanSpec spec;
      spec.op = op == DemoOp::sum ? cumulus::Op::sum : cumulus::Op::prod;
      spec.kind = cumulus::Kind::prefixes;
      spec.axis = 0;
      reference::scan({x.data(), cumulus::DType::f32, {n}, {1}}, nullptr, {expected.data(), cumulus::DType::f32, {n + 1}, {1}}, spec);
      order.prefixes(x, op, got);
      EXPECT_EQ(std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)), 0) << "n = " << n;
    }
  }
}

TEST(DemoReference, SerialIsSerial) {
  const std::vector<float> x = {1, 2, 3};
  std::vector<double> r(4);
  cumulus::cli::serial_prefixes(x, DemoOp::sum, r);
  EXPECT_EQ(r, (std::vector<double>{0, 1, 3, 6}));
  cumulus::cli::serial_prefixes(x, DemoOp::prod, r);
  EXPECT_EQ(r, (std::vector<double>{1, 1, 2, 6}));
}

}  // namespace
