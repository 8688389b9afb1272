"""Double outlines: edges of the photograph that are still where the edit took them away."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faceforward.faces.motion import moved
from faceforward.metrics.keeping import LEAST_ENERGY, LUMA, check_pair, fine

#: Edges are looked for at this scale; this share of the face's pixels is strong ones; those count that were
#: moved across themselves by MOVED or more. Lengths in sides of the crop.
EDGE_SCALE = 1 / 400
STRONG = 0.2
MOVED = 1 / 100


def motion(reference: np.ndarray, edit: np.ndarray) -> np.ndarray:
    """Where an edit moved things: dense flow between two pictures of a model that lie over each other.

    Farneback's (SCIA 2003), on luminance: another method than the one by which the product carries detail
    along, so that what misleads the one need not mislead its judge.

    Args:
        reference: `(s, s, 3)` uint8 RGB, the edit under the source's own prompt.
        edit: The edit, alike.

    Returns:
        `(s, s, 2)` float32: what is at pixel p of the reference is at `p + motion[p]` (x, y) of the edit; nan
        where the way back does not lead to p within half a pixel plus a fifth of the way.
    """
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (reference, edit))
    there, back = _farneback(first, second), _farneback(second, first)
    missed = np.linalg.norm(there + moved(back, there), axis=-1)
    there[missed > 0.5 + 0.2 * np.linalg.norm(there, axis=-1)] = np.nan
    return there


def _farneback(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    start = np.zeros((*first.shape, 2), np.float32)
    return np.asarray(cv2.calcOpticalFlowFarneback(first, second, start, 0.5, 4, 9, 5, 5, 1.1, 0))


@dataclass(frozen=True)
class Ghosts:
    """Double outlines of one picture.

    Attributes:
        stayed: How strong the photograph's outlines still are at the old place although the edit moved them:
            0 where none is left, 1 where they stayed as they were; nan where the edit moved none, or where
            the photograph has nothing fine there.
        went: How strong they are at the place they were moved to; nan likewise.
        moved: Share of the face's strong edges that the edit moved.
        lingering: How strong outlines still are where the edit changed more than a motion explains; nan where
            there are none.
        unexplained: Share of the face's strong edges there.
    """

    stayed: float
    went: float
    moved: float
    lingering: float
    unexplained: float


def double_outlines(source: np.ndarray, aged: np.ndarray, flow: np.ndarray, face: np.ndarray) -> Ghosts:
    """Look for outlines that are still where the edit took them away.

    With g the gradient of the fine luminance (`keeping.fine`), which the change of a small model does not
    touch, the aged picture's is explained by the source's where it was and by that of the source moved by the
    flow, `g_aged ~ stayed g_source + went g_moved`, by least squares over the strong edges that the flow
    moves across themselves. Unrelated texture adds nothing to either on average; a copy of strength a, left
    at the old place, adds a to `stayed`. Where the change is no motion (the flow is nan) there is `lingering`
    alone.

    Args:
        source: `(S, S, 3)` uint8 RGB: the photograph's crop that the change was carried onto (the grown one).
        aged: The aged picture, alike.
        flow: `(s, s, 2)` of `motion` at any size, in its own pixels.
        face: `(S, S)` bool, where to look.

    Returns:
        What stayed and what went along, and how many edges that rests on.

    Raises:
        ValueError: The pictures are not of one size, or the mask is empty.
    """
    check_pair(source, aged, face)
    size = len(source)
    known = np.isfinite(flow).all(axis=-1)
    moves = np.nan_to_num(flow).astype(np.float32) * (size / len(flow))
    moves = cv2.resize(moves, (size, size), interpolation=cv2.INTER_LINEAR)
    known = cv2.resize(known.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR) > 0.99
    outlines = _gradient(source @ LUMA)
    strength = np.linalg.norm(outlines, axis=-1)
    strong = face & (strength >= max(float(np.quantile(strength[face], 1 - STRONG)), 1e-6))
    across = np.abs((outlines * moves).sum(axis=-1)) / np.maximum(strength, 1e-6)
    chosen, other = strong & known & (across >= MOVED * size), strong & ~known
    details, shown = fine(source), _gradient(fine(aged))
    edges, arrived = _gradient(details), _gradient(fine(_gone(source, moves)))
    detailed = np.square(details[face]).mean() >= LEAST_ENERGY

    def explained(where: np.ndarray, *by: np.ndarray) -> list[float]:
        if not detailed or not where.any():
            return [float("nan")] * len(by)
        columns = np.stack([part[where].ravel() for part in by], axis=1).astype(np.float64)
        return np.linalg.lstsq(columns, shown[where].ravel().astype(np.float64), rcond=1e-4)[0].tolist()

    stayed, went = explained(chosen, edges, arrived)
    (lingering,) = explained(other, edges)
    share, rest = (float(part.sum() / max(strong.sum(), 1)) for part in (chosen, other))
    return Ghosts(stayed, went, share, lingering, rest)


def _gradient(values: np.ndarray) -> np.ndarray:
    """`(S, S, 2)` float32 gradient (x, y) of `(S, S)` values at `EDGE_SCALE`."""
    soft = cv2.GaussianBlur(values.astype(np.float32), (0, 0), max(EDGE_SCALE * len(values), 0.6))
    return np.stack([cv2.Scharr(soft, cv2.CV_32F, 1, 0), cv2.Scharr(soft, cv2.CV_32F, 0, 1)], axis=-1) / 32


def _gone(image: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """The picture, uint8, whose pixels have gone along; the way back is found by fixed-point iteration."""
    back = -moves
    for _ in range(8):  # back(p) = -moves(p + back(p)): from where pixel p came
        back = -moved(moves, back)
    return np.rint(np.clip(moved(image.astype(np.float32), back), 0, 255)).astype(np.uint8)
