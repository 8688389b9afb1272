"""Find the faces in a photograph, whatever its size and whichever way it was scanned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from faceforward.records import Detection

logger = logging.getLogger(__name__)

#: Longest side at which a photograph is searched at first; smaller ones are enlarged to LEAST_SIDE.
USUAL_SIDE, LEAST_SIDE = 1024, 256
#: Second look, for faces that fill the picture and for dark or pale ones. Third: for tiny ones.
PADDED_SIDE, MARGIN = 640, 0.3
LARGE_SIDE = 3000
SECOND_LOOK = "The face was found only after adding a margin to the picture and stretching its contrast."
THIRD_LOOK = "The face was found only in the picture at full size, with its contrast stretched."
TURNED = "The photograph lies turned by {} degrees clockwise: it was turned back."
#: A reading with less evidence is not trusted before the other looks were taken.
TRUSTED = 0.95
#: Which way up, measured with MTCNN on 100 portraits: a face on its side or upside down, when read upright,
#: scores below CERTAIN and its points are often huddled together (SPREAD). TURN_MARGIN was taken so that no
#: upright portrait is turned; 96 to 99 of 100 turned by 90, 180 or 270 degrees are put right.
CERTAIN = 0.998
SPREAD = 0.5  # eye distance and eye-to-mouth distance, in sides of the box, combined; 0.51 to 0.7 when right
HUDDLED = 0.2  # what is taken off the score per missing spread: little, as profiles are huddled too
TURN_MARGIN = 0.015
TURNED_SCORE = 0.9  # least score of a turned reading when nothing is found upright


class Detector(Protocol):
    """Finds faces with five landmarks."""

    name: str

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Return the faces in `image`, `(H, W, 3)` uint8 RGB, the largest first."""
        ...


def ordered_landmarks(points: np.ndarray) -> np.ndarray:
    """Bring eyes and mouth corners into the order of `Detection`, whatever a detector calls left.

    Left is counted along the face's own horizontal, so it holds for a face that lies on its side or its head.

    Args:
        points: `(5, 2)`: the eyes, the nose, the mouth corners; each pair in any order.

    Returns:
        `(5, 2)` float64 in the order of `Detection.landmarks`.
    """
    points = np.array(points, dtype=np.float64)
    up = points[:2].mean(axis=0) - points[3:].mean(axis=0)
    right = np.array([-up[1], up[0]])
    for first, second in ((0, 1), (3, 4)):
        if (points[first] - points[second]) @ right > 0:
            points[[first, second]] = points[[second, first]]
    return points


def largest_first(detections: Iterable[Detection], shape: tuple[int, ...]) -> list[Detection]:
    """Sort by the area of the box within a picture of `shape` `(H, W, ...)`: a face cut off counts less."""

    def area(face: Detection) -> float:
        x0, y0, x1, y1 = np.clip(face.box, 0, (shape[1], shape[0]) * 2)
        return float((x1 - x0) * (y1 - y0))

    return sorted(detections, key=area, reverse=True)


def find_faces(pixels: np.ndarray, detector: Detector) -> tuple[list[Detection], tuple[str, ...]]:
    """Find the faces of a photograph, in a second and third look if need be.

    The photograph is searched at a moderate size; then with a reflected margin and full contrast; then large,
    for tiny faces. Scans lie on their side or upside down: unless the upright reading is certain, the
    picture is read in four directions, each also mirrored, and the best mean score decides.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        detector: Any detector.

    Returns:
        The faces in the photograph's pixels, largest first (none at all when nothing is found), and what had
        to be done to find them, one sentence each.
    """
    looks: list[tuple[Callable[[], _View], bool, str | None]] = [
        (lambda: _View.of(pixels, USUAL_SIDE), True, None),
        (lambda: _View.of(pixels, PADDED_SIDE, MARGIN).stretched(), True, SECOND_LOOK),
    ]
    if max(pixels.shape[:2]) > USUAL_SIDE:
        looks.append((lambda: _View.of(pixels, LARGE_SIDE).stretched(), False, THIRD_LOOK))
    best: tuple[float, list[Detection], tuple[str, ...]] = (0.0, [], ())
    for view, may_turn, note in looks:
        quarters, found = _best_turn(view(), detector) if may_turn else (0, view().search(detector))
        found = [face for face in found if _inside(face, pixels.shape)]
        if _evidence(found) > best[0]:
            notes = [note] if note else []
            if quarters:
                notes.append(TURNED.format(90 * quarters))
            best = (_evidence(found), largest_first(found, pixels.shape), tuple(notes))
        if best[0] >= TRUSTED:
            break
    return best[1:]


