"""Cameras: closed forms, and each function against another."""

import pytest
import torch

from faceforward.eg3d import cameras


def test_frontal_camera_is_that_of_the_release() -> None:
    pose = cameras.look_at(0, pivot=(0, 0, 0))
    expected = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    expected[2, 3] = 2.7
    torch.testing.assert_close(pose[0], expected)
    assert cameras.labels(pose).shape == (1, 25)
    torch.testing.assert_close(cameras.labels(pose)[0, 16:], torch.tensor(cameras.INTRINSICS))


def test_angles_come_back() -> None:
    given = torch.tensor([[0.0, 0, 0], [40, -20, 10], [-75, 30, -25], [120, 5, 90]])
    poses = cameras.look_at(*given.T)
    torch.testing.assert_close(cameras.angles(poses), given, atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.linalg.det(poses[:, :3, :3]), torch.ones(4))
    torch.testing.assert_close(poses[:, :3, :3] @ poses[:, :3, :3].mT, torch.eye(3).expand(4, 3, 3))


def test_camera_at_plus_x_sees_the_left_cheek_of_the_face_nearer() -> None:
    label = cameras.labels(cameras.look_at(30))
    assert label[0, 3] > 0
    nose, left_ear = torch.tensor([[0.0, 0, 0.6], [0.4, 0, 0]])
    seen = cameras.project(torch.stack([nose, left_ear]), label)[0]
    assert seen[0, 0] < 0.5 < seen[1, 0]


def test_pitch_looks_from_above_and_roll_turns_the_picture_back() -> None:
    assert cameras.look_at(0, 20)[0, 1, 3] > 0
    seen = cameras.project(torch.tensor([[0.0, 0.3, 0.2]]), cameras.labels(cameras.look_at(0, 0, 20)))[0, 0]
    assert seen[0] < 0.5 > seen[1]  # the top of the head leans to the left


def test_pivot_is_in_the_middle_of_the_picture() -> None:
    label = cameras.labels(cameras.look_at([-50, 10], [12, -30], [0, 45]))
    middle = cameras.project(torch.tensor([cameras.PIVOT]), label)
    torch.testing.assert_close(middle, torch.full((2, 1, 2), 0.5), atol=1e-5, rtol=0)


def test_mirrored_label_sees_the_mirrored_face_mirrored() -> None:
    label = cameras.labels(cameras.look_at([25, -5], [10, 20], [15, -8]))
    points = torch.rand(2, 9, 3) - 0.5
    seen = cameras.project(points, label)
    back = cameras.project(points * torch.tensor([-1, 1, 1]), cameras.mirrored(label))
    torch.testing.assert_close(back[..., 0], 1 - seen[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(back[..., 1], seen[..., 1], atol=1e-5, rtol=0)
    turned = cameras.angles(cameras.pose(cameras.mirrored(label)))
    torch.testing.assert_close(turned, cameras.angles(cameras.pose(label)) * torch.tensor([-1, 1, -1]))


def test_radius_is_of_the_camera_from_the_origin() -> None:
    label = cameras.at_radius(cameras.labels(cameras.look_at(33, -12, radius=5)))
    assert label[0, [3, 7, 11]].norm().item() == pytest.approx(2.7)


def test_opengl_and_back() -> None:
    poses = cameras.look_at([10, 20])
    assert cameras.to_opengl(cameras.look_at(0))[0, :3, :3].equal(torch.eye(3))
    torch.testing.assert_close(cameras.to_opengl(cameras.to_opengl(poses)), poses)


@pytest.mark.parametrize("degrees", [0.01, 1, 90, 180])
def test_rotation_error_is_the_angle(degrees: float) -> None:
    first, second = cameras.look_at(0), cameras.look_at(degrees)
    assert cameras.rotation_error(first, second).item() == pytest.approx(degrees, rel=1e-3)


def test_own_intrinsics_are_kept() -> None:
    own = torch.tensor([[2.0, 0, 0.4], [0, 2.1, 0.6], [0, 0, 1]])
    label = cameras.labels(cameras.look_at([0, 5]), own)
    torch.testing.assert_close(cameras.intrinsics(label), own.expand(2, 3, 3))
