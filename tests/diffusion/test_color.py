"""Colours are given back; lightness stays the model's."""

import cv2
import numpy as np

from faceforward.diffusion.color import LUMA, restore_colors


def test_what_the_autoencoder_kept_is_left_alone(astronaut):
    edited = astronaut[None, ::-1]
    assert (restore_colors(edited, astronaut, astronaut) == edited).all()


def test_lost_colours_come_back_and_lightness_stays(astronaut):
    grey = np.repeat((astronaut @ LUMA).round()[..., None], 3, axis=2).astype(np.uint8)
    dark = (grey * 0.6 + 20).astype(np.uint8)  # an edit of its own lightness
    restored = restore_colors(np.stack([grey, dark]), astronaut, grey)
    blurred = [cv2.GaussianBlur(x.astype(np.float32), (0, 0), 12) for x in (astronaut, restored[0])]
    away = np.abs(blurred[0] - blurred[1]).mean()
    assert away < 3 < np.abs(blurred[0] - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 12)).mean()
    unclipped = ((restored[1] > 0) & (restored[1] < 255)).all(-1)
    change = (restored[1].astype(float) - dark) @ LUMA
    assert unclipped.mean() > 0.7
    assert np.abs(change[unclipped]).max() <= 1


def test_lines_of_the_photograph_do_not_come_through(astronaut):
    flat = np.full_like(astronaut, 128)
    restored = restore_colors(flat[None], astronaut, flat)[0].astype(np.float32)
    edges = [np.abs(cv2.Laplacian(x, cv2.CV_32F)).mean() for x in (restored, astronaut.astype(np.float32))]
    assert edges[0] < 0.06 * edges[1]
