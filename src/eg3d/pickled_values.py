"""What NVIDIA's pickles of networks consist of: modules as data, tensors and arrays inside their bytes."""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from faceforward.eg3d.unpickle import Grammar, Machine, Name, scalar

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch.save before zip files
DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
#: Classes that the files hold as they are, without their source.
MODULES = (
    "torch.nn.modules.activation.Softplus",
    "torch.nn.modules.container.ModuleDict",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "training.triplane.OSGDecoder",
    "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
    "training.volumetric_rendering.ray_sampler.RaySampler",
    "training.volumetric_rendering.renderer.ImportanceRenderer",
)
LARGEST_RANK = 8


@dataclass
class Module:
    """A module as data.

    Attributes:
        name: Its class.
        state: Its attributes; `_parameters`, `_buffers` and `_modules` among them.
    """

    name: str
    state: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Storage:
    """A flat piece of memory of one type."""

    values: torch.Tensor


@dataclass(frozen=True)
class _Kind:
    """A type of numbers of NumPy."""

    dtype: np.dtype[Any]


def read_values(data: io.BufferedIOBase, size: int) -> Any:
    """The value of a pickle in the official layout; source code in it is text that nobody reads.

    Args:
        data: The stream.
        size: Its bytes.

    Returns:
        Dictionaries, lists, numbers, `Module`, `torch.Tensor`, `np.ndarray`.

    Raises:
        pickle.UnpicklingError: It holds something else, or is damaged.
    """
    return Machine(data, size, OFFICIAL).load()


def _module(meta: dict[str, Any]) -> Module:
    """A persistent object: class, state and source, of which the source is left alone."""
    name = meta["class_name"]
    if type(name) is not str:  # the text of a nested tuple can be endless
        raise TypeError("a module's class has no name")
    module = Module(name)
    _set_state(module, meta["state"])
    return module


def _set_state(module: Module, state: dict[str, Any]) -> None:
    if type(state) is not dict or not all(isinstance(key, str) for key in state):
        raise TypeError(f"the state of {module.name} is no dictionary of names")
    module.state = state


def _kind_of(value: Any) -> np.dtype[Any]:
    if not isinstance(value, _Kind):
        raise TypeError("numbers in it have no type")
    return value.dtype


def _counts(values: Sequence[Any]) -> tuple[int, ...]:
    if len(values) > LARGEST_RANK or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError("a shape in it is none")
    return tuple(values)


def _tensor(
    storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> torch.Tensor:
    """A view of a storage that lies inside it and is no larger than it."""
    if not isinstance(storage, _Storage):
        raise TypeError("a tensor has no storage")
    (offset,), size, stride = _counts([offset]), _counts(size), _counts(stride)
    if not math.prod(size):
        return storage.values.new_empty(0).reshape(size)
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    held = len(storage.values)
    if last >= held or math.prod(size) > held:
        raise ValueError(f"a tensor of shape {size} reaches outside its storage of {held} numbers")
    return storage.values.as_strided(size, stride, offset)


def _parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    if not isinstance(data, torch.Tensor):
        raise TypeError("a parameter is no tensor")
    return data


def _storage(data: bytes) -> _Storage:
    """What `torch.save` wrote of one storage before zip files, read without torch.load."""
    stream, size = io.BytesIO(data), len(data)

    def read(grammar: Grammar | None = None) -> Any:
        return Machine(stream, size, grammar or Grammar()).load()

    magic, protocol, system = read(), read(), read()
    if magic != MAGIC or protocol != PROTOCOL or system["little_endian"] is not True:
        raise pickle.UnpicklingError("a storage in it is in a form that torch does not write")
    dtype, key, count = read(STORAGE)
    held = (read(), int.from_bytes(stream.read(8), "little"), size - stream.tell())
    if held != ([key], count, count * dtype.itemsize):
        raise ValueError(f"a storage of {count} numbers lies in {held[2]} bytes")
    if not count:
        return _Storage(torch.empty(0, dtype=dtype))
    return _Storage(torch.frombuffer(bytearray(stream.read()), dtype=dtype))  # a copy: tensors may be written


def _described(identity: tuple[Any, ...]) -> tuple[torch.dtype, str, int]:
    """Type, key and length of a storage; where it was (GPU) does not matter."""
    kind, storage, key, _, count, view = identity
    if kind != "storage" or view is not None:
        raise TypeError("a storage in it is described as something else")
    if not isinstance(storage, Name) or storage.name not in DTYPES:
        raise TypeError("a storage in it has no type")
    return DTYPES[storage.name], scalar(key), _counts([count])[0]


def _dtype(code: str, *_: Any) -> _Kind:
    if not re.fullmatch(r"b1|[iu][1248]|f[248]", code):
        raise ValueError("an array in it holds something else than numbers")
    return _Kind(np.dtype(code))


def _check_order(kind: _Kind, state: tuple[Any, ...]) -> None:
    """A type of numbers is complete; its state may say nothing but the order of bytes."""
    if state[1] not in ("<", "|", "=") or any(part not in (None, -1, 0) for part in state[2:]):
        raise ValueError("an array in it is not made of plain little-endian numbers")


def _array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    return np.empty(0, np.uint8)  # its state follows


def _fill(array: np.ndarray, state: tuple[Any, ...]) -> None:
    version, shape, kind, columns_first, data = state
    checked: Any = (version, _fitting(shape, kind, data), _kind_of(kind), columns_first is True, data)
    array.__setstate__(checked)


def _array_from(data: bytes, kind: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    """An array of protocol 5."""
    return np.frombuffer(data, _kind_of(kind)).reshape(_fitting(shape, kind, data), order=order).copy()


def _fitting(shape: Any, kind: Any, data: bytes) -> tuple[int, ...]:
    shape = _counts(shape)
    if type(data) is not bytes or math.prod(shape) * _kind_of(kind).itemsize != len(data):
        raise ValueError(f"an array of shape {shape} does not fit its bytes")
    return shape


def _number(kind: Any, data: bytes) -> Any:
    if type(data) is not bytes or len(data) != _kind_of(kind).itemsize:
        raise ValueError("a number in it does not fit its bytes")
    return np.frombuffer(data, _kind_of(kind))[0].item()


def _dictionary(pairs: Sequence[tuple[Any, Any]] = ()) -> dict[Any, Any]:
    return {scalar(key): value for key, value in pairs}


def _set(items: Sequence[Any] = ()) -> set[Any]:
    return set(map(scalar, items))


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "builtins.set": _set,
    "__builtin__.set": _set,
    "collections.OrderedDict": _dictionary,
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.storage._load_from_bytes": _storage,
    "numpy.dtype": _dtype,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_from for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
}
OFFICIAL = Grammar(
    functions=_FUNCTIONS,
    classes={"dnnlib.util.EasyDict": dict, **{name: partial(Module, name) for name in MODULES}},
    names=frozenset({"numpy.ndarray"}),
    builders={Module: _set_state, _Kind: _check_order, np.ndarray: _fill},
)
STORAGE = Grammar(names=frozenset(DTYPES), persistent=_described)
