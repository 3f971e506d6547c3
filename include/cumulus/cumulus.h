/* Cumulus: prefix scans of tensors. The C interface, and the only symbols the library exports.
 *
 * out = scan(in; op, axis, kind, reverse, mask, initial), with the same bits on every machine.
 * R(i) is the scan of the first i elements along the axis; docs/order.md says in which order they are combined.
 *
 * Every function is thread-safe. None prints, exits or aborts: a status other than CUMULUS_OK leaves a message
 * for the calling thread in cumulus_last_error().
 */
#ifndef CUMULUS_CUMULUS_H_
#define CUMULUS_CUMULUS_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define CUMULUS_API
#else
#define CUMULUS_API __attribute__((visibility("default")))
#endif

#define CUMULUS_VERSION_MAJOR 0
#define CUMULUS_VERSION_MINOR 1
#define CUMULUS_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* Element types: CUMULUS_DTYPE_f32 and so on. 0 is no type: a zeroed cumulus_tensor is an absent one. */
typedef enum cumulus_dtype {
  CUMULUS_DTYPE_none = 0,
#define CUMULUS_DTYPE(name, text, value, bytes, family) CUMULUS_DTYPE_##name = value,
#include "cumulus/list.inc"
} cumulus_dtype;

/* Operations: CUMULUS_OP_sum and so on. combine(earlier, later) always in this operand order. */
typedef enum cumulus_op {
#define CUMULUS_OP(name, value, inputs) CUMULUS_OP_##name = value,
#include "cumulus/list.inc"
} cumulus_op;

typedef enum cumulus_kind {
  CUMULUS_INCLUSIVE = 0, /* R(1..n) */
  CUMULUS_EXCLUSIVE = 1, /* R(0..n-1) */
  CUMULUS_PREFIXES = 2   /* R(0..n): out is one longer than in along the axis */
} cumulus_kind;

typedef enum cumulus_device { CUMULUS_CPU = 0, CUMULUS_CUDA = 1 } cumulus_device;

typedef enum cumulus_status {
  CUMULUS_OK = 0,
  CUMULUS_INVALID_ARGUMENT = 1, /* the call itself is wrong: shape, axis, overlap, null or misaligned pointer ... */
  CUMULUS_UNSUPPORTED = 2,      /* a valid call this build or order does not do: a pair of dtypes, a device ... */
  CUMULUS_OUT_OF_MEMORY = 3,
  CUMULUS_DEVICE_ERROR = 4,
  CUMULUS_INTERNAL = 5
} cumulus_status;

enum {
  CUMULUS_REVERSE = 1u,    /* scan from the last element to the first */
  CUMULUS_PIN_THREADS = 2u /* bind the call's worker threads (never the caller's own) to cores while it runs */
};

/* A view of memory the caller owns. rank 0 is a scalar. dtype 0 means that there is no tensor. */
typedef struct cumulus_tensor {
  void* data;             /* aligned to its element; may be null when the tensor has no elements */
  const int64_t* shape;   /* rank entries, each >= 0; may be null when rank is 0 */
  const int64_t* strides; /* in elements, any sign; null means C-contiguous */
  int32_t rank;           /* 0 to CUMULUS_MAX_RANK */
  int32_t dtype;          /* cumulus_dtype */
  int32_t device;         /* cumulus_device */
  int32_t device_index;   /* 0 on the CPU */
} cumulus_tensor;

enum { CUMULUS_MAX_RANK = 64 };

/* One scan. Zero it, set struct_size to sizeof(cumulus_scan_args), fill in what is needed.
 *
 * Result dtype: out.dtype. Supported pairs: the same dtype (bool excepted); an integer or bool to i64, u64, f32, f64;
 * a real to f32, f64. The input is cast to the accumulator of the result's dtype (f32 for f16 and bf16) first.
 * mask: a bool tensor selects (a masked-out element counts as the op's identity: +0, 1, the dtype's limit; (1, 0) for
 * the recurrence); a tensor of in's dtype multiplies. It is broadcast to in's shape by NumPy's rule.
 * initial: R(0); rank 0 (in host memory, also for device scans), or in's shape with the axis dropped or of size 1.
 * total: receives R(n) of every row; in's shape with the axis dropped or of size 1. Its dtype is out's or the
 * accumulator's. It may be the same memory as initial.
 * Aliasing: out may be in (or in2) itself, with the same strides and element size; no other overlap is allowed.
 */
