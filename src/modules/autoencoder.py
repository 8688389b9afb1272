"""The autoencoder of a latent diffusion model, trained on aligned faces."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch.nn import functional as F

from faceforward.diffusion.color import LUMA
from faceforward.modules.base import TrainedModule, adamw

if TYPE_CHECKING:
    from pathlib import Path


def gradient_loss(prediction: torch.Tensor, target: torch.Tensor, scales: int = 3) -> torch.Tensor:
    """Mean absolute difference of image gradients, averaged over octaves: edges count at every scale.

    Args:
        prediction: `(B, C, H, W)`.
        target: Like `prediction`.
        scales: Octaves; each halves the pictures.
    """
    difference = prediction - target
    total = difference.new_zeros(())
    for scale in range(scales):
        if scale:
            difference = F.avg_pool2d(difference, 2)
        total = total + difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
    return total / scales


def color_matrices(count: int, *, hue: float, saturation: float, generator: torch.Generator) -> torch.Tensor:
    """Random colour changes that keep grey grey; hue turns about the grey axis.

    Args:
        count: How many, B.
        hue: Largest turn of the hue, radians.
        saturation: Saturation is multiplied by a number from `1 - saturation` to `1 + saturation`.
        generator: On the CPU.

    Returns:
        `(B, 3, 3)`, to be multiplied onto RGB columns.
    """
    grey = torch.full((3, 1), 1 / math.sqrt(3))
    x, y, z = grey.flatten().tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = (torch.rand(count, 1, 1, generator=generator) * 2 - 1) * hue
    onto_grey = grey @ grey.T
    turn = angle.cos() * torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * onto_grey
    factor = 1 + (torch.rand(count, 1, 1, generator=generator) * 2 - 1) * saturation
    luma = torch.from_numpy(LUMA).expand(3, 3)
    return turn @ (luma + factor * (torch.eye(3) - luma))


class Autoencoder(TrainedModule):
    """AutoencoderKL with L1, multi-scale gradient and KL loss (arXiv 2112.10752, without its GAN).

    Args:
        init_from: diffusers `AutoencoderKL` folder to start from.
        train_encoder: False keeps the latent space as it is and trains the decoder alone, so that a diffusion
            model over these latents stays valid.
        gradient_weight: Weight of the gradient loss.
        kl_weight: Weight of the KL divergence per element.
        color_jitter: Share of training pictures whose hue and saturation are changed, before the encoder:
            colours that are rare in the data (light hair, green clothes) are learnt all the same.
        optimizer: See `TrainedModule`.
        lr_scheduler: See `TrainedModule`.
    """

    def __init__(
        self,
        init_from: str,
        *,
        train_encoder: bool = True,
        gradient_weight: float = 1.0,
        kl_weight: float = 1e-6,
        color_jitter: float = 0.0,
        optimizer: OptimizerCallable = adamw,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        self.train_encoder = train_encoder
        self.gradient_weight = gradient_weight
        self.kl_weight = kl_weight
        self.color_jitter = color_jitter
        self.vae = AutoencoderKL.from_pretrained(init_from, dtype=torch.float32)
        self.vae.to(memory_format=torch.channels_last)
        if not train_encoder:
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)
        self.vae.train()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Reconstruct `(B, 3, S, S)` in [-1, 1] from the mean of the latents."""
        return self.vae.decode(self.vae.encode(images).latent_dist.mode()).sample

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """One step; each picture is mirrored with probability one half."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
        if self.color_jitter:
            images = self._jittered(images)
        with torch.set_grad_enabled(self.train_encoder):
            posterior = self.vae.encode(images).latent_dist
        reconstruction = self.vae.decode(posterior.sample()).sample.float()
        pixel = F.l1_loss(reconstruction, images)
        edges = gradient_loss(reconstruction, images)
        loss = pixel + self.gradient_weight * edges
        if self.train_encoder:
            kl = posterior.kl().float().mean() / posterior.mean[0].numel()
            loss = loss + self.kl_weight * kl
            self.log("train/kl", kl)
        self.log_dict({"train/loss": loss, "train/l1": pixel, "train/gradient": edges})
        return loss

    def _jittered(self, images: torch.Tensor) -> torch.Tensor:
        count = len(images)
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        matrices = color_matrices(count, hue=0.6, saturation=0.6, generator=generator)
        untouched = torch.rand(count, 1, 1, generator=generator) >= self.color_jitter
        matrices = torch.where(untouched, torch.eye(3), matrices).to(images)
        changed = torch.einsum("bij,bjhw->bihw", matrices, images).clamp(-1, 1)
        return changed.contiguous(memory_format=torch.channels_last)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """PSNR of the reconstruction, mean over pictures."""
        images = batch["image"].contiguous(memory_format=torch.channels_last)
        reconstruction = self(images).float().clamp(-1, 1)
        mse = (reconstruction - images).pow(2).mean(dim=(1, 2, 3))
        self.log("val/psnr", (10 * torch.log10(4 / mse)).mean(), prog_bar=True, batch_size=len(images))

    def export(self, folder: Path) -> None:
        """Write the autoencoder as a diffusers directory."""
        self.vae.save_pretrained(folder)
