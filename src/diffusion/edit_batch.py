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
    """Source and targets of prompt-to-prompt (arXiv 2208.01626), step by step, in one UNet batch.

    Args:
        model: The diffusion model.
        trajectory: Of the photograph.
        prompts: Of the targets.
        settings: Of the edit.
        words: Where age and person stand in the prompts.
        unblended: How many of the last targets the local blend leaves alone.

    Attributes:
        latents: `(N, C, h, w)` of the targets.
        source: `(1, C, h, w)` of the source branch.
        masks: `(N - unblended, 1, h, w)` bool of the last blend; None without one.
        evaluations: UNet sample evaluations spent.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        trajectory: Trajectory,
        prompts: Sequence[str],
        settings: EditSettings,
        words: PromptWords,
        *,
        unblended: int = 0,
    ) -> None:
        self.source = trajectory.latents[-1:]
        self.latents = self.source.expand(len(prompts), -1, -1, -1)
        self.masks: torch.Tensor | None = None
        self.evaluations = 0
        self._model = model
        self._trajectory = trajectory
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
            self._mappers(prompts, words).to(device),
            max_self_positions=int(settings.self_side**2 * height * width),
            words=None if self._blend is None else self._blend_words(prompts, words).to(device),
            level=self._level,
        )

    def _mappers(self, prompts: Sequence[str], words: PromptWords) -> torch.Tensor:
        """`(N, S, S)`: the token mappers, their columns of the age's words weighted."""
        tokenizer, source = self._model.tokenizer, self._trajectory.prompt
        mappers = []
        for prompt in prompts:
            mapper = replacement_mapper(tokenizer, source, prompt, tail=self._settings.tail)
            weights = 1 + (self._settings.age_weight - 1) * word_indicator(tokenizer, prompt, words.age)
            mappers.append(mapper * weights)
        return torch.stack(mappers)

    def _blend_words(self, prompts: Sequence[str], words: PromptWords) -> torch.Tensor:
        """`(1 + N, S)`: the tokens of the blend words, the source first."""
        every = (self._trajectory.prompt, *prompts)
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
        """One DDIM step of source and targets. The batch: unconditional rows, the source, the targets."""
        trajectory, settings, path = self._trajectory, self._settings, self._trajectory.known_path
        replace_cross = index < steps_within(settings.cross_replace, len(steps))
        replace_self = index < steps_within(settings.self_replace, len(steps))
        # Where the source's latents are known, its evaluation serves the attention maps alone.
        sources = [self.source] if path is None or replace_cross or replace_self or self._blend else []
        guided = trajectory.source == "guided"
        free = torch.cat([self.source, self.latents]) if guided else self.latents
        if index == 0:  # all are z*_T yet, and see the same unconditional embedding
            free = free[:1]
        self._control.begin_step(
            replace_cross=replace_cross, replace_self=replace_self, free_rows=len(free), active=bool(sources)
        )
        latents = torch.cat([free, *sources, self.latents])
        null = trajectory.unconditional_at(index).expand(len(free), -1, -1)
        context = torch.cat([null, *([trajectory.embedding] if sources else []), self._conditional])
        output = self._model.predict(latents, steps.timesteps[index], context)
        self.evaluations += len(latents)

        unconditional, conditional = output.split([len(free), len(latents) - len(free)])
        if path is not None:
            self.source = path[len(steps) - 1 - index].unsqueeze(0)
        else:
            alone = conditional[:1]
            if guided:
                alone = torch.lerp(unconditional[:1], alone, settings.guidance_scale)
            self.source = steps.denoise(index, self.source, alone)
        count = len(self.latents)
        targets = torch.lerp(unconditional[-count:], conditional[-count:], settings.guidance_scale)
        self.latents = steps.denoise(index, self.latents, targets)
        if self._blend is not None and index >= steps_within(self._blend.start, len(steps)):
            self._keep_source(self._blend)

    def _keep_source(self, blend: LocalBlend) -> None:
        """Put the source's latents into the targets wherever attention to the blend words has been weak."""
        height, width = self.latents.shape[2:]
        attention = self._control.attention[: 1 + self._blended].unflatten(
            1, (side_at(height, self._level), side_at(width, self._level))
        )
        self.masks = blend.masks(attention, (height, width))
        blended = torch.where(self.masks, self.latents[: self._blended], self.source)
        self.latents = torch.cat([blended, self.latents[self._blended :]])
