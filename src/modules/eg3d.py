"""EG3D: a tri-plane GAN from single photographs with cameras."""

from __future__ import annotations

from collections.abc import Iterator  # jsonargparse reads the types
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable

from faceforward.checks import at_least, check_shares
from faceforward.datamodules.camera_crops import CropDataset
from faceforward.datamodules.draws import seed_of
from faceforward.eg3d.adversary import Adversary
from faceforward.eg3d.checkpoint import load_generator, save_generator
from faceforward.eg3d.density import density_variation
from faceforward.eg3d.discriminator import DualDiscriminator
from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator
from faceforward.eg3d.heads import Head, code
from faceforward.eg3d.pair import GENERATOR
from faceforward.errors import ConfigurationError
from faceforward.modules.base import TrainedModule
from faceforward.modules.gan_steps import (
    adam_gan,
    batches_before,
    discriminate,
    frozen,
    require_side,
    take_step,
)
from faceforward.pretrained import generator_file

SHOWN = 0.7  # truncation of the heads that are looked at, as `faceforward sample` has it


def adam_discriminator(params: Any) -> torch.optim.Optimizer:
    """Adam as EG3D's discriminator has it (arXiv 2112.07945): lr 2e-3, betas 0 and 0.99, epsilon 1e-8."""
    return torch.optim.Adam(params, lr=2e-3, betas=(0.0, 0.99), eps=1e-8)


