"""Known cameras see known heads, and the fit finds them again."""

import numpy as np
import pytest
import torch

from faceforward.eg3d import cameras
from faceforward.faces.crop3d import FIVE_POINTS
from faceforward.faces.face_model import FIRST_OF_FIVE, FaceModel, face_model
from faceforward.faces.landmarks import MIRRORED_68
from faceforward.faces.pose import WORLD_ORIGIN, WORLD_SCALE, HeadPose, crosses, fit_pose, turns

FIVE = FaceModel(np.arange(68, 73), FIVE_POINTS, np.zeros((0, 5, 3)), np.full(5, 0.01))


def rendered(model, truth, shape, noise=0.0, seed=0):
    """Points of heads in shares of the picture, `(N, P, 2)`."""
    solid = (model.mean + np.tensordot(shape, model.modes, axes=1)) * WORLD_SCALE + WORLD_ORIGIN
    points = cameras.project(torch.from_numpy(solid).float(), truth).double().numpy()
    return points + np.random.default_rng(seed).normal(0, 1, points.shape) * noise * model.noise[:, None]


def error(pose, truth):
    return cameras.rotation_error(cameras.pose(pose.label()), cameras.pose(truth)).numpy()


@pytest.fixture(scope="module")
def heads():
    """Cameras at 0, 30 and 60 degrees of yaw on both sides, and heads of as many shapes."""
    yaw = np.repeat([-60, -30, 0, 30, 60], 6).astype(float)
    generator = np.random.default_rng(3)
    pitch, roll = generator.normal(0, [[8], [6]], (2, len(yaw)))
    truth = cameras.labels(cameras.look_at(yaw.tolist(), pitch.tolist(), roll.tolist()))
    return truth, generator.normal(0, 1, (len(yaw), len(face_model().modes)))


def test_exact_points_give_the_camera(heads):
    truth, shape = heads
    pose = fit_pose(rendered(face_model(), truth, shape * 0.3), face_model(), steps=40)
    assert error(pose, truth).max() < 1  # the priors pull a little
    assert np.abs(pose.shape - shape * 0.3).max() < 0.3
    towards = torch.nn.functional.cosine_similarity(pose.label()[:, [3, 7, 11]], truth[:, [3, 7, 11]])
    assert towards.min() > np.cos(np.radians(2))
    assert (pose.residual < 0.002).all()


def test_noise_and_outliers_are_borne(heads):
    truth, shape = heads
    model = face_model()
    points = rendered(model, truth, shape, noise=1.0)
    thrown = np.random.default_rng(1).random(points.shape[:2]) < 0.05
    points[thrown] += 0.1
    pose = fit_pose(points, model)
    assert error(pose, truth).mean() < 2
    assert error(pose, truth).max() < 5
    assert (pose.uncertainty < 3).all()


def test_five_rigid_points_are_perspective_n_point(heads):
    truth, _ = heads
    pose = fit_pose(rendered(FIVE, truth, np.zeros((len(truth), 0))), FIVE)
    assert error(pose, truth).max() < 1
    assert pose.shape.shape == (len(truth), 0)


def test_mirrored_points_give_the_mirrored_label(heads):
    truth, shape = heads
    model = face_model()
    points = rendered(model, truth, shape, noise=2.0)
    numbers = np.concatenate([MIRRORED_68, FIRST_OF_FIVE + np.array([1, 0, 2, 4, 3])])[model.numbers]
    order = [int(np.flatnonzero(model.numbers == number)[0]) for number in numbers]
    mirrored = (points * [-1, 1] + [1, 0])[:, order]
    first, second = fit_pose(points, model).label(), fit_pose(mirrored, model).label()
    torch.testing.assert_close(cameras.mirrored(second), first, atol=2e-3, rtol=0)


def test_a_head_straight_ahead_has_the_frontal_label():
    straight = np.diag([1.0, -1.0, -1.0])[None]
    pose = HeadPose(straight, np.array([[0, 0, 10.0]]), np.zeros((1, 0)), np.zeros(1), np.zeros((1, 6, 6)))
    label = pose.label()
    assert label[0, [0, 5, 10]].tolist() == [1, -1, -1]
    assert label[0, [3, 7, 11]].norm().item() == pytest.approx(2.7)
    centre = np.array([0, 0.006, 10 * 0.27 + 0.161])
    assert label[0, [3, 7, 11]].numpy() == pytest.approx(centre * 2.7 / np.linalg.norm(centre), abs=1e-5)
    assert label[0, 16:].tolist() == pytest.approx(cameras.INTRINSICS)


def test_turns_and_crosses():
    first, second = np.random.default_rng(0).normal(size=(2, 7, 3))
    assert np.allclose((crosses(first) @ second[..., None])[..., 0], np.cross(first, second))
    assert np.allclose(turns(first) @ turns(-first), np.eye(3))
    quarter = turns(np.array([0, 0, np.pi / 2])) @ np.array([1.0, 0, 0])
    assert np.allclose(quarter, [0, 1, 0])
    assert np.allclose(turns(np.zeros((1, 3))), np.eye(3))


@pytest.mark.parametrize("points", [np.zeros((1, 4, 2)), np.zeros((5, 2)), np.full((1, 5, 2), np.nan)])
def test_points_of_another_kind(points):
    with pytest.raises(ValueError, match=r"finite points \(N, 5, 2\)"):
        fit_pose(points, FIVE)
