"""One batch of targets, with their source, on the way from noise to image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from faceforward.diffusion.attention import AttentionControl, attention_layers, blend_level, side_at
from faceforward.diffusion.tokens import replacement_mapper, word_indicator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.diffusion.blending import LocalBlend
    from faceforward.diffusion.model import LatentDiffusion
    from faceforward.diffusion.prompts import PromptWords
    from faceforward.diffusion.schedule import DDIMSteps
    from faceforward.diffusion.settings import EditSettings
    from faceforward.diffusion.trajectory import OnStep, Trajectory


def steps_within(share: float, steps: int) -> int:
    """The number of whole steps in a share of them."""
    return math.floor(share * steps + 1e-9)


class EditBatch:
    """Sources and targets of prompt-to-prompt (arXiv 2208.01626), step by step, in one UNet batch.

    Args:
        model: The diffusion model.
        trajectories: One for each photograph, of one inversion and as many steps.
        prompts: One for each target.
        owners: The place of each target's photograph in `trajectories`; every photograph has a target.
        settings: Of the edit.
        words: Where age and person stand in the prompts.
        unblended: How many of the last targets the local blend leaves alone.

    Attributes:
        latents: `(N, C, h, w)` of the targets.
        source: `(M, C, h, w)` of the source branches.
        masks: `(N - unblended, 1, h, w)` bool of the last blend; None without one.
        evaluations: UNet sample evaluations spent.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        trajectories: Sequence[Trajectory],
        prompts: Sequence[str],
        owners: Sequence[int],
        settings: EditSettings,
        words: PromptWords,
        *,
        unblended: int = 0,
    ) -> None:
        self.source = torch.cat([trajectory.latents[-1:] for trajectory in trajectories])
        self._owners = torch.tensor(list(owners), device=self.source.device)
        self.latents = self.source[self._owners]
        self.masks: torch.Tensor | None = None
        self.evaluations = 0
        self._model = model
        self._trajectories = trajectories
        self._settings = settings
        self._blended = len(prompts) - unblended
        self._blend = settings.local_blend if self._blended else None
        self._conditional = model.encode_prompts(prompts)
        layers = attention_layers(model.unet)
        height, width = self.source.shape[2:]
        self._level = 0 if self._blend is None else blend_level(layers, self._blend, (height, width))
        device = self.latents.device
        self._control = AttentionControl(
            layers,
            self._mappers(prompts, owners, words).to(device),
            owners=self._owners if len(trajectories) > 1 else None,
            max_self_positions=int(settings.self_side**2 * height * width),
            words=None if self._blend is None else self._blend_words(prompts, words).to(device),
            level=self._level,
        )

    def _mappers(self, prompts: Sequence[str], owners: Sequence[int], words: PromptWords) -> torch.Tensor:
        """`(N, S, S)`: the token mappers, their columns of the age's words weighted."""
        tokenizer = self._model.tokenizer
        mappers = []
        for prompt, owner in zip(prompts, owners, strict=True):
            source = self._trajectories[owner].prompt
            mapper = replacement_mapper(tokenizer, source, prompt, tail=self._settings.tail)
            weights = 1 + (self._settings.age_weight - 1) * word_indicator(tokenizer, prompt, words.age)
            mappers.append(mapper * weights)
        return torch.stack(mappers)

    def _blend_words(self, prompts: Sequence[str], words: PromptWords) -> torch.Tensor:
        """`(M + N, S)`: the tokens of the blend words, the sources first."""
        every = (*(trajectory.prompt for trajectory in self._trajectories), *prompts)
        return torch.stack([word_indicator(self._model.tokenizer, prompt, words.blended) for prompt in every])

    def run(
        self, steps: DDIMSteps, on_step: OnStep | None = None, *, done: int = 0, planned: int | None = None
    ) -> None:
        """Walk all steps.

        Args:
            steps: From noise to image.
            on_step: Progress.
            done: Steps done before, for `on_step`.
            planned: Steps of the whole work, for `on_step`.
        """
        with torch.inference_mode(), self._control.installed(self._model.unet):
            for index in range(len(steps)):
                self._step(steps, index)
                if on_step is not None:
                    on_step(done + index + 1, planned or len(steps))

    def _step(self, steps: DDIMSteps, index: int) -> None:
        """One DDIM step of sources and targets. The batch: unconditional rows, the sources, the targets."""
        settings, first, owners = self._settings, self._trajectories[0], self._owners
        known = first.known_path is not None
        replace_cross = index < steps_within(settings.cross_replace, len(steps))
        replace_self = index < steps_within(settings.self_replace, len(steps))
        # Where the sources' latents are known, their evaluation serves the attention maps alone.
        asked = not known or replace_cross or replace_self or self._blend is not None
        guided, count, every = first.source == "guided", len(self.latents), len(self.source)
        null = torch.cat([trajectory.unconditional_at(index) for trajectory in self._trajectories])
        if index == 0:  # all targets are their source's z*_T yet, and see the same unconditional embedding
            free = self.source
        else:
            free = torch.cat([self.source, self.latents]) if guided else self.latents
            null = torch.cat([null, null[owners]]) if guided else null[owners]
        self._control.begin_step(
            replace_cross=replace_cross, replace_self=replace_self, free_rows=len(free), active=asked
        )
        latents = torch.cat([free, *([self.source] if asked else []), self.latents])
        embeddings = [trajectory.embedding for trajectory in self._trajectories] if asked else []
        context = torch.cat([null, *embeddings, self._conditional])
        output = self._model.predict(latents, steps.timesteps[index], context)
        self.evaluations += len(latents)

        unconditional, conditional = output.split([len(free), len(latents) - len(free)])
        if known:
            paths = [trajectory.known_path for trajectory in self._trajectories]
            self.source = torch.stack([path[len(steps) - 1 - index] for path in paths if path is not None])
        else:
            alone = conditional[:every]
            if guided:
                alone = torch.lerp(unconditional[:every], alone, settings.guidance_scale)
            self.source = steps.denoise(index, self.source, alone)
        base = unconditional[owners] if index == 0 else unconditional[-count:]
        targets = torch.lerp(base, conditional[-count:], settings.guidance_scale)
        self.latents = steps.denoise(index, self.latents, targets)
        if self._blend is not None and index >= steps_within(self._blend.start, len(steps)):
            self._keep_source(self._blend)

    def _keep_source(self, blend: LocalBlend) -> None:
        """Put the source's latents into the targets wherever attention to the blend words has been weak."""
        height, width = self.latents.shape[2:]
        every, owners = len(self.source), self._owners[: self._blended]
        attention = self._control.attention[: every + self._blended].unflatten(
            1, (side_at(height, self._level), side_at(width, self._level))
        )
        self.masks = blend.masks(attention, (height, width), owners if every > 1 else None)
        blended = torch.where(self.masks, self.latents[: self._blended], self.source[owners])
        self.latents = torch.cat([blended, self.latents[self._blended :]])
