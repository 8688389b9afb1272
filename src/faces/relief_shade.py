"""Colours of a relief's view: the photograph, its mirror image, a generator's picture, by how well each sees."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from faceforward.eg3d.cameras import pose, rotation_error
from faceforward.faces.relief_fill import matched, smoothstep
from faceforward.faces.relief_layers import Layers
from faceforward.faces.relief_render import Hits, sampled, trace
from faceforward.faces.relief_surface import Shape, to_world

WELL, BADLY = 0.6, 0.25  # pixels of the photograph to one of the view: seen well from, hardly below
FRESH = (1.0, 6.0)  # degrees away from the photograph's view over which traces of the silhouette go
MIRRORED, GENERATED = 0.5, 0.25  # what a mirrored and a generated pixel count in the visibility


def shade(
    shape: Shape,
    layers: Layers,
    own: np.ndarray,
    camera: np.ndarray,
    size: int,
    other: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render one view.

    Args:
        shape: Of the person.
        layers: Pictures of the person and of what is behind.
        own: `(25,)` label of the photograph.
        camera: `(25,)` label of the view.
        size: Its side in pixels.
        other: `(size, size, 3)` uint8 RGB of a generator, or None.

    Returns:
        Picture `(size, size, 3)` uint8, depth `(size, size)` float32, visibility `(size, size)` float32.
    """
    hits = trace(shape, own, camera, size)
    places = hits.entry
    front = sampled(layers.person, places, cv2.INTER_CUBIC)
    back = sampled(layers.reverse, places, cv2.INTER_CUBIC)
    colour = np.where(hits.behind[..., None], back, front)
    seen = np.where(hits.behind, 0, smoothstep(density(places), BADLY, WELL)).astype(np.float32)
    seen *= hits.coverage > 0
    mirror, share = _mirrored(shape, layers, own, hits)
    share = share * (1 - seen)
    if share.max() > 0.02:
        mirror = matched(mirror, colour, seen * (share_known(mirror)))
        colour = colour + (mirror - colour) * share[..., None]
    visibility = seen + MIRRORED * share
    if other is not None:
        rest = (1 - seen - share) * (hits.coverage > 0)
        made = matched(other.astype(np.float32), colour, seen)
        colour = colour + (made - colour) * rest[..., None]
        visibility = visibility + GENERATED * rest
    turned = float(rotation_error(*(pose(torch.from_numpy(label)) for label in (own, camera))))
    fresh = float(smoothstep(np.float64(turned), *FRESH))
    return _composed(layers, hits, colour, visibility, size, fresh)


def density(places: np.ndarray) -> np.ndarray:
    """How many pixels of the photograph one of the view shows in its worst direction, `(H, W)`."""
    step = np.float32(len(places))
    dx = cv2.Sobel(places, cv2.CV_32F, 1, 0, ksize=3) * (step / 8)
    dy = cv2.Sobel(places, cv2.CV_32F, 0, 1, ksize=3) * (step / 8)
    a, b, c, d = dx[..., 0], dy[..., 0], dx[..., 1], dy[..., 1]
    total, area = a * a + b * b + c * c + d * d, a * d - b * c
    root = np.sqrt(np.maximum(total**2 - 4 * area**2, 0))
    return np.sqrt(np.maximum((total - root) / 2, 0))


def share_known(mirror: np.ndarray) -> np.ndarray:
    """1 where there is a mirrored colour."""
    return (mirror.sum(axis=-1) > 0).astype(np.float32)


def _mirrored(shape: Shape, layers: Layers, own: np.ndarray, hits: Hits) -> tuple[np.ndarray, np.ndarray]:
    """Colours of the other side of the head, and how far each can be trusted in [0, 1]."""
    world = to_world(hits.entry.astype(np.float64), hits.depth, own)
    world[..., 0] *= -1
    stand = own[:16].reshape(4, 4)
    seen = (world - stand[:3, 3]) @ stand[:3, :3]
    places = seen[..., :2] / seen[..., 2:] * own[[16, 20]] + own[[18, 21]]
    places = places.astype(np.float32)
    depth = sampled(shape.front, places)
    apart = np.abs(seen[..., 2] - depth).astype(np.float32)
    alpha = sampled(layers.alpha, places)
    inside = ((places > 0) & (places < 1)).all(axis=-1)
    trust = smoothstep(density(places), BADLY, WELL) * (1 - smoothstep(apart, 0.02, 0.05))
    trust = trust * smoothstep(alpha, 0.8, 0.99) * inside * (hits.coverage > 0)
    trust = cv2.GaussianBlur(cv2.erode(trust.astype(np.float32), np.ones((5, 5))), (0, 0), 3)
    return sampled(layers.person, places, cv2.INTER_LINEAR), trust


def _composed(
    layers: Layers, hits: Hits, colour: np.ndarray, visibility: np.ndarray, size: int, fresh: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The person over what is behind; where a soft edge of the front lies before the back, over that."""
    first = sampled(layers.alpha, hits.entry).clip(0, 1) * hits.coverage
    second = np.maximum(sampled(layers.alpha, hits.leave).clip(0, 1) * hits.coverage - first, 0)
    middle = (np.arange(size, dtype=np.float32) + 0.5) / size
    flat = np.stack(np.meshgrid(middle, middle), axis=-1)
    behind = sampled(layers.behind + (layers.clean - layers.behind) * fresh, flat, cv2.INTER_CUBIC)
    far = sampled(layers.reverse, hits.leave, cv2.INTER_LINEAR)
    rest = 1 - first - second
    picture = colour * first[..., None] + far * second[..., None] + behind * rest[..., None]
    own = sampled(layers.own, flat)
    image = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
    depth = np.where(first + second > 0.5, hits.distance, 0).astype(np.float32)
    return image, depth, (visibility * first + own * rest).clip(0, 1).astype(np.float32)
