"""How the outlines of one picture move to those of another, and pictures resampled along with them."""

from __future__ import annotations

import cv2
import numpy as np

from faceforward.diffusion.color import LUMA

CONTRAST_WINDOW = 0.04  # s.d. in sides of the picture of the window in which contrast is made equal
SMOOTH = 0.016  # s.d. of the flow's smoothing, in sides
NOISE = 4.0  # grey levels added to the local contrast, so that even areas stay even


def motion(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Dense flow between two pictures of one face, where both directions agree (DIS, arXiv 1603.03590).

    Args:
        after: `(D, D, 3)` float32 RGB, 0 to 255.
        before: Likewise.

    Returns:
        `(D, D, 2)` float32 in pixels: `after[p]` shows what `before[p + flow[p]]` shows; towards 0 where the
        flows of the two directions contradict each other.
    """
    now, then = (_evened(picture @ LUMA) for picture in (after, before))
    solver = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    solver.setFinestScale(1)
    solver.setPatchSize(12)
    solver.setVariationalRefinementAlpha(20)
    start = np.zeros((*now.shape, 2), np.float32)
    back, forth = (solver.calc(*pair, start.copy()) for pair in ((now, then), (then, now)))
    apart = np.hypot(*np.moveaxis(back + moved(forth, back), -1, 0))
    length = np.hypot(back[..., 0], back[..., 1])
    trust = np.exp(-((apart / (1 + 0.1 * length)) ** 2))
    deviation = SMOOTH * len(now)
    return blurred(back * trust[..., None], deviation) / (blurred(trust, deviation)[..., None] + 0.05)


def moved(picture: np.ndarray, field: np.ndarray) -> np.ndarray:
    """A float32 picture resampled: the result's pixel p shows `picture[p + field[p]]`.

    Args:
        picture: `(S, S)` or `(S, S, C)` float32.
        field: `(S, S, 2)` float32, pixels.
    """
    height, width = field.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(
        picture,
        columns + field[..., 0],
        rows + field[..., 1],
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def blurred(picture: np.ndarray, deviation: float) -> np.ndarray:
    """A float32 picture under a Gaussian of this standard deviation, pixels."""
    return cv2.GaussianBlur(picture, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)


def at_side(picture: np.ndarray, side: int) -> np.ndarray:
    """A square float32 picture, field or mask at another side: cubic when it grows, else by area."""
    if picture.shape[0] == side:
        return picture
    grows = side > picture.shape[0]
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC if grows else cv2.INTER_AREA)


def _evened(picture: np.ndarray) -> np.ndarray:
    """Luminance of one local contrast everywhere, uint8: ageing changes light, which is not motion."""
    window = CONTRAST_WINDOW * len(picture)
    centred = picture - blurred(picture, window)
    contrast = np.sqrt(blurred(centred**2, window)) + NOISE
    return np.clip(128 + 40 * centred / contrast, 0, 255).astype(np.uint8)
