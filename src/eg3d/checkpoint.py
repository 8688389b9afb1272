"""Generators from files and to files; nothing in a file can run."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from faceforward.atomic import atomic_file
from faceforward.eg3d.configs import config_from, measured
from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from faceforward.eg3d.official import read_official
from faceforward.errors import ConfigurationError

CONFIG = "eg3d_config"  # in the metadata of safetensors: GeneratorConfig as JSON
SHOWN = 3


def load_generator(path: Path, config: GeneratorConfig | None = None) -> TriPlaneGenerator:
    """A generator from a file, float32 on the CPU, in evaluation mode.

    Args:
        path: NVIDIA's `.pkl`; a state dict under the published names as `.pt` or `.pth` (`torch.save`) or
            `.safetensors`, `save_generator`'s among them. Pickles go through an unpickler of our own, `.pt`
            through `torch.load(weights_only=True)`: no code of a file runs.
        config: For a state dict whose file does not say it; None takes shapes from the tensors and the rest
            from the release.

    Raises:
        ConfigurationError: There is no such file, it is of another kind, damaged or refused, or its tensors
            are not those of the configuration.
        OSError: It cannot be read.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no generator {path}: give a .pkl, .pt, .pth or .safetensors file")
    if path.suffix == ".pkl":
        config, tensors = read_official(path)
    elif path.suffix in (".pt", ".pth"):
        tensors = read_state_dict(path)
    elif path.suffix == ".safetensors":
        said, tensors = _read_safetensors(path)
        config = said or config
    else:
        raise ConfigurationError(f"{path} is neither .pkl nor .pt, .pth or .safetensors")
    return _filled(config or _named(path, tensors), tensors, path)


def save_generator(generator: TriPlaneGenerator, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a generator as one file that says its own configuration.

    Args:
        generator: On any device.
        path: `.safetensors`; it is there when it is complete, and replaces what was there.
        dtype: Of the tensors in the file; float16 halves it.

    Raises:
        ConfigurationError: The file would have another ending.
        OSError: It cannot be written.
    """
    require_safetensors(path)
    save_module(generator, path, {CONFIG: json.dumps(dataclasses.asdict(generator.config))}, dtype)


def require_safetensors(path: Path) -> None:
    """See that a generator can be written under a name, before work is put into it.

    Raises:
        ConfigurationError: The name has another ending.
    """
    if path.suffix != ".safetensors":
        raise ConfigurationError(f"{path} is to be a generator: let its name end in .safetensors")


def save_module(network: nn.Module, path: Path, facts: Mapping[str, str], dtype: torch.dtype) -> None:
    """Write a network's tensors as one safetensors file, whole or not at all.

    Args:
        network: On any device.
        path: It replaces what was there.
        facts: For the file's metadata.
        dtype: Of the tensors in the file.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()
    }
    try:
        with atomic_file(path) as temporary:
            temporary.touch()  # with the rights of any new file: those of safetensors are the owner's alone
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, {"format": "pt", **facts})
            temporary.chmod(mode)
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    except OSError as error:
        raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from error


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Names and tensors of a `.pt` file, through `torch.load(weights_only=True)`.

    Raises:
        ConfigurationError: It is damaged, or holds something else.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:  # torch's text advises to open it all the same
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it names {named[1]}" if named else "it holds something else than weights, or is damaged"
        raise ConfigurationError(f"{path} is not opened: {reason}. Nothing of it was run") from error
    except (RuntimeError, ValueError, EOFError, LookupError) as error:
        raise ConfigurationError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigurationError(f"{path} is no state dict: names and tensors, or such under state_dict")
    return state


def _read_safetensors(path: Path) -> tuple[GeneratorConfig | None, dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            said = (opened.metadata() or {}).get(CONFIG)
        return config_from(json.loads(said)) if said else None, tensors
    except (SafetensorError, ValueError, RecursionError, ConfigurationError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def _named(path: Path, tensors: Mapping[str, torch.Tensor]) -> GeneratorConfig:
    try:
        return measured(tensors)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path} cannot be loaded: {error}") from error


def _filled(config: GeneratorConfig, tensors: Mapping[str, torch.Tensor], path: Path) -> TriPlaneGenerator:
    """A generator with these tensors and no others; no memory is taken for what the file does not hold."""
    try:
        if config.mapping_layers > len(tensors):
            raise ValueError(f"{config.mapping_layers} layers and {len(tensors)} tensors")
        with torch.device("meta"):
            generator = TriPlaneGenerator(config)
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ConfigurationError(f"the configuration of {path} makes no generator: {error}") from error
    expected = {name: value.shape for name, value in generator.state_dict().items()}
    faults = {
        "missing": [name for name in expected if name not in tensors],
        "unknown": [name for name in tensors if name not in expected],
        "of another shape": [name for name, shape in expected.items() if differs(tensors.get(name), shape)],
    }
    if any(faults.values()):
        told = "; ".join(
            f"{len(names)} {fault} ({first_names(names)})" for fault, names in faults.items() if names
        )
        raise ConfigurationError(f"the tensors in {path} are not those of its generator: {told}")
    broken = [name for name in expected if not tensors[name].isfinite().all()]
    if broken:
        raise ConfigurationError(
            f"{len(broken)} tensors in {path} hold nan or infinity ({first_names(broken)}): it is broken, or "
            "its training failed"
        )
    own = {name: tensors[name].to(torch.float32).contiguous().clone() for name in expected}
    generator.load_state_dict(own, assign=True)
    return generator.eval()


def differs(tensor: torch.Tensor | None, shape: torch.Size) -> bool:
    """Whether this is not a plain tensor of that shape, with memory behind every number."""
    if tensor is None:
        return False
    if tensor.shape != shape or tensor.layout != torch.strided or not tensor.is_floating_point():
        return True
    return tensor.device.type != "cpu" or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes()


def first_names(names: Iterable[str]) -> str:
    """The first few names, for a message."""
    names = list(names)
    return ", ".join(f"{name:.80}" for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
