"""The face mesh on a real photograph."""

import pickle

import cv2
import numpy as np
import pytest

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.align import align
from faceforward.faces.mesh import SIDE, FaceMesh, square_about

#: Eyes, nose and corners of the mouth of the astronaut, as MTCNN finds them.
LANDMARKS = np.array([[204.0, 100.9], [247.2, 103.2], [225.7, 128.9], [201.3, 139.6], [245.7, 141.4]])
CORNERS = ([33, 133], [362, 263], [1], [61], [291])  # of the eyes, the nose's tip, corners of the mouth


@pytest.fixture(scope="module")
def network():
    return FaceMesh()


@pytest.fixture(scope="module")
def mesh(network, astronaut):
    return network.fit(astronaut, LANDMARKS)


def test_the_mesh_lies_on_the_face(mesh):
    assert mesh.points.shape == (468, 3)
    assert mesh.points.dtype == np.float32
    assert mesh.score > 0.9
    found = np.stack([mesh.points[group, :2].mean(axis=0) for group in CORNERS])
    assert np.abs(found - LANDMARKS).max() < 5
    nose, ears = mesh.points[1, 2], mesh.points[[127, 356], 2]
    assert nose < ears.min() - 20  # away from the viewer is positive


def test_a_shifted_start_hardly_moves_it(network, mesh, astronaut):
    moved = network.fit(astronaut, LANDMARKS + np.array([2, -2]))
    assert np.abs(moved.points - mesh.points).mean() < 0.6


def test_a_turned_picture_gives_the_turned_mesh(network, mesh, astronaut):
    centre = LANDMARKS.mean(axis=0)
    matrix = cv2.getRotationMatrix2D(tuple(centre), 30, 1.0)
    turned = cv2.warpAffine(astronaut, matrix, (512, 512), flags=cv2.INTER_CUBIC)
    found = network.fit(turned, LANDMARKS @ matrix[:, :2].T + matrix[:, 2])
    expected = mesh.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(found.points[:, :2] - expected).mean() < 0.6
    assert np.abs(found.points[:, 2] - mesh.points[:, 2]).mean() < 1.5


def test_the_crop_gives_the_mesh_in_its_own_pixels(network, mesh, astronaut):
    crop, alignment = align(astronaut, LANDMARKS, 256)
    found = network.fit(crop, alignment.points_to_crop(LANDMARKS))
    assert np.abs(alignment.points_to_photo(found.points[:, :2]) - mesh.points[:, :2]).mean() < 0.6
    assert np.abs(found.points[:, 2] * alignment.scale - mesh.points[:, 2]).mean() < 1.5


def test_no_face_has_a_low_score(network):
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    assert network.fit(noise, LANDMARKS).score < 0.5


def test_the_square_holds_the_mesh_with_the_eyes_level(mesh):
    square = square_about(mesh.points)
    inside = square.points_to_crop(mesh.points[:, :2])
    sides = np.ptp(inside, axis=0)
    assert sides.max() == pytest.approx(SIDE / 1.5)
    assert inside[33, 1] == pytest.approx(inside[263, 1])
    assert (inside.min(axis=0) + inside.max(axis=0)) / 2 == pytest.approx(np.full(2, (SIDE - 1) / 2))


def test_other_pictures_and_landmarks_are_refused(network, astronaut):
    with pytest.raises(ValueError, match="uint8 RGB picture"):
        network.fit(astronaut[..., 0], LANDMARKS)
    with pytest.raises(ValueError, match="five finite landmarks"):
        network.fit(astronaut, LANDMARKS[:4])
    with pytest.raises(ValueError, match="five finite landmarks"):
        network.fit(astronaut, LANDMARKS * np.nan)


def test_without_weights_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("faceforward.pretrained.EMBEDDED", tmp_path)
    with pytest.raises(WeightsUnavailableError, match="reinstall faceforward"):
        FaceMesh()


def test_it_travels_to_other_processes(network, mesh, astronaut):
    again = pickle.loads(pickle.dumps(network)).fit(astronaut, LANDMARKS)
    assert np.array_equal(again.points, mesh.points)
