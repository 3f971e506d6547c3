#include "scan_options.h"

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <complex>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "commands.h"
#include "types.h"

namespace cumulus::cli {
namespace {

// NumPy's names for the list's dtypes, in the list's order.
constexpr std::pair<const char*, DType> kNumpyNames[] = {
    {"float16", DType::f16}, {"bfloat16", DType::bf16}, {"float32", DType::f32},   {"float64", DType::f64},    {"int8", DType::i8},
    {"int16", DType::i16},   {"int32", DType::i32},     {"int64", DType::i64},     {"uint8", DType::u8},       {"uint16", DType::u16},
    {"uint32", DType::u32},  {"uint64", DType::u64},    {"complex64", DType::c64}, {"complex128", DType::c128}};

std::vector<std::string> dtype_names() {
  std::vector<std::string> names;
  for (int i = 1; i < kDTypes; ++i) names.emplace_back(kDTypeInfo[i].name);
  return names;
}

std::string numpy_name(DType dtype) {
  for (const auto& [text, value] : kNumpyNames)
    if (value == dtype) return fmt::format("np.{}", text);
  return "np.bool_";
}

[[noreturn]] void fail_usage(const std::string& message) { throw CliError(kExitUsage, message); }

// The whole text as an integer, or nothing.
template <class T>
std::optional<T> integer(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<double> real(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || std::isspace(static_cast<unsigned char>(text[0])) || end != text.c_str() + text.size()) return std::nullopt;
  return value;
}

// "1", "2j", "1+2j", "1e3-2.5j"
std::optional<std::complex<double>> complex(std::string text) {
  if (text.empty() || (text.back() != 'j' && text.back() != 'i')) {
    const auto value = real(text);
    return value ? std::optional<std::complex<double>>(*value) : std::nullopt;
  }
  text.pop_back();
  std::size_t split = text.size();
  while (split > 0 && !((text[split - 1] == '+' || text[split - 1] == '-') && (split == 1 || std::tolower(text[split - 2]) != 'e')))
    --split;
  const std::string front = split > 0 ? text.substr(0, split - 1) : "", back = split > 0 ? text.substr(split - 1) : text;
  const auto re = front.empty() ? std::optional<double>(0.0) : real(front);
  const auto im = back == "+" || back.empty() ? std::optional<double>(1.0) : back == "-" ? std::optional<double>(-1.0) : real(back);
  return re && im ? std::optional<std::complex<double>>({*re, *im}) : std::nullopt;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0;;) {
    const std::size_t end = text.find_first_of(separators, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string_view::npos) return parts;
    begin = end + 1;
  }
}

// "4096" or "2^12"
std::optional<std::int64_t> size(std::string_view text) {
  const std::size_t caret = text.find('^');
  if (caret == std::string_view::npos) return integer<std::int64_t>(text);
  const auto base = integer<std::int64_t>(text.substr(0, caret)), exponent = integer<std::int64_t>(text.substr(caret + 1));
  if (!base || !exponent || *exponent < 0 || *exponent > 63) return std::nullopt;
  std::int64_t value = 1;
  for (std::int64_t i = 0; i < *exponent; ++i)
    if (__builtin_mul_overflow(value, *base, &value)) return std::nullopt;
  return value;
}

}  // namespace

// --- Options --------------------------------------------------------------------------------------------------------------------

void add_scan_options(CLI::App& command, ScanOptions& options) {
  const std::vector<std::string> ops(kOpName, kOpName + kOps), kinds(std::begin(kKindName), std::end(kKindName));
  command.add_option("--op", options.op, "What to scan with (default sum); recurrence: h[i] = in[i] h[i-1] + in2[i]")
      ->type_name("OP")
      ->check(CLI::IsMember(ops));
  command.add_option("--axis", options.axis, "Axis to scan along; needed from rank 2 on; 'flat' scans the whole array in C order")
      ->type_name("AXIS");
  command
      .add_option("--kind", options.kind,
                  "inclusive (default): R(1..n), exclusive: R(0..n-1), prefixes: R(0..n), one longer along the axis")
      ->type_name("KIND")
      ->check(CLI::IsMember(kinds));
  command.add_flag("--reverse", options.reverse, "Scan from the last element to the first");
  add_dtype_option(
      command, "--dtype", options.dtype,
      "dtype of the result; default as numpy.cumsum: bool and narrow integers to i64/u64, others keep theirs; max and min keep the dtype");
  command.add_option("--device", options.device, "Where to scan (default cpu)")->type_name("DEVICE");
  command.add_option("--threads", options.threads, "Threads (default: all that this process may use); never changes the result")
      ->type_name("N")
      ->check(CLI::Range(0, 65536));
  command.add_flag("--pin", options.pin, "Bind worker threads to cores while the scan runs");
}

