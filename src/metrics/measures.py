"""What measuring an aged picture gives, and what it takes beside the picture."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class PictureMeasures:
    """One aged picture.

    Attributes:
        target: Age that was asked for, years.
        years: Reader's name -> age that it reads, years.
        distance: Descriptor distance to the photograph; lower is more alike.
        descriptor: `(D,)` of the picture.
        sharpness: Energy of fine detail in the face over the photograph's (`keeping.sharpness`).
        stayed: Strength of the outlines that the edit moved, at their old place (`outlines.double_outlines`).
        went: The same at the new place.
        moved: Share of the strong edges that the edit moved.
        lingering: Strength of outlines where the edit is more than a motion.
        unexplained: Share of the strong edges there.
        psnr_outside: dB, outside the head, against the photograph.
        psnr_outside_grown: The same against the photograph after growth, from which the transfer started.
        light: Mean change of the face's L*.
        color: Length of its mean change of a* and b*.
        uneven: Root mean square of its low frequencies' change about that mean.
        turn: Degrees between the head's pose in the photograph and here (`mesh_change.turn`).
        expression: Change of eyes and mouth (`mesh_change.expression`).
        women: Reader's name -> probability of a woman that it reads; empty where readers do not say.

    What could not be measured, for want of a mesh or of the edit's own pictures, or has no value, is nan.
    """

    target: int
    years: dict[str, float]
    distance: float
    descriptor: np.ndarray
    sharpness: float = math.nan
    stayed: float = math.nan
    went: float = math.nan
    moved: float = math.nan
    lingering: float = math.nan
    unexplained: float = math.nan
    psnr_outside: float = math.nan
    psnr_outside_grown: float = math.nan
    light: float = math.nan
    color: float = math.nan
    uneven: float = math.nan
    turn: float = math.nan
    expression: float = math.nan
    women: dict[str, float] = field(default_factory=dict)


#: What is averaged over pictures.
MEASURES = ("distance", *(entry.name for entry in fields(PictureMeasures) if entry.default is math.nan))


@dataclass(frozen=True, eq=False)
class Measures:
    """A photograph with its aged pictures.

    Attributes:
        age: In the photograph, years.
        years: Reader's name -> age that it reads off the photograph itself, years.
        descriptor: `(D,)` of the photograph.
        pictures: One for each aged picture, by target.
        women: Reader's name -> probability of a woman that it reads off the photograph itself.
    """

    age: float
    years: dict[str, float]
    descriptor: np.ndarray
    pictures: tuple[PictureMeasures, ...]
    women: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """JSON values, read back by `from_json`; nan and infinity, which JSON has not, are None and "inf"."""
        values = {name: _plain(value) for name, value in vars(self).items() if name != "pictures"}
        pictures = [{name: _plain(v) for name, v in vars(picture).items()} for picture in self.pictures]
        return values | {"pictures": pictures}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Measures:
        """What `as_json` wrote."""
        pictures = tuple(PictureMeasures(**_read(picture)) for picture in values["pictures"])
        rest = {name: value for name, value in values.items() if name != "pictures"}
        return cls(pictures=pictures, **_read(rest))


@dataclass(frozen=True, eq=False)
class EditMaterial:
    """What the edit behind aged pictures left, for what cannot be seen in the pictures alone.

    Attributes:
        points: `(N, 2 or more)` of the face's mesh in pixels of the photograph's crop.
        images: Target age -> the model's own picture, `(s, s, 3)` uint8 RGB.
        references: Target age -> the same edit under the source's own prompt, alike.
        fields: Target age -> the warp by which the crop grew first, as `Growth.field` gives it, or None.
        native: Side of the crop in the photograph's own pixels. Up to `kept.LEAST_NATIVE` it has no fine
            detail, only what enlarging made, and sharpness and outlines are not measured.
        meshes: Target age -> `(468, 3)` of the aged picture's own mesh, where `points` is one as well.
        apart: Targets whose pictures do not lie over the photograph: no pixel of them is compared.
        unseen: Share of the pictures' height, from below, that is not compared, in [0, 1): other words of a
            program may stand there.
    """

    points: np.ndarray
    images: Mapping[int, np.ndarray] = field(default_factory=dict)
    references: Mapping[int, np.ndarray] = field(default_factory=dict)
    fields: Mapping[int, np.ndarray | None] = field(default_factory=dict)
    native: float = math.inf
    meshes: Mapping[int, np.ndarray] = field(default_factory=dict)
    apart: Collection[int] = ()
    unseen: float = 0.0


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [round(float(number), 6) for number in value]
    if isinstance(value, dict):
        return {name: round(float(number), 4) for name, number in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return round(value, 6) if isinstance(value, float) else value


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    special = {None: math.nan, "inf": math.inf}
    read = {name: special[v] if v is None or v == "inf" else v for name, v in values.items()}
    return read | {"descriptor": np.asarray(values["descriptor"], dtype=np.float64)}
