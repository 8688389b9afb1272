"""Planes seen from given angles and around a turntable, as pictures and depth maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from faceforward.eg3d.cameras import PIVOT, RADIUS, labels, look_at

if TYPE_CHECKING:
    from faceforward.eg3d.generator import TriPlaneGenerator, View

DEPTH_UNIT = 1e-4  # world units in one step of a 16-bit depth map, which reaches to 6.5
SEEN = 0.5  # opacity from which a ray has met something

Angle = tuple[float, float]


@dataclass(frozen=True)
class Orbit:
    """Where cameras stand and what they look at.

    Attributes:
        radius: Distance to the pivot, world units.
        pivot: What they look at.
        intrinsics: Nine numbers normalised by the side; None takes FFHQ's.
    """

    radius: float = RADIUS
    pivot: tuple[float, float, float] = PIVOT
    intrinsics: tuple[float, ...] | None = None

    def cameras(self, angles: Sequence[Angle]) -> torch.Tensor:
        """`(N, 25)` labels of cameras at (yaw, pitch) degrees, as `look_at` takes them.

        Raises:
            ValueError: There is no angle, or one is no number.
        """
        if not angles or not np.isfinite(angles).all():
            raise ValueError(f"cameras at {list(angles)}: give (yaw, pitch) in degrees, one pair at least")
        yaws, pitches = zip(*angles, strict=True)
        inner = None if self.intrinsics is None else torch.tensor(self.intrinsics).reshape(3, 3)
        return labels(look_at(yaws, pitches, radius=self.radius, pivot=self.pivot), inner)


def grid(yaws: Sequence[float], pitches: Sequence[float] = (0.0,)) -> list[Angle]:
    """Every yaw at the first pitch, then at the next; degrees."""
    return [(yaw, pitch) for pitch, yaw in product(pitches, yaws)]


def turntable(frames: int = 60, *, yaw: float = 40.0, pitch: float = 5.0) -> list[Angle]:
    """A closed way of the camera from the front to both sides, a little above and below.

    Args:
        frames: How many angles; after the last one the first follows at the same pace.
        yaw: Farthest degrees to either side.
        pitch: Highest degrees, which the camera has when it passes the front.

    Returns:
        (yaw, pitch) in degrees.

    Raises:
        ValueError: `frames` is not positive.
    """
    if frames < 1:
        raise ValueError(f"a turntable of {frames} frames: give 1 or more")
    turns = 2 * np.pi * np.arange(frames) / frames
    return [(float(yaw * np.sin(turn)), float(pitch * np.cos(turn))) for turn in turns]


def render_views(
    generator: TriPlaneGenerator,
    planes: torch.Tensor,
    ws: torch.Tensor,
    angles: Sequence[Angle],
    *,
    orbit: Orbit | None = None,
    raw_resolution: int | None = None,
    chunk: int | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[View]:
    """Views of one head one after another, so that memory is one view's.

    Args:
        generator: In evaluation mode.
        planes: `(1, 3, C, H, W)`, which are made once.
        ws: `(1, num_ws, w)`.
        angles: (yaw, pitch) of each view in degrees.
        orbit: Of the cameras; None is FFHQ's.
        raw_resolution: See `TriPlaneGenerator.render`, as the rest.
        chunk: Rays at once, see `Renderer`.
        dtype: Of super-resolution.

    Yields:
        One `View` with N = 1 for each angle, in order.
    """
    if not angles:
        return
    cameras = (orbit or Orbit()).cameras(angles).to(planes)
    for camera in cameras:
        with torch.no_grad():  # not across the yield: it would reach the caller
            view = generator.render(
                planes, camera[None], ws, raw_resolution=raw_resolution, chunk=chunk, dtype=dtype
            )
        yield view


def picture(image: torch.Tensor) -> np.ndarray:
    """`(1, 3, H, W)` in [-1, 1] as `(H, W, 3)` uint8 RGB."""
    pixels = (image[0].float().clamp(-1, 1) + 1) * 127.5
    return pixels.round().to("cpu", torch.uint8).permute(1, 2, 0).numpy()


def depth_levels(view: View) -> np.ndarray:
    """Depth as a 16-bit picture that can be measured.

    Args:
        view: With N = 1.

    Returns:
        `(r, r)` uint16: distance along the ray in steps of `DEPTH_UNIT` units, 0 where it meets nothing.
    """
    steps = (view.depth[0, 0].double() / DEPTH_UNIT).round().clamp(1, 2**16 - 1)
    seen = view.opacity[0, 0] >= SEEN
    return torch.where(seen, steps, torch.zeros_like(steps)).cpu().numpy().astype(np.uint16)


def depth_preview(levels: np.ndarray) -> np.ndarray:
    """What `depth_levels` gives, for people: the nearest bright, the farthest dark, nothing black.

    Returns:
        `(r, r, 3)` uint8 RGB.
    """
    seen = levels > 0
    shown = np.zeros(levels.shape, np.uint8)
    if seen.any():
        near, far = int(levels[seen].min()), int(levels[seen].max())
        share = (far - levels[seen].astype(np.float64)) / max(far - near, 1)
        shown[seen] = np.round(30 + 225 * share)  # what is seen is never as dark as what is not
    # Its lightness rises evenly, so that it can be read in grey too.
    return cv2.cvtColor(cv2.applyColorMap(shown, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