namespace {

CLI::Validator dtype_validator() {
  const auto check = [](std::string& text) {
    for (const auto& [numpy, dtype] : kNumpyNames)
      if (text == numpy) text = cumulus::name(dtype);
    for (const std::string& known : dtype_names())
      if (text == known) return std::string();
    return fmt::format("{} is no dtype: {} (or NumPy's names, as float32)", text, fmt::join(dtype_names(), ", "));
  };
  return CLI::Validator(check, fmt::format("{{{}}}", fmt::join(dtype_names(), ",")));
}

}  // namespace

CLI::Option* add_dtype_option(CLI::App& command, const std::string& name, std::string& value, const std::string& description) {
  return command.add_option(name, value, description)->type_name("DTYPE")->transform(dtype_validator());
}

CLI::Option* add_dtypes_option(CLI::App& command, const std::string& name, std::vector<std::string>& values,
                               const std::string& description) {
  return command.add_option(name, values, description)->type_name("DTYPE,...")->delimiter(',')->transform(dtype_validator());
}

Op parse_op(const std::string& text) {
  for (int i = 0; i < kOps; ++i)
    if (text == kOpName[i]) return static_cast<Op>(i);
  fail_usage(fmt::format("{} is no operation", text));
}

Kind parse_kind(const std::string& text) {
  for (int i = 0; i < 3; ++i)
    if (text == kKindName[i]) return static_cast<Kind>(i);
  fail_usage(fmt::format("{} is no kind", text));
}

DType parse_dtype(const std::string& text) {
  for (int i = 1; i < kDTypes; ++i)
    if (text == kDTypeInfo[i].name) return static_cast<DType>(i);
  if (text.empty()) return DType::none;
  fail_usage(fmt::format("{} is no dtype", text));
}

void check_no_cpu_options(const ScanOptions& options, const std::string& gpu) {
  const char* given = options.threads > 0 ? "--threads" : options.pin ? "--pin" : nullptr;
  if (given) fail_usage(fmt::format("{} is an option of the CPU, and {} means a GPU: leave one of them out", given, gpu));
}

void check_device(const ScanOptions& options) {
  if (options.device != "cpu" && options.device != "cuda") fail_usage(fmt::format("--device {}: give cpu or cuda", options.device));
  if (options.device == "cuda") check_no_cpu_options(options, "--device cuda");
}

ScanSpec to_spec(const ScanOptions& options, int axis) {
  ScanSpec spec;
  spec.op = parse_op(options.op);
  spec.kind = parse_kind(options.kind);
  spec.axis = axis;
  spec.reverse = options.reverse;
  spec.threads = options.threads;
  spec.pin_threads = options.pin;
  return spec;
}

// --- Shapes and axes ------------------------------------------------------------------------------------------------------------

std::vector<std::int64_t> parse_shape(const std::string& text) {
  std::vector<std::int64_t> shape;
  if (text.empty() || text == "scalar") return shape;
  for (const std::string_view part : split(text, "x,")) {
    const auto value = size(part);
    if (!value || *value < 0)
      fail_usage(fmt::format("--shape {}: sizes are numbers from 0 to 2^63 - 1 separated by 'x', such as 32768x32768 or 2^24x64", text));
    shape.push_back(*value);
  }
  if (shape.size() > CUMULUS_MAX_RANK)
    fail_usage(fmt::format("--shape {}: at most {} dimensions are supported", text, static_cast<int>(CUMULUS_MAX_RANK)));
  return shape;
}

