"""The crop is FFHQ's, its transform is exact, and a crop can go back where it came from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceforward.faces.align import (
    BLUR,
    FADE,
    Alignment,
    _outside,
    _warped,
    align,
    alignment_of,
    cut_out,
    padded_share,
    paste_back,
)

#: The astronaut's.
UPRIGHT = np.array([[204.0, 101.0], [247.0, 103.0], [226.0, 129.0], [201.0, 140.0], [246.0, 141.0]])


def rotated(points, degrees, centre=(0.0, 0.0)):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points - centre) @ turn.T + centre


def test_the_quad_is_the_published_one():
    """The recipe of FFHQ written out for one face: corners of the crop in the photograph."""
    left, right, _, *mouth = UPRIGHT
    eyes = (left + right) / 2
    to_mouth = np.mean(mouth, axis=0) - eyes
    x = (right - left) - np.flipud(to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*(right - left)) * 2.0, np.hypot(*to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    centre = eyes + to_mouth * 0.1
    quad = np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])
    for size in (128, 512):
        corners = np.array([[0, 0], [0, size], [size, size], [size, 0]]) - 0.5
        assert np.allclose(alignment_of(UPRIGHT, size).points_to_photo(corners), quad)


def test_points_survive_the_round_trip():
    points = np.random.default_rng(0).uniform(-100, 600, (50, 2))
    for degrees in (0, 33, 90, 180, -120):
        alignment = alignment_of(rotated(UPRIGHT, degrees), 512)
        assert np.allclose(alignment.points_to_photo(alignment.points_to_crop(points)), points)
        turned = alignment.roll - alignment_of(UPRIGHT).roll - degrees
        assert (turned + 180) % 360 - 180 == pytest.approx(0)


def test_the_same_face_gives_the_same_crop_however_it_lies(astronaut):
    straight, _ = align(astronaut, UPRIGHT, 256)
    for quarters in (1, 2, 3):
        turned = np.rot90(astronaut, quarters)
        points = UPRIGHT.copy()
        for _ in range(quarters):
            points = np.stack([points[:, 1], 511 - points[:, 0]], axis=1)
        crop, _ = align(turned, points, 256)
        assert np.abs(crop.astype(int) - straight).mean() < 0.5


def test_another_size_shows_the_same(astronaut):
    crop, alignment = align(astronaut, UPRIGHT, 512)
    small, expected = align(astronaut, UPRIGHT, 128)
    assert np.allclose(alignment.scaled(128).matrix, expected.matrix)
    assert np.allclose(alignment.scaled(128).scaled(512).matrix, alignment.matrix)
    assert np.abs(cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 2.5


def test_shrinking_does_not_alias():
    """A fine checkerboard becomes even grey, at any ratio and angle."""
    board = np.uint8(255 * (np.indices((1500, 1500)).sum(axis=0) % 2))
    photo = np.repeat(board[..., None], 3, axis=2)
    face = (UPRIGHT - UPRIGHT.mean(axis=0)) * 6.3
    for degrees in (0, 20):
        for size in (64, 200):
            crop, alignment = align(photo, rotated(face, degrees) + 750, size)
            assert alignment.scale > 2
            assert np.abs(crop[8:-8, 8:-8].astype(float) - 127.5).max() < 12


@pytest.mark.parametrize("corner", [(0, 0), (300, 0), (0, 330), (300, 330)])
def test_a_face_in_the_corner_gets_no_black_corners(astronaut, corner):
    """The padding is made of the photograph's own colours, ever smoother outwards."""
    light = np.maximum(astronaut, 60)
    points = UPRIGHT - UPRIGHT.mean(axis=0) + np.add(corner, 100)
    x, y = corner
    photo = np.ascontiguousarray(light[y : y + 200, x : x + 200])
    crop, alignment = align(photo, points - corner + [(-85, 85)[x > 0], (-85, 85)[y > 0]], 256)
    assert padded_share(alignment, photo.shape) > 0.3
    assert crop.min() >= 30  # 60, less the overshoot of cubic interpolation; black would be 0
    detail = np.abs(np.diff(crop.astype(int), axis=1)).mean(axis=2)
    far, near = (slice(0, 40), slice(216, 256)), (slice(216, 256), slice(0, 40))
    outer = detail[far[y > 0], far[x > 0]].mean()
    inner = detail[near[y > 0], near[x > 0]].mean()
    assert outer < 0.5 * max(inner, 0.2), (outer, inner)


def test_pixels_of_the_photograph_are_never_blurred(astronaut):
    """Inside the photograph the crop is the same whether or not the rest had to be filled up."""
    whole, alignment = align(astronaut, UPRIGHT, 256)
    cut = np.ascontiguousarray(astronaut[:, 190:])
    filled, shifted = align(cut, UPRIGHT - [190, 0], 256)
    origin = np.zeros((1, 2))
    assert np.allclose(alignment.points_to_photo(origin) - shifted.points_to_photo(origin), (190, 0))
    x = alignment.points_to_photo(np.stack([np.arange(256), np.full(256, 128)], axis=1))[:, 0]
    inside = x > 200
    assert np.abs(whole[:, inside].astype(int) - filled[:, inside]).max() <= 1


