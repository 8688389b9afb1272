"""The generator: codes and cameras to planes, planes and cameras to pictures."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from faceforward.checks import at_least
from faceforward.eg3d.backbone import Backbone, Mapping, Synthesis
from faceforward.eg3d.layers import Noise
from faceforward.eg3d.renderer import Decoder, Renderer, RenderSettings
from faceforward.eg3d.superresolution import SuperResolution
from faceforward.errors import ConfigurationError


@dataclass(frozen=True)
class GeneratorConfig:
    """Shapes of a generator; those of `ffhqrebalanced512-128.pkl` by default.

    Attributes:
        z: Width of the code.
        w: Width of w.
        condition: Width of the camera label.
        mapping_layers: Fully connected layers of the mapping network.
        plane_resolution: Side of the planes.
        plane_channels: Channels of one plane.
        channel_base: See `Synthesis`.
        channel_max: See `Synthesis`.
        features: Channels of a rendered picture.
        decoder_learning_rate: Factor in the decoder.
        raw_resolution: Side at which planes are rendered.
        resolution: Side of the final picture.
        sr_factor: How much of it super-resolution makes, 4 or 2; raw pictures of another side are resized.
        sr_widths: Channels of its two blocks.
        clamp: Bound of the backbone's convolutions.
        sr_clamp: Bound of super-resolution's.
        sr_antialias: Of the resizing in front of it.
        condition_scale: Factor of the camera in the mapping network.
        condition_zero: Give the mapping network zeros for a camera.
        render: How planes are rendered.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    z: int = 512
    w: int = 512
    condition: int = 25
    mapping_layers: int = 2
    plane_resolution: int = 256
    plane_channels: int = 32
    channel_base: int = 32768
    channel_max: int = 512
    features: int = 32
    decoder_learning_rate: float = 1.0
    raw_resolution: int = 128
    resolution: int = 512
    sr_factor: int = 4
    sr_widths: tuple[int, int] = (256, 128)
    clamp: float | None = None
    sr_clamp: float | None = 256.0
    sr_antialias: bool = True
    condition_scale: float = 1.0
    condition_zero: bool = False
    render: RenderSettings = field(default_factory=RenderSettings)

    def __post_init__(self) -> None:
        """Refuse shapes that no generator has."""
        at_least(
            1, z=self.z, w=self.w, mapping_layers=self.mapping_layers, plane_channels=self.plane_channels
        )
        at_least(1, channel_base=self.channel_base, channel_max=self.channel_max)
        at_least(3, features=self.features)
        at_least(1, raw_resolution=self.raw_resolution)
        at_least(0, condition=self.condition, clamp=self.clamp, sr_clamp=self.sr_clamp)
        for name in ("plane_resolution", "resolution"):
            side = getattr(self, name)
            if side < 4 or side & (side - 1):
                raise ConfigurationError(f"{name} is {side}: give a power of two from 4")
        if self.sr_factor not in (2, 4):
            raise ConfigurationError(f"sr_factor is {self.sr_factor}: give 2 or 4")


@dataclass(frozen=True, eq=False)
class View:
    """One camera's picture of planes.

    Attributes:
        image: `(N, 3, R, R)` in about [-1, 1].
        raw: `(N, 3, r, r)`, before super-resolution.
        depth: `(N, 1, r, r)` along the ray.
        opacity: `(N, 1, r, r)` in [0, 1].
    """

    image: torch.Tensor
    raw: torch.Tensor
    depth: torch.Tensor
    opacity: torch.Tensor

    def float(self) -> View:
        """The same with pictures of float32, whatever autocast made them."""
        return View(self.image.float(), self.raw.float(), self.depth, self.opacity)


