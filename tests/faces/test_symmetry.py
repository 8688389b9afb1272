import cv2
import numpy as np
import pytest

from faceforward.faces.align import align
from faceforward.faces.face import choose_face
from faceforward.faces.mean_face import mean_face
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.motion import moved
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.symmetry import FREE, RATIO, mirror_field, two_sided
from faceforward.records import Photo

SIDE = 256


@pytest.fixture(scope="module")
def mesh(astronaut):
    found = choose_face(Photo("a", "a.png", astronaut), MTCNNDetector())[0]
    crop, alignment = align(astronaut, found.landmarks, SIDE)
    return FaceMesh().fit(crop, alignment.points_to_crop(found.landmarks))


@pytest.fixture(scope="module")
def face(mesh):
    mask = np.zeros((SIDE, SIDE), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(mesh.points[:, :2].astype(np.int32)), 1)
    return mask


def spot(mesh, point, height):
    """A soft spot of 24 pixels around one of the mesh's points."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    x, y = mesh.points[point, :2]
    return (height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 12**2))).astype(np.float32)[
        ..., None
    ]


def test_every_point_is_mirrored_onto_its_partner(mesh):
    field = mirror_field(mesh, SIDE)
    points = mesh.points[:, :2]
    at = np.rint(points).astype(int)
    found = at + field[at[:, 1], at[:, 0]]
    apart = np.hypot(*(found - points[mean_face().mirrored]).T)
    assert np.median(apart) < 0.015 * SIDE
    assert np.abs(field[at[:, 1], at[:, 0], 0]).max() > 0.3 * SIDE  # not simply where it is


def test_a_mirrored_picture_mirrored_again_is_itself(mesh, face):
    field = mirror_field(mesh, SIDE)
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(np.float32)
    back = moved(places + field, field)
    inner = cv2.erode(face, np.ones((25, 25))) > 0
    assert np.median(np.hypot(*np.moveaxis(back - places, -1, 0))[inner]) < 0.02 * SIDE


def test_a_shadow_on_one_cheek_is_bounded_and_the_same_on_both_is_kept(mesh, face):
    field = mirror_field(mesh, SIDE)
    left, right = (spot(mesh, point, -60.0) for point in (205, 425))
    one = two_sided(left, field, face)
    x, y = np.rint(mesh.points[205, :2]).astype(int)
    assert left[y, x, 0] < -55
    assert one[y, x, 0] > -FREE - 12  # what is finer than the coarse part stays
    both = two_sided(left + right, field, face)
    assert np.abs(both - left - right).max() < 6
    twice = two_sided(left + right * (1 / RATIO), field, face)
    assert np.abs(twice - left - right / RATIO).max() < 12


def test_outside_the_face_a_change_stays(mesh, face):
    change = np.full((SIDE, SIDE, 1), 40.0, np.float32) * (np.arange(SIDE) < 40)[None, :, None]
    assert np.array_equal(two_sided(change, mirror_field(mesh, SIDE), face)[face == 0], change[face == 0])
