"""GOAE's encoder, trained over a frozen generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.datamodules.draws import seed_of
from faceforward.errors import ConfigurationError
from faceforward.goae.checkpoint import load_encoder, save_part, save_published
from faceforward.goae.encoder import STAGES, EncoderConfig, GoaeEncoder, Stage
from faceforward.goae.inversion import Goae
from faceforward.goae.losses import LatentCritic, LossWeights, offset_length
from faceforward.modules.gan_steps import frozen, take_step
from faceforward.modules.goae_base import GoaeTraining, adam, frozen_generator


class GOAEEncoder(GoaeTraining):
    """Codes of photographs: base, then coarse, middle and fine offsets (arXiv 2303.12326, 3.2 and 3.4).

    Batches of `CameraCrops` have the photograph's own view and its mirror image; those of `SyntheticFaces`
    have known codes, planes and another view as well.

    Two optimizers take a step each per batch where there is a latent discriminator, and
    `trainer.global_step` counts both; the stages are counted in batches.

    Args:
        generator: A generator file, or a registered name; it is frozen.
        encoder: Shapes of a new encoder.
        init_from: Folder of an export or of `faceforward convert goae` to start from; None begins anew.
        stages: Batches after which coarse, middle and fine offsets are trained.
        weights: Of the losses; `latent` 0 has no discriminator.
        perceptual: See `PictureLoss`.
        identity: See `PictureLoss`.
        gamma: Of the discriminator's R1.
        penalty_every: Batches from one R1 to the next.
        jitter: Jitter the samples of rays.
        optimizer: Of the encoder.
        critic_optimizer: Of the latent discriminator.
        lr_scheduler: Of the encoder's rate, stepped once per batch.
        gradient_clip: Largest norm of each optimizer's gradient; None does not clip.

    Raises:
        ConfigurationError: Encoder and generator do not fit, stages do not rise, or a file is missing.
    """

    def __init__(
        self,
        generator: str = "face-eg3d-128",
        *,
        encoder: EncoderConfig | None = None,
        init_from: str | None = None,
        stages: tuple[int, int, int] = (10_000, 20_000, 30_000),
        weights: LossWeights | None = None,
        perceptual: nn.Module | None = None,
        identity: nn.Module | None = None,
        gamma: float = 10.0,
        penalty_every: int = 16,
        jitter: bool = True,
        optimizer: OptimizerCallable = adam,
        critic_optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        gradient_clip: float | None = 1.0,
    ) -> None:
        at_least(0, gamma=gamma, gradient_clip=gradient_clip)
        at_least(1, penalty_every=penalty_every)
        if not 0 <= stages[0] <= stages[1] <= stages[2]:
            raise ConfigurationError(f"stages are {list(stages)}: give three numbers of batches that rise")
        own = GoaeEncoder(encoder) if init_from is None else load_encoder(Path(init_from))
        weights = weights or LossWeights()
        super().__init__(
            Goae(frozen_generator(generator), own),
            weights=weights,
            perceptual=perceptual,
            identity=identity,
            jitter=jitter,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            gradient_clip=gradient_clip,
        )
        self.stages, self.gamma, self.penalty_every = stages, gamma, penalty_every
        self.critic_optimizer = critic_optimizer
        self.critic = LatentCritic(own.config.w) if weights.latent else None
        self.train()

    @property
    def stage(self) -> Stage:
        """How far the offsets reach now."""
        return STAGES[sum(int(self.batches) >= start for start in self.stages)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """`(B, 3, S, S)` in [-1, 1] to `(B, num_ws, w)`."""
        return self.network.codes(images, self.stage)

    def head(self, images: torch.Tensor, cameras: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Planes and ws of photographs, as the training stands."""
        ws = self(images).float()
        return self.generator.planes(ws), ws

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One step of the encoder, and one of the latent discriminator."""
        images, cameras, rng = self.begin(batch)
        optimizers = self.optimizers()
        first, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        planes, ws = self.head(images, cameras)
        losses = self.terms(self.generator.render(planes, cameras, ws, generator=rng), images)
        losses |= self.seen_otherwise(batch, planes, ws, rng)
        losses |= self._of_codes(batch, planes, ws)
        if self.critic is None:
            take_step(self, first, torch.stack(list(losses.values())).sum(), self.gradient_clip)
        else:
            with frozen(self.critic):
                losses["latent"] = self.critic.encoder_loss(ws) * self.weights.latent
                take_step(self, first, torch.stack(list(losses.values())).sum(), self.gradient_clip)
            self._criticise(others[0], batch, ws)
        self.log("stage", float(STAGES.index(self.stage)))
        self.end(losses)

    def _of_codes(
        self, batch: dict[str, Any], planes: torch.Tensor, ws: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Weighted terms of codes and planes."""
        reached = sum(self.network.encoder.config.codes[: STAGES.index(self.stage)])
        found = {"offset": offset_length(ws, reached) * self.weights.offset}
        if "ws" in batch:
            if self.weights.codes:
                found["codes"] = F.mse_loss(ws, batch["ws"]) * self.weights.codes
            if self.weights.planes:
                with torch.no_grad():
                    wanted = self.generator.planes(batch["ws"])
                found["planes"] = F.mse_loss(planes, wanted) * self.weights.planes
        return found

    def _criticise(self, optimizer: Any, batch: dict[str, Any], ws: torch.Tensor) -> None:
        """The discriminator's step: each sample's seed gives one w of the mapping network."""
        assert self.critic is not None  # the caller has asked
        seeds = [seed_of(seed, 1) for seed in batch["seed"].tolist()]
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        z = torch.stack([torch.randn(self.generator.config.z, generator=rng) for rng in rngs]).to(ws)
        with torch.no_grad(), torch.autocast(ws.device.type, enabled=False):
            real = self.generator.map(z, batch["camera"].float())[:, 0]
        with torch.autocast(ws.device.type, enabled=False):
            loss = self.critic.loss(real, ws)
            if self.gamma and int(self.batches) % self.penalty_every == 0:
                loss = loss + self.critic.penalty(real) * (self.gamma / 2 * self.penalty_every)
        take_step(self, optimizer, loss, self.gradient_clip)
        self.log("train/critic", loss.detach())

    def configure_optimizers(self) -> Any:
        """One optimizer for the encoder, one for the discriminator where there is one."""
        first = self.optimizer(self.network.encoder.parameters())
        found: list[Any] = [{"optimizer": first}]
        if self.lr_scheduler is not None:
            found[0]["lr_scheduler"] = self.lr_scheduler(first)
        if self.critic is not None:
            found.append({"optimizer": self.critic_optimizer(self.critic.parameters())})
        return found

    def export(self, folder: Path) -> None:
        """Write `goae_encoder.safetensors`, and `encoder.pt` under the authors' names."""
        save_part(self.network.encoder, folder)
        save_published(self.network.encoder, folder / "encoder.pt")
