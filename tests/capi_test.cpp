// The C interface: bad calls get the right status and a message that names the value, and touch nothing; versions, names, structure
// sizes. The C++ layer throws the same. Every case starts from one good call and breaks one thing.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "cumulus/cumulus.hpp"
#include "support.h"

namespace {

// A good call: f32 (4, 6) scanned along axis 1, with a mask, an initial tensor and a total.
struct Call {
  Call() {
    args.struct_size = sizeof args;
    args.axis = 1;
    args.in = tensor(in, CUMULUS_DTYPE_f32, shape, 2);
    args.out = tensor(out, CUMULUS_DTYPE_f32, shape, 2);
    args.mask = tensor(mask, CUMULUS_DTYPE_boolean, shape, 2);
    args.initial = tensor(initial, CUMULUS_DTYPE_f32, rows, 1);
    args.total = tensor(total, CUMULUS_DTYPE_f32, rows, 1);
    for (int i = 0; i < 24; ++i) in[i] = 1, out[i] = -7, mask[i] = 1;
    for (int i = 0; i < 4; ++i) initial[i] = 10, total[i] = -7;
  }
  static cumulus_tensor tensor(void* data, int dtype, const std::int64_t* sizes, int rank) {
    return {data, sizes, nullptr, rank, dtype, CUMULUS_CPU, 0};
  }

  bool untouched() const {
    for (float x : out)
      if (x != -7) return false;
    for (float x : total)
      if (x != -7) return false;
    return true;
  }

