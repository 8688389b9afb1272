"""What the user knows about the photographs: a CSV with `file, age | birth, taken, gender, targets, face`."""

from __future__ import annotations

import csv
import datetime
import logging
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from faceforward.errors import ConfigurationError, UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from faceforward.records import Gender

logger = logging.getLogger(__name__)

Read = TypeVar("Read")

COLUMNS = ("file", "age", "birth", "taken", "gender", "targets", "face")
#: Names that people give to what a column says.
MEANT = {
    **dict.fromkeys(("sex", "성별", "m/f", "geschlecht", "sexe"), "gender"),
    **dict.fromkeys(("나이", "연령", "years", "age_in_photo", "alter", "âge", "edad"), "age"),
    **dict.fromkeys(("파일", "파일명", "filename", "file_name", "path", "image", "photo", "name"), "file"),
    **dict.fromkeys(("생년월일", "dob", "birthday", "birthdate", "date_of_birth", "born"), "birth"),
    **dict.fromkeys(("촬영일", "date_taken", "photo_date", "date"), "taken"),
    **dict.fromkeys(("target_ages", "target_age", "ages"), "targets"),
}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # Excel's new and old files
OLDEST = 100
TOO_MANY = "(too many)"
GENDERS: dict[str, Gender] = {
    **dict.fromkeys(("female", "f", "woman", "girl", "여", "여자", "여성"), "female"),
    **dict.fromkeys(("male", "m", "man", "boy", "남", "남자", "남성"), "male"),
}


@dataclass(frozen=True)
class Facts:
    """What one line of the CSV says about a photograph.

    Attributes:
        age: Age in the photograph, years.
        gender: Gender of the person.
        targets: Target ages of this photograph alone, ascending; None means the run's.
        face: Which face to take, 1 = the largest.
    """

    age: float | None = None
    gender: Gender | None = None
    targets: tuple[int, ...] | None = None
    face: int | None = None


def check_ages(ages: list[int] | tuple[int, ...]) -> tuple[int, ...]:
    """Target ages ascending, each once.

    Args:
        ages: Whole years.

    Raises:
        ConfigurationError: None is given, or one is outside 0 to 100.
    """
    if not ages:
        raise ConfigurationError("no target age is given; say for example --target_ages '[20,40,60]'")
    wrong = [age for age in ages if not 0 <= age <= OLDEST]
    if wrong:
        raise ConfigurationError(f"target ages must be whole years from 0 to {OLDEST}, not {wrong}")
    return tuple(sorted(set(ages)))


def read_date(text: str) -> datetime.date:
    """A date as people write it: `1991-05-07`, `1991.5.7`, `1991/05`, `1991`.

    The middle of what is left open is taken: the 15th of a month, the 1st of July of a year.

    Raises:
        ValueError: The text is no such date.
    """
    match = re.fullmatch(r"(\d{4})(?:[-./ ](\d{1,2})(?:[-./ ](\d{1,2}))?)?\.?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a date like 1991-05-07, 1991-05 or 1991")
    year, month, day = match.groups()
    if month is None:
        return datetime.date(int(year), 7, 1)
    return datetime.date(int(year), int(month), int(day or 15))


def _years(birth: datetime.date, later: datetime.date) -> int:
    return later.year - birth.year - ((later.month, later.day) < (birth.month, birth.day))


def read_facts(row: Mapping[str, str], *, today: datetime.date) -> Facts:
    """Facts of one line of the CSV.

    Args:
        row: Column name -> text, stripped; an empty text means unknown.
        today: The day that `today` among the targets refers to.

    Raises:
        UnusablePhotoError: A cell cannot be understood, or two contradict each other.
    """
    if row.get(TOO_MANY):
        raise UnusablePhotoError(
            "the CSV line has more cells than the header; write several targets as 20;40;60"
        )
    birth, taken = (
        _cell(row, name, read_date, "a date like 1991-05-07 or 1991") for name in ("birth", "taken")
    )
    age = _cell(row, "age", float, "years in digits, like 12 or 12.5")
    face = _cell(row, "face", int, "a whole number, 1 = the largest face")
    if birth and taken and taken < birth:
        raise UnusablePhotoError(f"the CSV says it was taken ({taken}) before the birth ({birth})")
    if birth and taken:
        computed = _years(birth, taken)
        if age is not None and abs(age - computed) > 1:
            raise UnusablePhotoError(f"the CSV says age {age:g}, but birth and taken make it {computed}")
        age = computed if age is None else age
    if age is not None and not 0 <= age <= OLDEST:
        raise UnusablePhotoError(f"the CSV says age {age:g}; it must be from 0 to {OLDEST}")
    if face is not None and face < 1:
        raise UnusablePhotoError(f"the CSV says face {face}; faces are counted from 1, the largest")
    gender = row.get("gender", "").lower()
    if gender and gender not in GENDERS:
        raise UnusablePhotoError(f"the CSV says gender {gender!r}; it must be female, male or empty")

    now = None
    if birth:
        now = _years(birth, today)
    elif age is not None and taken:
        now = int(age) + _years(taken, today)
    targets: list[int] = []
    for word in re.split(r"[;,\s]+", row.get("targets", "").strip()):
        if word.lower() == "today":
            if now is None:
                raise UnusablePhotoError("the target 'today' needs birth, or age and taken, in the CSV")
            targets.append(now)
        elif re.fullmatch(r"\d+", word):
            targets.append(int(word))
        elif word:
            raise UnusablePhotoError(f"the CSV has the target {word!r}; it must be whole years or 'today'")
    outside = [target for target in targets if not 0 <= target <= OLDEST]
    if outside:
        raise UnusablePhotoError(
            f"the CSV leads to the target age {outside[0]}; it must be from 0 to {OLDEST}"
        )
    return Facts(
        age=age,
        gender=GENDERS.get(gender),
        targets=tuple(sorted(set(targets))) or None,
        face=face,
    )


