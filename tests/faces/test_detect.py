"""Faces are found whatever their size and whichever way the photograph lies."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest

from faceforward.faces import detect
from faceforward.faces.detect import default_detector, find_faces, largest_first, ordered_landmarks
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.records import Detection

EYES = np.array([[204.5, 102.0], [246.5, 103.0]])  # of the astronaut


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


@pytest.mark.parametrize("degrees", range(0, 360, 30))
@pytest.mark.parametrize("swapped", [False, True])
def test_left_is_the_images_left_of_the_upright_face(degrees, swapped):
    face = np.array([[-3.0, -3], [3, -3], [1, 0], [-2, 3], [2, 3]])
    angle = np.radians(degrees)
    turned = face @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    given = turned[[1, 0, 2, 4, 3]] if swapped else turned
    assert np.allclose(ordered_landmarks(given), turned)


def test_the_largest_comes_first():
    """A face that is cut off by the edge counts with what is seen of it."""
    points = np.zeros((5, 2))
    boxes = [(0, 0, 3, 3), (0, 0, 7, 7), (0, 0, 5, 5), (18, 0, 28, 8)]
    faces = largest_first([Detection(box, points, 0.9) for box in boxes], (20, 20, 3))
    assert [face.box[2] for face in faces] == [7, 5, 28, 3]


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_scan_may_lie_any_way(astronaut, detector, quarters):
    """The eyes are found where they are, left stays left of the upright face, and the turn is said."""
    turned = np.ascontiguousarray(np.rot90(astronaut, -quarters))
    eyes = EYES.copy()
    for _ in range(quarters):
        eyes = np.stack([511 - eyes[:, 1], eyes[:, 0]], axis=1)
    faces, notes = find_faces(turned, detector)
    assert np.hypot(*(faces[0].landmarks[:2] - eyes).T).max() < 4
    x0, y0, x1, y1 = faces[0].box
    assert x0 < faces[0].landmarks[:, 0].min() < faces[0].landmarks[:, 0].max() < x1
    assert y0 < faces[0].landmarks[:, 1].min() < faces[0].landmarks[:, 1].max() < y1
    assert bool(notes) == bool(quarters)
    if quarters:
        assert f"{90 * quarters} degrees clockwise" in notes[0]


@pytest.mark.parametrize("degrees", [-150, -45, -20, 20, 45, 120])
def test_a_face_may_be_tilted(astronaut, detector, degrees):
    matrix = cv2.getRotationMatrix2D((256, 256), degrees, 1)
    turned = cv2.warpAffine(astronaut, matrix, (512, 512), borderMode=cv2.BORDER_REFLECT_101)
    eyes = EYES @ matrix[:, :2].T + matrix[:, 2]
    faces, _ = find_faces(turned, detector)
    assert np.hypot(*(faces[0].landmarks[:2] - eyes).T).max() < 8


def test_a_tight_crop_is_found(astronaut, detector):
    """128 pixels from the brows to the chin, no hair, no neck."""
    tight = cv2.resize(astronaut[70:162, 180:272], (128, 128), interpolation=cv2.INTER_CUBIC)
    faces, _ = find_faces(tight, detector)
    eyes = (EYES - [180, 70]) * (128 / 92)
    assert np.hypot(*(faces[0].landmarks[:2] - eyes).T).max() < 8


def test_a_tiny_face_in_a_large_scan_is_found(astronaut, detector):
    """A face of 36 pixels on 2800 x 1000: too small once the scan is scaled down."""
    noise = np.random.default_rng(0).integers(90, 160, (1000, 2800, 3), dtype=np.uint8)
    scan = cv2.GaussianBlur(noise, (0, 0), 3)
    scan[500:564, 1500:1564] = cv2.resize(astronaut[30:230, 120:320], (64, 64), interpolation=cv2.INTER_AREA)
    faces, notes = find_faces(scan, detector)
    eyes = (EYES - [120, 30]) * (64 / 200) + [1500, 500]
    assert np.hypot(*(faces[0].landmarks[:2] - eyes).T).max() < 2.5
    assert notes == (detect.THIRD_LOOK,)


def test_a_large_photograph_is_searched_small(astronaut, detector):
    large = cv2.resize(astronaut, (3600, 3600), interpolation=cv2.INTER_CUBIC)
    faces, notes = find_faces(large, detector)
    assert np.hypot(*((faces[0].landmarks[:2] + 0.5) * (512 / 3600) - 0.5 - EYES).T).max() < 4
    assert notes == ()


@pytest.mark.parametrize("light", [0.5, 0.1, 0.05])
def test_a_dark_photograph_is_brightened_for_the_search(astronaut, detector, light):
    faces, notes = find_faces(np.rint(astronaut * light).astype(np.uint8), detector)
    assert np.hypot(*(faces[0].landmarks[:2] - EYES).T).max() < 5
    assert notes == (() if light == 0.5 else (detect.SECOND_LOOK,))


def test_a_mirrored_margin_gives_no_second_face(astronaut, detector):
    """In the second look the margin mirrors the face; only the one in the photograph counts."""
    dark = np.rint(astronaut[60:190, 170:400] * 0.05).astype(np.uint8)
    faces, notes = find_faces(dark, detector)
    assert notes == (detect.SECOND_LOOK,)
    assert len(faces) == 1


@pytest.mark.parametrize("shape", [(32, 32), (40, 4000), (600, 500)])
def test_a_picture_without_a_face_has_none(detector, shape):
    gradient = np.linspace(0, 255, shape[0] * shape[1]).astype(np.uint8).reshape(shape)
    assert find_faces(np.repeat(gradient[..., None], 3, axis=2), detector) == ([], ())


def test_without_weights_the_default_is_mtcnn_and_that_is_said(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with caplog.at_level(logging.INFO, logger="faceforward"):
        assert default_detector().name == "mtcnn"
    assert "faceforward download retinaface" in caplog.text
