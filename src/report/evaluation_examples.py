"""The best and the worst cases of an evaluation, as pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from PIL import Image

from faceforward.errors import UnusablePhotoError
from faceforward.faces.reading import read_photo
from faceforward.report.metadata import Mark, jpeg_bytes
from faceforward.report.readings import said, short

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.metrics.calibration import Calibration
    from faceforward.report.evaluation_files import FolderResult

EACH = 4  # pictures of a row
SIDE = 200  # pixels


@dataclass(frozen=True)
class Example:
    """One picture beside its photograph.

    Attributes:
        case: Its name.
        age: In the photograph, years, or None.
        target: Age asked for.
        photograph: Data URI.
        aged: Data URI.
        said: What the readers read, and how far it is from the person.
    """

    case: str
    age: float | None
    target: int
    photograph: Markup
    aged: Markup
    said: str


def examples(result: FolderResult, calibration: Calibration | None) -> list[tuple[str, list[Example]]]:
    """Rows of pictures: nearest to the age asked for, farthest from it, farthest from the person.

    The error is the mean over readers of the calibrated one where there is a calibration. Of one photograph
    a row has one picture.

    Args:
        result: Of the folder.
        calibration: That was used; its readers are believed.
    """
    columns = result.pictures
    kind = "calibrated_mae" if calibration is not None else "mae"
    names = [name for name in columns.values if name.startswith("age/") and name.endswith(f"/{kind}")]
    rows = []
    if names:
        error = np.mean([columns.values[name] for name in names], axis=0)
        rows.append(("Nearest to the age asked for", _places(error, result)))
        rows.append(("Farthest from the age asked for", _places(-error, result)))
    if "identity/near/distance" in columns.values:
        apart = columns.values["identity/near/distance"]
        rows.append(("Least alike, within 15 years", _places(-apart, result)))
    found = [(title, [_example(place, result) for place in places]) for title, places in rows]
    return [(title, [each for each in row if each is not None]) for title, row in found if row]


def _places(order: np.ndarray, result: FolderResult) -> list[int]:
    """The first pictures in an order, one of each photograph."""
    taken: dict[str, int] = {}
    for place in np.argsort(order, kind="stable").tolist():
        if np.isfinite(order[place]) and len(taken) < EACH:
            taken.setdefault(result.pictures.keys[place][0], place)
    return list(taken.values())


def _example(place: int, result: FolderResult) -> Example | None:
    """The picture and its photograph; None where a file has gone meanwhile."""
    name, target = result.pictures.keys[place]
    files = next(case for case in result.folder.cases if case.case == name)
    measured = next(case for case in result.cases if case.case == name)
    picture = next(each for each in measured.measures.pictures if each.target == target)
    age = measured.measures.age
    try:
        photograph = _embedded(files.source, Mark("photograph", ""))
        aged = _embedded(files.aged[target], Mark("edited", f"Estimate at age {target}."))
    except UnusablePhotoError:
        return None
    read = said({short(reader): years for reader, years in picture.years.items()})
    return Example(
        name,
        float(age) if np.isfinite(age) else None,
        target,
        photograph,
        aged,
        f"{read}; distance {picture.distance:.2f}",
    )


def _embedded(path: Path, mark: Mark) -> Markup:
    """A picture as a data URI, its middle square; the text is base64 and safe."""
    pixels = read_photo(path).pixels
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    data = jpeg_bytes(np.asarray(square), mark, side=SIDE)
    return Markup("data:image/jpeg;base64,") + Markup(base64.b64encode(data).decode())
