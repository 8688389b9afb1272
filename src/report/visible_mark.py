"""A strip at the edge of a picture that says what it is: messengers strip metadata, and crops of it show."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceforward.faces.crops import resized

HEIGHT, LEAST = 0.045, 14  # of the shorter side, and in pixels
INK, GROUND, WARNING = (255, 255, 255), (24, 26, 28), (178, 24, 24)


def visibly_marked(pixels: np.ndarray, age: int, *, fault: str = "") -> np.ndarray:
    """Lay a strip with words over the lower edge; size and everything above the strip stay as they are.

    Args:
        pixels: `(H, W, 3)` uint8 RGB; not changed.
        age: That the picture shows, years.
        fault: Why it is not to be used, in a few words; empty when it may be.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    rows, columns = pixels.shape[:2]
    height = strip_height(rows, columns)
    texts = [f"SYNTHETIC ESTIMATE AT AGE {age}, NOT A PHOTOGRAPH", "SYNTHETIC, NOT A PHOTOGRAPH", "SYNTHETIC"]
    if fault:
        texts = [f"DO NOT USE: {fault.upper()}. {texts[1]}", f"DO NOT USE. {texts[2]}", "DO NOT USE"]
    text, font = _fitting(texts, height, columns)
    strip = Image.new("RGB", (columns, height), WARNING if fault else GROUND)
    place = (columns / 2, height / 2)
    ImageDraw.Draw(strip).text(place, text, fill=INK, font=font, anchor="mm")
    marked = pixels.copy()
    marked[rows - height :] = np.asarray(strip)
    return marked


def strip_height(rows: int, columns: int) -> int:
    """Rows of the strip, from below, in a picture of this size."""
    return min(rows, max(LEAST, round(HEIGHT * min(rows, columns))))


def without_strip(pixels: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    """What a crop shows above the strip, over the photograph that it was made from.

    Whether the strip is there does not matter: crops with and without it come out alike.

    Args:
        pixels: `(S, S, 3)` uint8 RGB; not changed.
        photograph: `(S', S', 3)` uint8 RGB of the photograph's crop, over which the other lies.

    Returns:
        `(S, S, 3)` uint8 RGB, the photograph's own rows where the strip may be.
    """
    rows, columns = pixels.shape[:2]
    height = strip_height(rows, columns)
    cleared = pixels.copy()
    cleared[rows - height :] = resized(photograph, rows)[rows - height :]
    return cleared


def _fitting(
    texts: list[str], height: int, width: int
) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """The longest text that fits at a size that can be read; else the shortest, as small as it must be."""
    size = max(8, round(0.62 * height))
    for text in texts:
        for smaller in range(size, max(8, round(0.8 * size)) - 1, -1):
            font = ImageFont.load_default(smaller)
            if font.getlength(text) <= 0.96 * width:
                return text, font
    return texts[-1], ImageFont.load_default(max(6, min(size, round(size * width / 200))))
