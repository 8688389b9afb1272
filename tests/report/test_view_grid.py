import numpy as np

from faceforward.report.sheet import PAPER, SYNTHETIC
from faceforward.report.view_grid import FRAME, GAP, HEAD, LEFT, view_grid


def test_a_row_for_each_head_and_a_column_for_each_view():
    heads = [
        [np.full((40, 40, 3), 50 * row + 10 * column, np.uint8) for column in range(3)] for row in range(2)
    ]
    sheet = view_grid(heads, names=["seed 1", "seed 2"], views=["a", "b", "c"], tile=40)
    assert sheet.shape == (HEAD + 2 * 46 + GAP, LEFT + 3 * 46 + GAP, 3)
    for row in range(2):
        for column in range(3):
            y, x = HEAD + row * 46, LEFT + column * 46 + GAP
            assert tuple(sheet[y, x]) == SYNTHETIC
            assert tuple(sheet[y + FRAME, x + FRAME]) == (50 * row + 10 * column,) * 3
    assert (sheet[HEAD : HEAD + 40, : LEFT - GAP] != PAPER).any()  # the name


def test_a_long_footer_fits():
    heads = [[np.zeros((16, 16, 3), np.uint8)]]
    sheet = view_grid(heads, names=["seed 1"], views=["a"], footer="nobody's face " * 20, tile=16)
    assert (sheet[-HEAD:, -2:] == PAPER).all()
    assert (sheet[-HEAD:] != PAPER).any()
