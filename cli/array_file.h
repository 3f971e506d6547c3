// .npy files as tensors: inputs are mapped, outputs are written through a temporary file that replaces the target at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cumulus/cumulus.hpp"
#include "npy.h"

namespace cumulus::cli {

// A .npy file, mapped read-only. Elements in the other byte order, or not aligned in the file, are copied into memory.
class InputArray {
 public:
  // bf16: two-byte elements ('V2', 'u2', 'i2') are bf16, which NumPy has no code for.
  explicit InputArray(std::string path, bool bf16 = false);
  ~InputArray();
  InputArray(const InputArray&) = delete;
  InputArray& operator=(const InputArray&) = delete;

  const std::string& path() const { return path_; }
  DType dtype() const { return header_.dtype; }
  bool fortran_order() const { return header_.fortran_order; }
  const std::vector<std::int64_t>& shape() const { return header_.shape; }
  std::int64_t count() const { return header_.count(); }
  ConstTensorView view() const;

 private:
  void map();
  void decode(bool bf16);
  void copy_elements();

  std::string path_;
  NpyHeader header_;
  void* mapping_ = nullptr;
  std::size_t mapped_bytes_ = 0;
  const std::uint8_t* elements_ = nullptr;
  std::unique_ptr<std::uint8_t[]> copy_;
};

// A new .npy file: written to a temporary file beside `path`, whose space is taken at once (a full disk fails here, before
// any work), and renamed over `path` by commit(). Without commit() nothing remains, whatever ends the process short of SIGKILL.
class OutputArray {
 public:
  OutputArray(const std::string& path, DType dtype, std::vector<std::int64_t> shape, bool fortran_order);
  ~OutputArray();
  OutputArray(const OutputArray&) = delete;
  OutputArray& operator=(const OutputArray&) = delete;

  TensorView view() const;
  void commit();

 private:
  void create(std::size_t bytes);

  std::string path_;  // with symbolic links followed: the link itself stays
  std::string temporary_;
  DType dtype_;
  std::vector<std::int64_t> shape_;
  bool fortran_order_;
  std::size_t data_offset_ = 0;
  int file_ = -1;
  void* mapping_ = nullptr;
  std::size_t mapped_bytes_ = 0;
};

// Do both names lead to one file (which need not exist yet)?
bool same_file(const std::string& a, const std::string& b);

}  // namespace cumulus::cli
