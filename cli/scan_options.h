// The options that say what a scan is, shared by `run` and `plan`, and the conventions of NumPy that complete them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli11_fwd.h"
#include "cumulus/cumulus.hpp"

namespace cumulus::cli {

struct ScanOptions {
  std::string op = "sum", kind = "inclusive", axis, dtype, device = "cpu";
  bool reverse = false, pin = false;
  int threads = 0;
};

void add_scan_options(CLI::App& command, ScanOptions& options);

// Adds an option whose value is a dtype: the names of the list, or NumPy's ("float32").
CLI::Option* add_dtype_option(CLI::App& command, const std::string& name, std::string& value, const std::string& description);

// The same for a list, as "f32,float64".
CLI::Option* add_dtypes_option(CLI::App& command, const std::string& name, std::vector<std::string>& values,
                               const std::string& description);

Op parse_op(const std::string& name);
Kind parse_kind(const std::string& name);
DType parse_dtype(const std::string& name);  // none for ""

// "32768x32768", "2^20,8"; "scalar" or "" is rank 0.
std::vector<std::int64_t> parse_shape(const std::string& text);
// "1,-4096": integers of any sign.
std::vector<std::int64_t> parse_integers(const std::string& text, const char* option);

// The axis from its option: 0 where the rank leaves no choice; an error where it does and nothing is said.
int choose_axis(const std::string& text, int rank);

// The result's dtype: `requested`, else NumPy's rule (sums and products of bool and narrow integers go to int64/uint64).
// Refuses what the core refuses, naming the way out.
DType choose_dtype(Op op, DType in, const std::string& requested);

// Refuses --threads and --pin, which a GPU would ignore. `gpu`: the option that says so, for the message.
void check_no_cpu_options(const ScanOptions& options, const std::string& gpu);

// Refuses a device that is neither cpu nor cuda, and options of the CPU with cuda.
void check_device(const ScanOptions& options);

// A number for R(0), as exactly as the accumulator of `result` holds it.
Initial parse_initial(const std::string& text, DType result);

// The flags, threads, op and kind as the library's own struct.
ScanSpec to_spec(const ScanOptions& options, int axis);

}  // namespace cumulus::cli
