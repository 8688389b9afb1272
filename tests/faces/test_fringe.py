import cv2
import numpy as np
import pytest

from faceforward.faces.align import align
from faceforward.faces.detail import face_parts
from faceforward.faces.face import choose_face
from faceforward.faces.fringe import hair_over_face
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.records import Photo


@pytest.fixture(scope="module")
def portrait(astronaut):
    found = choose_face(Photo("a", "a.png", astronaut), MTCNNDetector())[0]
    crop, alignment = align(astronaut, found.landmarks, 256)
    return crop, FaceMesh().fit(crop, alignment.points_to_crop(found.landmarks))


@pytest.fixture(scope="module")
def fringe(portrait):
    """Dark hair painted over the upper half of the forehead, and where it is."""
    crop, mesh = portrait
    points = mesh.points[:, :2]
    brows, top = points[[105, 334]].mean(axis=0), points[10]
    middle, half = (brows + 2 * top) / 3, np.abs(points[334] - points[105])[0]
    where = np.zeros(crop.shape[:2], np.uint8)
    reach = np.abs(top - brows)[1]
    low, high = (int(value) for value in (middle[1] + 0.2 * reach, top[1] - 0.6 * reach))
    cv2.rectangle(where, (int(middle[0] - half), high), (int(middle[0] + half), low), 1, -1)
    combed = crop.copy()
    combed[where > 0] = (30, 24, 20)
    return combed, where.astype(bool)


def test_a_fringe_is_hair_and_the_face_below_is_not(portrait, fringe):
    _, mesh = portrait
    combed, where = fringe
    found = hair_over_face(combed, mesh)
    inner = cv2.erode(where.astype(np.uint8), np.ones((9, 9))).astype(bool)
    inner &= face_parts(mesh, np.full_like(combed, 190)).face > 0.3
    assert inner.sum() > 100
    assert found[inner].mean() > 0.9
    below = mesh.points[[50, 280, 205, 425, 4, 33, 263, 13, 105, 334], :2].astype(int)
    assert found[below[:, 1], below[:, 0]].max() < 0.2


def test_hair_over_the_face_gets_little_of_the_change(portrait, fringe):
    _, mesh = portrait
    combed, _ = fringe
    hair = hair_over_face(combed, mesh)
    parts, bare = face_parts(mesh, combed), face_parts(mesh, np.full_like(combed, 190))
    assert np.allclose(parts.face, bare.face * (1 - hair), atol=1e-6)
    assert np.allclose(parts.head, bare.head * (1 - 0.6 * hair), atol=1e-6)


def test_hair_as_light_as_the_skin_is_not_looked_for(portrait):
    crop, mesh = portrait
    light = np.full_like(crop, 190)
    assert hair_over_face(light, mesh).max() == 0
