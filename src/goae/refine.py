"""A few steps of optimisation behind the encoder; off unless somebody asks."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from faceforward.eg3d.resampling import resized
from faceforward.errors import ConfigurationError
from faceforward.goae.inversion import Inversion

MOST_STEPS = 500


class Sharpened(NamedTuple):
    """What the steps have found.

    Attributes:
        ws: `(N, num_ws, w)`.
        planes: `(N, 3, C, S, S)`.
        losses: `(N, steps + 1)`, before each step and at the end.
    """

    ws: torch.Tensor
    planes: torch.Tensor
    losses: torch.Tensor


def refine_heads(
    found: Inversion,
    images: torch.Tensor,
    cameras: torch.Tensor,
    *,
    what: Literal["ws", "planes"] = "ws",
    steps: int = 0,
    rate: float = 5e-3,
    hold: float = 0.1,
) -> Sharpened:
    """Move codes or planes until the view at the photograph's camera is nearer to it; the best is kept.

    Adam on a robust difference of the final and the raw picture. With codes the part of the planes that AFA
    has added stays as it is. A head that no step betters is given back as it was. Only the photograph's own
    view is looked at, so new views may become worse: judge them.

    Args:
        found: Heads.
        images: `(N, 3, R, R)` in [-1, 1].
        cameras: `(N, 25)`.
        what: Codes or planes.
        steps: Of Adam, 0 to 500; 0 gives the heads back.
        rate: Of Adam.
        hold: Weight of the mean square of the move beside the pictures' difference.

    Raises:
        ConfigurationError: There are more steps, or fewer than none.
    """
    if not 0 <= steps <= MOST_STEPS:
        raise ConfigurationError(f"{steps} steps of refinement: give 0 to {MOST_STEPS}")
    generator = found.network.generator
    start = found.ws if what == "ws" else found.planes
    move = torch.zeros_like(start).requires_grad_()
    best, lowest = torch.zeros_like(start), torch.full((len(start),), float("inf"), device=start.device)
    added = found.planes - found.plain
    optimizer = torch.optim.Adam([move], lr=rate)
    history = []
    with torch.enable_grad():
        for step in range(steps + 1):
            ws = found.ws + move if what == "ws" else found.ws
            planes = _planes(found, ws, added) if what == "ws" else found.planes + move
            view = generator.render(planes, cameras, ws)
            loss = _distance(view.image, images) + _distance(view.raw, images)
            history.append(loss.detach())
            better = loss.detach() < lowest
            lowest = torch.where(better, loss.detach(), lowest)
            best = torch.where(better.reshape(-1, *[1] * (best.ndim - 1)), move.detach(), best)
            if step == steps:
                break
            moved = move.square().flatten(1).mean(dim=1)
            (gradient,) = torch.autograd.grad((loss + hold * moved).sum(), move)
            move.grad = gradient
            optimizer.step()
    with torch.no_grad():
        ws = found.ws + best if what == "ws" else found.ws
        planes = _planes(found, ws, added) if what == "ws" else found.planes + best
    return Sharpened(ws, planes, torch.stack(history, dim=1))


def _planes(found: Inversion, ws: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    return found.network.generator.planes(ws) + added


def _distance(picture: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    difference = picture - resized(images, picture.shape[-1])
    return (difference.square() + 1e-4).sqrt().mean(dim=(1, 2, 3))
