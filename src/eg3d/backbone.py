"""StyleGAN2 as EG3D uses it: codes and a camera to w, w to planes."""

from __future__ import annotations

import math

import torch
from torch import nn

from faceforward.eg3d.layers import FullyConnected, Noise, SynthesisBlock, unit_second_moment


def widths_by_side(resolution: int, base: int, largest: int, *, whose: str) -> dict[int, int]:
    """Channels at each side from 4 to the resolution, `min(base / side, largest)`.

    Raises:
        ValueError: The resolution is no power of two from 8.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise ValueError(f"the {whose}'s resolution is {resolution}: give a power of two from 8")
    sides = (4 * 2**index for index in range(int(math.log2(resolution)) - 1))
    return {side: min(base // side, largest) for side in sides}


class Mapping(nn.Module):
    """z and a condition to one w per layer (arXiv 1912.04958; for cameras arXiv 2112.07945, 4.4).

    Args:
        z: Width of the code; 0 maps the condition alone (the discriminator).
        condition: Width of the condition; 0 is none.
        w: Width of w.
        num_ws: How many w's; 0 gives one row without a layer axis and keeps no average (the discriminator).
        layers: Fully connected layers.
        condition_scale: Factor of the condition.
    """

    w_avg: torch.Tensor

    def __init__(
        self, z: int, condition: int, w: int, num_ws: int, *, layers: int = 2, condition_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.num_ws, self.layers = num_ws, layers
        self.condition_scale = condition_scale
        if condition:
            self.embed = FullyConnected(condition, w)
        widths = [z + (w if condition else 0)] + [w] * layers
        for index in range(layers):
            layer = FullyConnected(widths[index], w, activation=True, learning_rate=0.01)
            self.add_module(f"fc{index}", layer)
        if num_ws:
            self.register_buffer("w_avg", torch.zeros(w))

    def forward(
        self,
        z: torch.Tensor | None,
        condition: torch.Tensor | None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> torch.Tensor:
        """`(N, z)` and `(N, condition)` to `(N, num_ws, w)`.

        Args:
            z: Normal codes.
            condition: Of the mapping.
            truncation: Pulls w towards the average: 1 leaves it, 0 is the average itself.
            cutoff: Layers that are truncated; None is all.
        """
        parts = [] if z is None else [unit_second_moment(z)]
        if condition is not None:
            parts.append(unit_second_moment(self.embed(condition * self.condition_scale)))
        x = torch.cat(parts, dim=1)
        for index in range(self.layers):
            x = self.get_submodule(f"fc{index}")(x)
        if not self.num_ws:
            return x
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if truncation != 1:
            ws[:, :cutoff] = self.w_avg.lerp(ws[:, :cutoff], truncation)
        return ws


class Synthesis(nn.Module):
    """w's to a picture of any number of channels.

    Args:
        w: Width of w.
        resolution: Side of the output, a power of two from 8.
        channels: Of the output.
        channel_base: Channels at side r are `min(channel_base / r, channel_max)`.
        channel_max: See there.
        clamp: Bound of every convolution's output.
    """

    def __init__(
        self,
        w: int,
        resolution: int,
        channels: int,
        *,
        channel_base: int = 32768,
        channel_max: int = 512,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        widths = widths_by_side(resolution, channel_base, channel_max, whose="backbone")
        self.sides = list(widths)
        for (side, outputs), inputs in zip(widths.items(), [0, *widths.values()], strict=False):
            self.add_module(f"b{side}", SynthesisBlock(inputs, outputs, w, side, channels, clamp=clamp))
        self.num_ws = 2 * len(self.sides)

    def blocks(self) -> list[tuple[SynthesisBlock, int]]:
        """Every block with the index of its first w."""
        found, start = [], 0
        for side in self.sides:
            block = self.get_submodule(f"b{side}")
            assert isinstance(block, SynthesisBlock)
            found.append((block, start))
            start += block.convolutions
        return found

    def forward(
        self, ws: torch.Tensor, *, noise: Noise = "const", dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        """`(N, num_ws, w)` to `(N, channels, resolution, resolution)`, never in half precision."""
        x = picture = None
        for block, start in self.blocks():
            x, picture = block(x, picture, ws[:, start : start + block.convolutions + 1], noise, dtype=dtype)
        assert picture is not None  # there is a block
        return picture


class Backbone(nn.Module):
    """Mapping and synthesis under the names of the published checkpoints."""

    def __init__(self, mapping: Mapping, synthesis: Synthesis) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.mapping = mapping
