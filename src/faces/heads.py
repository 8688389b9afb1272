"""Heads that views are rendered of: a photograph's relief, with a 3D generator for what it does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from faceforward.eg3d.heads import HeadEncoder
from faceforward.eg3d.pair import PairEncoder
from faceforward.eg3d.views import picture
from faceforward.errors import ConfigurationError
from faceforward.faces.relief import Relief, build_relief
from faceforward.faces.relief_mesh import TexturedMesh

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceforward.errors import ConfigurationError
from faceforward.faces.relief import ReliefView

SMALL = "face-eg3d-128"


class PhotoHead(Protocol):
    """A person's head in space."""

    @property
    def reach(self) -> float:
        """Degrees of yaw away from the photograph's own view up to which it holds."""
        ...

    def render(self, cameras: torch.Tensor, size: int) -> list[ReliefView]:
        """Views `(size, size)` under cameras `(V, 25)`."""
        ...

    def surface(self) -> TexturedMesh:
        """The head as a mesh."""
        ...


class PhotoHeads(Protocol):
    """Makes a head of a photograph.

    Attributes:
        name: What results say.
        why: Why this kind is taken, one sentence.
    """

    name: str
    why: str

    def build(self, crop: np.ndarray, label: torch.Tensor, points: np.ndarray) -> PhotoHead:
        """Make a head.

        Args:
            crop: `(S, S, 3)` uint8 RGB in EG3D's framing.
            label: `(25,)` its camera.
            points: `(468, 3)` the face's mesh in pixels of the crop.

        Raises:
            ValueError: They do not fit together.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What decides its heads, as JSON values."""
        ...


@dataclass(frozen=True, eq=False)
class _ReliefHead:
    relief: Relief
    behind: Callable[[torch.Tensor], np.ndarray] | None

    @property
    def reach(self) -> float:
        return self.relief.reach

    def render(self, cameras: torch.Tensor, size: int) -> list[ReliefView]:
        return self.relief.render(cameras, size, self.behind)

    def surface(self) -> TexturedMesh:
        return self.relief.surface()


class ReliefHeads:
    """The photograph itself as a relief (`faces.relief`).

    Args:
        behind: Folder or name of a small pair of generator and encoder, whose head fills what the photograph
            and its mirror image do not show.
        encoder: Makes that head instead of a pair. Without either it is filled from what is around.

    Raises:
        ConfigurationError: There is no such pair, or both are given.
    """

    name = "relief"

    def __init__(self, behind: str | None = None, *, encoder: HeadEncoder | None = None) -> None:
        if behind is not None and encoder is not None:
            raise ConfigurationError(f"behind is {behind} and encoder {encoder.name}: give one of them")
        # Missing or damaged files are said before the first photograph.
        self.encoder = encoder if behind is None else PairEncoder(behind)
        self.why = "the photograph's own pixels, moved by the shape of the face; no 3D network was asked" + (
            "" if self.encoder is None else f" but for what it does not show ({self.encoder.name})"
        )

    def settings(self) -> dict[str, Any]:
        """What is behind."""
        return {"behind": None if self.encoder is None else self.encoder.settings()}

    def build(self, crop: np.ndarray, label: torch.Tensor, points: np.ndarray) -> PhotoHead:
        """Make a relief; see `PhotoHeads.build`."""
        relief = build_relief(crop, label, points)
        return _ReliefHead(relief, None if self.encoder is None else _generated(self.encoder, crop, label))


def _generated(
    encoder: HeadEncoder, crop: np.ndarray, label: torch.Tensor
) -> Callable[[torch.Tensor], np.ndarray]:
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        (head,) = encoder.encode(image, label[None])

    def behind(camera: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return picture(head.render(camera[None]).image)

    return behind
