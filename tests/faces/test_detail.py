import cv2
import numpy as np
import pytest

from faceforward.errors import ConfigurationError
from faceforward.faces.align import align
from faceforward.faces.crops import resized
from faceforward.faces.detail import (
    CHANGE,
    GROWN_UP,
    Amount,
    DetailTransfer,
    _bounded,
    face_parts,
    own_colours,
)
from faceforward.faces.face import choose_face
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.records import Photo

SIDE = 128


@pytest.fixture(scope="module")
def portrait(astronaut):
    """A crop of 512 pixels with its parts."""
    found = choose_face(Photo("a", "a.png", astronaut), MTCNNDetector())[0]
    crop, alignment = align(astronaut, found.landmarks, 512)
    mesh = FaceMesh().fit(crop, alignment.points_to_crop(found.landmarks))
    return crop, face_parts(mesh, crop)


@pytest.fixture(scope="module")
def reference(portrait):
    """The crop as a model gives it back: small and soft."""
    return resized(cv2.GaussianBlur(portrait[0], (0, 0), 6), SIDE)


def psnr(a, b, where):
    error = ((a.astype(float) - b.astype(float)) ** 2).mean(axis=2)[where].mean()
    return 10 * np.log10(255**2 / max(error, 1e-9))


def wrinkled(picture, rows=(74,), depth=40):
    """A picture with dark lines drawn across a cheek."""
    lines = picture.astype(np.float32)
    for row in rows:
        lines[row : row + 2, 40:50] -= depth
    return np.clip(lines, 0, 255).astype(np.uint8)


def test_no_change_leaves_the_photograph(portrait, reference):
    crop, parts = portrait
    result = DetailTransfer().transfer(crop, reference, reference, parts)
    assert np.abs(result.astype(int) - crop).max() <= 1


def test_parts_lie_where_they_belong(portrait):
    _, parts = portrait
    assert parts.face[300, 256] == pytest.approx(1, abs=0.01)  # the nose
    assert parts.face[40, 256] < 0.01 < 0.5 < parts.head[120, 256]  # hair
    assert parts.features[240, 205] > 0.5  # an eye
    assert parts.features[350, 256] > 0.5  # the mouth
    assert parts.features[300, 180] < 0.05  # a cheek
    assert max(part.max() for part in parts[:3]) <= 1
    assert min(part.min() for part in parts[:3]) >= 0


def test_a_line_of_the_edit_is_carried_over_and_everything_else_stays(portrait, reference):
    crop, parts = portrait
    result = DetailTransfer().transfer(crop, wrinkled(reference), reference, parts)
    change = result.astype(float).mean(axis=2) - crop.mean(axis=2)
    line = np.zeros((512, 512), bool)
    line[296:304, 164:196] = True
    assert change[line].mean() < -12
    beyond = parts.head < 1e-3
    assert (result[beyond] == crop[beyond]).all()
    assert psnr(result, crop, np.arange(512)[:, None] * np.ones(512) > 340) > 35


def test_strength_scales_the_change(portrait, reference):
    crop, parts = portrait
    edited = wrinkled(reference)
    change = [
        np.abs(
            DetailTransfer(change=Amount(strength=s)).transfer(crop, edited, reference, parts).astype(int)
            - crop
        ).sum()
        for s in (0.0, 0.5, 1.0)
    ]
    assert change[0] < 0.02 * change[2]
    assert 0.35 < change[1] / change[2] < 0.65


def test_light_of_the_whole_face_is_held(portrait, reference):
    crop, parts = portrait
    darker = np.clip(reference.astype(int) - 40, 0, 255).astype(np.uint8)
    result = DetailTransfer().transfer(crop, darker, reference, parts)
    inside = parts.face > 0.9
    assert abs(result[inside].mean() - crop[inside].mean()) < 10
    assert np.clip(crop.astype(int) - 40, 0, 255)[inside].mean() < crop[inside].mean() - 35  # the plain sum


def test_grey_stays_grey_and_a_tint_its_tint(portrait, reference):
    crop, parts = portrait
    grey = np.repeat(crop.mean(axis=2, keepdims=True).round().astype(np.uint8), 3, axis=2)
    coloured = wrinkled(reference)
    coloured[..., 0] = np.clip(coloured[..., 0].astype(int) + 25, 0, 255)
    result = DetailTransfer().transfer(grey, coloured, reference, parts)
    assert (result[..., 0] == result[..., 1]).all()
    assert (result[..., 1] == result[..., 2]).all()
    assert (result != grey).any()
    sepia = np.clip(grey * np.array([1.0, 0.85, 0.6]), 0, 255).astype(np.uint8)
    assert own_colours(grey) == own_colours(sepia) == 0
    assert own_colours(crop) > 0.5


def test_an_outline_that_moves_takes_the_detail_along(portrait, reference):
    """Everything is moved down by one pixel of the model: four of the crop, without a second outline."""
    crop, parts = portrait
    lower = np.roll(reference, 1, axis=0)
    result = DetailTransfer().transfer(crop, lower, reference, parts)
    inside = parts.face > 0.95
    wanted = np.roll(crop, 4, axis=0)
    plain = crop + resized(lower, 512).astype(float) - resized(reference, 512)
    assert psnr(result, wanted, inside) > psnr(crop, wanted, inside) + 1
    assert psnr(result, wanted, inside) > psnr(plain, wanted, inside) + 1


def test_fine_detail_is_damped_where_the_edit_smooths(portrait, reference):
    crop, parts = portrait
    smooth = cv2.GaussianBlur(reference, (0, 0), 4)
    result = DetailTransfer(hold=1.0).transfer(crop, smooth, reference, parts)

    def fine(picture):
        grey = picture.astype(np.float32).mean(axis=2)
        return (grey - cv2.GaussianBlur(grey, (0, 0), 2))[(parts.face > 0.95) & (parts.features < 0.05)].std()

    assert fine(result) < 0.85 * fine(crop)


def test_refused():
    with pytest.raises(ConfigurationError, match=r"finisher.hold"):
        DetailTransfer(hold=-0.1)
    for wrong in ({"strength": -1}, {"strength": 9}, {"hair": 2}, {"features": 1.5}, {"outlines": -1}):
        with pytest.raises(ConfigurationError, match=f"finisher.*{next(iter(wrong))}"):
            Amount(**wrong)


def test_a_grown_child_gets_less_until_it_is_old():
    transfer = DetailTransfer()
    assert transfer.amount(40, 60, grew=False) == transfer.amount(30, 10, grew=True) == CHANGE
    assert transfer.amount(8, 20, grew=True) == transfer.amount(8, 30, grew=True) == GROWN_UP
    assert transfer.amount(8, 45, grew=True).strength == pytest.approx(
        (GROWN_UP.strength + CHANGE.strength) / 2
    )
    assert transfer.amount(8, 70, grew=True).strength == pytest.approx(CHANGE.strength)


def test_a_long_flow_is_bounded_and_a_short_one_is_not():
    flow = np.zeros((4, 4, 2), np.float32)
    flow[0, 0] = (30, -40)
    flow[1, 1] = (0.3, 0.4)
    bounded = _bounded(flow, 5)
    np.testing.assert_allclose(bounded[0, 0], (3, -4), rtol=1e-3)
    np.testing.assert_allclose(bounded[1, 1], (0.3, 0.4), rtol=5e-3)
    assert (bounded[2:] == 0).all()
