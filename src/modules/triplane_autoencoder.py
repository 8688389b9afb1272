"""A small tri-plane generator learnt as an autoencoder: photograph to w to planes to the photograph."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.nn import functional as F

from faceforward.checks import at_least
from faceforward.datamodules.draws import seed_of
from faceforward.eg3d import cameras as cam
from faceforward.eg3d.adversary import Adversary
from faceforward.eg3d.density import HeadPrior, density_variation
from faceforward.eg3d.discriminator import DualDiscriminator
from faceforward.eg3d.generator import GeneratorConfig, TriPlaneGenerator, View
from faceforward.eg3d.heads import Head
from faceforward.eg3d.image_encoder import ImageEncoder
from faceforward.eg3d.pair import encode, load_pair, save_pair
from faceforward.eg3d.renderer import Renderer
from faceforward.eg3d.resampling import resized
from faceforward.modules.autoencoder import gradient_loss
from faceforward.modules.base import TrainedModule
from faceforward.modules.gan_steps import adam_gan, discriminate, frozen, require_side, take_step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faceforward.datamodules.camera_crops import CropDataset


class TriPlaneAutoencoder(TrainedModule):
    """EG3D's generator (arXiv 2112.07945) behind an image encoder, for few photographs and few hours.

    The camera is given to encoder and renderer, so that shape has to come from the planes. Against a flat
    picture that faces the camera: density begins at a head (`HeadPrior`); a share of the pictures is rendered
    from the mirrored camera and compared with the mirrored photograph, since faces are nearly symmetric; with
    an adversary, planes are also seen by the cameras of other photographs, where they have to look real and
    to give the same w again.

    `seen` counts real pictures on all ranks; every schedule here is in them. All that is drawn comes from the
    seeds of the batch.

    Args:
        generator: Its shapes; an export to start from brings its own.
        init_from: Folder of an export to start from, or `face-eg3d-128`; None begins anew.
        coarse: Side of raw pictures at first, without super-resolution and importance samples.
        fine_from: Pictures after which the final picture is made.
        mirror_share: Of the pictures that are compared with their mirror image.
        mirror_weight: Of their loss.
        gradient_weight: Of the loss on edges, see `gradient_loss`.
        prior: What density is held to.
        prior_weight: Of that at the start.
        prior_floor: Of that when it has faded.
        prior_fade: Pictures over which it does.
        variation_weight: Of `density_variation`.
        adversarial_from: Pictures after which the adversary enters; None has none.
        adversarial_weight: Of its word on swapped views.
        cycle_weight: Of the distance between w and the w of a swapped view.
        discriminator_base: `channel_base` of the discriminator.
        gamma: Of R1.
        optimizer: Of generator and encoder.
        discriminator_optimizer: Of the discriminator.
        lr_scheduler: Of the first optimizer, stepped once per batch.
        gradient_clip: Largest norm of the gradient of each optimizer; None does not clip.

    Raises:
        ConfigurationError: `init_from` is no export, or a number is out of its range.
    """

    def __init__(
        self,
        generator: GeneratorConfig,
        *,
        init_from: str | None = None,
        coarse: int = 32,
        fine_from: int = 50_000,
        mirror_share: float = 0.25,
        mirror_weight: float = 0.3,
        gradient_weight: float = 1.0,
        prior: HeadPrior | None = None,
        prior_weight: float = 1.0,
        prior_floor: float = 0.01,
        prior_fade: int = 30_000,
        variation_weight: float = 0.05,
        adversarial_from: int | None = None,
        adversarial_weight: float = 0.05,
        cycle_weight: float = 0.5,
        discriminator_base: int = 4096,
        gamma: float = 2.0,
        optimizer: OptimizerCallable = adam_gan,
        discriminator_optimizer: OptimizerCallable = adam_gan,
        lr_scheduler: LRSchedulerCallable | None = None,
        gradient_clip: float | None = 1.0,
    ) -> None:
        at_least(1, coarse=coarse, discriminator_base=discriminator_base)
        at_least(0, fine_from=fine_from, adversarial_from=adversarial_from, gamma=gamma)
        at_least(0, mirror_share=mirror_share, mirror_weight=mirror_weight, gradient_weight=gradient_weight)
        at_least(0, prior_weight=prior_weight, prior_floor=prior_floor, prior_fade=prior_fade)
        at_least(0, variation_weight=variation_weight, adversarial_weight=adversarial_weight)
        at_least(0, cycle_weight=cycle_weight, gradient_clip=gradient_clip)
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.automatic_optimization = False
        self.coarse, self.fine_from = coarse, fine_from
        self.mirror_share, self.mirror_weight = mirror_share, mirror_weight
        self.gradient_weight = gradient_weight
        self.prior = prior or HeadPrior()
        self.prior_weight, self.prior_floor, self.prior_fade = prior_weight, prior_floor, prior_fade
        self.variation_weight = variation_weight
        self.adversarial_from = adversarial_from
        self.adversarial_weight, self.cycle_weight = adversarial_weight, cycle_weight
        self.discriminator_optimizer = discriminator_optimizer
        if init_from is None:
            self.generator = TriPlaneGenerator(generator)
            self.encoder = ImageEncoder(generator.w)
            for block in (self.generator.superresolution.block0, self.generator.superresolution.block1):
                torch.nn.init.zeros_(block.torgb.weight)  # its first picture is the raw one, enlarged
        else:
            self.generator, self.encoder = load_pair(init_from)
        settings = dataclasses.replace(self.generator.config.render, importance_samples=0)
        self.coarse_renderer = Renderer(self.generator.decoder, settings)
        self.adversary: Adversary | None = None
        if adversarial_from is not None:
            discriminator = DualDiscriminator(
                self.generator.config.resolution,
                channel_base=discriminator_base,
                channel_max=256,
                mapping_layers=2,
            )
            self.adversary = Adversary(discriminator, gamma=gamma, blur=0.0)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.gradient_clip = gradient_clip
        self.train()

    def forward(self, images: torch.Tensor, cameras: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures `(B, 3, S, S)` in [-1, 1] and labels `(B, 25)` to ws `(B, num_ws, w)` and planes."""
        return encode(self.generator, self.encoder, images, cameras)

    @property
    def is_fine(self) -> bool:
        """Whether the final picture is made yet."""
        return int(self.seen) >= self.fine_from

    def view(
        self,
        planes: torch.Tensor,
        cameras: torch.Tensor,
        ws: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> View:
        """Planes as the training stands: without super-resolution at first, the raw picture in its place."""
        if self.is_fine:
            return self.generator.render(planes, cameras, ws, generator=generator)
        seen = self.coarse_renderer(planes, cameras, self.coarse, generator=generator)
        raw = seen.features[:, :3]
        return View(raw, raw, seen.depth, seen.opacity)

    def heads(self, dataset: CropDataset, count: int) -> Iterator[Head]:
        """Those of the first photographs, each after the photograph and its own view."""
        for index in range(min(count, len(dataset))):
            image, camera = (value.to(self.device)[None] for value in dataset.pair(index))
            ws, planes = self(image, camera)
            yield Head(self.generator, ws, planes, (image, self.view(planes, camera, ws).image))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One step of generator and encoder, and one of the discriminator where it has entered."""
        images, cameras = batch["image"], batch["camera"]
        require_side(images, self.generator.config.resolution)
        rng = torch.Generator().manual_seed(seed_of(*batch["seed"].tolist()))
        optimizers = self.optimizers()
        first, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        ws, planes = self(images, cameras)
        losses = self._reconstruction(images, cameras, ws, planes, rng)
        if self.adversary is None or int(self.seen) < (self.adversarial_from or 0) or not self.is_fine:
            take_step(self, first, sum(losses.values()), self.gradient_clip)  # type: ignore[arg-type]
        else:
            swapped = cameras.roll(1, dims=0)
            view = self.view(planes, swapped, ws, rng).float()
            with frozen(self.adversary):
                losses |= self._swapped(view, swapped, ws)
                take_step(self, first, sum(losses.values()), self.gradient_clip)  # type: ignore[arg-type]
            discriminate(
                self, others[0], self.adversary, batch, view, swapped, int(self.seen), self.gradient_clip
            )
        schedule = self.lr_schedulers()
        if schedule is not None:
            schedule.step()  # type: ignore[union-attr, call-arg]
        with torch.no_grad():
            average = self.generator.backbone.mapping.w_avg
            average.lerp_(ws[:, 0].detach().mean(dim=0).to(average), 0.005)
            self.seen += len(images) * self.trainer.world_size
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()})
        self.log("seen", self.seen.float())

    def _reconstruction(
        self,
        images: torch.Tensor,
        cameras: torch.Tensor,
        ws: torch.Tensor,
        planes: torch.Tensor,
        rng: torch.Generator,
    ) -> dict[str, torch.Tensor]:
        """Weighted losses of the same view, some of them mirrored, and of the density."""
        mirror = (torch.rand(len(images), generator=rng) < self.mirror_share).to(images.device)
        weight = torch.where(mirror, self.mirror_weight, 1.0)[:, None, None, None]
        targets = torch.where(mirror[:, None, None, None], images.flip(-1), images)
        seen = self.view(planes, torch.where(mirror[:, None], cam.mirrored(cameras), cameras), ws, rng)
        pixel = images.new_zeros(())
        edges = images.new_zeros(())
        pictures = [seen.raw, seen.image] if self.is_fine else [seen.raw]
        for picture in pictures:
            target = resized(targets, picture.shape[-1])
            mine, real = picture.float() * weight, target * weight
            pixel = pixel + F.l1_loss(mine, real) / len(pictures)
            edges = edges + gradient_loss(mine, real) / len(pictures)
        share = max(1 - int(self.seen) / self.prior_fade, 0.0) if self.prior_fade else 0.0
        held = self.prior_floor + (self.prior_weight - self.prior_floor) * share
        renderer = self.generator.renderer
        return {
            "pixel": pixel,
            "edges": edges * self.gradient_weight,
            "prior": self.prior.loss(renderer, planes, generator=rng) * held,
            "variation": density_variation(renderer, planes, generator=rng) * self.variation_weight,
        }

    def _swapped(self, view: View, cameras: torch.Tensor, ws: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted losses of views from other photographs' cameras."""
        assert self.adversary is not None  # the caller has asked
        with torch.autocast(view.image.device.type, enabled=False):
            real = self.adversary.generator_loss(view, cameras, int(self.seen))
        again = self.encoder(view.image, cameras)
        return {
            "adversarial": real * self.adversarial_weight,
            "cycle": F.mse_loss(again, ws[:, 0].detach()) * self.cycle_weight,
        }

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """PSNR of the reconstruction at the photograph's own camera, mean over pictures."""
        images, cameras = batch["image"], batch["camera"]
        ws, planes = self(images, cameras)
        view = self.view(planes, cameras, ws).image.float()
        target = resized(images, view.shape[-1])
        mse = (view.clamp(-1, 1) - target).square().mean(dim=(1, 2, 3))
        psnr = (10 * torch.log10(4 / mse)).mean()
        self.log("val/psnr", psnr, prog_bar=True, batch_size=len(images), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """One optimizer for generator and encoder, one for the discriminator where there is one."""
        learners = [*self.generator.parameters(), *self.encoder.parameters()]
        first = self.optimizer(learners)
        found: list[Any] = [{"optimizer": first}]
        if self.lr_scheduler is not None:
            found[0]["lr_scheduler"] = self.lr_scheduler(first)
        if self.adversary is not None:
            found.append({"optimizer": self.discriminator_optimizer(self.adversary.parameters())})
        return found

    def export(self, folder: Path) -> None:
        """Write `generator.safetensors` and `encoder.safetensors`."""
        save_pair(self.generator, self.encoder, folder)
