"""What made a picture: the model by its weights, its licence, and settings as JSON knows them."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from faceforward.registry import REGISTRY

if TYPE_CHECKING:
    from faceforward.diffusion.model import LatentDiffusion

SPEED_ALONE = ("threads", "batch_size")  # arguments of backends that no result depends on


def model_facts(
    model: LatentDiffusion, source: str, *, lora: str | None, precision: str
) -> dict[str, str | None]:
    """What a result says about its model; folders on this machine are nobody's business but for their names.

    Args:
        model: As it is used.
        source: Folder, hub id or registry name that it was loaded from.
        lora: Folder or file of the LoRA that was added.
        precision: Of the UNet.
    """
    return {
        "name": Path(source).name if Path(source).is_dir() else source,
        "lora": lora and Path(lora).name,
        "sha256": weights_sha256(model),
        "licence": _licence(source),
        "precision": precision,
    }


def weights_sha256(model: LatentDiffusion) -> str:
    """One hash of the weights, the schedule and the vocabulary of a model, as they are used."""
    digest = hashlib.sha256(repr((model.schedule, sorted(model.tokenizer.get_vocab().items()))).encode())
    for part in (model.unet, model.vae, model.text_encoder):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def describe(thing: Any) -> dict[str, Any]:
    """The class of a setting and its values, as JSON knows them."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return {"class": type(thing).__name__, **dataclasses.asdict(thing)}
    return {"class": type(thing).__name__, **vars(thing)}


def named_backends(**backends: Any) -> dict[str, Any]:
    """What a result says of the backends that made it: their names, and how each was set up.

    Args:
        backends: Role -> backend; what its constructor takes and keeps under the same name counts, but for
            what changes the speed alone.

    Returns:
        Role -> name, and `backends`: role -> class and values as JSON knows them.
    """
    return {role: backend.name for role, backend in backends.items()} | {
        "backends": {role: _set_up(backend) for role, backend in backends.items()}
    }


def _set_up(backend: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in inspect.signature(type(backend).__init__).parameters:
        value = getattr(backend, name, None)
        if isinstance(value, Path):
            value = value.name
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            values[name] = dataclasses.asdict(value)
        if name not in SPEED_ALONE and isinstance(value, str | int | float | list | tuple):
            values[name] = list(value) if isinstance(value, tuple) else value
    return {"class": type(backend).__name__, **values}


def _licence(source: str) -> str:
    for item in REGISTRY.values():
        if item.name == source or source in item.source:
            return f"Licence: {item.licence}."
    return "The licence of this model decides what its pictures may be used for."
