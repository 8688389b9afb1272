"""Rays against the shape of a photographed head: what each pixel of another camera sees of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faceforward.faces.relief_face import CELLS, MARGIN
from faceforward.faces.relief_rays import Rays, rays_between
from faceforward.faces.relief_surface import RIM, Shape

STEPS = 44  # along a ray through the depths of the person
HALVINGS = 7  # of a step, at edges
SECANTS = 4  # where neighbours agree
GRAZING = 1.5  # steps: how near a ray that missed is looked at again
FAR = 100.0  # depth that nothing has


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays meet the surface, and where they leave it.

    Attributes:
        entry: `(H, W, 2)` float32: place in sides of the photograph's crop.
        depth: `(H, W)` float32: of the entry, before the photograph's camera.
        leave: `(H, W, 2)` float32: place of the way out, or of another way in behind an ear or a lock.
        behind: `(H, W)` bool: the ray comes in through the back.
        coverage: `(H, W)` float32 in [0, 1]: how much of a pixel the person covers.
        distance: `(H, W)` float32: of the entry from the camera, along the ray, world units.
    """

    entry: np.ndarray
    depth: np.ndarray
    leave: np.ndarray
    behind: np.ndarray
    coverage: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True, eq=False)
class Marched:
    """What marching along rays found, `(H, W)` float32 each.

    Attributes:
        entry: Depth at which they enter; `FAR` where they do not.
        leave: Depth at which they leave, or meet the surface again.
        least: Least distance from the surface.
        closest: Its depth.
    """

    entry: np.ndarray
    leave: np.ndarray
    least: np.ndarray
    closest: np.ndarray


