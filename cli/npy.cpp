#include "npy.h"

#include <fmt/core.h>

#include <bit>
#include <cctype>
#include <cstring>
#include <limits>
#include <string_view>

#include "types.h"

namespace cumulus::cli {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::int64_t kMaxBytes = std::numeric_limits<std::int64_t>::max();
constexpr bool kLittleEndian = std::endian::native == std::endian::little;

// At most 60 characters of a file's text, safe to print.
std::string quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text.substr(0, 60)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) result += c;
    else result += fmt::format("\\x{:02x}", byte);
  }
  return result + (text.size() > 60 ? "...'" : "'");
}

// The header's text: a Python dict literal with exactly the keys descr, fortran_order and shape, in any order.
class DictParser {
 public:
  explicit DictParser(std::string_view text) : text_(text) {}

  void parse(NpyHeader& header) {
    expect('{');
    bool descr = false, order = false, shape = false;
    while (!accept('}')) {
      const std::string_view key = string("a key");
      expect(':');
      if (key == "descr") {
        once(descr, key);
        header.descr = descr_value();
      } else if (key == "fortran_order") {
        once(order, key);
        header.fortran_order = boolean();
      } else if (key == "shape") {
        once(shape, key);
        header.shape = tuple();
      } else {
        throw NpyError(
            fmt::format("the .npy header has the key {}; 'descr', 'fortran_order' and 'shape' are all it may have", quoted(key)));
      }
      if (!accept(',') && peek() != '}') bad("',' or '}'");
    }
    if (!descr || !order || !shape)
      throw NpyError(fmt::format("the .npy header lacks {}: it must have 'descr', 'fortran_order' and 'shape'", !descr   ? "'descr'"
                                                                                                                : !order ? "'fortran_order'"
                                                                                                                         : "'shape'"));
    skip_space();
    if (at_ < text_.size()) bad("nothing more");
  }

 private:
  static void once(bool& seen, std::string_view key) {
    if (seen) throw NpyError(fmt::format("the .npy header has the key {} twice", quoted(key)));
    seen = true;
  }

  [[noreturn]] void bad(const char* wanted) const {
    throw NpyError(fmt::format("the .npy header is malformed: expected {} at character {}, found {}", wanted, at_,
                               at_ < text_.size() ? quoted(text_.substr(at_, 20)) : std::string("its end")));
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    const char wanted[] = {'\'', c, '\'', '\0'};
    if (!accept(c)) bad(wanted);
  }

  // A quoted string without escapes: none of the values that may occur has any.
  std::string_view string(const char* what) {
    const char quote = peek();
    if (quote != '\'' && quote != '"') bad(what);
    const std::size_t begin = ++at_, end = text_.find(quote, begin);
    if (end == std::string_view::npos) bad("a closing quote");
    at_ = end + 1;
    return text_.substr(begin, end - begin);
  }

  std::string descr_value() {
    if (peek() == '[' || peek() == '(')
      throw NpyError("structured arrays (dtype with fields) cannot be scanned: save one field, np.save(file, x['field'])");
    return std::string(string("a dtype string"));
  }

  bool boolean() {
    skip_space();
    for (const auto& [word, value] : {std::pair{std::string_view("True"), true}, std::pair{std::string_view("False"), false}}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return value;
    }
    bad("True or False");
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      if (values.size() == CUMULUS_MAX_RANK)
        throw NpyError(fmt::format("the array has more than {} dimensions, the most supported", CUMULUS_MAX_RANK));
      values.push_back(integer());
      if (!accept(',') && peek() != ')') bad("',' or ')'");
    }
    return values;
  }

  std::int64_t integer() {
    if (peek() == '-') throw NpyError(fmt::format("the .npy header has a negative size: {}", quoted(text_.substr(at_, 20))));
    const std::size_t begin = at_;
    std::int64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      const int digit = text_[at_] - '0';
      if (value > (kMaxBytes - digit) / 10)
        throw NpyError(fmt::format("the .npy header has a size beyond 2^63: {}", quoted(text_.substr(begin, 30))));
      value = value * 10 + digit;
    }
    if (at_ == begin) bad("a size");
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;  // Python 2's long
    return value;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

struct Code {
  char kind;
  int bytes;
  DType dtype;
};
constexpr Code kCodes[] = {{'b', 1, DType::boolean}, {'f', 2, DType::f16},   {'f', 4, DType::f32}, {'f', 8, DType::f64},
                           {'c', 8, DType::c64},     {'c', 16, DType::c128}, {'i', 1, DType::i8},  {'i', 2, DType::i16},
                           {'i', 4, DType::i32},     {'i', 8, DType::i64},   {'u', 1, DType::u8},  {'u', 2, DType::u16},
                           {'u', 4, DType::u32},     {'u', 8, DType::u64},   {'V', 2, DType::none}};

