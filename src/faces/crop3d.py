"""The crop that EG3D's cameras are for: scaled and moved, never turned."""

from __future__ import annotations

import numpy as np

from faceforward.faces.align import Alignment, cut_out

#: The standard face: left and right eye (the picture's left first), nose, mouth corners; x right, y up, z to
#: the viewer, in units of which ten lie between it and the camera.
FIVE_POINTS = np.array(
    [
        [-0.3115, 0.2904, 0.1338],
        [0.3098, 0.2897, 0.1318],
        [0.0033, -0.0462, 0.5524],
        [-0.2522, -0.3813, 0.2241],
        [0.2485, -0.3813, 0.2224],
    ]
)
UNIT = (
    300 / 700
)  # of the crop's side: a unit of the standard face takes 300 pixels of 1024, 700 of which are kept


def crop3d_of(landmarks: np.ndarray, size: int = 512) -> Alignment:
    """Find the crop that EG3D's preprocessing would take (Chan et al., CVPR 2022, arXiv 2112.07945).

    The standard five points are carried to the landmarks by the best affine camera; its mean scale and the
    place where it sees the origin decide. A head that is turned or tipped stays so: the camera label says
    how.

    Args:
        landmarks: `(5, 2)` in the order of `Detection`, pixels of the photograph.
        size: Side of the crop.

    Raises:
        ValueError: All landmarks are one point.
    """
    known = np.concatenate([FIVE_POINTS, np.ones((5, 1))], axis=1)
    camera, *_ = np.linalg.lstsq(known, np.asarray(landmarks, dtype=np.float64), rcond=None)
    scale = np.linalg.norm(camera[:3], axis=0).mean()  # pixels of the photograph per unit
    if not scale > 1e-6:
        raise ValueError(f"five different landmarks are needed, got {np.asarray(landmarks).tolist()}")
    step = scale / (UNIT * size)
    matrix = np.diag([step, step, 1.0])
    matrix[:2, 2] = camera[3] - step * (size - 1) / 2
    return Alignment(matrix, size)


def crop3d(pixels: np.ndarray, landmarks: np.ndarray, size: int = 512) -> tuple[np.ndarray, Alignment]:
    """Cut a face out as EG3D wants it.

    Args:
        pixels: `(H, W, 3)` uint8 RGB photograph; what lies outside it is filled as `align` does.
        landmarks: `(5, 2)` in the order of `Detection`.
        size: Side of the crop.

    Returns:
        The crop, `(size, size, 3)` uint8 RGB, and the transform.
    """
    alignment = crop3d_of(landmarks, size)
    return cut_out(pixels, alignment), alignment
