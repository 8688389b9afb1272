"""The shape of a photographed head: in front the face's mesh, then hair, ears and neck, and a back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array, kron
from scipy.sparse.linalg import splu

from faceforward.faces.relief_face import CELLS, MARGIN, NODES, drawn, face_depths
from faceforward.faces.relief_fill import fill

CENTRE = np.array([0.0, 0.05, -0.01])  # of the head, between the ears, in the world of the labels
LOWEST, HIGHEST = -0.25, 0.4  # heights between which the head's own axis tips the middle
RIM = 0.02  # least thickness in front of and behind the middle, world units
SKULL = (np.array([0.0, 0.07, -0.02]), np.array([0.18, 0.26, 0.23]))  # middle and radii, with short hair
HAIR_BEHIND, NECK_BEHIND = 0.15, 0.2  # thickness behind the middle of what the skull does not fill
CHIN = (-0.1, -0.22)  # heights over which the head becomes the neck
ROUNDING = 0.15  # distance from the silhouette over which they round off
EARS, EAR = (234, 454), (0.03, 0.06, 0.85)  # mesh's points before them; shift outwards, radius, thinness
COVERED, SOFT = 0.3, 0.12  # of a cell, from which the surface reaches into it, and is whole
SMOOTHED = 0.8  # deviation, in cells, of the blur of the person's contour
EDGE = 3  # cells between a face and the silhouette up to which its own edge is the silhouette
TURNED = 0.015  # depth between two sheets of a face's mesh, world units
BEND, PULL = 0.6, 0.02  # of the surface's squared thickness against being bent and being sloped, cells
NECK = (0.11, 0.055, (-0.3, -0.55), 0.15)  # half width, depth of its front, heights, how much it counts


@dataclass(frozen=True, eq=False)
class Shape:
    """Where a ray of the photograph's camera enters and leaves the person.

    Attributes:
        front: `(NODES, NODES)` float32 depth before the photograph's camera, along its axis, in world units,
            of the nodes' rays; a node's middle is at `(index + 0.5) / CELLS - MARGIN` sides of the crop.
        back: The same of the side that is turned away.
        inside: `(NODES, NODES)` bool: the person; elsewhere front lies behind back, the farther the more.
        face: `(NODES, NODES)` float32 in [0, 1]: covered by the face's mesh.
        solid: `(468, 3)` the mesh's points in the world.
    """

    front: np.ndarray
    back: np.ndarray
    inside: np.ndarray
    face: np.ndarray
    solid: np.ndarray


def to_world(places: np.ndarray, depths: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Points `(..., 3)` of the world that are seen at `(..., 2)` sides of the crop, at depths `(...)`."""
    pose, (focal, skew, x0, _, height, y0) = label[:16].reshape(4, 4), label[16:22]
    y = (places[..., 1] - y0) / height
    x = (places[..., 0] - x0 - skew * y) / focal
    seen = np.stack([x * depths, y * depths, depths], axis=-1)
    return seen @ pose[:3, :3].T + pose[:3, 3]


