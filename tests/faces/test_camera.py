"""A photograph's camera: the same for the same face however the photograph lies."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from faceforward.datamodules.camera_labels import read_labels
from faceforward.eg3d import cameras
from faceforward.errors import UnusablePhotoError
from faceforward.faces.camera import estimate_camera, overlay
from faceforward.faces.detect import find_faces
from faceforward.faces.mesh import FaceMesh, Mesh
from faceforward.faces.mtcnn import MTCNNDetector


@pytest.fixture(scope="module")
def face(astronaut):
    found, _ = find_faces(astronaut, MTCNNDetector())
    return found[0]


@pytest.fixture(scope="module")
def estimate(astronaut, face):
    return estimate_camera(astronaut, face, FaceMesh())


def apart(first, second):
    return cameras.rotation_error(cameras.pose(first.label), cameras.pose(second.label)).item()


def test_a_label_of_25_numbers(estimate):
    assert estimate.label.shape == (25,)
    assert estimate.label.dtype == torch.float32
    assert estimate.label[16:].tolist() == pytest.approx(cameras.INTRINSICS)
    assert estimate.label[[3, 7, 11]].norm().item() == pytest.approx(2.7, abs=1e-5)
    assert cameras.angles(cameras.pose(estimate.label)).abs().max() < 15  # she looks at the camera
    assert estimate.crop.shape == (512, 512, 3)
    assert estimate.residual < 0.01
    assert estimate.notes == ()


def test_the_label_sees_the_head_where_it_is(estimate):
    nose = torch.tensor([[0.0, -0.006, 0.31]])  # the standard face's, in the world
    seen = cameras.project(nose, estimate.label[None])[0, 0].numpy()
    found = (estimate.alignment.points_to_crop(estimate.points)[4] + 0.5) / 512
    assert np.abs(seen - found).max() < 0.06


def test_mirrored(astronaut, face, estimate):
    landmarks = (face.landmarks * [-1, 1] + [511, 0])[[1, 0, 2, 4, 3]]
    picture = np.ascontiguousarray(astronaut[:, ::-1])
    other = estimate_camera(picture, dataclasses.replace(face, landmarks=landmarks), FaceMesh())
    back = dataclasses.replace(other, label=cameras.mirrored(other.label))
    assert apart(back, estimate) < 1
    middle = np.full((1, 2), 255.5)
    moved = other.alignment.points_to_photo(middle) * [-1, 1] + [511, 0]
    assert np.abs(moved - estimate.alignment.points_to_photo(middle)).max() < 1
    assert other.alignment.scale == pytest.approx(estimate.alignment.scale, rel=0.01)


def test_a_larger_photograph_has_the_same_camera(astronaut, face, estimate):
    large = cv2.resize(astronaut, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    moved = dataclasses.replace(face, landmarks=(face.landmarks + 0.5) * 1.5 - 0.5)
    other = estimate_camera(large, moved, FaceMesh())
    assert apart(other, estimate) < 1
    assert other.alignment.scale == pytest.approx(estimate.alignment.scale * 1.5, rel=0.01)


def test_a_tipped_photograph_tips_the_camera(astronaut, face, estimate):
    matrix = cv2.getRotationMatrix2D((226, 120), 20, 1)  # counter-clockwise
    tipped = cv2.warpAffine(astronaut, matrix, (512, 512), flags=cv2.INTER_CUBIC)
    moved = dataclasses.replace(face, landmarks=face.landmarks @ matrix[:, :2].T + matrix[:, 2])
    other = estimate_camera(tipped, moved, FaceMesh())
    change = (cameras.angles(cameras.pose(other.label)) - cameras.angles(cameras.pose(estimate.label)))[
        2
    ].item()
    assert change == pytest.approx(20, abs=2)  # a camera turned clockwise
    assert other.alignment.roll == pytest.approx(0)


class _Nonsense:
    """Finds points all over the photograph."""

    name = "nonsense"

    def __init__(self, score):
        self.score = score

    def fit(self, image, landmarks):
        points = np.random.default_rng(0).uniform(0, 512, (468, 3))
        return Mesh(points.astype(np.float32), self.score)


def test_points_that_are_not_a_face_are_told(astronaut, face):
    assert "look at the overlay" in estimate_camera(astronaut, face, _Nonsense(0.9)).notes[0]


def test_a_face_that_cannot_be_made_out_is_refused(astronaut, face):
    with pytest.raises(UnusablePhotoError, match=r"score 0\.10"):
        estimate_camera(astronaut, face, _Nonsense(0.1))


def test_the_overlay_shows_axes_and_points(estimate):
    picture = overlay(estimate)
    assert picture.shape == estimate.crop.shape
    changed = (picture != estimate.crop).any(axis=-1)
    assert 0.005 < changed.mean() < 0.1
    x, y = np.rint(estimate.alignment.points_to_crop(estimate.points)[152]).astype(int)
    assert changed[y, x]


def test_against_official_labels(shared_cameras):
    errors = []
    for part in ("npy", "dataset_json"):
        for name, label in read_labels(shared_cameras / part).items():
            file = next(
                path for path in (shared_cameras / part).glob(f"{Path(name).stem}.*") if path.suffix == ".png"
            )
            image = np.asarray(Image.open(file).convert("RGB"))
            found, _ = find_faces(image, MTCNNDetector())
            mine = estimate_camera(image, found[0], FaceMesh())
            errors.append(cameras.rotation_error(cameras.pose(mine.label), cameras.pose(label)).item())
            assert mine.alignment.scale == pytest.approx(1, abs=0.06)  # they are 3D crops already
    assert len(errors) == 5
    assert np.mean(errors) < 4.5
