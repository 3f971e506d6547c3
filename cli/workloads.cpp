#include "workloads.h"

#include <algorithm>
#include <set>
#include <utility>

#include "text_lines.h"
#include "types.h"

namespace cumulus::cli {
namespace {

constexpr Workload kWorkloads[] = {
    {"89", "inclusive sum", "level1_89_cumsum", "cumsum(x, dim)", Op::sum, Kind::inclusive, false, WorkloadMask::none, false},
    {"90", "inclusive product", "level1_90_cumprod", "cumprod(x, dim)", Op::prod, Kind::inclusive, false, WorkloadMask::none, false},
    {"91", "reverse sum", "level1_91_cumsum_reverse", "cumsum(x, dim, reverse=True)", Op::sum, Kind::inclusive, true, WorkloadMask::none,
     false},
    {"92", "exclusive sum", "level1_92_cumsum_exclusive", "cumsum(x, dim, exclusive=True)", Op::sum, Kind::exclusive, false,
     WorkloadMask::none, false},
    {"92-old", "exclusive sum until 2025-12-24", "level1_92_old_cumsum_exclusive", "cumsum(x[:-1], dim, include_initial=True)", Op::sum,
     Kind::prefixes, false, WorkloadMask::none, true},
    {"93", "masked sum, mask of x's dtype", "level1_93_masked_cumsum", "cumsum(x, dim, mask=mask)", Op::sum, Kind::inclusive, false,
     WorkloadMask::real, false},
    {"93-bool", "masked sum, bool mask", "level1_93_masked_cumsum", "cumsum(x, dim, mask=mask)", Op::sum, Kind::inclusive, false,
     WorkloadMask::boolean, false},
};

bool has(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::set<std::string> identifiers(std::string_view code) {
  std::set<std::string> found;
  std::string word;
  for (const char c : code) {
    if (is_identifier_char(c)) word += c;
    else if (!word.empty()) found.insert(lower(std::exchange(word, "")));
  }
  if (!word.empty()) found.insert(lower(word));
  return found;
}

// The parameters of ModelNew.forward behind self, without annotations; empty where there is no such function.
std::vector<std::string> forward_parameters(std::string_view code) {
  const std::size_t model = code.find("class ModelNew");
  if (model == std::string_view::npos) return {};
  const std::size_t forward = code.find("def forward(", model);
  if (forward == std::string_view::npos) return {};
  std::vector<std::string> parameters;
  std::string name;
  bool annotation = false;
  int depth = 0;
  for (const char c : code.substr(forward + std::string_view("def forward").size())) {
    if (c == '(' || c == '[') ++depth;
    if (c == ')' || c == ']') --depth;
    if ((c == ',' && depth == 1) || depth == 0) {
      if (!name.empty() && name != "self") parameters.push_back(name);
      name.clear();
      annotation = false;
      if (depth == 0) break;
    } else if (c == ':' || c == '=') {
      annotation = true;
    } else if (!annotation && is_identifier_char(c)) {
      name += c;
    }
  }
  return parameters;
}

// A function of two values that returns their product, for an associative scan.
bool combines_by_product(std::string_view code) {
  if (!has(code, "associative_scan")) return false;
  for (const std::string_view line : lines_of(code)) {
    const std::string_view text = trimmed(line);
    const std::size_t star = text.find('*');
    if (!text.starts_with("return ") || star == std::string_view::npos) continue;
    const std::string_view left = trimmed(text.substr(7, star - std::min<std::size_t>(star, 7))), right = trimmed(text.substr(star + 1));
    if (!left.empty() && !right.empty() && std::all_of(left.begin(), left.end(), is_identifier_char) &&
        std::all_of(right.begin(), right.end(), is_identifier_char))
      return true;
  }
  return false;
}

}  // namespace

std::span<const Workload> workloads() { return kWorkloads; }

const Workload* find_workload(std::string_view key) {
  for (const Workload& workload : kWorkloads)
    if (key == workload.key) return &workload;
  return nullptr;
}

Problem problem_of(const Workload& workload, std::int64_t rows, std::int64_t columns, DType dtype) {
  if (workload.drops_row) rows = std::max<std::int64_t>(rows - 1, 0);
  const std::int64_t shape[] = {rows, columns}, out_shape[] = {rows, columns + (workload.kind == Kind::prefixes ? 1 : 0)};
  const Dims dims{shape, 2}, out_dims{out_shape, 2};
  ScanSpec spec{.op = workload.op, .kind = workload.kind, .axis = 1, .reverse = workload.reverse};
  if (workload.mask != WorkloadMask::none)
    spec.mask = ConstTensorView(nullptr, workload.mask == WorkloadMask::boolean ? DType::boolean : dtype, dims);
  const ConstTensorView in(nullptr, dtype, dims);
  const TensorView out(nullptr, dtype, out_dims);
  Problem problem;
  canonicalise(detail::to_c(in, nullptr, out, spec), false, problem);
  return problem;
}

std::string without_comments(std::string_view code) {
  std::string text;
  std::string_view quote;  // of the string we are in
  for (std::size_t i = 0; i < code.size();) {
    const std::string_view rest = code.substr(i);
    if (quote.empty() && rest[0] == '#') {
      i += std::min(rest.find('\n'), rest.size());
    } else if (quote.empty() && (rest[0] == '"' || rest[0] == '\'')) {
      quote = rest.substr(0, rest.starts_with("\"\"\"") || rest.starts_with("'''") ? 3 : 1);
      text += quote;
      i += quote.size();
    } else if (!quote.empty() && (rest.starts_with(quote) || (quote.size() == 1 && rest[0] == '\n'))) {  // or a string that lacks its end
      text += rest[0] == '\n' ? std::string_view("\n") : quote;
      i += rest[0] == '\n' ? 1 : quote.size();
      quote = {};
    } else if (!quote.empty() && rest[0] == '\\') {
      i += std::min<std::size_t>(2, rest.size());
    } else {
      if (quote.empty() || rest[0] == '\n') text += rest[0];
      ++i;
    }
  }
  return text;
}

// Evidence is what the module does to whole tensors, and what it calls itself; kernels say little (each has masks and prefixes).
Recognised recognise(std::string_view code) {
  const std::string text = without_comments(code);
  const std::set<std::string> words = identifiers(text);
  const auto named = [&](std::string_view part) {
    return std::any_of(words.begin(), words.end(), [&](const std::string& word) { return has(word, part); });
  };
  const std::vector<std::string> parameters = forward_parameters(text);

  Recognised result{nullptr, {}};
  std::vector<const char*> keys;
  const auto claim = [&](const char* key, const std::string& why) {
    keys.push_back(key);
    result.evidence.push_back(why);
  };
  if (parameters.empty()) {
    result.evidence.emplace_back("no class ModelNew with a forward(self, x)");
    return result;
  }
  if (parameters.size() == 2 && has(lower(parameters[1]), "mask")) claim("93-bool", "forward takes a mask");
  else if (parameters.size() > 1) claim("", "forward takes " + std::to_string(parameters.size()) + " tensors, none of them called a mask");
  if (has(text, ".flip(") || named("reverse_cumsum") || named("cumsum_reverse"))
    claim("91", has(text, ".flip(") ? "calls flip" : "named a reverse sum");
  if (has(text, "torch.cat(") && has(text, "zeros") && has(text, "[:-1]")) claim("92-old", "puts zeros before x and cuts [:-1] on axis 0");
  else if (named("exclusive_cumsum") || named("cumsum_exclusive") || named("exclusive_sum")) claim("92", "named an exclusive sum");
  if (named("cumprod")) claim("90", "named a cumulative product");
  else if (combines_by_product(text)) claim("90", "scans with a function that returns a product");
  if (keys.empty() && (named("cumsum") || named("associative_scan"))) claim("89", "scans x as it is");
  if (keys.empty()) result.evidence.emplace_back("no call of a cumulative sum, product or associative scan");
  if (keys.size() == 1) result.workload = find_workload(keys[0]);
  return result;
}

}  // namespace cumulus::cli
