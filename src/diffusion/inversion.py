"""The inversions: DDIM, negative-prompt, direct, and null-text from its own file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceforward.diffusion.null_text import NullTextInversion
from faceforward.diffusion.trajectory import Inversion, OnStep, Source, Trajectory, check_single, ddim_latents

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from faceforward.diffusion.model import LatentDiffusion

__all__ = [
    "DDIMInversion",
    "DirectInversion",
    "Inversion",
    "NegativePromptInversion",
    "NullTextInversion",
    "Trajectory",
]


class _Unoptimised:
    """What the inversions share that only walk the DDIM path.

    Args:
        steps: DDIM steps.
    """

    name: str
    source: Source

    def __init__(self, *, steps: int = 50) -> None:
        self.steps = steps

    def invert(
        self, model: LatentDiffusion, latents: torch.Tensor, prompt: str, *, on_step: OnStep | None = None
    ) -> Trajectory:
        """Invert one photograph; see `Inversion.invert`."""
        check_single(latents)
        return self.invert_all(model, latents, [prompt], on_step=on_step)[0]

    def invert_all(
        self,
        model: LatentDiffusion,
        latents: torch.Tensor,
        prompts: Sequence[str],
        *,
        on_step: OnStep | None = None,
    ) -> list[Trajectory]:
        """Invert several photographs in one batch.

        Args:
            model: The diffusion model.
            latents: `(B, C, h, w)` from `model.encode_image`.
            prompts: One for each photograph.
            on_step: Progress.

        Returns:
            One trajectory for each photograph.

        Raises:
            ValueError: Not one prompt for each photograph.
            FloatingPointError: The latents stopped being numbers.
        """
        if len(latents) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts do not fit {len(latents)} photographs")
        embeddings = model.encode_prompts(prompts)
        empty = model.encode_prompts([""])
        steps = model.schedule.steps(self.steps)
        paths = ddim_latents(model, steps, latents, embeddings, on_step=on_step)
        return [
            Trajectory(
                prompt=prompt,
                method=self.name,
                latents=path,
                embedding=embedding,
                unconditional=embedding if self.source == "conditional" else empty,
                source=self.source,
                unet_evaluations=len(steps),
            )
            for prompt, path, embedding in zip(prompts, paths.unbind(1), embeddings.split(1), strict=True)
        ]


class DDIMInversion(_Unoptimised):
    """Plain DDIM inversion (arXiv 2010.02502): the source branch is guided too, and drifts off.

    Args:
        steps: DDIM steps.
    """

    name = "ddim"
    source = "guided"


class NegativePromptInversion(_Unoptimised):
    """Negative-prompt inversion (Miyake et al., arXiv 2305.16807).

    The photograph's prompt takes the place of the empty text, so both passes of the source branch agree and
    guidance has no effect on it: it needs one pass.

    Args:
        steps: DDIM steps.
    """

    name = "negative-prompt"
    source = "conditional"


class DirectInversion(_Unoptimised):
    """Direct inversion (Ju et al., arXiv 2310.01506): the source branch never leaves `z*`.

    The paper adds to the source branch, after every step, what it lost against the latents of the DDIM
    inversion. Its latents are then `z*` whatever its two passes said, so only the conditional one is made,
    for the attention maps.

    Args:
        steps: DDIM steps.
    """

    name = "direct"
    source = "exact"
