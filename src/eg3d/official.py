"""NVIDIA's own files of EG3D: what is in the pickle, under our configuration and names."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from faceforward.eg3d.configs import config_from, measured, shown
from faceforward.eg3d.generator import GeneratorConfig
from faceforward.eg3d.pickled_values import Module, read_values
from faceforward.eg3d.planes import AXES
from faceforward.errors import ConfigurationError

ARGUMENTS = ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")  # in their order
SUPERRESOLUTION = ("SuperresolutionHybrid8XDC", "SuperresolutionHybrid8X")  # two blocks that both double
#: What only the training or another super-resolution needs; our modules have it elsewhere or not at all.
UNUSED = ("dataset_label_std", "superresolution.resample_filter")
#: What our renderer does; files that were trained otherwise would give other pictures.
FIXED = {"clamp_mode": "softplus", "disparity_space_sampling": False, "superresolution_noise_mode": "none"}
RENDER = {
    "depth_resolution": "samples",
    "depth_resolution_importance": "importance_samples",
    "ray_start": "ray_start",
    "ray_end": "ray_end",
    "box_warp": "box_warp",
    "white_back": "white_back",
}
MOST_MODULES, LONGEST_PREFIX = 10_000, 200


def read_official(path: Path) -> tuple[GeneratorConfig, dict[str, torch.Tensor]]:
    """The averaged generator of an official file; no code in the file runs, and none of theirs is needed.

    Args:
        path: `.pkl` file.

    Returns:
        Its configuration and its tensors under the published names.

    Raises:
        ConfigurationError: The file holds anything but plain values, tensors and arrays, is damaged, holds no
            generator, or one that works differently from ours.
        OSError: It cannot be read.
    """
    try:
        with path.open("rb") as stream:
            values = read_values(stream, path.stat().st_size)
    except pickle.UnpicklingError as error:
        raise ConfigurationError(
            f"{path} is not opened: {error}. Nothing of it was run; get the file from its authors anew"
        ) from error
    generator = values.get("G_ema") if isinstance(values, dict) else None
    if not isinstance(generator, Module):
        raise ConfigurationError(f"there is no G_ema in {path}: it is no file of a generator")
    try:
        tensors = _tensors(generator)
        return _config(generator, tensors), tensors
    except (ConfigurationError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, LookupError) else error
        raise ConfigurationError(f"the generator in {path} is not built as NVIDIA's are: {reason}") from error


def _tensors(generator: Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers under their dotted names."""
    found: dict[str, torch.Tensor] = {}
    waiting = [("", generator)]
    for seen, (prefix, module) in enumerate(waiting):
        if seen == MOST_MODULES or len(prefix) > LONGEST_PREFIX:
            raise ValueError("its modules lie in one another without an end")
        for name, value in (*module.state["_parameters"].items(), *module.state["_buffers"].items()):
            if value is not None and not isinstance(value, torch.Tensor):
                raise TypeError(f"{shown(name)} is no tensor")
            if value is not None:
                found[f"{prefix}{name}"] = value
        waiting += [(f"{prefix}{name}.", child) for name, child in module.state["_modules"].items() if child]
    return {name: value for name, value in found.items() if name not in UNUSED}


def _config(generator: Module, tensors: Mapping[str, torch.Tensor]) -> GeneratorConfig:
    """From what the generator was made with; shapes that no argument says are the tensors'."""
    arguments = (
        dict(zip(ARGUMENTS, generator.state["_init_args"], strict=False)) | generator.state["_init_kwargs"]
    )
    # As the authors' scripts do it: settings that changed after the making count.
    rendering = arguments["rendering_kwargs"] | generator.state.get("rendering_kwargs", {})
    superresolution = _child(generator, "superresolution")
    _require_ours(arguments, rendering, superresolution)
    return config_from(
        dataclasses.asdict(measured(tensors))
        | {
            "z": arguments["z_dim"],
            "w": arguments["w_dim"],
            "condition": arguments["c_dim"],
            "mapping_layers": arguments.get("mapping_kwargs", {}).get("num_layers", 8),
            "channel_base": arguments.get("channel_base", 32768),
            "channel_max": arguments.get("channel_max", 512),
            "decoder_learning_rate": rendering.get("decoder_lr_mul", 1),
            "raw_resolution": generator.state["neural_rendering_resolution"],
            "resolution": arguments["img_resolution"],
            "clamp": _child(generator, "backbone.synthesis.b4.conv1").state["conv_clamp"],
            "sr_clamp": _child(superresolution, "block0.conv1").state["conv_clamp"],
            "sr_antialias": superresolution.state["sr_antialias"],
            "condition_scale": rendering.get("c_scale", 0),
            "condition_zero": rendering["c_gen_conditioning_zero"],
            "render": {ours: rendering[theirs] for theirs, ours in RENDER.items() if theirs in rendering}
            | {"plane_axes": _plane_axes(_child(generator, "renderer"))},
        }
    )


def _require_ours(
    arguments: Mapping[str, Any], rendering: Mapping[str, Any], superresolution: Module
) -> None:
    """Refuse what would load and then give other pictures."""
    if superresolution.name not in SUPERRESOLUTION:
        raise ValueError(
            f"super-resolution {shown(superresolution.name)} is none of {', '.join(SUPERRESOLUTION)}"
        )
    sides = superresolution.state["input_resolution"], arguments["img_resolution"]
    if not all(type(side) is int for side in sides) or sides[0] * 4 != sides[1]:
        raise ValueError("its super-resolution does not enlarge four times")
    for name, value in FIXED.items():
        if rendering.get(name, value) != value:
            raise ValueError(f"{name} is {shown(rendering[name])}, and only {value!r} can be rendered here")
    others = [name for name in arguments.get("mapping_kwargs", {}) if name != "num_layers"]
    if others:
        raise ValueError(f"its mapping network is given {shown(others[0])}, which ours does not take")


def _child(module: Module, path: str) -> Module:
    for name in path.split("."):
        module = module.state["_modules"][name]
    return module


def _plane_axes(renderer: Module) -> str:
    """Which axes the planes of this file are laid over.

    Its matrices are permutations, whose inverses have their rows as columns: the first two rows are the
    world axes of a plane's columns and rows.
    """
    matrices = renderer.state.get("plane_axes")
    if matrices is None:
        return "released"
    for name, known in AXES.items():
        if torch.equal(matrices[:, :2].float(), torch.eye(3)[torch.tensor(known)]):
            return name
    raise ValueError("its planes lie over axes that no release has")
