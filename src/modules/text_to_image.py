"""The base latent diffusion model: captions of person words and age groups."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from faceforward.diffusion.captions import GroupCaptions
from faceforward.modules.denoising import DenoisingModule

if TYPE_CHECKING:
    import torch


class TextToImage(DenoisingModule):
    """Latent diffusion (Rombach et al., arXiv 2112.10752) on faces captioned as a general model would be.

    Exact ages never enter its captions; they are what `Specialization` adds.

    Args:
        captions: How captions are drawn.
        caption_dropout: Share of empty captions, for classifier-free guidance (arXiv 2207.12598).
        kwargs: See `DenoisingModule`.
    """

    def __init__(
        self, *, captions: GroupCaptions | None = None, caption_dropout: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.captions = captions or GroupCaptions()
        self.caption_dropout = caption_dropout

    def _loss(self, batch: dict[str, Any], dropout: float) -> torch.Tensor:
        prompts = []
        for age, gender, seed in zip(
            batch["age"].tolist(), batch["gender"], batch["seed"].tolist(), strict=True
        ):
            rng = random.Random(seed)
            drawn = self.captions.draw(age, gender, rng)
            prompts.append("" if rng.random() < dropout else drawn)
        draws = self.draws(batch)
        latents = self.latents(batch["moments"], draws.posterior)
        return self.losses(latents, prompts, draws.timesteps[0], draws.noise[0], batch.get("padding")).mean()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Mean denoising loss of a batch."""
        loss = self._loss(batch, self.caption_dropout)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Denoising loss with captions, on held-out photographs."""
        self._held_out(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Denoising loss with captions, on the test split."""
        self._held_out(batch, "test")

    def _held_out(self, batch: dict[str, Any], split: str) -> None:
        loss = self._loss(batch, 0.0)
        self.log(f"{split}/loss", loss, prog_bar=True, batch_size=len(batch["gender"]), sync_dist=True)
