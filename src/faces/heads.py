"""Heads that views are rendered of: a photograph's relief, or a 3D generator's, or both in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
import torch

from faceforward.eg3d.heads import Head, HeadEncoder
from faceforward.eg3d.mesh import Mesh, NoSurfaceError, surface
from faceforward.eg3d.pair import PairEncoder
from faceforward.eg3d.views import SEEN, picture
from faceforward.errors import ConfigurationError
from faceforward.faces.crops import resized
from faceforward.faces.relief import Relief, ReliefView, build_relief
from faceforward.faces.relief_mesh import TexturedMesh
from faceforward.goae.heads import GoaeHeads
from faceforward.pretrained import generator_file, locate
from faceforward.registry import GENERATORS, GOAE

if TYPE_CHECKING:
    from collections.abc import Callable

GENERATED_REACH = 40.0  # degrees: hardly a photograph that such generators learn from is turned farther
CELLS = 192  # of the grid that a generated head's surface is found on


class PhotoHead(Protocol):
    """A person's head in space."""

    @property
    def reach(self) -> float:
        """Degrees of yaw away from the photograph's own view up to which it holds."""
        ...

    def render(self, cameras: torch.Tensor, size: int) -> list[ReliefView]:
        """Views `(size, size)` under cameras `(V, 25)`."""
        ...

    def surface(self) -> TexturedMesh | Mesh | None:
        """The head as a mesh; None where there is no surface."""
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


@dataclass(frozen=True, eq=False)
class _GeneratedHead:
    head: Head

    @property
    def reach(self) -> float:
        return GENERATED_REACH

    @torch.no_grad()
    def render(self, cameras: torch.Tensor, size: int) -> list[ReliefView]:
        found = []
        for camera in cameras:
            view = self.head.render(camera[None])
            depth = torch.where(view.opacity >= SEEN, view.depth, 0.0)[0, 0].cpu().numpy()
            depth = cv2.resize(depth.astype(np.float32), (size, size), interpolation=cv2.INTER_NEAREST)
            image = resized(picture(view.image), size)
            found.append(ReliefView(image, depth, np.zeros((size, size), np.float32)))
        return found

    def surface(self) -> Mesh | None:
        try:
            renderer = self.head.generator.renderer
            return surface(renderer, self.head.planes[0], resolution=CELLS, level=None)
        except NoSurfaceError:
            return None


class GeneratedHeads:
    """Heads that a network inverts photographs into: GOAE (arXiv 2303.12326), or the small pair.

    Args:
        encoder: Inverts them.
        photograph: Whether what the photograph shows is the photograph's own pixels, moved by its relief, and
            the network's what it does not show, blended by visibility; else every pixel is the network's.
    """

    def __init__(self, encoder: HeadEncoder, *, photograph: bool = True) -> None:
        self.encoder = encoder
        self.photograph = photograph
        self.name = "goae" if isinstance(encoder, GoaeHeads) else "small"
        shown = "what the photograph does not show" if photograph else "every pixel"
        self.why = f"{encoder.name} is here and gives {shown}" + (
            "; the rest is the photograph's own" if photograph else ""
        )

    def settings(self) -> dict[str, Any]:
        """The network, and what is shown of it."""
        return {"encoder": self.encoder.settings(), "photograph": self.photograph}

    def build(self, crop: np.ndarray, label: torch.Tensor, points: np.ndarray) -> PhotoHead:
        """Invert a photograph; see `PhotoHeads.build`."""
        if self.photograph:
            return _ReliefHead(build_relief(crop, label, points), _generated(self.encoder, crop, label))
        return _GeneratedHead(_inverted(self.encoder, crop, label))


def default_heads() -> PhotoHeads:
    """The best heads that this machine has weights for.

    GOAE over the official generator where both were converted into the cache, else the photograph's relief
    alone: with the small generator behind it nothing was gained (docs/3d.md).

    Raises:
        ConfigurationError: The weights in the cache are damaged, or do not belong together.
    """
    folder = locate(GOAE)
    if folder is None or locate(GENERATORS[1]) is None:
        return ReliefHeads()
    return GeneratedHeads(GoaeHeads(str(generator_file(GENERATORS[1])), folder))


def _inverted(encoder: HeadEncoder, crop: np.ndarray, label: torch.Tensor) -> Head:
    image = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        (head,) = encoder.encode(image, label[None])
    return head


def _generated(
    encoder: HeadEncoder, crop: np.ndarray, label: torch.Tensor
) -> Callable[[torch.Tensor], np.ndarray]:
    head = _inverted(encoder, crop, label)

    def behind(camera: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            return picture(head.render(camera[None]).image)

    return behind
