#include "array_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "cleanup.h"
#include "commands.h"
#include "text_file.h"
#include "types.h"

namespace cumulus::cli {
namespace {

Dims dims(const std::vector<std::int64_t>& values) { return {values.data(), static_cast<int>(values.size())}; }

// Bytes of an array, or an error where 63 bits do not hold them.
std::size_t array_bytes(const std::string& path, DType dtype, const std::vector<std::int64_t>& shape) {
  std::int64_t total = bytes(dtype);
  for (const std::int64_t size : shape)
    if (__builtin_mul_overflow(total, size, &total) || total > std::numeric_limits<std::int64_t>::max() - (1 << 20))
      throw CliError(kExitUsage, fmt::format("{} would have more than 2^63 bytes", path));
  return static_cast<std::size_t>(total);
}

}  // namespace

// --- Reading --------------------------------------------------------------------------------------------------------------------

InputArray::InputArray(std::string path, bool bf16) : path_(std::move(path)) {
  try {
    map();
    decode(bf16);
  } catch (const NpyError& error) {
    throw CliError(kExitUsage, fmt::format("{}: {}", path_, error.what()));
  }
}

InputArray::~InputArray() {
  if (mapping_) munmap(mapping_, mapped_bytes_);
}

void InputArray::map() {
  const int file = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) fail_io("cannot open", path_, errno);
  struct stat status {};
  const bool known = fstat(file, &status) == 0;
  if (known && S_ISREG(status.st_mode) && status.st_size > 0) {
    mapped_bytes_ = static_cast<std::size_t>(status.st_size);
    mapping_ = mmap(nullptr, mapped_bytes_, PROT_READ, MAP_SHARED, file, 0);
  }
  const int error = errno;
  close(file);
  if (known && S_ISDIR(status.st_mode)) fail_io("cannot read", path_, EISDIR);
  if (known && !S_ISREG(status.st_mode))
    throw CliError(kExitIo, fmt::format("{} is not a regular file: inputs are memory-mapped, so save it first", path_));
  if (known && status.st_size == 0) throw NpyError("the file is empty; write a .npy file with np.save");
  if (!known || mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    fail_io("cannot map", path_, error);
  }
}

void InputArray::decode(bool bf16) {
  header_ = parse_npy_header(static_cast<const std::uint8_t*>(mapping_), mapped_bytes_);
  const std::size_t available = mapped_bytes_ - header_.data_offset;
  if (static_cast<std::uint64_t>(header_.bytes()) > available)
    throw NpyError(fmt::format("the file is cut off: the header claims {} bytes of elements, {} are there", header_.bytes(), available));
  const DType stored = header_.dtype;
  if (bf16 && (stored == DType::none || stored == DType::u16 || stored == DType::i16)) header_.dtype = DType::bf16;
  if (header_.dtype == DType::none)
    throw NpyError(fmt::format(
        "the array's dtype is '{}', two raw bytes; if it is bfloat16 (NumPy has no code for it), say --in-dtype bf16", header_.descr));
  elements_ = static_cast<const std::uint8_t*>(mapping_) + header_.data_offset;
  if (header_.swapped || reinterpret_cast<std::uintptr_t>(elements_) % header_.element_bytes != 0) copy_elements();
}

void InputArray::copy_elements() {
  const auto size = static_cast<std::size_t>(header_.bytes());
  copy_.reset(new std::uint8_t[size + 1]);
  std::memcpy(copy_.get(), elements_, size);
  elements_ = copy_.get();
  if (!header_.swapped) return;
  const std::size_t part = family(header_.dtype) == Family::complex ? header_.element_bytes / 2 : header_.element_bytes;
  for (std::size_t at = 0; at < size; at += part) std::reverse(copy_.get() + at, copy_.get() + at + part);
}

ConstTensorView InputArray::view() const { return {elements_, dtype(), dims(shape()), dims(contiguous_strides(shape(), fortran_order()))}; }

// --- Writing --------------------------------------------------------------------------------------------------------------------

OutputArray::OutputArray(const std::string& path, DType dtype, std::vector<std::int64_t> shape, bool fortran_order)
    : path_(check_target(path)), dtype_(dtype), shape_(std::move(shape)), fortran_order_(fortran_order) {
  const std::string header = format_npy_header(dtype_, shape_, fortran_order_);
  data_offset_ = header.size();
  try {
    create(header.size() + array_bytes(path, dtype_, shape_));
  } catch (...) {
    remove_temporary(temporary_);
    if (file_ >= 0) close(file_);
    throw;
  }
  std::memcpy(mapping_, header.data(), header.size());
}

void OutputArray::create(std::size_t size) {
  struct stat status {};
  const bool exists = stat(path_.c_str(), &status) == 0;
  temporary_ = path_ + ".XXXXXX";
  file_ = make_temporary(temporary_);
  if (file_ < 0) {
    const int error = errno;
    temporary_.clear();
    fail_io("cannot create a temporary file beside", path_, error);
  }
  if (fchmod(file_, exists ? status.st_mode & 07777 : new_file_mode()) != 0) fail_io("cannot set the permissions of", path_, errno);
  if (const int error = posix_fallocate(file_, 0, static_cast<off_t>(size)))
    fail_io(fmt::format("cannot take {} bytes for", size), path_, error);
  mapping_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    fail_io("cannot map", path_, errno);
  }
  mapped_bytes_ = size;
}

OutputArray::~OutputArray() {
  if (mapping_) munmap(mapping_, mapped_bytes_);
  if (file_ >= 0) close(file_);
  remove_temporary(temporary_);
}

TensorView OutputArray::view() const {
  return {static_cast<std::uint8_t*>(mapping_) + data_offset_, dtype_, dims(shape_), dims(contiguous_strides(shape_, fortran_order_))};
}

void OutputArray::commit() {
  munmap(mapping_, mapped_bytes_);
  mapping_ = nullptr;
  const int closed = close(file_);
  file_ = -1;
  if (closed != 0) fail_io("cannot write", path_, errno);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io("cannot replace", path_, errno);
  forget_temporary(temporary_);
  temporary_.clear();
}

bool same_file(const std::string& a, const std::string& b) { return behind_links(a) == behind_links(b); }

}  // namespace cumulus::cli
