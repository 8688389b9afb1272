"""A portrait taken apart: the person with soft edges, their colours, and what is behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from faceforward.faces.person_mask import PersonMask
from faceforward.faces.relief_face import MARGIN, NODES
from faceforward.faces.relief_fill import fill, smoothstep

BELOW = 0.06  # of a side below the chin, from where on a person reaches down to the picture's edge
TRACES = 0.025  # of a side around a person, where hair and shadows may be left
EARS, EAR = (234, 454), (0.02, 0.09)  # points of the mesh before them; shift outwards and radius, in sides
LEVELS = (0.4, 0.27, -0.2, 0.0)  # heights of a head's top, of hair, of a chin and of a nape's hair
HEAD = (0.44, 0.55)  # sides from its middle to which a head with its hair reaches
ROOM = 1.2  # times that, within the crop: its corners hold no head
BESIDE = 0.12  # sides beyond the crop in which a head that it cuts is closed
CHEEKS = [50, 101, 118, 205, 280, 330, 347, 425]  # points of the mesh
HAIRLINE = (0.2, 0.6)  # of the way from the nape's hair down to the chin, over which hair ends behind
SHOULDER = 0.7  # by which shoulders that the crop cuts fall, times the way outwards
COMMON = 0.8  # of the hair's colour is its median where no hair is seen
LEAST_HAIR = 0.002  # of the picture, from which its colour is known
RELAXATIONS = (0.15, 0.15, 0.1, 0.1, 0.06, 0.06, 0.04, 0.04, 0.02, 0.02)  # deviations of blurs, in sides
SURE = 0.98  # coverage from which a pixel's colour is the person's alone
RIM = 0.006  # of a side within the silhouette, whose colours may be mixed with what is behind
MIXED = (0.4, 0.98)  # coverage over which a pixel's own colour takes over from its neighbours' within
DEEP = (0.004, 0.02)  # of a side: where a silhouette seen from beside ends, and a face begins
EDGE = (0.25, 0.85)  # coverage between which a person's edge lies once they have moved
OFF = 0.02  # and under which it is what is behind


@dataclass(frozen=True, eq=False)
class Layers:
    """Pictures over the crop and its margins, `T = S * (1 + 2 * MARGIN)` pixels a side.

    Attributes:
        person: `(T, T, 3)` float32: colours of the person, carried on beyond the silhouette.
        reverse: `(T, T, 3)` float32: the same with hair and neck instead of face and ears, for the back.
        behind: `(T, T, 3)` float32: what is behind the person, filled where they hide it.
        residual: `(T, T, 3)` float32: what the photograph has beside the person over what is behind.
        alpha: `(T, T)` float32: how much of a pixel the person covers.
        deep: `(T, T)` float32: 0 at the person's silhouette, 1 a little within.
        own: `(T, T)` float32: 1 where the photograph itself shows what is behind, 0 where it was filled.
    """

    person: np.ndarray
    reverse: np.ndarray
    behind: np.ndarray
    residual: np.ndarray
    alpha: np.ndarray
    deep: np.ndarray
    own: np.ndarray


@cache
def _network() -> PersonMask:
    return PersonMask()


def take_apart(crop: np.ndarray, points: np.ndarray, rows: np.ndarray, middle: np.ndarray) -> Layers:
    """Tell the person from what is behind.

    Args:
        crop: `(S, S, 3)` uint8 RGB.
        points: `(468, 3)` the face's mesh in pixels of the crop.
        rows: `(4,)` in sides of the crop, of `LEVELS` on the head's axis.
        middle: `(2,)` of the head, in sides of the crop.
    """
    size = len(crop)
    pad = round(MARGIN * size)
    matte = _matte(crop, points)
    alpha = _carried_on(matte, pad, rows[[0, 2]] * size, middle * size)
    picture = _padded(crop.astype(np.float32), pad)
    reach = max(1, round(TRACES * size))
    hidden = cv2.dilate((matte > OFF).astype(np.uint8), _disc(reach)) > 0
    shown = cv2.GaussianBlur((~hidden).astype(np.float32), (0, 0), reach / 2) * ~hidden
    filled = _relaxed(crop.astype(np.float32), hidden)
    behind = _padded(filled + (crop - filled) * shown[..., None], pad)
    sure = cv2.erode((alpha > SURE).astype(np.uint8), _disc(max(1, round(RIM * size)))).astype(np.float32)
    share = alpha[..., None]
    exact = np.clip((picture - (1 - share) * behind) / np.maximum(share, 0.05), 0, 255)
    carried = fill(picture, sure * _near_crop(size, pad))
    person = np.where(share > SURE, picture, carried + (exact - carried) * smoothstep(share, *MIXED))
    edge = np.clip((share - EDGE[0]) / (EDGE[1] - EDGE[0]), 0, 1)
    residual = picture - (behind + (person - behind) * edge)
    reverse = _reverse(person, points, alpha, rows * size, pad)
    deep = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / np.float32(size)
    own = cv2.copyMakeBorder(shown.astype(np.float32), pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    return Layers(person, reverse, behind, residual, alpha, smoothstep(deep, *DEEP), own)


def _carried_on(matte: np.ndarray, pad: int, rows: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Coverage beyond the crop's edges: heads that they cut close roundly, shoulders fall.

    Args:
        matte: `(S, S)` float32.
        pad: Pixels on each side.
        rows: Of the hair's top and the chin, pixels of the crop.
        middle: `(2,)` of the head, pixels of the crop.
    """
    size = len(matte)
    alpha = cv2.copyMakeBorder(matte, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    chin = int(np.clip(rows[1], 1, size))
    beside = min(pad, round(BESIDE * size))
    for start, step in ((pad, -1), (len(alpha) - 1 - pad, 1)):
        for place, line in enumerate(_closing(alpha[pad : pad + chin, start], beside, pad), start=1):
            alpha[pad : pad + chin, start + step * place] = line
            body = np.pad(alpha[pad + chin :, start], (round(SHOULDER * place), 0))
            alpha[pad + chin :, start + step * place] = body[: len(alpha) - pad - chin]
    above = int(np.clip(-rows[0], BESIDE * size / 3, pad))
    for place, line in enumerate(_closing(alpha[pad], above, pad), start=1):
        alpha[pad - place] = line
    y, x = np.mgrid[: len(alpha), : len(alpha)].astype(np.float32)
    apart = np.hypot((x - pad - middle[0]) / (HEAD[0] * size), (y - pad - middle[1]) / (HEAD[1] * size))
    beyond = np.ones_like(alpha)
    beyond[pad : pad + size, pad : pad + size] = 0
    beyond[pad + chin :] = 0
    within = np.where(beyond > 0, apart, apart / ROOM)
    within[pad + chin :] = 0
    return (alpha * (1 - smoothstep(within, 0.9, 1))).astype(np.float32)


def _closing(line: np.ndarray, reach: int, count: int) -> list[np.ndarray]:
    """Copies of a line whose covered runs shrink as a circle's chords do, gone after `reach` of `count`."""
    half = (line > 0.5).sum() / 2
    lines = []
    for place in range(1, count + 1):
        cut = half * (1 - np.sqrt(max(1 - (place / reach) ** 2, 0)))
        kernel = np.ones((2 * round(cut) + 1, 1), np.uint8)
        thin = cv2.erode(line[:, None], kernel, borderType=cv2.BORDER_REPLICATE)[:, 0]
        lines.append(thin if place < reach else np.zeros_like(line))
    return lines


def _relaxed(picture: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """What is hidden filled without edges of its own: first from a pyramid, then by repeated blurring."""
    side = len(hidden) // 4
    known = 1 - hidden.astype(np.float32)
    weight = cv2.resize(known, (side, side), interpolation=cv2.INTER_AREA)
    small = cv2.resize(picture * known[..., None], (side, side), interpolation=cv2.INTER_AREA)
    small = small / np.maximum(weight, 0.05)[..., None]
    where = (weight < 0.5)[..., None]
    soft = fill(small, (weight >= 0.5).astype(np.float32))
    for deviation in RELAXATIONS:
        soft = np.where(where, cv2.GaussianBlur(soft, (0, 0), deviation * side), small)
    large = cv2.resize(soft, hidden.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.where(hidden[..., None], large, picture)


def _near_crop(size: int, pad: int) -> np.ndarray:
    """1 in the crop and a little around, `(T, T)` float32; below it, where bodies go on, too."""
    near = np.zeros((size + 2 * pad,) * 2, np.float32)
    more = pad // 6
    near[pad - more :, pad - more : pad + size + more] = 1
    return near


def _reverse(
    person: np.ndarray, points: np.ndarray, alpha: np.ndarray, rows: np.ndarray, pad: int
) -> np.ndarray:
    """Colours of the back: hair down to the nape, then neck and clothes."""
    size = len(alpha) - 2 * pad
    known = 1 - np.maximum(_face(points, size, pad), _ears(points, size, pad))
    known *= smoothstep(alpha, 0.3, 0.9) * _near_crop(size, pad)
    _, top, chin, nape = np.clip(rows + pad, 1, len(alpha) - 1).astype(int)
    line = np.arange(len(alpha))[:, None]
    hairy = _hairy(person, points[CHEEKS, :2] + pad, alpha, top)
    hair = known * hairy * (line < nape)
    body = known * (line > chin)
    low, high = (nape + (chin - nape) * part for part in HAIRLINE)
    share = smoothstep(line, low, high).astype(np.float32)[..., None]
    hair, body, known = (each.astype(np.float32) for each in (hair, body, known))
    above = fill(person, known)
    if hair.sum() > LEAST_HAIR * hair.size:
        above = fill(person, hair)
        common = np.median(person[hair > 0.9], axis=0) if (hair > 0.9).any() else above
        rest = 1 - cv2.GaussianBlur(hair, (0, 0), RIM * size)
        above = above + (common - above) * (COMMON * rest[..., None])
    below = fill(person, body) if body.sum() > LEAST_HAIR * body.size else above
    return above + (below - above) * share


def _hairy(person: np.ndarray, cheeks: np.ndarray, alpha: np.ndarray, top: int) -> np.ndarray:
    """1 where a colour is the hair's rather than a cheek's: ears are not behind a head."""
    hair = person[:top][alpha[:top] > SURE]
    if len(hair) < LEAST_HAIR * alpha.size:
        return np.ones_like(alpha)
    x, y = np.rint(cheeks).astype(int).clip(0, len(alpha) - 1).T
    skin, dark = np.median(person[y, x], axis=0), np.median(hair, axis=0)
    along = (person - dark) @ (skin - dark) / max(float(((skin - dark) ** 2).sum()), 1.0)
    return cv2.GaussianBlur((along < 0.3).astype(np.float32), (0, 0), 1.5)


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
    alpha = np.clip((alpha - 0.2) / 0.7, 0, 1)
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
    """A `(S, S, 3)` float32 crop reflected over its edges, the blurrier the farther."""
    wide = cv2.copyMakeBorder(crop, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    soft = cv2.GaussianBlur(wide, (0, 0), pad / 6)
    line = np.maximum(pad - np.arange(len(wide)), np.arange(len(wide)) - (len(wide) - 1 - pad)).clip(0)
    away = (np.maximum(line[:, None], line) / pad).astype(np.float32)
    return wide + (soft - wide) * np.clip(away * 3, 0, 1)[..., None]


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
