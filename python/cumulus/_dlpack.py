"""Arrays of other libraries, through DLPack: read where they lie, the result made by the library itself, on its own stream."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

from cumulus import _core
from cumulus._arrays import Options, initial_array, promoted, supported

try:
    from numpy.exceptions import AxisError
except ImportError:  # before NumPy 1.25
    from numpy import AxisError  # type: ignore[no-redef, attr-defined, unused-ignore]

_NUMPY_NAMES = {
    "f16": "float16",
    "bf16": "bfloat16",
    "f32": "float32",
    "f64": "float64",
    "c64": "complex64",
    "c128": "complex128",
    "bool": "bool",
}
_NUMPY_NAMES.update({f"{sign}{bits}": f"{name}{bits}" for sign, name in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)})
_LEGACY_STREAM = 1  # DLPack's number for CUDA's default stream


def is_foreign(x: Any) -> bool:
    return hasattr(x, "__dlpack__") and not isinstance(x, (np.ndarray, np.generic))


class Library:
    """What differs between the libraries: their name, dtypes, allocation and stream."""

    def __init__(self, x: Any) -> None:
        self.name = type(x).__module__.partition(".")[0]
        if self.name == "jaxlib":
            self.name = "jax"
        namespace = getattr(x, "__array_namespace__", None)
        self.module = sys.modules["jax.numpy"] if self.name == "jax" else namespace() if namespace else sys.modules[self.name]

    def stream(self, device: int) -> int:
        """The current CUDA stream, as DLPack numbers them."""
        if self.name == "torch":
            pointer = self.module.cuda.current_stream(device).cuda_stream
        elif self.name == "cupy":
            pointer = sys.modules["cupy"].cuda.get_current_stream().ptr
        else:
            pointer = 0
        return int(pointer) or _LEGACY_STREAM

    def dtype(self, name: str) -> Any:
        found = getattr(self.module, name, None)
        if found is None:
            raise TypeError(f"{self.name} has no dtype {name}: ask for another dtype=")
        return found

    def converted(self, x: Any, name: str) -> Any:
        return x.to(self.dtype(name)) if self.name == "torch" else x.astype(self.dtype(name))

    def default_integer(self, name: str) -> str:
        """int64 or uint64, or their 32-bit forms where the library is set so."""
        if self.name == "torch":
            return "int64"
        return str(sys.modules["jax"].dtypes.canonicalize_dtype(name)) if self.name == "jax" else name

    def empty(self, like: Any, shape: tuple[int, ...], name: str, on_cpu: bool) -> Any:
        """Memory for a result: the library's own where it may be written through DLPack, else NumPy's."""
        if self.name == "torch":
            return self.module.empty(shape, dtype=self.dtype(name), device=like.device)
        if not on_cpu and self.name == "cupy":
            return self.module.empty(shape, dtype=self.dtype(name))
        if not on_cpu and self.name == "jax":
            made = sys.modules["jax"].device_put(self.module.zeros(shape, dtype=self.dtype(name)), like.device)
            return made.block_until_ready()
        if on_cpu and name != "bfloat16":
            return np.empty(shape, dtype=name)
        if on_cpu and self.name == "jax":
            return np.empty(shape, dtype=self.dtype(name))
        raise TypeError(
            f"results of dtype {name} cannot be made for {self.name} on this device: convert the input to an array of another library"
        )

    def finished(self, made: Any, on_cpu: bool, stream: int) -> Any:
        """The result as this library's array."""
        if not on_cpu and self.name == "jax":
            _synchronise(stream)  # JAX cannot be told to wait for another's stream
        if isinstance(made, np.ndarray):
            return self.module.asarray(made) if self.name == "jax" else self.module.from_dlpack(made)
        return made


def _synchronise(stream: int) -> None:
    status = ctypes.CDLL("libcuda.so.1").cuStreamSynchronize(ctypes.c_void_p(stream))
    if status != 0:
        raise RuntimeError(f"the CUDA driver reports error {status} after a scan: see `cumulus doctor`")


