"""Cameras as EG3D labels them: where they stand, how they look, and the 25 numbers that say so.

The world has y up and z towards the viewer; a face looks along +z, its left side at +x. A camera has x right,
y down and z forward (OpenCV).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

RADIUS = 2.7  # of every official label
PIVOT = (0.0, 0.0, 0.2)  # what turntables of FFHQ's generator look at
FOCAL = 4.2647  # of the picture's side: 2985.29 / 700
INTRINSICS = (FOCAL, 0.0, 0.5, 0.0, FOCAL, 0.5, 0.0, 0.0, 1.0)
LABEL = 25

Angles = torch.Tensor | Sequence[float] | float


def look_at(
    yaw: Angles,
    pitch: Angles = 0.0,
    roll: Angles = 0.0,
    *,
    radius: float = RADIUS,
    pivot: Sequence[float] = PIVOT,
) -> torch.Tensor:
    """Poses of cameras that look at a point.

    Args:
        yaw: Degrees around the face: 0 in front, positive at +x, where its left cheek is seen.
        pitch: Degrees, positive from above; less than 90.
        roll: Degrees that the camera is turned clockwise, so that the picture turns the other way.
        radius: Distance to the point.
        pivot: The point.

    Returns:
        cam2world `(N, 4, 4)`; one angle of a kind serves all of another.
    """
    values = [torch.as_tensor(value, dtype=torch.float32).reshape(-1) for value in (yaw, pitch, roll)]
    across, up, turned = torch.broadcast_tensors(*(torch.deg2rad(value) for value in values))
    back = torch.stack([across.sin() * up.cos(), up.sin(), across.cos() * up.cos()], dim=1)
    right = torch.stack([across.cos(), torch.zeros_like(across), -across.sin()], dim=1)
    down = torch.linalg.cross(-back, right)
    cosine, sine = turned.cos()[:, None], turned.sin()[:, None]
    poses = torch.eye(4).repeat(len(back), 1, 1)
    poses[:, :3, 0] = cosine * right + sine * down
    poses[:, :3, 1] = cosine * down - sine * right
    poses[:, :3, 2] = -back
    poses[:, :3, 3] = torch.as_tensor(pivot, dtype=torch.float32) + radius * back
    return poses


def angles(poses: torch.Tensor) -> torch.Tensor:
    """Yaw, pitch and roll of where cameras look, as `look_at` takes them.

    Args:
        poses: cam2world `(..., 4, 4)`.

    Returns:
        `(..., 3)` degrees.
    """
    right, down, forward = (poses[..., :3, axis] for axis in range(3))
    yaw = torch.atan2(-forward[..., 0], -forward[..., 2])
    pitch = torch.asin((-forward[..., 1]).clamp(-1, 1))
    level = torch.stack([yaw.cos(), torch.zeros_like(yaw), -yaw.sin()], dim=-1)
    roll = torch.atan2(-(down * level).sum(-1), (right * level).sum(-1))
    return torch.rad2deg(torch.stack([yaw, pitch, roll], dim=-1))


def labels(poses: torch.Tensor, intrinsics: torch.Tensor | None = None) -> torch.Tensor:
    """The 25 numbers of cameras.

    Args:
        poses: cam2world `(..., 4, 4)`.
        intrinsics: `(3, 3)` or `(..., 3, 3)`, normalised by the side; None takes FFHQ's.

    Returns:
        `(..., 25)`.
    """
    if intrinsics is None:
        intrinsics = poses.new_tensor(INTRINSICS)
    inner = intrinsics.to(poses).reshape(*intrinsics.shape[:-2], 9) if intrinsics.ndim > 1 else intrinsics
    return torch.cat([poses.flatten(-2), inner.expand(*poses.shape[:-2], 9)], dim=-1)


def pose(label: torch.Tensor) -> torch.Tensor:
    """cam2world `(..., 4, 4)` of labels `(..., 25)`."""
    return label[..., :16].unflatten(-1, (4, 4))


def intrinsics(label: torch.Tensor) -> torch.Tensor:
    """Intrinsics `(..., 3, 3)` of labels `(..., 25)`, normalised by the picture's side."""
    return label[..., 16:25].unflatten(-1, (3, 3))


def mirrored(label: torch.Tensor) -> torch.Tensor:
    """Labels `(..., 25)` of the same photographs flipped left to right."""
    signs = torch.ones(LABEL, dtype=label.dtype, device=label.device)
    signs[[1, 2, 3, 4, 8]] = -1
    return label * signs


def at_radius(label: torch.Tensor, radius: float = RADIUS) -> torch.Tensor:
    """Labels `(..., 25)` with their cameras moved along the line to the origin, to a distance from it."""
    result = label.clone()
    centre = label[..., [3, 7, 11]]
    result[..., [3, 7, 11]] = centre * (radius / centre.norm(dim=-1, keepdim=True))
    return result


def to_opengl(poses: torch.Tensor) -> torch.Tensor:
    """cam2world `(..., 4, 4)` with x right, y up, z back instead of OpenCV's axes, or the other way round."""
    return poses * poses.new_tensor([1, -1, -1, 1])


def rotation_error(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Degrees between the rotations of poses `(..., 4, 4)`, `(...)` in [0, 180]."""
    # The chord, not the trace: an arc cosine near one knows no small angles in float32.
    chord = (first[..., :3, :3] - second[..., :3, :3]).flatten(-2).norm(dim=-1) / 8**0.5
    return torch.rad2deg(2 * torch.asin(chord.clamp(max=1)))


def project(points: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Where points of space are seen.

    Args:
        points: `(M, 3)` or `(N, M, 3)`.
        label: `(N, 25)`.

    Returns:
        `(N, M, 2)` in shares of the picture's side, x right, y down, the corner at 0.
    """
    rotation, centre = pose(label)[:, :3, :3], pose(label)[:, :3, 3]
    seen = (points - centre[:, None]) @ rotation
    flat = seen @ intrinsics(label).transpose(1, 2)
    return flat[..., :2] / flat[..., 2:]
