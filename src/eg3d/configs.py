"""The configuration of a generator from values and tensors that somebody else wrote."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

import torch

from faceforward.eg3d.generator import GeneratorConfig
from faceforward.eg3d.renderer import RenderSettings
from faceforward.errors import ConfigurationError

LARGEST = 2**20  # of any whole number in it
LARGEST_FLOAT = 1e12
HINTS = {kind: typing.get_type_hints(kind) for kind in (GeneratorConfig, RenderSettings)}
SIDE = re.compile(r"backbone\.synthesis\.b(\d{1,5})\.torgb\.bias")


def config_from(values: Mapping[str, Any]) -> GeneratorConfig:
    """A configuration of plain values, such as JSON gives; what is not said has its default.

    Raises:
        ConfigurationError: A name is unknown or a value is of the wrong kind.
    """
    return _filled(GeneratorConfig, values)


def shown(value: Any) -> str:
    """A value for a message; containers by type only: their text can be endless."""
    return f"{value!r:.80}" if isinstance(value, (str, int, float, type(None))) else type(value).__name__


def _filled(kind: Any, values: Any) -> Any:
    hints = HINTS[kind]
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{shown(values)} is no configuration: it has to be names and values")
    unknown = [name for name in values if name not in hints]
    if unknown:
        raise ConfigurationError(f"there is no setting {shown(unknown[0])} in {kind.__name__}")
    return kind(**{name: _checked(hints[name], value, name) for name, value in values.items()})


def _checked(hint: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _filled(hint, value)
    if typing.get_origin(hint) is tuple:
        hints = typing.get_args(hint)
        if isinstance(value, (list, tuple)) and len(value) == len(hints):
            return tuple(_checked(part, item, name) for part, item in zip(hints, value, strict=True))
    elif _fits(hint, value):
        return value
    raise ConfigurationError(f"{name} cannot be {shown(value)} in the configuration of a generator")


def _fits(hint: Any, value: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(choice, value) for choice in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return value in typing.get_args(hint)
    if hint is int:
        return type(value) is int and 0 <= value <= LARGEST
    if hint is float:
        return type(value) in (int, float) and abs(value) <= LARGEST_FLOAT  # nor is it nan
    return type(value) is hint


def measured(tensors: Mapping[str, torch.Tensor]) -> GeneratorConfig:
    """A configuration with the shapes that a state dict has, and of all else what the release has.

    Args:
        tensors: Under the names of the published checkpoints.

    Raises:
        ConfigurationError: Tensors by which to know are missing.
    """

    def side(name: str, axis: int = 0) -> int:
        tensor = tensors.get(name)
        if not isinstance(tensor, torch.Tensor) or tensor.ndim <= axis:
            raise ConfigurationError(f"there is no {name}: these are not the weights of an EG3D generator")
        return tensor.shape[axis]

    w = side("backbone.mapping.embed.weight")
    resolution = side("superresolution.block1.conv1.noise_const")
    planes = max((int(found[1]) for found in map(SIDE.fullmatch, tensors) if found), default=4)
    return GeneratorConfig(
        z=side("backbone.mapping.fc0.weight", 1) - w,
        w=w,
        condition=side("backbone.mapping.embed.weight", 1),
        mapping_layers=sum(bool(re.fullmatch(r"backbone\.mapping\.fc\d+\.weight", name)) for name in tensors),
        plane_resolution=planes,
        plane_channels=side("backbone.synthesis.b4.torgb.bias") // 3,
        channel_base=side(f"backbone.synthesis.b{planes}.conv1.bias") * planes,
        channel_max=side("backbone.synthesis.b4.conv1.bias"),
        features=side("decoder.net.2.bias") - 1,
        raw_resolution=resolution // 4,
        resolution=resolution,
        sr_widths=(side("superresolution.block0.conv1.bias"), side("superresolution.block1.conv1.bias")),
    )
