"""Several photographs of one person to one head: each gives what it has seen."""

from __future__ import annotations

from typing import NamedTuple

import torch

from faceforward.goae.fusion import surface, visibility
from faceforward.goae.inversion import Inversion

UNSEEN = 1e-3  # weight of a photograph where it has seen nothing: it counts only where no other has


class Fused(NamedTuple):
    """One head.

    Attributes:
        ws: `(1, num_ws, w)`.
        planes: `(1, 3, C, S, S)`.
        seen: `(N, 3, S, S)` in [0, 1], how much of each plane each photograph has seen.
    """

    ws: torch.Tensor
    planes: torch.Tensor
    seen: torch.Tensor


@torch.no_grad()
def fuse(found: Inversion, cameras: torch.Tensor) -> Fused:
    """One set of planes from all photographs of an inversion.

    The codes' mean gives the head. What AFA has added for each photograph, its planes less those of its own
    codes, is added where that photograph has seen the head: on the plane that faces the viewer by the shares
    of the masks, and nothing where no photograph has seen it; on the other two planes by the same splatting
    along their own axes, shared among the photographs. One photograph alone gives its own planes.

    Args:
        found: Of N photographs of one person, before any edit, with AFA or without.
        cameras: `(N, 25)` of the photographs.

    Raises:
        ValueError: It was edited, or the cameras are not those of its photographs.
    """
    if found.view is None or len(cameras) != len(found.ws):
        raise ValueError(
            f"{len(found.ws)} heads and {len(cameras)} cameras: give an inversion as `invert` returns it "
            "and the cameras of its photographs"
        )
    network = found.network
    settings, side = network.generator.config.render, found.mask.shape[-1]
    points = surface(found.view.depth, cameras)
    sides = [found.mask, *(visibility(points, side, settings, plane=plane) for plane in (1, 2))]
    seen = torch.cat(sides, dim=1)
    ws = found.ws.mean(dim=0, keepdim=True)
    base = network.generator.planes(ws)
    added = found.aligned - found.plain
    weights = seen + UNSEEN
    shares = weights / weights.sum(dim=0, keepdim=True)
    front = seen[:, :1].amax(dim=0)  # as much as the photograph that has seen most of it
    strength = torch.cat([front, torch.ones_like(seen[0, 1:])])
    planes = base + ((shares * strength)[:, :, None] * added).sum(dim=0, keepdim=True)
    return Fused(ws, planes, seen)
