"""Rays against the shape of a photographed head: what each pixel of another camera sees of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faceforward.faces.relief_surface import MARGIN, RIM, Shape

STEPS = 40  # along a ray through the depths of the person
REFINEMENTS = 7  # halvings of a step
GRAZING = 1.5  # steps: how near a ray that missed is looked at again
STEEPEST = 0.17  # cosine between a ray and the photograph's axis
WIDTH = 512  # of the picture that flat places are looked up as: OpenCV allows no more than 32,767 columns
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays meet the surface, and where they leave it.

    Attributes:
        entry: `(H, W, 3)` float32: place in sides of the photograph's crop, and depth before its camera.
        leave: The same of the way out.
        behind: `(H, W)` bool: the ray comes in through the back.
        coverage: `(H, W)` float32 in [0, 1]: how much of a pixel the person covers.
        distance: `(H, W)` float32: from the camera, along the ray, world units.
    """

    entry: np.ndarray
    leave: np.ndarray
    behind: np.ndarray
    coverage: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True, eq=False)
class Rays:
    """Rays of a camera in the axes of the photograph's, flat: `N` pixels, rows from the top.

    Attributes:
        base: `(N, 2)` float32: x and y at depth zero.
        slope: `(N, 2)`: of x and y over depth.
        lens: Of the photograph's camera, `(fx, fy, cx, cy)`.
        start: Depth of their origin.
        stretch: `(N,)` length of a ray over its depth.
    """

    base: np.ndarray
    slope: np.ndarray
    lens: np.ndarray
    start: float
    stretch: np.ndarray

    def places(self, depth: np.ndarray | float, some: np.ndarray | slice = ALL) -> np.ndarray:
        """Where points at these depths are seen in the photograph, `(N, 2)` in sides of the crop."""
        near = np.float32(1) / np.asarray(depth, np.float32)
        seen = self.slope[some] + self.base[some] * (near[:, None] if near.ndim else near)
        return seen * self.lens[:2] + self.lens[2:]


def rays_between(own: np.ndarray, camera: np.ndarray, size: int) -> Rays:
    """Rays of one camera in the axes of another.

    Args:
        own: `(25,)` label of the photograph.
        camera: `(25,)` label of the view.
        size: Side of the view.

    Raises:
        ValueError: The cameras look more than about 80 degrees apart.
    """
    pose, other = own[:16].reshape(4, 4), camera[:16].reshape(4, 4)
    middle = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(middle, middle)
    fx, skew, cx, _, fy, cy = camera[16:22]
    y = (v.ravel() - cy) / fy
    x = (u.ravel() - cx - skew * y) / fx
    turn = pose[:3, :3].T @ other[:3, :3]
    towards = np.stack([x, y, np.ones_like(x)], axis=-1) @ turn.T
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    if towards[:, 2].min() < STEEPEST:
        raise ValueError(
            "a camera looks more than 80 degrees away from where the photograph was taken: a relief has "
            "nothing to show there"
        )
    origin = pose[:3, :3].T @ (other[:3, 3] - pose[:3, 3])
    slope = towards[:, :2] / towards[:, 2:]
    base = origin[:2] - origin[2] * slope
    lens = own[[16, 20, 18, 21]]
    base, slope, lens = (values.astype(np.float32) for values in (base, slope, lens))
    return Rays(base, slope, lens, float(origin[2]), (1 / towards[:, 2]).astype(np.float32))


