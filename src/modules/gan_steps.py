"""One optimizer's step where two take turns, as every GAN here does it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from faceforward.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningModule
    from lightning.pytorch.core.optimizer import LightningOptimizer


def adam_gan(params: Any) -> torch.optim.Optimizer:
    """Adam as EG3D's generator has it (arXiv 2112.07945): lr 2.5e-3, betas 0 and 0.99, epsilon 1e-8."""
    return torch.optim.Adam(params, lr=2.5e-3, betas=(0.0, 0.99), eps=1e-8)


@contextmanager
def frozen(*networks: torch.nn.Module) -> Iterator[None]:
    """Have networks without gradients of their own parameters for a while."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def take_step(
    module: LightningModule, optimizer: LightningOptimizer, loss: torch.Tensor, clip: float | None
) -> None:
    """Backward and one step.

    Args:
        module: Under manual optimisation.
        optimizer: Of the parameters that the loss is for.
        loss: A number with gradients.
        clip: Largest norm of their gradient; None does not clip.

    Raises:
        TrainingError: The loss is no number.
    """
    if not torch.isfinite(loss.detach()):
        raise TrainingError(
            f"the loss is no number at step {module.global_step}: nothing more is learnt from here. Lower "
            "the learning rates or raise gamma, and go on from the last checkpoint with --ckpt_path"
        )
    optimizer.zero_grad()
    module.manual_backward(loss)
    if clip is not None:
        module.clip_gradients(optimizer.optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
    optimizer.step()