def _cell(row: Mapping[str, str], name: str, read: Callable[[str], Read], form: str) -> Read | None:
    """What a cell says, or None where it is empty."""
    text = row.get(name)
    try:
        return read(text) if text else None
    except ValueError as error:
        raise UnusablePhotoError(f"the CSV says {name} {text!r}: write {form}") from error


def _decode(raw: bytes, path: Path) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = raw.decode("cp949")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is neither UTF-8 nor CP949 text; save it as 'CSV UTF-8'") from error
    logger.warning("%s is not UTF-8; it was read as CP949, as Korean Excel saves it", path)
    return text


def read_people(path: Path, columns: Sequence[str] = COLUMNS) -> list[dict[str, str]]:
    """Lines of the CSV: column name in small letters -> text, stripped.

    The separator is the one of comma, semicolon and tab that the header uses most.

    Args:
        path: The file.
        columns: Those that are used; `file` must be there.

    Raises:
        ConfigurationError: The file cannot be read, or has no column `file`, or no line; or a column seems
            to mean one of those that are used, under another name.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    return parse_people(content, path, columns)


def parse_people(content: bytes, path: Path, columns: Sequence[str] = COLUMNS) -> list[dict[str, str]]:
    """Lines of the CSV as `read_people` gives them, from its content; `path` is for messages.

    Raises:
        ConfigurationError: See `read_people`.
    """
    if content.startswith(WORKBOOKS):
        raise ConfigurationError(
            f"{path} is a workbook of Excel, whatever its name says: save it as 'CSV UTF-8 (comma delimited)'"
        )
    try:
        text = _decode(content, path)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    lines = text.splitlines(keepends=True)
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True, restkey=TOO_MANY, restval="")
    try:
        header = [name.strip().lower() for name in reader.fieldnames or []]
        reader.fieldnames = header
        rows = list(reader)
    except csv.Error as error:
        raise ConfigurationError(f"{path} is not a CSV file: {error}") from error
    unknown = [name for name in header if name and name not in columns]
    _refuse_misspelt(unknown, header, path, columns)
    if "file" not in header:
        raise ConfigurationError(
            f"{path} has no column 'file'; its first line must name {', '.join(columns)}"
        )
    if unknown:
        logger.warning("%s: the columns %s are not used; known are %s", path, unknown, ", ".join(columns))
    people = [
        {
            name: "".join(cell).strip() if isinstance(cell, list) else cell.strip()
            for name, cell in row.items()
        }
        for row in rows
    ]
    people = [row for row in people if any(row.values())]
    if not people:
        raise ConfigurationError(f"{path} names no photograph: it has no line under the header")
    return people


def _refuse_misspelt(
    unknown: Sequence[str], header: Sequence[str], path: Path, columns: Sequence[str]
) -> None:
    """What a column says must not be lost because of its name.

    Raises:
        ConfigurationError: An unknown column seems to mean one that is used and not there.
    """
    free = [name for name in columns if name not in header]
    words = []
    for name in unknown:
        near = [MEANT[name]] if MEANT.get(name) in free else get_close_matches(name, free, n=1, cutoff=0.7)
        if near:
            words.append(f"{name!r} (do you mean {near[0]!r}?)")
    if words:
        raise ConfigurationError(
            f"{path}: unknown columns {', '.join(words)}. The first line may name {', '.join(columns)}: "
            "rename the column, or take it out"
        )
