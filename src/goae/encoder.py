"""A photograph to one base code and offsets for coarse, middle and fine layers (arXiv 2303.12326, 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.errors import ConfigurationError
from faceforward.goae.attention import CrossAttention
from faceforward.goae.swin import Swin, SwinConfig

Stage = Literal["base", "coarse", "mid", "fine"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class EncoderConfig:
    """Shapes of an encoder; those of `encoder_FFHQ.pt` by default.

    Attributes:
        swin: Of the backbone.
        w: Width of the generator's w.
        codes: How many layers have coarse, middle and fine offsets; the first layer has none.
        heads: Of the cross-attention.
        hidden: Width of its feed-forward layer.

    Raises:
        ConfigurationError: A number is below 1, or w does not divide into the heads.
    """

    swin: SwinConfig = field(default_factory=SwinConfig)
    w: int = 512
    codes: tuple[int, int, int] = (3, 3, 7)
    heads: int = 4
    hidden: int = 1024

    def __post_init__(self) -> None:
        """Refuse shapes that no encoder has."""
        if len(self.codes) != 3:
            raise ConfigurationError(f"codes {self.codes}: give those of coarse, middle and fine layers")
        at_least(1, w=self.w, heads=self.heads, hidden=self.hidden, codes=min(self.codes))
        if self.w % self.heads:
            raise ConfigurationError(
                f"w of {self.w} in {self.heads} heads of cross-attention: it has to divide"
            )

    @property
    def num_ws(self) -> int:
        """Layers of the generator that it is for."""
        return 1 + sum(self.codes)


def perceptron(*widths: int, ends: bool = False) -> nn.Sequential:
    """Linear layers with leaky ReLUs between them, and one behind the last if it `ends` with one."""
    layers: list[nn.Module] = []
    for index in range(1, len(widths)):
        layers.append(nn.Linear(widths[index - 1], widths[index]))
        if ends or index < len(widths) - 1:
            layers.append(nn.LeakyReLU())
    return nn.Sequential(*layers)


class GoaeEncoder(nn.Module):
    """Codes of photographs, as distances from the generator's average w.

    Args:
        config: Shapes.

    Example:
        >>> swin = SwinConfig(resolution=64, window=8, embed=16, depths=(1, 1, 1, 1), heads=(1, 2, 2, 2))
        >>> GoaeEncoder(EncoderConfig(swin, w=32, codes=(1, 1, 1)))(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 4, 32])
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        swin, w = config.swin, config.w
        self.swin_model = Swin(swin)
        patches, mid, coarse, last = (swin.side(stage) ** 2 for stage in range(4))
        width = swin.embed
        self.mapper_base_spatial = perceptron(last, last, 1)
        self.mapper_base_channel = perceptron(8 * width, 8 * width, w)
        for name, count in zip(STAGES[1:], config.codes, strict=True):
            self.add_module(f"mapper_query_spatial_{name}", perceptron(last, last, count))
            self.add_module(f"mapper_query_channel_{name}", perceptron(8 * width, 8 * width, w))
            attention = CrossAttention(w, heads=config.heads, hidden=config.hidden)
            self.add_module(f"cross_att_{name}", attention)
        self.mapper_coarse_channel = perceptron(4 * width, w, ends=True)
        self.mapper_mid_channel = perceptron(2 * width, w, ends=True)
        self.mapper_fine_channel = perceptron(width, 2 * width, w, ends=True)
        self.mapper_coarse_to_mid_spatial = perceptron(coarse, 2 * coarse, mid, ends=True)
        self.mapper_mid_to_fine_spatial = perceptron(mid, 2 * mid, patches, ends=True)

    def forward(self, images: torch.Tensor, stage: Stage = "fine") -> torch.Tensor:
        """`(N, 3, S, S)` in [-1, 1], of any side, to `(N, num_ws, w)` without the average w.

        Args:
            images: 3D crops.
            stage: How far the offsets reach; those of later stages are zero and not computed.
        """
        return self.codes(images, stage)[0]

    def codes(self, images: torch.Tensor, stage: Stage = "fine") -> tuple[torch.Tensor, torch.Tensor]:
        """The same with the base code alone, `(N, num_ws, w)` each."""
        last, (fine, mid, coarse, query) = self.swin_model(shrunk(images, self.config.swin.resolution))
        base = self._pooled(last, self.mapper_base_spatial, self.mapper_base_channel)
        base = base.expand(-1, self.config.num_ws, -1)
        reached = STAGES.index(stage)
        parts = [torch.zeros_like(base[:, :1])]
        keys: torch.Tensor | None = None
        for index, (name, count) in enumerate(zip(STAGES[1:], self.config.codes, strict=True), start=1):
            if index > reached:
                parts.append(base.new_zeros(len(base), count, base.shape[-1]))
                continue
            keys = self._keys(name, {"coarse": coarse, "mid": mid, "fine": fine}[name], keys)
            spatial, channel = (
                self.get_submodule(f"mapper_query_{kind}_{name}") for kind in ("spatial", "channel")
            )
            parts.append(self.get_submodule(f"cross_att_{name}")(self._pooled(query, spatial, channel), keys))
        return base + torch.cat(parts, dim=1), base

    def _keys(self, name: str, features: torch.Tensor, coarser: torch.Tensor | None) -> torch.Tensor:
        """Keys of a scale, with the coarser ones spread over its positions."""
        keys = self.get_submodule(f"mapper_{name}_channel")(features)
        if coarser is None:
            return keys
        spread = self.mapper_coarse_to_mid_spatial if name == "mid" else self.mapper_mid_to_fine_spatial
        return keys + spread(coarser.transpose(1, 2)).transpose(1, 2)

    @staticmethod
    def _pooled(x: torch.Tensor, spatial: nn.Module, channel: nn.Module) -> torch.Tensor:
        """`(N, P, C)` to a few codes `(N, K, w)`: learnt sums of positions and the largest, then channels."""
        x = x.transpose(1, 2)
        return channel((spatial(x) + x.amax(dim=2, keepdim=True)).transpose(1, 2))

    def trained_at(self, stage: Stage) -> list[nn.Parameter]:
        """Parameters that codes of this stage depend on."""
        later = [f"_{name}" for name in STAGES[STAGES.index(stage) + 1 :]]
        return [
            parameter
            for name, layer in self.named_children()
            if not any(part in name for part in later)
            for parameter in layer.parameters()
        ]


def shrunk(images: torch.Tensor, side: int) -> torch.Tensor:
    """Pictures `(N, C, S, S)` as means over areas, `(N, C, side, side)`."""
    return images if images.shape[-1] == side else F.interpolate(images, (side, side), mode="area")
