"""The two halves of a face: what a change of age does to one of them alone is not age."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from faceforward.faces.fields import enlarged, smooth_field
from faceforward.faces.mean_face import mean_face
from faceforward.faces.motion import blurred, moved

if TYPE_CHECKING:
    from faceforward.faces.mesh import Mesh

COARSE = 0.02  # s.d. in sides of the crop: one-sided shadows and locks are larger, wrinkles are not
RATIO = 1.5  # of the other half's change that one half may have
FREE = 10.0  # grey levels that one half may change alone


def mirror_field(mesh: Mesh, size: int) -> np.ndarray:
    """Find where every pixel's mirror image lies in the other half of a face.

    A smooth shift that makes the face even, then a reflection about the line that the mesh's pairs of points
    give: so turned faces are mirrored as well.

    Args:
        mesh: In the pixels of the crop.
        size: Side of the crop.

    Returns:
        `(size, size, 2)` float32 pixels: `picture[p + field[p]]` is the mirror image of `picture[p]`.
    """
    points = (mesh.points[:, :2].astype(np.float64) + 0.5) / size
    others = points[_pairs()]
    across = others - points
    # The direction in which pairs lie apart, whichever of the two comes first.
    axis = np.linalg.svd(across, full_matrices=False)[2][0]
    middle = float((((points + others) / 2) @ axis).mean())
    rest = smooth_field(points, _reflected(others, axis, middle) - points, np.ones(len(points)))
    places = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1) + 0.5) / size
    mirrored = _reflected(places + enlarged(rest, size) / size, axis, middle)
    return ((mirrored - places) * size).astype(np.float32)


def two_sided(change: np.ndarray, mirror: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Bound the coarse part of a change by what it is in the other half of the face.

    Age works on both halves. Models also invent a shadow or a lock of hair on one of them, which the
    difference of two pictures would carry onto the photograph.

    Args:
        change: `(D, D, C)` float32, grey levels.
        mirror: `(D, D, 2)` float32, see `mirror_field`.
        face: `(D, D)` float32 in [0, 1]: where the face is.

    Returns:
        The change, `(D, D, C)` float32; outside the face, and where the other half is not in the picture, as
        it was.
    """
    coarse = blurred(change, COARSE * len(change)).reshape(change.shape)
    other = moved(coarse, mirror).reshape(change.shape)
    bounded = np.clip(coarse, np.minimum(RATIO * other, 0) - FREE, np.maximum(RATIO * other, 0) + FREE)
    known = face * np.clip(moved(face, mirror), 0, 1)
    return change + (bounded - coarse) * known[..., None]


def _reflected(places: np.ndarray, axis: np.ndarray, middle: float) -> np.ndarray:
    return places - 2 * ((places @ axis)[..., None] - middle) * axis


@cache
def _pairs() -> np.ndarray:
    """The point of the other half for each of the mesh's, `(468,)`."""
    return mean_face().mirrored
