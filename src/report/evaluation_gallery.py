"""Galleries: real photographs with person and age, by a CSV or by the names of known collections."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

from faceforward.errors import ConfigurationError
from faceforward.faces.reading import IMAGE_SUFFIXES
from faceforward.report.evaluation_sources import age_of

INDEXES = ("index.csv", "gallery.csv", "labels.csv")
#: How collections call their files: FG-NET's 002A03b.jpg, AgeDB's 0_MariaCallas_35_f.jpg, AI Hub's
#: 0895_1978_04_00000044_F.png, CALFW's Aaron_Eckhart_0001.jpg, which says no age.
NAMES = (
    re.compile(r"(?P<person>\d{3})A(?P<age>\d{2})[a-z]?", re.IGNORECASE),
    re.compile(r"\d+_(?P<person>[^_]+)_(?P<age>\d{1,3})_[fm]", re.IGNORECASE),
    re.compile(r"(?P<person>\d{1,5}_\d{4})_(?P<age>\d{1,3})_\d+_\w"),
    re.compile(r"(?P<person>\D+)_\d{4}"),
)


class GalleryPhoto(NamedTuple):
    """One photograph.

    Attributes:
        file: Where it is.
        person: Whom it shows.
        age: In it, years; None where the name does not say.
    """

    file: Path
    person: str
    age: float | None


def named(stem: str) -> tuple[str, float | None] | None:
    """Person and age that a file's name says; None where it is of no known form.

    Example:
        >>> from faceforward.report.evaluation_gallery import named
        >>> named("002A03b"), named("12_MariaCallas_35_f"), named("Aaron_Eckhart_0001"), named("IMG_1")
        (('002', 3.0), ('MariaCallas', 35.0), ('Aaron_Eckhart', None), None)
    """
    for pattern in NAMES:
        match = pattern.fullmatch(stem)
        if match is not None:
            age = match.groupdict().get("age")
            person = match["person"]
            return person, None if age is None else float(age)
    return None


def read_gallery(path: Path) -> list[GalleryPhoto]:
    """List a gallery; no picture is opened.

    Args:
        path: A CSV `file, person, age`, with files relative to it or to a folder `photos` beside it; a folder
            that has one (`index.csv`, `gallery.csv`, `labels.csv`); or a folder, of any depth, whose files
            are called as FG-NET's, AgeDB's, CALFW's or AI Hub's are.

    Raises:
        ConfigurationError: There is no such gallery, or it has fewer than two people.
    """
    listing = path
    if path.is_dir():
        listing = next((path / name for name in INDEXES if (path / name).is_file()), path)
    photos = _by_name(listing) if listing.is_dir() else _by_index(listing)
    people = {photo.person for photo in photos}
    if len(people) < 2:
        raise ConfigurationError(
            f"the gallery {path} has photographs of {len(people)} people: nobody can be looked for among "
            "fewer than two. It takes a CSV `file, person, age`, or files named as FG-NET, AgeDB, CALFW or "
            "AI Hub name theirs"
        )
    return photos


def _by_name(folder: Path) -> list[GalleryPhoto]:
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    )
    found = [(file, named(file.stem)) for file in files]
    return [GalleryPhoto(file, *said) for file, said in found if said is not None]


def _by_index(listing: Path) -> list[GalleryPhoto]:
    try:
        with listing.open(newline="", encoding="utf-8-sig") as stream:
            rows = [
                {(n or "").strip().lower(): (c or "").strip() for n, c in row.items() if n}
                for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"the gallery {listing} cannot be read: {error}") from error
    if not rows or not {"file", "person"} <= rows[0].keys():
        raise ConfigurationError(f"the gallery {listing} needs the columns file, person, age")
    photos = []
    for number, row in enumerate(rows, start=2):
        try:
            age = age_of(row.get("age", ""))
        except ValueError as error:
            raise ConfigurationError(f"the gallery {listing}, line {number}: {error}") from error
        if not row["file"] or not row["person"]:
            raise ConfigurationError(f"the gallery {listing}, line {number} names no file or no person")
        file = listing.parent / row["file"]
        if not file.is_file() and (listing.parent / "photos" / row["file"]).is_file():
            file = listing.parent / "photos" / row["file"]
        photos.append(GalleryPhoto(file, row["person"], age))
    return photos
