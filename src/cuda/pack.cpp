#include "cuda/pack.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "error.h"

namespace cumulus::cuda {
namespace {

constexpr std::string_view kMagic = "cumulus pack 1\n";

}  // namespace

std::vector<std::string> find_packs(System& system) {
  std::vector<std::string> packs;
  const auto add_folder = [&](const std::string& folder) {
    for (const std::string& name : system.list(folder))
      if (name.ends_with(".pack")) packs.push_back(folder + "/" + name);
  };
  if (const auto wanted = system.environment("CUMULUS_PACK")) {
    const auto info = system.file(*wanted);
    if (info && info->folder) add_folder(*wanted);
    else if (info) packs.push_back(*wanted);
    return packs;
  }
  // The library may be in lib, the command line in bin beside it.
  const std::string own = system.own_path(), folder = own.substr(0, own.rfind('/') + 1);
  if (folder.empty()) return packs;
  for (const char* place : {"cumulus", "../lib/cumulus", "../lib64/cumulus"}) {
    add_folder(folder + place);
    if (!packs.empty()) break;
  }
  return packs;
}

std::vector<KeyedCubin> read_pack(const std::string& path) {
  std::vector<KeyedCubin> entries;
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!bytes.starts_with(kMagic)) return entries;
  for (std::size_t at = kMagic.size(); bytes.size() - at >= sizeof(std::uint64_t);) {
    std::uint64_t size;
    std::memcpy(&size, bytes.data() + at, sizeof size);
    at += sizeof size;
    if (size > bytes.size() - at) break;
    if (auto entry = from_bytes(std::string_view(bytes).substr(at, size))) entries.push_back(std::move(*entry));
    at += size;
  }
  return entries;
}

PackReport write_pack(const std::string& path, CubinSource& source, std::span<const KernelSpec> kernels, std::span<const int> capabilities,
                      const std::function<void(int done, int total)>& progress) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  struct Remover {
    const std::string& path;
    ~Remover() { unlink(path.c_str()); }
  } remover{temporary};
  const auto fail = [&](const char* what) {
    throw Failure{CUMULUS_INVALID_ARGUMENT, fmt::format("{}: {}: {}: give a path that can be written", path, what, std::strerror(errno))};
  };
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  if (!file) fail("cannot be created");
  file << kMagic;
  PackReport report{0, static_cast<std::int64_t>(kMagic.size())};
  const int total = static_cast<int>(kernels.size() * capabilities.size());
  for (int capability : capabilities)
    for (const KernelSpec& kernel : kernels) {
      const std::string entry = to_bytes(kernel_key(kernel, capability, source.sources_hash()), source.compile(kernel, capability));
      const std::uint64_t size = entry.size();
      file.write(reinterpret_cast<const char*>(&size), sizeof size);
      file.write(entry.data(), static_cast<std::streamsize>(entry.size()));
      report.bytes += static_cast<std::int64_t>(sizeof size + entry.size());
      ++report.kernels;
      if (progress) progress(report.kernels, total);
    }
  file.close();
  if (!file) fail("cannot be written");
  if (std::rename(temporary.c_str(), path.c_str()) != 0) fail("cannot be renamed");
  return report;
}

}  // namespace cumulus::cuda