@dataclass(frozen=True, eq=False)
class _View:
    """A scaled, padded, turned copy of a photograph, with the way back.

    Attributes:
        image: `(h, w, 3)` uint8 RGB.
        matrix: `(3, 3)`: the view's pixel coordinates to the photograph's; whole numbers are pixel centres.
    """

    image: np.ndarray
    matrix: np.ndarray

    @classmethod
    def of(cls, pixels: np.ndarray, longest_side: int, margin: float = 0.0) -> _View:
        """Scale the longest side to `LEAST_SIDE` .. `longest_side` and add a reflected margin."""
        height, width = pixels.shape[:2]
        longest = max(height, width)
        scale = min(max(longest, LEAST_SIDE), longest_side) / longest
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = pixels
        if size != (width, height):
            image = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        step = np.divide((width, height), size)
        matrix = np.array([[step[0], 0, step[0] / 2 - 0.5], [0, step[1], step[1] / 2 - 0.5], [0, 0, 1]])
        pad = round(margin * max(size))
        if pad:
            blurred = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
            blurred = cv2.GaussianBlur(
                blurred, (0, 0), pad / 8
            )  # or the mirrored eyes are faces of their own
            blurred[pad:-pad, pad:-pad] = image
            image, matrix = blurred, matrix @ np.array([[1, 0, -pad], [0, 1, -pad], [0, 0, 1]])
        return cls(image, matrix)

    def stretched(self) -> _View:
        """Stretch the values to the full range, leaving out the extreme hundredths."""
        low, high = np.percentile(self.image[::4, ::4], (1, 99))
        table = np.clip((np.arange(256) - low) * (255 / max(high - low, 1.0)), 0, 255)
        return _View(cv2.LUT(np.ascontiguousarray(self.image), np.rint(table).astype(np.uint8)), self.matrix)

    def turned(self, quarters: int) -> _View:
        """Turn by quarters counter-clockwise."""
        view = self
        for _ in range(quarters):
            last = view.image.shape[1] - 1  # a pixel (x, y) goes to (y, last - x)
            view = _View(np.rot90(view.image), view.matrix @ np.array([[0, -1, last], [1, 0, 0], [0, 0, 1]]))
        return view

    def mirrored(self) -> _View:
        """Swap left and right."""
        last = self.image.shape[1] - 1
        return _View(self.image[:, ::-1], self.matrix @ np.array([[-1, 0, last], [0, 1, 0], [0, 0, 1]]))

    def search(self, detector: Detector) -> list[Detection]:
        """Return the faces that the detector finds here, in the photograph's coordinates."""
        return [
            Detection(
                box=(*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()),
                landmarks=ordered_landmarks(self._to_photo(face.landmarks)),
                score=face.score,
            )
            for face in detector.detect(np.ascontiguousarray(self.image))
            for corners in [self._to_photo(np.reshape(face.box, (2, 2)))]
        ]

    def _to_photo(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix[:2, :2].T + self.matrix[:2, 2]


def _best_turn(view: _View, detector: Detector) -> tuple[int, list[Detection]]:
    """Return by how many quarters the view has to be turned counter-clockwise, and the faces found then."""
    upright = view.search(detector)
    if _evidence(upright) >= CERTAIN:
        return 0, upright
    readings = [upright] + [view.turned(quarters).search(detector) for quarters in (1, 2, 3)]
    evidence = [
        (_evidence(reading) + _evidence(view.turned(quarters).mirrored().search(detector))) / 2
        for quarters, reading in enumerate(readings)
    ]
    best = max((1, 2, 3), key=lambda quarters: evidence[quarters] if readings[quarters] else 0.0)
    least = evidence[0] + TURN_MARGIN if upright else TURNED_SCORE
    if readings[best] and evidence[best] > least:
        return best, readings[best]
    return 0, upright


def _evidence(faces: list[Detection]) -> float:
    """Return how well the best of the faces was read, in [0, 1]; 0 when there is none."""

    def one(face: Detection) -> float:
        sides = np.reshape(face.box, (2, 2))[1] - np.reshape(face.box, (2, 2))[0]
        points = face.landmarks / sides
        eyes = np.hypot(*(points[0] - points[1]))
        height = np.hypot(*(points[:2].mean(axis=0) - points[3:].mean(axis=0)))
        return face.score - HUDDLED * max(0.0, SPREAD - float(np.hypot(eyes, height)))

    return max((one(face) for face in faces), default=0.0)


def _inside(face: Detection, shape: tuple[int, ...]) -> bool:
    """Tell whether the middle of the face lies in the photograph, not in a reflected margin."""
    x, y = face.landmarks.mean(axis=0)
    return bool(0 <= x < shape[1] and 0 <= y < shape[0])


def default_detector() -> Detector:
    """Return RetinaFace when its weights are on this machine, else MTCNN; which one is said in the log."""
    from faceforward.faces.mtcnn import MTCNNDetector
    from faceforward.faces.retinaface import RetinaFaceDetector
    from faceforward.pretrained import locate

    weights = locate("retinaface")
    if weights is None:
        logger.info(
            "Faces are found by MTCNN. RetinaFace is more reliable on small and turned faces: "
            "`faceforward download retinaface` gets it."
        )
        return MTCNNDetector()
    logger.info("Faces are found by RetinaFace (%s).", weights)
    return RetinaFaceDetector(weights)
