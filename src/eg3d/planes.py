"""What three planes say about points of space (arXiv 2112.07945, 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from faceforward.eg3d.renderer import RenderSettings

PlaneAxes = Literal["released", "corrected"]

# The two world axes under a plane, columns and rows. The release meant xy, xz and zy, but inverts its
# matrices of axes first, so that the last is the second one transposed. Its checkpoints were trained so.
AXES: dict[str, tuple[tuple[int, int], ...]] = {
    "released": ((0, 1), (0, 2), (2, 0)),
    "corrected": ((0, 1), (0, 2), (2, 1)),
}
PIXELS = 12  # that a point's features come from: four of each plane
BLOCK = 2**14  # points whose pixels are looked up at once: so many stay in the processor's cache


def plane_features(planes: torch.Tensor, points: torch.Tensor, settings: RenderSettings) -> torch.Tensor:
    """Mean of the three planes' features at points of space, bilinear between pixels.

    On the CPU all channels of a pixel are read together, which `grid_sample` does not do; where points want
    gradients, and on other devices, it is taken.

    Args:
        planes: `(3, C, S, S)`; see `readable`.
        points: `(M, 3)` world coordinates; outside the box the features are zero.
        settings: Box and axes.

    Returns:
        `(M, C)`.
    """
    if _together(planes, points):
        with torch.no_grad():
            places, shares = _pixels(points, planes.shape[-1], settings)
        rows = planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1]).to(points.dtype)
        return _Gather.apply(rows, places, shares)
    scaled = points * (2 / settings.box_warp)
    grids = torch.stack([scaled[:, list(axes)] for axes in AXES[settings.plane_axes]])
    sampled = F.grid_sample(planes, grids[:, None], align_corners=False, padding_mode="zeros")
    return sampled[:, :, 0].mean(dim=0).T


def readable(planes: torch.Tensor) -> torch.Tensor:
    """`(3, C, S, S)` laid out as `plane_features` reads them fastest: once, for many calls."""
    return planes.contiguous(memory_format=torch.channels_last) if planes.device.type == "cpu" else planes


def _together(planes: torch.Tensor, points: torch.Tensor) -> bool:
    return (
        points.device.type == "cpu"
        and points.dtype in (torch.float32, torch.float64)
        and not points.requires_grad
        and planes.shape[-1] == planes.shape[-2]
        and not torch.compiler.is_compiling()
    )


def _pixels(points: torch.Tensor, side: int, settings: RenderSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the pixels of points are among the rows of all planes, int32, and their weights, `(M, 12)`."""
    axes = AXES[settings.plane_axes]
    columns, rows = ([pair[which] for pair in axes] for which in (0, 1))
    first = torch.arange(3, dtype=torch.int32)[:, None, None, None] * side**2
    places = torch.empty(len(points), PIXELS, dtype=torch.int32)
    shares = torch.empty(len(points), PIXELS, dtype=points.dtype)
    for start in range(0, len(points), BLOCK):
        block = slice(start, start + BLOCK)
        at = ((points[block].T * (2 / settings.box_warp) + 1) * side - 1) / 2
        at = at.clamp(-2, side + 1)  # far outside is outside; int32 ends somewhere
        low = at.floor()
        weights = torch.stack([low + 1 - at, at - low], dim=1)  # (3 axes, 2 neighbours, M)
        near = torch.stack([low, low + 1], dim=1).int()
        weights *= (near >= 0) & (near < side)
        near.clamp_(0, side - 1)
        found = (near * side)[rows][:, :, None] + near[columns][:, None] + first
        places[block] = found.reshape(PIXELS, -1).T
        shares[block] = ((weights / 3)[rows][:, :, None] * weights[columns][:, None]).reshape(PIXELS, -1).T
    return places, shares


class _Gather(torch.autograd.Function):
    """Weighted sums of rows: `(R, C)`, `(M, K)`, `(M, K)` to `(M, C)`. Only the rows have gradients."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, places: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places, shares)
        ctx.count = len(rows)
        return F.embedding_bag(places, rows, mode="sum", per_sample_weights=shares)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _Scatter.apply(gradients[0], *ctx.saved_tensors, ctx.count), None, None


class _Scatter(torch.autograd.Function):
    """The transposed sums, `(M, C)` to `(R, C)`; torch's own take 25 times as long on the CPU."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, places: torch.Tensor, shares: torch.Tensor, count: int
    ) -> torch.Tensor:
        from scipy.sparse import csr_matrix

        ctx.save_for_backward(places, shares)
        many, each = places.shape
        ends = np.arange(0, many * each + 1, each, dtype=np.int32)
        sums = csr_matrix((shares.numpy().ravel(), places.numpy().ravel(), ends), shape=(many, count))
        return torch.from_numpy(sums.T @ values.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _Gather.apply(gradients[0], *ctx.saved_tensors), None, None, None
