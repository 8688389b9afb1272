"""Colours for what a photograph does not show: filled smoothly, and matched to what it does show."""

from __future__ import annotations

import cv2
import numpy as np

LEAST = 1e-4  # weight below which nothing is known of a pixel
SMALLEST = 2  # side of the last level of the pyramid


def fill(pixels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Carry known colours into what is unknown, the smoother the farther (push-pull: Gortler et al., 1996).

    Args:
        pixels: `(H, W, C)` float32.
        weight: `(H, W)` float32 in [0, 1]: how well each is known; 1 stays as it is.

    Returns:
        `(H, W, C)` float32.
    """
    height, width = weight.shape
    if min(height, width) <= SMALLEST:
        total = float(weight.sum())
        mean = (pixels * weight[..., None]).sum(axis=(0, 1)) / max(total, LEAST)
        return pixels * weight[..., None] + mean * (1 - weight[..., None])
    size = ((width + 1) // 2, (height + 1) // 2)
    sums = cv2.resize(_blurred(pixels * weight[..., None]), size, interpolation=cv2.INTER_AREA)
    known = cv2.resize(_blurred(weight), size, interpolation=cv2.INTER_AREA)
    sums = sums.reshape(*known.shape, -1)
    coarse = fill(sums / np.maximum(known, LEAST)[..., None], np.minimum(known * 4, 1))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(pixels.shape)
    return smooth + (pixels - smooth) * weight[..., None]


def matched(other: np.ndarray, shown: np.ndarray, weight: np.ndarray, *, reach: float = 0.05) -> np.ndarray:
    """Give a picture the light of another: the difference of their low frequencies is carried over.

    Args:
        other: `(H, W, 3)` float32: the picture that is changed.
        shown: `(H, W, 3)` float32: what it should go with.
        weight: `(H, W)` float32 in [0, 1]: where both show the same.
        reach: Deviation of the low frequencies' blur, in sides.

    Returns:
        `(H, W, 3)` float32.
    """
    size = 128
    small = (size, size)
    seen = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    apart = cv2.resize((shown - other) * weight[..., None], small, interpolation=cv2.INTER_AREA)
    blur = max(reach * size, 0.5)
    known = cv2.GaussianBlur(seen, (0, 0), blur)
    difference = cv2.GaussianBlur(apart, (0, 0), blur) / np.maximum(known, LEAST)[..., None]
    difference = fill(difference, np.clip(known * 8, 0, 1))
    height, width = weight.shape
    return other + cv2.resize(difference, (width, height), interpolation=cv2.INTER_CUBIC)


def smoothstep(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    ramp = np.clip((np.asarray(values) - low) / (high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _blurred(values: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(values, (5, 5), 0).reshape(values.shape)
