"""A generator and the encoder that it was trained behind, as the two files of one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from faceforward.eg3d.cameras import LABEL
from faceforward.eg3d.checkpoint import load_generator, save_generator
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.heads import Head
from faceforward.eg3d.image_encoder import ImageEncoder, load_encoder, save_encoder
from faceforward.errors import ConfigurationError
from faceforward.pretrained import resolve, sha256_of

GENERATOR, ENCODER = "generator.safetensors", "encoder.safetensors"


def save_pair(generator: TriPlaneGenerator, encoder: ImageEncoder, folder: Path) -> None:
    """Write both.

    Raises:
        OSError: One cannot be written.
    """
    save_generator(generator, folder / GENERATOR)
    save_encoder(encoder, folder / ENCODER)


def load_pair(source: str) -> tuple[TriPlaneGenerator, ImageEncoder]:
    """Generator and encoder of an exported folder.

    Args:
        source: The folder, or the registered name `face-eg3d-128`.

    Raises:
        ConfigurationError: One is missing or is another file.
    """
    folder = Path(resolve(source))
    return load_generator(folder / GENERATOR), load_encoder(folder / ENCODER)


def encode(
    generator: TriPlaneGenerator, encoder: ImageEncoder, images: torch.Tensor, cameras: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads of pictures, one w for all layers.

    Args:
        generator: Makes the planes.
        encoder: Of the same w.
        images: `(N, 3, S, S)` in [-1, 1].
        cameras: `(N, 25)`.

    Returns:
        ws `(N, num_ws, w)` and planes `(N, 3, C, H, W)`.
    """
    ws = encoder(images, cameras)[:, None].expand(-1, generator.num_ws, -1)
    return ws, generator.planes(ws)


class PairEncoder:
    """The small pair as a `HeadEncoder`.

    Args:
        source: See `load_pair`.

    Raises:
        ConfigurationError: There is no such pair.
    """

    def __init__(self, source: str = "face-eg3d-128") -> None:
        folder = Path(resolve(source))
        self.generator, self.encoder = load_pair(source)
        self.name = folder.name
        self.digests = [sha256_of(folder / file) for file in (GENERATOR, ENCODER)]
        self.generator.requires_grad_(False)
        self.encoder.requires_grad_(False)

    def encode(self, images: torch.Tensor, cameras: torch.Tensor) -> list[Head]:
        """See `HeadEncoder.encode`.

        Raises:
            ConfigurationError: There are more cameras than pictures, or fewer, or they are no labels.
        """
        if cameras.shape != (len(images), LABEL):
            raise ConfigurationError(
                f"cameras of {tuple(cameras.shape)} for {len(images)} pictures: give ({len(images)}, {LABEL})"
            )
        ws, planes = encode(self.generator, self.encoder, images, cameras)
        return [Head(self.generator, ws[n : n + 1], planes[n : n + 1]) for n in range(len(images))]

    def settings(self) -> dict[str, Any]:
        """Name and digests of both files."""
        return {"name": self.name, "weights": self.digests}
