"""A face at other ages (FADING, arXiv 2309.11321): the algorithm, without files, detectors or a trainer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from faceforward.diffusion.editing import edit_all
from faceforward.diffusion.inversion import DirectInversion
from faceforward.diffusion.prompts import PromptTemplate
from faceforward.diffusion.settings import EditSettings
from faceforward.diffusion.trajectory import BatchInversion
from faceforward.errors import ConfigurationError
from faceforward.faces.crops import resized
from faceforward.faces.growth import warp
from faceforward.records import AgeEdit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.diffusion.model import LatentDiffusion
    from faceforward.diffusion.trajectory import Inversion, OnStep, Trajectory
    from faceforward.faces.growth import Growth
    from faceforward.faces.mesh import Mesh
    from faceforward.records import Gender

LEAST_BATCH = 4  # source and one target, both with their unconditional rows


@dataclass(frozen=True, eq=False)
class AgeRequest:
    """One face and the ages that are asked of it.

    Attributes:
        crop: `(S, S, 3)` uint8 RGB, aligned like FFHQ, of any size.
        age: Years.
        gender: None uses the neutral words.
        targets: Ages in years, at least one.
        mesh: The face's mesh in the pixels of the crop; None lets nothing grow.
        mean_shape: Grow as the mean of both genders does, whatever the gender of the words.
    """

    crop: np.ndarray
    age: float
    gender: Gender | None
    targets: tuple[int, ...]
    mesh: Mesh | None = None
    mean_shape: bool = False


@dataclass(frozen=True, eq=False)
class _Shape:
    """One shape that a face gets, with the targets that share it, and therefore an inversion."""

    owner: int
    targets: tuple[int, ...]
    field: np.ndarray | None
    source: np.ndarray


class FaceAger:
    """Ages faces with one diffusion model.

    A face grows first, where its age and the target's differ in shape (`Growth`); then it is inverted, and
    edited to all targets of that shape, and once more to its own prompt: the difference of the two is the
    change that detail transfer carries onto the photograph. Nothing here draws a random number.

    Args:
        model: The diffusion model.
        inversion: How a face is turned into noise; None takes direct inversion over `settings.steps`.
        settings: How far targets are held to the source; None takes FADING's.
        template: Words of the prompts; None takes FADING's.
        growth: Changes the shape; None keeps it.
        max_batch: Bound of the UNet's batch, at least 4; None takes everything at once.

    Raises:
        ConfigurationError: `max_batch` is too small.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        *,
        inversion: Inversion | None = None,
        settings: EditSettings | None = None,
        template: PromptTemplate | None = None,
        growth: Growth | None = None,
        max_batch: int | None = None,
    ) -> None:
        if max_batch is not None and max_batch < LEAST_BATCH:
            raise ConfigurationError(f"max_batch is {max_batch}: one target needs up to {LEAST_BATCH}")
        self.model = model
        self.settings = settings or EditSettings()
        self.inversion = inversion or DirectInversion(steps=self.settings.steps)
        self.template = template or PromptTemplate()
        self.growth = growth
        self.max_batch = max_batch

    def age(
        self,
        crop: np.ndarray,
        *,
        age: float,
        gender: Gender | None,
        targets: Sequence[int],
        mesh: Mesh | None = None,
        on_step: OnStep | None = None,
    ) -> AgeEdit:
        """Age one face to every target; see `age_all`."""
        return self.age_all([AgeRequest(crop, age, gender, tuple(targets), mesh)], on_step=on_step)[0]

    def age_all(self, requests: Sequence[AgeRequest], *, on_step: OnStep | None = None) -> list[AgeEdit]:
        """Age several faces in as few batches as `max_batch` allows.

        Args:
            requests: The faces. Batches follow their order, so that the same list always forms the same ones.
            on_step: Progress over all of them.

        Returns:
            One edit for each face; its pictures are `(s, s, 3)` uint8 RGB at the model's size.

        Raises:
            ConfigurationError: See `editing.edit`.
            FloatingPointError: The latents became NaN or infinite.
            ValueError: A request without targets.
        """
        if not requests or not all(request.targets for request in requests):
            raise ValueError("give at least one face, and at least one target age for each")
        both = [request.gender is None and self.settings.neutral == "both" for request in requests]
        if not any(both):
            return self._age_all(requests, on_step)
        genders: tuple[Gender, Gender] = ("female", "male")
        asked: list[AgeRequest] = []
        for request, doubled in zip(requests, both, strict=True):
            each = [replace(request, gender=gender, mean_shape=True) for gender in genders]
            asked += each if doubled else [request]
        edits = iter(self._age_all(asked, on_step))
        return [mean_edit(next(edits), next(edits)) if doubled else next(edits) for doubled in both]

    def _age_all(self, requests: Sequence[AgeRequest], on_step: OnStep | None) -> list[AgeEdit]:
        """Age faces under the words of their genders."""
        shapes = [shape for owner in range(len(requests)) for shape in self._shapes(owner, requests[owner])]
        latents = self.model.encode_image(np.stack([shape.source for shape in shapes]))
        asked = [requests[shape.owner] for shape in shapes]
        prompts = [self.template.prompt(request.age, request.gender) for request in asked]
        trajectories = self._invert(latents, prompts, on_step)
        wanted = [
            [*(self.template.prompt(age, request.gender) for age in shape.targets), prompt]
            for shape, request, prompt in zip(shapes, asked, prompts, strict=True)
        ]
        results = edit_all(
            self.model,
            trajectories,
            wanted,
            self.settings,
            words=self.template.words,
            max_batch=self.max_batch,
            on_step=on_step,
        )
        decoded = self.model.decode_latents(torch.cat([latents, *(result.latents for result in results)]))
        ceilings, rest = decoded[: len(shapes)], decoded[len(shapes) :]
        edits: list[AgeEdit] = []
        for owner, request in enumerate(requests):
            mine = [place for place, shape in enumerate(shapes) if shape.owner == owner]
            images: dict[int, np.ndarray] = {}
            references: dict[int, np.ndarray] = {}
            for place in mine:
                start = sum(len(others) for others in wanted[:place])
                *made, reference = rest[start : start + len(wanted[place])]
                images |= dict(zip(shapes[place].targets, made, strict=True))
                references |= dict.fromkeys(shapes[place].targets, reference)
            ceiling, inverted = ceilings[mine[0]], references[shapes[mine[0]].targets[0]]
            targets = sorted(images)
            edits.append(
                AgeEdit(
                    images={age: images[age] for age in targets},
                    reconstruction=ceiling,
                    inverted=inverted,
                    inversion_psnr=psnr(inverted, ceiling),
                    source_prompt=prompts[mine[0]],
                    target_prompts={age: self.template.prompt(age, request.gender) for age in targets},
                    unet_evaluations=sum(
                        trajectories[place].unet_evaluations + results[place].unet_evaluations
                        for place in mine
                    ),
                    source=shapes[mine[0]].source,
                    references={age: references[age] for age in targets},
                    fields={age: shapes[place].field for place in mine for age in shapes[place].targets},
                )
            )
        return edits

    def _shapes(self, owner: int, request: AgeRequest) -> list[_Shape]:
        """The shapes that a face gets, the unchanged one first, each with its targets."""
        by_shape: dict[float | None, list[int]] = {}
        for age in sorted(set(request.targets)):
            shape_age = None
            if self.growth is not None and request.mesh is not None:
                shape_age = self.growth.shape_age(request.age, age)
            by_shape.setdefault(shape_age, []).append(age)
        shapes = []
        for shape_age in sorted(by_shape, key=lambda years: -1.0 if years is None else years):
            field, crop = None, request.crop
            if shape_age is not None:
                assert self.growth is not None  # the two that gave a shape
                assert request.mesh is not None
                field = self.growth.field(
                    request.mesh,
                    len(crop),
                    age=request.age,
                    shape_age=shape_age,
                    gender=None if request.mean_shape else request.gender,
                )
                crop = warp(crop, field)
            source = resized(crop, self.model.image_size)
            shapes.append(_Shape(owner, tuple(by_shape[shape_age]), field, source))
        return shapes

    def _invert(
        self, latents: torch.Tensor, prompts: Sequence[str], on_step: OnStep | None
    ) -> list[Trajectory]:
        """One trajectory for each source; in batches where the inversion can."""
        if not isinstance(self.inversion, BatchInversion):
            return [
                self.inversion.invert(self.model, latents[place : place + 1], prompt, on_step=on_step)
                for place, prompt in enumerate(prompts)
            ]
        size = self.max_batch or len(prompts)
        trajectories: list[Trajectory] = []
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            trajectories += self.inversion.invert_all(
                self.model, latents[part], prompts[part], on_step=on_step
            )
        return trajectories


def mean_edit(first: AgeEdit, second: AgeEdit) -> AgeEdit:
    """The mean of two edits of one face: what is changed in both is kept, what differs is halved.

    Args:
        first: Of some targets.
        second: Of the same targets and shapes.
    """
    inverted = _mean(first.inverted, second.inverted)
    return replace(
        first,
        images={age: _mean(picture, second.images[age]) for age, picture in first.images.items()},
        references={age: _mean(picture, second.references[age]) for age, picture in first.references.items()},
        inverted=inverted,
        inversion_psnr=psnr(inverted, first.reconstruction),
        source_prompt=f"{first.source_prompt} + {second.source_prompt}",
        target_prompts={
            age: f"{prompt} + {second.target_prompts[age]}" for age, prompt in first.target_prompts.items()
        },
        unet_evaluations=first.unet_evaluations + second.unet_evaluations,
    )


def _mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mean of two uint8 pictures."""
    return np.rint((first.astype(np.float32) + second) / 2).astype(np.uint8)


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures of one shape in dB; infinite when they are equal."""
    error = np.mean((picture.astype(np.float64) - reference) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