std::vector<std::int64_t> parse_integers(const std::string& text, const char* option) {
  std::vector<std::int64_t> values;
  for (const std::string_view part : split(text, ",")) {
    const auto value = integer<std::int64_t>(part);
    if (!value) fail_usage(fmt::format("{} {}: integers separated by ',' are needed, such as 1,-4096", option, text));
    values.push_back(*value);
  }
  return values;
}

int choose_axis(const std::string& text, int rank) {
  if (text.empty()) {
    if (rank <= 1) return 0;
    fail_usage(fmt::format("an array of rank {} needs --axis: 0 to {}, or -1 for the last, or 'flat' for the whole array", rank, rank - 1));
  }
  const auto axis = integer<int>(text);
  if (!axis) fail_usage(fmt::format("--axis {}: a number or 'flat' is needed", text));
  const int last = rank > 0 ? rank - 1 : 0;
  if (*axis < -(last + 1) || *axis > last)
    fail_usage(fmt::format("--axis {} does not exist in an array of rank {}: {} to {} do", *axis, rank, -(last + 1), last));
  return *axis < 0 ? *axis + last + 1 : *axis;
}

// --- dtypes and values ----------------------------------------------------------------------------------------------------------

DType choose_dtype(Op op, DType in, const std::string& requested) {
  const bool ordered = op == Op::max || op == Op::min;
  DType result = parse_dtype(requested);
  if (result == DType::none) {
    result = in;
    if (ordered && in == DType::boolean)
      throw CliError(kExitUnsupported,
                     fmt::format("--op {} of a bool array has no dtype of its own: add --dtype i64, or save x.view(np.uint8)", name(op)));
    if (!ordered && (family(in) == Family::boolean || family(in) == Family::signed_)) result = DType::i64;
    if (!ordered && family(in) == Family::unsigned_) result = DType::u64;
  }
  if (ordered && (family(in) == Family::complex || family(result) == Family::complex))
    throw CliError(kExitUnsupported, fmt::format("--op {}: complex numbers have no order; scan np.abs(x), x.real or x.imag", name(op)));
  if (supported_pair(in, result)) return result;
  std::string way_out = fmt::format("convert first, np.save(file, x.astype({}))", numpy_name(result));
  if (result == DType::boolean) way_out = "name a number's dtype, such as --dtype i64";
  else if (family(in) == Family::real && family(result) != Family::complex) way_out += ", or choose --dtype f32 or f64";
  else if (is_integer(in) || family(in) == Family::boolean) way_out = "choose --dtype i64, u64, f32 or f64, or " + way_out;
  throw CliError(kExitUnsupported, fmt::format("--dtype {} cannot be the result of {} elements: {}", name(result), name(in), way_out));
}

Initial parse_initial(const std::string& text, DType result) {
  const auto refuse = [&](const std::string& why) {
    fail_usage(fmt::format("--initial {}: {} (a name of a file ends in .npy)", text, why));
  };
  if (family(result) == Family::complex) {
    const auto value = complex(text);
    if (!value) refuse("a complex number is needed, such as 1.5, 2j or 1-2j");
    return *value;
  }
  if (family(result) == Family::real) {
    const auto value = real(text);
    if (!value) refuse("a number is needed");
    return *value;
  }
  const int bits = static_cast<int>(8 * bytes(result));
  if (family(result) == Family::signed_) {
    const auto value = integer<std::int64_t>(text);
    const std::int64_t high = std::numeric_limits<std::int64_t>::max() >> (64 - bits);
    if (!value || *value > high || *value < -high - 1)
      refuse(fmt::format("an integer that {} holds is needed, {} to {}", name(result), -high - 1, high));
    return *value;
  }
  const auto value = integer<std::uint64_t>(text);
  const std::uint64_t high = std::numeric_limits<std::uint64_t>::max() >> (64 - bits);
  if (!value || *value > high) refuse(fmt::format("an integer that {} holds is needed, 0 to {}", name(result), high));
  return *value;
}

}  // namespace cumulus::cli
