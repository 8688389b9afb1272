"""What aged pictures keep of their photograph, measured one after another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from faceforward.faces.crops import resized
from faceforward.faces.fields import warp
from faceforward.metrics.keeping import (
    BAND,
    HEAD,
    LEAST_ENERGY,
    check_pair,
    fine_energy,
    outline,
    psnr_outside,
    tint,
)
from faceforward.metrics.mesh_change import expression, turn
from faceforward.metrics.outlines import double_outlines, motion

if TYPE_CHECKING:
    from faceforward.metrics.measures import EditMaterial

LEAST_NATIVE = 1.5 * BAND  # pixels


class Kept:
    """Compares the aged pictures of one photograph with it.

    Args:
        photograph: `(S, S, 3)` uint8 RGB crop, aligned like FFHQ.
        edit: Where the face is and how it was edited.
    """

    def __init__(self, photograph: np.ndarray, edit: EditMaterial) -> None:
        self.photograph = photograph
        self.edit = edit
        self._own: dict[int, float] = {}  # side -> energy of the photograph's fine detail

    def of(self, aged: np.ndarray, target: int) -> dict[str, float]:
        """What a picture keeps, by the names of `PictureMeasures`.

        Args:
            aged: `(S', S', 3)` uint8 RGB; both are brought to the smaller size.
            target: Age that was asked for.
        """
        edit = self.edit
        values: dict[str, float] = {}
        if target in edit.meshes:
            meshes = edit.points, edit.meshes[target]
            values |= {"turn": turn(*meshes), "expression": expression(*meshes)}
        if target in edit.apart:
            return values
        size = min(len(self.photograph), len(aged))
        field = edit.fields.get(target)
        scale = size / len(self.photograph)
        points = (np.asarray(edit.points, dtype=np.float64)[:, :2] + 0.5) * scale - 0.5
        photograph, aged = (resized(picture, size) for picture in (self.photograph, aged))
        grown = photograph if field is None else resized(warp(self.photograph, field), size)
        face, head = outline(points, size), outline(points, size, grown=HEAD)
        compared = size - math.ceil(edit.unseen * size)
        face[compared:], head[compared:] = False, True  # neither the face nor what is around it
        outside = psnr_outside(photograph, aged, head)
        values |= {
            "psnr_outside": outside,
            "psnr_outside_grown": outside if field is None else psnr_outside(grown, aged, head),
            **vars(tint(grown, aged, face)),
        }
        if edit.native <= LEAST_NATIVE:
            return values
        values["sharpness"] = self._sharpness(photograph, aged, face)
        if target in edit.images and target in edit.references:
            flow = motion(edit.references[target], edit.images[target])
            values |= vars(double_outlines(grown, aged, flow, face))
        return values

    def _sharpness(self, photograph: np.ndarray, aged: np.ndarray, face: np.ndarray) -> float:
        """`keeping.sharpness`, the photograph's own detail worked out once."""
        check_pair(photograph, aged, face)
        size = len(photograph)
        if size not in self._own:
            self._own[size] = fine_energy(photograph, face)
        own = self._own[size]
        return fine_energy(aged, face) / own if own >= LEAST_ENERGY else float("nan")