typedef struct cumulus_scan_args {
  uint32_t struct_size; /* sizeof(cumulus_scan_args) as the caller was compiled */
  int32_t op;           /* cumulus_op */
  int32_t kind;         /* cumulus_kind */
  int32_t axis;         /* -rank to rank - 1; 0 and -1 for rank 0 */
  uint32_t flags;       /* CUMULUS_REVERSE | CUMULUS_PIN_THREADS */
  int32_t threads;      /* 0: as many as this process may use */
  void* stream;         /* CUDA stream; null on the CPU */
  cumulus_tensor in;
  cumulus_tensor in2; /* the recurrence h[i] = in[i] h[i-1] + in2[i] only */
  cumulus_tensor out;
  cumulus_tensor mask;
  cumulus_tensor initial;
  cumulus_tensor total;
  void* workspace;        /* on a GPU: the caller's memory for this scan (cumulus_workspace_bytes); null: the library's own */
  size_t workspace_bytes; /* its size */
} cumulus_scan_args;      /* the first 272 bytes, up to total, are a valid struct_size too */

/* Runs the scan. Returns CUMULUS_OK or an error; out is untouched when the arguments are refused. */
CUMULUS_API cumulus_status cumulus_scan(const cumulus_scan_args* args);

/* Bytes of device memory through which the blocks of this scan talk to each other: 0 on the CPU and for most scans.
 * Normally the library has its own, one for each stream and each captured graph. A caller who gives one instead
 * (args->workspace) decides where it lies, that a call allocates nothing, and which launches share it:
 *   - device memory of the tensors' device, apart from them, aligned to 16 bytes, of at least this size; a larger one serves many scans;
 *   - zeroed by the caller before the first scan that uses it, in the stream's order (cudaMemsetAsync), and never again:
 *     each scan leaves it ready for the next, of whatever shape, as long as workspace_bytes stays the same;
 *   - used by one launch at a time: by launches of one stream, or of streams that wait for each other. A captured launch
 *     uses it at each replay. After a scan that failed on the device, zero it again;
 *   - the caller's: the library neither frees nor remembers it. Keep it until the last scan, and every graph with one, is done.
 * Ask with the very arguments of the scan: addresses count too, by their alignment (null: as aligned as memory is when
 * it is allocated). Asked again in the same process, the answer is the same. */
CUMULUS_API cumulus_status cumulus_workspace_bytes(const cumulus_scan_args* args, size_t* bytes);

/* Writes what cumulus_scan would do, as JSON, null-terminated, cut at size bytes. *needed (may be null) receives the
 * length of the whole text, the terminator included. Tensor data may be null: nothing is read or written. */
CUMULUS_API cumulus_status cumulus_plan(const cumulus_scan_args* args, char* text, size_t size, size_t* needed);

/* The message of the calling thread's last failed call: what, which values, and the way out. "" before any. */
CUMULUS_API const char* cumulus_last_error(void);

/* "invalid argument" and so on; "unknown status" for other values. */
CUMULUS_API const char* cumulus_status_name(cumulus_status status);

/* Version of the library and its ABI, "major.minor.patch" by SemVer. */
CUMULUS_API const char* cumulus_version(void);

/* Version of the order, the contract on bits. 1, and it never changes: a different order would be a new number. */
CUMULUS_API int cumulus_order_version(void);

/* Bytes of one element; 0 for a value that is no dtype. */
CUMULUS_API size_t cumulus_dtype_size(int32_t dtype);

/* "f32" and so on; null for a value that is no dtype. */
CUMULUS_API const char* cumulus_dtype_name(int32_t dtype);

/* The SIMD target in use: "SSE4", "AVX2", "AVX3" (AVX-512), "NEON". CUMULUS_SIMD in the environment chooses a lesser one. */
CUMULUS_API const char* cumulus_simd_target(void);

#ifdef __cplusplus
}
#endif

#endif /* CUMULUS_CUMULUS_H_ */
