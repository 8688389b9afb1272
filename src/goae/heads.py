"""GOAE as a `HeadEncoder`, for what turns photographs."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from faceforward.eg3d.checkpoint import load_generator
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.heads import Head
from faceforward.eg3d.resampling import resized
from faceforward.goae.checkpoint import load_goae
from faceforward.pretrained import generator_file


class GoaeHeads:
    """Photographs to heads, by a converted or trained GOAE over its generator.

    Args:
        generator: That it was trained for, or its file or registered name; it is frozen.
        folder: See `load_goae`.

    Raises:
        ConfigurationError: There is no such encoder, or it is for another generator.
    """

    name = "goae"

    def __init__(self, generator: TriPlaneGenerator | str, folder: Path | str) -> None:
        if isinstance(generator, str):
            generator = load_generator(generator_file(generator))
        self.network = load_goae(Path(folder), generator).requires_grad_(False)

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

    def settings(self) -> dict[str, Any]:
        """Name, and digest of all weights."""
        return {"name": self.name, "weights": self._digest}

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for name, value in self.network.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
        return digest.hexdigest()
