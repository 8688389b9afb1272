"""A face as 468 points in space: MediaPipe's Face Mesh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from faceforward.faces.align import Alignment, alignment_of, cut_out
from faceforward.pretrained import require

FILE = "facemesh.onnx"
POINTS = 468
SIDE = 192  # of the network's input, pixels
MARGIN = 1.5  # side of the square that the network sees, in longer sides of the face's bounds
#: The first square, in the FFHQ frame of the five landmarks: the middle from the top, and the side.
FIRST_MIDDLE, FIRST_SIDE = 0.58, 0.93
#: Outlines of the eyes, the picture's left one first.
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
#: Outline of the lips.
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
OUTER_CORNERS = (33, 263)  # of the eyes, the picture's left one first


@dataclass(frozen=True, eq=False)
class Mesh:
    """The surface of one face.

    Attributes:
        points: `(468, 3)` float32 in the order of MediaPipe: x, y in pixel indices of the picture that it was
            fitted to, z in the same unit, away from the viewer positive, from an origin of its own.
        score: Probability in [0, 1] that a face was seen.
    """

    points: np.ndarray
    score: float


class FaceMesh:
    """Face Mesh (Kartynnik et al., 2019, arXiv 1907.06724), with the weights that travel with the package.

    The network wants the face upright and cut out as a square. It is run twice: on a square that follows
    from the five landmarks, then on one about the bounds of the first mesh.

    Args:
        folder: The folder with `facemesh.onnx`; None means the package's own.
        threads: Threads of ONNX Runtime.

    Raises:
        WeightsUnavailableError: The weights are not there.
    """

    name = "face-mesh"

    def __init__(self, folder: Path | None = None, *, threads: int = 1) -> None:
        self.folder = Path(folder) if folder is not None else require(self.name)
        self.threads = threads

    def fit(self, image: np.ndarray, landmarks: np.ndarray) -> Mesh:
        """Fit the mesh to a face.

        Args:
            image: `(H, W, 3)` uint8 RGB.
            landmarks: `(5, 2)` in the order of `Detection`, pixels of `image`.

        Returns:
            The mesh in the pixels of `image`.

        Raises:
            ValueError: The picture is not uint8 RGB, or the landmarks are not five points.
        """
        landmarks = np.asarray(landmarks, dtype=np.float64)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected a (H, W, 3) uint8 RGB picture, got {image.dtype} {image.shape}")
        if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
            raise ValueError(f"expected five finite landmarks, (5, 2), got {landmarks.shape}")
        first = self._look(image, _square_in_frame(alignment_of(landmarks, SIDE)))
        return self._look(image, square_about(first.points))

    def _look(self, image: np.ndarray, square: Alignment) -> Mesh:
        """Run the network on one square of the picture."""
        values = cut_out(image, square)[None].astype(np.float32) / 255
        mesh, face = self._session.run(["mesh", "face"], {"input_1": values})
        points = mesh[0].reshape(POINTS, 3).astype(np.float64)
        points[:, :2] = square.points_to_photo(points[:, :2] - 0.5)
        points[:, 2] *= square.scale
        return Mesh(points.astype(np.float32), float(face[0, 0]))

    @cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            str(self.folder / FILE), options, providers=["CPUExecutionProvider"]
        )

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_session"}


def square_about(points: np.ndarray) -> Alignment:
    """The square that the network wants to see of a face whose mesh is roughly known.

    Args:
        points: `(468, 2 or more)`, pixels of the picture.
    """
    places = np.asarray(points, dtype=np.float64)[:, :2]
    x = places[OUTER_CORNERS[1]] - places[OUTER_CORNERS[0]]
    x /= max(np.hypot(*x), 1e-6)
    turn = np.stack([x, [-x[1], x[0]]], axis=1)  # columns: the square's axes in the picture
    inside = places @ turn
    low, high = inside.min(axis=0), inside.max(axis=0)
    return _square(turn @ ((low + high) / 2), turn, MARGIN * max(float((high - low).max()), 1.0))


def _square_in_frame(frame: Alignment) -> Alignment:
    """The first square: a fixed part of the FFHQ crop."""
    middle = frame.points_to_photo(np.array([[0.5, FIRST_MIDDLE]]) * frame.size - 0.5)[0]
    return _square(middle, frame.matrix[:2, :2] / frame.scale, FIRST_SIDE * frame.size * frame.scale)


def _square(middle: np.ndarray, turn: np.ndarray, side: float) -> Alignment:
    matrix = np.eye(3)
    matrix[:2, :2] = turn * (side / SIDE)
    matrix[:2, 2] = middle - matrix[:2, :2] @ np.full(2, (SIDE - 1) / 2)
    return Alignment(matrix, SIDE)
