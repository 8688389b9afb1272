"""Planes to feature pictures and depths (arXiv 2112.07945, 4.1 and 4.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.eg3d.cameras import LABEL
from faceforward.eg3d.layers import FullyConnected
from faceforward.eg3d.planes import PlaneAxes, plane_features, readable
from faceforward.eg3d.rays import exact, importance_depths, rays, stratified_depths
from faceforward.eg3d.resampling import widened
from faceforward.errors import ConfigurationError

MOST_SAMPLES = 4096


@dataclass(frozen=True)
class RenderSettings:
    """How planes are rendered; the values of `ffhqrebalanced512-128.pkl` by default.

    Attributes:
        samples: Depths of the first pass, 2 to 4,096.
        importance_samples: Depths of the second pass, at most 4,096; 0 leaves it out.
        ray_start: Nearest depth.
        ray_end: Farthest depth.
        box_warp: Side of the cube that the planes span.
        plane_axes: `released` for official checkpoints; `corrected` gives three different planes.
        white_back: White instead of black where rays meet nothing.

    Raises:
        ConfigurationError: A number is out of its range, or rays end before they start.
    """

    samples: int = 48
    importance_samples: int = 48
    ray_start: float = 2.25
    ray_end: float = 3.3
    box_warp: float = 1.0
    plane_axes: PlaneAxes = "released"
    white_back: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be rendered."""
        at_least(2, samples=self.samples)
        at_least(0, importance_samples=self.importance_samples, ray_start=self.ray_start)
        at_least(1e-3, box_warp=self.box_warp)
        if max(self.samples, self.importance_samples) > MOST_SAMPLES:
            raise ConfigurationError(f"a ray of more than {MOST_SAMPLES} samples a pass: give fewer")
        if not self.ray_start < self.ray_end < math.inf:
            raise ConfigurationError(f"rays from {self.ray_start} to {self.ray_end}: the end lies farther")


@dataclass(frozen=True, eq=False)
class Rendering:
    """What rays see.

    Attributes:
        features: `(N, C, r, r)` in about [-1, 1]; the first three channels are the raw RGB picture.
        depth: `(N, 1, r, r)`, along the ray, inside the range of the samples.
        opacity: `(N, 1, r, r)` in [0, 1].
    """

    features: torch.Tensor
    depth: torch.Tensor
    opacity: torch.Tensor


