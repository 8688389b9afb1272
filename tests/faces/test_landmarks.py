"""Landmark detectors: the order of points, mirror images, and what is missing."""

import dataclasses
import pickle

import numpy as np
import pytest

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.landmarks import MIRRORED_68, DlibLandmarks68, FiveLandmarks, default_landmarks
from faceforward.records import Detection
from faceforward.registry import REGISTRY

LANDMARKS = np.array([[204.0, 101.0], [247.0, 103.0], [226.0, 129.0], [201.0, 140.0], [246.0, 141.0]])
FACE = Detection((170.0, 50.0, 280.0, 180.0), LANDMARKS, 1.0)  # the astronaut's


@pytest.fixture(scope="module")
def detector():
    return DlibLandmarks68()


def test_mirroring_twice_is_nothing():
    assert sorted(MIRRORED_68) == list(range(68))
    assert (MIRRORED_68[MIRRORED_68] == np.arange(68)).all()


def test_points_lie_where_the_five_are(astronaut, detector):
    points = detector.detect(astronaut, FACE)
    assert points.shape == (68, 2)
    five = [points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]]
    assert np.linalg.norm(np.array(five) - LANDMARKS, axis=1).max() < 12


def test_a_mirrored_photograph_gives_the_mirrored_points(astronaut, detector):
    last = np.array([astronaut.shape[1] - 1, 0])
    other = (LANDMARKS * [-1, 1] + last)[[1, 0, 2, 4, 3]]
    mirrored = detector.detect(astronaut[:, ::-1], dataclasses.replace(FACE, landmarks=other))
    back = (mirrored * [-1, 1] + last)[MIRRORED_68]
    assert np.abs(back - detector.detect(astronaut, FACE)).max() < 0.5


def test_a_tipped_head_is_seen_upright(astronaut, detector):
    turned = np.rot90(astronaut)  # a pixel (x, y) goes to (y, last - x)
    points = np.stack([LANDMARKS[:, 1], 511 - LANDMARKS[:, 0]], axis=1)
    found = detector.detect(turned, dataclasses.replace(FACE, landmarks=points))
    straight = detector.detect(astronaut, FACE)
    assert np.abs(found - np.stack([straight[:, 1], 511 - straight[:, 0]], axis=1)).max() < 1


def test_it_travels_to_other_processes(astronaut, detector):
    again = pickle.loads(pickle.dumps(detector))
    assert (again.detect(astronaut, FACE) == detector.detect(astronaut, FACE)).all()


def test_five_are_the_detectors_own(astronaut):
    assert (FiveLandmarks().detect(astronaut, FACE) == LANDMARKS).all()


def test_the_best_that_are_here(monkeypatch, caplog):
    caplog.set_level("INFO")
    assert default_landmarks().name == "dlib-landmarks-68"
    assert "not for commercial use" in caplog.text
    entry = dataclasses.replace(REGISTRY["dlib-landmarks-68"], source=("no_such_package/models",))
    monkeypatch.setitem(REGISTRY, "dlib-landmarks-68", entry)
    assert default_landmarks().name == "five"
    with pytest.raises(WeightsUnavailableError, match="pip install face_recognition_models"):
        DlibLandmarks68()
