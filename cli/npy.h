// The .npy format (NumPy's one-array file): headers parsed from and formatted to bytes. No I/O here; see array_file.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "cumulus/cumulus.hpp"

namespace cumulus::cli {

// Any defect of a header: what() says what was found, the rule, and the way out where there is one.
struct NpyError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct NpyHeader {
  DType dtype = DType::none;  // none: two raw bytes ('V2'), which the caller may declare to be bf16
  std::string descr;          // as in the file: "<f4"
  bool swapped = false;       // elements are in the other byte order than this machine's
  bool fortran_order = false;
  std::vector<std::int64_t> shape;  // every entry >= 0; the bytes of the whole array fit in 63 bits
  std::size_t element_bytes = 0;
  std::size_t data_offset = 0;  // where the elements start in the file

  std::int64_t count() const;  // elements
  std::int64_t bytes() const { return count() * static_cast<std::int64_t>(element_bytes); }
};

// Parses the header at the start of `data`, whose `size` bytes may be the whole file or any part that holds the header.
// Versions 1.0, 2.0 and 3.0. Throws NpyError for whatever is not a header of an array of numbers or bools.
NpyHeader parse_npy_header(const std::uint8_t* data, std::size_t size);

// A header as NumPy writes it (version 1.0, or 2.0 where the shape needs it), padded so that the data starts at a multiple of 64.
std::string format_npy_header(DType dtype, const std::vector<std::int64_t>& shape, bool fortran_order);

// NumPy's code for a dtype: "<f4"; "<V2" for bf16, which NumPy has no code for (ml_dtypes writes and views it so).
std::string npy_descr(DType dtype);

// Strides in elements of an array in C or Fortran order.
std::vector<std::int64_t> contiguous_strides(const std::vector<std::int64_t>& shape, bool fortran_order);

}  // namespace cumulus::cli
