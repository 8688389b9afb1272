"""Pose and expression between two meshes."""

import numpy as np
import pytest

from faceforward.faces.mesh import LIPS, POINTS
from faceforward.faces.pose import turns
from faceforward.metrics.mesh_change import expression, turn

FACE = np.random.default_rng(0).normal(size=(POINTS, 3)) * (60, 80, 30) + 200


def test_a_turned_head_shows_its_degrees_and_no_expression():
    rotation = turns(np.array([0.0, np.radians(15), 0.0]))
    turned = 1.7 * FACE @ rotation.T + (30, -4, 9)
    assert turn(FACE, turned) == pytest.approx(15, abs=1e-6)
    assert expression(FACE, turned) == pytest.approx(0, abs=1e-9)
    assert turn(FACE, FACE) == pytest.approx(0, abs=1e-5)


def test_growth_is_no_expression_and_an_opened_mouth_is():
    grown = FACE.copy()
    grown[list(LIPS)] = grown[list(LIPS)] * 1.2 + (0, 15, 0)  # lower and larger, as an adult's
    assert expression(FACE, grown) == pytest.approx(0, abs=1e-9)
    opened = FACE.copy()
    opened[list(LIPS), 1] *= 1.5
    assert expression(FACE, opened) > 0.01


def test_what_is_no_mesh_is_refused():
    for wrong in (FACE[:5], FACE * np.nan):
        with pytest.raises(ValueError, match="finite mesh"):
            turn(FACE, wrong)
        with pytest.raises(ValueError, match="finite mesh"):
            expression(wrong, FACE)