  alignas(64) float in[24], out[24], initial[4], total[4];
  unsigned char mask[24];
  std::int64_t shape[2] = {4, 6}, rows[1] = {4};
  std::int64_t more[64] = {}, strides[64] = {};  // for cases that need other ones
  cumulus_scan_args args = {};
};

struct Bad {
  const char* name;
  std::function<void(Call&)> breaks;
  cumulus_status status;
  const char* names;  // what the message must contain
};

const cumulus_status kInvalid = CUMULUS_INVALID_ARGUMENT, kUnsupported = CUMULUS_UNSUPPORTED;

const Bad kBad[] = {
    {"unknown_op", [](Call& c) { c.args.op = 77; }, kInvalid, "77"},
    {"negative_op", [](Call& c) { c.args.op = -1; }, kInvalid, "-1"},
    {"unknown_kind", [](Call& c) { c.args.kind = 3; }, kInvalid, "3"},
    {"negative_kind", [](Call& c) { c.args.kind = -5; }, kInvalid, "-5"},
    {"unknown_flag", [](Call& c) { c.args.flags = 0x40; }, kInvalid, "40"},
    {"negative_threads", [](Call& c) { c.args.threads = -2; }, kInvalid, "-2"},
    {"axis_too_large", [](Call& c) { c.args.axis = 2; }, kInvalid, "axis 2"},
    {"axis_too_small", [](Call& c) { c.args.axis = -3; }, kInvalid, "axis -3"},
    {"axis_at_the_limit", [](Call& c) { c.args.axis = INT32_MIN; }, kInvalid, "axis"},
    {"no_input", [](Call& c) { c.args.in = {}; }, kInvalid, "in"},
    {"no_output", [](Call& c) { c.args.out = {}; }, kInvalid, "out"},
    {"unknown_dtype", [](Call& c) { c.args.in.dtype = 99; }, kInvalid, "99"},
    {"negative_dtype", [](Call& c) { c.args.out.dtype = -4; }, kInvalid, "-4"},
    {"unknown_mask_dtype", [](Call& c) { c.args.mask.dtype = 16; }, kInvalid, "16"},
    {"rank_65", [](Call& c) { c.args.in.rank = 65, c.args.in.shape = c.more; }, kInvalid, "65"},
    {"negative_rank", [](Call& c) { c.args.out.rank = -1; }, kInvalid, "-1"},
    {"shape_null", [](Call& c) { c.args.in.shape = nullptr; }, kInvalid, "shape"},
    {"negative_size", [](Call& c) { c.more[0] = 4, c.more[1] = -6, c.args.in.shape = c.more; }, kInvalid, "-6"},
    {"size_of_more_than_64_bits",
     [](Call& c) { c.more[0] = std::int64_t{1} << 40, c.more[1] = std::int64_t{1} << 40, c.args.in.shape = c.args.out.shape = c.more; },
     kInvalid, "1099511627776"},
    {"bytes_of_more_than_63_bits",
     [](Call& c) { c.more[0] = std::int64_t{1} << 31, c.more[1] = std::int64_t{1} << 31, c.args.in.shape = c.args.out.shape = c.more; },
     kInvalid, "2147483648"},
    {"stride_beyond_63_bits", [](Call& c) { c.strides[0] = std::int64_t{1} << 62, c.strides[1] = 1, c.args.in.strides = c.strides; },
     kInvalid, "4611686018427387904"},
    {"stride_at_the_limit", [](Call& c) { c.strides[0] = INT64_MIN, c.strides[1] = 1, c.args.in.strides = c.strides; }, kInvalid, "stride"},
    {"input_null", [](Call& c) { c.args.in.data = nullptr; }, kInvalid, "null"},
    {"output_null", [](Call& c) { c.args.out.data = nullptr; }, kInvalid, "null"},
    {"mask_null", [](Call& c) { c.args.mask.data = nullptr; }, kInvalid, "mask"},
    {"initial_null", [](Call& c) { c.args.initial.data = nullptr; }, kInvalid, "initial"},
    {"total_null", [](Call& c) { c.args.total.data = nullptr; }, kInvalid, "total"},
    {"input_misaligned", [](Call& c) { c.args.in.data = reinterpret_cast<char*>(c.in) + 1; }, kInvalid, "align"},
    {"output_misaligned", [](Call& c) { c.args.out.data = reinterpret_cast<char*>(c.out) + 2; }, kInvalid, "align"},
    {"total_misaligned", [](Call& c) { c.args.total.data = reinterpret_cast<char*>(c.total) + 2; }, kInvalid, "align"},
    {"output_of_another_shape", [](Call& c) { c.more[0] = 4, c.more[1] = 5, c.args.out.shape = c.more; }, kInvalid, "(4, 5)"},
    {"output_of_another_rank", [](Call& c) { c.more[0] = 24, c.args.out.shape = c.more, c.args.out.rank = 1; }, kInvalid, "(24"},
    {"prefixes_need_one_more", [](Call& c) { c.args.kind = CUMULUS_PREFIXES; }, kInvalid, "one longer"},
    {"mask_that_does_not_broadcast", [](Call& c) { c.more[0] = 4, c.args.mask.shape = c.more, c.args.mask.rank = 1; }, kInvalid, "mask"},
    {"mask_of_higher_rank", [](Call& c) { c.more[0] = 1, c.more[1] = 4, c.more[2] = 6, c.args.mask.shape = c.more, c.args.mask.rank = 3; },
     kInvalid, "mask"},
    {"initial_of_another_shape", [](Call& c) { c.more[0] = 6, c.args.initial.shape = c.more; }, kInvalid, "initial"},
    {"total_of_another_shape", [](Call& c) { c.more[0] = 4, c.more[1] = 6, c.args.total.shape = c.more, c.args.total.rank = 2; }, kInvalid,
     "total"},
    {"total_of_rank_0", [](Call& c) { c.args.total.rank = 0; }, kInvalid, "total"},
    {"a_second_input_for_sum", [](Call& c) { c.args.in2 = c.args.in; }, kInvalid, "in2"},
    {"no_second_input_for_the_recurrence", [](Call& c) { c.args.op = CUMULUS_OP_recurrence; }, kInvalid, "in2"},
    {"second_input_of_another_shape",
     [](Call& c) {
       c.more[0] = 6, c.more[1] = 4;
       c.args.op = CUMULUS_OP_recurrence, c.args.in2 = c.args.in, c.args.in2.shape = c.more;
     },
     kInvalid, "in2"},
    {"second_input_of_another_dtype",
     [](Call& c) { c.args.op = CUMULUS_OP_recurrence, c.args.in2 = c.args.in, c.args.in2.dtype = CUMULUS_DTYPE_i32; }, kUnsupported, "i32"},
    {"float_to_integer", [](Call& c) { c.args.out.dtype = CUMULUS_DTYPE_i32; }, kUnsupported, "f32 to i32"},
    {"to_bool", [](Call& c) { c.args.in.dtype = c.args.out.dtype = CUMULUS_DTYPE_boolean; }, kUnsupported, "bool"},
    {"widening_to_i32", [](Call& c) { c.args.in.dtype = CUMULUS_DTYPE_i8, c.args.out.dtype = CUMULUS_DTYPE_i32; }, kUnsupported,
     "i8 to i32"},
    {"f32_to_f16", [](Call& c) { c.args.out.dtype = CUMULUS_DTYPE_f16; }, kUnsupported, "f32 to f16"},
    {"mask_of_another_dtype", [](Call& c) { c.args.mask.dtype = CUMULUS_DTYPE_u8; }, kUnsupported, "u8"},
    {"multiplying_mask_for_the_recurrence",
     [](Call& c) {
       c.args.op = CUMULUS_OP_recurrence, c.args.in2 = c.args.in;
       c.args.mask = c.args.in;
     },
     kUnsupported, "mask"},
    {"complex_initial_for_a_real_scan", [](Call& c) { c.args.initial.dtype = CUMULUS_DTYPE_c64, c.args.initial.rank = 0; }, kUnsupported,
     "c64"},
    {"total_of_another_dtype", [](Call& c) { c.args.total.dtype = CUMULUS_DTYPE_i32; }, kUnsupported, "i32"},
    {"output_with_stride_0", [](Call& c) { c.strides[0] = 0, c.strides[1] = 1, c.args.out.strides = c.strides; }, kInvalid, "stride 0"},
    {"total_with_stride_0", [](Call& c) { c.args.total.strides = c.strides; }, kInvalid, "stride 0"},
    {"output_inside_input",
     [](Call& c) {
       c.args.in.data = c.out + 1, c.more[0] = 3, c.more[1] = 6, c.args.in.shape = c.args.out.shape = c.more;
       c.args.mask = c.args.initial = c.args.total = {};
     },
     kInvalid, "overlap"},
    {"in_place_with_other_strides",
     [](Call& c) {
       c.strides[0] = 1, c.strides[1] = 4;
       c.args.in.data = c.out, c.args.in.strides = c.strides;
     },
     kInvalid, "overlap"},
    {"output_is_the_total", [](Call& c) { c.args.total.data = c.out; }, kInvalid, "overlap"},
    {"output_is_the_initial", [](Call& c) { c.args.initial.data = c.out + 20; }, kInvalid, "overlap"},
    {"output_is_the_mask", [](Call& c) { c.args.mask.data = c.out; }, kInvalid, "overlap"},
    {"total_is_the_input", [](Call& c) { c.args.in.data = c.out, c.args.out.data = c.in, c.args.total.data = c.out; }, kInvalid, "overlap"},
    {"total_beside_initial",
     [](Call& c) {
       c.more[0] = 3, c.more[1] = 6, c.more[2] = 3, c.args.in.shape = c.args.out.shape = c.args.mask.shape = c.more;
       c.args.total.shape = c.args.initial.shape = c.more + 2;
       c.args.initial.data = c.total + 1;
     },
     kInvalid, "overlap"},
    {"unknown_device", [](Call& c) { c.args.in.device = 9; }, kInvalid, "9"},
    {"mixed_devices", [](Call& c) { c.args.in.device = CUMULUS_CUDA; }, kInvalid, "device"},
    {"cpu_with_an_index",
     [](Call& c) {
       c.args.in.device_index = c.args.out.device_index = c.args.mask.device_index = c.args.initial.device_index =
           c.args.total.device_index = 3;
     },
     kInvalid, "3"},
    {"a_stream_on_the_cpu", [](Call& c) { c.args.stream = &c; }, kInvalid, "stream"},
    {"a_workspace_on_the_cpu", [](Call& c) { c.args.workspace = &c; }, kInvalid, "workspace"},
    {"workspace_bytes_of_no_workspace", [](Call& c) { c.args.workspace_bytes = 77; }, kInvalid, "77"},
    {"struct_size_0", [](Call& c) { c.args.struct_size = 0; }, kInvalid, "struct_size is 0"},
    {"struct_size_too_small", [](Call& c) { c.args.struct_size = sizeof c.args - 8; }, kInvalid, "struct_size"},
    {"struct_size_absurd", [](Call& c) { c.args.struct_size = 0xFFFFFFFFu; }, kInvalid, "4294967295"},
};

class CApi : public testing::TestWithParam<Bad> {};

TEST_P(CApi, RefusesAndTouchesNothing) {
  Call call;
  GetParam().breaks(call);
  const cumulus_status status = cumulus_scan(&call.args);
  const std::string message = cumulus_last_error();
  EXPECT_EQ(status, GetParam().status) << cumulus_status_name(status) << ": " << message;
  EXPECT_NE(message.find(GetParam().names), std::string::npos) << message;
  EXPECT_TRUE(call.untouched());
}

INSTANTIATE_TEST_SUITE_P(Bad, CApi, testing::ValuesIn(kBad), [](const auto& info) { return std::string(info.param.name); });

TEST(CApi, TheGoodCallIsGood) {
  Call call;
  ASSERT_EQ(cumulus_scan(&call.args), CUMULUS_OK) << cumulus_last_error();
  for (int i = 0; i < 24; ++i) EXPECT_EQ(call.out[i], 11 + i % 6);
  for (float x : call.total) EXPECT_EQ(x, 16);
}

TEST(CApi, NullArgs) {
  EXPECT_EQ(cumulus_scan(nullptr), CUMULUS_INVALID_ARGUMENT);
  EXPECT_STRNE(cumulus_last_error(), "");
  EXPECT_EQ(cumulus_plan(nullptr, nullptr, 0, nullptr), CUMULUS_INVALID_ARGUMENT);
}

TEST(CApi, EveryUnsupportedPairIsRefused) {
  for (auto in : support::kAllDTypes)
    for (auto out : support::kAllDTypes)
      for (auto op : support::kAllOps) {
        bool listed = false;
        for (const auto& s : support::supported()) listed = listed || (s.op == op && s.in == in && s.out == out);
        alignas(16) unsigned char a[16] = {}, b[16] = {}, y[16];
        std::memset(y, 0x5A, sizeof y);
        cumulus_scan_args args = {};
        args.struct_size = sizeof args;
        args.op = static_cast<int>(op);
        args.in = Call::tensor(a, static_cast<int>(in), nullptr, 0);
        if (op == cumulus::Op::recurrence) args.in2 = Call::tensor(b, static_cast<int>(in), nullptr, 0);
        args.out = Call::tensor(y, static_cast<int>(out), nullptr, 0);
        EXPECT_EQ(cumulus_scan(&args), listed ? CUMULUS_OK : CUMULUS_UNSUPPORTED)
            << cumulus::name(op) << " " << cumulus::name(in) << " to " << cumulus::name(out) << ": " << cumulus_last_error();
        if (!listed) {
          EXPECT_EQ(y[0], 0x5A);
        }
      }
}

// The promise of the header, spelled out once by hand: 14 same-dtype pairs, 9 integer-like to 4 wide ones, 4 reals to 2.
TEST(CApi, HowManyPairsThereAre) {
  int pairs = 0;
  for (auto in : support::kAllDTypes)
    for (auto out : support::kAllDTypes) pairs += cumulus::supported_pair(in, out);
  EXPECT_EQ(pairs, 14 + (9 * 4 - 2) + (4 * 2 - 2));
  EXPECT_EQ(support::supported().size(), static_cast<std::size_t>(5 * pairs - 2 * 2));  // complex max and min
}

// A caller built against a later version: more bytes, accepted when they are zero.
TEST(CApi, LongerStructures) {
  for (unsigned char last : {0, 1}) {
    Call call;
    std::vector<unsigned char> longer(sizeof call.args + 16, 0);
    call.args.struct_size = static_cast<std::uint32_t>(longer.size());
    std::memcpy(longer.data(), &call.args, sizeof call.args);
    longer.back() = last;
    void* aligned = std::malloc(longer.size());
    std::memcpy(aligned, longer.data(), longer.size());
    const cumulus_status status = cumulus_scan(static_cast<const cumulus_scan_args*>(aligned));
    std::free(aligned);
    EXPECT_EQ(status, last ? CUMULUS_UNSUPPORTED : CUMULUS_OK) << cumulus_last_error();
    EXPECT_EQ(call.untouched(), last != 0);
  }
}

// A caller built before there was a workspace: what lies behind its structure is somebody else's.
TEST(CApi, TheFirstStructure) {
  EXPECT_EQ(offsetof(cumulus_scan_args, workspace), 272u);
  Call call;
  call.args.struct_size = 272;
  call.args.workspace = &call, call.args.workspace_bytes = 99;
  EXPECT_EQ(cumulus_scan(&call.args), CUMULUS_OK) << cumulus_last_error();
  EXPECT_FALSE(call.untouched());
}

TEST(CApi, AScanOnTheCpuNeedsNoWorkspace) {
  Call call;
  std::size_t bytes = 99;
  EXPECT_EQ(cumulus_workspace_bytes(&call.args, &bytes), CUMULUS_OK) << cumulus_last_error();
  EXPECT_EQ(bytes, 0u);
  EXPECT_EQ(cumulus_workspace_bytes(&call.args, nullptr), CUMULUS_INVALID_ARGUMENT);
  EXPECT_EQ(cumulus_workspace_bytes(nullptr, &bytes), CUMULUS_INVALID_ARGUMENT);
  call.args.axis = 5;
  EXPECT_EQ(cumulus_workspace_bytes(&call.args, &bytes), CUMULUS_INVALID_ARGUMENT);
  EXPECT_NE(std::string(cumulus_last_error()).find("axis 5"), std::string::npos);
  EXPECT_TRUE(call.untouched());
}

TEST(CApi, HostMemoryIsNoCudaTensor) {
  Call call;
  for (cumulus_tensor* t : {&call.args.in, &call.args.out, &call.args.mask, &call.args.initial, &call.args.total}) t->device = CUMULUS_CUDA;
  EXPECT_NE(cumulus_scan(&call.args), CUMULUS_OK);  // no backend, no driver, or memory that is not the device's
  EXPECT_NE(std::string(cumulus_last_error()).find("CUDA"), std::string::npos) << cumulus_last_error();
  EXPECT_TRUE(call.untouched());
}

TEST(CApi, TensorsWithoutElementsNeedNoMemory) {
  Call call;
  call.more[0] = 0, call.more[1] = 6;
  call.args.in = Call::tensor(nullptr, CUMULUS_DTYPE_f32, call.more, 2);
  call.args.out = Call::tensor(nullptr, CUMULUS_DTYPE_f32, call.more, 2);
  call.args.mask = call.args.initial = call.args.total = {};
  EXPECT_EQ(cumulus_scan(&call.args), CUMULUS_OK) << cumulus_last_error();
}

TEST(CApi, ErrorsBelongToTheirThread) {
  Call call;
  call.args.axis = 12345;
  ASSERT_EQ(cumulus_scan(&call.args), CUMULUS_INVALID_ARGUMENT);
  std::thread([] { EXPECT_STREQ(cumulus_last_error(), ""); }).join();
  EXPECT_NE(std::string(cumulus_last_error()).find("12345"), std::string::npos);
}

TEST(CApi, NamesAndVersions) {
  const std::string version =
      std::to_string(CUMULUS_VERSION_MAJOR) + "." + std::to_string(CUMULUS_VERSION_MINOR) + "." + std::to_string(CUMULUS_VERSION_PATCH);
  EXPECT_EQ(cumulus_version(), version);
  EXPECT_EQ(cumulus_order_version(), 1);
  EXPECT_STREQ(cumulus_dtype_name(CUMULUS_DTYPE_bf16), "bf16");
  EXPECT_EQ(cumulus_dtype_name(0), nullptr);
  EXPECT_EQ(cumulus_dtype_name(16), nullptr);
  EXPECT_EQ(cumulus_dtype_name(-1), nullptr);
  EXPECT_EQ(cumulus_dtype_size(CUMULUS_DTYPE_c128), 16u);
  EXPECT_EQ(cumulus_dtype_size(-3), 0u);
  EXPECT_EQ(cumulus_dtype_size(INT32_MAX), 0u);
  EXPECT_STREQ(cumulus_status_name(CUMULUS_OUT_OF_MEMORY), "out of memory");
  EXPECT_STREQ(cumulus_status_name(static_cast<cumulus_status>(6)), "unknown status");
  EXPECT_STREQ(cumulus_simd_target(), cumulus::cpu::name(cumulus::cpu::current_target()));
}

TEST(CApi, PlanIsCutAtItsSize) {
  Call call;
  std::size_t needed = 0;
  ASSERT_EQ(cumulus_plan(&call.args, nullptr, 0, &needed), CUMULUS_OK) << cumulus_last_error();
  ASSERT_GT(needed, 50u);
  std::string whole(needed, '?'), part(10, '?');
  ASSERT_EQ(cumulus_plan(&call.args, whole.data(), needed, nullptr), CUMULUS_OK);
  EXPECT_EQ(std::strlen(whole.c_str()) + 1, needed);
  ASSERT_EQ(cumulus_plan(&call.args, part.data(), 9, nullptr), CUMULUS_OK);
  EXPECT_EQ(std::string(part.c_str()), whole.substr(0, 8));
  EXPECT_EQ(part[9], '?');
  EXPECT_EQ(cumulus_plan(&call.args, nullptr, 5, nullptr), CUMULUS_INVALID_ARGUMENT);
  call.args.in.data = call.args.out.data = call.args.mask.data = nullptr;  // planning reads nothing
  EXPECT_EQ(cumulus_plan(&call.args, nullptr, 0, &needed), CUMULUS_OK);
  EXPECT_TRUE(call.untouched());
}

// ---- the C++ layer ----

TEST(CppApi, ThrowsWhatTheCInterfaceSays) {
  std::vector<float> x(6), y(5);
  try {
    cumulus::scan(cumulus::view(x), cumulus::view(y));
    FAIL() << "a shape mismatch was accepted";
  } catch (const cumulus::Error& error) {
    EXPECT_EQ(error.code(), cumulus::Status::invalid_argument);
    EXPECT_EQ(std::string(error.what()), cumulus_last_error());
    EXPECT_NE(std::string(error.what()).find("5"), std::string::npos);
  }
  EXPECT_EQ(cumulus::try_scan(cumulus::view(x), cumulus::view(y)), cumulus::Status::invalid_argument);
  EXPECT_THROW(cumulus::plan(cumulus::view(x), cumulus::view(y)), cumulus::Error);
  EXPECT_THROW(cumulus::linear_recurrence(cumulus::view(x), cumulus::view(y), cumulus::view(x)), cumulus::Error);
}

TEST(CppApi, Workspace) {
  std::vector<float> x(6), y(6);
  EXPECT_EQ(cumulus::workspace_bytes(cumulus::view(x), cumulus::view(y)), 0u);
  EXPECT_EQ(cumulus::linear_recurrence_workspace_bytes(cumulus::view(x), cumulus::view(x), cumulus::view(y)), 0u);
  EXPECT_THROW(cumulus::workspace_bytes(cumulus::view(x), cumulus::view(y), {.axis = 3}), cumulus::Error);
  cumulus::ScanSpec spec;
  spec.workspace = x.data(), spec.workspace_bytes = 24;
  EXPECT_THROW(cumulus::scan(cumulus::view(x), cumulus::view(y), spec), cumulus::Error);
}

TEST(CppApi, PlansAsText) {
  std::vector<float> x(6), y(6);
  const std::string text = cumulus::plan(cumulus::view(x), cumulus::view(y));
  EXPECT_EQ(text.front(), '{');
  EXPECT_EQ(text.back(), '}');
}

TEST(CppApi, StridesOfAnotherCountAreRefused) {
  std::vector<float> x(6), y(6);
  EXPECT_THROW(cumulus::scan(cumulus::view(x, {2, 3}, {1}), cumulus::view(y, {2, 3})), cumulus::Error);
  EXPECT_EQ(cumulus::try_scan(cumulus::view(x, {2, 3}), cumulus::view(y, {2, 3}, {3, 1, 1})), cumulus::Status::invalid_argument);
}

TEST(CppApi, InitialTakesAnyNumber) {
  std::vector<float> x = {1, 2}, y(2);
  const std::vector<std::pair<cumulus::Initial, float>> cases = {
      {1, 2.0f}, {0.5, 1.5f}, {2.5f, 3.5f}, {std::uint8_t{3}, 4.0f}, {true, 2.0f}};
  for (const auto& [initial, expected] : cases) {
    cumulus::ScanSpec spec;
    spec.initial = initial;
    cumulus::scan(cumulus::view(x), cumulus::view(y), spec);
    EXPECT_EQ(y[0], expected);
  }
  std::vector<std::complex<double>> z = {1, 2}, w(2);
  cumulus::ScanSpec spec;
  spec.initial = std::complex<double>(0, 1);
  cumulus::scan(cumulus::view(z), cumulus::view(w), spec);
  EXPECT_EQ(w[1], std::complex<double>(3, 1));
}

TEST(CppApi, DimsBeyondTheInlineOnes) {
  const std::vector<std::int64_t> nine = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  cumulus::Dims a(nine.data(), 9), b = a, c;
  c = b;
  const cumulus::Dims d = std::move(b);
  EXPECT_TRUE(std::equal(a.begin(), a.end(), d.begin(), d.end()));
  EXPECT_TRUE(std::equal(c.begin(), c.end(), nine.begin(), nine.end()));
  c = cumulus::Dims{1, 2};
  EXPECT_EQ(c.size(), 2);
  EXPECT_EQ(c[1], 2);
}

}  // namespace
