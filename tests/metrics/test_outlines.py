import cv2
import numpy as np
import pytest

from faceforward.faces.crops import resized
from faceforward.metrics.outlines import double_outlines, motion

SIZE = 512


def displacement(amount):
    """The lower half goes down by up to `amount` pixels, smoothly: `(SIZE, SIZE, 2)`."""
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    moves = np.zeros((SIZE, SIZE, 2), np.float32)
    moves[..., 1] = amount * np.exp(-(((x - 256) / 150) ** 2)) / (1 + np.exp(-(y - 260) / 25))
    return moves


def moved(image, moves):
    """The picture after its pixels have gone along, by the inverse found on a grid twice as fine."""
    x, y = np.meshgrid(np.arange(SIZE, dtype=np.float32), np.arange(SIZE, dtype=np.float32))
    came_from = np.empty_like(y)
    for column in range(SIZE):  # the move is vertical alone, and monotonous
        came_from[:, column] = np.interp(np.arange(SIZE), y[:, column] + moves[:, column, 1], y[:, column])
    return cv2.remap(image, x, came_from, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


@pytest.fixture(scope="module")
def planted(astronaut):
    """Photograph, its moved self, the edit's flow as a model of 128 pixels shows it, the plain sum."""
    grown = moved(astronaut, displacement(14.0))
    reference, edit = resized(astronaut, 128), resized(grown, 128)
    change = cv2.resize(edit.astype(np.float32) - reference, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    plain = np.rint(np.clip(astronaut + change, 0, 255)).astype(np.uint8)
    face = np.zeros((SIZE, SIZE), bool)
    face[40:480, 120:400] = True
    return astronaut, grown, motion(reference, edit), plain, face


def test_the_motion_of_a_planted_move_is_found(planted):
    _, _, flow, _, face = planted
    true = cv2.resize(displacement(14.0), (128, 128), interpolation=cv2.INTER_AREA) / 4
    inside = face[::4, ::4] & np.isfinite(flow).all(axis=-1)
    assert inside.sum() > 0.9 * face[::4, ::4].sum()
    strong = np.linalg.norm(true, axis=-1) > 1.5
    assert np.median(np.linalg.norm(flow - true, axis=-1)[inside & strong]) < 0.5


def test_nothing_moves_in_equal_pictures(astronaut):
    small = resized(astronaut, 128)
    flow = motion(small, small)
    assert np.isfinite(flow).mean() > 0.98
    assert np.nanquantile(np.abs(flow), 0.99) < 0.1
    found = double_outlines(astronaut, astronaut, flow, np.ones((SIZE, SIZE), bool))
    assert found.moved == 0
    assert found.unexplained < 0.02
    assert np.isnan([found.stayed, found.went]).all()


def test_the_plain_sum_has_double_outlines_and_a_warp_has_not(planted):
    photo, grown, flow, plain, face = planted
    ghost = double_outlines(photo, plain, flow, face)
    clean = double_outlines(photo, grown, flow, face)
    assert ghost.moved == clean.moved > 0.1
    assert ghost.stayed > 0.7
    assert abs(ghost.went) < 0.2
    assert abs(clean.stayed) < 0.15
    assert clean.went > 0.6


def test_the_photograph_itself_stays_and_an_enlarged_picture_has_no_outlines_to_double(planted):
    photo, grown, flow, _, face = planted
    still = double_outlines(photo, photo, flow, face)
    assert still.stayed == pytest.approx(1, abs=1e-6)
    assert still.went == pytest.approx(0, abs=1e-6)
    soft = double_outlines(photo, resized(resized(grown, 128), SIZE), flow, face)
    assert abs(soft.stayed) < 0.1


def test_a_weaker_ghost_is_found_as_weak(planted):
    photo, grown, flow, plain, face = planted
    full = double_outlines(photo, plain, flow, face).stayed
    half = np.rint(0.5 * grown.astype(float) + 0.5 * plain).astype(np.uint8)
    assert double_outlines(photo, half, flow, face).stayed == pytest.approx(full / 2, abs=0.1)


def test_texture_of_its_own_is_no_ghost(planted):
    photo, grown, flow, _, face = planted
    noise = np.random.default_rng(0).normal(0, 12, photo.shape[:2])[..., None]
    grainy = np.rint(np.clip(grown + noise, 0, 255)).astype(np.uint8)
    assert abs(double_outlines(photo, grainy, flow, face).stayed) < 0.2


def test_where_no_motion_explains_the_edit_outlines_linger_or_do_not(planted):
    photo, grown, flow, plain, face = planted
    unknown = np.full_like(flow, np.nan)
    found = double_outlines(photo, plain, unknown, face)
    assert (found.moved, found.unexplained) == (0, 1)
    assert found.lingering > 0.8
    soft = resized(resized(grown, 128), SIZE)
    assert abs(double_outlines(photo, soft, unknown, face).lingering) < 0.1


def test_a_photograph_without_fine_detail_shows_no_ghost_of_it(planted):
    photo, grown, flow, _, face = planted
    soft = resized(resized(photo, 64), SIZE)
    assert np.isnan(double_outlines(soft, grown, flow, face).stayed)


def test_pictures_of_other_sizes_are_refused(planted):
    photo, _, flow, _, face = planted
    with pytest.raises(ValueError, match="not of one size"):
        double_outlines(photo, resized(photo, 256), flow, face)
