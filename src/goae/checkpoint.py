"""GOAE's networks from files and to files; nothing in a file can run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from faceforward.atomic import atomic_file
from faceforward.eg3d.checkpoint import differs, first_names, read_state_dict, save_module
from faceforward.errors import ConfigurationError
from faceforward.goae.afa import Afa, AfaConfig
from faceforward.goae.encoder import EncoderConfig, GoaeEncoder
from faceforward.goae.inversion import Goae
from faceforward.goae.swin import SwinConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faceforward.eg3d.generator import TriPlaneGenerator

ENCODER, AFA = "goae_encoder.safetensors", "goae_afa.safetensors"
SHAPES = "goae_config"  # in the metadata of safetensors: the configuration as JSON
# What follows from the shapes alone. It is compared with what is built: other tables are another network.
BUILT = ("relative_coords_table", "relative_position_index", "attn_mask")
COUNTED = "num_batches_tracked"  # of batch normalisation; a whole number that inference does not use
LARGEST = 2**16  # of any number in a configuration
Network = TypeVar("Network", bound=nn.Module)


def read_published(path: Path) -> GoaeEncoder | Afa:
    """The authors' `encoder_FFHQ.pt` or `afa_FFHQ.pt`, told apart by the names in it.

    Args:
        path: Read by `torch.load(weights_only=True)`: no code of it runs.

    Raises:
        ConfigurationError: There is none, it is damaged or cut off, or is not exactly one of the two.
    """
    if not path.is_file():
        raise ConfigurationError(f"there is no {path}: give encoder_FFHQ.pt or afa_FFHQ.pt of GOAE")
    tensors = read_state_dict(path)
    if any(name.startswith("swin_model.") for name in tensors):
        return _filled(GoaeEncoder, EncoderConfig(), tensors, path)
    if any(name.startswith("cross_att_gamma.") for name in tensors):
        return _filled(Afa, AfaConfig(), tensors, path)
    raise ConfigurationError(
        f"{path} is neither GOAE's encoder nor its AFA: it has no swin_model and no cross_att_gamma, but "
        f"{first_names(tensors) or 'nothing'}. Give the authors' encoder_FFHQ.pt or afa_FFHQ.pt"
    )


def name_of(network: GoaeEncoder | Afa) -> str:
    """The file that a network has in a folder."""
    return ENCODER if isinstance(network, GoaeEncoder) else AFA


def save_part(network: GoaeEncoder | Afa, folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write encoder or AFA as one file that says its own configuration; see `load_goae`.

    Args:
        network: On any device.
        folder: It has the name that `load_goae` looks for in it.
        dtype: Of the tensors in the file; float16 halves it.

    Raises:
        OSError: It cannot be written.
    """
    path = folder / name_of(network)
    save_module(network, path, {SHAPES: json.dumps(dataclasses.asdict(network.config))}, dtype)
    return path


