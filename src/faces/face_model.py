"""The mean face in space and the ways in which faces differ from it, at the points that detectors find."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from faceforward import pretrained
from faceforward.errors import ConfigurationError, WeightsUnavailableError

FILE = Path("face-model") / "face_model.npz"  # in the package's weights
FIRST_OF_FIVE = 68  # numbers of points: iBUG's 0 to 67, then the five of `Detection`


@dataclass(frozen=True, eq=False)
class FaceModel:
    """Points of a face: `mean + coefficients @ modes`, with coefficients of variance one.

    Made by `benchmarks/face_model.py`, from nothing but points detected in the train photographs of faces-128
    (dlib's 68, the detector's five): non-rigid structure from motion under the same perspective camera that
    poses are fitted with. Mean and modes are symmetric; the mean's last five points are held to EG3D's
    standard five (`crop3d.FIVE_POINTS`), whose frame and unit it has; and the modes are free of whatever one
    picture cannot tell from a turn of the head (depth growing with height or height with depth, a deeper
    face), so pose and shape do not trade places. It holds no photograph and no licensed face model.

    Attributes:
        numbers: `(P,)` which point each is, see `FIRST_OF_FIVE`.
        mean: `(P, 3)` x right, y up, z to the viewer.
        modes: `(K, P, 3)`.
        noise: `(P,)` standard deviation of a detected point along one axis, in sides of the 3D crop.
    """

    numbers: np.ndarray
    mean: np.ndarray
    modes: np.ndarray
    noise: np.ndarray

    @property
    def digest(self) -> str:
        """A few hexadecimal digits that tell one model from another."""
        parts = (self.numbers, self.mean, self.modes, self.noise)
        content = b"".join(np.ascontiguousarray(part, dtype=np.float32).tobytes() for part in parts)
        return hashlib.sha256(content).hexdigest()[:16]

    def only(self, numbers: np.ndarray) -> FaceModel:
        """The model of some of its points, in the order of `numbers`.

        Raises:
            ValueError: It has no such point.
        """
        rows = [int(row) for number in numbers for row in np.flatnonzero(self.numbers == number)]
        if len(rows) != len(numbers):
            raise ValueError(
                f"the face model has the points {self.numbers.tolist()}, not all of {list(numbers)}"
            )
        return FaceModel(self.numbers[rows], self.mean[rows], self.modes[:, rows], self.noise[rows])


@cache
def face_model(path: Path | None = None) -> FaceModel:
    """Read the model.

    Args:
        path: As `save_face_model` writes it; None means the package's own.

    Raises:
        WeightsUnavailableError: It is not there.
        ConfigurationError: It is no face model.
    """
    path = path or pretrained.EMBEDDED / FILE
    if not path.is_file():
        raise WeightsUnavailableError(f"there is no face model at {path}: reinstall faceforward")
    try:
        with np.load(path, allow_pickle=False) as stored:
            numbers = stored["numbers"]
            mean, modes, noise = (stored[name].astype(np.float64) for name in ("mean", "modes", "noise"))
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path} is no face model of benchmarks/face_model.py: {error}") from error
    return FaceModel(numbers, mean, modes, noise)


def save_face_model(model: FaceModel, path: Path) -> None:
    """Write a model, as float32."""
    parts = {"mean": model.mean, "modes": model.modes, "noise": model.noise}
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            numbers=model.numbers.astype(np.int16),
            allow_pickle=False,
            **{name: value.astype(np.float32) for name, value in parts.items()},
        )
