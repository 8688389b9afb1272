"""Cut a face out as FFHQ does, and put a changed face back where it came from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BLUR = 0.02  # deviation of the blur of padded parts, in crop sides, as in FFHQ
FADE = 0.3  # at this distance from the photograph, in crop sides, the padding has faded to one colour
STRIP = 64  # rows that are blurred at a time
CHANGE_REACH = 0.01  # of what is pasted around changed pixels, in crop sides
FEATHER = 0.1  # width of the soft edge of a pasted crop, in crop sides


@dataclass(frozen=True, eq=False)
class Alignment:
    """The similarity between a square crop and its photograph.

    Coordinates are pixel indices: whole numbers are the centres of pixels.

    Attributes:
        matrix: `(3, 3)` float64: homogeneous crop coordinates to the photograph's.
        size: Side of the crop in pixels.
    """

    matrix: np.ndarray
    size: int

    @property
    def scale(self) -> float:
        """Pixels of the photograph per pixel of the crop; below 1 the crop is enlarged."""
        return float(np.hypot(*self.matrix[:2, 0]))

    @property
    def roll(self) -> float:
        """Degrees by which the head tips to the photograph's right, in (-180, 180]."""
        up = -self.matrix[:2, 1]
        return float(np.degrees(np.arctan2(up[0], -up[1])))

    def points_to_photo(self, points: np.ndarray) -> np.ndarray:
        """Map `(N, 2)` points of the crop to the photograph."""
        return _mapped(points, self.matrix)

    def points_to_crop(self, points: np.ndarray) -> np.ndarray:
        """Map `(N, 2)` points of the photograph to the crop."""
        return _mapped(points, np.linalg.inv(self.matrix))

    def scaled(self, size: int) -> Alignment:
        """Return the alignment of the same crop at another size."""
        step = self.size / size
        resize = np.array([[step, 0, (step - 1) / 2], [0, step, (step - 1) / 2], [0, 0, 1]])
        return Alignment(self.matrix @ resize, size)


def alignment_of(landmarks: np.ndarray, size: int = 512) -> Alignment:
    """Find the crop that FFHQ would take (Karras et al., CVPR 2019, arXiv 1812.04948, appendix C).

    The crop's horizontal is the mean of the line between the eyes and the normal of the line from the eyes to
    the mouth; its half side is twice the eye distance or 1.8 times the eye-to-mouth distance, whichever is
    more; its centre lies a tenth of the eye-to-mouth vector below the eyes. FFHQ takes the mean of six points
    for an eye; here an eye is one point.

    Args:
        landmarks: `(5, 2)` in the order of `Detection`, pixels of the photograph.
        size: Side of the crop.
    """
    left, right, _, *mouth = np.asarray(landmarks, dtype=np.float64)
    eyes = (left + right) / 2
    across, down = right - left, np.mean(mouth, axis=0) - eyes
    x = across + np.array([down[1], -down[0]])
    x *= max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down)) / np.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eyes + 0.1 * down
    step = np.stack([x, y], axis=1) * (2 / size)
    matrix = np.eye(3)
    matrix[:2, :2] = step
    matrix[:2, 2] = centre - step @ np.full(2, (size - 1) / 2)
    return Alignment(matrix, size)


def align(pixels: np.ndarray, landmarks: np.ndarray, size: int = 512) -> tuple[np.ndarray, Alignment]:
    """Cut a face out, upright and at FFHQ's scale.

    Where the crop reaches over the photograph's edge it is filled by reflection, blurred and faded to one
    colour with the distance, as in FFHQ; pixels of the photograph itself are never blurred.

    Args:
        pixels: `(H, W, 3)` uint8 RGB photograph.
        landmarks: `(5, 2)` in the order of `Detection`.
        size: Side of the crop.

    Returns:
        The crop, `(size, size, 3)` uint8, and the transform.
    """
    alignment = alignment_of(landmarks, size)
    return cut_out(pixels, alignment), alignment


def cut_out(pixels: np.ndarray, alignment: Alignment) -> np.ndarray:
    """Cut any square out of a photograph, filled beyond its edge as `align` says.

    Args:
        pixels: `(H, W, 3)` uint8 RGB.
        alignment: Which square.

    Returns:
        `(size, size, 3)` uint8 RGB.
    """
    size = alignment.size
    crop = _warped(pixels, alignment.matrix, (size, size)).astype(np.float32)
    outside = _outside(alignment, pixels.shape) / (alignment.scale * size)
    where = outside > 0
    if where.any():  # most often a few hundredths of the crop: only they are worked on
        distance, filled = outside[where][:, None], crop[where]
        filled += (_blurred(crop, where, max(BLUR * size, 0.5)) - filled) * np.clip(distance * 3 / FADE, 0, 1)
        crop[where] = filled
        filled += (np.median(crop, axis=(0, 1)) - filled) * np.clip(distance / FADE, 0, 1)
        crop[where] = filled
    return np.rint(np.clip(crop, 0, 255)).astype(np.uint8)


def padded(alignment: Alignment, shape: tuple[int, ...]) -> np.ndarray:
    """Return which pixels of the crop lie outside a photograph of this shape, `(size, size)` bool."""
    return _outside(alignment, shape) > 0


def padded_share(alignment: Alignment, shape: tuple[int, ...]) -> float:
    """Return the share of the crop that lies outside a photograph of `shape` `(H, W, ...)`."""
    return float(padded(alignment.scaled(64), shape).mean())