def build_shape(points: np.ndarray, label: np.ndarray, size: int, alpha: np.ndarray) -> Shape:
    """Find the shape of the person.

    The middle plane goes through the head's axis, square to the view: the silhouette lies in it. The squared
    thickness before it is known on the face and zero at the silhouette, and as smooth as can be between
    (a ball's squared thickness is a parabola, so that heads round off as they should).

    Args:
        points: `(468, 3)` see `face_depths`.
        label: `(25,)`.
        size: Side of the crop.
        alpha: `(NODES, NODES)` float32 in [0, 1], how much of a cell the person covers.
    """
    places = (points[:, :2] + 0.5) / size
    depths = face_depths(points, label, size)
    alpha = cv2.GaussianBlur(alpha, (0, 0), SMOOTHED)
    face, hidden = (drawn(places, depths, sign) for sign in (1, -1))
    seen = np.isfinite(face)
    inside = (alpha > COVERED) | seen
    unit = _middle(label) / (CELLS * label[16])  # of a cell in the world
    middle = _bent(_middle(label), np.where(seen, face, 0), seen, inside)
    wanted, weight = np.zeros((2, NODES, NODES))
    weight[~inside] = 1
    wanted[seen] = np.maximum(middle[seen] - face[seen], RIM) ** 2
    weight[seen] = 1
    for row, column, depth in _neck(label):
        if inside[row, column] and not seen[row, column]:
            wanted[row, column] = max(middle[row, column] - depth, RIM) ** 2
            weight[row, column] = NECK[3]
    squared = _smooth(wanted, weight)
    front = middle - np.sqrt(np.maximum(squared, RIM**2))
    near = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) * unit
    near = cv2.GaussianBlur(near, (0, 0), 1.5)
    behind = np.maximum(_skull(label) - middle, _rounded(near, places, label))
    turned = seen & (hidden > face + TURNED)  # the far cheek, behind the near one
    known = cv2.GaussianBlur(turned.astype(np.float32), (0, 0), 1) * turned
    cheek = fill(np.where(turned, hidden - middle, 0)[..., None].astype(np.float32), known)[..., 0]
    share = cv2.GaussianBlur(turned.astype(np.float32), (0, 0), 3)
    behind += (np.where(turned, hidden - middle, cheek) - behind) * np.maximum(share, turned)
    back = middle + np.maximum(cv2.GaussianBlur(behind, (0, 0), 1), RIM)
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5) * unit
    # Thin towards the contour, so that it lies between the cells where the person's edge does.
    edge = np.where(seen, 1, np.clip((alpha - COVERED) / SOFT, -1, 1))
    away = np.where(edge > -1, -RIM * edge, np.maximum(away, RIM))
    front = np.where(inside, middle + (front - middle) * edge, middle + away)
    back = np.where(inside, middle + (back - middle) * edge, middle - away)
    soft = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), 1)
    solid = to_world(places, depths, label)
    return Shape(front.astype(np.float32), back.astype(np.float32), inside, soft, solid)


def _skull(label: np.ndarray) -> np.ndarray:
    """Depth at which rays leave an ellipsoid like a skull with short hair, `(NODES, NODES)`; 0 beside it."""
    pose = label[:16].reshape(4, 4)
    towards = to_world(nodes(), np.ones((NODES, NODES)), label) - pose[:3, 3]  # of depth one
    start = (pose[:3, 3] - SKULL[0]) / SKULL[1]
    ray = towards / SKULL[1]
    a, b, c = (ray**2).sum(axis=-1), ray @ start, start @ start - 1
    inside = b**2 - a * c
    return np.where(inside > 0, (np.sqrt(np.maximum(inside, 0)) - b) / a, 0)


