"""The one interface of labelled collections: a source yields labelled photographs, and rejections."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from faceforward.atomic import write_atomically
from faceforward.datamodules.people import GENDERS
from faceforward.datamodules.stored_files import Rejection, StoredFile
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import safe_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from faceforward.records import Gender

logger = logging.getLogger(__name__)

Given = Literal["train", "held-out", "val", "test"]
Point = tuple[float, float]
OLDEST = 120  # years; nobody in a collection is older
LONGEST_NAME = 150  # bytes; file systems take 255, or 143, and a file that is being written has a longer name
WHOLE_NUMBER = re.compile(r"(\d{1,18})(?:\.0*)?")
REJECTED = "rejected.csv"
PADDING = (
    "padding"  # folder beside aligned crops, with grey pictures that are white where there is no photograph
)
DISPUTED = "duplicate: another label says otherwise of the same photograph, so that none of them is believed"


@dataclass(frozen=True)
class LabelledPhoto:
    """A photograph of a collection and what its label says.

    Attributes:
        name: Unique in the collection whatever the letter case, safe as a file name, without suffix.
        file: Where its bytes are.
        age: Age in the photograph, years.
        identity: The person, or the photograph's own name where persons are unknown.
        gender: Or None.
        landmarks: Five points in the order of `records.Detection`, or None.
        box: Face box `(x0, y0, x1, y1)`, or None.
        frame: Width and height of the picture that points and box were labelled on; None: the picture's own.
        device: How it was taken, in small letters, or None.
        given: The split that the collection itself gives; `held-out` is val or test, as the person's hash
            decides; None leaves all to the hash.
        padding: Grey picture of an aligned crop, white where there is no photograph; None: nowhere.
    """

    name: str
    file: StoredFile
    age: int
    identity: str
    gender: Gender | None = None
    landmarks: tuple[Point, ...] | None = None
    box: tuple[float, float, float, float] | None = None
    frame: tuple[int, int] | None = None
    device: str | None = None
    given: Given | None = None
    padding: StoredFile | None = None

    @property
    def key(self) -> str:
        """What tells whether photograph and crop are still the same: name, content, points, padding."""
        parts = [self.name, self.file.size, self.file.stamp, self.landmarks, self.frame]
        if self.padding is not None:
            parts += [self.padding.size, self.padding.stamp]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


class Source(Protocol):
    """A labelled collection.

    Attributes:
        name: What the index of `faceforward prepare` calls it.
    """

    name: str

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """Every photograph with a usable label, and everything that is not usable, in a fixed order.

        No picture is decoded.

        Raises:
            ConfigurationError: There is no such collection.
        """
        ...


class Collection(NamedTuple):
    """What a source holds.

    Attributes:
        photos: By name.
        rejected: In the source's order.
    """

    photos: list[LabelledPhoto]
    rejected: list[Rejection]


def collect(items: Iterator[LabelledPhoto | Rejection], where: str) -> Collection:
    """Read a source to its end; of several photographs with one name the first stays.

    Labels that say different things of the same photograph are none of them believed.

    Args:
        items: What `Source.read` yields.
        where: The collection, for messages.

    Raises:
        ConfigurationError: No photograph can be used.
    """
    read = list(items)
    said: defaultdict[tuple[object, ...], set[tuple[object, ...]]] = defaultdict(set)
    for item in read:
        if isinstance(item, LabelledPhoto):
            said[_place(item)].add((item.age, item.identity, item.gender, item.given))
    photos: dict[str, LabelledPhoto] = {}
    rejected: list[Rejection] = []
    for item in read:
        if isinstance(item, Rejection):
            rejected.append(item)
            continue
        if len(said[_place(item)]) > 1:
            rejected.append(Rejection(item.file.shown, DISPUTED))
            continue
        first = photos.setdefault(item.name.casefold(), item)
        if first is not item:
            rejected.append(
                Rejection(item.file.shown, f"duplicate: {first.file.shown} has the same name and is taken")
            )
    if not photos:
        raise ConfigurationError(
            f"none of the {len(rejected)} files of {where} can be used; {_examples(rejected)}"
            if rejected
            else f"{where} names no photograph"
        )
    return Collection(sorted(photos.values(), key=lambda photo: photo.name), rejected)


def _place(photo: LabelledPhoto) -> tuple[object, ...]:
    return photo.file.path, photo.file.member, photo.file.offset


def write_rejected(path: Path, rejected: Sequence[Rejection], of: int) -> None:
    """Write `rejected.csv` (`file,reason`) atomically and say how many there are.

    Args:
        path: The file; its folder is made if need be. It is written even when nothing was rejected.
        rejected: What cannot be used.
        of: Photographs that can be used.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([Rejection._fields, *rejected])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue())
    if rejected:
        logger.warning(
            "%d photographs are usable, %d files are not (see %s); %s",
            of,
            len(rejected),
            path,
            _examples(rejected),
        )
    else:
        logger.info("all %d photographs are usable", of)


def _examples(rejected: Sequence[Rejection], count: int = 3) -> str:
    shown = "; ".join(f"{file}: {reason}" for file, reason in rejected[:count])
    return f"the first: {shown}"


def name_of(text: str) -> str:
    """The name of a photograph, safe as that of a file, from what its label calls it.

    Raises:
        UnusablePhotoError: It is none, or too long for a file's.
    """
    name = safe_id(text)
    if not name.strip("."):
        raise UnusablePhotoError(f"no file name: {text!r}")
    length = len(name.encode())
    if length > LONGEST_NAME:
        raise UnusablePhotoError(
            f"the name {name[:20]}... is too long: {length} bytes of UTF-8, {LONGEST_NAME} is the most"
        )
    return name


def whole_number(text: str) -> int | None:
    """The whole number that a person's id is, None if it is other text; spreadsheets turn 0895 into 895.0."""
    match = WHOLE_NUMBER.fullmatch(text)
    return int(match[1]) if match else None


def years_of(value: object) -> int:
    """A number of years, in whole ones.

    Args:
        value: Number or text.

    Raises:
        UnusablePhotoError: It is neither.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError(value)
        return math.floor(float(value))
    except (ValueError, OverflowError) as error:
        raise UnusablePhotoError(f"no age: {value!r}") from error


def age_of(value: object) -> int:
    """The age that a label gives, in whole years.

    Args:
        value: Number or text.

    Raises:
        UnusablePhotoError: It is no age, or an impossible one.
    """
    age = years_of(value)
    if not 0 <= age <= OLDEST:
        raise UnusablePhotoError(f"impossible age {age}: it must be from 0 to {OLDEST}")
    return age


def gender_of(value: object) -> Gender | None:
    """The gender that a label gives, None for an empty one.

    Raises:
        UnusablePhotoError: It is another word.
    """
    word = "" if value is None else str(value).strip().lower()
    if word and word not in GENDERS:
        raise UnusablePhotoError(f"unknown gender {word!r}: it must be female, male or empty")
    return GENDERS.get(word)


def given_split(value: object) -> Given | None:
    """The split that a label names: train, val, test or nothing.

    Raises:
        UnusablePhotoError: It is another word.
    """
    word = "" if value is None else str(value).strip().lower()
    names: dict[str, Given | None] = {
        "": None,
        **dict.fromkeys(("train", "training"), "train"),
        **dict.fromkeys(("val", "valid", "validation"), "val"),
        **dict.fromkeys(("test", "testing"), "test"),
    }
    if word not in names:
        raise UnusablePhotoError(f"unknown split {word!r}: it must be train, val, test or empty")
    return names[word]
