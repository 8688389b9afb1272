"""Cameras of photographs, moved until a 3D generator shows what the photograph shows."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from faceforward.eg3d.heads import HeadEncoder
from faceforward.eg3d.pair import PairEncoder
from faceforward.eg3d.refinement import Refined, refine_cameras
from faceforward.eg3d.resampling import resized
from faceforward.errors import ConfigurationError


class Refinement(Protocol):
    """Makes an estimated camera more exact."""

    def refine(self, crop: np.ndarray, label: torch.Tensor) -> Refined:
        """Refine the camera of one crop.

        Args:
            crop: `(S, S, 3)` uint8 RGB: the 3D crop.
            label: `(25,)`, as estimated.

        Returns:
            With N = 1.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Everything that decides what `refine` gives, as JSON values."""
        ...


class AnalysisBySynthesis:
    """Encodes the crop, and turns the camera until the head's rendering lies over the crop.

    It can be no better than the generator: with one that knows a face's shape badly, leave it out.

    Args:
        pair: Folder of a generator and its encoder, as `faceforward export` writes it for a tri-plane
            autoencoder, or the registered name `face-eg3d-128`.
        steps: See `refine_cameras`, as the rest.
        rate: In radians and units of the world.
        spread: Degrees.
        prior: Weight of the estimate.

    Raises:
        ConfigurationError: `steps` is negative, or the folder holds no such pair.
    """

    def __init__(
        self,
        pair: str = "face-eg3d-128",
        *,
        steps: int = 20,
        rate: float = 0.01,
        spread: float = 6.0,
        prior: float = 0.002,
    ) -> None:
        if steps < 0:
            raise ConfigurationError(f"refinement: {steps} steps; give 0 or more, 20 is usual")
        self.heads: HeadEncoder = PairEncoder(pair)
        self.options = {"steps": steps, "rate": rate, "spread": spread, "prior": prior}

    def settings(self) -> dict[str, Any]:
        """Which weights, and how they are used."""
        return {"name": "analysis-by-synthesis", "weights": self.heads.settings()["weights"], **self.options}

    def refine(self, crop: np.ndarray, label: torch.Tensor) -> Refined:
        """See `Refinement.refine`."""
        # What was made in inference mode takes no part in gradients; copies made outside of it do.
        with torch.inference_mode(mode=False), torch.no_grad():
            image = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 127.5 - 1
            start = label.clone()[None]
            (head,) = self.heads.encode(image, start)
            side = head.generator.config.raw_resolution

            def render(labels: torch.Tensor) -> torch.Tensor:
                return head.generator.renderer(head.planes, labels, side).features[:, :3]

            return refine_cameras(start, resized(image, side), render, **self.options)
