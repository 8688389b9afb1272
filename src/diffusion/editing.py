"""The edit: one inverted photograph under many target prompts, all in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """What an edit makes of one photograph.

    Attributes:
        latents: `(N, C, h, w)` of the targets, in their order.
        source: `(1, C, h, w)` where the source branch ends.
        reconstruction: `(1, C, h, w)` as `reconstruct` gives it, when asked for.
        masks: `(N, h, w)` bool: where the local blend let a target differ at the last step; None without it.
        unet_evaluations: UNet sample evaluations spent here, the inversion not counted; in a batch of several
            photographs each gets the share of its rows.
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
        ConfigurationError: Prompts that cannot be compared word by word or are too long; a UNet that is not
            Stable Diffusion's 1.x or 2.x; `max_batch` too small for one target.
        ValueError: No target.
        FloatingPointError: The latents became NaN or infinite.
    """
    settings = settings or EditSettings()
    extra = [trajectory.prompt] if reconstruct and trajectory.source == "exact" else []
    prompts = [*target_prompts, *extra]
    if words is None:
        columns = zip(*(prompt.split() for prompt in (trajectory.prompt, *prompts)), strict=False)
        words = PromptWords(age=tuple(index for index, column in enumerate(columns) if len(set(column)) > 1))
    result = edit_all(
        model,
        [trajectory],
        [prompts],
        settings,
        words=words,
        unblended=len(extra),
        max_batch=max_batch,
        on_step=on_step,
    )[0]
    if not reconstruct:
        return result
    count = len(target_prompts)
    back = result.latents[count:] if extra else result.source
    return replace(result, latents=result.latents[:count], reconstruction=back)


def edit_all(
    model: LatentDiffusion,
    trajectories: Sequence[Trajectory],
    target_prompts: Sequence[Sequence[str]],
    settings: EditSettings,
    *,
    words: PromptWords,
    unblended: int = 0,
    max_batch: int | None = None,
    on_step: OnStep | None = None,
) -> list[EditResult]:
    """Edit several inverted photographs, each to its own targets, in as few batches as `max_batch` allows.

    Batches are formed in the order of the photographs and their targets, so that the same list always forms
    the same ones.

    Args:
        model: The diffusion model.
        trajectories: One for each photograph, from one inversion with as many steps.
        target_prompts: At least one for each photograph, of as many words as its source's prompt.
        settings: Of all edits.
        words: Where age and person stand in the prompts.
        unblended: How many of the last photograph's last targets the local blend leaves alone.
        max_batch: Bound of the UNet's batch; None takes everything at once.
        on_step: Progress over all batches.

    Returns:
        One result for each photograph, without `reconstruction`.

    Raises:
        ConfigurationError: As `edit`; or the trajectories are of different inversions or numbers of steps.
        ValueError: No target, or not one list of prompts for each photograph.
        FloatingPointError: The latents became NaN or infinite.
    """
    if len(target_prompts) != len(trajectories):
        raise ValueError(f"{len(target_prompts)} lists of prompts do not fit {len(trajectories)} photographs")
    if not trajectories or not all(target_prompts):
        raise ValueError("give at least one target prompt")
    if len({(trajectory.source, trajectory.steps) for trajectory in trajectories}) > 1:
        raise ConfigurationError(
            "the photographs of one batch were inverted differently: use one inversion and number of steps"
        )
    shared = 2 if trajectories[0].source == "guided" else 1  # rows of the batch that are each source's
    if max_batch is not None and max_batch < shared + 2:
        raise ConfigurationError(f"max_batch is {max_batch}: one target needs {shared + 2}")
    wanted = [(owner, prompt) for owner, prompts in enumerate(target_prompts) for prompt in prompts]
    groups = _groups(wanted, shared, max_batch)
    steps = model.schedule.steps(trajectories[0].steps)
    latents: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    sources: dict[int, torch.Tensor] = {}
    spent = [0.0] * len(trajectories)
    for number, group in enumerate(groups):
        present = sorted({owner for owner, _ in group})
        batch = EditBatch(
            model,
            [trajectories[owner] for owner in present],
            [prompt for _, prompt in group],
            [present.index(owner) for owner, _ in group],
            settings,
            words,
            unblended=unblended if number == len(groups) - 1 else 0,
        )
        batch.run(steps, on_step, done=number * len(steps), planned=len(groups) * len(steps))
        latents.append(batch.latents)
        masks += [] if batch.masks is None else [batch.masks[:, 0]]
        sources |= {owner: batch.source[place : place + 1].clone() for place, owner in enumerate(present)}
        rows = {owner: shared + 2 * sum(o == owner for o, _ in group) for owner in present}
        for owner in present:
            spent[owner] += batch.evaluations * rows[owner] / sum(rows.values())
    made, where = torch.cat(latents), torch.cat(masks) if masks else None
    check_finite(made, "the edit")
    results, start = [], 0
    for owner, prompts in enumerate(target_prompts):
        mine = slice(start, start + len(prompts))
        start += len(prompts)
        results.append(
            EditResult(
                latents=made[mine],
                source=sources[owner],
                reconstruction=None,
                masks=None if where is None else where[mine],
                unet_evaluations=round(spent[owner]),
            )
        )
    return results


def _groups(
    wanted: Sequence[tuple[int, str]], shared: int, max_batch: int | None
) -> list[list[tuple[int, str]]]:
    """Targets by batch, in order: each takes two rows, and each photograph in the batch `shared` more."""
    groups: list[list[tuple[int, str]]] = []
    rows = 0
    for owner, prompt in wanted:
        new = not groups or owner not in {other for other, _ in groups[-1]}
        needed = 2 + shared * new
        if not groups or (max_batch is not None and rows + needed > max_batch):
            groups.append([])
            rows, needed = 0, 2 + shared
        groups[-1].append((owner, prompt))
        rows += needed
    return groups


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
        plain = replace(settings, local_blend=None)
        if not inject:
            plain = replace(plain, cross_replace=0.0, self_replace=0.0)
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
