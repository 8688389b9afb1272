"""The mean face in space, at the points of the face mesh and in the frame of EG3D's labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from faceforward.errors import ConfigurationError
from faceforward.faces.mesh import POINTS
from faceforward.pretrained import require

NAME, FILE = "mean-face", "mean_face.npz"


@dataclass(frozen=True, eq=False)
class MeanFace:
    """The mean of many people's meshes.

    Made by `benchmarks/mean_face.py` from meshes of the train photographs of faces-128 (generalised
    Procrustes analysis). It is exactly symmetric. Its turn about the horizontal, its size and its height are
    those with which the official labels of five photographs are met best.

    Attributes:
        points: `(468, 3)` x right, y up, z to the viewer, in the frame and unit of `crop3d.FIVE_POINTS`.
    """

    points: np.ndarray

    @cached_property
    def mirrored(self) -> np.ndarray:
        """What each point is called on the mirrored face, `(468,)`."""
        across = self.points[:, None] * [-1, 1, 1] - self.points
        return np.asarray((across**2).sum(axis=-1).argmin(axis=1))

    @property
    def digest(self) -> str:
        """A few hexadecimal digits that tell one mean face from another."""
        return hashlib.sha256(self.points.astype(np.float32).tobytes()).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> MeanFace:
        """Read what `save` wrote.

        Raises:
            ConfigurationError: The file is not there, or holds no mean face.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                points = stored["points"].astype(np.float64)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigurationError(
                f"{path} does not hold a mean face of benchmarks/mean_face.py: {error}"
            ) from error
        if points.shape != (POINTS, 3) or not np.isfinite(points).all():
            raise ConfigurationError(f"{path} holds points of shape {points.shape}, not finite ({POINTS}, 3)")
        return cls(points)

    def save(self, path: Path) -> None:
        """Write the points as float32."""
        with path.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, points=self.points.astype(np.float32))


@cache
def mean_face() -> MeanFace:
    """The mean face that travels with the package.

    Raises:
        WeightsUnavailableError: It is not there.
        ConfigurationError: The file holds no mean face.
    """
    return MeanFace.load(require(NAME) / FILE)
