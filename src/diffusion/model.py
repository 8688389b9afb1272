"""A Stable Diffusion 1.x or 2.x model, frozen: pictures to latents, prompts to embeddings, predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from faceforward.diffusion.schedule import NoiseSchedule

DECODED_AT_ONCE = 512 * 512  # pixels: a batch of small pictures, or one of Stable Diffusion's


@dataclass(frozen=True, eq=False)
class LatentDiffusion:
    """The parts of a latent diffusion model (arXiv 2112.10752), none of which learns.

    Latents and text embeddings are float32 at every door; the UNet computes in its own precision.

    Attributes:
        unet: Predicts from noisy latents.
        vae: Autoencoder between pictures and latents; float32, since Stable Diffusion's overflows in half.
        text_encoder: CLIP's, float32.
        tokenizer: CLIP's.
        schedule: The noise that the UNet was trained on.
        name: Folder or hub id that it came from.
        scheduler_config: Of its diffusers scheduler, for who writes the model again.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    schedule: NoiseSchedule
    name: str = ""
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the UNet is."""
        return self.unet.device

    @cached_property
    def factor(self) -> int:
        """Pixels of the picture per position of the latents, along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @cached_property
    def image_size(self) -> int:
        """Side of the pictures that the UNet was trained on, pixels."""
        return int(self.unet.config.sample_size) * self.factor

    @torch.no_grad()
    def encode_image(self, images: np.ndarray) -> torch.Tensor:
        """Latents of pictures: the mean of the posterior, not a sample, times the scaling factor.

        Args:
            images: `(H, W, 3)` or `(B, H, W, 3)` uint8 RGB; sides divisible by `factor`.

        Returns:
            `(B, C, H / factor, W / factor)` float32.

        Raises:
            ValueError: Another shape or type.
        """
        batch = images[None] if images.ndim == 3 else images
        if batch.ndim != 4 or batch.shape[3] != 3 or batch.dtype != np.uint8:
            raise ValueError(f"pictures must be (B, H, W, 3) uint8, not {images.shape} {images.dtype}")
        if batch.shape[1] % self.factor or batch.shape[2] % self.factor:
            raise ValueError(
                f"the picture is {batch.shape[2]} x {batch.shape[1]} pixels; the sides must be divisible by "
                f"{self.factor}: resize it, best to {self.image_size} x {self.image_size}"
            )
        pixels = torch.from_numpy(np.array(batch)).to(self.device).permute(0, 3, 1, 2)
        # Contiguous: torch's GroupNorm of large channels-last pictures loses two digits on the CPU.
        scaled = pixels.float().contiguous() / 127.5 - 1
        parts = [self.vae.encode(part).latent_dist.mean for part in self._parts(scaled, pixels[0, 0].numel())]
        return torch.cat(parts) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> np.ndarray:
        """Pictures of latents.

        Args:
            latents: `(B, C, h, w)`, scaled.

        Returns:
            `(B, h factor, w factor, 3)` uint8 RGB.
        """
        scaled = latents.to(self.device, torch.float32) / self.vae.config.scaling_factor
        size = latents[0, 0].numel() * self.factor**2
        decoded = torch.cat([self.vae.decode(part).sample for part in self._parts(scaled, size)])
        pixels = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    @staticmethod
    def _parts(batch: torch.Tensor, pixels: int) -> tuple[torch.Tensor, ...]:
        """Split a batch of pictures of so many pixels each, to bound the autoencoder's memory."""
        return batch.split(max(1, DECODED_AT_ONCE // pixels))

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Text embeddings, padded to the encoder's length.

        Args:
            prompts: Texts; too long ones are cut, as in training (`tokens.word_tokens` refuses them).

        Returns:
            `(B, N, D)` float32.
        """
        return embed_prompts(self.tokenizer, self.text_encoder, prompts).float()

    def predict(self, latents: torch.Tensor, timestep: int, context: torch.Tensor) -> torch.Tensor:
        """The UNet's output, whatever `schedule.prediction_type` says that it is.

        Args:
            latents: `(B, C, h, w)` float32.
            timestep: One for the whole batch.
            context: `(B, N, D)` float32.

        Returns:
            `(B, C, h, w)` float32.
        """
        dtype = self.unet.dtype
        output = self.unet(latents.to(dtype), timestep, context.to(dtype), return_dict=False)[0]
        return output.float()


def embed_prompts(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, prompts: Sequence[str]
) -> torch.Tensor:
    """Text embeddings `(B, N, D)` of prompts padded, or cut, to the encoder's length.

    Args:
        tokenizer: CLIP's.
        text_encoder: CLIP's; gradients flow to it where they are on.
        prompts: B texts.
    """
    tokens = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).to(text_encoder.device)
    # Stable Diffusion was trained without the padding mask; diffusers uses it where the config says so.
    masked = getattr(text_encoder.config, "use_attention_mask", False)
    mask = tokens.attention_mask if masked else None
    return text_encoder(tokens.input_ids, attention_mask=mask).last_hidden_state
