"""Swin Transformer V2 (Liu et al., arXiv 2111.09883) with its features from every scale.

Parameters and buffers have the names of the published implementation, under which GOAE's files keep them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from faceforward.errors import ConfigurationError

STEEPEST = math.log(100)  # of the logit scale (3.2)
FARTHEST = 8.0  # log-spaced coordinates of the pretrained window reach from -1 to 1 (3.3)
APART = -100.0  # logit between pixels that meet in a window only because the picture was rolled


@dataclass(frozen=True)
class SwinConfig:
    """Shapes; those of Swin V2 Base at 256 pixels by default.

    Attributes:
        resolution: Side of the picture.
        patch: Side of a patch.
        window: Side of a window in patches; smaller pictures are one window.
        embed: Channels of the first stage; each stage doubles them.
        depths: Blocks of the four stages, whose pictures have half the side of the one before.
        heads: Of attention, per stage.
        pretrained: Windows that the relative positions are measured in; 0 takes the stage's own.

    Raises:
        ConfigurationError: The sides or channels do not divide.
    """

    resolution: int = 256
    patch: int = 4
    window: int = 16
    embed: int = 128
    depths: tuple[int, int, int, int] = (2, 2, 18, 2)
    heads: tuple[int, int, int, int] = (4, 8, 16, 32)
    pretrained: tuple[int, int, int, int] = (12, 12, 12, 6)

    def __post_init__(self) -> None:
        """Refuse what has no four stages of whole windows."""
        if {len(self.depths), len(self.heads), len(self.pretrained)} != {4}:
            raise ConfigurationError(
                f"depths {self.depths}, heads {self.heads} and pretrained windows {self.pretrained} of the "
                "Swin encoder: give four each"
            )
        if min(self.resolution, self.patch, self.window, self.embed, *self.depths, *self.heads) < 1:
            raise ConfigurationError("sides, channels, depths and heads of the Swin encoder: give 1 or more")
        if self.resolution % (8 * self.patch):
            raise ConfigurationError(
                f"resolution {self.resolution} of the Swin encoder: give a multiple of 8 patches, "
                f"{8 * self.patch}"
            )
        for stage, heads in enumerate(self.heads):
            side, channels = self.side(stage), self.embed * 2**stage
            if side % min(self.window, side) or channels % heads:
                raise ConfigurationError(
                    f"stage {stage} of the Swin encoder has {side} patches a side in windows of {self.window}"
                    f", and {channels} channels in {heads} heads: both have to divide"
                )

    def side(self, stage: int) -> int:
        """Patches a side of a stage from 0."""
        return self.resolution // self.patch // 2**stage


class WindowAttention(nn.Module):
    """Scaled cosine attention with a continuous position bias (3.2 and 3.3), inside one window."""

    relative_coords_table: torch.Tensor
    relative_position_index: torch.Tensor

    def __init__(self, channels: int, heads: int, window: int, pretrained: int) -> None:
        super().__init__()
        self.heads = heads
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False)
        )
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(channels))  # keys have no bias: it would change nothing
        self.v_bias = nn.Parameter(torch.zeros(channels))
        self.proj = nn.Linear(channels, channels)
        offsets = torch.arange(1 - window, window, dtype=torch.float32)
        table = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), dim=-1)[None]
        table = table / max((pretrained or window) - 1, 1) * FARTHEST
        table = table.sign() * torch.log2(table.abs() + 1) / math.log2(FARTHEST)
        self.register_buffer("relative_coords_table", table)
        at = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = at[:, None] - at[None] + window - 1
        self.register_buffer("relative_position_index", apart[..., 0] * (2 * window - 1) + apart[..., 1])

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Windows `(N, W, P, C)` and their masks `(W, P, P)` to `(N, W, P, C)`."""
        count, windows, places, channels = x.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        parts = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.heads, channels // self.heads))
        q, k, v = parts.permute(3, 0, 1, 4, 2, 5)
        scale = self.logit_scale.clamp(max=STEEPEST).exp()
        q, k = F.normalize(q.float(), dim=-1) * scale, F.normalize(k.float(), dim=-1)
        near = self.cpb_mlp(self.relative_coords_table).reshape(-1, self.heads)
        near = 16 * torch.sigmoid(near[self.relative_position_index.flatten()])
        added = near.reshape(places, places, self.heads).permute(2, 0, 1)[None]
        if mask is not None:
            added = added + mask[:, None]
        added = added.float().expand(windows, -1, -1, -1)
        found = F.scaled_dot_product_attention(q, k, v.float(), attn_mask=added[None], scale=1.0)
        return self.proj(found.to(v.dtype).transpose(2, 3).reshape(count, windows, places, channels))