def scan(options: Options, inputs: list[Any], axis: int | None, dtype: Any, out: Any) -> Any:
    """A scan of arrays with __dlpack__, all of one library and device."""
    first = next(x for x in inputs if is_foreign(x))
    if any(getattr(x, "requires_grad", False) for x in (*inputs, options.mask, options.initial)):
        raise TypeError("a tensor requires grad, which DLPack does not carry: use cumulus.torch, or pass tensor.detach()")
    library = Library(first)
    if len(inputs) == 2:
        inputs = list(_broadcast(library, inputs, first))
    described = [_core.describe(_capsule(x, library, None, None)) for x in inputs]
    given = [_NUMPY_NAMES[name] for name, _, _ in described]
    if given[0] != given[-1]:
        raise TypeError(f"a is {given[0]} but b is {given[-1]}: convert one of the two")
    _, on_cpu, device = described[0]
    stream = 0 if on_cpu else library.stream(device)
    name = _result_name(options.op, library, given[0], dtype)
    if not supported(given[0], name):
        inputs = [library.converted(x, name) for x in inputs]
    mask = options.mask
    if mask is not None and not is_foreign(mask):
        raise TypeError(f"mask is a {type(mask).__name__} but x is {library.name}'s: pass an array of the same library")
    shape = tuple(int(n) for n in inputs[0].shape)
    if axis is None or not shape:
        if axis not in (None, 0, -1):
            raise AxisError(axis, 1)
        if mask is not None:
            mask = _broadcast(library, [mask, inputs[0]], first)[0].reshape(-1)
        inputs, axis = [x.reshape(-1) for x in inputs], 0
        shape = tuple(int(n) for n in inputs[0].shape)
    if not -len(shape) <= axis < len(shape):
        raise AxisError(axis, len(shape))
    axis %= len(shape)
    shape = shape[:axis] + (shape[axis] + (options.kind == _core.prefixes),) + shape[axis + 1 :]
    result = _checked_out(out, shape, name, library) if out is not None else library.empty(first, shape, name, on_cpu)
    total = library.empty(first, shape[:axis] + shape[axis + 1 :], name, on_cpu) if options.return_total else None
    initial = options.initial
    if initial is not None and not is_foreign(initial):
        initial = initial_array(initial, name)
        if initial.ndim != 0 and not on_cpu:
            raise TypeError(f"initial is an array on the CPU but x is on a GPU: pass a scalar, or an array of {library.name}")
    target = None if on_cpu else stream
    capsules = [_capsule(x, library, target, name) for x in [*inputs, None][:2]]
    _core.scan_into(
        options.op,
        options.kind,
        axis,
        options.reverse,
        capsules[0],
        capsules[1],
        _capsule(result, library, target, name),
        _capsule(mask, library, target, None),
        _capsule(initial, library, target, None),
        _capsule(total, library, target, name),
        stream,
    )
    if out is not None:
        result = out
    else:
        result = library.finished(result, on_cpu, stream)
    return (result, library.finished(total, on_cpu, stream)) if total is not None else result


def _capsule(x: Any, library: Library, stream: int | None, name: str | None) -> Any:
    if x is None:
        return None
    if isinstance(x, np.ndarray):
        return (x.view(np.uint16), _core.dtype_bf16) if name == "bfloat16" else x
    if not is_foreign(x):
        raise TypeError(f"an operand is a {type(x).__name__}: pass an array of {library.name}")
    return x.__dlpack__() if stream is None else x.__dlpack__(stream=stream)


def _broadcast(library: Library, values: list[Any], like: Any) -> Any:
    """Views of one shape. A Python scalar becomes an array of the other's dtype, on its device."""
    if library.name == "torch":
        torch = library.module
        return torch.broadcast_tensors(*(v if is_foreign(v) else torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in values))
    return library.module.broadcast_arrays(*(v if is_foreign(v) else library.module.full_like(like, v, shape=()) for v in values))


def _result_name(op: int, library: Library, given: str, asked: Any) -> str:
    if asked is not None:
        name = str(asked).rpartition(".")[2] if library.name == "torch" else np.dtype(asked).name
        if name == "bool":
            raise TypeError("dtype is bool, which Cumulus does not sum or multiply: use an integer dtype")
        return name
    if given == "bool" and op in (_core.max, _core.min):
        raise TypeError("x is bool: convert it to an 8-bit integer for the running maximum or minimum")
    wide = promoted(op, given)
    return given if wide == given else library.default_integer(wide)


def _checked_out(out: Any, shape: tuple[int, ...], name: str, library: Library) -> Any:
    if not is_foreign(out) or Library(out).name != library.name:
        raise TypeError(f"out is a {type(out).__name__}: it must be an array of {library.name}, as x is")
    if library.name == "jax":
        raise TypeError("out= is not for JAX, whose arrays never change: use the result")
    if tuple(out.shape) != shape:
        raise ValueError(f"out has shape {tuple(out.shape)}, but the result has {shape}: give an array of that shape")
    if _NUMPY_NAMES[_core.describe(_capsule(out, library, None, None))[0]] != name:
        raise TypeError(f"out does not have the result's dtype {name}: give one that has, or ask for another dtype=")
    return out
