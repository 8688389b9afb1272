"""Generated heads on one picture: a row for each head, a column for each view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceforward.faces.crops import resized
from faceforward.report.sheet import FAINT, INK, PAPER, SYNTHETIC

if TYPE_CHECKING:
    from collections.abc import Sequence

TILE = 160  # pixels
GAP = 6
HEAD = 30
LEFT = 84
FRAME = 3


def view_grid(
    heads: Sequence[Sequence[np.ndarray]],
    *,
    names: Sequence[str],
    views: Sequence[str],
    footer: str = "",
    tile: int = TILE,
) -> np.ndarray:
    """Draw views of heads in the orange frames of synthetic pictures.

    Args:
        heads: For each head one `(S, S, 3)` uint8 RGB picture for each view.
        names: Of the heads, in front of the rows.
        views: Names over the columns.
        footer: A line under the pictures.
        tile: Side of a picture on the grid, pixels.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    step, font = tile + GAP, ImageFont.load_default(15)
    width = max(LEFT + len(views) * step + GAP, int(font.getlength(footer)) + 2 * GAP)
    height = HEAD + len(heads) * step + GAP + (HEAD if footer else 0)
    grid = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(grid)
    for column, text in enumerate(views):
        draw.text((LEFT + column * step + GAP, HEAD / 2), text, fill=INK, font=font, anchor="lm")
    for row, (name, pictures) in enumerate(zip(names, heads, strict=True)):
        y = HEAD + row * step
        draw.text((LEFT - GAP, y + tile / 2), name, fill=INK, font=font, anchor="rm")
        for column, (_, pixels) in enumerate(zip(views, pictures, strict=True)):
            x = LEFT + column * step + GAP
            grid.paste(Image.fromarray(resized(pixels, tile)), (x, y))
            draw.rectangle((x, y, x + tile - 1, y + tile - 1), outline=SYNTHETIC, width=FRAME)
    if footer:
        draw.text((GAP, height - HEAD / 2), footer, fill=FAINT, font=font, anchor="lm")
    return np.asarray(grid)
