"""A photograph's relief gives the photograph back, turns the head that is in it, and refuses what is none."""

import numpy as np
import pytest
import torch

from faceforward.eg3d import cameras
from faceforward.faces.camera import estimate_camera, fit_both
from faceforward.faces.detect import find_faces
from faceforward.faces.mean_face import mean_face
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.relief import build_relief


@pytest.fixture(scope="module")
def portrait(astronaut):
    """Crop, camera and mesh points of NASA's astronaut."""
    detector, mesh = MTCNNDetector(), FaceMesh()
    found, _ = find_faces(astronaut, detector)
    estimate = estimate_camera(astronaut, found[0], mesh, size=256)
    points = fit_both(astronaut, found[0].landmarks, mesh, mean_face())[0].mean(axis=0)
    places = estimate.alignment.points_to_crop(points[:, :2])
    return estimate.crop, estimate.label, np.column_stack([places, points[:, 2] / estimate.alignment.scale])


@pytest.fixture(scope="module")
def relief(portrait):
    return build_relief(*portrait)


def inside(relief):
    edge = len(relief.layers.alpha) // 6
    return relief.layers.alpha[edge:-edge, edge:-edge] > 0.9


def psnr(a, b):
    return 10 * np.log10(255**2 / max(((a.astype(float) - b) ** 2).mean(), 1e-3))


def test_its_own_camera_gives_the_photograph_back(portrait, relief):
    (view,) = relief.render(portrait[1][None], 256)
    person = inside(relief)
    assert psnr(view.image[person], portrait[0][person]) > 35
    assert psnr(view.image, portrait[0]) > 30
    assert view.visibility[person].mean() > 0.9
    assert view.image.dtype == np.uint8
    assert view.depth.dtype == view.visibility.dtype == np.float32


def test_depth_is_a_head_before_nothing(relief):
    (view,) = relief.render(cameras.labels(cameras.look_at(0.0)), 128)
    nose, corner = view.depth[60:75, 60:68].max(), view.depth[2, 2]
    assert corner == 0
    assert 2.2 < nose < 2.7
    assert 0.2 < (view.depth > 0).mean() < 0.95


@pytest.mark.parametrize("yaw", [-25.0, 25.0])
def test_the_head_turns_as_asked(relief, yaw):
    camera = cameras.labels(cameras.look_at(yaw))
    (view,) = relief.render(camera, 256)
    found, _ = find_faces(view.image, MTCNNDetector())
    label = estimate_camera(view.image, found[0], FaceMesh()).label
    assert float(cameras.angles(cameras.pose(label))[0]) == pytest.approx(yaw, abs=6)


def test_what_is_hidden_comes_from_the_generator_and_only_that(relief):
    camera = cameras.labels(cameras.look_at(35.0))
    asked = []

    def green(camera):
        asked.append(camera)
        return np.full((64, 64, 3), (0, 200, 0), np.uint8)

    (plain,), (mixed,) = relief.render(camera, 128), relief.render(camera, 128, behind=green)
    assert len(asked) == 1
    assert asked[0].shape == (25,)
    changed = (plain.image.astype(int) - mixed.image).any(axis=-1)
    assert changed.any()
    assert not changed[plain.visibility > 0.999].any()
    assert (mixed.visibility[changed] >= plain.visibility[changed] - 1e-6).all()


def test_more_turned_is_seen_less(relief):
    views = relief.render(cameras.labels(cameras.look_at([0.0, 40.0])), 128)
    shares = [view.visibility[view.depth > 0].mean() for view in views]
    assert shares[0] > shares[1] > 0.3


def test_the_mesh_is_closed_and_wears_the_photograph(portrait, relief):
    trimesh = pytest.importorskip("trimesh")
    mesh = relief.surface()
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    assert 0.03 < solid.volume < 0.3
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    # A vertex of the front is seen at its place in the photograph, which is its place in the texture.
    front = mesh.uv[:, 0] < 0.5
    seen = cameras.project(torch.from_numpy(mesh.vertices[front]), portrait[1][None])[0].numpy()
    np.testing.assert_allclose(seen / 2, mesh.uv[front] * [1, -1] + [0, 1], atol=1e-4)
    person = inside(relief)
    assert psnr(mesh.texture[:256, :256][person], portrait[0][person]) > 35


def spoiled(portrait, **changes):
    crop, label, points = portrait
    return build_relief(changes.get("crop", crop), changes.get("label", label), changes.get("points", points))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (lambda p: {"crop": p[0][:, :-1]}, "square uint8 RGB"),
        (lambda p: {"crop": p[0].astype(np.float32)}, "square uint8 RGB"),
        (lambda p: {"crop": p[0][:100, :100]}, "100 pixels a side"),
        (lambda p: {"label": p[1][:16]}, "25 finite numbers"),
        (lambda p: {"label": p[1] * float("nan")}, "25 finite numbers"),
        (lambda p: {"label": torch.cat([p[1][:16] * 1.5, p[1][16:]])}, "no rotation"),
        (lambda p: {"label": moved(p[1], 5.0)}, "stands 5.00 from the head"),
        (lambda p: {"label": torch.cat([p[1][:16], p[1][16:] * 512])}, "normalised by the picture's side"),
        (lambda p: {"label": cameras.labels(cameras.look_at(70.0))[0]}, "a profile, 70 degrees"),
        (lambda p: {"points": p[2][:68]}, "468 finite mesh points"),
        (
            lambda p: {"points": np.where(np.arange(468)[:, None] == 3, np.nan, p[2])},
            "468 finite mesh points",
        ),
        (lambda p: {"points": p[2] + [5000, 0, 0]}, "outside the crop"),
    ],
)
def test_what_is_no_portrait_is_refused(portrait, changes, reason):
    with pytest.raises(ValueError, match=reason):
        spoiled(portrait, **changes(portrait))


def moved(label, radius):
    return cameras.at_radius(label, radius)


def test_cameras_that_are_none_or_look_from_behind_are_refused(relief):
    with pytest.raises(ValueError, match=r"labels \(V, 25\)"):
        relief.render(torch.zeros(25))
    with pytest.raises(ValueError, match="more than 80 degrees"):
        relief.render(cameras.labels(cameras.look_at(150.0)), 64)


def test_a_turned_head_is_shown_where_its_mirror_image_is_not(portrait):
    """The mirrored camera of a view far on the own side looks from behind the photograph's edge."""
    crop, _, points = portrait
    label = cameras.labels(cameras.look_at(30.0))[0]
    (view,) = build_relief(crop, label, points).render(cameras.labels(cameras.look_at(60.0)), 64)
    assert view.visibility.mean() > 0.05


def test_shoulders_that_the_crop_cuts_fall_outwards(relief):
    alpha = relief.layers.alpha
    pad = len(alpha) // 6
    heights = [(alpha[:, column] > 0.5).sum() for column in (pad, pad // 2, 0)]
    assert heights[0] > pad
    assert heights[0] > heights[1] > heights[2]
