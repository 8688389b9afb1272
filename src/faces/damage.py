"""Photographs that are damaged or cut off: read as far as they go."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
#: Formats of which a decoder gives the rows that it has; of the others it gives nothing.
BY_ROWS = ("JPEG", "MPO", "PNG", "BMP", "DIB", "TIFF", "PPM")
BLOCK = 16  # rows that a JPEG stores together, at most
LEAST = 0.05  # of the rows: with less there is no face to find

_lenient = threading.Lock()  # Pillow's switch is one for all threads


@contextmanager
def lenient() -> Iterator[None]:
    """Have Pillow pass over wrong checksums of what is not the picture, and give the rows that it has."""
    with _lenient:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def is_png(source: Path | io.BytesIO) -> bool:
    """Whether the content begins as a PNG does.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(source, io.BytesIO):
        return source.getbuffer()[:8].tobytes() == PNG_START
    with source.open("rb") as stream:
        return stream.read(8) == PNG_START


def mended(source: Path | io.BytesIO) -> io.BytesIO:
    """The file's content; a JPEG gets the end that it lacks, for its decoder then gives all that it has.

    Raises:
        OSError: It cannot be read.
    """
    data = source.getvalue() if isinstance(source, io.BytesIO) else source.read_bytes()
    return io.BytesIO(data + JPEG_END if data.startswith(JPEG_START) else data)


def readable_rows(image: Image.Image) -> tuple[int, int]:
    """The rows from and to which a picture holds anything: what decoders do not reach has one colour.

    A margin of one colour counts as unread, too; no face is in it.

    Args:
        image: As it was decoded.

    Returns:
        First row, and the one after the last; equal where there is nothing.
    """
    pixels = np.asarray(image.convert("RGB"))
    last = _first_other(pixels[::-1])
    if last and image.format in ("JPEG", "MPO"):
        last += BLOCK  # the blocks at which it broke off
    first = _first_other(pixels) if image.format in ("BMP", "DIB") else 0  # stored from the lowest row up
    return min(first, max(len(pixels) - last, 0)), max(len(pixels) - last, 0)


def _first_other(pixels: np.ndarray) -> int:
    """How many rows from the first on have the colour of the first pixel, but for JPEG's rounding."""
    for number, row in enumerate(pixels):
        if np.abs(row.astype(np.int16) - pixels[0, 0]).max() > 2:
            return number
    return len(pixels)