def _rounded(near: np.ndarray, places: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Thickness of hair, neck and shoulders behind the middle, by their distance from the silhouette: round.

    Ears are thin: there is less where they may be.
    """
    start, end = axis_rows(label, CHIN)[1]
    below = np.clip((nodes()[..., 1] - start) / (end - start), 0, 1)
    radius = HAIR_BEHIND + (NECK_BEHIND - HAIR_BEHIND) * below
    ears = np.zeros((NODES, NODES))
    for first, second in (EARS, EARS[::-1]):
        out = places[first] - places[second]
        middle = places[first] + EAR[0] * out / max(float(np.hypot(*out)), 1e-6)
        distance = np.linalg.norm(nodes() - middle, axis=-1)
        ears = np.maximum(ears, 1 - np.clip((distance - EAR[1]) / EAR[1], 0, 1))
    return radius * (1 - EAR[2] * ears) * np.sqrt(1 - (1 - np.clip(near / ROUNDING, 0, 1)) ** 2)


def _bent(plane: np.ndarray, face: np.ndarray, seen: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The middle, through the silhouette: a turned head's far cheek has its own before the head's."""
    rim = inside & (cv2.erode(inside.astype(np.uint8), np.ones((3, 3))) == 0)
    close = cv2.dilate((~inside).astype(np.uint8), np.ones((2 * EDGE + 1, 2 * EDGE + 1))) > 0
    edge = seen & close
    near = cv2.dilate(edge.astype(np.uint8), np.ones((2 * EDGE + 3, 2 * EDGE + 3))) > 0
    known = (edge | (rim & ~near)).astype(np.float32)
    shift = np.where(edge, face - plane, 0)[..., None].astype(np.float32)
    return plane + cv2.GaussianBlur(fill(shift, known)[..., 0], (0, 0), 2)


def nodes() -> np.ndarray:
    """Places of the grid's nodes, `(NODES, NODES, 2)` x, y in sides of the crop."""
    line = (np.arange(NODES) + 0.5) / CELLS - MARGIN
    return np.stack(np.meshgrid(line, line), axis=-1)


def _middle(label: np.ndarray) -> np.ndarray:
    """Depth of the plane through the head's axis and the camera's horizontal, bent upright below the head."""
    depths, rows = axis_rows(label, (LOWEST, HIGHEST))
    line = nodes()[:, :, 1]
    share = np.clip((line - rows[0]) / (rows[1] - rows[0]), 0, 1)
    return depths[0] + share * (depths[1] - depths[0])


def axis_rows(label: np.ndarray, heights: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Depths and rows, in sides of the crop, at which the head's axis is seen at two heights."""
    pose = label[:16].reshape(4, 4)
    line = np.array([[CENTRE[0], height, CENTRE[2]] for height in heights])
    seen = (line - pose[:3, 3]) @ pose[:3, :3]
    return seen[:, 2], seen[:, 1] / seen[:, 2] * label[20] + label[21]


def _neck(label: np.ndarray) -> list[tuple[int, int, float]]:
    """Cells and depths of the front of a neck, which holds hair and shoulders away from the chin's depth."""
    half, front, (high, low), _ = NECK
    x, y = np.meshgrid(np.linspace(-half, half, 25), np.linspace(high, low, 25))
    z = front * np.sqrt(np.maximum(1 - (x / (1.2 * half)) ** 2, 0))
    pose = label[:16].reshape(4, 4)
    seen = (np.stack([x, y, z], axis=-1).reshape(-1, 3) - pose[:3, 3]) @ pose[:3, :3]
    places = seen[:, :2] / seen[:, 2:] * label[[16, 20]] + label[[18, 21]]
    cells = np.floor((places + MARGIN) * CELLS).astype(int)
    good = ((cells >= 0) & (cells < NODES)).all(axis=1)
    return [(int(r), int(c), float(d)) for (c, r), d in zip(cells[good], seen[good, 2], strict=True)]


def _smooth(wanted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The field that is as wanted where it is known, and smooth elsewhere: one sparse system."""
    bend, pull = _stiffness()
    matrix = diags_array(weight.ravel()) + BEND * bend + PULL * pull
    solved = splu(csr_array(matrix).tocsc(), permc_spec="MMD_AT_PLUS_A").solve((weight * wanted).ravel())
    return solved.reshape(NODES, NODES)


@cache
def _stiffness() -> tuple[csr_array, csr_array]:
    """Squared second and first differences over the grid."""
    step = diags_array([-1.0, 1.0], offsets=[0, 1], shape=(NODES - 1, NODES))
    line, one = step.T @ step, eye_array(NODES)
    pull = kron(one, line) + kron(line, one)
    second = diags_array([1.0, -2.0, 1.0], offsets=[0, 1, 2], shape=(NODES - 2, NODES))
    line = second.T @ second
    cross = kron(step, step)
    bend = kron(one, line) + kron(line, one) + 2 * cross.T @ cross
    return csr_array(bend), csr_array(pull)
