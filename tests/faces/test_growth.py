"""Growth of the face's shape: closed forms on made shapes, the package's shapes on a real face."""

import numpy as np
import pytest

from faceforward.errors import ConfigurationError, WeightsUnavailableError
from faceforward.faces.align import align, alignment_of
from faceforward.faces.fields import warp
from faceforward.faces.growth import (
    ADULT,
    EYES,
    LEAST_CHANGE,
    FaceShapes,
    Growth,
    five_points,
)
from faceforward.faces.mesh import FaceMesh, Mesh
from faceforward.faces.procrustes import similarity

LANDMARKS = np.array([[204.0, 100.9], [247.2, 103.2], [225.7, 128.9], [201.3, 139.6], [245.7, 141.4]])
SIZE, CHIN, BROW = 512, 152, 10


@pytest.fixture(scope="module")
def growth():
    return Growth(share=1.0)


@pytest.fixture(scope="module")
def crop(astronaut):
    return align(astronaut, LANDMARKS, SIZE)


@pytest.fixture(scope="module")
def mesh(crop):
    return FaceMesh().fit(crop[0], crop[1].points_to_crop(LANDMARKS))


def turned(growth, yaw, pitch=0.0, age=5.0):
    """A mean child's mesh in a crop, turned by degrees."""
    a, b = np.radians([yaw, pitch])
    across = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    along = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    points = growth.shapes.at(age, None) @ (along @ across).T * SIZE
    alignment = alignment_of(five_points(points)[:, :2], SIZE)
    points[:, :2] = alignment.points_to_crop(points[:, :2])
    points[:, 2] /= alignment.scale
    return Mesh(points.astype(np.float32), 1.0)


def landed(field, points):
    """Where points of the source are in the grown picture: p with p + field(p) = point."""
    place = points.astype(np.float64)
    for _ in range(30):
        index = np.clip(np.rint(place).astype(int), 0, len(field) - 1)
        place = points - field[index[:, 1], index[:, 0]]
    return place


def test_a_mean_child_becomes_the_mean_adult(growth):
    child = turned(growth, 0, age=6.0)
    grown = growth.points(child, SIZE, age=6, shape_age=ADULT, gender=None)
    adult = turned(growth, 0, age=ADULT).points
    assert np.abs(grown - adult).max() < 1.0  # pixels
    assert np.abs(child.points - adult)[:, :2].max() > 8


def test_the_chin_goes_down_and_the_eyes_stay(growth, mesh):
    grown = growth.points(mesh, SIZE, age=5, shape_age=ADULT, gender="female")
    moved = grown - mesh.points
    assert moved[CHIN, 1] > 5
    assert np.abs(moved[list(EYES[0]), :2]).mean() < moved[CHIN, 1] / 2
    back = growth.points(mesh, SIZE, age=ADULT, shape_age=5, gender="female")
    assert back[CHIN, 1] - mesh.points[CHIN, 1] < -5


def test_the_grown_face_is_aligned_as_the_crop_is(growth, mesh):
    grown = growth.points(mesh, SIZE, age=4, shape_age=ADULT, gender="male")
    before, after = (alignment_of(five_points(points)[:, :2], SIZE) for points in (mesh.points, grown))
    assert after.matrix == pytest.approx(before.matrix, abs=1e-3)


def test_irises_stay_round(growth):
    child = turned(growth, 0, age=4.0)
    grown = growth.points(child, SIZE, age=4, shape_age=ADULT, gender=None)
    for eye in map(list, EYES):
        scale, turn, shift = similarity(child.points[eye, :2], grown[eye, :2])
        assert np.abs(scale * child.points[eye, :2] @ turn.T + shift - grown[eye, :2]).max() < 0.3


@pytest.mark.parametrize("yaw", [-45, -20, 0, 20, 45])
@pytest.mark.parametrize(("age", "shape_age"), [(2, ADULT), (ADULT, 2)])
@pytest.mark.parametrize("share", [1.0, 2.0])
def test_the_field_never_folds_and_leaves_the_border(growth, yaw, age, shape_age, share):
    face = turned(growth, yaw, pitch=10, age=age)
    field = Growth(share=share).field(face, SIZE, age=age, shape_age=shape_age, gender="male")
    assert field.shape == (SIZE, SIZE, 2)
    assert field.dtype == np.float32
    (xy, xx), (yy, yx) = np.gradient(field[..., 0]), np.gradient(field[..., 1])
    assert ((1 + xx) * (1 + yy) - xy * yx).min() > 0.1
    edges = np.concatenate([field[0], field[-1], field[:, 0], field[:, -1]])
    assert np.abs(edges).max() < share  # pixels, half a pixel inside the border, where it is zero
    assert np.abs(field).max() > 8


def test_the_field_carries_the_points_there(growth, mesh):
    field = growth.field(mesh, SIZE, age=5, shape_age=ADULT, gender=None)
    grown = growth.points(mesh, SIZE, age=5, shape_age=ADULT, gender=None)
    asked = np.linalg.norm(grown - mesh.points, axis=1).mean()
    missed = np.linalg.norm(landed(field, mesh.points[:, :2]) - grown[:, :2], axis=1).mean()
    assert missed < 0.25 * asked