def trace(shape: Shape, own: np.ndarray, camera: np.ndarray, size: int) -> Hits:
    """March along the rays of a camera until they meet the surface.

    Args:
        shape: Of the person.
        own: `(25,)` label of the photograph.
        camera: `(25,)` label of the view.
        size: Side of the view in pixels.

    Raises:
        ValueError: See `rays_between`.
    """
    rays = rays_between(own, camera, size)
    walls = np.stack([shape.front, shape.back], axis=-1)
    near, far = float(shape.front[shape.inside].min()), float(shape.back[shape.inside].max())
    depths = np.linspace(near - RIM, far + RIM, STEPS).astype(np.float32)
    step, pixel = depths[1] - depths[0], near / (own[16] * size)
    came, left = (np.zeros(size * size, np.int32) for _ in range(2))  # step at which a ray is in, and out
    least, closest = np.full(size * size, np.inf, np.float32), np.zeros(size * size, np.float32)
    within = np.zeros(size * size, bool)
    for number, depth in enumerate(depths):
        value = _value(walls, rays.places(depth), depth)
        now = value <= 0
        came[now & (came == 0)] = number
        left[within & ~now & (left == 0)] = number
        within = now
        closer = value < least
        np.copyto(least, value, where=closer)
        closest[closer] = depth
    hit = came > 0
    coverage = hit.astype(np.float32)
    entry, leave = closest, closest.copy()
    entry[hit] = _crossing(walls, rays, np.flatnonzero(hit), depths[came[hit] - 1], depths[came[hit]])
    left[hit & (left == 0)] = STEPS - 1
    leave[hit] = _crossing(walls, rays, np.flatnonzero(hit), depths[left[hit]], depths[left[hit] - 1])
    grazing = np.flatnonzero(~hit & (least < GRAZING * step))
    entry[grazing], value = _closest(walls, rays, grazing, closest[grazing], step)
    leave[grazing] = entry[grazing]
    coverage[grazing] = np.clip(1 - value / pixel, 0, 1)
    places, ends = rays.places(entry), rays.places(leave)
    around = _looked_up(walls, places)
    behind = (2 * entry > around.sum(axis=1)) & (coverage > 0)
    distance = np.where(coverage > 0, (entry - rays.start) * rays.stretch, 0)
    square = (size, size)
    return Hits(
        np.column_stack([places, entry]).astype(np.float32).reshape(*square, 3),
        np.column_stack([ends, leave]).astype(np.float32).reshape(*square, 3),
        behind.reshape(square),
        coverage.reshape(square),
        distance.astype(np.float32).reshape(square),
    )


def sampled(picture: np.ndarray, places: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Values of a picture over crop and margins at places `(H, W, 2)` in sides of the crop."""
    at = ((places + MARGIN) * (len(picture) / (1 + 2 * MARGIN)) - 0.5).astype(np.float32)
    return cv2.remap(picture, at[..., 0], at[..., 1], how, borderMode=cv2.BORDER_REPLICATE)


def _looked_up(walls: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Front and back at flat places `(N, 2)`, `(N, 2)`."""
    count = len(places)
    rows = -(-count // WIDTH)
    square = np.zeros((rows * WIDTH, 2), np.float32)
    square[:count] = places
    return sampled(walls, square.reshape(rows, WIDTH, 2)).reshape(-1, 2)[:count]


def _value(walls: np.ndarray, places: np.ndarray, depth: np.ndarray | float) -> np.ndarray:
    """About the distance from the surface, `(N,)`: negative inside."""
    found = _looked_up(walls, places)
    return np.maximum(found[:, 0] - depth, depth - found[:, 1])


def _crossing(
    walls: np.ndarray, rays: Rays, some: np.ndarray, outer: np.ndarray, inner: np.ndarray
) -> np.ndarray:
    """Depths at which rays cross the surface between a depth outside and one inside: bisection."""
    for _ in range(REFINEMENTS):
        middle = (outer + inner) / 2
        within = _value(walls, rays.places(middle, some), middle) <= 0
        outer, inner = np.where(within, outer, middle), np.where(within, middle, inner)
    return (outer + inner) / 2


def _closest(
    walls: np.ndarray, rays: Rays, some: np.ndarray, nearest: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depths at which rays come closest to the surface, and how close."""
    best, depth = np.full(len(some), np.inf, np.float32), nearest.copy()
    for shift in np.linspace(-1, 1, 17) * step:
        at = (nearest + shift).astype(np.float32)
        value = _value(walls, rays.places(at, some), at)
        closer = value < best
        best[closer], depth[closer] = value[closer], at[closer]
    return depth, best
