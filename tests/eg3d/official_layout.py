"""A generator in the layout of NVIDIA's files, made without their code: same names, same reductions."""

import pickle
import sys
import types
from unittest import mock

import numpy as np
import torch
from torch import nn

from faceforward.eg3d.backbone import Backbone, Mapping, Synthesis
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.layers import FullyConnected, SynthesisBlock, SynthesisLayer, ToRGB
from faceforward.eg3d.planes import AXES
from faceforward.eg3d.renderer import Decoder
from faceforward.eg3d.superresolution import SuperResolution

PLAIN = {
    "OSGDecoder": "training.triplane",
    "ImportanceRenderer": "training.volumetric_rendering.renderer",
    "MipRayMarcher2": "training.volumetric_rendering.ray_marcher",
    "RaySampler": "training.volumetric_rendering.ray_sampler",
}
NAMES = {
    TriPlaneGenerator: "TriPlaneGenerator",
    Backbone: "Generator",
    Synthesis: "SynthesisNetwork",
    Mapping: "MappingNetwork",
    SynthesisBlock: "SynthesisBlock",
    SynthesisLayer: "SynthesisLayer",
    ToRGB: "ToRGBLayer",
    FullyConnected: "FullyConnectedLayer",
    SuperResolution: "SuperresolutionHybrid8XDC",
    Decoder: "OSGDecoder",
}
SOURCE = "raise SystemExit('the source in the file was run')"


def _reconstruct_persistent_obj(meta):
    """What theirs begins with."""
    exec(meta["module_src"], {})


def _reduce(self):
    meta = {"type": "class", "version": 6, "module_src": self._source, "class_name": type(self).__name__}
    return _reconstruct_persistent_obj, ({**meta, "state": self.__dict__},), None


def _plain(name):
    return type(name, (nn.Module,), {"__module__": PLAIN[name], "__qualname__": name})


CLASSES = {name: _plain(name) for name in PLAIN}
EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util", "__qualname__": "EasyDict"})
_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


def their_modules():
    """Their modules, importable inside a with block as far as pickle looks for them."""
    found = {}
    for name, value in [
        *((f"{module}.{name}", CLASSES[name]) for name, module in PLAIN.items()),
        ("dnnlib.util.EasyDict", EasyDict),
        ("torch_utils.persistence._reconstruct_persistent_obj", _reconstruct_persistent_obj),
    ]:
        module, _, attribute = name.rpartition(".")
        parts = module.split(".")
        for depth in range(len(parts)):
            whole = ".".join(parts[: depth + 1])
            found.setdefault(whole, types.ModuleType(whole))
        setattr(found[module], attribute, value)
    return mock.patch.dict(sys.modules, found)


def persistent(name, source=SOURCE):
    """An empty module of a class that carries its source."""
    return type(name, (nn.Module,), {"__reduce__": _reduce, "_source": source})()


def mirrored(module, source=SOURCE):
    """The same parameters, buffers and submodules in modules of theirs."""
    if isinstance(module, nn.Softplus):
        return nn.Softplus()
    name = NAMES.get(type(module))
    twin = nn.Sequential() if name is None else CLASSES[name]() if name in PLAIN else persistent(name, source)
    for key, value in module._parameters.items():
        twin.register_parameter(key, nn.Parameter(value.detach().clone(), requires_grad=False))
    for key, value in module._buffers.items():
        twin.register_buffer(key, value.clone())
    for key, child in module.named_children():
        twin.add_module(key, mirrored(child, source))
    if name and name not in PLAIN:
        twin._init_args, twin._init_kwargs = (), {}
    if isinstance(module, FullyConnected):
        twin.weight_gain = np.float64(module.weight_gain)  # theirs divide by NumPy's square root
    if isinstance(module, (SynthesisLayer, ToRGB)):
        twin.conv_clamp = module.clamp
    return twin.eval()


def settings(config):
    """Their `rendering_kwargs`."""
    render = config.render
    return {
        "image_resolution": config.resolution,
        "disparity_space_sampling": False,
        "clamp_mode": "softplus",
        "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
        "c_gen_conditioning_zero": config.condition_zero,
        "gpc_reg_prob": 0.5,
        "c_scale": config.condition_scale,
        "superresolution_noise_mode": "none",
        "decoder_lr_mul": config.decoder_learning_rate,
        "sr_antialias": config.sr_antialias,
        "depth_resolution": render.samples,
        "depth_resolution_importance": render.importance_samples,
        "ray_start": render.ray_start,
        "ray_end": render.ray_end,
        "box_warp": render.box_warp,
        "white_back": render.white_back,
        "avg_camera_radius": 2.7,
        "avg_camera_pivot": [0, 0, 0.2],
    }


def official(generator, source=SOURCE):
    """A generator of ours as an object of theirs."""
    config = generator.config
    twin = mirrored(generator, source)
    twin.renderer = CLASSES["ImportanceRenderer"]()
    twin.renderer.ray_marcher = CLASSES["MipRayMarcher2"]()
    axes = torch.tensor(AXES[config.render.plane_axes])
    twin.renderer.plane_axes = torch.eye(3)[torch.cat([axes, 3 - axes.sum(1, keepdim=True)], 1)]
    twin.ray_sampler = CLASSES["RaySampler"]()
    twin.register_buffer("dataset_label_std", torch.ones(25))
    twin.superresolution.input_resolution = config.resolution // 4
    twin.superresolution.sr_antialias = config.sr_antialias
    twin.neural_rendering_resolution = config.raw_resolution
    twin.rendering_kwargs = settings(config)
    twin._last_planes = None
    twin._init_kwargs = EasyDict(
        z_dim=config.z, c_dim=config.condition, w_dim=config.w, img_resolution=config.resolution,
        img_channels=3, mapping_kwargs=EasyDict(num_layers=config.mapping_layers),
        channel_base=config.channel_base,
        channel_max=config.channel_max, fused_modconv_default="inference_only", num_fp16_res=0,
        sr_num_fp16_res=4, sr_kwargs=EasyDict(fused_modconv_default="inference_only"),
        rendering_kwargs=settings(config),
    )  # fmt: skip
    return twin


def write_official(path, average, live=None, *, protocol=4):
    """Their snapshot file.

    Args:
        path: `.pkl`.
        average: G_ema, from `official`.
        live: G; None takes an empty module.
        protocol: Of the pickle.
    """
    judge = persistent("DualDiscriminator")
    judge.b4 = mirrored(FullyConnected(4, 1))
    data = {"path": "faces.zip", "labels": np.arange(6.0).reshape(2, 3), "resolution": np.int64(32)}
    with their_modules(), path.open("wb") as stream:
        snapshot = {
            "training_set_kwargs": EasyDict(data),
            "G": live or persistent("TriPlaneGenerator"),
            "D": judge,
        }
        pickle.dump({**snapshot, "G_ema": average, "augment_pipe": None}, stream, protocol)
    return path
