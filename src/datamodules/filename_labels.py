"""Public collections by which papers are compared: FFHQ-Aging's label file and UTKFace's file names."""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from faceforward.datamodules.aged_faces import AgedFaces
from faceforward.datamodules.face_crops import Cut
from faceforward.datamodules.sources import LabelledPhoto, age_of, gender_of, name_of
from faceforward.datamodules.stored_files import Rejection, StoredFile, walk
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceforward.datamodules.sources import Given

logger = logging.getLogger(__name__)

#: Age, gender, a guessed origin, which is never read, and the date.
UTK_NAME = re.compile(r"(\d+)_([01])_[0-4]_(\d+)(\.jpg)?(\.chip)?")
ORIGIN = re.compile(r"(?<![^/])(\d+_[01]_)[0-4](?=_)")
FFHQ_LABELS = "ffhq_aging_labels.csv"
FFHQ_COLUMNS = ("image_number", "age_group", "age_group_confidence", "gender")
OLDEST_GROUP, OLDEST_GROUP_AGE = 70, 75
VAL_FROM, TEST_FROM = 68_000, 69_000  # FFHQ-Aging's own test photographs are the last thousand


def _files(root: Path, what: str) -> list[StoredFile | Rejection]:
    if not root.exists():
        raise ConfigurationError(
            f"the {what} folder {root} does not exist: give another as --data.init_args.root"
        )
    return list(walk(root))


class UTKFaceSource:
    """Reads UTKFace (Zhang et al., CVPR 2017): `[age]_[gender]_[race]_[date].jpg.chip.jpg`, gender 0 is male.

    The third number, a guessed origin, is never read and enters no name, list or index. A few names lack a
    part and are rejected. Persons are not known: each photograph counts as one.

    Args:
        root: Folder or zip, of any depth.
        test_every: Of all file names in sorted order, the first and every so many-th after it are the test
            split (`files[::10]`), good or bad; None leaves all to the hash.

    Raises:
        ConfigurationError: `test_every` is below 2.
    """

    name = "utkface"

    def __init__(self, root: str | Path, *, test_every: int | None = 10) -> None:
        if test_every is not None and test_every < 2:
            raise ConfigurationError(f"test_every is {test_every}; give 2 or more, or null for no such split")
        self.root = Path(root)
        self.test_every = test_every

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `Source.read`.

        Raises:
            ConfigurationError: There is no such folder, or no picture in it.
        """
        pictures: list[StoredFile] = []
        for file in _files(self.root, "UTKFace"):
            if isinstance(file, Rejection):
                yield file
            elif file.suffix in IMAGE_SUFFIXES:
                pictures.append(file)
        if not pictures:
            raise ConfigurationError(
                f"there is no picture under {self.root}: UTKFace is a folder of .jpg files"
            )
        names = sorted(PurePosixPath(file.shown).name for file in pictures)
        test = set(names[:: self.test_every]) if self.test_every else set()
        for file in pictures:
            yield _utk_photo(file, "test" if PurePosixPath(file.shown).name in test else None)


def _utk_photo(file: StoredFile, given: Given | None) -> LabelledPhoto | Rejection:
    match = UTK_NAME.fullmatch(file.stem.lower())
    file = dataclasses.replace(file, shown=ORIGIN.sub(r"\1x", file.shown))
    if match is None:
        return Rejection(file.shown, "the name is not [age]_[gender]_[race]_[date].jpg")
    try:
        age, name = age_of(match[1]), name_of("_".join(match.groups()[:3]))
    except UnusablePhotoError as error:
        return Rejection(file.shown, str(error))
    return LabelledPhoto(name, file, age, name, "male" if match[2] == "0" else "female", given=given)


class FFHQAgingSource:
    """Reads FFHQ-Aging (Or-El et al., ECCV 2020): FFHQ's pictures and `ffhq_aging_labels.csv`.

    The labels give groups, not ages. Taken is the middle of the group's years, so that 30-39 counts as 35 (a
    person of that group is between 30.0 and 40.0): 0-2 as 1, 3-6 as 5, 7-9 as 8, 10-14 as 12, 15-19 as 17,
    20-29 as 25, 40-49 as 45, 50-69 as 60. The open group 70-120 counts as 75. Pictures from 69000 on
    are test, as in FFHQ-Aging, the thousand before them val. Persons are not known: each photograph
    counts as one.

    Args:
        root: Folder or zip, of any depth, with the pictures (`00000.png` ...) and the labels.
        min_confidence: Least confidence of the age group; the paper trains on those above 0.6.
    """

    name = "ffhq-aging"

    def __init__(self, root: str | Path, *, min_confidence: float = 0.0) -> None:
        self.root = Path(root)
        self.min_confidence = min_confidence

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `Source.read`.

        Raises:
            ConfigurationError: There is no such folder, or no labels of this form in it.
        """
        labels: StoredFile | None = None
        pictures: dict[int, StoredFile] = {}
        for file in _files(self.root, "FFHQ-Aging"):
            if isinstance(file, Rejection):
                yield file
            elif PurePosixPath(file.shown).name == FFHQ_LABELS:
                labels = labels or file
            elif file.suffix not in IMAGE_SUFFIXES or _is_map(file):
                continue
            elif re.fullmatch(r"\d{5}", file.stem):
                first = pictures.setdefault(int(file.stem), file)
                if first is not file:
                    yield Rejection(file.shown, f"duplicate: {first.shown} has the same name and is taken")
            else:
                yield Rejection(file.shown, "the name is not that of an FFHQ picture, as 00012.png is")
        if labels is None:
            raise ConfigurationError(
                f"there is no {FFHQ_LABELS} under {self.root}: put it beside the pictures"
            )
        unsure = 0
        labelled: set[int] = set()
        for row in _ffhq_rows(labels):
            shown = row["image_number"]
            try:
                labelled.add(int(shown))
                if float(row["age_group_confidence"]) < self.min_confidence:
                    unsure += 1
                    continue
                yield _ffhq_photo(row, pictures)
            except ValueError:
                yield Rejection(shown, "the line of the labels is no FFHQ-Aging label")
            except UnusablePhotoError as error:
                yield Rejection(shown, str(error))
        for number, file in pictures.items():
            if number not in labelled:
                yield Rejection(file.shown, "there is no label for this picture")
        if unsure:
            logger.info("%d photographs have an age group less sure than %g", unsure, self.min_confidence)


