"""Hair that hangs over a face: a fringe, a lock beside the cheek."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from faceforward.diffusion.color import LUMA
from faceforward.faces.motion import at_side, blurred

if TYPE_CHECKING:
    from faceforward.faces.mesh import Mesh

SIDE = 256  # at which hair is looked for, pixels
#: Numbers of the mesh's points on both cheeks and the ridge of the nose, which are skin.
SKIN = (50, 205, 36, 117, 280, 425, 266, 346, 5, 195)
#: The upper outline of each eyebrow, from the temple to the nose.
BROWS = ((70, 63, 105, 66, 107), (300, 293, 334, 296, 336))
NOSE, CHIN = 168, 152  # between the eyes, and the lowest point of the outline
ABOVE = 0.06  # above the brows, in the face's height from chin to nose: what is darker below is a brow
BESIDE = 0.22  # of the face's width on either side, in which locks are looked for below the brows
RING = 0.25  # by which the outline is widened to find the hair that the hair on the face belongs to
LEAST_CONTRAST = 30.0  # grey levels by which hair is darker than skin, or it is not looked for
EDGE = 0.008  # s.d. of the mask's soft edge, sides of the crop


def hair_over_face(crop: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Find dark hair that lies over the face.

    A mesh's outline runs over the forehead whether a fringe hangs there or not. Skin is measured on cheeks
    and nose, hair as the darker part of a ring around the upper face; what is nearer to hair than to skin,
    above the eyebrows or at the sides, and joined to the ring is hair. Hair that is not darker than the skin
    by `LEAST_CONTRAST` is not found.

    Args:
        crop: `(S, S, 3)` uint8 RGB.
        mesh: Fitted to the face, in the pixels of the crop.

    Returns:
        `(S, S)` float32 in [0, 1].
    """
    size = crop.shape[0]
    light = cv2.GaussianBlur(at_side(crop.astype(np.float32), SIDE) @ LUMA, (0, 0), 0.006 * SIDE)
    points = (mesh.points[:, :2].astype(np.float32) + 0.5) * (SIDE / size) - 0.5
    outline = cv2.convexHull(points)[:, 0]
    face, around = _filled(outline, 0.0), _filled(outline, RING)
    across = points[CHIN] - points[NOSE]
    height = float(np.hypot(*across))
    if height < 1:
        return np.zeros((size, size), np.float32)
    down = across / height
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    depth = (columns - points[NOSE][0]) * down[0] + (rows - points[NOSE][1]) * down[1]
    aside = np.abs((columns - points[NOSE][0]) * -down[1] + (rows - points[NOSE][1]) * down[0])

    skin = float(np.median(_at(light, points[list(SKIN)])))
    ring = around & ~face & (depth < 0.2 * height)
    if not ring.any():
        return np.zeros((size, size), np.float32)
    hair = float(np.quantile(light[ring], 0.3))
    if skin - hair < LEAST_CONTRAST:
        return np.zeros((size, size), np.float32)

    brows = np.concatenate([points[list(brow)] for brow in BROWS])
    brow = (brows - points[NOSE]) @ down
    width = float(np.abs((outline - points[NOSE]) @ np.array([-down[1], down[0]])).max())
    allowed = (depth < brow.min() - ABOVE * height) | (aside > (1 - BESIDE) * width)
    dark = (skin - light) / (skin - hair)
    found = ((dark > 0.6) & face & allowed) | ((dark > 0.6) & ring)
    _, labels = cv2.connectedComponents(found.astype(np.uint8), connectivity=4)
    joined = np.isin(labels, np.unique(labels[ring & found])) & found
    soft = np.clip((dark - 0.4) / 0.3, 0, 1) * cv2.dilate(joined.astype(np.float32), np.ones((7, 7)))
    return np.clip(at_side(blurred(soft.astype(np.float32), EDGE * SIDE), size), 0, 1)


def _filled(outline: np.ndarray, widened: float) -> np.ndarray:
    """The outline `(N, 2)`, widened about its middle, as a `(SIDE, SIDE)` bool mask."""
    middle = outline.mean(axis=0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(middle + (outline - middle) * (1 + widened)).astype(np.int32), 1)
    return mask.astype(bool)


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values `(S, S)` at places `(N, 2)`, of those within."""
    x, y = np.rint(places).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < values.shape[1]) & (y < values.shape[0])
    return values[y[inside], x[inside]]
