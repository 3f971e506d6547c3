// What tuning found, as a file keeps it: one JSON text of entries. A pure part: no file is read here and no machine asked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan.h"
#include "shape.h"
#include "tuning/parameters.h"

namespace cumulus::tuning {

// All of a machine and a build that timings depend on. An entry made with anything else is a miss.
struct Machine {
  std::string backend;       // "cpu", "cuda"
  std::string device;        // "AMD EPYC"
  std::string architecture;  // "AVX3", "sm_90"
  std::int64_t units = 0;    // cores of this process, or multiprocessors
  std::string library;       // its version, its order's, and the kernels' where they have one
  std::string compiler;
  std::string driver;  // "" on a CPU
  std::string policy;  // how it was measured

  bool operator==(const Machine&) const = default;
};
inline constexpr const char* kPolicy = "paired rounds 1, cold cache";

// All of a call that a choice depends on; shapes in buckets of powers of two. Small and plain: a scan compares it with every entry.
struct Call {
  Op op;
  Kind kind;
  DType in, out, mask, initial, total;
  ShapeCase shape;
  bool reverse, aligned;
  std::int32_t threads;  // as asked for; 0: all
  std::int32_t rows_log2, length_log2;

  bool operator==(const Call&) const = default;
};
Call call_of(const Problem& problem, ShapeCase shape);
Call call_of(const Problem& problem);  // the same, with the planner's own shape case
std::string text_of(const Call& call);

struct Entry {
  Machine machine;
  Call call;
  Parameters tuning;
  std::int64_t rows = 0, length = 0;  // as measured
  double ms = 0, ratio = 1;           // of the tuned scan, and of its time to the planner's own
  std::string date;                   // "2026-01-31T12:00:00Z"

  bool operator==(const Entry&) const = default;
};

struct Cache {
  bool frozen = false;  // looked up, but no longer written
  std::vector<Entry> entries;

  bool operator==(const Cache&) const = default;
};

// The file's text and back. Nothing but a whole valid file is used: for any other, nullopt and why.
std::string to_text(const Cache& cache);
std::optional<Cache> parse(const std::string& text, std::string& why);

// Adds entries; of two with the same machine and call the later measured stays. Returns how many were added or replaced.
int merge(Cache& into, const Cache& from);

enum class Source { exact, bucket, neighbour, none };
const char* name(Source source);  // "exact entry", "nearest bucket", "neighbouring architecture", "default"

struct Found {
  Source source = Source::none;
  const Entry* entry = nullptr;
};

// The entries that a machine can use, made once; then immutable.
class Table {
 public:
  Table() = default;
  Table(std::vector<Entry> entries, const Machine& machine);
  bool empty() const { return usable_.empty(); }
  Found find(const Call& call) const;

 private:
  struct Usable {
    Call call;
    bool own;  // of this very machine
    std::size_t entry;
  };
  std::vector<Entry> entries_;
  std::vector<Usable> usable_;
};

}  // namespace cumulus::tuning
