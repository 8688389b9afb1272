"""Edits of several photographs on one picture: a row for each photograph, a column for each age."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceforward.faces.crops import resized
from faceforward.report.sheet import FAINT, INK, PAPER, PHOTOGRAPH, SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = 6  # pixels
HEAD = 30
LEFT = 64
FRAME = 3


def edit_grid(
    sources: Sequence[np.ndarray],
    edited: Sequence[Sequence[np.ndarray]],
    *,
    source_ages: Sequence[float],
    target_ages: Sequence[int],
    footer: str = "",
    tile: int = 160,
) -> np.ndarray:
    """Draw photographs (dark frames, first column) and their edits (orange frames).

    Args:
        sources: One `(S, S, 3)` uint8 RGB picture for each photograph.
        edited: For each photograph one such picture for each target age.
        source_ages: Of the photographs, years.
        target_ages: Of the edits, years.
        footer: A line under the pictures.
        tile: Side of a picture on the grid, pixels.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    step = tile + GAP
    width = LEFT + (1 + len(target_ages)) * step + GAP
    height = HEAD + len(sources) * step + GAP + (HEAD if footer else 0)
    grid = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(15)
    for column, text in enumerate(("photograph", *(f"at {age}" for age in target_ages))):
        draw.text((LEFT + column * step + GAP, HEAD / 2), text, fill=INK, font=font, anchor="lm")
    for row, (source, images, age) in enumerate(zip(sources, edited, source_ages, strict=True)):
        y = HEAD + row * step
        draw.text((LEFT - GAP, y + tile / 2), f"age {age:.0f}", fill=INK, font=font, anchor="rm")
        for column, pixels in enumerate((source, *images)):
            x = LEFT + column * step + GAP
            grid.paste(Image.fromarray(resized(pixels, tile)), (x, y))
            colour = SYNTHETIC if column else PHOTOGRAPH
            draw.rectangle((x, y, x + tile - 1, y + tile - 1), outline=colour, width=FRAME)
    if footer:
        draw.text((LEFT + GAP, height - HEAD / 2), footer, fill=FAINT, font=font, anchor="lm")
    return np.asarray(grid)
