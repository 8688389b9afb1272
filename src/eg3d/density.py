"""What is asked of a generator's density beside its pictures: smoothness, and a head to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from faceforward.eg3d.resampling import widened

if TYPE_CHECKING:
    from faceforward.eg3d.renderer import Renderer


def density_variation(
    renderer: Renderer,
    planes: torch.Tensor,
    *,
    points: int = 1000,
    distance: float = 0.004,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Mean difference of density between near points, the regularisation of arXiv 2112.07945 (supplement).

    Args:
        renderer: Of the planes.
        planes: `(N, 3, C, H, W)`.
        points: Pairs for each of them, anywhere within one unit of the middle.
        distance: Standard deviation from a point to its neighbour, world units.
        generator: Of the points.
    """
    planes = widened(planes)  # half precision has no neighbours this near
    drawn = torch.rand(len(planes), points, 3, generator=generator).to(planes) * 2 - 1
    near = drawn + torch.randn(drawn.shape, generator=generator).to(planes) * distance
    differences = [
        (renderer.density(plane, own) - renderer.density(plane, beside)).abs().mean()
        for plane, own, beside in zip(planes, drawn, near, strict=True)
    ]
    return torch.stack(differences).mean()


@dataclass(frozen=True)
class HeadPrior:
    """An ellipsoid where heads are in EG3D's cameras, before a wall that comes forward at both sides.

    Density is held to it at first.

    Without it the cheapest answer of an autoencoder is a picture on a plane that faces the camera. Outside
    the planes' box, where all features are zero and rays begin and end, is air: else it would become a fog
    before the camera.

    Attributes:
        centre: Of the ellipsoid, world units; its front lies at the landmarks of the mean face.
        half: Its half axes.
        wall: z of the wall behind it.
        side: Distance from the middle at which the wall comes forward: cameras at 40 degrees of yaw look past
            the edge of a flat one, out of the box, and would see black there.
        rim: z to which it does; what is nearer would stand in their way.
        inside: Density (before its softplus) in the solid.
        outside: In the air.
        steepness: Change of density per unit of distance at the surface.
        reach: Side of the cube in which points are drawn, in sides of the box.
    """

    centre: tuple[float, float, float] = (0.0, 0.06, 0.025)
    half: tuple[float, float, float] = (0.2, 0.28, 0.26)
    wall: float = -0.34
    side: float = 0.43
    rim: float = 0.16
    inside: float = 14.0
    outside: float = -5.0
    steepness: float = 150.0
    reach: float = 1.3

    def density(self, points: torch.Tensor, box: float = 1.0) -> torch.Tensor:
        """`(..., 3)` world coordinates to `(...)`; `box` is the side of the planes' cube."""
        away = (points - points.new_tensor(self.centre)) / points.new_tensor(self.half)
        norm = away.norm(dim=-1)
        head = (norm - 1) * min(self.half)  # about the distance, negative within
        behind = torch.minimum(
            points[..., 2] - self.wall,
            torch.maximum(self.side - points[..., 0].abs(), points[..., 2] - self.rim),
        )
        distance = torch.minimum(head, behind)
        solid = (-distance * self.steepness).clamp(self.outside, self.inside)
        return torch.where(points.abs().amax(dim=-1) > box / 2, self.outside, solid)

    def loss(
        self,
        renderer: Renderer,
        planes: torch.Tensor,
        *,
        points: int = 1000,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Mean distance of density from the prior's at random points in the box and around it.

        Args:
            renderer: Of the planes.
            planes: `(N, 3, C, H, W)`.
            points: For each of them.
            generator: Of the points.
        """
        side, planes = renderer.settings.box_warp, widened(planes)
        drawn = torch.rand(len(planes), points, 3, generator=generator).to(planes) - 0.5
        drawn = drawn * (side * self.reach)
        losses = [
            F.smooth_l1_loss(renderer.density(plane, own), self.density(own, side))
            for plane, own in zip(planes, drawn, strict=True)
        ]
        return torch.stack(losses).mean()
