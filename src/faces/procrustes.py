"""The rotation, scale and shift that lay one set of points over another."""

from __future__ import annotations

import numpy as np


def kabsch(points: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The similarity that carries points to others with the least squares (Kabsch 1976; Umeyama 1991).

    Args:
        points: `(..., P, D)`.
        other: `(..., P, D)`, broadcast against `points`.

    Returns:
        Rotations `(..., D, D)` and scales `(...)`; the centroids are carried to one another.
    """
    first = points - points.mean(axis=-2, keepdims=True)
    second = other - other.mean(axis=-2, keepdims=True)
    left, sizes, right = np.linalg.svd(np.swapaxes(second, -1, -2) @ first)
    signs = np.ones_like(sizes)
    signs[..., -1] = np.sign(np.linalg.det(left @ right))
    scale = (sizes * signs).sum(axis=-1) / (first**2).sum(axis=(-1, -2))
    return (left * signs[..., None, :]) @ right, scale


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The similarity that brings points nearest to others, with its shift; see `kabsch`.

    Args:
        source: `(N, D)`.
        target: `(N, D)`.

    Returns:
        Scale, rotation `(D, D)` and shift `(D,)`: `scale * source @ rotation.T + shift` is near `target`.
    """
    turn, scale = kabsch(source, target)
    return float(scale), turn, target.mean(axis=0) - scale * turn @ source.mean(axis=0)
