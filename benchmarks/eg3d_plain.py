"""A forward of EG3D with the structure of the published implementation: the measure for `eg3d_turntable.py`.

Written from the paper and the facts in the team's notes, on the weights of a `TriPlaneGenerator`: every view
runs mapping, backbone, rendering and super-resolution; every sample has its own convolution weights (grouped
convolutions); resampling inserts zeros and filters; colours are sorted with the depths; all rays at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from faceforward.eg3d.planes import AXES
from faceforward.eg3d.rays import importance_depths, rays, stratified_depths

if TYPE_CHECKING:
    from faceforward.eg3d.generator import TriPlaneGenerator
    from faceforward.eg3d.layers import SynthesisBlock, SynthesisLayer, ToRGB
    from faceforward.eg3d.renderer import Decoder, RenderSettings


def resample(
    x: torch.Tensor, kernel: torch.Tensor, *, up: int, padding: tuple[int, int], gain: float
) -> torch.Tensor:
    """Zeros between the samples, padding, then the low-pass."""
    count, channels, height, width = x.shape
    x = F.pad(x.reshape(count, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
    x = F.pad(x.reshape(count, channels, height * up, width * up), (*padding, *padding))
    weight = (kernel.flip((0, 1)) * gain).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight, groups=channels)


def modulated(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    kernel: torch.Tensor | None,
    *,
    demodulate: bool,
) -> torch.Tensor:
    """Weights of their own for every sample, in one grouped convolution."""
    count, channels, height, width = x.shape
    weights = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        weights = weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, count * channels, height, width)
    if kernel is None:
        flat = weights.reshape(-1, channels, *weight.shape[2:])
        x = F.conv2d(x, flat, padding=weight.shape[-1] // 2, groups=count)
    else:
        flat = weights.transpose(1, 2).reshape(count * channels, -1, *weight.shape[2:])
        x = F.conv_transpose2d(x, flat, stride=2, groups=count)
        x = resample(x, kernel, up=1, padding=(1, 1), gain=4)
    return x.reshape(count, -1, *x.shape[2:])


def layer(module: SynthesisLayer, x: torch.Tensor, w: torch.Tensor, *, noise: bool) -> torch.Tensor:
    """Convolution, noise, bias, leaky ReLU, gain, clamp, one after the other."""
    kernel = module.resample_filter if module.up else None
    x = modulated(x, module.weight, module.affine(w), kernel, demodulate=True)
    if noise:
        x = x + module.noise_const * module.noise_strength
    x = F.leaky_relu(x + module.bias[None, :, None, None], 0.2) * 2**0.5
    return x if module.clamp is None else x.clamp(-module.clamp, module.clamp)


def picture_of(module: ToRGB, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """A block's part of the picture."""
    x = modulated(x, module.weight, module.affine(w) * module.weight_gain, None, demodulate=False)
    x = x + module.bias[None, :, None, None]
    return x if module.clamp is None else x.clamp(-module.clamp, module.clamp)