class EG3D(TrainedModule):
    """EG3D (Chan et al., arXiv 2112.07945) with its published recipe as the default.

    It differs from the release in this: R1 and density regularisation are part of the loss of the steps whose
    turn it is, not steps of their own, so that Adam's rate and betas need no correction for those; and the
    discriminator judges the pictures that the generator has just made, not another batch.

    Dual discriminator, non-saturating loss with lazy R1, density regularisation every few steps, generator
    conditioned on cameras that are swapped at random, blurred pictures at the start, and raw pictures that
    grow. `seen` counts real pictures on all ranks; every schedule here is in them.

    Two optimizers take a step each per batch, and `trainer.global_step` counts both.

    Args:
        generator: Its shapes; a generator to start from brings its own.
        init_from: A generator file to start from, or a registered name; None begins anew.
        discriminator_base: `channel_base` of the discriminator.
        discriminator_max: `channel_max` of it.
        gamma: Of R1.
        penalty_every: Steps from one R1 to the next.
        blur: Of the pictures at the start, pixels.
        blur_fade: Pictures over which it fades.
        raw_start: Side of raw pictures at first.
        raw_fade: Pictures from the first to the last of growth to the generator's own side; None stays.
        swap: Probability that the generator is told another camera than it is seen from.
        swap_start: The same at the start: 1 tells nothing about the camera.
        swap_fade: Pictures between the two.
        variation_weight: Of `density_variation`.
        variation_every: Steps from one to the next.
        variation_distance: See there.
        optimizer: Of the generator.
        discriminator_optimizer: Of the discriminator.
        gradient_clip: Largest norm of the gradient of each; None does not clip.

    Raises:
        ConfigurationError: `init_from` is no generator, or a number is out of its range.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        *,
        init_from: str | None = None,
        discriminator_base: int = 32768,
        discriminator_max: int = 512,
        gamma: float = 1.0,
        penalty_every: int = 16,
        blur: float = 10.0,
        blur_fade: int = 200_000,
        raw_start: int = 64,
        raw_fade: tuple[int, int] | None = None,
        swap: float = 0.5,
        swap_start: float = 1.0,
        swap_fade: int = 1_000_000,
        variation_weight: float = 0.25,
        variation_every: int = 4,
        variation_distance: float = 0.004,
        optimizer: OptimizerCallable = adam_gan,
        discriminator_optimizer: OptimizerCallable = adam_discriminator,
        gradient_clip: float | None = None,
    ) -> None:
        at_least(0, gamma=gamma, blur=blur, gradient_clip=gradient_clip)
        at_least(0, variation_weight=variation_weight, blur_fade=blur_fade, swap_fade=swap_fade)
        at_least(1, penalty_every=penalty_every, variation_every=variation_every)
        at_least(2, raw_start=raw_start)
        if raw_fade is not None and not 0 <= raw_fade[0] <= raw_fade[1]:
            raise ConfigurationError(f"raw_fade is {list(raw_fade)}: give first and last, 0 or more, rising")
        super().__init__(optimizer=optimizer)
        self.automatic_optimization = False
        self.raw_start, self.raw_fade = raw_start, raw_fade
        self.swap, self.swap_start, self.swap_fade = swap, swap_start, swap_fade
        check_shares(self, "model.init_args", ("swap", "swap_start"))
        self.variation_weight, self.variation_every = variation_weight, variation_every
        self.variation_distance = variation_distance
        self.discriminator_optimizer = discriminator_optimizer
        self.gradient_clip = gradient_clip
        self.generator = (
            TriPlaneGenerator(generator) if init_from is None else load_generator(generator_file(init_from))
        )
        config = self.generator.config
        self.adversary = Adversary(
            DualDiscriminator(
                config.resolution,
                condition=config.condition,
                channel_base=discriminator_base,
                channel_max=discriminator_max,
            ),
            gamma=gamma,
            penalty_every=penalty_every,
            blur=blur,
            blur_fade=blur_fade,
        )
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.train()

    @property
    def is_fine(self) -> bool:
        """Its final pictures are worth looking at from the start."""
        return True

    def heads(self, dataset: CropDataset, count: int) -> Iterator[Head]:
        """Those of the same seeds each time, as `faceforward sample` makes them."""
        for seed in range(count):
            ws = code(self.generator, seed, SHOWN)
            yield Head(self.generator, ws, self.generator.planes(ws))

    @property
    def raw_side(self) -> int:
        """Side of raw pictures now; even, so that it halves."""
        last = self.generator.config.raw_resolution
        if self.raw_fade is None:
            return min(self.raw_start, last)
        first, full = self.raw_fade
        share = min(max((int(self.seen) - first) / max(full - first, 1), 0.0), 1.0)
        return round((self.raw_start + share * (last - self.raw_start)) / 2) * 2

    @property
    def swap_probability(self) -> float:
        """Probability of another camera now."""
        share = min(int(self.seen) / self.swap_fade, 1.0) if self.swap_fade else 1.0
        return self.swap_start + share * (self.swap - self.swap_start)

    def conditions(self, cameras: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """What the mapping network is told: each sample's own camera, or that of the sample before it."""
        swapped = torch.rand(len(cameras), 1, generator=rng).to(cameras) < self.swap_probability
        return torch.where(swapped, cameras.roll(1, dims=0), cameras)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One step of the generator and one of the discriminator."""
        images, cameras = batch["image"], batch["camera"]
        require_side(images, self.generator.config.resolution)
        rng = torch.Generator().manual_seed(seed_of(*batch["seed"].tolist()))
        first, second = self.optimizers()  # type: ignore[misc]
        seen = int(self.seen)
        z = torch.randn(len(images), self.generator.config.z, generator=rng).to(images)
        ws = self.generator.map(z, self.conditions(cameras, rng))
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(rng.initial_seed())  # noise is drawn where the features are
            planes = self.generator.planes(ws, noise="random")
        view = self.generator.render(planes, cameras, ws, raw_resolution=self.raw_side, generator=rng).float()
        with frozen(self.adversary):
            loss = wanted = self.adversary.generator_loss(view, cameras, seen)
            if self.variation_weight and batches_before(self, seen, images) % self.variation_every == 0:
                variation = density_variation(
                    self.generator.renderer, planes, distance=self.variation_distance, generator=rng
                )
                loss = loss + variation * (self.variation_weight * self.variation_every)
                self.log("train/variation", variation.detach())
            take_step(self, first, loss, self.gradient_clip)
        discriminate(self, second, self.adversary, batch, view, cameras, seen, self.gradient_clip)
        with torch.no_grad():
            average = self.generator.backbone.mapping.w_avg
            average.lerp_(ws[:, 0].detach().mean(dim=0).to(average), 0.002)
            self.seen += len(images) * self.trainer.world_size
        self.log_dict({"train/generator": wanted.detach(), "seen": self.seen.float()})

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """How real the discriminator finds held-out photographs: far below `train/real`, it overfits."""
        images, cameras = batch["image"], batch["camera"]
        image, small = self.adversary.pair(images, self.raw_side, self.adversary.sigma(int(self.seen)))
        logits = self.adversary.discriminator(image, small, cameras)
        self.log("val/real", logits.mean(), batch_size=len(images), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """One optimizer for each network."""
        return [
            self.optimizer(self.generator.parameters()),
            self.discriminator_optimizer(self.adversary.parameters()),
        ]

    def export(self, folder: Path) -> None:
        """Write `generator.safetensors`."""
        save_generator(self.generator, folder / GENERATOR)
