"""What a CSV says about the photographs that aged pictures were made from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from faceforward.datamodules.people import GENDERS
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from faceforward.records import Gender

SOURCES = "sources.csv"
COLUMNS = ("id", "file", "person", "age", "gender")
OLDEST = 120  # years


@dataclass(frozen=True)
class SourceFacts:
    """One line of the CSV about sources.

    Attributes:
        file: The photograph; None where the case's folder has it.
        person: Whom it shows.
        age: In it, years.
        gender: Of the person.
    """

    file: Path | None = None
    person: str | None = None
    age: float | None = None
    gender: Gender | None = None


def read_sources(path: Path) -> dict[str, SourceFacts]:
    """Read a CSV about sources: `id, file, person, age, gender`; files are relative to it.

    Args:
        path: The file.

    Returns:
        Name of the case -> what is known; without a column `id` the file's stem is the name.

    Raises:
        ConfigurationError: It cannot be read, names nothing, or a cell makes no sense.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = [
                {(name or "").strip().lower(): (cell or "").strip() for name, cell in row.items() if name}
                for row in csv.DictReader(stream)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    found: dict[str, SourceFacts] = {}
    for number, row in enumerate(rows, start=2):
        case = row.get("id") or Path(row.get("file", "")).stem
        if not case:
            raise ConfigurationError(f"{path}, line {number} names neither id nor file")
        try:
            facts = SourceFacts(
                file=path.parent / row["file"] if row.get("file") else None,
                person=row.get("person") or None,
                age=age_of(row.get("age", "")),
                gender=gender_of(row.get("gender", "")),
            )
        except ValueError as error:
            raise ConfigurationError(f"{path}, line {number}: {error}") from error
        if found.setdefault(case, facts) != facts:
            raise ConfigurationError(f"{path}, line {number}: {case} is there twice and told otherwise")
    if not found:
        raise ConfigurationError(f"{path} names no source: its columns are {', '.join(COLUMNS)}")
    return found


def age_of(text: str) -> float | None:
    """Years, or None for an empty cell.

    Raises:
        ValueError: It is not an age from 0 to 120.
    """
    if not text:
        return None
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age <= OLDEST:
        raise ValueError(f"age {text!r} is not in years from 0 to {OLDEST}")
    return age


def gender_of(text: str) -> Gender | None:
    """Gender, or None for an empty cell.

    Raises:
        ValueError: It is not known.
    """
    if text and text.lower() not in GENDERS:
        raise ValueError(f"gender {text!r} is neither female nor male")
    return GENDERS.get(text.lower())
