"""Where the camera stands, from the mesh of a face: a rigid fit of the mean face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from faceforward.eg3d import cameras
from faceforward.faces.procrustes import kabsch

DISTANCE, DISTANCE_STD = 10.0, 1.0  # of the head from the camera: what the 3D crop makes it
#: How much a point's depth counts beside its place in the picture. The network guesses depth: with its full
#: weight, 300 heads turn by 8 % less than the places alone say, and five official labels are missed by 4.8
#: degrees instead of 3.0.
DEPTH_WEIGHT = 0.25
#: From the mean face's frame to EG3D's world: of a point, and so of the camera's centre.
WORLD_SCALE = 0.27
WORLD_ORIGIN = np.array([0.0, 0.006, 0.161])
_SPREAD = 0.006  # of the points, in sides of the crop, against which the distance's own spread is weighed
_FREE = 60  # points' worth of independent errors in a mesh: neighbours err together


@dataclass(frozen=True, eq=False)
class HeadPose:
    """Heads in front of the camera of a 3D crop.

    Attributes:
        rotation: `(N, 3, 3)` from the mean face's axes to the camera's (x right, y down, z forward).
        translation: `(N, 3)` of its origin, in its unit, in the camera's axes.
        residual: `(N,)` median distance of the points from where the fit has them, in sides of the crop.
    """

    rotation: np.ndarray
    translation: np.ndarray
    residual: np.ndarray

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Where points `(P, 3)` of the mean face's frame are seen, `(N, P, 2)` in sides of the crop."""
        return 0.5 + _projected(points @ self.rotation.transpose(0, 2, 1) + self.translation[:, None])

    def label(self) -> torch.Tensor:
        """Camera labels `(N, 25)` as EG3D's preprocessing makes them, with its radius and intrinsics."""
        turned = self.rotation.transpose(0, 2, 1)
        centre = -(turned @ self.translation[..., None])[..., 0]
        poses = np.tile(np.eye(4), (len(centre), 1, 1))
        poses[:, :3, :3] = turned
        poses[:, :3, 3] = centre * WORLD_SCALE + WORLD_ORIGIN
        return cameras.at_radius(cameras.labels(torch.from_numpy(poses).float()))


def fit_pose(
    points: np.ndarray, solid: np.ndarray, *, depth_weight: float = DEPTH_WEIGHT, steps: int = 12
) -> HeadPose:
    """Turn and shift a head until it lies over meshes: Gauss-Newton from Kabsch's solution, all at once.

    The head is seen in perspective; depths are compared after their mean is taken off, since a mesh has them
    from an origin of its own. The distance has a normal prior.

    Args:
        points: `(N, P, 3)` in sides of the 3D crop: x right, y down from the corner at 0; z away from the
            viewer.
        solid: `(P, 3)` the same points of the head: x right, y up, z to the viewer.
        depth_weight: Of a point's depth, in [0, 1]; 1 is a point's place.
        steps: Of the optimisation.

    Raises:
        ValueError: The points are not those of the head, or not finite.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != solid.shape or not np.isfinite(points).all():
        raise ValueError(f"expected finite points (N, {len(solid)}, 3), got {points.shape}")
    rotation, translation = _start(points, solid)
    strength = _FREE / len(solid) / _SPREAD**2 * np.array([1, 1, depth_weight**2])
    for _ in range(steps):
        error, jacobian = _linearised(points, solid, rotation, translation)
        heavy = jacobian * strength[:, None]
        hessian = np.einsum("npai,npaj->nij", heavy, jacobian, optimize=True)
        gradient = np.einsum("npai,npa->ni", heavy, error, optimize=True)
        hessian[:, 5, 5] += 1 / DISTANCE_STD**2
        gradient[:, 5] -= (translation[:, 2] - DISTANCE) / DISTANCE_STD**2
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        rotation, translation = turns(step[:, :3]) @ rotation, translation + step[:, 3:]
    error, _ = _linearised(points, solid, rotation, translation)
    return HeadPose(rotation, translation, np.median(np.linalg.norm(error[..., :2], axis=-1), axis=1))


def crosses(vectors: np.ndarray) -> np.ndarray:
    """Matrices `(..., 3, 3)` that multiply as the cross product with vectors `(..., 3)` does."""
    return np.cross(vectors[..., None, :], np.eye(3)).swapaxes(-1, -2)


def turns(vectors: np.ndarray) -> np.ndarray:
    """Rotations `(..., 3, 3)` by axis times angle `(..., 3)` (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-12)[..., None, None]
    axis = crosses(vectors) / angle
    return np.eye(3) + np.sin(angle) * axis + (1 - np.cos(angle)) * (axis @ axis)


def _projected(camera: np.ndarray) -> np.ndarray:
    """Points `(..., 3)` in the camera's axes, seen from the middle of the picture, `(..., 2)`."""
    return cameras.FOCAL * camera[..., :2] / camera[..., 2:]


def _start(points: np.ndarray, solid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best similarities, as rotations `(N, 3, 3)` and translations `(N, 3)` before the camera."""
    rotation, scale = kabsch(solid, points)
    distance = cameras.FOCAL / np.maximum(scale, 1e-6)
    middle = (points.mean(axis=1)[:, :2] - 0.5) * (distance / cameras.FOCAL)[:, None]
    shift = np.concatenate([middle, distance[:, None]], axis=1)
    return rotation, shift - rotation @ solid.mean(axis=0)


def _linearised(
    points: np.ndarray, solid: np.ndarray, rotation: np.ndarray, translation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Errors `(N, P, 3)` of place and depth, and how a turn and a shift change them, `(N, P, 3, 6)`."""
    turned = solid @ rotation.transpose(0, 2, 1)
    camera = turned + translation[:, None]
    scale = cameras.FOCAL / translation[:, None, 2]  # of depths, which have no perspective
    error = points - 0.5
    error[..., :2] -= _projected(camera)
    error[..., 2] -= scale * turned[..., 2]
    near = cameras.FOCAL / camera[..., 2]
    seen = np.zeros((*turned.shape[:2], 2, 3))
    seen[..., 0, 0] = seen[..., 1, 1] = near
    seen[..., :, 2] = -near[..., None] * camera[..., :2] / camera[..., 2:]
    arm = -crosses(turned)
    jacobian = np.zeros((*turned.shape[:2], 3, 6))
    jacobian[..., :2, :3], jacobian[..., :2, 3:] = seen @ arm, seen
    jacobian[..., 2, :3] = scale[..., None] * arm[..., 2, :]
    jacobian[..., 2, 5] = -scale / translation[:, None, 2] * turned[..., 2]
    error[..., 2] -= error[..., 2].mean(axis=1, keepdims=True)
    jacobian[..., 2, :] -= jacobian[..., 2, :].mean(axis=1, keepdims=True)
    return error, jacobian