class TriPlaneGenerator(nn.Module):
    """EG3D's generator (arXiv 2112.07945), with the parameter names of the published checkpoints.

    Planes are values: `planes` once, then `render` for any cameras.

    Args:
        config: Shapes.

    Example:
        >>> generator = TriPlaneGenerator(GeneratorConfig(channel_base=1024, plane_resolution=32))
        >>> ws = generator.map(torch.randn(1, 512), torch.zeros(1, 25))
        >>> generator.planes(ws).shape
        torch.Size([1, 3, 32, 32, 32])
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        synthesis = Synthesis(
            config.w,
            config.plane_resolution,
            3 * config.plane_channels,
            channel_base=config.channel_base,
            channel_max=config.channel_max,
            clamp=config.clamp,
        )
        mapping = Mapping(
            config.z,
            config.condition,
            config.w,
            synthesis.num_ws,
            layers=config.mapping_layers,
            condition_scale=config.condition_scale,
        )
        self.backbone = Backbone(mapping, synthesis)
        self.superresolution = SuperResolution(
            config.features,
            config.w,
            config.resolution,
            factor=config.sr_factor,
            widths=config.sr_widths,
            clamp=config.sr_clamp,
        )
        self.decoder = Decoder(
            config.plane_channels, config.features, learning_rate=config.decoder_learning_rate
        )
        self.renderer = Renderer(self.decoder, config.render)

    @property
    def num_ws(self) -> int:
        """How many w's one picture takes."""
        return self.backbone.synthesis.num_ws

    def map(
        self, z: torch.Tensor, cameras: torch.Tensor, *, truncation: float = 1.0, cutoff: int | None = None
    ) -> torch.Tensor:
        """`(N, z)` codes and `(N, 25)` conditions to `(N, num_ws, w)`; see `Mapping`."""
        if self.config.condition_zero:
            cameras = torch.zeros_like(cameras)
        return self.backbone.mapping(z, cameras, truncation=truncation, cutoff=cutoff)

    def planes(
        self, ws: torch.Tensor, *, noise: Noise = "const", dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """`(N, num_ws, w)` to `(N, 3, C, H, W)`.

        Args:
            ws: float32.
            noise: `const` gives the same planes each time.
            dtype: Of the convolutions, float16 or bfloat16 where that is fast; planes stay float32.
        """
        planes = self.backbone.synthesis(ws, noise=noise, dtype=dtype)
        return planes.reshape(len(ws), 3, self.config.plane_channels, *planes.shape[2:])

    def render(
        self,
        planes: torch.Tensor,
        cameras: torch.Tensor,
        ws: torch.Tensor,
        *,
        raw_resolution: int | None = None,
        generator: torch.Generator | None = None,
        chunk: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> View:
        """Pictures of planes.

        Args:
            planes: `(N, 3, C, H, W)`, or `(1, ...)` for all cameras.
            cameras: `(N, 25)`.
            ws: `(N, num_ws, w)` or `(1, ...)`; super-resolution takes the last w.
            raw_resolution: Side of the raw picture; None takes the config's.
            generator: See `Renderer`.
            chunk: Rays at once, see `Renderer`.
            dtype: Of super-resolution; rays are always followed in float32.

        Raises:
            ValueError: The batches do not fit, or see `Renderer`.
        """
        count = len(cameras)
        for name, value in (("planes", planes), ("ws", ws)):
            if len(value) not in (1, count):
                raise ValueError(f"{len(value)} {name} for {count} cameras: give one, or one for each")
        planes = planes.expand(count, *planes.shape[1:])
        side = self.config.raw_resolution if raw_resolution is None else raw_resolution
        rendered = self.renderer(planes, cameras, side, generator=generator, chunk=chunk)
        image = self.superresolution(rendered.features, ws, antialias=self.config.sr_antialias, dtype=dtype)
        return View(image, rendered.features[:, :3], rendered.depth, rendered.opacity)

    def forward(self, z: torch.Tensor, cameras: torch.Tensor, *, truncation: float = 1.0) -> View:
        """Codes and cameras to pictures, each conditioned on the camera that it is seen from."""
        ws = self.map(z, cameras, truncation=truncation)
        return self.render(self.planes(ws), cameras, ws)
