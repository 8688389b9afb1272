"""The grid holds every picture in its place, and tells photographs from edits."""

import numpy as np

from faceforward.report.grid import GAP, HEAD, LEFT, edit_grid
from faceforward.report.sheet import PHOTOGRAPH, SYNTHETIC


def test_every_picture_is_in_its_place():
    colours = np.arange(6, dtype=np.uint8) * 40
    pictures = [np.full((8, 8, 3), colour, np.uint8) for colour in colours]
    grid = edit_grid(
        [pictures[0], pictures[3]],
        [pictures[1:3], pictures[4:]],
        source_ages=[4.4, 70],
        target_ages=[20, 60],
        footer="step 1",
        tile=32,
    )
    assert grid.dtype == np.uint8
    assert grid.shape == (2 * HEAD + 2 * (32 + GAP) + GAP, LEFT + 3 * (32 + GAP) + GAP, 3)
    for index, colour in enumerate(colours):
        row, column = divmod(index, 3)
        y, x = HEAD + row * (32 + GAP), LEFT + column * (32 + GAP) + GAP
        assert (grid[y + 16, x + 16] == colour).all()
        assert tuple(grid[y, x + 16]) == (SYNTHETIC if column else PHOTOGRAPH)
    assert (grid[:HEAD] < 128).any()
    assert (grid[-HEAD:] < 128).any()
