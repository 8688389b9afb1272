"""FADING's specialisation: the same photograph under a general prompt and under one that holds its age."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import torch

from faceforward.diffusion.captions import noun
from faceforward.errors import ConfigurationError
from faceforward.modules.denoising import DenoisingModule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.records import Gender

PAPER = (("photo of a person", "photo of a {age} year old person"),)


class Specialization(DenoisingModule):
    """Double-prompt training (Chen & Lathuilière, arXiv 2309.11321, eq. 5).

    `L = E[|e - e(z_t, t, P)|^2 + |e' - e(z'_t', t', P_a)|^2]`, noise and timesteps drawn for each term alone.

    Args:
        prompts: Pairs of templates, the general one and the one with the age; one pair is drawn for each
            photograph. They may hold `{age}` and `{word}` (boy, girl, child, man, woman or person).
        caption_dropout: Share of photographs whose general prompt is empty, which keeps guidance working.
        kwargs: See `DenoisingModule`.

    Raises:
        ConfigurationError: A template of the second kind lacks `{age}`, or a template cannot be filled.
    """

    def __init__(
        self,
        *,
        prompts: Sequence[tuple[str, str]] = PAPER,
        caption_dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for general, aged in prompts:
            if "{age}" not in aged:
                raise ConfigurationError(
                    f"the template {aged!r} has no {{age}}: nothing about ages would be learnt"
                )
            try:
                general.format(age=1, word="person")
                aged.format(age=1, word="person")
            except (KeyError, IndexError, ValueError) as error:
                raise ConfigurationError(
                    f"templates know {{age}} and {{word}} only: {error} in {general!r}, {aged!r}"
                ) from error
        self.prompts = tuple(prompts)
        self.caption_dropout = caption_dropout

    def pair(self, age: int, gender: Gender | None, rng: random.Random) -> tuple[str, str]:
        """Both prompts of one photograph."""
        general, aged = rng.choice(self.prompts)
        word = noun(age, gender)
        first = "" if rng.random() < self.caption_dropout else general.format(age=age, word=word)
        return first, aged.format(age=age, word=word)

    def _double_loss(self, batch: dict[str, Any], rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        labels = zip(batch["age"].tolist(), batch["gender"], strict=True)
        general, aged = zip(*(self.pair(age, gender, rng) for age, gender in labels), strict=True)
        latents = self.latents(batch["moments"])
        losses = self.losses(torch.cat([latents, latents]), [*general, *aged])
        first, second = losses.chunk(2)
        return first.mean(), second.mean()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Sum of the two losses, batch mean."""
        rng = random.Random(f"{self.global_step}-{batch_idx}-{self.global_rank}")
        general, aged = self._double_loss(batch, rng)
        loss = general + aged
        self.log_dict({"train/loss": loss, "train/loss_general": general, "train/loss_aged": aged})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Both losses on held-out photographs."""
        general, aged = self._double_loss(batch, random.Random(batch_idx))
        size = len(batch["gender"])
        self.log_dict({"val/loss_general": general, "val/loss_aged": aged}, batch_size=size)
