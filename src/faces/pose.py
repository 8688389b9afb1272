"""Where the camera stands, from the points of a face: a robust fit of pose and face shape at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from faceforward.eg3d import cameras
from faceforward.faces.face_model import FaceModel

DISTANCE, DISTANCE_STD = 10.0, 1.0  # of the head from the camera: what the 3D crop makes it
FREEDOM = 4.0  # of Student's t: a point that is far off counts for little
#: From the face model's frame to EG3D's world: of a point, and so of the camera's centre.
WORLD_SCALE = 0.27
WORLD_ORIGIN = np.array([0.0, 0.006, 0.161])
_POSE = 6  # numbers of a pose: turn and shift


@dataclass(frozen=True, eq=False)
class HeadPose:
    """Heads in front of the camera of a 3D crop.

    Attributes:
        rotation: `(N, 3, 3)` from the face model's axes to the camera's (x right, y down, z forward).
        translation: `(N, 3)` of its origin, in its unit, in the camera's axes.
        shape: `(N, K)` coefficients of the modes.
        residual: `(N,)` median distance of the points from where the fit has them, in sides of the crop.
        covariance: `(N, 6 + K, 6 + K)` that the points' noise alone leaves: turn about the camera's axes
            (radians), shift, coefficients.
    """

    rotation: np.ndarray
    translation: np.ndarray
    shape: np.ndarray
    residual: np.ndarray
    covariance: np.ndarray

    @property
    def uncertainty(self) -> np.ndarray:
        """How far the points' noise alone lets the rotation move, `(N,)` degrees."""
        return np.degrees(np.sqrt(np.trace(self.covariance[:, :3, :3], axis1=1, axis2=2)))

    def label(self) -> torch.Tensor:
        """Camera labels `(N, 25)` as EG3D's preprocessing makes them, with its radius and intrinsics."""
        turned = self.rotation.transpose(0, 2, 1)
        centre = -(turned @ self.translation[..., None])[..., 0]
        poses = np.tile(np.eye(4), (len(centre), 1, 1))
        poses[:, :3, :3] = turned
        poses[:, :3, 3] = centre * WORLD_SCALE + WORLD_ORIGIN
        return cameras.at_radius(cameras.labels(torch.from_numpy(poses).float()))


