"""The one place that measures aged pictures: what they show, whom, and what they keep of the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from faceforward.faces.identity import distance
from faceforward.metrics.kept import Kept
from faceforward.metrics.measures import MEASURES, EditMaterial, Measures, PictureMeasures

__all__ = [
    "MEASURES",
    "NEAR",
    "EditMaterial",
    "Measures",
    "PictureMeasures",
    "measure",
    "measure_case",
]

if TYPE_CHECKING:
    from faceforward.faces.age import AgeEstimator
    from faceforward.faces.identity import Embedder
    from faceforward.records import AgeEstimate, CaseResult

NEAR = 15  # years between photograph and target within which a face has to pass for the person


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
    kept = None if edit is None else Kept(photograph, edit)
    measured = [
        PictureMeasures(
            target=target,
            years={name: years[place] for name, years in read.items()},
            distance=float(distances[place - 1]),
            descriptor=descriptors[place],
            women=women[place],
            **({} if kept is None else kept.of(picture, target)),
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