def block(
    module: SynthesisBlock,
    x: torch.Tensor | None,
    picture: torch.Tensor | None,
    ws: torch.Tensor,
    *,
    noise: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One resolution."""
    if module.first:
        x = module.const[None].repeat(len(ws), 1, 1, 1)
        x = layer(module.conv1, x, ws[:, 0], noise=noise)
        return x, picture_of(module.torgb, x, ws[:, 1])
    assert x is not None
    assert picture is not None
    x = layer(module.conv0, x, ws[:, 0], noise=noise)
    x = layer(module.conv1, x, ws[:, 1], noise=noise)
    picture = resample(picture, module.resample_filter, up=2, padding=(2, 1), gain=4)
    return x, picture + picture_of(module.torgb, x, ws[:, 2])


def decode(
    decoder: Decoder, planes: torch.Tensor, points: torch.Tensor, settings: RenderSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """Densities `(N, R, S, 1)` and colours `(N, R, S, C)` at points `(N, R, S, 3)`."""
    count, number, samples, _ = points.shape
    scaled = points.reshape(count, -1, 3) * (2 / settings.box_warp)
    grids = torch.stack([scaled[..., list(axes)] for axes in AXES[settings.plane_axes]], dim=1)
    sampled = F.grid_sample(
        planes.flatten(0, 1), grids.flatten(0, 1)[:, None], align_corners=False, padding_mode="zeros"
    )
    sampled = sampled[:, :, 0].transpose(1, 2).reshape(count, 3, -1, planes.shape[2]).mean(dim=1)
    densities, colours = decoder(sampled.flatten(0, 1))
    shape = (count, number, samples, -1)
    return densities.reshape(shape), colours.reshape(shape)


def marched(
    densities: torch.Tensor, colours: torch.Tensor, depths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colours, depth and weights from means of neighbouring samples."""
    widths = depths[:, :, 1:] - depths[:, :, :-1]
    colour = (colours[:, :, 1:] + colours[:, :, :-1]) / 2
    middle = (depths[:, :, 1:] + depths[:, :, :-1]) / 2
    density = F.softplus((densities[:, :, 1:] + densities[:, :, :-1]) / 2 - 1)
    alpha = 1 - torch.exp(-density * widths)
    through = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :, :1]), 1 - alpha + 1e-10], 2), 2)[:, :, :-1]
    weights = alpha * through
    depth = (weights * middle).sum(2) / weights.sum(2)
    depth = torch.nan_to_num(depth, float("inf")).clamp(depths.min(), depths.max())
    return (weights * colour).sum(2) * 2 - 1, depth, weights


@torch.inference_mode()
def forward(
    generator: TriPlaneGenerator,
    z: torch.Tensor,
    cameras: torch.Tensor,
    *,
    condition: torch.Tensor,
    truncation: float,
) -> torch.Tensor:
    """`(N, z)` codes to `(N, 3, R, R)`, everything anew; `condition` `(1, 25)` is the mapping's."""
    settings, config = generator.config.render, generator.config
    ws = generator.map(z, condition, truncation=truncation)
    x = picture = None
    for module, start in generator.backbone.synthesis.blocks():
        x, picture = block(module, x, picture, ws[:, start : start + module.convolutions + 1])
    assert picture is not None
    planes = picture.reshape(len(z), 3, config.plane_channels, *picture.shape[2:])
    origins, directions = rays(cameras, config.raw_resolution)
    count, number = directions.shape[:2]
    depths = stratified_depths(settings.samples, settings.ray_start, settings.ray_end, directions)
    depths = depths.expand(count, number, -1)[..., None]
    points = origins[:, :, None] + directions[:, :, None] * depths
    densities, colours = decode(generator.decoder, planes, points, settings)
    _, _, weights = marched(densities, colours, depths)
    positions = torch.linspace(0, 1, settings.importance_samples)
    finer = importance_depths(
        depths.reshape(count * number, -1), weights.reshape(count * number, -1), positions
    )
    finer = finer.reshape(count, number, -1, 1)
    points = origins[:, :, None] + directions[:, :, None] * finer
    more_densities, more_colours = decode(generator.decoder, planes, points, settings)
    depths, order = torch.cat([depths, finer], dim=2).sort(dim=2)
    densities = torch.cat([densities, more_densities], dim=2).gather(2, order)
    colours = torch.cat([colours, more_colours], dim=2)
    colours = colours.gather(2, order.expand(-1, -1, -1, colours.shape[-1]))
    features, _, _ = marched(densities, colours, depths)
    features = features.transpose(1, 2).reshape(count, -1, config.raw_resolution, config.raw_resolution)
    last = ws[:, -1:].repeat(1, 3, 1)
    x, picture = block(generator.superresolution.block0, features, features[:, :3], last, noise=False)
    return block(generator.superresolution.block1, x, picture, last, noise=False)[1]
