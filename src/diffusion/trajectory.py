"""DDIM inversion, and the record that every inversion hands to the edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:
    from faceforward.diffusion.model import LatentDiffusion
    from faceforward.diffusion.schedule import DDIMSteps

OnStep = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all."""

Source = Literal["exact", "replayed", "conditional", "guided"]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One photograph inverted: all that an edit to any number of targets needs.

    Attributes:
        prompt: Describes the photograph.
        method: Name of the inversion.
        latents: `(T + 1, C, h, w)` float32: `z*_0` (the photograph) to `z*_T` (noise) of DDIM inversion.
        embedding: `(1, N, D)` of the prompt.
        unconditional: `(T, N, D)`, or `(1, N, D)` when all steps share it: what the unconditional pass of
            each step sees, from the noisiest step on.
        source: Where the edit's source branch takes its latents from. `exact`: from `latents`. `replayed`:
            from `path`, where sampling with the unconditional embeddings is known to go. `conditional`: from
            the conditional pass alone, since guidance has no effect on it. `guided`: from both passes, as the
            targets do.
        path: `(T + 1, C, h, w)` in the order of `latents`, when `source` is `replayed`.
        losses: Of every inner step of an optimisation, in order.
        inner_steps: How many of them each step took.
        unet_evaluations: UNet sample evaluations spent; a backward pass counts 2.
    """

    prompt: str
    method: str
    latents: torch.Tensor
    embedding: torch.Tensor
    unconditional: torch.Tensor
    source: Source
    path: torch.Tensor | None = None
    losses: tuple[float, ...] = ()
    inner_steps: tuple[int, ...] = ()
    unet_evaluations: int = 0

    def __post_init__(self) -> None:
        if (self.source == "replayed") != (self.path is not None):
            raise ValueError("a trajectory has a path if, and only if, its source branch is replayed")
        if len(self.unconditional) not in (1, self.steps):
            raise ValueError(
                f"{len(self.unconditional)} unconditional embeddings do not fit {self.steps} steps"
            )

    @property
    def known_path(self) -> torch.Tensor | None:
        """`(T + 1, C, h, w)` that the source branch takes, when no evaluation is needed to know it."""
        return self.latents if self.source == "exact" else self.path

    @property
    def steps(self) -> int:
        """T, the number of DDIM steps."""
        return len(self.latents) - 1

    def unconditional_at(self, index: int) -> torch.Tensor:
        """`(1, N, D)`: the unconditional embedding of step `index`, 0 = the noisiest."""
        return self.unconditional[index : index + 1] if len(self.unconditional) > 1 else self.unconditional


class Inversion(Protocol):
    """Finds the noise, and whatever else an edit needs, from which a photograph comes back."""

    name: str
    steps: int

    def invert(
        self, model: LatentDiffusion, latents: torch.Tensor, prompt: str, *, on_step: OnStep | None = None
    ) -> Trajectory:
        """Invert one photograph.

        Args:
            model: The diffusion model.
            latents: `(1, C, h, w)` from `model.encode_image`.
            prompt: Describes the photograph.
            on_step: Progress.

        Raises:
            ValueError: More than one photograph.
            FloatingPointError: The latents stopped being numbers.
        """
        ...


@runtime_checkable
class BatchInversion(Inversion, Protocol):
    """An inversion that takes several photographs in one batch."""

    def invert_all(
        self,
        model: LatentDiffusion,
        latents: torch.Tensor,
        prompts: Sequence[str],
        *,
        on_step: OnStep | None = None,
    ) -> list[Trajectory]:
        """Invert several photographs, `(B, C, h, w)` with a prompt each; one trajectory for each."""
        ...


def check_single(latents: torch.Tensor) -> None:
    """Refuse a batch: each photograph has a prompt and a trajectory of its own.

    Raises:
        ValueError: The latents are not `(1, C, h, w)`.
    """
    if latents.ndim != 4 or len(latents) != 1:
        raise ValueError(f"give the latents of one photograph, (1, C, h, w), not {tuple(latents.shape)}")


def check_finite(latents: torch.Tensor, what: str) -> None:
    """Refuse latents that are no numbers any more, as half precision makes them where it overflows.

    Args:
        latents: Of any shape.
        what: What made them, for the message.

    Raises:
        FloatingPointError: One is infinite or no number.
    """
    if not bool(torch.isfinite(latents).all()):
        raise FloatingPointError(
            f"{what} gave values that are not finite: use float32 or bfloat16 for the UNet"
        )


def ddim_latents(
    model: LatentDiffusion,
    steps: DDIMSteps,
    latents: torch.Tensor,
    context: torch.Tensor,
    *,
    on_step: OnStep | None = None,
    planned: int | None = None,
) -> torch.Tensor:
    """DDIM inversion at guidance 1 (arXiv 2010.02502), one UNet sample evaluation a step.

    Each step takes the network's output at the cleaner latents for the one at the noisier latents.

    Args:
        model: The diffusion model.
        steps: From noise to image; they are walked backwards.
        latents: `(B, C, h, w)` float32; several photographs may be inverted at once.
        context: `(B, N, D)` of their prompts.
        on_step: Progress.
        planned: Steps of the whole work, for `on_step`; these alone by default.

    Returns:
        `(T + 1, B, C, h, w)`, the given latents first.

    Raises:
        FloatingPointError: The latents stopped being numbers.
    """
    path = [latents]
    with torch.inference_mode():
        for done, index in enumerate(reversed(range(len(steps))), start=1):
            output = model.predict(path[-1], steps.timesteps[index], context)
            path.append(steps.renoise(index, path[-1], output))
            if on_step is not None:
                on_step(done, planned or len(steps))
    stacked = torch.stack(path)  # outside inference mode: tensors that autograd may keep
    check_finite(stacked[-1], "DDIM inversion")
    return stacked
