// Any bytes are a header or an NpyError; what is accepted keeps its promises and survives being written and read again.
#include <cstdlib>

#include "npy.h"

using namespace cumulus::cli;

static void require(bool condition) {
  if (!condition) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  NpyHeader header;
  try {
    header = parse_npy_header(data, size);
  } catch (const NpyError& error) {
    require(error.what()[0] != '\0');
    return 0;
  }
  require(header.element_bytes > 0 && header.data_offset <= size);
  require(header.count() >= 0 && header.bytes() >= 0);
  for (const std::int64_t n : header.shape) require(n >= 0);

  if (header.dtype == cumulus::DType::none) return 0;
  const std::string text = format_npy_header(header.dtype, header.shape, header.fortran_order);
  const NpyHeader again = parse_npy_header(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  require(again.dtype == header.dtype && again.shape == header.shape && again.fortran_order == header.fortran_order);
  require(again.data_offset == text.size() && text.size() % 64 == 0);
  return 0;
}
