"""The surface in planes as a coloured mesh: density on a grid, then marching cubes."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from faceforward.eg3d.cameras import labels, look_at
from faceforward.eg3d.planes import plane_features
from faceforward.eg3d.rays import rays
from faceforward.eg3d.renderer import Renderer
from faceforward.eg3d.views import SEEN
from faceforward.errors import FaceforwardError, WeightsUnavailableError

#: Density before its softplus. A ray that comes this far has lost half its light after ln 2 / softplus(9) =
#: 0.08 units, a third of a head's half depth, so what is denser hides what is behind it; and it is the level
#: that shapes of EG3D are taken at in the literature.
LEVEL = 10.0
SMALLEST, LARGEST = 8, 1024  # cells along a side of the grid
APART = 1e-3  # of a cell: what vertices on the edges of one corner keep from it


class NoSurfaceError(FaceforwardError):
    """Planes hold nothing as dense as asked, so that there is no mesh."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface in the world of the cameras: y up, z towards the viewer.

    Attributes:
        vertices: `(V, 3)` float32, world units.
        faces: `(F, 3)` int32, counter-clockwise seen from outside, so that normals point outwards.
        colours: `(V, 3)` uint8 sRGB of the vertices.
        level: Density before its softplus that the surface is taken at; nan of one from elsewhere.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    level: float = float("nan")


@torch.no_grad()
def surface(
    renderer: Renderer,
    planes: torch.Tensor,
    *,
    resolution: int = 256,
    level: float | None = LEVEL,
    whole: bool = False,
    chunk: int = 2**16,
) -> Mesh:
    """Where density crosses a level, closed at the walls of the box (Lewiner et al., 2003).

    Memory is the grid's, `4 * resolution ** 3` bytes a few times, and that of one chunk of points.

    Args:
        renderer: Of the planes.
        planes: `(3, C, H, W)`, of one head.
        resolution: Cells along a side of the box, 8 to 1024.
        level: Density before its softplus; None takes the level whose surface lies where the head is seen:
            `LEVEL`, or less in softer planes, which are seen without being anywhere as dense. There it is the
            median density of the front view's depth map, in the middle of the picture.
        whole: Keep all of it; else only the part that the middle of the front view shows: no floating bits,
            no hollows, no wall behind a head.
        chunk: Points at once.

    Raises:
        ValueError: The resolution is out of range.
        NoSurfaceError: Nothing is above the level, or densities are not finite.
        WeightsUnavailableError: scikit-image is not installed.
    """
    measure = needed("skimage.measure")
    side = renderer.settings.box_warp
    field = density_grid(renderer, planes, resolution=resolution, chunk=chunk)
    highest = float(field.max())  # nan and infinity come through
    if not (np.isfinite(highest) and np.isfinite(field.min())):
        raise NoSurfaceError("densities of these planes are not finite: the generator's weights are broken")
    seen = _seen_in_front(renderer, planes)
    if level is None:
        level = _shown_level(renderer, planes, seen)
    if highest <= level:
        raise NoSurfaceError(
            f"there is no surface: density is at most {highest:.3g} on the grid, and the level is "
            f"{level:.3g}; ask for a lower level"
        )
    field = _closed(field - np.float32(level))
    vertices, faces, _, _ = measure.marching_cubes(field, 0.0, gradient_direction="ascent")
    del field
    # The first cell of the box is the second of the closed grid, and its value stands in its middle.
    vertices = ((vertices - 0.5) / resolution - 0.5) * side
    vertices = vertices.clip(-side / 2, side / 2).astype(np.float32)
    faces = faces.astype(np.int32)
    if not whole:
        vertices, faces = _seen_part(vertices, faces, seen.cpu().numpy())
    return Mesh(vertices, faces, _colours(renderer, planes, vertices, chunk), level)


def _shown_level(renderer: Renderer, planes: torch.Tensor, seen: torch.Tensor) -> float:
    return min(LEVEL, float(renderer.density(planes, seen).median())) if len(seen) else LEVEL


