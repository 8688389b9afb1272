"""DDIM over a trained noise schedule: every step, in either direction, is one affine map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from diffusers import DDIMScheduler

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

Prediction = Literal["epsilon", "v_prediction", "sample"]


@dataclass(frozen=True)
class DDIMSteps:
    """The steps from noise to image (DDIM, arXiv 2010.02502, eq. 12 with sigma 0).

    With the network's output held fixed, whatever it predicts, a step is `z' = scale z + weight output`;
    going back is the inverse of that map.

    Attributes:
        timesteps: From the noisiest to the cleanest.
        scale: One factor per step.
        weight: One factor per step.
    """

    timesteps: tuple[int, ...]
    scale: tuple[float, ...]
    weight: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.timesteps)

    def denoise(self, index: int, latents: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Step `index` towards the image: `latents` and `output` `(N, C, h, w)`, both left as they are."""
        return (latents * self.scale[index]).add_(output, alpha=self.weight[index])

    def renoise(self, index: int, latents: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Step `index` back towards the noise; see `denoise`."""
        return latents.sub(output, alpha=self.weight[index]).div_(self.scale[index])


@dataclass(frozen=True)
class NoiseSchedule:
    """What a latent diffusion model was trained with.

    Attributes:
        alphas_cumprod: One value per training timestep, falling from nearly 1.
        prediction_type: What the UNet's output means.
        spacing: How diffusers picks fewer timesteps.
    """

    alphas_cumprod: tuple[float, ...]
    prediction_type: Prediction = "epsilon"
    spacing: Literal["leading", "trailing", "linspace"] = "leading"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:
        """Read a diffusers `scheduler_config.json`, of whichever scheduler.

        Only the training noise and the meaning of the output are taken: FADING samples with DDIM,
        `clip_sample` and `set_alpha_to_one` off and `steps_offset` 1, whatever the file says.

        Raises:
            ConfigurationError: The file does not say what the noise was, or the output is of an unknown kind.
        """
        if config.get("trained_betas") is None and any(
            config.get(key) is None for key in ("beta_start", "beta_end", "beta_schedule")
        ):
            raise ConfigurationError(
                "scheduler_config.json has neither trained_betas nor beta_start, beta_end and beta_schedule: "
                "it does not say which noise the model was trained on"
            )
        keys = (
            "num_train_timesteps",
            "beta_start",
            "beta_end",
            "beta_schedule",
            "trained_betas",
            "rescale_betas_zero_snr",
        )
        scheduler = DDIMScheduler(**{key: config[key] for key in keys if key in config})
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction", "sample"):
            raise ConfigurationError(
                f"scheduler_config.json has prediction_type {prediction!r}; known are epsilon, "
                "v_prediction and sample"
            )
        spacing = config.get("timestep_spacing", "leading")
        if spacing not in ("leading", "trailing", "linspace"):
            raise ConfigurationError(
                f"scheduler_config.json has timestep_spacing {spacing!r}; known are leading, "
                "trailing and linspace"
            )
        return cls(tuple(scheduler.alphas_cumprod.double().tolist()), prediction, spacing)

    def steps(self, count: int) -> DDIMSteps:
        """`count` DDIM steps from noise to image.

        Raises:
            ConfigurationError: Not between 1 and the number of training timesteps less one, or the schedule
                ends in pure noise that a model of this kind cannot start from.
        """
        trained = len(self.alphas_cumprod)
        if not 1 <= count < trained:
            raise ConfigurationError(f"steps is {count}; give 1 to {trained - 1}")
        scheduler = DDIMScheduler(trained, timestep_spacing=self.spacing, steps_offset=1)
        scheduler.set_timesteps(count)
        timesteps = tuple(scheduler.timesteps.tolist())
        alphas = [self.alphas_cumprod[timestep] for timestep in timesteps]
        pairs = zip(alphas, [*alphas[1:], self.alphas_cumprod[0]], strict=True)
        maps = [self._affine(now, following) for now, following in pairs]
        return DDIMSteps(timesteps, tuple(scale for scale, _ in maps), tuple(weight for _, weight in maps))

    def _affine(self, now: float, following: float) -> tuple[float, float]:
        """Factors of `z` and of the network's output in one step between two values of `alphas_cumprod`."""
        signal, noise = math.sqrt(now), math.sqrt(1 - now)
        next_signal, next_noise = math.sqrt(following), math.sqrt(1 - following)
        if self.prediction_type == "v_prediction":  # x = signal z - noise v, e = signal v + noise z
            return next_signal * signal + next_noise * noise, next_noise * signal - next_signal * noise
        if self.prediction_type == "sample":
            scale = next_noise / noise
            return scale, next_signal - scale * signal
        if signal < 1e-6:
            raise ConfigurationError(
                "the schedule ends in pure noise, which only v_prediction and sample can leave"
            )
        scale = next_signal / signal
        return scale, next_noise - scale * noise
