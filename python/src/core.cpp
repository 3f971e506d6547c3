// cumulus._core: the extension under the NumPy and DLPack fronts. It turns arrays and DLPack capsules into cumulus_scan_args and makes
// the call; rules of promotion and broadcasting are Python's (cumulus/_arrays.py). One binary serves every Python from 3.9 on (limited
// API) and NumPy 1.19 and later.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x03090000
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_19_API_VERSION
#define NPY_TARGET_VERSION NPY_1_19_API_VERSION
#include <numpy/arrayobject.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "cumulus/cumulus.h"
#include "dlpack.h"

namespace {

// The Python function that takes what scan() leaves: set once, by cumulus/_dispatch.py.
PyObject* general = nullptr;

// A call that moves less than this ends before another thread could use the interpreter.
constexpr std::int64_t kBytesWithLock = 16 << 10;

struct Operand {
  cumulus_tensor tensor{};
  std::int64_t shape[CUMULUS_MAX_RANK];
  std::int64_t strides[CUMULUS_MAX_RANK];

  std::int64_t bytes() const {
    auto size = static_cast<std::int64_t>(cumulus_dtype_size(tensor.dtype));
    for (int i = 0; i < tensor.rank; ++i) size *= shape[i];
    return size;
  }
};

bool fail(PyObject* kind, const std::string& message) {
  PyErr_SetString(kind, message.c_str());
  return false;
}

// ---- arrays ----

// C's integer types by their sizes: NumPy has two names for one of them on every platform.
template <bool is_signed>
int integer_dtype(std::size_t bytes) {
  switch (bytes) {
    case 1:
      return is_signed ? CUMULUS_DTYPE_i8 : CUMULUS_DTYPE_u8;
    case 2:
      return is_signed ? CUMULUS_DTYPE_i16 : CUMULUS_DTYPE_u16;
    case 4:
      return is_signed ? CUMULUS_DTYPE_i32 : CUMULUS_DTYPE_u32;
    case 8:
      return is_signed ? CUMULUS_DTYPE_i64 : CUMULUS_DTYPE_u64;
    default:
      return CUMULUS_DTYPE_none;
  }
}

int dtype_of(int type_number) {
  switch (type_number) {
    case NPY_BOOL:
      return CUMULUS_DTYPE_boolean;
    case NPY_BYTE:
      return integer_dtype<true>(sizeof(npy_byte));
    case NPY_SHORT:
      return integer_dtype<true>(sizeof(npy_short));
    case NPY_INT:
      return integer_dtype<true>(sizeof(npy_int));
    case NPY_LONG:
      return integer_dtype<true>(sizeof(npy_long));
    case NPY_LONGLONG:
      return integer_dtype<true>(sizeof(npy_longlong));
    case NPY_UBYTE:
      return integer_dtype<false>(sizeof(npy_ubyte));
    case NPY_USHORT:
      return integer_dtype<false>(sizeof(npy_ushort));
    case NPY_UINT:
      return integer_dtype<false>(sizeof(npy_uint));
    case NPY_ULONG:
      return integer_dtype<false>(sizeof(npy_ulong));
    case NPY_ULONGLONG:
      return integer_dtype<false>(sizeof(npy_ulonglong));
    case NPY_HALF:
      return CUMULUS_DTYPE_f16;
    case NPY_FLOAT:
      return CUMULUS_DTYPE_f32;
    case NPY_DOUBLE:
      return CUMULUS_DTYPE_f64;
    case NPY_CFLOAT:
      return CUMULUS_DTYPE_c64;
    case NPY_CDOUBLE:
      return CUMULUS_DTYPE_c128;
    default:
      return CUMULUS_DTYPE_none;
  }
}

// False where the array is not as the library takes it: foreign byte order or dtype, misaligned, strides that split elements.
bool view_array(PyArrayObject* array, Operand& o) {
  const int dtype = dtype_of(PyArray_TYPE(array));
  if (dtype == CUMULUS_DTYPE_none || !PyArray_ISBEHAVED_RO(array)) return false;
  const int rank = PyArray_NDIM(array);
  const auto size = static_cast<npy_intp>(cumulus_dtype_size(dtype));
  for (int i = 0; i < rank; ++i) {
    const npy_intp stride = PyArray_STRIDE(array, i);
    if (stride % size != 0) return false;
    o.shape[i] = PyArray_DIM(array, i);
    o.strides[i] = stride / size;
  }
  o.tensor = {PyArray_DATA(array), o.shape, o.strides, rank, dtype, CUMULUS_CPU, 0};
  return true;
}

// ---- DLPack capsules ----

int dtype_of(const DLDataType& type) {
  if (type.lanes != 1) return CUMULUS_DTYPE_none;
  const int bytes = type.bits / 8;
  switch (type.code) {
    case kDLInt:
      return integer_dtype<true>(bytes);
    case kDLUInt:
      return integer_dtype<false>(bytes);
    case kDLFloat:
      return bytes == 2 ? CUMULUS_DTYPE_f16 : bytes == 4 ? CUMULUS_DTYPE_f32 : bytes == 8 ? CUMULUS_DTYPE_f64 : CUMULUS_DTYPE_none;
    case kDLBfloat:
      return bytes == 2 ? CUMULUS_DTYPE_bf16 : CUMULUS_DTYPE_none;
    case kDLComplex:
      return bytes == 8 ? CUMULUS_DTYPE_c64 : bytes == 16 ? CUMULUS_DTYPE_c128 : CUMULUS_DTYPE_none;
    case kDLBool:
      return bytes == 1 ? CUMULUS_DTYPE_boolean : CUMULUS_DTYPE_none;
    default:
      return CUMULUS_DTYPE_none;
  }
}

// The capsule stays its owner's: it is read while the call runs, and never marked as used.
bool view_capsule(PyObject* capsule, const char* role, Operand& o) {
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  if (!managed) return false;
  const DLTensor& t = managed->dl_tensor;
  const int dtype = dtype_of(t.dtype);
  if (dtype == CUMULUS_DTYPE_none)
    return fail(PyExc_TypeError, std::string(role) + " has DLPack type code " + std::to_string(t.dtype.code) + " with " +
                                     std::to_string(t.dtype.bits) + " bits: convert it to a dtype of Cumulus first");
  if (t.ndim > CUMULUS_MAX_RANK)
    return fail(PyExc_ValueError,
                std::string(role) + " has " + std::to_string(t.ndim) + " axes: at most " + std::to_string(CUMULUS_MAX_RANK));
  const bool on_cpu = t.device.device_type == kDLCPU || t.device.device_type == kDLCUDAHost;
  if (!on_cpu && t.device.device_type != kDLCUDA && t.device.device_type != kDLCUDAManaged)
    return fail(PyExc_TypeError, std::string(role) + " is on a device of DLPack type " + std::to_string(t.device.device_type) +
                                     ": Cumulus scans on CPUs and NVIDIA GPUs; copy it there first");
  std::int64_t contiguous = 1;
  for (int i = t.ndim - 1; i >= 0; --i) {
    o.shape[i] = t.shape[i];
    o.strides[i] = t.strides ? t.strides[i] : contiguous;
    contiguous *= t.shape[i];
  }
  o.tensor = {static_cast<char*>(t.data) + t.byte_offset,
              o.shape,
              o.strides,
              t.ndim,
              dtype,
              on_cpu ? CUMULUS_CPU : CUMULUS_CUDA,
              on_cpu ? 0 : t.device.device_id};
  return true;
}

// ---- the call ----

bool run(const cumulus_scan_args& args, std::int64_t bytes) {
  cumulus_status status;
  if (bytes < kBytesWithLock) {
    status = cumulus_scan(&args);
  } else {
    PyThreadState* const state = PyEval_SaveThread();
    status = cumulus_scan(&args);
    PyEval_RestoreThread(state);
  }
  switch (status) {
    case CUMULUS_OK:
      return true;
    case CUMULUS_INVALID_ARGUMENT:
      return fail(PyExc_ValueError, cumulus_last_error());
    case CUMULUS_UNSUPPORTED:
      return fail(PyExc_TypeError, cumulus_last_error());
    case CUMULUS_OUT_OF_MEMORY:
      return fail(PyExc_MemoryError, cumulus_last_error());
    default:
      return fail(PyExc_RuntimeError, cumulus_last_error());
  }
}

cumulus_scan_args make_args(int op, int kind, int axis, bool reverse) {
  cumulus_scan_args args{};
  args.struct_size = sizeof args;
  args.op = op;
  args.kind = kind;
  args.axis = axis;
  if (reverse) args.flags = CUMULUS_REVERSE;
  return args;
}

// NumPy's rule for sums and products: integers narrower than the platform's, and bool, become 64 bits wide. NPY_NOTYPE: not done here.
int result_type(int op, int type_number) {
  if (op == CUMULUS_OP_max || op == CUMULUS_OP_min) return type_number == NPY_BOOL ? NPY_NOTYPE : type_number;
  switch (dtype_of(type_number)) {
    case CUMULUS_DTYPE_boolean:
    case CUMULUS_DTYPE_i8:
    case CUMULUS_DTYPE_i16:
    case CUMULUS_DTYPE_i32:
      return NPY_INT64;
    case CUMULUS_DTYPE_u8:
    case CUMULUS_DTYPE_u16:
    case CUMULUS_DTYPE_u32:
      return NPY_UINT64;
    default:
      return type_number;
  }
}

// The commonest call, whole: an array as the library takes it, and nothing asked beyond axis, exclusive and reverse. A new result, or
// null without an error set: the general path's business.
PyObject* quick_scan(int op, PyObject* x, PyObject* axis, PyObject* exclusive, PyObject* reverse) {
  if (!PyArray_CheckExact(x) || !PyBool_Check(exclusive) || !PyBool_Check(reverse)) return nullptr;
  auto* array = reinterpret_cast<PyArrayObject*>(x);
  const int rank = PyArray_NDIM(array);
  long along = 0;
  if (axis == Py_None) {
    if (rank != 1) return nullptr;
  } else {
    if (!PyLong_CheckExact(axis)) return nullptr;
    int overflow;
    along = PyLong_AsLongAndOverflow(axis, &overflow);
    if (overflow != 0 || along < -rank || along >= rank) return nullptr;
  }
  const int type_number = result_type(op, PyArray_TYPE(array));
  Operand in, out;
  if (rank == 0 || type_number == NPY_NOTYPE || !view_array(array, in)) return nullptr;
  PyObject* result = PyArray_NewLikeArray(array, NPY_KEEPORDER, PyArray_DescrFromType(type_number), 0);
  if (!result) return nullptr;
  if (!view_array(reinterpret_cast<PyArrayObject*>(result), out)) {
    Py_DECREF(result);
    return nullptr;
  }
  cumulus_scan_args args =
      make_args(op, exclusive == Py_True ? CUMULUS_EXCLUSIVE : CUMULUS_INCLUSIVE, static_cast<int>(along), reverse == Py_True);
  args.in = in.tensor;
  args.out = out.tensor;
  if (run(args, in.bytes() + out.bytes())) return result;
  Py_DECREF(result);
  return nullptr;
}

// scan(op, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total), as the public functions pass them on.
PyObject* scan(PyObject*, PyObject* values) {
  constexpr int kCount = 10;
  if (PyTuple_Size(values) != kCount) return PyErr_Format(PyExc_TypeError, "scan takes %d arguments", kCount);
  PyObject* v[kCount];
  for (int i = 0; i < kCount; ++i) v[i] = PyTuple_GetItem(values, i);
  if (v[3] == Py_None && v[4] == Py_None && v[7] == Py_None && v[8] == Py_None && v[9] == Py_False) {
    PyObject* result = quick_scan(static_cast<int>(PyLong_AsLong(v[0])), v[1], v[2], v[5], v[6]);
    if (result || PyErr_Occurred()) return result;
  }
  if (!general) return PyErr_Format(PyExc_RuntimeError, "cumulus._core is used before cumulus is imported: import cumulus");
  return PyObject_CallObject(general, values);
}

bool view(PyObject* object, const char* role, Operand& o) {
  if (object == Py_None) return true;
  if (PyCapsule_CheckExact(object)) return view_capsule(object, role, o);
  PyObject* code = nullptr;
  if (PyTuple_Check(object) && PyTuple_Size(object) == 2) {  // (array, dtype): bits that NumPy has no dtype for
    code = PyTuple_GetItem(object, 1);
    object = PyTuple_GetItem(object, 0);
  }
  if (!PyArray_Check(object) || !view_array(reinterpret_cast<PyArrayObject*>(object), o))
    return fail(PyExc_TypeError, std::string(role) + " is not an aligned array in this machine's byte order");
  if (code) o.tensor.dtype = static_cast<std::int32_t>(PyLong_AsLong(code));
  return !PyErr_Occurred();
}

// scan_into(op, kind, axis, reverse, in, in2, out, mask, initial, total, stream): operands are None, arrays, (array, dtype) or capsules.
PyObject* scan_into(PyObject*, PyObject* values) {
  int op, kind, axis, reverse;
  PyObject* operand[6];
  unsigned long long stream;
  if (!PyArg_ParseTuple(values, "iiipOOOOOOK", &op, &kind, &axis, &reverse, &operand[0], &operand[1], &operand[2], &operand[3], &operand[4],
                        &operand[5], &stream))
    return nullptr;
  static const char* const roles[6] = {"x", "the second input", "out", "mask", "initial", "total"};
  cumulus_scan_args args = make_args(op, kind, axis, reverse != 0);
  args.stream = reinterpret_cast<void*>(static_cast<std::uintptr_t>(stream));
  cumulus_tensor* const tensor[6] = {&args.in, &args.in2, &args.out, &args.mask, &args.initial, &args.total};
  Operand o[6];
  for (int i = 0; i < 6; ++i) {
    if (!view(operand[i], roles[i], o[i])) return nullptr;
    *tensor[i] = o[i].tensor;
  }
  if (!run(args, o[0].bytes() + o[2].bytes())) return nullptr;
  Py_RETURN_NONE;
}

// describe(capsule): (Cumulus's name of the dtype, is it on the CPU, device index).
PyObject* describe(PyObject*, PyObject* capsule) {
  Operand o;
  if (!PyCapsule_CheckExact(capsule)) return PyErr_Format(PyExc_TypeError, "describe takes a DLPack capsule");
  if (!view_capsule(capsule, "x", o)) return nullptr;
  return Py_BuildValue("(sii)", cumulus_dtype_name(o.tensor.dtype), o.tensor.device == CUMULUS_CPU, o.tensor.device_index);
}

PyObject* set_general(PyObject*, PyObject* function) {
  Py_INCREF(function);
  Py_XDECREF(general);
  general = function;
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS, "scan(op, x, axis, dtype, out, exclusive, reverse, mask, initial, return_total)"},
    {"scan_into", scan_into, METH_VARARGS, "scan_into(op, kind, axis, reverse, in, in2, out, mask, initial, total, stream)"},
    {"describe", describe, METH_O, "describe(capsule): (dtype's name, is it on the CPU, device index)"},
    {"set_general", set_general, METH_O, "set_general(function): takes the calls that scan() does not do itself"},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module_definition = {PyModuleDef_HEAD_INIT, "cumulus._core", nullptr, -1, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): Python's name for it
PyMODINIT_FUNC PyInit__core(void) {
  import_array();
  PyObject* module = PyModule_Create(&module_definition);
  if (!module) return nullptr;
#define CUMULUS_OP(name, value, inputs) PyModule_AddIntConstant(module, #name, value);
#include "cumulus/list.inc"
#define CUMULUS_DTYPE(name, text, value, bytes, family) PyModule_AddIntConstant(module, "dtype_" #name, value);
#include "cumulus/list.inc"
  PyModule_AddIntConstant(module, "inclusive", CUMULUS_INCLUSIVE);
  PyModule_AddIntConstant(module, "exclusive", CUMULUS_EXCLUSIVE);
  PyModule_AddIntConstant(module, "prefixes", CUMULUS_PREFIXES);
  PyModule_AddStringConstant(module, "version", cumulus_version());
  PyModule_AddIntConstant(module, "order_version", cumulus_order_version());
  PyModule_AddStringConstant(module, "simd_target", cumulus_simd_target());
  return module;
}
