import numpy as np
import pytest
from scipy.fft import dctn, idctn

from faceforward.faces.crops import resized
from faceforward.metrics.keeping import fine, outline, psnr_outside, sharpness, tint

SIZE = 512


def grey(values):
    return np.repeat(np.rint(np.clip(values, 0, 255)).astype(np.uint8)[..., None], 3, axis=2)


def wave(cycles, amplitude=40.0):
    x = (np.arange(SIZE) + 0.5) / SIZE
    return np.broadcast_to(128 + amplitude * np.cos(2 * np.pi * cycles * x), (SIZE, SIZE))


@pytest.fixture
def face():
    points = np.array([[150, 180], [360, 180], [256, 470], [256, 120]])
    return outline(points, SIZE)


def test_an_outline_is_the_hull_and_grows_about_its_middle():
    square = np.array([[100, 200, 7], [200, 200, 7], [200, 300, 7], [100, 300, 7], [150, 250, 7]])
    mask = outline(square, 400)
    assert mask.sum() == 101 * 101
    assert mask[200:301, 100:201].all()
    grown = outline(square, 400, grown=2.0)
    assert grown[150:351, 50:251].all()
    assert grown.sum() == 201 * 201


def test_frequencies_of_a_small_picture_are_not_fine_and_others_are():
    assert np.abs(fine(grey(wave(63)))).max() < 1  # what is left is rounding
    assert np.square(fine(grey(wave(65)))).mean() == pytest.approx(40**2 / 2, rel=0.01)
    assert np.abs(fine(np.full((64, 64, 3), 7, np.uint8))).max() == 0


def test_sharpness_is_a_ratio_of_energies(face):
    half = sharpness(grey(wave(100)), grey(wave(100, 20.0)), face)
    assert half == pytest.approx(0.25, rel=0.02)


def test_a_photograph_is_as_sharp_as_itself_and_enlarged_it_is_not(astronaut, face):
    assert sharpness(astronaut, astronaut, face) == 1
    assert sharpness(astronaut, resized(resized(astronaut, 128), SIZE), face) < 0.15
    coefficients = dctn(astronaut.astype(float), axes=(0, 1), norm="ortho")
    coefficients[128:], coefficients[:, 128:] = 0, 0
    held = np.rint(np.clip(idctn(coefficients, axes=(0, 1), norm="ortho"), 0, 255)).astype(np.uint8)
    assert sharpness(astronaut, held, face) < 0.01


def test_what_happens_outside_the_face_does_not_count_as_its_sharpness(astronaut, face):
    noisy = astronaut.copy()
    generator = np.random.default_rng(0)
    noisy[:, :60] = generator.integers(0, 255, (SIZE, 60, 3))
    assert sharpness(astronaut, noisy, face) == pytest.approx(1, abs=0.05)


def test_a_photograph_without_fine_detail_gives_no_ratio(astronaut, face):
    soft = resized(resized(astronaut, 64), SIZE)
    assert np.isnan(sharpness(soft, astronaut, face))


def test_psnr_outside_sees_the_surroundings_alone(astronaut, face):
    changed = astronaut.copy()
    changed[face] = 0
    assert psnr_outside(astronaut, changed, face) == float("inf")
    values = np.clip(astronaut.astype(int), 5, 255)
    first, second = values.astype(np.uint8), (values - 5).astype(np.uint8)
    assert psnr_outside(first, second, face) == pytest.approx(20 * np.log10(255 / 5))
    assert np.isnan(psnr_outside(first, second, np.ones_like(face)))


def test_a_planted_shift_of_light_and_colour_is_found(face):
    ground = np.full((SIZE, SIZE, 3), 119, np.uint8)  # L* = 50.03
    same = tint(ground, ground, face)
    assert (same.light, same.color, same.uneven) == (0, 0, 0)
    lighter = tint(ground, np.full_like(ground, 145), face)  # L* = 60.19
    assert lighter.light == pytest.approx(10.1, abs=0.2)
    assert lighter.color == pytest.approx(0, abs=0.1)
    assert lighter.uneven == pytest.approx(0, abs=0.01)
    assert tint(ground, ground + np.array([30, 0, 0], np.uint8), face).color > 10


def test_a_shadow_is_uneven_light_and_wrinkles_are_not(face):
    ground = np.full((SIZE, SIZE, 3), 119, np.uint8)
    shadow = ground.copy()
    shadow[:, :256] -= 20
    assert tint(ground, shadow, face).uneven > 2
    lines = grey(119 + 20.0 * (np.arange(SIZE) % 8 < 4)[None] - 10 + np.zeros((SIZE, 1)))
    assert tint(ground, lines, face).uneven < 0.3


def test_pictures_of_other_sizes_are_refused(astronaut, face):
    with pytest.raises(ValueError, match="not of one size"):
        sharpness(astronaut, resized(astronaut, 256), face)
    with pytest.raises(ValueError, match="mask is empty"):
        tint(astronaut, astronaut, np.zeros_like(face))


@pytest.mark.parametrize("points", [np.zeros((2, 2)), np.full((5, 2), np.nan), np.zeros(3)])
def test_an_outline_needs_points(points):
    with pytest.raises(ValueError, match="finite points"):
        outline(points, SIZE)
