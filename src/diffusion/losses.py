"""The denoising loss of latent diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import nn


def diffuse(latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """`sqrt(a) z + sqrt(1 - a) e` (DDPM, arXiv 2006.11239, eq. 4).

    Args:
        latents: `(B, C, H, W)`, scaled.
        noise: Like `latents`.
        alphas_cumprod: `(B,)`, of each sample's timestep.
    """
    alpha = alphas_cumprod.view(-1, 1, 1, 1)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def denoising_loss(
    unet: nn.Module,
    latents: torch.Tensor,
    context: torch.Tensor,
    timesteps: torch.Tensor,
    noise: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    *,
    prediction_type: str = "epsilon",
    min_snr_gamma: float | None = None,
) -> torch.Tensor:
    """Squared error of the UNet's prediction, one value per sample.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        latents: `(B, C, H, W)`, scaled.
        context: `(B, N, D)` text embeddings.
        timesteps: `(B,)` in 0..T-1.
        noise: Like `latents`.
        alphas_cumprod: `(T,)` of the schedule.
        prediction_type: `epsilon` or `v_prediction`.
        min_snr_gamma: Weight each timestep as in Min-SNR (arXiv 2303.09556, eq. 5); None leaves them equal.

    Returns:
        `(B,)` float32.

    Raises:
        ValueError: Another prediction type.
    """
    alpha = alphas_cumprod[timesteps]
    prediction = unet(diffuse(latents, noise, alpha), timesteps, context).sample.float()
    if prediction_type == "epsilon":
        target = noise
    elif prediction_type == "v_prediction":
        shaped = alpha.view(-1, 1, 1, 1)
        target = shaped.sqrt() * noise - (1 - shaped).sqrt() * latents
    else:
        raise ValueError(f"prediction_type is {prediction_type!r}; epsilon and v_prediction are known")
    loss = F.mse_loss(prediction, target, reduction="none").mean(dim=(1, 2, 3))
    if min_snr_gamma is not None:
        snr = alpha / (1 - alpha)
        clipped = snr.clamp(max=min_snr_gamma)
        loss = loss * (clipped / snr if prediction_type == "epsilon" else clipped / (snr + 1))
    return loss
