"""Smooth fields: they hit what is asked for, die away, and never fold."""

import numpy as np
import pytest

from faceforward.faces.fields import LEAST_STRETCH, enlarged, sampled, smooth_field, stretch, warp


@pytest.fixture(scope="module")
def places():
    generator = np.random.default_rng(0)
    angle, radius = generator.uniform(0, 2 * np.pi, 468), np.sqrt(generator.uniform(0, 1, 468))
    return np.stack([0.5 + 0.25 * radius * np.cos(angle), 0.6 + 0.28 * radius * np.sin(angle)], axis=1)


def test_smooth_shifts_are_met_and_the_border_stays(places):
    shifts = (places - [0.5, 0.6]) * 0.08
    field = smooth_field(places, shifts, np.ones(len(places)))
    assert np.abs(sampled(field, places) - shifts).max() < 0.1 * np.abs(shifts).max()
    edges = np.concatenate([field[0], field[-1], field[:, 0], field[:, -1]])
    assert not edges.any()


def test_nothing_known_moves_nothing(places):
    assert not smooth_field(places, np.zeros_like(places), np.ones(len(places))).any()
    outside = smooth_field(places + 2, np.ones_like(places), np.ones(len(places)))
    assert not outside.any()


def test_a_place_without_weight_counts_for_nothing(places):
    shifts = np.full_like(places, 0.02)
    weights = np.ones(len(places))
    shifts[0], weights[0] = 5.0, 0.0
    plain = smooth_field(places[1:], shifts[1:], weights[1:])
    assert smooth_field(places, shifts, weights) == pytest.approx(plain, abs=1e-9)


def test_shifts_that_contradict_one_another_do_not_fold(places):
    wild = np.random.default_rng(1).normal(size=places.shape) * 0.2
    field = smooth_field(places, wild, np.ones(len(places)))
    assert stretch(field).min() > LEAST_STRETCH
    assert np.abs(field).max() > 0


def test_stretch_is_the_determinant():
    nodes = np.linspace(0, 1, 9)
    x, y = np.meshgrid(nodes, nodes)
    linear = np.stack([0.1 * x + 0.2 * y, -0.3 * x + 0.05 * y], axis=-1)
    assert stretch(linear) == pytest.approx(1.1 * 1.05 + 0.2 * 0.3)
    assert stretch(np.stack([-1.5 * x, 0 * y], axis=-1)) == pytest.approx(-0.5)


def test_pixels_have_the_shift_of_their_place():
    nodes = np.linspace(0, 1, 49)
    x, y = np.meshgrid(nodes, nodes)
    field = enlarged(np.stack([0.1 * x, 0.2 * y], axis=-1), 100)
    assert field.shape == (100, 100, 2)
    inner = (np.arange(100) + 0.5)[10:90]
    assert field[10:90, 50, 1] == pytest.approx(0.2 * inner, abs=0.05)
    assert field[50, 10:90, 0] == pytest.approx(0.1 * inner, abs=0.05)


def test_no_shift_returns_the_picture(astronaut):
    assert np.array_equal(warp(astronaut, np.zeros((64, 64, 2), np.float32)), astronaut)


def test_the_result_shows_the_shifted_place_at_every_size(astronaut):
    field = np.zeros((128, 128, 2), np.float32)
    field[..., 0] = 2  # pixels of 128, so 8 of 512
    moved = warp(astronaut, field)
    assert np.array_equal(moved[:, :500], astronaut[:, 8:508])


def test_what_does_not_belong_together_is_refused(places, astronaut):
    with pytest.raises(ValueError, match="places"):
        smooth_field(places, places[:-1], np.ones(len(places)))
    with pytest.raises(ValueError, match="finite"):
        smooth_field(places, places * np.nan, np.ones(len(places)))
    with pytest.raises(ValueError, match="square"):
        warp(astronaut[:100], np.zeros((64, 64, 2), np.float32))
