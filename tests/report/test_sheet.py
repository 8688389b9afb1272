import dataclasses

import numpy as np

from case_records import make_result
from faceforward.report.sheet import MARGIN, PHOTOGRAPH, SYNTHETIC, TILE, contact_sheet


def test_source_first_and_told_from_synthetic():
    sheet = contact_sheet(make_result(), footer=("word " * 200,))
    assert sheet.dtype == np.uint8
    assert sheet.shape[1] == MARGIN + 4 * (TILE + MARGIN)
    assert tuple(sheet[MARGIN + 1, MARGIN + 1]) == PHOTOGRAPH
    assert tuple(sheet[MARGIN + 1, MARGIN + TILE + MARGIN + 1]) == SYNTHETIC


def test_one_age_and_many_ages_fit():
    assert contact_sheet(make_result(targets=(40,))).shape[1] == MARGIN + 2 * (TILE + MARGIN)
    many = contact_sheet(make_result(targets=tuple(range(10, 90, 10))))
    assert many.shape[0] > 3 * TILE


def test_both_readings_are_on_the_sheet():
    """Their place under a tile is drawn differently with one reader and with two."""
    result = make_result(targets=(40,))
    alone = dataclasses.replace(result, judged={})
    difference = contact_sheet(result) != contact_sheet(alone)
    rows, columns = np.nonzero(difference.any(axis=2))
    assert rows.min() >= MARGIN + TILE + 40
    assert columns.min() > MARGIN + TILE + MARGIN
    assert columns.max() < MARGIN + TILE + MARGIN + TILE