def _seen_in_front(renderer: Renderer, planes: torch.Tensor, resolution: int = 64) -> torch.Tensor:
    """`(M, 3)`: where rays of the front view end, of the middle half of the picture that meets something."""
    front = labels(look_at(0.0)).to(planes)
    view = renderer(planes[None], front, resolution)
    origins, directions = rays(front, resolution)
    points = (origins + view.depth.reshape(1, -1, 1) * directions).unflatten(1, (resolution, resolution))[0]
    middle = slice(resolution // 4, resolution - resolution // 4)
    return points[middle, middle][view.opacity[0, 0, middle, middle] >= SEEN]


@torch.no_grad()
def density_grid(
    renderer: Renderer, planes: torch.Tensor, *, resolution: int, chunk: int = 2**16
) -> np.ndarray:
    """Density before its softplus in the middles of the box's cells.

    Args:
        renderer: Of the planes.
        planes: `(3, C, H, W)`.
        resolution: Cells r along a side.
        chunk: Points at once.

    Returns:
        `(r, r, r)` float32 along x, y and z.

    Raises:
        ValueError: The resolution is out of range.
    """
    if not SMALLEST <= resolution <= LARGEST:
        raise ValueError(f"a grid of {resolution} cells a side: give {SMALLEST} to {LARGEST}")
    middles = ((torch.arange(resolution) + 0.5) / resolution - 0.5) * renderer.settings.box_warp
    grid = np.empty((resolution,) * 3, np.float32)
    slab = max(1, chunk // resolution**2)
    for start in range(0, resolution, slab):
        axes = torch.meshgrid(middles[start : start + slab], middles, middles, indexing="ij")
        points = torch.stack(axes, dim=-1)
        values = renderer.density(planes, points.reshape(-1, 3).to(planes), chunk=chunk)
        grid[start : start + slab] = values.reshape(points.shape[:3]).float().cpu().numpy()
    return grid


def _closed(inner: np.ndarray) -> np.ndarray:
    """The field with a wall of cells around it that is outside and cuts solids right at the box."""
    field = np.empty([side + 2 for side in inner.shape], np.float32)
    field[1:-1, 1:-1, 1:-1] = inner
    _mirror(field)
    _keep_apart(field)
    _mirror(field)
    return field


def _mirror(field: np.ndarray) -> None:
    for axis in range(3):
        turned = field.swapaxes(0, axis)
        turned[0], turned[-1] = -np.abs(turned[1]), -np.abs(turned[-2])


def _keep_apart(field: np.ndarray) -> None:
    """Move values that are zero, or nothing beside their neighbours, a little away from it.

    Else vertices on several edges of a grid corner fall together: faces without area, and a mesh that is open
    once a reader merges equal vertices.
    """
    size, flat = np.abs(field), field.reshape(-1)
    inner = size[1:-1, 1:-1, 1:-1]
    where = np.nonzero(inner < APART * inner.max())
    at = np.ravel_multi_index(tuple(index + 1 for index in where), field.shape)
    size = size.reshape(-1)
    beside = np.zeros(len(at), np.float32)
    for stride in (field.shape[1] * field.shape[2], field.shape[2], 1):
        for step in (-stride, stride):
            np.maximum(beside, size[at + step], out=beside)
    moved = np.maximum(np.maximum(size[at], APART * beside), np.finfo(np.float32).tiny)
    flat[at] = np.where(flat[at] > 0, moved, -moved)


def _seen_part(vertices: np.ndarray, faces: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The connected part that most of the seen points are nearest to; without any, the one with most inside.

    A wall behind a head can enclose more than the head.
    """
    sparse, graphs = needed("scipy.sparse"), needed("scipy.sparse.csgraph")
    ends = np.concatenate([faces[:, :2], faces[:, 1:]])
    links = sparse.coo_array((np.ones(len(ends), bool), tuple(ends.T)), shape=(len(vertices),) * 2)
    _, part = graphs.connected_components(links, directed=False)
    if len(seen):
        votes = np.bincount(part[needed("scipy.spatial").cKDTree(vertices).query(seen)[1]])
    else:
        a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
        volumes = (a * np.cross(b, c)).sum(axis=1) / 6  # hollows enclose less than nothing
        votes = np.bincount(part[faces[:, 0]], weights=volumes)
    kept = part == votes.argmax()
    numbers = np.cumsum(kept, dtype=np.int32) - 1
    return vertices[kept], numbers[faces[kept[faces[:, 0]]]]


def _colours(renderer: Renderer, planes: torch.Tensor, vertices: np.ndarray, chunk: int) -> np.ndarray:
    """What the raw picture would show of a thin layer at each vertex."""
    points = torch.from_numpy(vertices).to(planes)
    parts = [
        renderer.decoder(plane_features(planes, part, renderer.settings))[1][:, :3].cpu()
        for part in points.split(chunk)
    ]
    return (torch.cat(parts).float().clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def require_packages() -> None:
    """See that meshes can be made and written, before anything is rendered.

    Raises:
        WeightsUnavailableError: A package of the extra `mesh` is not installed.
    """
    for module in ("skimage.measure", "scipy.sparse.csgraph", "trimesh"):
        needed(module)


def needed(module: str) -> Any:
    """A module of the extra `mesh`.

    Raises:
        WeightsUnavailableError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise WeightsUnavailableError(
            f"a mesh needs the package {error.name}: pip install 'faceforward[mesh]'"
        ) from error
