"""The denoising loss of latent diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


@dataclass(frozen=True, eq=False)
class Draws:
    """What a step of training draws for a batch.

    Attributes:
        posterior: `(B, C, h, w)` standard normal, of the autoencoder's posterior.
        timesteps: `(S, B)` in 0..T-1: `S` of them for every sample.
        noise: `(S, B, C, h, w)` standard normal.
    """

    posterior: torch.Tensor
    timesteps: torch.Tensor
    noise: torch.Tensor


def draw(seeds: Sequence[int], shape: Sequence[int], steps: int, times: int = 1) -> Draws:
    """Draw for each sample from a generator of its own, on the CPU: equal seeds give equal draws anywhere.

    Args:
        seeds: B of them, in 0 .. 2^63 - 1.
        shape: `(C, h, w)` of a latent.
        steps: T, timesteps of the noise schedule.
        times: S, how many independent timesteps and noises each sample gets.
    """
    posterior, timesteps, noise = [], [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        posterior.append(torch.randn(tuple(shape), generator=generator))
        timesteps.append(torch.randint(steps, (times,), generator=generator))
        noise.append(torch.randn((times, *shape), generator=generator))
    return Draws(torch.stack(posterior), torch.stack(timesteps, dim=1), torch.stack(noise, dim=1))


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
    padding: torch.Tensor | None = None,
) -> torch.Tensor:
    """Squared error of the UNet's prediction, one value per sample.

    Where a crop reaches over the edge of its photograph, it is filled with blurred reflections, which the
    UNet sees but is not to learn: each cell counts as much as it shows of the photograph.

    Args:
        unet: diffusers `UNet2DConditionModel`.
        latents: `(B, C, H, W)`, scaled.
        context: `(B, N, D)` text embeddings.
        timesteps: `(B,)` in 0..T-1.
        noise: Like `latents`.
        alphas_cumprod: `(T,)` of the schedule.
        prediction_type: `epsilon` or `v_prediction`.
        min_snr_gamma: Weight each timestep as in Min-SNR (arXiv 2303.09556, eq. 5); None leaves them equal.
        padding: `(B, H, W)` in [0, 1]: share of each cell that is not photograph; None counts all alike.

    Returns:
        `(B,)` float32: the mean over a sample's photograph; 0 where all of it is padding.

    Raises:
        ValueError: Another prediction type.
    """
    alpha = alphas_cumprod[timesteps]
    dtype = getattr(unet, "dtype", latents.dtype)  # half under bf16-true
    noisy = diffuse(latents, noise, alpha).to(dtype)
    prediction = unet(noisy, timesteps, context.to(dtype)).sample.float()
    if prediction_type == "epsilon":
        target = noise
    elif prediction_type == "v_prediction":
        shaped = alpha.view(-1, 1, 1, 1)
        target = shaped.sqrt() * noise - (1 - shaped).sqrt() * latents
    else:
        raise ValueError(f"prediction_type is {prediction_type!r}; epsilon and v_prediction are known")
    error = F.mse_loss(prediction, target, reduction="none")
    if padding is None:
        loss = error.mean(dim=(1, 2, 3))
    else:
        shown = 1 - padding
        loss = (error.mean(dim=1) * shown).sum(dim=(1, 2)) / shown.sum(dim=(1, 2)).clamp(min=1e-3)
    if min_snr_gamma is not None:
        snr = alpha / (1 - alpha)
        clipped = snr.clamp(max=min_snr_gamma)
        loss = loss * (clipped / snr if prediction_type == "epsilon" else clipped / (snr + 1))
    return loss