def _is_map(file: StoredFile) -> bool:
    """Whether this is a semantic map, which lies beside the pictures under the same name."""
    return any("pars" in part for part in PurePosixPath(file.shown.lower()).parts[:-1])


def _ffhq_rows(labels: StoredFile) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(io.StringIO(labels.read().decode("utf-8-sig"), newline=""), restval=""))
    except (UnusablePhotoError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{labels.shown} cannot be read: {error}") from error
    if not rows or not set(FFHQ_COLUMNS) <= rows[0].keys():
        raise ConfigurationError(f"{labels.shown} lacks one of the columns {', '.join(FFHQ_COLUMNS)}")
    return rows


def _ffhq_photo(row: dict[str, str], pictures: dict[int, StoredFile]) -> LabelledPhoto:
    number = int(row["image_number"])
    low, high = (int(years) for years in row["age_group"].split("-"))
    file = pictures.get(number)
    if file is None:
        raise UnusablePhotoError(f"there is no picture {number:05d}")
    age = OLDEST_GROUP_AGE if low >= OLDEST_GROUP else (low + high + 1) // 2
    given: Given = "test" if number >= TEST_FROM else "val" if number >= VAL_FROM else "train"
    name = f"{number:05d}"
    return LabelledPhoto(name, file, age_of(age), name, gender_of(row["gender"]), given=given)


class UTKFace(AgedFaces):
    """Latents of UTKFace, for the diffusion model; see `AgedFaces` for batches and arguments.

    Args:
        root: See `UTKFaceSource`.
        vae: See `AgedFaces`.
        alignment: `detector` cuts faces out as FFHQ does; UTKFace's own chips (`none`) are tighter.
        test_every: See `UTKFaceSource`.
        kwargs: See `AgedFaces`.
    """

    def __init__(
        self,
        root: str,
        vae: str,
        *,
        alignment: Cut = "detector",
        test_every: int | None = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, vae, alignment=alignment, **kwargs)
        self.test_every = test_every

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `UTKFaceSource`."""
        return UTKFaceSource(self.root, test_every=self.test_every).read()


class FFHQAging(AgedFaces):
    """Latents of FFHQ-Aging, for the diffusion model; see `AgedFaces` for batches and arguments.

    Args:
        root: See `FFHQAgingSource`.
        vae: See `AgedFaces`.
        alignment: `none`: FFHQ's pictures are aligned.
        min_confidence: Least confidence of the age group.
        kwargs: See `AgedFaces`.
    """

    def __init__(
        self, root: str, vae: str, *, alignment: Cut = "none", min_confidence: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(root, vae, alignment=alignment, **kwargs)
        self.min_confidence = min_confidence

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `FFHQAgingSource`."""
        return FFHQAgingSource(self.root, min_confidence=self.min_confidence).read()