def trace(shape: Shape, own: np.ndarray, camera: np.ndarray, size: int) -> Hits:
    """March along the rays of a camera until they meet the surface.

    Every second ray is marched; where those around a pixel agree, its own meeting lies between theirs and is
    found by secants, elsewhere it is marched as well.

    Args:
        shape: Of the person.
        own: `(25,)` label of the photograph.
        camera: `(25,)` label of the view.
        size: Side of the view in pixels.

    Raises:
        ValueError: See `rays_between`.
    """
    rays, coarse = rays_between(own, camera, size), rays_between(own, camera, size // 2)
    walls = np.stack([shape.front, shape.back], axis=-1)
    near, far = float(shape.front[shape.inside].min()), float(shape.back[shape.inside].max())
    depths = np.linspace(near - RIM, far + RIM, STEPS).astype(np.float32)
    step = depths[1] - depths[0]
    guess = _march(walls, coarse, depths)
    kernel = np.ones((3, 3), np.uint8)
    low, high, leave = (
        cv2.resize(values, (size, size), interpolation=cv2.INTER_NEAREST)
        for values in (cv2.erode(guess.entry, kernel), cv2.dilate(guess.entry, kernel), guess.leave)
    )
    empty = cv2.resize(cv2.erode(guess.least, kernel), (size, size), interpolation=cv2.INTER_NEAREST)
    alike = high - low < 2 * step
    missed = (low == FAR) & (empty > 3 * step)
    smooth = np.flatnonzero(alike & ~missed & (low < FAR))
    entry, closest = np.full((size, size), np.float32(FAR)), np.full((size, size), np.float32(FAR))
    least = np.full((size, size), np.float32(FAR))
    found, good = _secants(walls, rays.some(smooth), *(v.ravel()[smooth] for v in (low - step, high + step)))
    entry.ravel()[smooth[good]] = found[good]
    todo = ~missed
    todo.ravel()[smooth[good]] = False
    edges = np.flatnonzero(todo)
    fine = _march(walls, rays.some(edges), depths)
    for values, made in (
        (entry, fine.entry),
        (leave, fine.leave),
        (least, fine.least),
        (closest, fine.closest),
    ):
        values.ravel()[edges] = made.ravel()[: len(edges)]
    coverage = (entry < FAR).astype(np.float32)
    grazing = np.flatnonzero((entry == FAR) & (least < GRAZING * step))
    depth, value = _closest(walls, rays.some(grazing), closest.ravel()[grazing], float(step))
    entry.ravel()[grazing] = leave.ravel()[grazing] = depth
    coverage.ravel()[grazing] = np.clip(1 - value / (near / (own[16] * size)), 0, 1)
    entry, leave = np.minimum(entry, far), np.minimum(leave, far)
    at = rays.cells(entry)
    behind = (2 * entry > _looked_up(walls, at).sum(axis=-1)) & (coverage > 0)
    distance = np.where(coverage > 0, (entry - rays.start) * rays.stretch, 0)
    return Hits(_places(at), entry, _places(rays.cells(leave)), behind, coverage, distance)


def sampled(picture: np.ndarray, places: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Values of a picture over crop and margins at places `(H, W, 2)` in sides of the crop."""
    at = (places + np.float32(MARGIN)) * np.float32(len(picture) / (1 + 2 * MARGIN)) - np.float32(0.5)
    return cv2.remap(picture, at[..., 0], at[..., 1], how, borderMode=cv2.BORDER_REPLICATE)


def _places(cells: np.ndarray) -> np.ndarray:
    """Cells `(2, H, W)` as places `(H, W, 2)` in sides of the crop."""
    return (np.moveaxis(cells, 0, -1) + np.float32(0.5)) * np.float32(1 / CELLS) - np.float32(MARGIN)


def _looked_up(walls: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return cv2.remap(walls, cells[0], cells[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _value(walls: np.ndarray, rays: Rays, depth: np.ndarray | np.float32) -> np.ndarray:
    """About the distance from the surface, `(H, W)`: negative inside."""
    found = _looked_up(walls, rays.cells(depth))
    return np.maximum(found[..., 0] - depth, depth - found[..., 1])


def _march(walls: np.ndarray, rays: Rays, depths: np.ndarray) -> Marched:
    """Go along rays in equal steps, and halve the steps at which they enter and leave."""
    shape = rays.still.shape[1:]
    came, left, again = (np.zeros(shape, np.int32) for _ in range(3))
    least, closest = np.full(shape, np.float32(FAR)), np.full(shape, np.float32(FAR))
    within = np.zeros(shape, bool)
    for number, depth in enumerate(depths):
        value = _value(walls, rays, depth)
        now = value <= 0
        np.copyto(came, number, where=now & (came == 0))
        np.copyto(left, number, where=within & ~now & (left == 0))
        np.copyto(again, number, where=now & (left > 0) & (again == 0))
        closer = value < least
        np.copyto(least, value, where=closer)
        np.copyto(closest, depth, where=closer)
        within = now
    hit = came > 0
    left[hit & (left == 0)] = len(depths) - 1
    entry = _halved(walls, rays, depths[np.maximum(came - 1, 0)], depths[came])
    leave = _halved(walls, rays, depths[left], depths[np.maximum(left - 1, 0)])
    leave = np.where(again > 0, depths[again], leave)
    far = np.float32(FAR)
    return Marched(np.where(hit, entry, far), np.where(hit, leave, far), least, closest)


def _halved(walls: np.ndarray, rays: Rays, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Depths at which rays cross the surface between a depth outside and one inside: bisection."""
    for _ in range(HALVINGS):
        middle = (outer + inner) / 2
        within = _value(walls, rays, middle) <= 0
        outer, inner = np.where(within, outer, middle), np.where(within, middle, inner)
    return (outer + inner) / 2


def _secants(
    walls: np.ndarray, rays: Rays, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depths `(N,)` of the surface between others (Illinois' method), and whether they enclosed it."""
    count = len(low)
    a, b = (np.resize(values, rays.stretch.shape) for values in (low, high))
    first, second = _value(walls, rays, a), _value(walls, rays, b)
    good = ((first > 0) & (second <= 0)).ravel()[:count]
    middle = b
    for _ in range(SECANTS):
        middle = b - second * (b - a) / np.where(second == first, 1, second - first)
        value = _value(walls, rays, middle)
        within = value <= 0
        a, first = np.where(within, a, middle), np.where(within, first / 2, value)
        b, second = np.where(within, middle, b), np.where(within, value, second / 2)
    return middle.ravel()[:count], good


def _closest(
    walls: np.ndarray, rays: Rays, nearest: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depths `(N,)` at which rays come closest to the surface, and how close."""
    count = len(nearest)
    nearest = np.resize(nearest, rays.stretch.shape) if count else np.ones(rays.stretch.shape, np.float32)
    best, depth = np.full(nearest.shape, np.float32(np.inf)), nearest.copy()
    for shift in np.linspace(-1, 1, 17, dtype=np.float32) * np.float32(step):
        at = nearest + shift
        value = _value(walls, rays, at)
        closer = value < best
        np.copyto(best, value, where=closer)
        np.copyto(depth, at, where=closer)
    return depth.ravel()[:count], best.ravel()[:count]