// Why an array with this dtype cannot be scanned, and the way out.
std::string refusal(const std::string& descr, char kind) {
  const std::string is = fmt::format("the array's dtype is {}", quoted(descr));
  switch (kind) {
    case 'O':
      return is + ", Python objects, which Cumulus never loads: convert them first, x.astype(np.float64)";
    case 'S':
    case 'U':
    case 'a':
      return is + ", strings, which cannot be scanned: convert them first, x.astype(np.float64)";
    case 'M':
    case 'm':
      return is + ", dates or durations: scan the integers, x.view(np.int64)";
    case 'V':
      return is + ", raw bytes, which cannot be scanned: view them as numbers first, x.view(np.float32)";
    default:
      return is +
             ", which Cumulus does not know: b1, i1 to i8, u1 to u8, f2, f4, f8, c8 and c16 are supported; convert first, "
             "x.astype(np.float64)";
  }
}

void decode_descr(NpyHeader& header) {
  std::string_view code = header.descr;
  const char order = !code.empty() && std::strchr("<>=|", code[0]) ? code[0] : '\0';
  if (order) code.remove_prefix(1);
  if (code == "?") code = "b1";
  const char kind = code.empty() ? '\0' : code[0];
  int bytes = code.size() < 2 || code.size() > 3 ? -1 : 0;
  for (const char c : code.substr(code.empty() ? 0 : 1)) bytes = bytes < 0 || c < '0' || c > '9' ? -1 : 10 * bytes + (c - '0');
  for (const Code& known : kCodes) {
    if (known.kind != kind || known.bytes != bytes) continue;
    if (order == '|' && bytes > 1 && kind != 'V')
      throw NpyError(fmt::format("the array's dtype is {}, without a byte order: '<' or '>' is needed", quoted(header.descr)));
    header.dtype = known.dtype;
    header.element_bytes = static_cast<std::size_t>(bytes);
    header.swapped = bytes > 1 && order == (kLittleEndian ? '>' : '<');
    return;
  }
  throw NpyError(refusal(header.descr, kind));
}

// The array's bytes must fit in 63 bits; sizes of 0 are left out, so that the other strides fit as well.
void check_size(const NpyHeader& header) {
  std::int64_t bytes = static_cast<std::int64_t>(header.element_bytes);
  for (const std::int64_t size : header.shape) {
    if (size == 0) continue;
    if (bytes > kMaxBytes / size) throw NpyError("the shape in the .npy header is of more than 2^63 bytes: the file is damaged");
    bytes *= size;
  }
}

}  // namespace

std::int64_t NpyHeader::count() const {
  std::int64_t elements = 1;
  for (const std::int64_t size : shape) elements = size == 0 ? 0 : elements == 0 ? 0 : elements * size;
  return elements;
}

NpyHeader parse_npy_header(const std::uint8_t* data, std::size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  if (!file.starts_with(kMagic)) {
    if (file.starts_with("PK")) throw NpyError("this is a .npz archive: load it and save one array, np.save('x.npy', np.load(file)['x'])");
    throw NpyError("not a .npy file: it does not start with \\x93NUMPY; write one with np.save");
  }
  if (size < 10) throw NpyError(fmt::format("the .npy header is cut off: the file has {} bytes", size));
  const int major = data[6], minor = data[7];
  if (major < 1 || major > 3 || minor != 0)
    throw NpyError(fmt::format("version {}.{} of the .npy format is not known: 1.0, 2.0 and 3.0 are", major, minor));
  const std::size_t length_bytes = major == 1 ? 2 : 4, start = 8 + length_bytes;
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes && 8 + i < size; ++i) length |= static_cast<std::size_t>(data[8 + i]) << (8 * i);
  if (size < start || length > size - start)
    throw NpyError(fmt::format("the .npy header is cut off: it claims {} bytes, the file has {}", length, size));

  NpyHeader header;
  DictParser(file.substr(start, length)).parse(header);
  decode_descr(header);
  check_size(header);
  header.data_offset = start + length;
  return header;
}

std::string format_npy_header(DType dtype, const std::vector<std::int64_t>& shape, bool fortran_order) {
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': (", npy_descr(dtype), fortran_order ? "True" : "False");
  for (std::size_t i = 0; i < shape.size(); ++i)
    dict += fmt::format("{}{}", shape[i], i + 1 < shape.size() ? ", " : shape.size() == 1 ? "," : "");
  dict += "), }";
  const bool long_form = dict.size() + 64 > 0xffff;
  const std::size_t start = long_form ? 12 : 10;
  const std::size_t length = (start + dict.size() + 1 + 63) / 64 * 64 - start;
  dict.resize(length - 1, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += long_form ? '\x02' : '\x01';
  header += '\0';
  for (std::size_t i = 0; i < start - 8; ++i) header += static_cast<char>(length >> (8 * i) & 0xff);
  return header + dict;
}

std::string npy_descr(DType dtype) {
  const char order = bytes(dtype) == 1 ? '|' : kLittleEndian ? '<' : '>';
  for (const Code& code : kCodes)
    if (code.dtype == dtype) return fmt::format("{}{}{}", order, code.kind, code.bytes);
  return fmt::format("{}V{}", order, bytes(dtype));
}

std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape, bool fortran_order) {
  std::vector<std::int64_t> strides(shape.size());
  std::int64_t step = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t at = fortran_order ? i : shape.size() - 1 - i;
    strides[at] = step;
    step *= shape[at] > 0 ? shape[at] : 1;
  }
  return strides;
}

}  // namespace cumulus::cli
