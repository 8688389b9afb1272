"""The one place that measures aged pictures: what they show, whom, and what they keep of the photograph."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from faceforward.faces.crops import resized
from faceforward.faces.fields import warp
from faceforward.faces.identity import distance
from faceforward.metrics.age import AgeError
from faceforward.metrics.identity import IdentityDistance
from faceforward.metrics.keeping import BAND, HEAD, outline, psnr_outside, sharpness, tint
from faceforward.metrics.mesh_change import expression, turn
from faceforward.metrics.outlines import double_outlines, motion
from faceforward.metrics.thresholds import DLIB_RECOGNITION

if TYPE_CHECKING:
    from faceforward.faces.age import AgeEstimator
    from faceforward.faces.identity import Embedder
    from faceforward.records import AgeEstimate, CaseResult

LEAST_NATIVE = 1.5 * BAND  # pixels
NEAR = 15  # years between photograph and target within which a face has to pass for the person


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
        native: Side of the crop in the photograph's own pixels. Up to `LEAST_NATIVE` it has no fine detail,
            only what enlarging made, and sharpness and outlines are not measured.
        meshes: Target age -> `(468, 3)` of the aged picture's own mesh, where `points` is one as well.
        apart: Targets whose pictures do not lie over the photograph: no pixel of them is compared.
    """

    points: np.ndarray
    images: Mapping[int, np.ndarray] = field(default_factory=dict)
    references: Mapping[int, np.ndarray] = field(default_factory=dict)
    fields: Mapping[int, np.ndarray | None] = field(default_factory=dict)
    native: float = math.inf
    meshes: Mapping[int, np.ndarray] = field(default_factory=dict)
    apart: Collection[int] = ()


def measure(
    photograph: np.ndarray,
    aged: Mapping[int, np.ndarray],
    *,
    age: float,
    readers: Sequence[AgeEstimator],
    embedder: Embedder,
    edit: EditMaterial | None = None,
) -> Measures:
    """Measure the aged pictures of one photograph, as people see them.

    Ages and descriptors are read off the crops as they are, which lie in one frame: no picture is detected
    and aligned anew, the photograph no more than the aged ones.

    Args:
        photograph: `(S, S, 3)` uint8 RGB crop, aligned like FFHQ.
        aged: Target age -> `(S', S', 3)` uint8 RGB, aligned alike; what is compared pixel by pixel is
            brought to the smaller size of the two.
        age: In the photograph, years.
        readers: Read ages.
        embedder: Describes people.
        edit: Where the face is and how it was edited; without it, ages and identity alone are measured.
    """
    pictures = [photograph, *aged.values()]
    descriptors = embedder.embed(pictures)
    estimates = {reader.name: reader.estimate(pictures) for reader in readers}
    read = {name: [found.years for found in each] for name, each in estimates.items()}
    women = [
        {name: share for name, each in estimates.items() if (share := _woman(each[place])) is not None}
        for place in range(len(pictures))
    ]
    distances = distance(descriptors[1:], descriptors[:1])
    measured = [
        PictureMeasures(
            target=target,
            years={name: years[place] for name, years in read.items()},
            distance=float(distances[place - 1]),
            descriptor=descriptors[place],
            women=women[place],
            **({} if edit is None else _kept(photograph, picture, target, edit)),
        )
        for place, (target, picture) in enumerate(aged.items(), start=1)
    ]
    at_once = {name: years[0] for name, years in read.items()}
    return Measures(float(age), at_once, descriptors[0], tuple(measured), women[0])


def measure_case(case: CaseResult, *, readers: Sequence[AgeEstimator], embedder: Embedder) -> Measures:
    """Measure what `AgeEditor.age` made of one photograph; see `measure`."""
    edit = None
    if case.face.mesh is not None:
        edit = EditMaterial(case.face.mesh.points, case.edit.images, case.edit.references, case.edit.fields)
    return measure(
        case.face.pixels, case.aged, age=case.face.age, readers=readers, embedder=embedder, edit=edit
    )


def _woman(estimate: AgeEstimate) -> float | None:
    """The probability of a woman; None where the reader does not say."""
    if estimate.gender is None or estimate.gender_probability is None:
        return None
    return estimate.gender_probability if estimate.gender == "female" else 1 - estimate.gender_probability


def _kept(photograph: np.ndarray, aged: np.ndarray, target: int, edit: EditMaterial) -> dict[str, float]:
    """What a picture keeps, by the names of `PictureMeasures`."""
    values: dict[str, float] = {}
    if target in edit.meshes:
        meshes = edit.points, edit.meshes[target]
        values |= {"turn": turn(*meshes), "expression": expression(*meshes)}
    if target in edit.apart:
        return values
    size = min(len(photograph), len(aged))
    grown_by = edit.fields.get(target)
    grown = photograph if grown_by is None else warp(photograph, grown_by)
    points = (np.asarray(edit.points, dtype=np.float64)[:, :2] + 0.5) * (size / len(photograph)) - 0.5
    photograph, grown, aged = (resized(picture, size) for picture in (photograph, grown, aged))
    face, head = outline(points, size), outline(points, size, grown=HEAD)
    change = tint(grown, aged, face)
    values |= {
        "psnr_outside": psnr_outside(photograph, aged, head),
        "psnr_outside_grown": psnr_outside(grown, aged, head),
        **vars(change),
    }
    if edit.native <= LEAST_NATIVE:
        return values
    values["sharpness"] = sharpness(photograph, aged, face)
    if target in edit.images and target in edit.references:
        flow = motion(edit.references[target], edit.images[target])
        values |= vars(double_outlines(grown, aged, flow, face))
    return values


def figures(
    measures: Sequence[Measures], *, near: float = NEAR, thresholds: Mapping[int, float] = DLIB_RECOGNITION
) -> dict[str, float]:
    """The figures of many pictures.

    Args:
        measures: Of the photographs.
        near: Years between photograph and target within which identity is asked for.
        thresholds: See `IdentityDistance`.

    Returns:
        For each reader `age/<reader>/...` as `AgeError` has it; `identity/...` as `IdentityDistance` has it,
        of near targets (absent where there are none); of every other measure the mean over the pictures that
        have it, by its name, and `<name>/count`. PSNRs are averaged in dB, the infinite ones left out.
    """
    pictures = [picture for photo in measures for picture in photo.pictures]
    found: dict[str, float] = {}
    targets = torch.tensor([float(picture.target) for picture in pictures])
    for reader in dict.fromkeys(name for picture in pictures for name in picture.years):
        error = AgeError(sync_on_compute=False)
        error.update(torch.tensor([picture.years[reader] for picture in pictures]), targets)
        found |= {f"age/{reader}/{name}": float(value) for name, value in error.compute().items()}
    close = [p for photo in measures for p in photo.pictures if abs(p.target - photo.age) <= near]
    if close:
        identity = IdentityDistance(thresholds=thresholds, sync_on_compute=False)
        identity.update(
            torch.tensor([picture.distance for picture in close]),
            ages=torch.tensor([float(picture.target) for picture in close]),
        )
        found |= {f"identity/{name}": float(value) for name, value in identity.compute().items()}
    for name in MEASURES:
        values = np.array([getattr(picture, name) for picture in pictures], dtype=np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            found |= {name: float(values.mean()), f"{name}/count": float(len(values))}
    return found


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