def test_a_turned_head_grows_the_mirrored_way(growth):
    left, right = (turned(growth, yaw, age=5) for yaw in (-30, 30))
    fields = [growth.field(one, SIZE, age=5, shape_age=ADULT, gender=None) for one in (left, right)]
    assert fields[1][:, ::-1] * [-1, 1] == pytest.approx(fields[0], abs=1.0)
    assert np.abs(fields[1] - fields[0]).max() > 2


def test_the_photograph_has_no_seam(growth, crop, mesh):
    picture = crop[0]
    field = growth.field(mesh, SIZE, age=5, shape_age=ADULT, gender="female")
    grown = warp(picture, field)
    assert grown.shape == picture.shape
    assert np.abs(grown.astype(int) - picture)[5:-5, 5:-5].max() > 20
    assert np.abs(grown[0].astype(int) - picture[0]).mean() < 4


@pytest.mark.parametrize(
    ("age", "target", "shape_age"),
    [
        (8, 20, ADULT), (8, 35, ADULT), (8, 70, ADULT), (3, 8, 8.0), (15, 40, None), (40, 10, 10.0),
        (70, 10, 10.0),
        (30, 60, None), (60, 20, None), (8, 8, None), (19, 40, None), (8, 9, None),
    ],
)  # fmt: skip
def test_the_schedule(growth, age, target, shape_age):
    assert growth.shape_age(age, target) == shape_age


def test_all_adults_have_one_shape(growth, mesh):
    fields = [growth.field(mesh, 128, age=age, shape_age=10, gender=None) for age in (25, 40, 70)]
    assert np.array_equal(fields[0], fields[1])
    assert np.array_equal(fields[0], fields[2])


def test_the_share_scales_and_zero_switches_off(growth, mesh):
    half, none = Growth(share=0.5), Growth(share=0.0)
    options = {"age": 5, "shape_age": ADULT, "gender": None}
    whole = growth.points(mesh, SIZE, **options) - mesh.points
    assert half.points(mesh, SIZE, **options) - mesh.points == pytest.approx(whole / 2, abs=0.7)
    assert none.shape_age(5, 40) is None
    assert none.points(mesh, SIZE, **options) == pytest.approx(mesh.points, abs=1e-3)
    assert growth.change(5, ADULT) > 2 * LEAST_CHANGE


def test_the_packaged_shapes_are_symmetric_and_grow(growth):
    shapes = growth.shapes
    flipped = (shapes.shapes * [-1, 1, 1])[:, :, shapes.mirrored]
    assert flipped == pytest.approx(shapes.shapes, abs=2e-3)
    assert np.array_equal(shapes.mirrored[shapes.mirrored], np.arange(468))
    lengths = [shapes.at(age, None)[CHIN, 1] - shapes.at(age, None)[BROW, 1] for age in (3, 6, 9, 12, 16, 25)]
    assert (np.diff(lengths) > 0).all()


def test_shapes_between_ages_and_beyond_the_ends(growth):
    shapes = growth.shapes
    between = (shapes.shapes[0, 0] + shapes.shapes[0, 1]) / 2
    assert shapes.at(float(shapes.ages[:2].mean()), "female") == pytest.approx(between)
    assert np.array_equal(shapes.at(0, "male"), shapes.shapes[1, 0])
    assert shapes.at(200, "male") == pytest.approx(shapes.shapes[1, -1])
    both = (shapes.at(7, "male") + shapes.at(7, "female")) / 2
    assert shapes.at(7, None) == pytest.approx(both)


def test_saved_shapes_come_back(growth, tmp_path):
    growth.shapes.save(tmp_path / "shapes.npz")
    again = Growth(tmp_path / "shapes.npz")
    assert again.shapes.shapes == pytest.approx(growth.shapes.shapes, abs=1e-4)
    assert np.array_equal(again.shapes.mirrored, growth.shapes.mirrored)


def test_other_files_and_shares_are_refused(growth, tmp_path, monkeypatch):
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match=r"growth\.py fit"):
        Growth(tmp_path / "broken.npz")
    few = FaceShapes(growth.shapes.ages[:2], growth.shapes.shapes[:, :2, :100], growth.shapes.mirrored)
    few.save(tmp_path / "few.npz")
    with pytest.raises(ConfigurationError, match="not \\(2, ages, 468, 3\\)"):
        Growth(tmp_path / "few.npz")
    with pytest.raises(ConfigurationError, match="between 0 and 2"):
        Growth(share=3)
    monkeypatch.setattr("faceforward.pretrained.EMBEDDED", tmp_path)
    with pytest.raises(WeightsUnavailableError, match="reinstall faceforward"):
        Growth()


def test_similarity_finds_what_was_done():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(20, 3))
    wanted, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    wanted *= np.sign(np.linalg.det(wanted))
    scale, turn, shift = similarity(points, 1.7 * points @ wanted.T + [1, 2, 3])
    assert scale == pytest.approx(1.7)
    assert turn == pytest.approx(wanted)
    assert shift == pytest.approx([1, 2, 3])
    _, turn, _ = similarity(points, points * [-1, 1, 1])  # a mirror image: a rotation all the same
    assert np.linalg.det(turn) == pytest.approx(1)
