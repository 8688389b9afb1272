"""Steps where two optimizers take turns, as every GAN here does it."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from faceforward.callbacks.ranks import agree_on_loss, together
from faceforward.errors import ConfigurationError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning import LightningModule
    from lightning.pytorch.core.optimizer import LightningOptimizer

    from faceforward.eg3d.adversary import Adversary
    from faceforward.eg3d.generator import View


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
    with together(module.trainer, "a step") if agree_on_loss(module) else nullcontext():
        if not torch.isfinite(loss.detach()):
            raise TrainingError(
                f"the loss is no number at step {module.global_step}: nothing more is learnt from here. "
                "Lower the learning rates or raise gamma, and go on from the last checkpoint with --ckpt_path"
            )
    optimizer.zero_grad()
    with torch.autocast(
        loss.device.type, enabled=False
    ):  # or products of gradients would be bfloat16 as well
        module.manual_backward(loss)
    if clip is not None:
        module.clip_gradients(optimizer.optimizer, gradient_clip_val=clip, gradient_clip_algorithm="norm")
    optimizer.step()


def require_side(images: torch.Tensor, side: int) -> None:
    """See that photographs are as large as the pictures that they are compared with.

    Args:
        images: `(N, 3, S, S)`.
        side: Of the generator's pictures.

    Raises:
        ConfigurationError: They are not.
    """
    if images.shape[-1] != side:
        raise ConfigurationError(
            f"the photographs come at {images.shape[-1]} pixels and the generator makes {side}: give "
            f"--data.init_args.size {side}"
        )


def batches_before(module: LightningModule, seen: int, images: torch.Tensor) -> int:
    """How many batches a run has behind it that has seen so many pictures on all ranks."""
    return seen // (len(images) * module.trainer.world_size)


def discriminate(
    module: LightningModule,
    optimizer: LightningOptimizer,
    adversary: Adversary,
    batch: dict[str, Any],
    view: View,
    view_cameras: torch.Tensor,
    seen: int,
    clip: float | None,
) -> None:
    """The discriminator's step, with R1 where it is its turn; logs what it thinks.

    Args:
        module: Under manual optimisation.
        optimizer: Of the adversary.
        adversary: With the losses.
        batch: Real pictures: `image` and `camera`.
        view: Of the generator, float32.
        view_cameras: `(M, 25)` that it is seen by.
        seen: Real pictures on all ranks before this batch.
        clip: See `take_step`.
    """
    images, cameras = batch["image"], batch["camera"]
    loss, real, fake = adversary.discriminator_loss(images, cameras, view, view_cameras, seen)
    if batches_before(module, seen, images) % adversary.penalty_every == 0:
        with torch.autocast(images.device.type, enabled=False):  # a gradient of gradients wants float32
            penalty = adversary.penalty(images, cameras, view.raw.shape[-1], seen)
        loss = loss + penalty
        module.log("train/r1", penalty.detach())
    take_step(module, optimizer, loss, clip)
    module.log_dict({"train/discriminator": loss.detach(), "train/real": real, "train/fake": fake})