def fit_pose(points: np.ndarray, model: FaceModel, *, steps: int = 25) -> HeadPose:
    """Fit heads to points: maximum a posteriori, by Levenberg-Marquardt, all heads at once.

    The errors of points follow Student's t with each point's own spread, the shape's coefficients and the
    distance a normal distribution. The start is the best affine camera of the mean face.

    Args:
        points: `(N, P, 2)` in sides of the 3D crop, x right, y down, the corner at 0.
        model: Of those points.
        steps: Of the optimisation.

    Raises:
        ValueError: The points are not those of the model, or not finite.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (len(model.mean), 2) or not np.isfinite(points).all():
        raise ValueError(f"expected finite points (N, {len(model.mean)}, 2), got {points.shape}")
    state = _State(*_start(points, model.mean), np.zeros((len(points), len(model.modes))))
    seen = _See(points, model, state)
    damping = np.full(len(points), 1e-3)
    for _ in range(steps):
        hessian, gradient = seen.normal_equations()
        diagonal = np.arange(hessian.shape[1])
        damped = hessian.copy()
        damped[:, diagonal, diagonal] *= 1 + damping[:, None]
        step = np.linalg.solve(damped, gradient[..., None])[..., 0]
        new = _See(points, model, state.moved(step))
        better = (new.cost <= seen.cost) & (new.camera[..., 2].min(axis=1) > 1)
        damping = np.where(better, damping * 0.3, damping * 8)
        state = state.where(better, new.state)
        seen = _See(points, model, state)
    hessian, _ = seen.normal_equations()
    return HeadPose(
        state.rotation,
        state.translation,
        state.shape,
        np.median(np.linalg.norm(seen.error, axis=-1), axis=1),
        np.linalg.inv(hessian),
    )


@dataclass(frozen=True, eq=False)
class _State:
    rotation: np.ndarray
    translation: np.ndarray
    shape: np.ndarray

    def moved(self, step: np.ndarray) -> _State:
        return _State(
            turns(step[:, :3]) @ self.rotation,
            self.translation + step[:, 3:_POSE],
            self.shape + step[:, _POSE:],
        )

    def where(self, chosen: np.ndarray, other: _State) -> _State:
        return _State(
            np.where(chosen[:, None, None], other.rotation, self.rotation),
            np.where(chosen[:, None], other.translation, self.translation),
            np.where(chosen[:, None], other.shape, self.shape),
        )


class _See:
    """What a state predicts, and how well it fits."""

    def __init__(self, points: np.ndarray, model: FaceModel, state: _State) -> None:
        self.model, self.state = model, state
        solid = model.mean + np.tensordot(state.shape, model.modes, axes=1)
        self.turned = solid @ state.rotation.transpose(0, 2, 1)
        self.camera = self.turned + state.translation[:, None]
        self.error = points - 0.5 - cameras.FOCAL * self.camera[..., :2] / self.camera[..., 2:]
        squares = (self.error**2).sum(axis=-1) / model.noise**2
        self.far = (state.translation[:, 2] - DISTANCE) / DISTANCE_STD
        self.cost = (
            (FREEDOM + 2) * np.log1p(squares / FREEDOM).sum(axis=1)
            + (state.shape**2).sum(axis=1)
            + self.far**2
        )
        self.weight = (FREEDOM + 2) / (FREEDOM + squares) / model.noise**2

    def normal_equations(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a step (turn in the camera's axes, shift, coefficients): `(N, 6 + K, 6 + K)`, `(N, 6 + K)`."""
        many, count = self.error.shape[:2]
        near = cameras.FOCAL / self.camera[..., 2]
        seen = np.zeros((many, count, 2, 3))  # by the point in the camera's axes
        seen[..., 0, 0] = seen[..., 1, 1] = near
        seen[..., :, 2] = -near[..., None] * self.camera[..., :2] / self.camera[..., 2:]
        modes = np.einsum("nij,kpj->npik", self.state.rotation, self.model.modes, optimize=True)
        jacobian = np.concatenate([seen @ -crosses(self.turned), seen, seen @ modes], axis=-1)
        flat = jacobian.reshape(many, 2 * count, -1)
        heavy = (jacobian * self.weight[..., None, None]).reshape(flat.shape).transpose(0, 2, 1)
        hessian = heavy @ flat
        gradient = (heavy @ self.error.reshape(many, -1, 1))[..., 0]
        hessian[:, 5, 5] += 1 / DISTANCE_STD**2
        gradient[:, 5] -= self.far / DISTANCE_STD
        coefficients = np.arange(_POSE, hessian.shape[1])
        hessian[:, coefficients, coefficients] += 1
        gradient[:, _POSE:] -= self.state.shape
        return hessian, gradient


def crosses(vectors: np.ndarray) -> np.ndarray:
    """Matrices `(..., 3, 3)` that multiply as the cross product with vectors `(..., 3)` does."""
    return np.cross(vectors[..., None, :], np.eye(3)).swapaxes(-1, -2)


def turns(vectors: np.ndarray) -> np.ndarray:
    """Rotations `(..., 3, 3)` by axis times angle `(..., 3)` (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12)[..., None, None]
    axis = crosses(vectors) / angle
    return np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * (axis @ axis)


def _start(points: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and translations of the best affine cameras, made rigid."""
    known = np.concatenate([mean, np.ones((len(mean), 1))], axis=1)
    cameras_of = np.linalg.pinv(known) @ (points - 0.5)  # (N, 4, 2)
    across, down = cameras_of[:, :3, 0], cameras_of[:, :3, 1]
    scale = (np.linalg.norm(across, axis=1) + np.linalg.norm(down, axis=1)) / 2
    scale = np.maximum(scale, 1e-6)
    rough = np.stack([across, down, np.cross(across, down) / scale[:, None]], axis=1)
    left, _, right = np.linalg.svd(rough)
    left[:, :, 2] *= np.linalg.det(left @ right)[:, None]
    depth = cameras.FOCAL / scale
    translation = np.concatenate([cameras_of[:, 3] / scale[:, None], depth[:, None]], axis=1)
    return left @ right, translation
