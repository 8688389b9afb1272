"""The points of a face that its pose is fitted to."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from faceforward.faces.align import align
from faceforward.pretrained import locate, require
from faceforward.records import Detection

logger = logging.getLogger(__name__)

FILE = "shape_predictor_68_face_landmarks.dat"
SIDE = 384  # of the aligned crop that the predictor looks at, pixels
#: Where it is told that the face is, in units of that side; the mean of three calms its jitter by a third.
BOXES = ((0.2, 0.25, 0.8, 0.85), (0.23, 0.28, 0.77, 0.82), (0.17, 0.23, 0.83, 0.89))


def _runs(*runs: tuple[int, int]) -> np.ndarray:
    return np.concatenate([np.arange(a, b, 1 if b > a else -1) for a, b in runs])


#: What each of iBUG's 68 points is called on the mirrored face.
MIRRORED_68 = _runs(
    (16, -1), (26, 16), (27, 31), (35, 30), (45, 41), (47, 45), (39, 35), (41, 39), (54, 47), (59, 54),
    (64, 59), (67, 64),
)  # fmt: skip


class LandmarkDetector(Protocol):
    """Finds the points of one face.

    Attributes:
        name: What manifests say.
        points: Name of the point set in the face model: `five` or `sixty-eight`.
    """

    name: str
    points: str

    def detect(self, image: np.ndarray, face: Detection) -> np.ndarray:
        """Return `(P, 2)` float64, pixels of `image`, `(H, W, 3)` uint8 RGB, for a face found in it."""
        ...


class FiveLandmarks:
    """The face detector's own five points: no further weights, coarser poses."""

    name = "five"
    points = "five"

    def detect(self, image: np.ndarray, face: Detection) -> np.ndarray:
        """The landmarks of `face`, `(5, 2)`."""
        return np.asarray(face.landmarks, dtype=np.float64)


class DlibLandmarks68:
    """dlib's 68 points (Kazemi and Sullivan, CVPR 2014), with the weights of `face_recognition_models`.

    The weights were trained on iBUG 300-W, whose licence excludes commercial use; `FiveLandmarks` is free of
    that. The predictor sees the face upright, as FFHQ aligns it, in several boxes and mirrored as well: its
    points are the mean, so a mirrored photograph gives the mirrored points.

    Args:
        folder: The folder with dlib's `.dat` file; None means the installed package's.

    Raises:
        WeightsUnavailableError: The package with the weights is not installed.
    """

    name = "dlib-landmarks-68"
    points = "sixty-eight"

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(folder) if folder is not None else require(self.name)

    def detect(self, image: np.ndarray, face: Detection) -> np.ndarray:
        """Find the points.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            face: Where the face is in it.

        Returns:
            `(68, 2)` float64 in the order of iBUG: jaw, brows, nose, eyes, mouth, each from the picture's
            left.
        """
        crop, alignment = align(image, face.landmarks, SIDE)
        return alignment.points_to_photo(self.detect_aligned(crop))

    def detect_aligned(self, crop: np.ndarray) -> np.ndarray:
        """Find the points, `(68, 2)` in pixels, of a crop aligned like FFHQ, `(S, S, 3)` uint8 RGB."""
        last = crop.shape[1] - 1
        straight = self.mean_of_boxes(np.ascontiguousarray(crop))
        mirrored = self.mean_of_boxes(np.ascontiguousarray(crop[:, ::-1]))[MIRRORED_68]
        return (straight + np.array([last, 0]) + mirrored * np.array([-1, 1])) / 2

    def mean_of_boxes(self, crop: np.ndarray) -> np.ndarray:
        """What the predictor says of such a crop as it is, `(68, 2)` in its pixels."""
        import dlib

        side = crop.shape[0]
        found = [
            self._predictor(crop, dlib.rectangle(*(round(edge * side) for edge in box))).parts()
            for box in BOXES
        ]
        return np.mean([[(point.x, point.y) for point in points] for points in found], axis=0)

    @cached_property
    def _predictor(self) -> Any:
        import dlib

        return dlib.shape_predictor(str(self.folder / FILE))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_predictor"}


def default_landmarks() -> LandmarkDetector:
    """The 68 points when their weights are on this machine, else the five; which one is said in the log."""
    if locate(DlibLandmarks68.name) is None:
        logger.info(
            "Poses are fitted to the detector's five points; %s would be more exact.", DlibLandmarks68.name
        )
        return FiveLandmarks()
    logger.info("Poses are fitted to dlib's 68 points (trained on iBUG 300-W: not for commercial use).")
    return DlibLandmarks68()
