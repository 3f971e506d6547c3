#include "cuda/pack.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <fstream>
#include <mutex>
#include <set>
#include <string_view>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cuda/plan.h"
#include "error.h"
#include "shape.h"

namespace cumulus::cuda {
namespace {

constexpr std::string_view kMagic = "cumulus pack 1\n";

bool served(Op op, DType dtype) { return supported_pair(dtype, dtype) && has_kernel(op, kernel_accumulator(op, dtype)); }

template <class T>
std::string names(std::span<const T> values) {
  std::vector<const char*> texts;
  for (const T value : values) texts.push_back(name(value));
  return fmt::format("{}", fmt::join(texts, ","));
}

[[noreturn]] void fail_without_kernels(const char* what, const char* which, const char* others, const std::string& list) {
  constexpr const char* kRule = "a dtype is the input's and the result's, which bool cannot be, and complex numbers have no max or min";
  fail_invalid(fmt::format("{} {} has no kernels with {} {}: {}; leave it out", what, which, others, list, kRule));
}

// What would be left out of a pack without a word is refused by name.
void check_served(std::span<const Op> ops, std::span<const DType> dtypes) {
  for (const DType dtype : dtypes)
    if (std::none_of(ops.begin(), ops.end(), [&](Op op) { return served(op, dtype); }))
      fail_without_kernels("dtype", name(dtype), "op", names(ops));
  for (const Op op : ops)
    if (std::none_of(dtypes.begin(), dtypes.end(), [&](DType dtype) { return served(op, dtype); }))
      fail_without_kernels("op", name(op), "dtype", names(dtypes));
}

}  // namespace

std::vector<std::string> find_packs(System& system) {
  std::vector<std::string> packs;
  const auto add_folder = [&](const std::string& folder) {
    for (const std::string& name : system.list(folder))
      if (name.ends_with(".pack")) packs.push_back(fmt::format("{}/{}", folder, name));
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

bool is_pack(const std::string& path) {
  std::string start(kMagic.size(), '\0');
  std::ifstream file(path, std::ios::binary);
  return file.read(start.data(), static_cast<std::streamsize>(start.size())) && start == kMagic;
}

std::vector<PackedKernel> list_pack(const std::string& path) {
  std::vector<PackedKernel> kernels;
  std::ifstream file(path, std::ios::binary);
  file.seekg(0, std::ios::end);
  const std::int64_t end = file.tellg();
  const auto read = [&](std::int64_t offset, std::int64_t bytes) {
    std::string text(static_cast<std::size_t>(bytes), '\0');
    file.seekg(offset);
    file.read(text.data(), bytes);
    return text;
  };
  std::int64_t at = kMagic.size();
  if (!file || end < at || read(0, at) != kMagic) return kernels;
  constexpr std::int64_t kKey = 4096;  // more than any key has
  while (end - at >= static_cast<std::int64_t>(sizeof(std::uint64_t))) {
    std::uint64_t size;
    std::memcpy(&size, read(at, sizeof size).data(), sizeof size);
    at += sizeof size;
    if (size > static_cast<std::uint64_t>(end - at)) break;
    const auto bytes = static_cast<std::int64_t>(size);
    if (const auto key = key_of(read(at, std::min(bytes, kKey)))) kernels.push_back({*key, path, at, bytes});
    at += bytes;
  }
  return kernels;
}

std::optional<Cubin> read_packed(const PackedKernel& kernel) {
  std::ifstream file(kernel.path, std::ios::binary);
  std::string bytes(static_cast<std::size_t>(kernel.bytes), '\0');
  if (!file.seekg(kernel.offset) || !file.read(bytes.data(), kernel.bytes)) return std::nullopt;
  auto entry = from_bytes(bytes);
  if (!entry || entry->key != kernel.key) return std::nullopt;
  return std::move(entry->cubin);
}

std::vector<PackItem> common_kernels(int capability, std::span<const Op> ops, std::span<const DType> dtypes) {
  // Where plans change: powers of two up to what a block holds in registers, with the odd sizes between; then long and very long rows.
  constexpr std::int64_t kLengths[] = {4,    8,    16,   32,    63,    64,    128,   129,   256,     512,    1024,
                                       2048, 4096, 8192, 12288, 16384, 24576, 32768, 65536, 1 << 20, 1 << 26};
  const DeviceInfo device = device_of_capability(capability);
  std::vector<PackItem> items;
  const auto add = [&](Op op, DType dtype, std::int64_t rows, std::int64_t columns, int axis, bool mask) {
    const std::int64_t shape[] = {rows, columns};
    cumulus_scan_args args{};
    args.struct_size = sizeof args;
    args.op = static_cast<int>(op);
    args.axis = axis;
    args.in = {nullptr, shape, nullptr, 2, static_cast<std::int32_t>(dtype), CUMULUS_CUDA, 0};
    args.out = args.in;
    if (inputs(op) == 2) args.in2 = args.in;
    if (mask) args.mask = args.in, args.mask.dtype = CUMULUS_DTYPE_boolean;
    Problem problem;
    canonicalise(args, false, problem);
    const Plan plan = make_plan(problem, device);
    KernelSpec kernel{kSource, kEntry, definitions(problem, plan)};
    const auto same = [&](const PackItem& item) { return item.kernel == kernel; };
    if (plan.layout != Layout::none && std::none_of(items.begin(), items.end(), same)) items.push_back({std::move(kernel), capability});
  };
  for (const Op op : ops)
    for (const DType dtype : dtypes) {
      if (!served(op, dtype)) continue;
      for (const bool mask : {false, true}) {
        for (const std::int64_t length : kLengths) {
          for (const std::int64_t rows : {1, 1 << 20}) add(op, dtype, rows, length, 1, mask);
          for (const std::int64_t columns : {8, 64, 1 << 16}) add(op, dtype, length, columns, 0, mask);
        }
      }
    }
  return items;
}

Pack build_pack(CubinSource& source, std::span<const PackItem> items, int threads, const PackProgress& progress) {
  // Threads compile; what they make is joined in the items' order, so that the same kernels give the same file.
  std::vector<std::string> entries(items.size());
  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<std::size_t> next = 0;
  int done = 0;
  const auto work = [&] {
    for (std::size_t k; (k = next++) < items.size();) {
      try {
        entries[k] = to_bytes(kernel_key(items[k].kernel, items[k].capability, source.sources_hash()),
                              source.compile(items[k].kernel, items[k].capability));
        const std::lock_guard lock(mutex);
        ++done;
        if (progress) progress(done, static_cast<int>(items.size()));
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
        next = items.size();
      }
    }
  };
  const std::size_t wanted = std::min(static_cast<std::size_t>(std::max(threads, 1)), items.size());
  std::vector<std::jthread> workers;
  workers.reserve(wanted);
  try {
    while (workers.size() + 1 < wanted) workers.emplace_back(work);
  } catch (const std::system_error&) {  // a limit on threads: those that started, and this one, do all the work
  }
  work();
  workers.clear();  // joins
  if (failure) std::rethrow_exception(failure);

  Pack pack{std::string(kMagic), static_cast<int>(items.size())};
  for (const std::string& entry : entries) {
    const std::uint64_t size = entry.size();
    pack.bytes.append(reinterpret_cast<const char*>(&size), sizeof size).append(entry);
  }
  return pack;
}

Pack pack(std::span<const int> capabilities, std::span<const Op> ops, std::span<const DType> dtypes, int threads,
          const PackProgress& progress) {
  check_served(ops, dtypes);
  std::vector<PackItem> items;
  for (const int capability : std::set<int>(capabilities.begin(), capabilities.end())) {
    if (capability < kLeastCapability)
      fail_unsupported(fmt::format("sm_{} is too old: compute capability 8.0 (80) or later is needed", capability));
    const std::vector<PackItem> own = common_kernels(capability, ops, dtypes);
    items.insert(items.end(), own.begin(), own.end());
  }
  CubinSource source(real_system(), kAnyDriver);
  return build_pack(source, items, threads, progress);
}

}  // namespace cumulus::cuda
