"""Fit a mapping network to the w's of photographs, so that an autoencoder's generator can be sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from faceforward.checks import at_least

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceforward.eg3d.backbone import Mapping


def energy_distance(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Energy distance of two samples (Székely and Rizzo, 2013); 0 in the mean for equal distributions.

    Args:
        first: `(N, D)`.
        second: `(M, D)`.
    """

    def within(x: torch.Tensor) -> torch.Tensor:
        count = len(x)
        return torch.pdist(x).sum() * 2 / (count * (count - 1))

    return 2 * torch.cdist(first, second).mean() - within(first) - within(second)


def fit_mapping(
    mapping: Mapping,
    ws: torch.Tensor,
    cameras: torch.Tensor,
    *,
    steps: int = 2000,
    batch: int = 512,
    learning_rate: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Change a mapping network so that normal codes give w's like these, whatever the camera.

    The encoder is told the camera, so its w's are taken to be free of it. `w_avg` becomes their mean.

    Args:
        mapping: Trained in place.
        ws: `(N, w)`, of photographs.
        cameras: `(N, 25)`, of the same ones; they are given with other photographs' w's.
        steps: Of Adam, with a cosine schedule.
        batch: W's at once.
        learning_rate: Large, since weights of the network are 100 wide.
        seed: Of what is drawn.
        progress: Told the step and the energy distance, each hundredth step.

    Raises:
        ConfigurationError: There is less than one step, or a batch of fewer than two, or one w.
    """
    at_least(1, steps=steps)
    at_least(2, batch=batch, photographs=len(ws))
    rng = torch.Generator().manual_seed(seed)
    parameters = list(mapping.parameters())
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    width = mapping.get_submodule("fc0").weight.shape[1] - mapping.get_submodule("embed").weight.shape[0]
    for step in range(steps):
        chosen = torch.randint(len(ws), (batch,), generator=rng)
        told = torch.randint(len(ws), (batch,), generator=rng)
        codes = torch.randn(batch, width, generator=rng)
        loss = energy_distance(mapping(codes, cameras[told])[:, 0], ws[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            progress(step, loss.item())
    with torch.no_grad():
        mapping.w_avg.copy_(ws.mean(dim=0))
