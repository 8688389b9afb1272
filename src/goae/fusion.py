"""Which part of the planes a photograph has seen, and planes mixed by it (arXiv 2303.12326, 3.3)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from faceforward.eg3d.planes import AXES
from faceforward.eg3d.rays import rays
from faceforward.eg3d.renderer import RenderSettings

TAPS = 9  # of the blur
SIGMA = 1.5  # the release draws it from 1 to 2 each time; its middle gives the same planes every time
SEEN = 0.35  # blurred share of seen pixels from which a place counts as seen


def surface(depth: torch.Tensor, cameras: torch.Tensor) -> torch.Tensor:
    """Points of space that pictures show.

    Args:
        depth: `(N, 1, r, r)` along the rays.
        cameras: `(N, 25)`.

    Returns:
        `(N, r * r, 3)`.
    """
    origins, directions = rays(cameras.float(), depth.shape[-1])
    return origins + depth.flatten(1)[..., None] * directions


@torch.no_grad()
def visibility(
    points: torch.Tensor, side: int, settings: RenderSettings, *, plane: int = 0, sigma: float = SIGMA
) -> torch.Tensor:
    """Where a plane has been seen.

    Points are splatted on the pixels of the plane, blurred, cut at a threshold and blurred again.

    Args:
        points: `(N, M, 3)` of the surface.
        side: Of the plane, pixels.
        settings: Box and axes of the planes.
        plane: Which of the three; the first is the one that faces the viewer.
        sigma: Standard deviation of both blurs, pixels.

    Returns:
        `(N, 1, side, side)` in [0, 1].
    """
    column, row = AXES[settings.plane_axes][plane]
    at = ((points / settings.box_warp + 0.5) * side).clamp(0, side - 1).long()
    seen = points.new_zeros(len(points), side * side)
    seen.scatter_(1, at[..., row] * side + at[..., column], 1.0)
    seen = _blurred(seen.reshape(-1, 1, side, side), sigma)
    return _blurred((seen > SEEN).to(seen), sigma)


def mix(aligned: torch.Tensor, plain: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Planes of AFA where the photograph has seen them, those of the codes elsewhere.

    Only on the plane that faces the viewer: what is behind the surface shares its pixels on the other two,
    which are AFA's.

    Args:
        aligned: `(N, 3, C, S, S)` of AFA.
        plain: `(N, 3, C, S, S)` of the codes alone.
        mask: `(N, 1, S, S)` in [0, 1].
    """
    front = mask * aligned[:, 0] + (1 - mask) * plain[:, 0]
    return torch.cat([front[:, None], aligned[:, 1:]], dim=1)


def _blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian of nine taps, mirrored at the edges."""
    offsets = torch.arange(TAPS, device=x.device, dtype=x.dtype) - TAPS // 2
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    taps = taps / taps.sum()
    reach = TAPS // 2
    kernel = taps.outer(taps)[None, None]
    return F.conv2d(F.pad(x, (reach, reach, reach, reach), mode="reflect"), kernel)
