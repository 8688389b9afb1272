"""Rays of a camera and samples along them (arXiv 2112.07945; importance sampling of arXiv 2003.08934)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from faceforward.eg3d.resampling import widened


def exact(like: torch.Tensor) -> torch.autocast:
    """A context in which autocast leaves geometry alone, on the device of `like`.

    Matrix products of bfloat16 move rays at 128 px by a pixel on average and give many the same direction.
    Inputs of half precision still have to be `widened`.
    """
    return torch.autocast(like.device.type, enabled=False)


def rays(cameras: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origin and direction through the middle of every pixel.

    Args:
        cameras: `(N, 25)` labels: cam2world `(4, 4)`, then intrinsics `(3, 3)` normalised by the side.
        resolution: Side r of the picture in pixels.

    Returns:
        Origins `(N, 1, 3)` and unit directions `(N, r * r, 3)`, rows of pixels from the top; in float32 (or
        float64, as the labels) under autocast too.
    """
    cameras = widened(cameras)
    pose, intrinsics = cameras[:, :16].reshape(-1, 4, 4), cameras[:, 16:25].reshape(-1, 3, 3)
    focal_x, skew, centre_x = intrinsics[:, 0, 0, None], intrinsics[:, 0, 1, None], intrinsics[:, 0, 2, None]
    focal_y, centre_y = intrinsics[:, 1, 1, None], intrinsics[:, 1, 2, None]
    middle = (torch.arange(resolution, device=cameras.device, dtype=cameras.dtype) + 0.5) / resolution
    v, u = (grid.reshape(1, -1) for grid in torch.meshgrid(middle, middle, indexing="ij"))
    y = (v - centre_y) / focal_y
    x = (u - centre_x - skew * y) / focal_x
    towards = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    with exact(cameras):
        return pose[:, None, :3, 3], F.normalize(towards @ pose[:, :3, :3].transpose(1, 2), dim=-1)


def stratified_depths(
    count: int, near: float, far: float, like: torch.Tensor, jitter: torch.Tensor | None = None
) -> torch.Tensor:
    """Depths at equal distances, moved by up to one distance.

    Args:
        count: Samples S.
        near: First depth.
        far: Last depth.
        like: Whose type and device they take.
        jitter: `(..., S)` in [0, 1); None leaves the depths where they are.

    Returns:
        `(..., S)`; `(S,)` without jitter.
    """
    depths = torch.linspace(near, far, count, device=like.device, dtype=like.dtype)
    return depths if jitter is None else depths + jitter * ((far - near) / (count - 1))


def importance_depths(depths: torch.Tensor, weights: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Depths drawn where the first pass has found something.

    Args:
        depths: `(R, S)` of the first pass, rising.
        weights: `(R, S - 1)` of its intervals.
        positions: `(R, K)` or `(K,)` in [0, 1]: quantiles of the distribution; random when training.

    Returns:
        `(R, K)`.
    """
    weights = F.max_pool1d(weights[:, None], 2, stride=1, padding=1)
    weights = F.avg_pool1d(weights, 2, stride=1)[:, 0] + 0.01
    bins = 0.5 * (depths[:, :-1] + depths[:, 1:])
    inner = weights[:, 1:-1] + 1e-5
    density = inner / inner.sum(dim=-1, keepdim=True)
    cumulative = F.pad(density.cumsum(dim=-1), (1, 0))
    positions = positions.expand(len(depths), -1).contiguous()
    found = torch.searchsorted(cumulative, positions, right=True)
    below, above = (found - 1).clamp(min=0), found.clamp(max=inner.shape[-1])
    low, high = cumulative.gather(1, below), cumulative.gather(1, above)
    width = high - low
    share = (positions - low) / torch.where(width < 1e-5, torch.ones_like(width), width)
    start, end = bins.gather(1, below), bins.gather(1, above)
    return start + share * (end - start)
