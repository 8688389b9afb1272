"""What both trainings of GOAE share: a frozen generator, picture terms, figures and heads to look at."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import nn

from faceforward.datamodules.draws import seed_of
from faceforward.eg3d import cameras as cam
from faceforward.eg3d.checkpoint import load_generator
from faceforward.eg3d.generator import TriPlaneGenerator, View
from faceforward.eg3d.heads import Head
from faceforward.eg3d.resampling import resized
from faceforward.goae.inversion import Goae
from faceforward.goae.losses import LossWeights, PictureLoss
from faceforward.modules.base import TrainedModule
from faceforward.modules.gan_steps import require_side
from faceforward.pretrained import generator_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceforward.datamodules.camera_crops import CropDataset


def adam(params: Any) -> torch.optim.Optimizer:
    """Adam at the rate of TriPlaneNetV2 (arXiv 2303.13497): 1e-4."""
    return torch.optim.Adam(params, lr=1e-4)


def frozen_generator(source: str) -> TriPlaneGenerator:
    """A generator file or registered name, without gradients."""
    return load_generator(generator_file(source)).requires_grad_(False)


class GoaeTraining(TrainedModule):
    """Base of `GOAEEncoder` and `GOAEAFA`.

    Args:
        network: All of GOAE; what does not train has no gradients.
        weights: Of the losses.
        perceptual: See `PictureLoss`.
        identity: See `PictureLoss`.
        jitter: Jitter the samples of rays, by the seed of the batch.
        optimizer: Of what trains.
        lr_scheduler: Of it, stepped once per batch.
        gradient_clip: Largest norm of its gradient; None does not clip.
    """

    batches: torch.Tensor

    def __init__(
        self,
        network: Goae,
        *,
        weights: LossWeights,
        perceptual: nn.Module | None,
        identity: nn.Module | None,
        jitter: bool,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        gradient_clip: float | None,
    ) -> None:
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.automatic_optimization = False
        self.network = network
        self.weights = weights
        self.pictures = PictureLoss(weights, perceptual, identity)
        self.jitter, self.gradient_clip = jitter, gradient_clip
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    @property
    def generator(self) -> TriPlaneGenerator:
        """The frozen one."""
        return self.network.generator

    @property
    def is_fine(self) -> bool:
        """Its final pictures are worth looking at from the start."""
        return True

    def learnt(self) -> dict[str, torch.Tensor]:
        """All but the judges' networks, which never change and come from their own files."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("pictures.")}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the judges out."""
        state = checkpoint["state_dict"]
        for name in [name for name in state if name.startswith("pictures.")]:
            del state[name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `TrainedModule`; the judges are those of this run."""
        super().on_load_checkpoint(checkpoint)
        judges = {name: v for name, v in self.state_dict().items() if name.startswith("pictures.")}
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **judges}

    def begin(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Generator | None]:
        """Pictures and cameras of a batch, and what jitters its rays."""
        images, cameras = batch["image"], batch["camera"]
        require_side(images, self.generator.config.resolution)
        rng = torch.Generator().manual_seed(seed_of(*batch["seed"].tolist())) if self.jitter else None
        return images, cameras, rng

    def seen_otherwise(
        self,
        batch: dict[str, Any],
        planes: torch.Tensor,
        ws: torch.Tensor,
        rng: torch.Generator | None,
    ) -> dict[str, torch.Tensor]:
        """Weighted terms of other views: mirrored, and of known samples at their other camera."""
        found: dict[str, torch.Tensor] = {}
        views = {
            "mirror": (self.weights.mirror, cam.mirrored(batch["camera"]), batch["image"].flip(-1)),
        }
        if "other_image" in batch:
            views["view"] = (self.weights.view, batch["other_camera"], batch["other_image"])
        for name, (weight, camera, target) in views.items():
            if weight:
                view = self.generator.render(planes, camera, ws, generator=rng)
                found[name] = weight * torch.stack(list(self.terms(view, target).values())).sum()
        return found

    def terms(self, view: View, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Weighted picture terms of a view."""
        with torch.autocast(target.device.type, enabled=False):
            return self.pictures([view.image.float(), view.raw.float()], target)

    def end(self, losses: dict[str, torch.Tensor]) -> None:
        """Step the schedule, count the batch, and log."""
        schedule = self.lr_schedulers()
        if schedule is not None:
            schedule.step()  # type: ignore[union-attr, call-arg]
        with torch.no_grad():
            self.batches += 1
        self.log_dict({f"train/{name}": value.detach() for name, value in losses.items()})

    def heads(self, dataset: CropDataset, count: int) -> Iterator[Head]:
        """Those of the first photographs, each after the photograph and its own view."""
        for index in range(min(count, len(dataset))):
            image, camera = (value.to(self.device)[None] for value in dataset.pair(index))
            planes, ws = self.head(image, camera)
            own = self.generator.render(planes, camera, ws).image
            yield Head(self.generator, ws, planes, (image, own))

    @abstractmethod
    def head(self, images: torch.Tensor, cameras: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Planes and ws of photographs, as the training stands."""

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """PSNR at the photograph's own camera and, of the generator's samples, at another one."""
        planes, ws = self.head(batch["image"], batch["camera"])
        views = {"psnr": (batch["camera"], batch["image"])}
        if "other_image" in batch:
            views["psnr_new_view"] = (batch["other_camera"], batch["other_image"])
        for name, (camera, target) in views.items():
            view = self.generator.render(planes, camera, ws).image.float()
            mse = (view.clamp(-1, 1) - resized(target, view.shape[-1])).square().mean(dim=(1, 2, 3))
            figure = (10 * torch.log10(4 / mse)).mean()
            self.log(f"val/{name}", figure, prog_bar=True, batch_size=len(target), sync_dist=True)
