// .npy headers: what NumPy writes is read and written alike; whatever else is refused by NpyError, and never read past its end.
#include "../../cli/npy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace {

using cumulus::DType;
using cumulus::cli::format_npy_header;
using cumulus::cli::NpyError;
using cumulus::cli::NpyHeader;
using cumulus::cli::parse_npy_header;
using Shape = std::vector<std::int64_t>;

NpyHeader parse(const std::string& file) {
  // A copy of exactly this size, so that a sanitizer sees reads past the end.
  const std::vector<std::uint8_t> exact(file.begin(), file.end());
  return parse_npy_header(exact.data(), exact.size());
}

std::string file_of(const std::string& dict, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  for (std::size_t i = 0; i < length_bytes; ++i) file += static_cast<char>(dict.size() >> (8 * i) & 0xff);
  return file + dict;
}

std::string error_of(const std::string& file) {
  try {
    parse(file);
  } catch (const NpyError& error) {
    return error.what();
  }
  return "accepted";
}

// np.save(file, np.arange(3, dtype='<f4')), NumPy 2.4
const std::string kFromNumpy =
    std::string("\x93NUMPY\x01\x00v\x00", 10) +
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }                                                            \n";

TEST(NpyParse, ReadsWhatNumpyWrites) {
  const NpyHeader header = parse(kFromNumpy);
  EXPECT_EQ(header.dtype, DType::f32);
  EXPECT_EQ(header.descr, "<f4");
  EXPECT_EQ(header.shape, Shape({3}));
  EXPECT_FALSE(header.fortran_order);
  EXPECT_FALSE(header.swapped);
  EXPECT_EQ(header.data_offset, 128u);
  EXPECT_EQ(header.element_bytes, 4u);
  EXPECT_EQ(header.bytes(), 12);
}

TEST(NpyParse, ReadsFortranOrderBigEndianAndRankZero) {
  const NpyHeader fortran = parse(file_of("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n"));
  EXPECT_TRUE(fortran.fortran_order);
  EXPECT_TRUE(fortran.swapped);
  EXPECT_EQ(fortran.dtype, DType::i16);
  EXPECT_EQ(fortran.shape, Shape({2, 3}));
  const NpyHeader scalar = parse(file_of("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n"));
  EXPECT_TRUE(scalar.shape.empty());
  EXPECT_EQ(scalar.count(), 1);
}

