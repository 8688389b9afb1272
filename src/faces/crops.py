"""What the face networks have in common: they look at a fixed part of a crop that is aligned like FFHQ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image


class Window(NamedTuple):
    """A square part of the FFHQ frame, in units of its side.

    Attributes:
        x: Centre, from the left.
        y: Centre, from the top.
        side: Length of a side.
    """

    x: float
    y: float
    side: float


def check_crop(image: np.ndarray) -> np.ndarray:
    """Return `image` unchanged when it is a square uint8 RGB picture.

    Raises:
        ValueError: It is not `(S, S, 3)` uint8 with S of at least 16.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected a (S, S, 3) uint8 RGB crop, got {image.dtype} {image.shape}")
    if image.shape[0] != image.shape[1] or image.shape[0] < 16:
        raise ValueError(f"expected a square crop of at least 16 pixels (FFHQ-aligned), got {image.shape}")
    return image


def cut(image: np.ndarray, window: Window, size: int) -> np.ndarray:
    """Cut a window out of a crop and bring it to the size that a network takes.

    Args:
        image: `(S, S, 3)` uint8 RGB crop, aligned like FFHQ.
        window: Which part; it must lie inside the crop.
        size: Side of the result in pixels.

    Returns:
        `(size, size, 3)` uint8 RGB, resampled bicubically with the filter widened when the picture shrinks.
    """
    side = check_crop(image).shape[0]
    half = window.side / 2
    box = (window.x - half, window.y - half, window.x + half, window.y + half)
    picture = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BICUBIC, box=tuple(side * edge for edge in box)
    )
    return np.asarray(picture)


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A square picture, `(s, s, 3)` uint8 RGB, at another side, by Lanczos; itself if the side is right."""
    if picture.shape[:2] == (side, side):
        return picture
    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
