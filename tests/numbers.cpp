#include "numbers.h"

#include <cmath>
#include <cstring>

#include "reference.h"
#include "types.h"

namespace support {

using cumulus::bytes;
using cumulus::Family;
using cumulus::family;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

namespace {

std::uint64_t hash_at(std::uint64_t seed, std::int64_t u) {
  return mix(seed * 0x9E3779B97F4A7C15u + static_cast<std::uint64_t>(u + 1) * 0xD1B54A32D192ED03u);
}

struct Format {
  int p, e;  // bits of the significand (the hidden one counts) and of the exponent
};

Format format_of(DType t) {
  switch (t) {
    case DType::f16:
      return {11, 5};
    case DType::bf16:
      return {8, 8};
    case DType::f32:
      return {24, 8};
    default:
      return {53, 11};
  }
}

// The bits of a double rounded to t. f16 and bf16 go through f32: the fills have few enough bits for that to be exact.
std::uint64_t bits_of(DType t, double v) {
  const auto narrow = static_cast<float>(v);
  std::uint32_t b32;
  std::uint64_t b64;
  std::memcpy(&b32, &narrow, 4);
  std::memcpy(&b64, &v, 8);
  switch (t) {
    case DType::f16:
      return reference::to_f16(narrow);
    case DType::bf16:
      return reference::to_bf16(narrow);
    case DType::f32:
      return b32;
    default:
      return b64;
  }
}

double uniform_value(DType t, std::uint64_t h) {  // in [-1, 1), exact in t
  const int p = format_of(t).p;
  return std::ldexp(static_cast<double>(static_cast<std::int64_t>(h >> (64 - p)) - (std::int64_t{1} << (p - 1))), 1 - p);
}

std::uint64_t float_bits(Fill how, DType t, std::uint64_t h) {
  const auto [p, e] = format_of(t);
  const int width = p + e;
  const std::uint64_t low = 1ull << (p - 1), sign = 1ull << (width - 1), top = 1ull << (width - 2), ones = ((1ull << e) - 1) * low;
  const std::uint64_t one = ((1ull << (e - 1)) - 1) * low, bits = h >> (64 - width);
  const double v = uniform_value(t, h);
  switch (how) {
    case Fill::uniform:
      return bits_of(t, v);
    case Fill::near_one:
      return bits_of(t, (h & 1 ? -1.0 : 1.0) * (1 + v / 64));
    case Fill::small:
      return bits_of(t, static_cast<double>(h & 15) - 8);
    case Fill::wide:
      return (bits & ones) == ones ? bits ^ top : bits;
    case Fill::zeros:
      return (h & 1) * sign;
    case Fill::tiny:
      return bits & (sign | (2 * low - 1));
    case Fill::special: {
      const std::uint64_t table[16] = {0,        sign,    one, sign | one, ones,     sign | ones,       ones | low >> 1, 1,
                                       sign | 1, low - 1, low, sign | low, ones - 1, sign | (ones - 1), one + 1,         one - low};
      return (h & 15) == 0 ? table[h >> 8 & 15] : bits_of(t, v);
    }
    case Fill::units:
      break;
  }
  return 0;
}

std::uint64_t integer_bits(Fill how, DType t, std::uint64_t h) {
  const std::uint64_t all = ~0ull >> (64 - 8 * bytes(t)), half = all >> 1;
  const bool is_signed = family(t) == Family::signed_;
  switch (how) {
    case Fill::near_one:
      return h | 1;
    case Fill::zeros:
      return h & 1;
    case Fill::small:
      return (h & 15) - 8;
    case Fill::special: {
      const std::uint64_t table[4] = {is_signed ? half + 1 : 0, is_signed ? half : all, 0, 1};
      return (h & 15) == 0 ? table[h >> 8 & 3] : h;
    }
    default:
      return h;
  }
}

std::uint64_t element_bits(Fill how, DType t, std::uint64_t h) {
  if (family(t) == Family::boolean) return how == Fill::near_one ? (h & 15) > 0 : h & 1;
  return family(t) == Family::real ? float_bits(how, t, h) : integer_bits(how, t, h);
}

// The low bytes, which come first. Of constant sizes, so that the compiler stores them: a call would be what a sanitizer's run spends.
void put(char* to, std::uint64_t b, int size) {
  switch (size) {
    case 1:
      return void(std::memcpy(to, &b, 1));
    case 2:
      return void(std::memcpy(to, &b, 2));
    case 4:
      return void(std::memcpy(to, &b, 4));
    default:
      return void(std::memcpy(to, &b, 8));
  }
}

}  // namespace

void fill(Fill how, DType t, std::uint64_t seed, std::int64_t n, void* to) {
  char* p = static_cast<char*>(to);
  if (family(t) != Family::complex) {
    for (std::int64_t i = 0; i < n; ++i, p += bytes(t)) put(p, element_bits(how, t, hash_at(seed, i)), bytes(t));
    return;
  }
  const DType part = t == DType::c64 ? DType::f32 : DType::f64;
  for (std::int64_t i = 0; i < 2 * n; ++i, p += bytes(part)) {
    const std::uint64_t h = hash_at(seed, i);
    std::uint64_t b = float_bits(how, part, h);
    if (how == Fill::near_one && i % 2) b = bits_of(part, uniform_value(part, h) / 64);  // imaginary parts near 0
    if (how == Fill::units) {
      const std::uint64_t turn = hash_at(seed, i - i % 2) & 3;
      b = bits_of(part, turn % 2 == static_cast<std::uint64_t>(i % 2) ? (turn < 2 ? 1.0 : -1.0) : 0.0);
    }
    put(p, b, bytes(part));
  }
}

}  // namespace support
