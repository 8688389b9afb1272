"""What a training saved, read as weights and plain values only: nothing in a checkpoint can run."""

from __future__ import annotations

import io
import pickle
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorStorageMetadata

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributed.checkpoint.metadata import Metadata

INDEX = ".metadata"  # of a folder of torch.distributed.checkpoint
REST = "meta.pt"  # what Lightning keeps beside the shards
PARTS = ("model", "state_dict")  # under which FSDP and model-parallel strategies keep the weights
#: All that the index of a sharded checkpoint consists of; none of it does anything but hold values.
KNOWN = {
    "torch": ("Size",),
    "torch.serialization": ("_get_layout",),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
}
FAULTS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    pickle.UnpicklingError,
)


class _IndexUnpickler(pickle.Unpickler):
    """Unpickles the index of a sharded checkpoint: `KNOWN`, types of numbers and paths, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "pathlib":
            return PurePath
        dtype = getattr(torch, name, None) if module == "torch" else None
        if name in KNOWN.get(module, ()) or isinstance(dtype, torch.dtype):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no index of weights needs")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as one dictionary: `state_dict` of whole tensors on the CPU, `global_step`, `callbacks`.

    Args:
        path: Lightning's `.ckpt` file, or the folder of a sharded one (FSDP, `torch.distributed.checkpoint`).
            The file, the shards and what lies beside them are opened with `torch.load(weights_only=True)`;
            the folder's index is a pickle and goes through an unpickler that knows its few types alone.

    Raises:
        ConfigurationError: There is none, or it cannot be read that way.
    """
    if not path.exists():
        raise ConfigurationError(
            f"there is no checkpoint {path}: give a training's .ckpt file, or the folder of a sharded one"
        )
    if path.is_dir() and not (path / INDEX).is_file():
        raise ConfigurationError(
            f"the folder {path} is no sharded checkpoint: {INDEX} is missing in it. Of a DeepSpeed folder "
            "lightning.pytorch.utilities.deepspeed.convert_zero_checkpoint_to_fp32_state_dict makes a file"
        )
    try:
        checkpoint = _read_folder(path) if path.is_dir() else _load(path, mmap=True)
    except FAULTS as error:
        raise ConfigurationError(f"the checkpoint {path} cannot be read: {_reason(error)}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ConfigurationError(f"{path} is no checkpoint of a training: it has no state_dict")
    return checkpoint


def _load(source: Path | io.BytesIO, *, mmap: bool = False) -> Any:
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:  # torch's text advises to open it all the same
        raise pickle.UnpicklingError(
            "it holds something else than weights and plain values, or is damaged, and is not opened"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, LookupError):
        return f"{error} is missing in it"
    return str(error).partition("\n")[0] or type(error).__name__


def _read_folder(folder: Path) -> dict[str, Any]:
    with (folder / INDEX).open("rb") as stream:
        index: Metadata = _IndexUnpickler(stream).load()
    state = {}
    for name, entry in index.state_dict_metadata.items():
        part, _, own = name.partition(".")
        if part in PARTS and isinstance(entry, TensorStorageMetadata):
            state[own] = _tensor(folder, name, entry, index.storage_data)
    return {**_load(folder / REST), "state_dict": state}


def _tensor(
    folder: Path, name: str, entry: TensorStorageMetadata, places: Mapping[MetadataIndex, Any]
) -> torch.Tensor:
    """One tensor, put together from the pieces of all ranks."""
    whole = torch.empty(entry.size, dtype=entry.properties.dtype)
    found = 0
    for chunk in entry.chunks:
        place = places[MetadataIndex(name, chunk.offsets)]
        if PurePath(place.relative_path).name != place.relative_path:
            raise ValueError(f"{name} is said to lie outside the folder, in {place.relative_path}")
        if getattr(place, "transform_descriptors", None):
            raise ValueError(f"{name} is compressed, which cannot be read here")
        with (folder / place.relative_path).open("rb") as stream:
            stream.seek(place.offset)
            piece = _load(io.BytesIO(stream.read(place.length)))
        if piece.shape != chunk.sizes:
            raise ValueError(f"a piece of {name} is {tuple(piece.shape)} and not {tuple(chunk.sizes)}")
        ranges = zip(chunk.offsets, chunk.sizes, strict=True)
        whole[tuple(slice(start, start + length) for start, length in ranges)] = piece
        found += piece.numel()
    if found != whole.numel():
        raise ValueError(f"pieces of {name} are missing")
    return whole
