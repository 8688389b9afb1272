"""FADING's specialisation: the same photograph under a general prompt and under one that holds its age."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import torch

from faceforward.diffusion.prompts import PromptTemplate, save_template
from faceforward.diffusion.settings import save_settings
from faceforward.errors import ConfigurationError
from faceforward.modules.denoising import DenoisingModule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from faceforward.records import Gender

FADING_WORDS = PromptTemplate()
PAPER = (("photo of a person", "photo of a {age} year old person"),)


class Specialization(DenoisingModule):
    """Double-prompt training (Chen & Lathuilière, arXiv 2309.11321, eq. 5).

    `L = E[|e - e(z_t, t, P)|^2 + |e' - e(z'_t', t', P_a)|^2]`, noise and timesteps drawn for each term alone.

    Args:
        prompts: Pairs of templates, the general one and the one with the age; one pair is drawn for each
            photograph. They may hold `{age}` and `{word}` (boy, girl, child, man, woman or person). The last
            pair's template is exported with the model: edits use it.
        words: Whose words `{word}` stands for, and how `{age}` is written; its template is not used.
        caption_dropout: Share of photographs whose general prompt is empty, which keeps guidance working.
        neutral: Share of photographs whose gender is not told, so that `{word}` is child or person: edits of
            a person of unknown gender then have words that the model knows.
        same_noise: Both terms get one noise, as in the authors' script; the paper draws two.
        same_timesteps: Both terms get one timestep.
        kwargs: See `DenoisingModule`.

    Raises:
        ConfigurationError: A template of the second kind lacks `{age}`, a template cannot be filled, there is
            none, or `caption_dropout` or `neutral` is not a share from 0 to 1.
    """

    def __init__(
        self,
        *,
        prompts: Sequence[tuple[str, str]] = PAPER,
        words: PromptTemplate = FADING_WORDS,
        caption_dropout: float = 0.0,
        neutral: float = 0.0,
        same_noise: bool = False,
        same_timesteps: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not prompts:
            raise ConfigurationError("prompts is empty: give at least one pair of templates")
        for name, share in {"caption_dropout": caption_dropout, "neutral": neutral}.items():
            if not 0 <= share <= 1:
                raise ConfigurationError(f"{name} is {share}; give a share from 0 to 1")
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
        self.words = words
        self.caption_dropout = caption_dropout
        self.neutral = neutral
        self.same_noise = same_noise
        self.same_timesteps = same_timesteps

    def pair(
        self, age: int, gender: Gender | None, rng: random.Random, dropout: float = 0.0
    ) -> tuple[str, str]:
        """Both prompts of one photograph; the general one is empty with probability `dropout`."""
        general, aged = rng.choice(self.prompts)
        told = None if self.neutral and rng.random() < self.neutral else gender
        word = self.words.word(age, told)
        number = self.words.number(age)
        first = "" if rng.random() < dropout else general.format(age=number, word=word)
        return first, aged.format(age=number, word=word)

    def _double_loss(self, batch: dict[str, Any], dropout: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
        labels = zip(batch["age"].tolist(), batch["gender"], batch["seed"].tolist(), strict=True)
        pairs = (self.pair(age, gender, random.Random(seed), dropout) for age, gender, seed in labels)
        general, aged = zip(*pairs, strict=True)
        draws = self.draws(batch, times=2)
        latents, padding = self.latents(batch["moments"], draws.posterior), batch.get("padding")
        losses = self.losses(
            torch.cat([latents, latents]),
            [*general, *aged],
            (draws.timesteps[:1].expand(2, -1) if self.same_timesteps else draws.timesteps).flatten(),
            (draws.noise[[0, 0]] if self.same_noise else draws.noise).flatten(0, 1),
            None if padding is None else torch.cat([padding, padding]),
        )
        first, second = losses.chunk(2)
        return first.mean(), second.mean()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Sum of the two losses, batch mean."""
        general, aged = self._double_loss(batch, self.caption_dropout)
        loss = general + aged
        self.log_dict({"train/loss": loss, "train/loss_general": general, "train/loss_aged": aged})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Both losses on held-out photographs."""
        self._held_out(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Both losses on the test split."""
        self._held_out(batch, "test")

    def _held_out(self, batch: dict[str, Any], split: str) -> None:
        general, aged = self._double_loss(batch)
        losses = {f"{split}/loss_general": general, f"{split}/loss_aged": aged}
        self.log_dict(losses, batch_size=len(batch["gender"]), sync_dist=True)

    @property
    def template(self) -> PromptTemplate:
        """The prompt for edits: the last one that holds ages."""
        return dataclasses.replace(self.words, template=self.prompts[-1][1])

    def export(self, folder: Path) -> None:
        """Write what was learnt, its prompt, and the settings that its validation used."""
        super().export(folder)
        save_template(self.template, folder)
        save_settings(self.validated_settings, folder)
