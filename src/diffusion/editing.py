"""The edit: one inverted photograph under many target prompts, all in one batch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from faceforward.diffusion.edit_batch import EditBatch
from faceforward.diffusion.prompts import PromptWords
from faceforward.diffusion.settings import EditSettings
from faceforward.diffusion.trajectory import OnStep, Trajectory, check_finite
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.diffusion.model import LatentDiffusion


@dataclass(frozen=True, eq=False)
class EditResult:
    """What an edit makes.

    Attributes:
        latents: `(N, C, h, w)` of the targets, in their order.
        source: `(1, C, h, w)` where the source branch ends.
        reconstruction: `(1, C, h, w)` as `reconstruct` gives it, when asked for.
        masks: `(N, h, w)` bool: where the local blend let a target differ at the last step; None without it.
        unet_evaluations: UNet sample evaluations spent here, the inversion not counted.
    """

    latents: torch.Tensor
    source: torch.Tensor
    reconstruction: torch.Tensor | None
    masks: torch.Tensor | None
    unet_evaluations: int


def edit(
    model: LatentDiffusion,
    trajectory: Trajectory,
    target_prompts: Sequence[str],
    settings: EditSettings | None = None,
    *,
    words: PromptWords | None = None,
    reconstruct: bool = False,
    max_batch: int | None = None,
    on_step: OnStep | None = None,
) -> EditResult:
    """Prompt-to-prompt (arXiv 2208.01626) from one inversion to every target.

    A step takes one evaluation for the source (its conditional pass, for the attention maps) and two for each
    target. What a target becomes does not depend on the other targets.

    Args:
        model: The diffusion model.
        trajectory: Of the photograph, from an inversion with this model.
        target_prompts: Of as many words as the source's prompt.
        settings: FADING's by default.
        words: Where age and person stand in the prompts (`PromptTemplate.words`); by default the words in
            which any target differs from the source, all taken as the age's.
        reconstruct: Give `EditResult.reconstruction` too: two more evaluations a step after direct inversion,
            none after the others.
        max_batch: Bound of the UNet's batch: more targets run in groups, each with the source.
        on_step: Progress.

    Raises:
        ConfigurationError: Prompts that cannot be compared word by word or are too long; a UNet that is no
            Stable Diffusion 1.x or 2.x; `max_batch` too small for one target.
        ValueError: No target.
        FloatingPointError: The latents stopped being numbers.
    """
    settings = settings or EditSettings()
    extra = [trajectory.prompt] if reconstruct and trajectory.source == "exact" else []
    prompts = [*target_prompts, *extra]
    if not prompts:
        raise ValueError("give at least one target prompt")
    shared = 2 if trajectory.source == "guided" else 1  # rows of the batch that are the source's
    if max_batch is not None and max_batch < shared + 2:
        raise ConfigurationError(f"max_batch is {max_batch}: one target needs {shared + 2}")
    size = len(prompts) if max_batch is None else (max_batch - shared) // 2
    groups = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    if words is None:
        columns = zip(*(prompt.split() for prompt in (trajectory.prompt, *prompts)), strict=False)
        words = PromptWords(age=tuple(index for index, column in enumerate(columns) if len(set(column)) > 1))
    steps = model.schedule.steps(trajectory.steps)
    batches = []
    for number, group in enumerate(groups):
        unblended = len(extra) if number == len(groups) - 1 else 0
        batch = EditBatch(model, trajectory, group, settings, words, unblended=unblended)
        batch.run(steps, on_step, done=number * len(steps), planned=len(groups) * len(steps))
        batches.append(batch)
    latents = torch.cat([batch.latents for batch in batches])
    check_finite(latents, "the edit")
    masks = [batch.masks[:, 0] for batch in batches if batch.masks is not None]
    source = batches[0].source.clone()
    count = len(target_prompts)
    return EditResult(
        latents=latents[:count],
        source=source,
        reconstruction=(latents[count:] if extra else source) if reconstruct else None,
        masks=torch.cat(masks) if masks else None,
        unet_evaluations=sum(batch.evaluations for batch in batches),
    )


def reconstruct(
    model: LatentDiffusion,
    trajectory: Trajectory,
    settings: EditSettings | None = None,
    *,
    inject: bool = True,
) -> EditResult:
    """How well the inversion holds by itself: a target whose prompt is the source's, nothing copied over.

    The local blend and direct inversion's correction, which would copy the source, are left out. For the
    other inversions such a target is the source branch itself, so that is what is walked; after null-text
    inversion it has been walked already.

    Args:
        model: The diffusion model.
        trajectory: Of the photograph.
        settings: FADING's by default; the guidance and the shares of replaced attention count.
        inject: Let the source branch's attention replace the target's, as in an edit. It matters after direct
            inversion only.

    Returns:
        Without targets; `reconstruction` is the answer.

    Raises:
        FloatingPointError: The latents stopped being numbers.
    """
    settings = settings or EditSettings()
    if trajectory.source == "exact":
        plain = dataclasses.replace(settings, local_blend=None)
        if not inject:
            plain = dataclasses.replace(plain, cross_replace=0.0, self_replace=0.0)
        return edit(model, trajectory, [], plain, reconstruct=True)
    latents, evaluations = trajectory.latents[-1:], 0
    if trajectory.path is not None:
        latents = trajectory.path[:1]
    else:
        steps = model.schedule.steps(trajectory.steps)
        with torch.inference_mode():
            for index, timestep in enumerate(steps.timesteps):
                output = model.predict(latents, timestep, trajectory.embedding)
                evaluations += 1
                if trajectory.source == "guided":
                    unconditional = model.predict(latents, timestep, trajectory.unconditional_at(index))
                    output = torch.lerp(unconditional, output, settings.guidance_scale)
                    evaluations += 1
                latents = steps.denoise(index, latents, output)
        latents = latents.clone()
    check_finite(latents, "the reconstruction")
    return EditResult(latents[:0], latents, latents, None, evaluations)
