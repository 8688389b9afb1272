"""FG-NET's photographs: people at many ages, for the benchmarks."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from faceforward.faces.align import align
from faceforward.faces.detect import Detector, default_detector, find_faces
from faceforward.faces.reading import read_photo
from faceforward.records import Photo

FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "fgnet"
ADULT = 18  # years, from which on a photograph belongs to a person's template
CHILD = range(4, 13)


@dataclass(frozen=True)
class FGNetFace:
    """One photograph.

    Attributes:
        file: Its path.
        person: Number of the person.
        age: In the photograph, years.
    """

    file: Path
    person: int
    age: int

    def photo(self, targets: tuple[int, ...] | None = None) -> Photo:
        """The photograph, its age given as an investigator knows it."""
        return replace(read_photo(self.file), age=float(self.age), targets=targets)


def read(folder: Path) -> list[FGNetFace]:
    """All photographs, in the order of `index.csv` (`file,person,age`)."""
    with (folder / "index.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [FGNetFace(folder / "photos" / row["file"], int(row["person"]), int(row["age"])) for row in rows]


@cache
def _detector() -> Detector:
    return default_detector()


def crop(photo: Photo, size: int) -> np.ndarray | None:
    """The largest face, aligned like FFHQ, `(size, size, 3)` uint8 RGB; None where none is found."""
    found, _ = find_faces(photo.pixels, _detector())
    return align(photo.pixels, found[0].landmarks, size)[0] if found else None


def crops(faces: Sequence[FGNetFace], size: int) -> list[np.ndarray | None]:
    """`crop` of each photograph."""
    return [crop(face.photo(), size) for face in faces]


def adults(faces: Sequence[FGNetFace]) -> list[FGNetFace]:
    """Those that make the gallery's templates."""
    return [face for face in faces if face.age >= ADULT]


def children(faces: Sequence[FGNetFace]) -> list[FGNetFace]:
    """Photographs at 4 to 12 of people who have adult ones as well."""
    grown = {face.person for face in adults(faces)}
    return [face for face in faces if face.age in CHILD and face.person in grown]


def last_age(faces: Sequence[FGNetFace], person: int) -> int:
    """The age of a person's last photograph."""
    return max(face.age for face in faces if face.person == person)
