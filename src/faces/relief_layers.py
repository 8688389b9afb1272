"""A portrait taken apart: the person with soft edges, their colours, and what is behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from faceforward.faces.person_mask import PersonMask
from faceforward.faces.relief_fill import fill, smoothstep
from faceforward.faces.relief_surface import MARGIN, NODES

BELOW = 0.06  # of a side below the chin, from where on a person reaches down to the picture's edge
TRACES = 0.025  # of a side around a person, where hair and shadows may be left
EARS, EAR = (234, 454), (0.02, 0.09)  # points of the mesh before them; shift outwards and radius, in sides
SURE = 0.98  # coverage from which a pixel's colour is the person's alone
OFF = 0.02  # and under which it is what is behind


@dataclass(frozen=True, eq=False)
class Layers:
    """Pictures over the crop and its margins, `T = S * (1 + 2 * MARGIN)` pixels a side.

    Attributes:
        person: `(T, T, 3)` float32: colours of the person, carried on beyond the silhouette.
        reverse: `(T, T, 3)` float32: the same with hair and neck instead of a face, for the back of the head.
        behind: `(T, T, 3)` float32: what is behind the person, the photograph's up to the silhouette.
        clean: `(T, T, 3)` float32: the same filled from farther away, without traces of the silhouette.
        alpha: `(T, T)` float32: how much of a pixel the person covers.
        own: `(T, T)` float32: 1 where the photograph itself shows what is behind, 0 where it was filled.
    """

    person: np.ndarray
    reverse: np.ndarray
    behind: np.ndarray
    clean: np.ndarray
    alpha: np.ndarray
    own: np.ndarray


@cache
def _network() -> PersonMask:
    return PersonMask()


def take_apart(crop: np.ndarray, points: np.ndarray) -> Layers:
    """Tell the person from what is behind.

    Args:
        crop: `(S, S, 3)` uint8 RGB.
        points: `(468, 3)` the face's mesh in pixels of the crop.
    """
    size = len(crop)
    pad = round(MARGIN * size)
    alpha = _matte(crop, points)
    alpha = cv2.copyMakeBorder(alpha, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    picture = _padded(crop, pad).astype(np.float32)
    within = np.zeros_like(alpha)
    within[pad : pad + size, pad : pad + size] = 1
    reach = max(1, round(TRACES * size))
    hidden = cv2.dilate((alpha > OFF).astype(np.uint8), _disc(reach)) > 0
    shown = cv2.GaussianBlur((~hidden).astype(np.float32), (0, 0), reach / 2) * ~hidden
    filled = fill(picture, (~hidden).astype(np.float32))
    clean = filled + (picture - filled) * shown[..., None]
    behind = np.where((alpha > OFF)[..., None], filled, picture)
    sure = cv2.erode((alpha > SURE).astype(np.uint8), _disc(max(1, reach // 2))).astype(np.float32)
    carried = fill(picture, sure)
    share = alpha[..., None]
    exact = np.clip((picture - (1 - share) * behind) / np.maximum(share, 0.05), 0, 255)
    person = np.where(share > SURE, picture, carried + (exact - carried) * share)
    face = np.maximum(_face(points, size, pad), _ears(points, size, pad))
    reverse = fill(person, (1 - face) * smoothstep(alpha, 0.3, 0.9))
    return Layers(person, reverse, behind, clean, alpha, within * shown)


def cells_of(values: np.ndarray) -> np.ndarray:
    """A picture over crop and margins as the mean in each cell of the shape's grid."""
    return cv2.resize(values, (NODES, NODES), interpolation=cv2.INTER_AREA)


def _matte(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How much of each pixel the person covers, `(S, S)` float32, with edges where the picture has them."""
    size = len(crop)
    person = _network().find(crop)
    hull = cv2.convexHull(np.rint(points[:, :2]).astype(np.int32))
    face = cv2.fillConvexPoly(np.zeros((size, size), np.uint8), hull, 1)
    person = np.maximum(person, face)
    _, parts = cv2.connectedComponents((person > 0.4).astype(np.uint8))
    middle = np.clip(points[:, :2].mean(axis=0), 0, size - 1).astype(int)
    own = (parts == parts[middle[1], middle[0]]).astype(np.uint8)
    person *= cv2.dilate(own, _disc(round(0.02 * size)))
    start = min(round(points[:, 1].max() + BELOW * size), size - 1)
    person[start:] = np.maximum.accumulate(person[start:], axis=0)
    guide = crop.astype(np.float32) / 255
    alpha = cv2.ximgproc.guidedFilter(guide, person.astype(np.float32), max(2, round(0.012 * size)), 1e-4)
    alpha = np.clip((alpha - 0.12) / 0.76, 0, 1)
    return np.maximum(alpha, cv2.erode(face, _disc(max(1, round(0.01 * size))))).astype(np.float32)


def _face(points: np.ndarray, size: int, pad: int) -> np.ndarray:
    """The face in the padded picture, `(T, T)` float32 with a soft edge."""
    side = size + 2 * pad
    hull = cv2.convexHull(np.rint(points[:, :2] + pad).astype(np.int32))
    face = cv2.fillConvexPoly(np.zeros((side, side), np.uint8), hull, 1)
    return cv2.GaussianBlur(face.astype(np.float32), (0, 0), 0.01 * size)


def _ears(points: np.ndarray, size: int, pad: int) -> np.ndarray:
    """Where ears may be, `(T, T)` float32 with a soft edge: the back of a head has none."""
    side = size + 2 * pad
    ears = np.zeros((side, side), np.uint8)
    for near, other in (EARS, EARS[::-1]):
        out = points[near, :2] - points[other, :2]
        place = points[near, :2] + pad + EAR[0] * size * out / max(float(np.hypot(*out)), 1.0)
        cv2.circle(ears, np.rint(place).astype(int).tolist(), round(EAR[1] * size), 1, -1)
    return cv2.GaussianBlur(ears.astype(np.float32), (0, 0), 0.02 * size)


def _padded(crop: np.ndarray, pad: int) -> np.ndarray:
    """The crop reflected over its edges, the blurrier the farther."""
    wide = cv2.copyMakeBorder(crop, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    soft = cv2.GaussianBlur(wide, (0, 0), pad / 6)
    line = np.maximum(pad - np.arange(len(wide)), np.arange(len(wide)) - (len(wide) - 1 - pad)).clip(0)
    away = np.maximum(line[:, None], line) / pad
    return wide + (soft.astype(np.float32) - wide) * np.clip(away * 3, 0, 1)[..., None]


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
