"""What an edit did to a face's pose and expression, from its mesh before and after."""

from __future__ import annotations

import numpy as np

from faceforward.faces.mesh import EYES, LIPS, OUTER_CORNERS, POINTS
from faceforward.faces.procrustes import kabsch, similarity


def turn(before: np.ndarray, after: np.ndarray) -> float:
    """By how many degrees a head was turned: the angle of the rotation that lays one mesh over the other.

    Args:
        before: `(468, 3)` as `Mesh.points`, in any unit.
        after: The same, in a unit of its own.

    Raises:
        ValueError: They are not two finite meshes.
    """
    _check(before, after)
    rotation, _ = kabsch(np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64))
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def expression(before: np.ndarray, after: np.ndarray) -> float:
    """How much the outlines of eyes and mouth changed their shape, in distances of the outer eye corners.

    Each outline is laid over its counterpart by a similarity of its own, so that neither the pose nor the
    growth of the jaw, which moves and scales them, counts as expression. Opened lids and lips and moved
    corners do, and so do lips that grew thinner.

    Args:
        before: `(468, 3)` as `Mesh.points`, in any unit.
        after: The same, in a unit of its own.

    Returns:
        Root mean square over the outlines' points.

    Raises:
        ValueError: They are not two finite meshes.
    """
    _check(before, after)
    errors = []
    for part in (*EYES, LIPS):
        source = np.asarray(before, dtype=np.float64)[list(part)]
        target = np.asarray(after, dtype=np.float64)[list(part)]
        scale, rotation, shift = similarity(source, target)
        errors.append(np.square(scale * source @ rotation.T + shift - target).sum(axis=1))
    unit = np.linalg.norm(np.subtract(*np.asarray(after, dtype=np.float64)[list(OUTER_CORNERS)]))
    return float(np.sqrt(np.concatenate(errors).mean()) / max(unit, 1e-9))


def _check(before: np.ndarray, after: np.ndarray) -> None:
    for points in (before, after):
        if np.shape(points) != (POINTS, 3) or not np.isfinite(points).all():
            raise ValueError(f"expected a finite mesh ({POINTS}, 3), got {np.shape(points)}")
