"""AFA: what the codes have lost goes into the generator's features (arXiv 2303.12326, 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.errors import ConfigurationError
from faceforward.goae.attention import CrossAttention

SQUEEZE = 16  # how much narrower the middle of squeeze-and-excitation is


@dataclass(frozen=True)
class AfaConfig:
    """Shapes of AFA; those of `afa_FFHQ.pt` by default.

    Attributes:
        widths: Channels of the body's groups; each halves the side.
        units: Residual units of each group.
        features: Channels of the generator's feature that is changed.
        side: Of that feature.
        heads: Of the cross-attention.
        hidden: Width of its feed-forward layer.

    Raises:
        ConfigurationError: A number is out of its range, or the features do not divide into the heads.
    """

    widths: tuple[int, ...] = (64, 128, 256)
    units: int = 3
    features: int = 512
    side: int = 32
    heads: int = 4
    hidden: int = 1024

    def __post_init__(self) -> None:
        """Refuse shapes that no AFA has."""
        if not self.widths:
            raise ConfigurationError("AFA without a body: give widths")
        at_least(SQUEEZE, widths=min(self.widths))
        at_least(1, units=self.units, heads=self.heads, hidden=self.hidden)
        at_least(4, side=self.side)
        if self.features < 1 or self.features % self.heads:
            raise ConfigurationError(
                f"{self.features} features in {self.heads} heads of AFA: it has to divide"
            )


class Aligned(NamedTuple):
    """What AFA makes of a feature.

    Attributes:
        feature: `(N, C, s, s)`, `gamma * feature + beta`.
        gamma: `(N, C, s, s)`.
        beta: `(N, C, s, s)`.
    """

    feature: torch.Tensor
    gamma: torch.Tensor
    beta: torch.Tensor


class Excitation(nn.Module):
    """Channels weighted by what all of the picture holds (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, C, H, W)` to the same."""
        share = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(share)


class ResidualUnit(nn.Module):
    """Improved residual unit of ArcFace (arXiv 1801.07698, 2.2.2) with squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Module | None = None
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            Excitation(outputs),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H / stride, W / stride)`."""
        if self.shortcut_layer is not None:
            return self.res_layer(x) + self.shortcut_layer(x)
        return self.res_layer(x) + x[:, :, :: self.stride, :: self.stride]


class EqualConv(nn.Module):
    """3x3 convolution with equalised learning rate (arXiv 1710.10196, 4.1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        return F.conv2d(x, self.weight / math.sqrt(self.weight[0].numel()), self.bias, padding=1)


class ScaledLeakyReLU(nn.Module):
    """Leaky ReLU that keeps the variance."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any tensor."""
        return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Afa(nn.Module):
    """Scale and shift of a generator's feature from what its picture lacks.

    Args:
        config: Shapes.
    """

    def __init__(self, config: AfaConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or AfaConfig()
        first, last = config.widths[0], config.widths[-1]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        units = []
        for inputs, outputs in pairwise((first, *config.widths)):
            units.append(ResidualUnit(inputs, outputs, 2))
            units += [ResidualUnit(outputs, outputs, 1) for _ in range(config.units - 1)]
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            EqualConv(last, config.features), ScaledLeakyReLU(), EqualConv(config.features, config.features)
        )
        for name in ("gamma", "beta"):
            attention = CrossAttention(config.features, heads=config.heads, hidden=config.hidden)
            self.add_module(f"cross_att_{name}", attention)

    def forward(self, images: torch.Tensor, rendered: torch.Tensor, feature: torch.Tensor) -> Aligned:
        """Align a feature with a photograph.

        Args:
            images: `(N, 3, R, R)` in [-1, 1].
            rendered: `(N, 3, R, R)`, what the codes alone make of them.
            feature: `(N, C, s, s)` of the generator under those codes.
        """
        lacking = self.output_layer(self.body(self.input_layer(rendered - images)))
        keys, queries = (_rows(part) for part in (lacking, feature))
        gamma, beta = (
            self.get_submodule(f"cross_att_{name}")(queries, keys).transpose(1, 2).reshape(feature.shape)
            for name in ("gamma", "beta")
        )
        return Aligned(gamma * feature + beta, gamma, beta)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """`(N, C, H, W)` to normed `(N, H * W, C)`."""
    x = x.flatten(2).transpose(1, 2)
    return F.layer_norm(x, x.shape[-1:])
