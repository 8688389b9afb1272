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
        self._rng = random.Random(0)

    def _prompts(self, batch: dict[str, Any], rng: random.Random, dropout: float) -> list[str]:
        drawn = [
            self.captions.draw(age, gender, rng)
            for age, gender in zip(batch["age"].tolist(), batch["gender"], strict=True)
        ]
        return ["" if rng.random() < dropout else prompt for prompt in drawn]

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Mean denoising loss of a batch."""
        prompts = self._prompts(
            batch, random.Random(f"{self.global_step}-{self.global_rank}"), self.caption_dropout
        )
        loss = self.losses(self.latents(batch["moments"]), prompts).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Denoising loss with captions, on held-out photographs."""
        prompts = self._prompts(batch, random.Random(batch_idx), 0.0)
        loss = self.losses(self.latents(batch["moments"]), prompts).mean()
        self.log("val/loss", loss, prog_bar=True, batch_size=len(prompts))
