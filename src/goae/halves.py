"""A generator's backbone in two halves, between which a feature can be changed."""

from __future__ import annotations

from typing import NamedTuple

import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.errors import ConfigurationError


class Half(NamedTuple):
    """What the first half makes.

    Attributes:
        feature: `(N, C, s, s)`.
        picture: `(N, 3 * plane channels, s, s)`, the sum of the planes so far.
    """

    feature: torch.Tensor
    picture: torch.Tensor


def first_half(generator: TriPlaneGenerator, ws: torch.Tensor, side: int) -> Half:
    """Codes `(N, num_ws, w)` to the feature of one side.

    Raises:
        ConfigurationError: No block of the backbone has this side, or none comes after it.
    """
    blocks = generator.backbone.synthesis
    if side not in blocks.sides[:-1]:
        raise ConfigurationError(
            f"the generator's backbone cannot be split at {side}: give one of {blocks.sides[:-1]}"
        )
    x = picture = None
    for block, start in blocks.blocks()[: blocks.sides.index(side) + 1]:
        x, picture = block(x, picture, ws[:, start : start + block.convolutions + 1])
    assert x is not None  # there is a block
    assert picture is not None
    return Half(x, picture)


def second_half(generator: TriPlaneGenerator, ws: torch.Tensor, half: Half) -> torch.Tensor:
    """What the first half made, or a changed feature of it, to planes `(N, 3, C, S, S)`."""
    blocks = generator.backbone.synthesis
    x, picture = half
    for block, start in blocks.blocks()[blocks.sides.index(x.shape[-1]) + 1 :]:
        x, picture = block(x, picture, ws[:, start : start + block.convolutions + 1])
    return picture.reshape(len(ws), 3, generator.config.plane_channels, *picture.shape[2:])