def save_published(network: GoaeEncoder | Afa, path: Path) -> None:
    """Write a state dict under the authors' names, as their program loads it.

    Raises:
        OSError: It cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_file(path) as temporary:
        torch.save(state, temporary)


def load_encoder(folder: Path) -> GoaeEncoder:
    """What `save_part` wrote, float32 on the CPU, in evaluation mode.

    Raises:
        ConfigurationError: There is none, or it is another file.
    """
    return _read(GoaeEncoder, _encoder_config, folder / ENCODER)


def load_afa(folder: Path) -> Afa:
    """See `load_encoder`."""
    return _read(Afa, _afa_config, folder / AFA)


def load_goae(folder: Path, generator: TriPlaneGenerator) -> Goae:
    """Encoder, and AFA where it is in the folder, over a generator; in evaluation mode.

    Raises:
        ConfigurationError: There is no encoder, one is another file, or they are for another generator.
    """
    encoder = load_encoder(folder)
    afa = load_afa(folder) if (folder / AFA).exists() else None
    return Goae(generator, encoder, afa).eval()


def _read(kind: Callable[[Any], Network], configured: Callable[[Any], Any], path: Path) -> Network:
    if not path.is_file():
        raise ConfigurationError(
            f"there is no {path}: `faceforward convert goae FILE {path.parent}` makes it of the authors' file"
        )
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            values = json.loads((opened.metadata() or {})[SHAPES])
        if not isinstance(values, dict):
            raise TypeError(f"{values!r:.40} as its configuration")
        config = configured(values)
        if _units(config) > len(tensors):
            raise ValueError(f"{_units(config)} blocks and {len(tensors)} tensors")
    except (
        SafetensorError,
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RecursionError,
        ConfigurationError,
    ) as error:
        raise ConfigurationError(f"{path} is no part of GOAE: {error}") from error
    return _filled(kind, config, tensors, path)


def _encoder_config(values: dict[str, Any]) -> EncoderConfig:
    swin = values["swin"]
    if not isinstance(swin, dict):
        raise TypeError(f"{swin!r:.40} as the shapes of its backbone")
    swin = {name: _number(value) for name, value in swin.items()}
    rest = {name: _number(value) for name, value in values.items() if name != "swin"}
    return EncoderConfig(SwinConfig(**swin), **rest)


def _afa_config(values: dict[str, Any]) -> AfaConfig:
    return AfaConfig(**{name: _number(value) for name, value in values.items()})


def _number(value: Any) -> Any:
    """A whole number, or several of them as a tuple.

    Raises:
        ValueError: It is something else, or too large for any network.
    """
    if isinstance(value, list):
        return tuple(_number(item) for item in value)
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise ValueError(f"{value!r:.40} in its configuration: only whole numbers to {LARGEST} are known")
    return value


def _filled(
    kind: Callable[[Any], Network], config: Any, tensors: Mapping[str, torch.Tensor], path: Path
) -> Network:
    """A network with these tensors and no others; no memory is taken for what the file does not hold."""
    try:
        with torch.device("meta"):
            expected = {name: value.shape for name, value in kind(config).state_dict().items()}
    except (ValueError, RuntimeError) as error:
        raise ConfigurationError(f"the configuration of {path} makes no network: {error}") from error
    faults = {
        "missing": [name for name in expected if name not in tensors],
        "unknown": [name for name in tensors if name not in expected],
        "of another shape": [
            name
            for name, shape in expected.items()
            if name in tensors and _misfits(name, tensors[name], shape)
        ],
    }
    if any(faults.values()):
        told = "; ".join(
            f"{len(names)} {fault} ({first_names(names)})" for fault, names in faults.items() if names
        )
        raise ConfigurationError(f"the tensors in {path} are not those of its network: {told}")
    broken = [name for name in expected if not tensors[name].isfinite().all()]
    if broken:
        raise ConfigurationError(
            f"{len(broken)} tensors in {path} hold nan or infinity ({first_names(broken)}): it is broken, or "
            "its training failed"
        )
    network = kind(config)
    state = network.state_dict()
    other = [
        name
        for name, own in state.items()
        if name.endswith(BUILT) and not torch.allclose(tensors[name].float(), own.float(), atol=1e-3)
    ]
    if other:
        raise ConfigurationError(
            f"{len(other)} tables in {path} are not what its shapes make them ({first_names(other)}): it was "
            "trained with other windows"
        )
    network.load_state_dict(
        {name: own if name.endswith(BUILT) else tensors[name].to(own.dtype) for name, own in state.items()}
    )
    return network.eval()


def _units(config: EncoderConfig | AfaConfig) -> int:
    """Blocks of a network, each of which has tensors of its own."""
    if isinstance(config, EncoderConfig):
        return sum(config.swin.depths)
    return config.units * len(config.widths)


def _misfits(name: str, tensor: torch.Tensor, shape: torch.Size) -> bool:
    """Whether this is not a plain tensor of that shape; tables and counts may be whole numbers."""
    if tensor.shape != shape:
        return True
    whole = name.endswith((*BUILT, COUNTED)) and not tensor.is_floating_point() and not tensor.is_complex()
    if whole and tensor.layout == torch.strided:
        tensor = tensor.float()
    return differs(tensor, shape)
