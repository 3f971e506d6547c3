#include "emulated.h"

#include <algorithm>
#include <map>
#include <memory>

#include "cuda/kernels/device.cuh"

namespace emulated {

using namespace cumulus;
using cuda::Copies;
using cuda::Layout;
using cuda::Tuning;

namespace {

std::map<std::vector<int>, Kernel>& registry() {
  static std::map<std::vector<int>, Kernel> kernels;
  return kernels;
}

std::vector<int> key_of(const Problem& p, const cuda::Plan& plan) {
  std::vector<int> key = {static_cast<int>(p.op),
                          static_cast<int>(p.in_dtype),
                          static_cast<int>(p.out_dtype),
                          !p.masked()                      ? 0
                          : p.mask_dtype == DType::boolean ? 1
                                                           : 2,
                          plan.halves,
                          static_cast<int>(plan.layout),
                          plan.step != 0,
                          plan.aligned};
  const int copies = static_cast<int>(plan.copies) + plan.backward;
  switch (plan.layout) {
    case Layout::short_rows:
      key.insert(key.end(), {plan.lanes});
      break;
    case Layout::packed_rows:
      key.insert(key.end(), {plan.lanes, plan.segments});
      break;
    case Layout::column_ring:
      key.insert(key.end(), {plan.columns, plan.warps, plan.slots, plan.flight, copies});
      break;
    case Layout::rows:
      key.insert(key.end(), {plan.warps, plan.segments, plan.walks, plan.tail});
      break;
    case Layout::spread_rows:
      key.insert(key.end(), {plan.warps, plan.segments});
      break;
    case Layout::split_columns:
      key.insert(key.end(), {plan.columns, plan.narrow, plan.side, plan.slots, plan.flight, plan.loaders, plan.reducers, plan.starters,
                             plan.storers, plan.scanners, plan.panel, copies});
      break;
    case Layout::split_rows:
      key.insert(key.end(), {plan.chunks, plan.slots, plan.flight, plan.reducers, plan.storers, plan.team, plan.scanners, copies});
      break;
    default:
      break;
  }
  return key;
}

// As earlier launches of other sizes left one: words of theirs lie behind those that this launch needs, and in them if it is dirty.
std::vector<std::uint64_t> new_workspace(std::size_t needed, const Run& how) {
  constexpr std::size_t kBehind = 300;
  std::vector<std::uint64_t> workspace(needed + kBehind, 0);
  workspace[cuda::kEpoch] = std::uint64_t{how.epoch} << 32;
  for (std::size_t i = how.dirty ? cuda::kWorkspaceHeader : needed; i < workspace.size(); ++i)
    workspace[i] = (static_cast<std::uint64_t>(how.epoch - static_cast<std::uint32_t>(i) % 3) << 32) + 12345;
  return workspace;
}

constexpr std::uint32_t kLastTag = 0xffffffffu;  // then the epoch comes round

// What the next launch relies on.
void check_left(const std::vector<std::uint64_t>& workspace, std::uint32_t tag, std::vector<std::string>& findings) {
  for (int word : {cuda::kTicket, cuda::kDone, cuda::kChunkTicket, cuda::kMode})
    if (workspace[static_cast<std::size_t>(word)] != 0) findings.push_back("a counter of the workspace is left behind");
  if (workspace[cuda::kEpoch] != (tag == kLastTag ? 0 : std::uint64_t{tag} << 32)) findings.push_back("the epoch has not moved on");
  const bool cleared =
      std::all_of(workspace.begin() + cuda::kWorkspaceHeader, workspace.end(), [](std::uint64_t word) { return word == 0; });
  if (tag == kLastTag && !cleared) findings.push_back("old words outlive the last epoch");
}

}  // namespace

void add(const std::vector<int>& key, Kernel kernel) { registry()[key] = kernel; }

std::vector<Tuning> tunings(Layout layout) {
  Tuning t;
  t.layout = static_cast<int>(layout);
  if (layout == Layout::rows) {
    Tuning one = t, some = t, many = t, part = t;
    one.warps = 1, one.segments = 2;
    some.warps = 8, some.segments = 4;
    many.warps = 8, many.segments = 8;
    part.warps = 5, part.segments = 8;  // held, and not whole chunks
    return {one, some, many, part};
  }
  if (layout == Layout::packed_rows) {
    t.segments = 2;
    return {t};
  }
  if (layout == Layout::spread_rows) {
    Tuning eight = t, sixteen = t;  // rows that are aligned or strided, and others
    eight.warps = 8;
    sixteen.warps = 16;
    return {eight, sixteen};
  }
  if (layout == Layout::split_rows) {
    Tuning bulk = t, async = t;
    bulk.chunks = 1, bulk.slots = 4, bulk.flight = 2, bulk.reducers = 1, bulk.storers = 2, bulk.team = 4, bulk.scanners = 2;
    async.capability = 80, async.chunks = 2, async.slots = 3, async.flight = 1, async.reducers = 2, async.storers = 1, async.team = 2,
    async.scanners = 3;
    Tuning alone = bulk;
    alone.team = 1;
    std::vector<Tuning> all = {bulk, async, alone};
    for (Tuning own : {bulk, async, alone}) {  // where there are two rows and more
      own.scanners = 0, own.blocks = 1;
      all.push_back(own);
    }
    return all;
  }
  if (layout == Layout::column_ring) {
    Tuning bulk = t, async = t;
    bulk.warps = 4, bulk.slots = 3, bulk.flight = 2, bulk.copies = static_cast<int>(cuda::Copies::bulk);
    async.capability = 80, async.columns = 1, async.warps = 2, async.slots = 2, async.flight = 1;
    return {bulk, async};
  }
  if (layout == Layout::split_columns) {
    Tuning bulk = t, async = t;
    bulk.columns = 1, bulk.slots = 4, bulk.flight = 2, bulk.reducers = 1, bulk.storers = 2;
    bulk.scanners = 3, bulk.panel = 8, bulk.copies = static_cast<int>(cuda::Copies::bulk);
    async.capability = 80, async.columns = 2, async.slots = 3, async.flight = 1, async.reducers = 2, async.storers = 1;
    async.scanners = 4, async.panel = 2;
    // Where columns are more than a few, scanners are blocks, of which one or two are compiled; with two blocks in all, strips are shared
    // only if there is one.
    Tuning shared = bulk, pairs = async, own = bulk, own_pairs = async;
    shared.scanners = own.scanners = 1, pairs.scanners = own_pairs.scanners = 2;
    own.blocks = own_pairs.blocks = 2;
    return {bulk, async, shared, pairs, own, own_pairs};
  }
  return {t};
}

Outcome run(const Problem& p, const cuda::Plan& plan, const std::vector<emulator::Memory>& memory, const Run& how,
            std::vector<std::string>& findings) {
  findings.clear();
  if (plan.layout == Layout::none) return Outcome::done;
  const auto kernel = registry().find(key_of(p, plan));
  if (kernel == registry().end()) return Outcome::not_compiled;

  std::vector<std::uint64_t> own;
  std::vector<std::uint64_t>& workspace = how.workspace ? *how.workspace : own;
  const auto needed = static_cast<std::size_t>(plan.workspace_words);
  const bool used = needed > 0;
  if (!how.workspace && used) own = new_workspace(needed, how);
  if (workspace.size() < needed) workspace.resize(needed);
  const std::uint32_t tag = used ? static_cast<std::uint32_t>(workspace[cuda::kEpoch] >> 32) + 1 : 0;
  const auto args = std::make_unique<cuda::HostArgs>();
  cuda::fill_args(p, plan, how.initial_on_host, workspace.data(), static_cast<std::int64_t>(workspace.size()), *args);

  emulator::Launch launch;
  launch.blocks = plan.grid, launch.threads = plan.threads, launch.shared = static_cast<std::size_t>(plan.shared);
  launch.seed = how.seed, launch.resident = how.resident;
  launch.memory = memory;
  launch.memory.push_back({workspace.data(), (tag == kLastTag ? workspace.size() : needed) * sizeof workspace[0], true});
  const cuda::TensorMap map = plan.copies == Copies::tensor ? cuda::map_of(cuda::tensor_shape(p, plan)) : cuda::TensorMap{};
  findings = emulator::launch(launch, [&] { kernel->second(*args, &map); });

  if (used) check_left(workspace, tag, findings);
  return Outcome::done;
}

}  // namespace emulated