TEST(NpyParse, ReadsEveryVersionAndSpelling) {
  for (const int version : {1, 2, 3})
    EXPECT_EQ(parse(file_of("{'descr': '|u1', 'fortran_order': False, 'shape': (7,), }\n", version)).shape, Shape({7}));
  EXPECT_EQ(parse(file_of("{\"shape\":(2,3),\"descr\":\"=f8\",\"fortran_order\":False}")).shape,
            Shape({2, 3}));  // no newline, other order and quotes
  EXPECT_EQ(parse(file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (10L, 2L), }  \n")).shape, Shape({10, 2}));  // Python 2
  EXPECT_EQ(parse(file_of("{'descr': '|b1', 'fortran_order': False, 'shape': (0, 5), }")).count(), 0);
  EXPECT_EQ(parse(file_of("{'descr': '|V2', 'fortran_order': False, 'shape': (4,), }")).dtype, DType::none);  // bfloat16, perhaps
}

TEST(NpyParse, KnowsEveryDtype) {
  const std::pair<const char*, DType> codes[] = {{"|b1", DType::boolean}, {"<f2", DType::f16},  {"<f4", DType::f32}, {"<f8", DType::f64},
                                                 {"|i1", DType::i8},      {"<i2", DType::i16},  {"<i4", DType::i32}, {"<i8", DType::i64},
                                                 {"|u1", DType::u8},      {"<u2", DType::u16},  {"<u4", DType::u32}, {"<u8", DType::u64},
                                                 {"<c8", DType::c64},     {"<c16", DType::c128}};
  for (const auto& [code, dtype] : codes) {
    EXPECT_EQ(parse(file_of(std::string("{'descr': '") + code + "', 'fortran_order': False, 'shape': (1,)}")).dtype, dtype) << code;
    EXPECT_EQ(cumulus::cli::npy_descr(dtype), code);
  }
  EXPECT_EQ(cumulus::cli::npy_descr(DType::bf16), "<V2");
}

TEST(NpyFormat, WritesTheBytesNumpyWrites) { EXPECT_EQ(format_npy_header(DType::f32, {3}, false), kFromNumpy); }

TEST(NpyFormat, RoundTrips) {
  const Shape shapes[] = {{}, {0}, {5}, {2, 3}, {1, 0, 7}, Shape(64, 1), {std::int64_t{1} << 40, 2}};
  for (const Shape& shape : shapes) {
    for (const bool fortran : {false, true}) {
      const std::string file = format_npy_header(DType::c128, shape, fortran);
      const NpyHeader header = parse(file);
      EXPECT_EQ(header.shape, shape);
      EXPECT_EQ(header.fortran_order, fortran);
      EXPECT_EQ(header.dtype, DType::c128);
      EXPECT_EQ(header.data_offset, file.size());
      EXPECT_EQ(file.size() % 64, 0u);
      EXPECT_EQ(file.back(), '\n');
    }
  }
}

TEST(NpyParse, RefusesWithAReason) {
  const auto dict = [](const std::string& descr, const std::string& shape) {
    return file_of("{'descr': " + descr + ", 'fortran_order': False, 'shape': " + shape + ", }\n");
  };
  const std::pair<std::string, const char*> bad[] = {
      {"", "not a .npy file"},
      {"hello, world", "not a .npy file"},
      {"PK\x03\x04", ".npz"},
      {"\x93NUMPY", "cut off"},
      {file_of("{}", 4), "version 4.0"},
      {std::string("\x93NUMPY\x01\x00\xff\xff{}", 12), "cut off"},
      {std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14), "cut off"},
      {file_of("{}"), "lacks 'descr'"},
      {file_of("{'descr': '<f4', 'shape': (1,)}"), "lacks 'fortran_order'"},
      {file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}"), "the key 'x'"},
      {file_of("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"), "twice"},
      {file_of("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}"), "True or False"},
      {file_of("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x"), "nothing more"},
      {file_of("{'descr': '<f4"), "closing quote"},
      {dict("'<f4'", "(-1,)"), "negative size"},
      {dict("'<f4'", "(99999999999999999999,)"), "2^63"},
      {dict("'<f4'", "(4294967296, 4294967296)"), "2^63"},
      {dict("'<f4'", "(0, 4294967296, 4294967296)"), "2^63"},
      {dict("'<f8'", "(1152921504606846976,)"), "2^63"},
      {dict("'<f4'", "(1.5,)"), "malformed"},
      {dict("'<f4'", "3"), "malformed"},
      {dict("'<f4'", "(1 2)"), "malformed"},
      {dict("'|O'", "(1,)"), "Python objects"},
      {dict("'<U5'", "(1,)"), "strings"},
      {dict("'|S12'", "(1,)"), "strings"},
      {dict("'<M8[ns]'", "(1,)"), "dates"},
      {dict("'|V16'", "(1,)"), "raw bytes"},
      {dict("[('a', '<f4')]", "(1,)"), "structured"},
      {dict("'<f16'", "(1,)"), "does not know"},
      {dict("'|f4'", "(1,)"), "byte order"},
      {dict("''", "(1,)"), "does not know"},
      {dict("'<f4'", "(" + std::string(300, '1') + ")"), "2^63"},
  };
  for (const auto& [file, reason] : bad)
    EXPECT_NE(error_of(file).find(reason), std::string::npos) << "expected '" << reason << "', got '" << error_of(file) << "'";
  std::string shape = "(";
  for (int i = 0; i < 65; ++i) shape += "1, ";
  EXPECT_NE(error_of(dict("'<f4'", shape + ")")).find("64 dimensions"), std::string::npos);
}

TEST(NpyParse, RefusesEveryTruncation) {
  for (std::size_t size = 0; size < kFromNumpy.size(); ++size) EXPECT_NE(error_of(kFromNumpy.substr(0, size)), "accepted") << size;
}

TEST(NpyParse, SurvivesDamage) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int trial = 0; trial < 20000; ++trial) {
    std::string file = kFromNumpy;
    for (int changes = 1 + static_cast<int>(random() % 4); changes > 0; --changes)
      file[random() % file.size()] = static_cast<char>(random() % 4 ? "'(){}[],:-L0123456789 <>|fiubcVOSTF\n\""[random() % 37] : random());
    try {
      const NpyHeader header = parse(file);
      EXPECT_LE(header.data_offset, file.size());
      EXPECT_GE(header.bytes(), 0);
      EXPECT_LE(header.shape.size(), 64u);
    } catch (const NpyError& error) {
      EXPECT_STRNE(error.what(), "");
    }
  }
}

}  // namespace
