"""What the modules that train a latent diffusion model share: its parts, prompts, loss and export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from faceforward.diffusion.losses import denoising_loss
from faceforward.diffusion.small import assemble, new_pipeline
from faceforward.errors import ConfigurationError
from faceforward.modules.base import TrainedModule, adamw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Trained = Literal["unet", "unet+text_encoder"]


class DenoisingModule(TrainedModule):
    """A Stable Diffusion model whose UNet, and text encoder if wished, learn to denoise; the VAE is frozen.

    Args:
        init_from: diffusers Stable Diffusion directory or hub id to start from.
        new_over: Instead of `init_from`: diffusers `AutoencoderKL` folder over which a small model with fresh
            weights is made.
        train: What learns.
        min_snr_gamma: Min-SNR weighting (arXiv 2303.09556); None is the plain loss.
        attention: `fused` is PyTorch's; `plain` keeps the maps. Over latents of 16 x 16 on a CPU, plain steps
            are a fifth to a third shorter (the fused kernel's backward is slow there).
        optimizer: See `TrainedModule`.
        lr_scheduler: See `TrainedModule`.

    Raises:
        ConfigurationError: Neither or both of `init_from` and `new_over` are given.
    """

    def __init__(
        self,
        *,
        init_from: str | None = None,
        new_over: str | None = None,
        train: Trained = "unet",
        min_snr_gamma: float | None = None,
        attention: Literal["fused", "plain"] = "fused",
        optimizer: OptimizerCallable = adamw,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        if (init_from is None) == (new_over is None):
            raise ConfigurationError(
                "give one of init_from (a Stable Diffusion to train on) and new_over (a VAE)"
            )
        if init_from is not None:
            parts = StableDiffusionPipeline.from_pretrained(
                init_from, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
            )
        else:
            parts = new_pipeline(AutoencoderKL.from_pretrained(new_over, dtype=torch.float32))
        self.train_text_encoder = train == "unet+text_encoder"
        self.min_snr_gamma = min_snr_gamma
        self.unet = parts.unet.to(memory_format=torch.channels_last)
        if attention == "plain":
            self.unet.set_attn_processor(AttnProcessor())
        self.text_encoder = parts.text_encoder
        self.vae = parts.vae.requires_grad_(False)
        self.tokenizer = parts.tokenizer
        self.text_encoder.requires_grad_(self.train_text_encoder)
        self.prediction_type = parts.scheduler.config.prediction_type
        self.register_buffer("alphas_cumprod", parts.scheduler.alphas_cumprod.float(), persistent=False)
        self.strict_loading = False
        self.train()

    def train(self, mode: bool = True) -> DenoisingModule:
        """Switch what learns; frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        if not self.train_text_encoder:
            self.text_encoder.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen parts out of the checkpoint."""
        frozen = ("vae.",) if self.train_text_encoder else ("vae.", "text_encoder.")
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {
            name: value for name, value in state.items() if not name.startswith(frozen)
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint that lacks a trained weight: loading is not strict about the frozen ones.

        Raises:
            ConfigurationError: The checkpoint is of another model.
        """
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        missing = sorted(trained - checkpoint["state_dict"].keys())
        if missing:
            raise ConfigurationError(
                f"the checkpoint is of another model: {len(missing)} trained weights are missing in it, "
                f"the first is {missing[0]}"
            )

    def latents(self, moments: torch.Tensor) -> torch.Tensor:
        """A sample of the posterior, scaled for the UNet.

        Args:
            moments: `(B, 2C, h, w)` means, then log-variances.
        """
        mean, log_variance = moments.chunk(2, dim=1)
        std = (0.5 * log_variance.clamp(-30, 20)).exp()
        return (mean + std * torch.randn_like(mean)) * self.vae.config.scaling_factor

    def context(self, prompts: Sequence[str]) -> torch.Tensor:
        """Text embeddings `(B, N, D)` of padded prompts; equal prompts are encoded once."""
        unique = list(dict.fromkeys(prompts))
        tokens = self.tokenizer(unique, padding="max_length", truncation=True, return_tensors="pt")
        with torch.set_grad_enabled(self.train_text_encoder and torch.is_grad_enabled()):
            embeddings = self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state
        return embeddings[[unique.index(prompt) for prompt in prompts]]

    def losses(self, latents: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        """Denoising loss of each sample, at noise and timesteps drawn for each by itself."""
        steps = len(self.alphas_cumprod)
        timesteps = torch.randint(steps, (len(latents),), device=latents.device)
        return denoising_loss(
            self.unet,
            latents,
            self.context(prompts),
            timesteps,
            torch.randn_like(latents),
            self.alphas_cumprod,
            prediction_type=self.prediction_type,
            min_snr_gamma=self.min_snr_gamma,
        )

    def export(self, folder: Path) -> None:
        """Write a diffusers Stable Diffusion directory."""
        assemble(self.vae, self.text_encoder, self.tokenizer, self.unet).save_pretrained(folder)
