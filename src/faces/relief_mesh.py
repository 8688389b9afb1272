"""A relief as a closed mesh with the photograph for its texture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faceforward.faces.relief_face import CELLS, MARGIN, NODES
from faceforward.faces.relief_layers import Layers
from faceforward.faces.relief_surface import Shape, nodes, to_world


@dataclass(frozen=True, eq=False)
class TexturedMesh:
    """A closed surface in EG3D's world: y up, z towards the viewer.

    Attributes:
        vertices: `(N, 3)` float32, world units.
        faces: `(M, 3)` int32, counter-clockwise seen from outside.
        uv: `(N, 2)` float32 in [0, 1]: x right and y up in the texture, as trimesh and OpenGL have it.
        texture: `(T, T, 3)` uint8 RGB: the photograph above left, the back of the head beside it.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texture: np.ndarray


def textured(shape: Shape, layers: Layers, own: np.ndarray) -> TexturedMesh:
    """The person within the crop, front and back joined at the silhouette.

    Args:
        shape: Of the person.
        layers: Pictures of the person.
        own: `(25,)` label of the photograph.
    """
    edge = round(MARGIN * CELLS)
    solid = shape.inside.copy()
    solid[:edge] = solid[NODES - edge :] = solid[:, :edge] = solid[:, NODES - edge :] = False
    cell = solid[:-1, :-1] & solid[1:, :-1] & solid[:-1, 1:] & solid[1:, 1:]
    _, parts, counts, _ = cv2.connectedComponentsWithStats(cell.astype(np.uint8), connectivity=4)
    cell = parts == 1 + counts[1:, cv2.CC_STAT_AREA].argmax()
    rows, columns = np.nonzero(cell)
    index = np.arange(NODES * NODES).reshape(NODES, NODES)
    a, b = index[rows, columns], index[rows, columns + 1]
    d, c = index[rows + 1, columns], index[rows + 1, columns + 1]
    ahead = np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)])
    behind = ahead[:, ::-1] + NODES * NODES
    faces = np.concatenate([ahead, behind, _walls(ahead, NODES * NODES)])
    places = nodes()
    points = np.concatenate(
        [to_world(places, depth, own).reshape(-1, 3) for depth in (shape.front, shape.back)]
    )
    size = round(len(layers.person) / (1 + 2 * MARGIN))
    pad = (len(layers.person) - size) // 2
    inner = slice(pad, pad + size)
    pictures = [
        np.rint(p[inner, inner].clip(0, 255)).astype(np.uint8) for p in (layers.person, layers.reverse)
    ]
    texture = np.zeros((2 * size, 2 * size, 3), np.uint8)
    texture[:size, :size], texture[:size, size:] = pictures
    texture[size:] = pictures[1].mean(axis=(0, 1)).astype(np.uint8)
    flat = places.reshape(-1, 2) / 2
    uv = np.concatenate([flat, flat + np.array([0.5, 0])]) * [1, -1] + np.array([0, 1])
    used, faces = np.unique(faces, return_inverse=True)
    return TexturedMesh(
        points[used].astype(np.float32),
        faces.reshape(-1, 3).astype(np.int32),
        uv[used].astype(np.float32),
        texture,
    )


def _walls(faces: np.ndarray, offset: int) -> np.ndarray:
    """Faces between the border of a sheet and the same border `offset` vertices on."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key = np.sort(ends, axis=1)
    _, first, count = np.unique(key, axis=0, return_index=True, return_counts=True)
    start, stop = ends[first[count == 1]].T
    return np.concatenate(
        [
            np.stack([start, start + offset, stop + offset], 1),
            np.stack([start, stop + offset, stop], 1),
        ]
    )
