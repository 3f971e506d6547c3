// What a launch hands to a kernel. Plain data, shared by the host and by device code that NVRTC compiles without any header.
#pragma once

namespace cumulus::cuda {

// One dimension other than the scan axis: its size, and every tensor's stride along it in elements.
struct DimArgs {
  long long size;
  long long in, in2, out, mask, initial, total;
};

enum ArgFlags : unsigned {
  kExclusive = 1,      // out[e] = R(e), else R(e + 1); prefixes are exclusive with one more result
  kHasInitial = 2,     // else R starts from the op's identity, or from nothing
  kInitialInline = 4,  // the initial value is in `value`, not in device memory
  kHasTotal = 8,
  kScattersRows = 16  // rows: neighbouring blocks take rows of kRowParts parts of the tensors; blocks are a multiple of them
};
inline constexpr int kRowParts = 4;

// The kernel is compiled for kDims dimensions. The host always fills the largest one: a launch copies only what the kernel declares.
template <int kDims>
struct Args {
  const void* in;
  const void* in2;
  const void* mask;
  const void* initial;
  void* out;
  void* total;
  unsigned long long* workspace;                     // kWorkspaceHeader words, then words of {epoch, value}
  long long workspace_words;                         // all of the workspace: cleared when the epoch wraps
  long long n, n_out;                                // elements along the axis, read and written
  long long rows;                                    // product of the other dimensions
  long long in_step, in2_step, mask_step, out_step;  // along the axis
  unsigned long long value[2];                       // an initial value kept here
  unsigned flags;                                    // ArgFlags
  int initial_dtype, total_dtype;                    // values of cumulus/list.inc; 0 where absent
  int levels;                                        // of the order from level 3 up that n elements reach
  int dims;                                          // entries of dim in use, outermost first; columns: the last is walked in lanes
  DimArgs dim[kDims];
};

inline constexpr int kMaxDims = 63;
using HostArgs = Args<kMaxDims>;

// The workspace's first words, zeroed when it is made and left as zeros (the epoch apart) by every launch. The first one has the epoch in
// its upper half, and counts the blocks that have begun in the lower one (spread_rows: in sixteen bits of it).
inline constexpr int kWorkspaceHeader = 16;
enum WorkspaceWord { kEpoch = 0, kTicket = 2, kDone = 6, kChunkTicket = 8, kMode = 10 };

// A tensor as tensor copies (9.0) see it, innermost dimension first: columns, rows along the axis, the one outer dimension. Columns count
// in pieces of kTensorElement bytes, whatever the elements are; what is copied at a time is a box.
inline constexpr int kTensorElement = 8;
struct TensorShape {
  const void* base;  // the lowest address
  unsigned long long size[3];
  unsigned long long stride[2];  // of rows and of the outer dimension, in bytes
  unsigned box[3];
};

// The driver's encoding of it: the second argument of kernels that make tensor copies.
struct alignas(64) TensorMap {
  unsigned long long opaque[16];
};

}  // namespace cumulus::cuda
