"""Smooth fields of shifts over a picture that never fold, and pictures warped by them."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from scipy.linalg import solveh_banded
from scipy.sparse import diags_array, eye_array, kron

NODES = 48  # cells of the grid along a side that a field is solved on
LEAST_STRETCH = 0.35  # smallest determinant of the warp's Jacobian that is let through


def smooth_field(
    places: np.ndarray, shifts: np.ndarray, weights: np.ndarray, *, length: float = 0.015, decay: float = 0.35
) -> np.ndarray:
    """Find the smooth field over a square that has given shifts at given places and none at the border.

    The minimum of `sum w |u(p) - v|^2 + bend integral |laplace u|^2 + pull integral |grad u|^2`, a smoothing
    thin-plate spline (Duchon, 1977) under tension, by finite differences on a grid: one banded system. Where
    the field would fold, it is bent less until it does not.

    Args:
        places: `(N, 2)` x, y in sides of the square; those outside count for nothing.
        shifts: `(N, 2)` in sides.
        weights: `(N,)`, not negative: 1 is a place that counts in full.
        length: About the distance, in sides, over which shifts that contradict one another are evened out.
        decay: About the distance, in sides, over which a shift dies away where nothing is known.

    Returns:
        `(NODES + 1, NODES + 1, 2)` float64 shifts at the grid's nodes, the outermost on the border and zero.

    Raises:
        ValueError: The arrays do not belong together, or a number is not finite.
    """
    places, shifts, weights = (np.asarray(values, dtype=np.float64) for values in (places, shifts, weights))
    if places.shape != shifts.shape or places.shape[1:] != (2,) or weights.shape != places.shape[:1]:
        raise ValueError(
            f"expected (N, 2) places, (N, 2) shifts and (N,) weights, got {places.shape}, {shifts.shape}, "
            f"{weights.shape}"
        )
    if not all(np.isfinite(values).all() for values in (places, shifts, weights)):
        raise ValueError("places, shifts and weights have to be finite: leave out what is not known")
    matrix, right = _data(places, shifts, weights)
    density = max(weights.sum(), 1e-9) / 0.25  # of places in a face, which fills about a quarter of its crop
    while True:
        field = _solved(matrix, right, density * length**4, density * length**4 / decay**2)
        if stretch(field).min() > LEAST_STRETCH or length > 1:
            return field
        length *= 1.25


def stretch(field: np.ndarray) -> np.ndarray:
    """Determinant of the Jacobian of `p + field(p)`, `(n, n)`, cell by cell: positive where nothing folds.

    Both ways to divide a cell into triangles are looked at, and the smallest of the four is returned.

    Args:
        field: `(n + 1, n + 1, 2)` shifts at the nodes of a grid over the square, in sides.
    """
    cells = field.shape[0] - 1
    across = np.diff(field, axis=1) * cells + np.array([1.0, 0.0])
    down = np.diff(field, axis=0) * cells + np.array([0.0, 1.0])
    corners = [
        across[rows, :, 0] * down[:, columns, 1] - across[rows, :, 1] * down[:, columns, 0]
        for rows in (slice(None, -1), slice(1, None))
        for columns in (slice(None, -1), slice(1, None))
    ]
    return np.min(corners, axis=0)


def enlarged(field: np.ndarray, size: int) -> np.ndarray:
    """Shifts of a grid's nodes at the pixels of a picture.

    Args:
        field: `(n + 1, n + 1, 2)` in sides of the square.
        size: Side of the picture.

    Returns:
        `(size, size, 2)` float32 in pixels, by cubic interpolation.
    """
    nodes = ((np.arange(size) + 0.5) / size * (field.shape[0] - 1) + 2).astype(np.float32)
    x, y = np.meshgrid(nodes, nodes)
    # Beyond the border the field goes on as it comes in, through the border's own value, without a kink.
    for _ in range(2):
        first, last = 2 * field[:1] - field[2:0:-1], 2 * field[-1:] - field[-2:-4:-1]
        field = np.concatenate([first, field, last]).swapaxes(0, 1)
    return cv2.remap((field * size).astype(np.float32), x, y, cv2.INTER_CUBIC)


def warp(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Warp a square picture by a field that may have been made for another size.

    Args:
        image: `(S, S, 3)` uint8 RGB.
        field: `(s, s, 2)` shifts in pixels of a picture of side s: the result at p shows `image[p + shift]`.

    Returns:
        `(S, S, 3)` uint8 RGB.

    Raises:
        ValueError: One of them is not square.
    """
    if image.shape[0] != image.shape[1] or field.shape[0] != field.shape[1]:
        raise ValueError(f"picture and field have to be square, not {image.shape} and {field.shape}")
    size = image.shape[0]
    if field.shape[0] != size:
        field = cv2.resize(field, (size, size), interpolation=cv2.INTER_CUBIC) * (size / field.shape[0])
    place = np.arange(size, dtype=np.float32)
    x, y = place + field[..., 0], place[:, None] + field[..., 1]
    return cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def sampled(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Shifts of a grid at places `(N, 2)`, in sides of the square, by bilinear interpolation."""
    corner, shares = _cells(places, field.shape[0] - 1)
    total = np.zeros((len(places), field.shape[2]))
    for offset, share in shares:
        total += share[:, None] * field[corner[:, 1] + offset[1], corner[:, 0] + offset[0]]
    return total


def _cells(places: np.ndarray, cells: int) -> tuple[np.ndarray, list[tuple[tuple[int, int], np.ndarray]]]:
    """The upper left node of each place's cell, and the shares of its four nodes."""
    scaled = np.clip(places, 0, 1) * cells
    corner = np.minimum(scaled.astype(int), cells - 1)
    part = scaled - corner
    shares = []
    for dy in (0, 1):
        for dx in (0, 1):
            across = part[:, 0] if dx else 1 - part[:, 0]
            shares.append(((dx, dy), across * (part[:, 1] if dy else 1 - part[:, 1])))
    return corner, shares


def _data(places: np.ndarray, shifts: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations of the data term: lower bands over the inner nodes, and the right side."""
    inner = NODES - 1
    inside = ((places > 0) & (places < 1)).all(axis=1)
    places, shifts, weights = places[inside], shifts[inside], weights[inside]
    corner, shares = _cells(places, NODES)
    bands, right = np.zeros((2 * inner + 1, inner * inner)), np.zeros((inner * inner, 2))
    numbered = []
    for (dx, dy), share in shares:
        column, row = corner[:, 0] + dx - 1, corner[:, 1] + dy - 1
        known = (column >= 0) & (column < inner) & (row >= 0) & (row < inner)
        numbered.append((np.where(known, row * inner + column, 0), np.where(known, share, 0.0)))
    for i, share_i in numbered:
        np.add.at(right, i, (weights * share_i)[:, None] * shifts)
        for j, share_j in numbered:
            lower = (i >= j) & (share_i > 0) & (share_j > 0)
            np.add.at(bands, ((i - j)[lower], j[lower]), (weights * share_i * share_j)[lower])
    return bands, right


def _solved(data: np.ndarray, right: np.ndarray, bend: float, pull: float) -> np.ndarray:
    """Add the smoothness to the normal equations and solve them."""
    inner = NODES - 1
    gradient, laplace = _smoothness()
    bands = data + pull * gradient + bend * laplace
    solution = solveh_banded(bands, right, lower=True, check_finite=False)
    field = np.zeros((NODES + 1, NODES + 1, 2))
    field[1:-1, 1:-1] = solution.reshape(inner, inner, 2)
    return field


@cache
def _smoothness() -> tuple[np.ndarray, np.ndarray]:
    """Lower bands of the two integrals' matrices over the inner nodes: of gradient and Laplacian squared."""
    inner = NODES - 1
    line = diags_array([2.0, -1.0, -1.0], offsets=[0, 1, -1], shape=(inner, inner))
    edges = kron(line, eye_array(inner)) + kron(eye_array(inner), line)
    bands = []
    for matrix in (edges, (edges @ edges) * NODES**2):
        lower = np.zeros((2 * inner + 1, inner * inner))
        for offset in range(2 * inner + 1):
            lower[offset, : inner * inner - offset] = matrix.diagonal(-offset)
        bands.append(lower)
    return bands[0], bands[1]