class Decoder(nn.Module):
    """Mean of the planes' features to density and colours."""

    def __init__(self, features: int, outputs: int, *, hidden: int = 64, learning_rate: float = 1.0) -> None:
        super().__init__()
        self.net = nn.Sequential(
            FullyConnected(features, hidden, learning_rate=learning_rate),
            nn.Softplus(),
            FullyConnected(hidden, 1 + outputs, learning_rate=learning_rate),
        )

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(M, features)` to densities `(M, 1)` and colours `(M, outputs)` in (-0.001, 1.001)."""
        x = self.net(features)
        density, colour = x.split([1, x.shape[1] - 1], dim=1)
        return density, torch.sigmoid(colour) * 1.002 - 0.001


def march(densities: torch.Tensor, depths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Volume rendering of samples in rising order; values are taken in the middle of each interval.

    Args:
        densities: `(R, S)` before their softplus.
        depths: `(R, S)`.

    Returns:
        Each sample's share of its ray's colour `(R, S)`, depth `(R,)`, weights of the intervals `(R, S - 1)`.
    """
    widths = depths[:, 1:] - depths[:, :-1]
    density = F.softplus((densities[:, :-1] + densities[:, 1:]) / 2 - 1)
    alpha = 1 - torch.exp(-density * widths)
    through = torch.cumprod(F.pad(1 - alpha + 1e-10, (1, 0), value=1.0), dim=1)[:, :-1]
    weights = alpha * through
    # Means of neighbours under these weights, without making the means: a sample is in two intervals.
    shares = (F.pad(weights, (1, 0)) + F.pad(weights, (0, 1))) / 2
    depth = (shares * depths).sum(dim=1) / weights.sum(dim=1)
    depth = torch.nan_to_num(depth, float("inf")).clamp(depths.min(), depths.max())
    return shares, depth, weights


class Renderer:
    """Renders planes for cameras, in chunks of rays so that memory is bounded.

    Always in float32 or float64: autocast is off, and planes of half precision are widened.

    Args:
        decoder: Features to density and colours.
        settings: How.
    """

    def __init__(self, decoder: Decoder, settings: RenderSettings) -> None:
        self.decoder = decoder
        self.settings = settings

    def density(self, planes: torch.Tensor, points: torch.Tensor, *, chunk: int = 2**18) -> torch.Tensor:
        """Density before its softplus at points of space.

        Args:
            planes: `(3, C, H, W)`.
            points: `(M, 3)`.
            chunk: Points at once.

        Returns:
            `(M,)`.
        """
        planes, points = readable(widened(planes)), widened(points)
        with exact(planes):
            parts = points.split(chunk)
            found = [self.decoder(plane_features(planes, part, self.settings))[0] for part in parts]
            return torch.cat(found)[:, 0]

    def __call__(
        self,
        planes: torch.Tensor,
        cameras: torch.Tensor,
        resolution: int,
        *,
        generator: torch.Generator | None = None,
        chunk: int | None = None,
    ) -> Rendering:
        """Render each planes at its camera.

        Args:
            planes: `(N, 3, C, H, W)`.
            cameras: `(N, 25)`.
            resolution: Side r.
            generator: Jitters the samples, for training; None takes them in their places.
            chunk: Rays at once: memory grows with it, and the result does not change, but for the order in
                which `generator` draws. None takes 1,024 on the CPU, so that what one step leaves is still in
                its caches for the next, and 4,096 elsewhere.

        Raises:
            ValueError: There is no camera, they are no labels, or the side or the chunk is no size.
        """
        if chunk is None:
            chunk = 1024 if planes.device.type == "cpu" else 4096
        if resolution < 1 or chunk < 1:
            raise ValueError(f"a side of {resolution} pixels in chunks of {chunk} rays: give 1 or more")
        if not len(cameras) or cameras.shape[1:] != (LABEL,):
            raise ValueError(f"cameras of shape {tuple(cameras.shape)}: give (N, {LABEL}), one at least")
        origins, directions = rays(cameras, resolution)
        features, depths, opacities = [], [], []
        for plane, origin, towards in zip(planes, origins, directions, strict=True):
            plane = readable(widened(plane))
            with exact(plane):
                parts = [self._rays(plane, origin, part, generator) for part in towards.split(chunk)]
            colour, depth, opacity = (torch.cat(values) for values in zip(*parts, strict=True))
            features.append(colour.T.reshape(-1, resolution, resolution))
            depths.append(depth.reshape(1, resolution, resolution))
            opacities.append(opacity.reshape(1, resolution, resolution))
        return Rendering(torch.stack(features), torch.stack(depths), torch.stack(opacities))

    def _rays(
        self,
        planes: torch.Tensor,
        origin: torch.Tensor,
        towards: torch.Tensor,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        settings, count = self.settings, len(towards)
        depths = stratified_depths(
            settings.samples,
            settings.ray_start,
            settings.ray_end,
            towards,
            _drawn(count, settings.samples, generator, towards),
        ).expand(count, -1)
        densities, colours = self._decode(planes, origin, towards, depths)
        order = None
        if settings.importance_samples:
            with torch.no_grad():  # where to look is no part of the picture
                _, _, weights = march(densities, depths)
                positions = _drawn(count, settings.importance_samples, generator, towards)
                if positions is None:
                    positions = torch.linspace(0, 1, settings.importance_samples).to(towards)
                finer = importance_depths(depths, weights, positions)
            more_densities, more_colours = self._decode(planes, origin, towards, finer)
            depths, order = torch.cat([depths, finer], dim=1).sort(dim=1, stable=True)
            densities = torch.cat([densities, more_densities], dim=1).gather(1, order)
            colours = torch.cat([colours, more_colours], dim=1)
        shares, depth, weights = march(densities, depths)
        if order is not None:  # the few shares go back to where the many colours are
            shares = torch.zeros_like(shares).scatter(1, order, shares)
        opacity = weights.sum(dim=1)
        colour = torch.einsum("rs,rsc->rc", shares, colours)
        if settings.white_back:
            colour = colour + 1 - opacity[:, None]
        return colour * 2 - 1, depth, opacity

    def _decode(
        self, planes: torch.Tensor, origin: torch.Tensor, towards: torch.Tensor, depths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        points = origin + towards[:, None] * depths[..., None]
        densities, colours = self.decoder(plane_features(planes, points.reshape(-1, 3), self.settings))
        return densities.reshape(depths.shape), colours.reshape(*depths.shape, -1)


def _drawn(
    rows: int, columns: int, generator: torch.Generator | None, like: torch.Tensor
) -> torch.Tensor | None:
    """Uniform numbers for training; None without a generator."""
    if generator is None:
        return None
    return torch.rand(rows, columns, generator=generator, device=generator.device).to(like)
