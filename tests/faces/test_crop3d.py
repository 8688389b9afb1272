"""The 3D crop is scaled and moved so that the standard face lies where the official one does."""

import numpy as np
import pytest

from faceforward.faces.align import cut_out
from faceforward.faces.crop3d import FIVE_POINTS, UNIT, crop3d, crop3d_of


def seen(turn=None, scale=100.0, shift=(250.0, 180.0)):
    """The standard five points under a scaled orthographic camera, y down."""
    points = FIVE_POINTS if turn is None else FIVE_POINTS @ turn.T
    return points[:, :2] * [scale, -scale] + shift


def rotation(axis, degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [other for other in range(3) if other != axis]
    matrix = np.eye(3)
    matrix[[first, second], [first, second]] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [0, 25, -50])
def test_scale_and_origin_are_those_of_the_head_however_it_is_turned(axis, degrees):
    alignment = crop3d_of(seen(rotation(axis, degrees)), 512)
    assert alignment.scale == pytest.approx(100 / (UNIT * 512))
    assert np.allclose(alignment.points_to_photo(np.full((1, 2), 255.5)), [250, 180])
    assert np.allclose(alignment.matrix[:2, :2], np.eye(2) * alignment.scale)


def test_the_crop_follows_the_face():
    landmarks = seen() + np.random.default_rng(0).normal(0, 3, (5, 2))
    first, second = crop3d_of(landmarks, 256), crop3d_of(landmarks * 1.7 + [30, -12], 256)
    assert np.allclose(first.points_to_crop(landmarks), second.points_to_crop(landmarks * 1.7 + [30, -12]))
    assert np.allclose(first.scaled(64).matrix, crop3d_of(landmarks, 64).matrix)


def test_pixels_are_those_of_the_transform(astronaut):
    landmarks = seen(scale=70.0, shift=(225.0, 120.0))
    crop, alignment = crop3d(astronaut, landmarks, 128)
    assert crop.shape == (128, 128, 3)
    assert crop.dtype == np.uint8
    assert (crop == cut_out(astronaut, alignment)).all()
    x, y = np.rint(alignment.points_to_photo(np.array([[64.0, 64.0]]))[0]).astype(int)
    assert np.abs(crop[64, 64].astype(int) - astronaut[y, x]).max() < 40


def test_one_point_is_no_face():
    with pytest.raises(ValueError, match="five different landmarks"):
        crop3d_of(np.full((5, 2), 7.0))