def test_only_what_lies_outside_is_filled_and_as_if_all_were_blurred(astronaut):
    """Strips of rows, each half of its own, give the bits that blurring the whole crop gives."""
    for size in (17, 100, 256):
        for degrees, shift in ((0, 0), (20, 150), (80, -100)):
            alignment = alignment_of(rotated(UPRIGHT, degrees, UPRIGHT.mean(axis=0)) + shift, size)
            outside = _outside(alignment, astronaut.shape) / (alignment.scale * size)
            crop = _warped(astronaut, alignment.matrix, (size, size)).astype(np.float32)
            blurred = cv2.GaussianBlur(crop, (0, 0), max(BLUR * size, 0.5), borderType=cv2.BORDER_REFLECT_101)
            crop += (blurred - crop) * np.clip(outside * 3 / FADE, 0, 1)[..., None]
            crop += (np.median(crop, axis=(0, 1)) - crop) * np.clip(outside / FADE, 0, 1)[..., None]
            expected = np.rint(np.clip(crop, 0, 255)).astype(np.uint8)
            assert (cut_out(astronaut, alignment) == expected).all()


def test_a_crop_many_times_as_large_as_its_photograph_comes_to_an_end(astronaut):
    """Landmarks of a wrong label; the photograph shrinks to hardly a pixel."""
    crop, _ = align(astronaut[:40, :40], (UPRIGHT - UPRIGHT.mean(axis=0)) * 1e4 + 20, 64)
    assert crop.shape == (64, 64, 3)


def test_pasting_back_the_crop_changes_nothing_to_speak_of(astronaut):
    for size in (128, 512, 1024):
        crop, alignment = align(astronaut, UPRIGHT, size)
        result = paste_back(astronaut, crop, alignment)
        outside = np.ones((512, 512), bool)
        corners = alignment.points_to_photo(np.array([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5)
        x0, y0 = np.floor(corners.min(axis=0)).astype(int)
        x1, y1 = np.ceil(corners.max(axis=0)).astype(int)
        outside[max(y0, 0) : y1 + 1, max(x0, 0) : x1 + 1] = False
        assert (result[outside] == astronaut[outside]).all()
        error = np.square(result[~outside].astype(float) - astronaut[~outside]).mean()
        assert 10 * np.log10(255**2 / error) > (28 if size == 128 else 33)


def test_the_pasted_edge_is_soft(astronaut):
    crop, alignment = align(astronaut, UPRIGHT, 256)
    grey = np.full((300, 300, 3), 100, np.uint8)
    result = paste_back(grey, np.full_like(crop, 200), alignment)
    assert result.max() == 200
    assert (result[:3] == 100).all() or alignment.points_to_photo(np.zeros((1, 2)))[0, 1] < 3
    for axis in (0, 1):
        assert np.abs(np.diff(result.astype(int), axis=axis)).max() <= 20  # a hard edge would be 100


def test_a_crop_of_another_size_lands_in_the_same_place(astronaut):
    crop, alignment = align(astronaut, UPRIGHT, 256)
    small = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA)
    both = [paste_back(astronaut, picture, alignment).astype(int) for picture in (crop, small)]
    assert np.abs(both[0] - both[1]).mean() < 1


def test_a_crop_outside_the_photograph_changes_nothing(astronaut):
    away = Alignment(np.array([[1.0, 0, 5000], [0, 1, 5000], [0, 0, 1]]), 64)
    assert (paste_back(astronaut, np.zeros((64, 64, 3), np.uint8), away) == astronaut).all()


def test_only_square_crops_go_back(astronaut):
    with pytest.raises(ValueError, match="square"):
        paste_back(astronaut, np.zeros((64, 32, 3), np.uint8), alignment_of(UPRIGHT))


def test_where_a_crop_did_not_change_the_photograph_keeps_its_pixels(astronaut):
    crop, alignment = align(astronaut, UPRIGHT, 256)
    assert (paste_back(astronaut, crop, alignment, source=crop) == astronaut).all()
    changed = crop.copy()
    changed[100:110, 100:110] = 0
    result = paste_back(astronaut, changed, alignment, source=crop)
    differs = np.argwhere((result != astronaut).any(axis=2))[:, ::-1]
    inside = alignment.points_to_crop(differs)
    assert len(differs)
    assert inside.min() > 90
    assert inside.max() < 120
    with pytest.raises(ValueError, match="one size"):
        paste_back(astronaut, changed, alignment, source=crop[:128, :128])
