"""Colours of a relief's view: the photograph, its mirror image, a generator's picture, by how they see it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch

from faceforward.eg3d import cameras
from faceforward.faces.relief_fill import matched, smoothstep
from faceforward.faces.relief_layers import EDGE, Layers
from faceforward.faces.relief_rays import TooFarError
from faceforward.faces.relief_render import Hits, sampled, trace
from faceforward.faces.relief_surface import Shape, to_world

WELL, BADLY = 0.6, 0.25  # pixels of the photograph to one of the view: seen well from, hardly below
MIRRORED, GENERATED = 0.5, 0.25  # what a mirrored and a generated pixel count in the visibility
HARDLY = 0.25  # visibility below which a generator's pixels take over: stretched ones are still the person's
STILL = (0.003, 0.02)  # sides by which the person moves, until the photograph's own silhouette is gone
TURNED = 8.0  # yaw of a photograph, from which its mirror image shows another side of the head
SIDE = (-0.02, 0.03)  # distance from the head's middle over which its far side begins, world units
NEARER = (
    -10.0,
    2.0,
)  # degrees by which the mirrored camera is nearer, until the far side's outline is its own
HEAD = (-0.26, -0.18)  # heights over which shoulders, which turn by themselves, become the symmetric head
AGREEING = (0.02, 0.05)  # distance between a head and its mirror image at which they are the same


@dataclass(frozen=True, eq=False)
class Look:
    """What one photograph shows of the person under a camera, `(H, W)` float32 each.

    Attributes:
        colour: `(H, W, 3)` of the person, 0 to 255.
        alpha: How much of the pixel they cover.
        quality: How well the photograph saw it, in [0, 1]; 0 on the back.
        behind: 1 on the back of the head and beside it.
        distance: From the camera, along the ray.
        side: Of the point in the world, along x.
        height: Along y.
    """

    colour: np.ndarray
    alpha: np.ndarray
    quality: np.ndarray
    behind: np.ndarray
    distance: np.ndarray
    side: np.ndarray
    height: np.ndarray

    def mirrored(self) -> Look:
        """The same flipped left to right."""
        return Look(*(getattr(self, field.name)[:, ::-1] for field in fields(self)))


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
    seen = look(layers, own, hits)
    visibility = seen.quality
    yaw = _yaw(own)
    if abs(yaw) > TURNED:
        flipped = cameras.mirrored(torch.from_numpy(camera)).numpy()
        try:
            reflected = look(layers, own, trace(shape, own, flipped, size)).mirrored()
        except TooFarError:  # the mirrored photograph shows nothing of it
            pass
        else:
            seen, visibility = _joined(seen, reflected, np.sign(yaw), _apart(own, flipped, camera))
    colour = seen.colour
    if other is not None:
        rest = (1 - smoothstep(visibility, 0, HARDLY)).astype(np.float32) * (seen.alpha > 0)
        made = matched(other.astype(np.float32), colour, visibility)
        colour = colour + (made - colour) * rest[..., None]
        visibility = visibility + GENERATED * rest
    middle = (np.arange(size, dtype=np.float32) + 0.5) / size
    flat = np.stack(np.meshgrid(middle, middle), axis=-1)
    away = np.linalg.norm(hits.entry - flat, axis=-1)[hits.coverage > 0]
    moved = np.quantile(away[::7], 0.9) if len(away) else 1.0
    behind = sampled(layers.behind, flat, cv2.INTER_CUBIC)
    picture = behind + (colour - behind) * seen.alpha[..., None]
    still = 1 - float(smoothstep(moved, *STILL))
    if still > 0:
        picture += sampled(layers.residual, flat, cv2.INTER_CUBIC) * np.float32(still)
    seen_behind = sampled(layers.own, flat) * (1 - seen.alpha)
    return (
        np.rint(np.clip(picture, 0, 255)).astype(np.uint8),
        np.where(seen.alpha > 0.5, seen.distance, 0).astype(np.float32),
        (visibility * seen.alpha + seen_behind).clip(0, 1).astype(np.float32),
    )


def look(layers: Layers, own: np.ndarray, hits: Hits) -> Look:
    """What the photograph with the label `own` shows of the person under the camera of the hits.

    Where a soft edge of the front lies before the back of the head, that is seen through it.
    """
    front = sampled(layers.person, hits.entry, cv2.INTER_CUBIC)
    back = sampled(layers.reverse, hits.entry, cv2.INTER_LINEAR)
    far = sampled(layers.reverse, hits.leave, cv2.INTER_LINEAR)
    first, second = (
        np.clip((sampled(layers.alpha, places) - EDGE[0]) / (EDGE[1] - EDGE[0]), 0, 1) * hits.coverage
        for places in (hits.entry, hits.leave)
    )
    second = np.maximum(second - first, 0)
    alpha = first + second
    colour = np.where(hits.behind[..., None], back, front)
    colour = colour + (far - colour) * (second / np.maximum(alpha, 1e-3))[..., None]
    quality = smoothstep(density(hits.entry), BADLY, WELL) * ~hits.behind * hits.coverage
    quality = quality * sampled(layers.deep, hits.entry)
    world = to_world(hits.entry, hits.depth, own.astype(np.float32))
    behind = (hits.behind | (hits.coverage == 0)).astype(np.float32)
    return Look(
        colour, alpha, quality.astype(np.float32), behind, hits.distance, world[..., 0], world[..., 1]
    )


def density(places: np.ndarray) -> np.ndarray:
    """How many pixels of the photograph one of the view shows in its worst direction, `(H, W)` float32.

    Args:
        places: `(H, W, 2)` float32 in sides of the crop; H is the view's side.
    """
    step = np.float32(len(places))
    smooth = cv2.GaussianBlur(places, (0, 0), len(places) / 256)  # the surface is made of facets
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3) * (step / 8)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3) * (step / 8)
    a, b, c, d = dx[..., 0], dy[..., 0], dx[..., 1], dy[..., 1]
    total, area = a * a + b * b + c * c + d * d, a * d - b * c
    root = np.sqrt(np.maximum(total**2 - 4 * area**2, 0))
    return np.sqrt(np.maximum((total - root) / 2, 0))


def _joined(seen: Look, mirror: Look, near: float, nearer: float) -> tuple[Look, np.ndarray]:
    """The photograph's look completed by its mirror image's, and the visibility.

    Args:
        seen: By the photograph.
        mirror: By its mirror image.
        near: 1 where the photograph shows the head's left side, at positive x, better; else -1.
        nearer: Degrees by which its camera is nearer.
    """
    agree = 1 - smoothstep(np.abs(seen.distance - mirror.distance), *AGREEING)
    both = seen.quality * mirror.quality * agree
    colour = matched(mirror.colour, seen.colour, both.astype(np.float32))
    height = np.where(mirror.alpha > 0, mirror.height, seen.height)
    side = np.where(mirror.alpha > 0, -mirror.side, seen.side)
    far = smoothstep(-near * side, *SIDE)
    outline = far * smoothstep(nearer, *NEARER) * smoothstep(height, *HEAD)
    better = far * (1 - seen.quality) * mirror.quality * agree
    share = np.where(seen.behind > 0, outline, better).astype(np.float32)
    share = cv2.GaussianBlur(share, (0, 0), len(share) / 400)
    alpha = seen.alpha + (mirror.alpha - seen.alpha) * share
    weight = (share * mirror.alpha / np.maximum(alpha, 1e-3)).clip(0, 1)
    mixed = seen.colour + (colour - seen.colour) * weight[..., None]
    distance = np.where(share > 0.5, mirror.distance, seen.distance)
    visibility = seen.quality * (1 - share) + MIRRORED * mirror.quality * share
    return Look(mixed, alpha, seen.quality, seen.behind, distance, seen.side, seen.height), visibility


def _yaw(label: np.ndarray) -> float:
    return float(cameras.angles(cameras.pose(torch.from_numpy(label)))[0])


def _degrees(label: np.ndarray, other: np.ndarray) -> float:
    """Between the views of two cameras."""
    return float(cameras.rotation_error(*(cameras.pose(torch.from_numpy(each)) for each in (label, other))))


def _apart(own: np.ndarray, flipped: np.ndarray, camera: np.ndarray) -> float:
    """By how many degrees the mirror image's camera is nearer to a view than the photograph's own."""
    return _degrees(own, camera) - _degrees(own, flipped)
