"""One batch of targets, with their source, on the way from noise to image."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from faceforward.checks import check_shares
from faceforward.diffusion.attention import AttentionControl, attention_layers, blend_level, side_at
from faceforward.diffusion.beside import read_beside
from faceforward.diffusion.blending import LocalBlend
from faceforward.diffusion.tokens import Tail, replacement_mapper, word_indicator
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from faceforward.diffusion.model import LatentDiffusion
    from faceforward.diffusion.prompts import PromptWords
    from faceforward.diffusion.schedule import DDIMSteps
    from faceforward.diffusion.trajectory import OnStep, Trajectory


@dataclass(frozen=True)
class EditSettings:
    """How far the targets are held to the source, FADING's settings (arXiv 2309.11321) by default.

    Attributes:
        guidance_scale: Of classifier-free guidance (arXiv 2207.12598).
        cross_replace: Share of the steps, from the noisiest on, in which cross-attention is the source's.
        self_replace: Share of the steps in which self-attention is the source's.
        self_side: Side of the largest layers in which it is, as a share of the latents' side (32 of 64).
        age_weight: Factor of the cross-attention to the age's words while it is replaced; 1 changes nothing.
        local_blend: Keeps the photograph away from the changed words; None leaves it out.
        tail: See `tokens.replacement_mapper`.
        restore_colors: Give the edits the colours that the autoencoder loses of the photograph, see
            `color.restore_colors`; of use where the autoencoder is small.

    Raises:
        ConfigurationError: A share is outside 0 to 1, the guidance is negative, or a factor is no number.
    """

    guidance_scale: float = 7.5
    cross_replace: float = 0.8
    self_replace: float = 0.5
    self_side: float = 0.5
    age_weight: float = 1.0
    local_blend: LocalBlend | None = field(default_factory=LocalBlend)
    tail: Tail = "unshifted"
    restore_colors: bool = False

    def __post_init__(self) -> None:
        check_shares(self, "edit", ("cross_replace", "self_replace", "self_side"))
        for name, least in (("guidance_scale", 0.0), ("age_weight", -math.inf)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < least:
                raise ConfigurationError(
                    f"edit.{name} is {value}: give a number{' from 0 on' if least == 0 else ''}"
                )


@dataclass(frozen=True)
class EditChanges:
    """What is to differ from the settings that were chosen for a model.

    Attributes:
        local_blend: "saved" keeps the model's, "none" or None leaves the blend out.

    The other attributes are those of `EditSettings`; None keeps the model's.
    """

    guidance_scale: float | None = None
    cross_replace: float | None = None
    self_replace: float | None = None
    self_side: float | None = None
    age_weight: float | None = None
    local_blend: LocalBlend | Literal["saved", "none"] | None = "saved"
    tail: Tail | None = None
    restore_colors: bool | None = None

    def over(self, settings: EditSettings) -> EditSettings:
        """The settings with these changes.

        Raises:
            ConfigurationError: See `EditSettings`.
        """
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        blend = values.pop("local_blend")
        if blend != "saved":
            settings = replace(settings, local_blend=None if blend == "none" else blend)
        return replace(settings, **{name: value for name, value in values.items() if value is not None})


SETTINGS_FILE = "edit_settings.json"  # beside a model for which they were chosen by measurement


def saved_settings(folder: str | Path) -> EditSettings:
    """The settings that lie beside a model; FADING's where none do, or where `folder` is none.

    Raises:
        ConfigurationError: The file is damaged.
    """
    saved = read_beside(
        SETTINGS_FILE, folder, build=_settings, what="settings of an edit", argument="model.init_args.edit"
    )
    return saved or EditSettings()


def _settings(values: dict[str, Any]) -> EditSettings:
    blend = values.get("local_blend")
    return EditSettings(**values | ({} if blend is None else {"local_blend": LocalBlend(**blend)}))


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
