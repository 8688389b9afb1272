"""Heads of a 3D generator as values, and what makes them: photographs through an encoder, or seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from faceforward.eg3d.views import Orbit

if TYPE_CHECKING:
    from faceforward.eg3d.generator import TriPlaneGenerator, View


@dataclass(frozen=True, eq=False)
class Head:
    """One head, to be rendered from any camera.

    Attributes:
        generator: That renders it.
        ws: `(1, num_ws, w)`.
        planes: `(1, 3, C, H, W)`.
        shown: What stands before its views, `(1, 3, S, S)` in [-1, 1] each: its photograph, if it has one.
    """

    generator: TriPlaneGenerator
    ws: torch.Tensor
    planes: torch.Tensor
    shown: tuple[torch.Tensor, ...] = ()

    def render(self, cameras: torch.Tensor) -> View:
        """Its views from `(V, 25)` cameras; with gradients, where they are on."""
        return self.generator.render(self.planes, cameras.to(self.planes), self.ws)


class HeadEncoder(Protocol):
    """Photographs to heads in one pass: GOAE, the small pair, and what refines cameras by them.

    Attributes:
        name: What results say.
        generator: Whose heads they are.
    """

    name: str

    @property
    def generator(self) -> TriPlaneGenerator: ...  # noqa: D102

    def encode(self, images: torch.Tensor, cameras: torch.Tensor) -> list[Head]:
        """One head for each photograph.

        Args:
            images: `(N, 3, S, S)` in [-1, 1], 3D crops of any side; the encoder resizes them.
            cameras: `(N, 25)`.

        Raises:
            ConfigurationError: They do not fit together.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What decides its heads, digests of weights among it, as JSON values."""
        ...


@torch.no_grad()
def code(generator: TriPlaneGenerator, seed: int, truncation: float) -> torch.Tensor:
    """`(1, num_ws, w)` of a seed, on the generator's device, conditioned on the camera in front.

    The draw is the release's, so that a seed gives the head that EG3D's own programs show for it.
    """
    drawn = np.random.RandomState(seed).randn(1, generator.config.z)
    device = next(generator.parameters()).device
    z = torch.from_numpy(drawn.astype(np.float32)).to(device)
    return generator.map(z, Orbit().cameras([(0.0, 0.0)]).to(device), truncation=truncation)
