// The models that a plan can be made for.
#include "cuda/device.h"

#include <gtest/gtest.h>

#include <set>

namespace {

using namespace cumulus::cuda;

TEST(Presets, FourThousandNinetyIsTheOneOfTheTaskDocuments) {
  const DeviceInfo* device = find_preset("4090");
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->capability, 89);
  EXPECT_EQ(device->sms, 128);
  EXPECT_EQ(device->bandwidth, 1008000000000);
  EXPECT_EQ(device->l2, 72 << 20);
  EXPECT_EQ(device->shared_per_sm, 100 << 10);
  EXPECT_EQ(device->shared_per_block, 99 << 10);
  EXPECT_EQ(device->registers_per_thread, 255);
  EXPECT_EQ(device->threads_per_block, 1024);
  EXPECT_EQ(device->warps_per_sm, 48);
  EXPECT_EQ(device->warps_per_sm * device->warp, 1536);
  EXPECT_EQ(device->tf32, 82.6);
  EXPECT_EQ(device->bf16, 165.2);
  EXPECT_EQ(device->fp16, 165.2);
}

TEST(Presets, AreFoundHoweverTheyAreWritten) {
  for (const char* name : {"4090", "RTX 4090", "rtx4090", "GeForce RTX 4090", "NVIDIA GeForce RTX 4090"})
    EXPECT_EQ(find_preset(name), find_preset("4090")) << name;
  EXPECT_EQ(find_preset("H200"), find_preset("h200"));
  EXPECT_EQ(find_preset("NVIDIA H200"), find_preset("h200"));
  for (const char* name : {"", "nvidia", "409", "h300"}) EXPECT_EQ(find_preset(name), nullptr) << name;
}

TEST(Presets, AllThatAreAskedForAndPlausible) {
  for (const char* key : {"4090", "a100", "h100", "h200", "b200", "5090", "l4", "l40s"}) EXPECT_NE(find_preset(key), nullptr) << key;
  std::set<std::string> names;
  for (const Preset& preset : presets()) {
    const DeviceInfo& d = preset.device;
    EXPECT_TRUE(names.insert(d.name).second) << d.name;
    EXPECT_EQ(find_preset(preset.key), &d);
    EXPECT_EQ(d.warp, 32);
    EXPECT_EQ(d.shared_per_block + d.shared_reserved, d.shared_per_sm) << d.name;
    EXPECT_GE(d.capability, 80);
    EXPECT_GT(d.sms, 50);
    EXPECT_GE(d.bandwidth, std::int64_t{300} * 1000 * 1000 * 1000);
    EXPECT_GE(d.l2, 40 << 20);
    EXPECT_GT(d.bf16, d.tf32);
  }
}

TEST(Presets, OfACapability) {
  EXPECT_EQ(device_of_capability(89), *find_preset("4090"));
  EXPECT_EQ(device_of_capability(90).shared_per_block, 227 << 10);
  EXPECT_EQ(device_of_capability(86).shared_per_block, 99 << 10);
  EXPECT_EQ(device_of_capability(103).shared_per_block, find_preset("b200")->shared_per_block);
  EXPECT_EQ(device_of_capability(121).shared_per_block, find_preset("5090")->shared_per_block);
  for (const int capability : {80, 86, 87, 89, 90, 100, 103, 120, 121}) EXPECT_EQ(device_of_capability(capability).capability, capability);
}

TEST(Presets, ComparesInEveryMember) {
  DeviceInfo other = *find_preset("h200");
  EXPECT_EQ(other, *find_preset("h200"));
  other.l2 += 1;
  EXPECT_NE(other, *find_preset("h200"));
}

}  // namespace
