"""The figures mean what they say, and each warning comes when its reason is there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from faceforward.faces import quality
from faceforward.faces.detect import find_faces
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.quality import quality_of
from faceforward.records import Detection


@pytest.fixture(scope="module")
def found(astronaut):
    return find_faces(astronaut, MTCNNDetector())[0][0]


def scaled(face: Detection, factor: float) -> Detection:
    return Detection(
        tuple(edge * factor for edge in face.box), (face.landmarks + 0.5) * factor - 0.5, face.score
    )


def test_a_good_photograph_has_no_warnings(astronaut, found):
    figures = quality_of(astronaut, found)
    assert figures.warnings == ()
    assert figures.face_height == pytest.approx(112, abs=4)
    assert abs(figures.roll) < 6
    assert abs(figures.yaw) < 10
    assert 0.3 < figures.exposure < 0.8


def test_sharpness_falls_with_blur_and_with_size(astronaut, found):
    blurred = [cv2.GaussianBlur(astronaut, (0, 0), sigma) for sigma in (0.5, 1.0, 2.0, 4.0)]
    sharp = [quality_of(picture, found).sharpness for picture in blurred]
    assert sharp == sorted(sharp, reverse=True)
    small = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA)
    assert quality_of(small, scaled(found, 0.25)).sharpness < 0.5 * quality_of(astronaut, found).sharpness


@pytest.mark.parametrize(
    ("worsen", "words"),
    [
        (lambda p: cv2.GaussianBlur(p, (0, 0), 4), "blurred"),
        (lambda p: np.clip(p + np.random.default_rng(0).normal(0, 60, p.shape), 0, 255), "grainy"),
        (lambda p: p * 0.1, "very dark"),
        (lambda p: np.clip(p * 1.0 + 150, 0, 255), "overexposed"),
        (lambda p: 120 + (p - 127.0) * 0.1, "contrast"),
    ],
)
def test_a_bad_photograph_is_said(astronaut, found, worsen, words):
    bad = np.rint(worsen(astronaut)).astype(np.uint8)
    assert any(words in text for text in quality_of(bad, found).warnings)


def test_a_small_face_is_said(astronaut, found):
    small = cv2.resize(astronaut, (160, 160), interpolation=cv2.INTER_AREA)
    figures = quality_of(small, scaled(found, 160 / 512))
    assert figures.face_height < quality.LEAST_HEIGHT
    assert "35 pixels high" in figures.warnings[0]


def test_a_head_over_the_edge_is_said(astronaut, found):
    cut = np.ascontiguousarray(astronaut[:, 190:])
    shifted = Detection(found.box, found.landmarks - [190, 0], found.score)
    assert any("edge of the photograph" in text for text in quality_of(cut, shifted).warnings)


@pytest.mark.parametrize("degrees", [-150, -90, -30, 30, 90, 170])
def test_roll_is_positive_to_the_images_right(astronaut, found, degrees):
    matrix = cv2.getRotationMatrix2D((256, 256), -degrees, 1)  # OpenCV turns counter-clockwise
    turned = cv2.warpAffine(astronaut, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT_101)
    face = Detection(found.box, found.landmarks @ matrix[:, :2].T + matrix[:, 2], found.score)
    upright = quality_of(astronaut, found)
    figures = quality_of(turned, face)
    assert (figures.roll - upright.roll - degrees + 180) % 360 - 180 == pytest.approx(0, abs=0.1)
    assert figures.yaw == pytest.approx(upright.yaw, abs=0.1)


def test_a_face_on_its_side_is_measured_along_itself(astronaut, found):
    x0, y0, x1, y1 = found.box
    points = np.stack([found.landmarks[:, 1], 511 - found.landmarks[:, 0]], axis=1)
    turned = Detection((y0, 511 - x1, y1, 511 - x0), points, found.score)
    figures = quality_of(np.ascontiguousarray(np.rot90(astronaut)), turned)
    assert figures.face_height == pytest.approx(y1 - y0)


@pytest.mark.parametrize("yaw", [-60, -35, -10, 0, 10, 35, 60])
def test_yaw_is_that_of_the_standard_points(yaw):
    """The standard five points in 3D, turned and projected in parallel; image x is right, image y down."""
    points = np.array(
        [
            [-0.3115, 0.2904, 0.1338],
            [0.3098, 0.2897, 0.1318],
            [0.0033, -0.0462, 0.5524],
            [-0.2522, -0.3813, 0.2241],
            [0.2485, -0.3813, 0.2224],
        ]
    )
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    seen = (points @ turn.T)[:, :2] * [100, -100] + 150
    figures = quality_of(np.full((300, 300, 3), 128, np.uint8), Detection((80, 60, 220, 240), seen, 0.99))
    assert figures.yaw == pytest.approx(yaw, abs=3)
    assert any("turned" in text for text in figures.warnings) == (abs(yaw) > quality.MOST_YAW)