class SwinBlock(nn.Module):
    """Attention in windows and an MLP, each normed behind it (3.1); every second block shifts them."""

    attn_mask: torch.Tensor | None

    def __init__(
        self, channels: int, heads: int, side: int, window: int, pretrained: int, *, shifted: bool
    ) -> None:
        super().__init__()
        self.side, self.window = side, min(window, side)
        self.shift = self.window // 2 if shifted and self.window < side else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, self.window, pretrained)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(channels, 4 * channels)
        self.mlp.fc2 = nn.Linear(4 * channels, channels)
        self.register_buffer("attn_mask", self._mask() if self.shift else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, side * side, C)` to the same."""
        rolled = x.unflatten(1, (self.side, self.side))
        if self.shift:
            rolled = rolled.roll((-self.shift, -self.shift), dims=(1, 2))
        seen = self._joined(self.attn(self._windows(rolled), self.attn_mask))
        if self.shift:
            seen = seen.roll((self.shift, self.shift), dims=(1, 2))
        x = x + self.norm1(seen.flatten(1, 2))
        return x + self.norm2(self.mlp.fc2(F.gelu(self.mlp.fc1(x))))  # type: ignore[operator]

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, side, side, C)` to `(N, windows, window * window, C)`."""
        x = x.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _joined(self, x: torch.Tensor) -> torch.Tensor:
        many = self.side // self.window
        x = x.unflatten(2, (self.window, self.window)).unflatten(1, (many, many))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _mask(self) -> torch.Tensor:
        """`(windows, P, P)`: which pixels of a rolled picture were neighbours before it was rolled."""
        part = torch.zeros(self.side)
        part[-self.window : -self.shift] = 1
        part[-self.shift :] = 2
        regions = (3 * part[:, None] + part)[None, ..., None]
        regions = self._windows(regions)[0, ..., 0]
        return (regions[:, None] != regions[:, :, None]).float() * APART


class SwinStage(nn.Module):
    """Blocks at one side, and the way to half of it."""

    def __init__(self, config: SwinConfig, stage: int) -> None:
        super().__init__()
        channels = config.embed * 2**stage
        self.side = config.side(stage)
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels,
                config.heads[stage],
                self.side,
                config.window,
                config.pretrained[stage],
                shifted=index % 2 == 1,
            )
            for index in range(config.depths[stage])
        )
        self.downsample: nn.Module | None = None
        if stage < 3:
            self.downsample = nn.Module()
            self.downsample.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
            self.downsample.norm = nn.LayerNorm(2 * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(N, side * side, C)` to `(N, side * side / 4, 2 C)`, the last stage to its own shape."""
        for block in self.blocks:
            x = block(x)
        if self.downsample is None:
            return x
        x = x.unflatten(1, (self.side, self.side))
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.downsample.norm(self.downsample.reduction(torch.cat(four, dim=-1).flatten(1, 2)))  # type: ignore[operator]


class Swin(nn.Module):
    """The backbone without a head.

    Args:
        config: Shapes.
    """

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, config.embed, config.patch, stride=config.patch)
        self.patch_embed.norm = nn.LayerNorm(config.embed)
        self.layers = nn.ModuleList(SwinStage(config, stage) for stage in range(4))
        self.norm = nn.LayerNorm(8 * config.embed)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features of every scale.

        Args:
            images: `(N, 3, R, R)`.

        Returns:
            The last, normed, `(N, P / 64, 8 C)`, and what goes into each of the four stages, `(N, P, C)`
            first; P patches of C channels.
        """
        x = self.patch_embed.norm(self.patch_embed.proj(images).flatten(2).transpose(1, 2))  # type: ignore[operator]
        before = []
        for stage in self.layers:
            before.append(x)
            x = stage(x)
        return self.norm(x), before
