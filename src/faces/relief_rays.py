"""Rays of one camera as another camera sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceforward.faces.relief_face import CELLS, MARGIN

STEEPEST = 0.17  # cosine between a ray and the photograph's axis
WIDTH = 512  # of the picture that flat places are looked up as: OpenCV allows no more than 32,767 columns


@dataclass(frozen=True, eq=False)
class Rays:
    """Rays of a camera as the photograph's camera sees them: at depth d, in cells, `still + moved / d`.

    Attributes:
        still: `(2, H, W)` float32.
        moved: `(2, H, W)` float32.
        start: Depth of their origin.
        stretch: `(H, W)` float32: length of a ray over its depth.
    """

    still: np.ndarray
    moved: np.ndarray
    start: float
    stretch: np.ndarray

    def cells(self, depth: np.ndarray | np.float32) -> np.ndarray:
        """Where points at these depths are in the grid, `(2, H, W)`: x and y."""
        seen = self.moved * (np.float32(1) / depth)
        seen += self.still
        return seen

    def some(self, where: np.ndarray) -> Rays:
        """Those at flat places `(N,)`, filled up to a picture of `WIDTH` columns."""
        count = -(-max(len(where), 1) // WIDTH) * WIDTH
        flat = np.concatenate([where, np.zeros(count - len(where), where.dtype)])
        still, moved = (
            values.reshape(2, -1)[:, flat].reshape(2, -1, WIDTH) for values in (self.still, self.moved)
        )
        return Rays(still, moved, self.start, self.stretch.ravel()[flat].reshape(-1, WIDTH))


class TooFarError(ValueError):
    """A camera looks at what the photograph shows nothing of."""


def rays_between(own: np.ndarray, camera: np.ndarray, size: int) -> Rays:
    """Rays of one camera in the axes of another.

    Args:
        own: `(25,)` label of the photograph.
        camera: `(25,)` label of the view.
        size: Side of the view.

    Raises:
        TooFarError: The cameras look more than about 80 degrees apart.
    """
    pose, other = own[:16].reshape(4, 4), camera[:16].reshape(4, 4)
    fx, skew, cx, _, fy, cy = camera[16:22]
    turn = pose[:3, :3].T @ other[:3, :3]
    middle = (np.arange(size) + 0.5) / size
    y = ((middle - cy) / fy)[:, None]
    x = ((middle - cx) / fx)[None] - skew / fx * y
    towards = turn[:, :1, None] * x + turn[:, 1:2, None] * y + turn[:, 2:, None]  # (3, H, W)
    length = np.sqrt(1 + x**2 + y**2)
    if (towards[2] / length).min() < STEEPEST:
        raise TooFarError(
            "a camera looks more than 80 degrees away from where the photograph was taken: a relief has "
            "nothing to show there"
        )
    origin = pose[:3, :3].T @ (other[:3, 3] - pose[:3, 3])
    lens = own[[16, 20]][:, None, None] * CELLS
    middle = (own[[18, 21]][:, None, None] + MARGIN) * CELLS - 0.5
    slope = towards[:2] / towards[2]
    still = (lens * slope + middle).astype(np.float32)
    moved = (lens * (origin[:2, None, None] - origin[2] * slope)).astype(np.float32)
    return Rays(still, moved, float(origin[2]), (length / towards[2]).astype(np.float32))
