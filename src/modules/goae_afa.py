"""GOAE's AFA, trained over a frozen encoder and generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.goae.afa import Afa, AfaConfig
from faceforward.goae.checkpoint import AFA, load_afa, load_encoder, save_part, save_published
from faceforward.goae.inversion import Goae, Inversion
from faceforward.goae.losses import LossWeights
from faceforward.modules.gan_steps import take_step
from faceforward.modules.goae_base import GoaeTraining, adam, frozen_generator


class GOAEAFA(GoaeTraining):
    """What the codes have lost, where the photograph has seen it (arXiv 2303.12326, 3.3 and 3.4).

    The photograph's own view is that of AFA's planes; other views are those of the mixed planes, so that what
    AFA does to places that the photograph has not seen is learnt only where it is used.

    AFA has batch normalisation: statistics are those of each rank's own pictures.

    Args:
        encoder: Folder of a trained or converted encoder; it is frozen. Where it holds an AFA, that is the
            start.
        generator: A generator file, or a registered name; it is frozen.
        afa: Shapes of a new AFA.
        weights: Of the losses; those of codes play no part.
        hidden: Weight of the change of the first plane where the photograph has not seen it.
        perceptual: See `PictureLoss`.
        identity: See `PictureLoss`.
        jitter: Jitter the samples of rays.
        optimizer: Of AFA.
        lr_scheduler: Of its rate, stepped once per batch.
        gradient_clip: Largest norm of the gradient; None does not clip.

    Raises:
        ConfigurationError: The three do not fit, or a file is missing.
    """

    def __init__(
        self,
        encoder: str,
        generator: str = "face-eg3d-128",
        *,
        afa: AfaConfig | None = None,
        weights: LossWeights | None = None,
        hidden: float = 0.01,
        perceptual: nn.Module | None = None,
        identity: nn.Module | None = None,
        jitter: bool = True,
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        gradient_clip: float | None = 1.0,
    ) -> None:
        at_least(0, hidden=hidden, gradient_clip=gradient_clip)
        folder = Path(encoder)
        own = load_afa(folder) if (folder / AFA).exists() else Afa(afa)
        found = load_encoder(folder).requires_grad_(False)
        super().__init__(
            Goae(frozen_generator(generator), found, own),
            weights=weights or LossWeights(),
            perceptual=perceptual,
            identity=identity,
            jitter=jitter,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            gradient_clip=gradient_clip,
        )
        self.hidden = hidden
        self.train()

    def forward(self, images: torch.Tensor, cameras: torch.Tensor) -> Inversion:
        """Heads of photographs; only AFA has gradients."""
        return self.network(images, cameras)

    def head(self, images: torch.Tensor, cameras: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixed planes and ws of photographs."""
        found = self(images, cameras)
        return found.planes, found.ws

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One step of AFA."""
        images, cameras, rng = self.begin(batch)
        found = self(images, cameras)
        assert found.view is not None  # it is no edit
        losses = self.terms(found.view, images)
        losses |= self.seen_otherwise(batch, found.planes, found.ws, rng)
        if self.hidden:
            unseen = (1 - found.mask) * (found.aligned[:, 0] - found.plain[:, 0])
            losses["hidden"] = F.mse_loss(unseen, torch.zeros_like(unseen)) * self.hidden
        optimizer = self.optimizers()
        take_step(self, optimizer, torch.stack(list(losses.values())).sum(), self.gradient_clip)  # type: ignore[arg-type]
        self.end(losses)

    def configure_optimizers(self) -> Any:
        """One optimizer, of AFA."""
        assert self.network.afa is not None  # the constructor made it
        optimizer = self.optimizer(self.network.afa.parameters())
        if self.lr_scheduler is None:
            return optimizer
        return [optimizer], [self.lr_scheduler(optimizer)]

    def export(self, folder: Path) -> None:
        """Write encoder and AFA as `load_goae` reads them, and `afa.pt` under the authors' names."""
        assert self.network.afa is not None  # the constructor made it
        save_part(self.network.encoder, folder)
        save_part(self.network.afa, folder)
        save_published(self.network.afa, folder / "afa.pt")
