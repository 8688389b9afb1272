"""Known cameras see known heads, and the fit finds them again."""

import numpy as np
import pytest
import torch

from faceforward.eg3d import cameras
from faceforward.faces.mean_face import mean_face
from faceforward.faces.pose import (
    WORLD_ORIGIN,
    WORLD_SCALE,
    HeadPose,
    crosses,
    fit_pose,
    turns,
)
from faceforward.faces.procrustes import kabsch


def rendered(truth, noise=0.0, seed=0):
    """Meshes of the mean face in sides of the picture, `(N, 468, 3)`, under known cameras."""
    solid = mean_face().points
    world = torch.from_numpy(solid * WORLD_SCALE + WORLD_ORIGIN).float()
    places = cameras.project(world, truth).double().numpy()
    pose = cameras.pose(truth).double().numpy()
    away = np.einsum("nji,npj->npi", pose[:, :3, :3], world.double().numpy() - pose[:, None, :3, 3])[..., 2:]
    depths = cameras.FOCAL * (away - away.mean(axis=1, keepdims=True)) / away.mean(axis=1, keepdims=True)
    meshes = np.concatenate([places, depths], axis=-1)
    return meshes + np.random.default_rng(seed).normal(0, 1, meshes.shape) * noise


def error(pose, truth):
    return cameras.rotation_error(cameras.pose(pose.label()), cameras.pose(truth)).numpy()


@pytest.fixture(scope="module")
def truth():
    """Cameras at 0, 30 and 60 degrees of yaw on both sides."""
    yaw = np.repeat([-60, -30, 0, 30, 60], 6).astype(float)
    pitch, roll = np.random.default_rng(3).normal(0, [[8], [6]], (2, len(yaw)))
    return cameras.at_radius(cameras.labels(cameras.look_at(yaw.tolist(), pitch.tolist(), roll.tolist())))


def test_exact_meshes_give_the_camera(truth):
    pose = fit_pose(rendered(truth), mean_face().points)
    assert error(pose, truth).max() < 1
    towards = torch.nn.functional.cosine_similarity(pose.label()[:, [3, 7, 11]], truth[:, [3, 7, 11]])
    assert towards.min() > np.cos(np.radians(2))
    assert (pose.residual < 0.002).all()
    shown = pose.seen(mean_face().points)
    assert np.abs(shown - rendered(truth)[..., :2]).max() < 0.01


def test_noise_is_borne(truth):
    pose = fit_pose(rendered(truth, noise=0.01), mean_face().points)
    assert error(pose, truth).max() < 2


def test_mirrored_meshes_give_the_mirrored_label(truth):
    meshes, mean = rendered(truth, noise=0.005), mean_face()
    mirrored = (meshes * [-1, 1, 1] + [1, 0, 0])[:, mean.mirrored]
    first, second = fit_pose(meshes, mean.points).label(), fit_pose(mirrored, mean.points).label()
    torch.testing.assert_close(cameras.mirrored(second), first, atol=2e-3, rtol=0)


def test_the_mean_face_is_symmetric():
    mean = mean_face()
    assert (mean.mirrored[mean.mirrored] == np.arange(468)).all()
    np.testing.assert_allclose(mean.points[mean.mirrored] * [-1, 1, 1], mean.points, atol=1e-5)


def test_a_head_straight_ahead_has_the_frontal_label():
    straight = np.diag([1.0, -1.0, -1.0])[None]
    label = HeadPose(straight, np.array([[0, 0, 10.0]]), np.zeros(1)).label()
    assert label[0, [0, 5, 10]].tolist() == [1, -1, -1]
    assert label[0, [3, 7, 11]].norm().item() == pytest.approx(2.7)
    centre = np.array([0, 0.006, 10 * 0.27 + 0.161])
    assert label[0, [3, 7, 11]].numpy() == pytest.approx(centre * 2.7 / np.linalg.norm(centre), abs=1e-5)
    assert label[0, 16:].tolist() == pytest.approx(cameras.INTRINSICS)


def test_kabsch_finds_a_similarity():
    points = np.random.default_rng(0).normal(size=(40, 3))
    rotation = turns(np.array([0.3, -0.9, 0.4]))
    found, scale = kabsch(points, 2.5 * points @ rotation.T + [1, 2, 3])
    np.testing.assert_allclose(found, rotation, atol=1e-9)
    assert scale == pytest.approx(2.5)


def test_turns_and_crosses():
    first, second = np.random.default_rng(0).normal(size=(2, 7, 3))
    assert np.allclose((crosses(first) @ second[..., None])[..., 0], np.cross(first, second))
    assert np.allclose(turns(first) @ turns(-first), np.eye(3))
    quarter = turns(np.array([0, 0, np.pi / 2])) @ np.array([1.0, 0, 0])
    assert np.allclose(quarter, [0, 1, 0])
    assert np.allclose(turns(np.zeros((1, 3))), np.eye(3))


@pytest.mark.parametrize("points", [np.zeros((1, 4, 3)), np.zeros((468, 3)), np.full((1, 468, 3), np.nan)])
def test_points_of_another_kind(points):
    with pytest.raises(ValueError, match=r"finite points \(N, 468, 3\)"):
        fit_pose(points, mean_face().points)
