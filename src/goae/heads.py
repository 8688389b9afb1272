"""GOAE as a `HeadEncoder`, for what turns photographs."""

from __future__ import annotations

from pathlib import Path

import torch

from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.heads import Head
from faceforward.eg3d.resampling import resized
from faceforward.goae.checkpoint import load_goae


class GoaeHeads:
    """Photographs to heads, by a converted or trained GOAE over its generator.

    Args:
        generator: That it was trained for; it is frozen.
        folder: See `load_goae`.

    Raises:
        ConfigurationError: There is no such encoder, or it is for another generator.
    """

    def __init__(self, generator: TriPlaneGenerator, folder: Path) -> None:
        self.network = load_goae(folder, generator).requires_grad_(False)

    @property
    def generator(self) -> TriPlaneGenerator:
        """Whose heads they are."""
        return self.network.generator

    def encode(self, images: torch.Tensor, cameras: torch.Tensor) -> list[Head]:
        """See `HeadEncoder.encode`."""
        found = self.network.invert(resized(images, self.generator.config.resolution), cameras)
        return [
            Head(self.generator, found.ws[n : n + 1], found.planes[n : n + 1]) for n in range(len(found.ws))
        ]
