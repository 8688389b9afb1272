"""Cameras made exact by rendering: moved until a picture of the same head fits the photograph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from faceforward.eg3d import cameras


class Refined(NamedTuple):
    """What came of a refinement.

    Attributes:
        label: `(N, 25)`.
        losses: `(N, steps + 1)` of the pictures, before each step and at the end.
        degrees: `(N,)` by which the camera was turned.
    """

    label: torch.Tensor
    losses: torch.Tensor
    degrees: torch.Tensor


def refine_cameras(
    label: torch.Tensor,
    target: torch.Tensor,
    render: Callable[[torch.Tensor], torch.Tensor],
    *,
    steps: int = 40,
    rate: float = 0.01,
    spread: float = 6.0,
    prior: float = 0.002,
) -> Refined:
    """Turn cameras about the head, and shift them, until what they see looks like the photographs.

    Analysis by synthesis: Adam on five numbers for each camera (turn, and shift across its view) of a robust
    difference of the pictures. The start counts as a guess of a certain `spread`, so a head that cannot be
    fitted keeps its camera nearly. A camera that would have ended worse than it began is given back as it
    was.

    Args:
        label: `(N, 25)` to start from, as `estimate_camera` gives it: within about ten degrees.
        target: `(N, 3, H, W)` in [-1, 1]: the 3D crops.
        render: Labels `(N, 25)` to pictures `(N, 3, H, W)` of the same heads, differentiable in the labels:
            for example the planes that an encoder found, rendered by EG3D.
        steps: Of Adam.
        rate: Of Adam, in radians and in units of the world.
        spread: Degrees that the start is thought to be off.
        prior: Weight of that thought beside the pictures' difference.

    Raises:
        ValueError: `render` gives pictures of another size, or ones that do not depend on the labels.
    """
    label = label.detach()
    moves = label.new_zeros(len(label), 5).requires_grad_()
    optimizer = torch.optim.Adam([moves], lr=rate)
    history = []
    with torch.enable_grad():
        for step in range(steps + 1):
            difference = _difference(render(_moved(label, moves)), target)
            history.append(difference.detach())
            if step == steps:
                break
            if not difference.requires_grad:
                raise ValueError("the pictures do not depend on the cameras: render must be differentiable")
            unlikely = (moves[:, :3] / math.radians(spread)).square().sum(dim=1)
            optimizer.zero_grad()
            (difference + prior * unlikely).sum().backward()
            optimizer.step()
    losses = torch.stack(history, dim=1)
    better = (losses[:, -1] < losses[:, 0])[:, None]
    kept = torch.where(better, moves.detach(), torch.zeros_like(moves))
    result = _moved(label, kept)
    return Refined(result, losses, cameras.rotation_error(cameras.pose(result), cameras.pose(label)))


def _difference(picture: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if picture.shape != target.shape:
        raise ValueError(f"rendered {tuple(picture.shape)}, but the crops are {tuple(target.shape)}")
    return ((picture - target).square() + 1e-4).sqrt().mean(dim=(1, 2, 3))


def _moved(label: torch.Tensor, moves: torch.Tensor) -> torch.Tensor:
    """Labels after a turn about the head, `moves[:, :3]`, and a shift across the view; same radius."""
    pose, pivot = cameras.pose(label), label.new_tensor(cameras.PIVOT)
    x, y, z = moves[:, :3].unbind(dim=1)
    nothing = torch.zeros_like(x)
    skew = torch.stack([nothing, -z, y, z, nothing, -x, -y, x, nothing], dim=1).unflatten(1, (3, 3))
    turn = torch.linalg.matrix_exp(skew)
    rotation = turn @ pose[:, :3, :3]
    centre = (turn @ (pose[:, :3, 3] - pivot)[..., None])[..., 0] + pivot
    centre = centre + (rotation[:, :, :2] @ moves[:, 3:, None])[..., 0]
    radius = pose[:, :3, 3].norm(dim=1, keepdim=True)
    centre = centre * (radius / centre.norm(dim=1, keepdim=True))
    top = torch.cat([rotation, centre[..., None]], dim=2)
    return cameras.labels(torch.cat([top, pose[:, 3:]], dim=1), cameras.intrinsics(label))