def paste_back(
    photo_pixels: np.ndarray, crop: np.ndarray, alignment: Alignment, *, source: np.ndarray | None = None
) -> np.ndarray:
    """Put a changed crop back into its photograph, with a soft edge.

    Args:
        photo_pixels: `(H, W, 3)` uint8 RGB: the photograph the crop was taken from.
        crop: `(s, s, 3)` uint8 RGB of any size.
        alignment: What `align` returned.
        source: The crop before it was changed: where both are the same, the photograph keeps its own pixels,
            which no resampling has touched. None pastes the whole crop.

    Returns:
        A copy of the photograph with the crop in it.

    Raises:
        ValueError: The crop is not square, or its source is of another size.
    """
    height, width = crop.shape[:2]
    if height != width:
        raise ValueError(f"The crop has to be square, not {width} x {height}.")
    if source is not None and source.shape != crop.shape:
        raise ValueError(f"The crop is {crop.shape} and its source {source.shape}: they must be one size.")
    alignment = alignment.scaled(width)
    corners = alignment.points_to_photo(np.array([[0, 0], [width, 0], [width, width], [0, width]]) - 0.5)
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, photo_pixels.shape[1::-1])
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, 0, photo_pixels.shape[1::-1])
    result = photo_pixels.copy()
    if x0 >= x1 or y0 >= y1:
        return result
    to_crop = np.linalg.inv(alignment.matrix) @ np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]])
    size = (int(x1 - x0), int(y1 - y0))
    weight = _feather(to_crop, size, width)[..., None]
    if source is not None:
        weight = weight * (_warped(_changed(crop, source), to_crop, size).astype(np.float32) / 255)[..., None]
    region = result[y0:y1, x0:x1]
    region[:] = np.rint(region + (_warped(crop, to_crop, size).astype(np.float32) - region) * weight)
    return result


def _changed(crop: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return where two crops differ, `(s, s)` uint8: 255 there and a little around, soft towards 0."""
    size = len(crop)
    reach = max(1, round(CHANGE_REACH * size))
    differs = np.where((crop != source).any(axis=2), 255, 0).astype(np.uint8)
    wider = cv2.dilate(differs, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return cv2.GaussianBlur(wider, (0, 0), reach / 3)


def _mapped(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(points, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]


def _blurred(crop: np.ndarray, where: np.ndarray, deviation: float) -> np.ndarray:
    """Return the blurred crop at the `(S, S)` places that are asked for, `(N, 3)`; no more is blurred."""
    size, half = len(crop), (len(crop) + 1) // 2
    reach = (round(8 * deviation + 1) | 1) // 2  # of OpenCV's kernel
    result = np.empty_like(crop)
    for top in range(0, size, STRIP):
        for left in (0, half):
            columns = np.flatnonzero(where[top : top + STRIP, left : left + half].any(axis=0))
            if not len(columns):
                continue
            x0, x1, y0, y1 = left + columns[0], left + columns[-1] + 1, top, min(top + STRIP, size)
            x, y = max(x0 - reach, 0), max(y0 - reach, 0)
            around = np.ascontiguousarray(crop[y : y1 + reach, x : x1 + reach])
            soft = cv2.GaussianBlur(around, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101)
            result[y0:y1, x0:x1] = soft[y0 - y : y1 - y, x0 - x : x1 - x]
    return result[where]


def _grid(matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, `(height, width)` each, of the pixels of a `(width, height)` picture under `matrix`."""
    x, y = np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32)[:, None]
    (a, b, c), (d, e, f) = matrix[:2]
    return a * x + b * y + c, d * x + e * y + f


def _outside(alignment: Alignment, shape: tuple[int, ...]) -> np.ndarray:
    """Return how far each crop pixel lies outside the photograph, in its pixels, `(size, size)`; 0 inside."""
    x, y = _grid(alignment.matrix, (alignment.size, alignment.size))
    outside = np.maximum(-x, 0)
    for beyond in (x - (shape[1] - 1), -y, y - (shape[0] - 1)):
        np.maximum(outside, beyond, out=outside)
    return outside


def _feather(to_crop: np.ndarray, size: tuple[int, int], side: int) -> np.ndarray:
    """Return the weight of the crop in each pixel: 1 within, falling smoothly to 0 at its edge."""
    x, y = _grid(to_crop, size)
    depth = np.minimum.reduce([x, side - 1 - x, y, side - 1 - y]) + 0.5
    ramp = np.clip(depth / (FEATHER * side), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _warped(pixels: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample under `matrix` (result to source), reflecting at the edges, without aliasing when shrinking.

    Shrinking by a factor of two and more averages whole blocks of the source first; the rest is sampled at
    twice the size and averaged.
    """
    factor = int(np.hypot(*matrix[:2, 0]))
    if factor >= 2:
        pixels, matrix = _shrunk(pixels, matrix, factor)
    twice = np.hypot(*matrix[:2, 0]) > 1.0
    if twice:
        matrix = matrix @ np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    warped = cv2.warpAffine(
        pixels,
        matrix[:2],
        (size[0] * 2, size[1] * 2) if twice else size,
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return cv2.resize(warped, size, interpolation=cv2.INTER_AREA) if twice else warped


def _shrunk(pixels: np.ndarray, matrix: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Shrink the source about `factor` times and return the matrix to the smaller one."""
    height, width = pixels.shape[:2]
    # Two pixels at least: OpenCV 5.0 never comes back from reflecting a picture of one.
    small = (max(2, round(width / factor)), max(2, round(height / factor)))
    step = np.divide(small, (width, height))
    shrink = np.array([[step[0], 0, step[0] / 2 - 0.5], [0, step[1], step[1] / 2 - 0.5], [0, 0, 1]])
    return cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), shrink @ matrix
