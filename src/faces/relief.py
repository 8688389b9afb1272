"""A photograph as a relief: its head turned, with the photograph's own pixels wherever it shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from faceforward.eg3d import cameras as eg3d
from faceforward.faces.mesh import POINTS
from faceforward.faces.relief_layers import LEVELS, Layers, cells_of, take_apart
from faceforward.faces.relief_mesh import TexturedMesh, textured
from faceforward.faces.relief_shade import shade
from faceforward.faces.relief_surface import CENTRE, Shape, axis_rows, build_shape

REACH = 40.0  # degrees to either side of a photograph from the front
MOST_YAW = 50.0  # of a photograph, degrees
LEAST_SIDE = 128

Behind = Callable[[torch.Tensor], np.ndarray]


@dataclass(frozen=True, eq=False)
class ReliefView:
    """One camera's picture.

    Attributes:
        image: `(S, S, 3)` uint8 RGB.
        depth: `(S, S)` float32: distance along the ray in EG3D's world units, 0 where it meets nothing.
        visibility: `(S, S)` float32 in [0, 1]: how far a pixel is the photograph's own, well seen; stretched,
            mirrored and generated ones are lower.
    """

    image: np.ndarray
    depth: np.ndarray
    visibility: np.ndarray


@dataclass(frozen=True, eq=False)
class Relief:
    """A photograph in space.

    Attributes:
        label: `(25,)` camera of the photograph.
        reach: Degrees of yaw away from the photograph's own view up to which it holds.
        shape: Of the person.
        layers: Its pictures.
    """

    label: torch.Tensor
    reach: float
    shape: Shape
    layers: Layers

    def render(
        self, cameras: torch.Tensor, size: int = 512, behind: Behind | None = None
    ) -> list[ReliefView]:
        """See the person from other cameras.

        Args:
            cameras: `(V, 25)` labels.
            size: Side of the views in pixels.
            behind: Gives a generator's picture of the same head under a camera `(25,)`, `(s, s, 3)` uint8
                RGB: what the photograph and its mirror image do not show is taken from it, in the
                photograph's light. None fills from what is around.

        Raises:
            ValueError: The cameras are not finite labels, or one looks from behind.
        """
        if cameras.ndim != 2 or cameras.shape[1] != eg3d.LABEL or not torch.isfinite(cameras).all():
            raise ValueError(f"expected finite camera labels (V, {eg3d.LABEL}), got {tuple(cameras.shape)}")
        own = self.label.double().numpy()
        views = []
        for camera in cameras:
            other = None if behind is None else behind(camera)
            if other is not None and len(other) != size:
                other = cv2.resize(other, (size, size), interpolation=cv2.INTER_CUBIC)
            views.append(
                ReliefView(*shade(self.shape, self.layers, own, camera.double().numpy(), size, other))
            )
        return views

    def surface(self) -> TexturedMesh:
        """The person as a closed mesh with the photograph as its texture."""
        return textured(self.shape, self.layers, self.label.double().numpy())


def build_relief(crop: np.ndarray, label: torch.Tensor, points: np.ndarray) -> Relief:
    """Make a photograph's relief.

    Args:
        crop: `(S, S, 3)` uint8 RGB in EG3D's framing (`crop3d`), 512 to 1,024 pixels a side.
        label: `(25,)` its camera.
        points: `(468, 3)` the face's mesh in pixels of the crop: x, y, and z away from the viewer.

    Raises:
        ValueError: They do not fit together: each with its reason.
    """
    crop = np.asarray(crop)
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape != (len(crop), len(crop), 3):
        raise ValueError(f"expected a square uint8 RGB crop, got {crop.dtype} {crop.shape}")
    if len(crop) < LEAST_SIDE:
        raise ValueError(f"the crop has {len(crop)} pixels a side: {LEAST_SIDE} at least are needed")
    label = check_label(label)
    points = np.asarray(points, dtype=np.float64)
    if points.shape != (POINTS, 3) or not np.isfinite(points).all():
        raise ValueError(f"expected {POINTS} finite mesh points (x, y, z), got {points.shape}")
    places = points[:, :2].mean(axis=0)
    if not ((places > 0) & (places < len(crop))).all():
        raise ValueError(
            f"the mesh lies outside the crop, about {np.rint(places).astype(int).tolist()} of {len(crop)} "
            "pixels: give its points in pixels of the crop, not of the photograph"
        )
    yaw = abs(float(eg3d.angles(eg3d.pose(label))[0]))
    if yaw > MOST_YAW:
        raise ValueError(
            f"the photograph shows a profile, {yaw:.0f} degrees from the front: a relief needs both eyes in "
            f"sight, {MOST_YAW:.0f} degrees at most"
        )
    own = label.double().numpy()
    middle = eg3d.project(torch.from_numpy(CENTRE)[None], label.double()[None])[0, 0].numpy()
    layers = take_apart(crop, points, axis_rows(own, LEVELS)[1], middle)
    shape = build_shape(points, own, len(crop), cells_of(layers.alpha))
    return Relief(label, REACH, shape, layers)


def check_label(label: torch.Tensor) -> torch.Tensor:
    """A camera label that a relief can use, as float32 on the CPU.

    Raises:
        ValueError: Its length, its rotation, its radius or its lens is not EG3D's.
    """
    label = torch.as_tensor(label).detach().cpu().float()
    if label.shape != (eg3d.LABEL,) or not torch.isfinite(label).all():
        raise ValueError(f"expected a camera label of {eg3d.LABEL} finite numbers, got {tuple(label.shape)}")
    turn = eg3d.pose(label)[:3, :3].double()
    if (turn @ turn.T - torch.eye(3)).abs().max() > 1e-2 or torch.linalg.det(turn) < 0:
        raise ValueError("the camera label holds no rotation: its first 16 numbers are cam2world, row by row")
    radius = float(eg3d.pose(label)[:3, 3].norm())
    if not 0.8 * eg3d.RADIUS < radius < 1.2 * eg3d.RADIUS:
        raise ValueError(
            f"the camera stands {radius:.2f} from the head, EG3D's {eg3d.RADIUS}: scale the label with "
            "eg3d.cameras.at_radius"
        )
    lens = eg3d.intrinsics(label)
    if not (0.5 * eg3d.FOCAL < lens[0, 0] < 2 * eg3d.FOCAL and 0.2 < lens[0, 2] < 0.8):
        raise ValueError(
            f"the camera's focal length is {float(lens[0, 0]):.2f} sides, EG3D's {eg3d.FOCAL}: the label's "
            "last nine numbers are normalised by the picture's side"
        )
    return label
