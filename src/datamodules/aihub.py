"""AI Hub 71415, "face recognition ageing images": the delivered tree as it comes, zipped or unpacked."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.datamodules.aged_faces import AgedFaces
from faceforward.datamodules.face_crops import Cut
from faceforward.datamodules.sources import (
    DISPUTED,
    LabelledPhoto,
    age_of,
    gender_of,
    name_of,
    whole_number,
    years_of,
)
from faceforward.datamodules.stored_files import Rejection, StoredFile, walk
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.detect import ordered_landmarks
from faceforward.faces.reading import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceforward.datamodules.sources import Given, Point

MAX_LABEL = 1_000_000  # bytes; a label has one thousand
ORDER = (1, 2, 0, 3, 4)  # the labels give the nose first; see `records.Detection`
#: "Training", "1.Training", "02_Validation"; or the zips' own names, TS_0001 and VL_0895.
FOLDER = re.compile(r"(?:\d+[ ._-]*)?(training|train|validation|valid|val)")
PREFIX = re.compile(r"([tv])[sl][ _-]?\d.*")


class AIHubSource:
    """Reads the labels of AI Hub 71415.

    Labels and pictures are looked for in the whole tree, on disk and inside zips, which are never unpacked; a
    label finds its picture by the file name, whatever its letter case, suffix and folder. The age is
    `age_past`. People of the Validation folder are held out: their hash puts them into val or test.

    Args:
        root: Folder of the delivery, of any depth, or one zip.
    """

    name = "aihub"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `Source.read`.

        Raises:
            ConfigurationError: There is no such folder, or no label in it.
        """
        if not self.root.exists():
            raise ConfigurationError(
                f"the AI Hub folder {self.root} does not exist: give the folder that holds Training and "
                "Validation as --data.init_args.root"
            )
        labels: list[StoredFile] = []
        pictures: defaultdict[str, list[StoredFile]] = defaultdict(list)
        for found in walk(self.root):
            if isinstance(found, Rejection):
                yield found
            elif found.suffix == ".json":
                labels.append(found)
            elif found.suffix in IMAGE_SUFFIXES:
                pictures[found.stem.casefold()].append(found)
        if not labels:
            raise ConfigurationError(
                f"there is no label (*.json, on disk or in a zip) under {self.root}, but {len(pictures)} "
                "pictures: AI Hub delivers labels as 02.*/TL_0001.zip beside 01.*/TS_0001.zip"
            )
        for copies in pictures.values():
            for copy in copies[1:]:
                yield Rejection(copy.shown, f"duplicate: {copies[0].shown} is the same picture and is taken")
        yield from _matched(labels, {stem: copies[0] for stem, copies in pictures.items()})


def _matched(
    labels: list[StoredFile], pictures: dict[str, StoredFile]
) -> Iterator[LabelledPhoto | Rejection]:
    """Bring labels and pictures together."""
    found: dict[str, tuple[StoredFile, LabelledPhoto]] = {}
    named: set[str] = set()
    disputed: set[str] = set()
    for label in labels:
        named.add(label.stem.casefold())
        try:
            photo = read_label(label)
            key = photo.name.casefold()
            named.add(key)
            if key in found:
                first, other = found[key]
                same = (photo.age, photo.identity, photo.gender) == (other.age, other.identity, other.gender)
                if not same:
                    disputed.add(key)
                raise UnusablePhotoError(
                    f"duplicate: {first.shown} labels the same photograph"
                    + ("" if same else " otherwise, so that none of them is believed")
                )
            found[key] = label, photo
            picture = pictures.get(key) or pictures.get(label.stem.casefold())
            if picture is None:
                raise UnusablePhotoError(f"there is no picture {photo.name} (.png, .jpg ...)")
        except UnusablePhotoError as error:
            yield Rejection(label.shown, str(error))
    for key, (label, photo) in found.items():
        picture = pictures.get(key) or pictures.get(label.stem.casefold())
        if key in disputed:
            yield Rejection(label.shown, DISPUTED)
        elif picture is not None:
            given = photo.given or _given(picture)
            yield dataclasses.replace(photo, file=picture, given=given)
    for stem, picture in pictures.items():
        if stem not in named:
            yield Rejection(picture.shown, "there is no label for this picture")


def read_label(file: StoredFile) -> LabelledPhoto:
    """Read one label; its picture is not known yet, `file` of the result is the label itself.

    Raises:
        UnusablePhotoError: It is no label, or lacks what training needs.
    """
    try:
        label = json.loads(file.read(MAX_LABEL).decode("utf-8-sig"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UnusablePhotoError(f"the label is not JSON: {error}") from error
    if not isinstance(label, dict) or "filename" not in label or "age_past" not in label:
        raise UnusablePhotoError("this is no label of AI Hub 71415: it lacks filename or age_past")
    name = _name(label["filename"])
    identity = _identity(label.get("id")) or _identity(name.partition("_")[0])
    landmarks, box = _face(label.get("annotation"))
    frame = _frame(label, landmarks)
    device = str(label.get("device") or "").strip().lower()
    age, now = age_of(label["age_past"]), _now(label.get("age_now"))
    if now is not None and age > now + 1:  # one year: ages are counted in two ways in Korea
        raise UnusablePhotoError(f"impossible age {age}: the person is {now} now")
    return LabelledPhoto(
        name=name,
        file=file,
        age=age,
        identity=identity,
        gender=gender_of(label.get("gender")),
        landmarks=landmarks,
        box=box,
        frame=frame,
        device=device or None,
        given=_given(file),
    )


def _name(filename: object) -> str:
    """Name of the photograph, without folders and suffix."""
    if not isinstance(filename, str):
        raise UnusablePhotoError(f"no file name: {filename!r}")
    name = PurePosixPath(filename.strip().replace("\\", "/")).name
    if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:  # one person's labels carry the suffix
        name = PurePosixPath(name).stem
    return name_of(name)


def _identity(person: object) -> str:
    """The person as the zips' names have it: 895, 895.0, "895" and "00895" are all 0895; "" if unknown."""
    if isinstance(person, float) and person.is_integer():
        person = int(person)
    if isinstance(person, bool) or not isinstance(person, int | str | None):
        raise UnusablePhotoError(f"the label's id is neither a whole number nor text: {person!r}")
    text = "" if person is None else str(person).strip()
    number = whole_number(text)
    return text and (text if number is None else str(number)).zfill(4)


def _now(value: object) -> int | None:
    """The person's age today, which is not needed."""
    try:
        return years_of(value)
    except UnusablePhotoError:
        return None


def _face(annotation: Any) -> tuple[tuple[Point, ...], tuple[float, float, float, float] | None]:
    """Landmarks in our order, and the box, of the first annotation."""
    first = annotation[0] if isinstance(annotation, list) and annotation else annotation
    if not isinstance(first, dict) or not first.get("landmark"):
        raise UnusablePhotoError("the label has no landmarks")
    try:
        points = np.array(first["landmark"], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnusablePhotoError("the label's landmarks are no numbers") from error
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise UnusablePhotoError("the label's landmarks are not five points")
    points = ordered_landmarks(points[list(ORDER)])
    eyes, mouth = points[:2], points[3:]
    if min(np.hypot(*(eyes[1] - eyes[0])), np.hypot(*(mouth.mean(axis=0) - eyes.mean(axis=0)))) < 1:
        raise UnusablePhotoError("the label's landmarks lie on one another")
    landmarks = tuple((float(x), float(y)) for x, y in points)
    try:
        x, y, width, height = (float(first["box"][key]) for key in ("x", "y", "w", "h"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return landmarks, None  # the box is not needed for the crop
    good = all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0
    return landmarks, (x, y, x + width, y + height) if good else None


def _frame(label: dict[str, Any], landmarks: tuple[Point, ...]) -> tuple[int, int] | None:
    """Width and height of the labelled picture, None where the label has neither."""
    if label.get("width") is None and label.get("height") is None:
        return None
    try:
        width, height = int(label["width"]), int(label["height"])
        if width < 1 or height < 1:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UnusablePhotoError(
            f"wrong size: the label says {label.get('width')!r} x {label.get('height')!r}"
        ) from error
    x, y = np.mean(landmarks, axis=0)
    if not (0 <= x <= width and 0 <= y <= height):
        raise UnusablePhotoError(f"the landmarks lie outside the picture of {width} x {height}")
    return width, height


def _given(file: StoredFile) -> Given | None:
    """The split that a path names, the part nearest to the file first."""
    for part in reversed(PurePosixPath(file.shown.lower()).parts):
        match = FOLDER.fullmatch(part) or PREFIX.fullmatch(part)
        if match:
            return "train" if match[1].startswith("t") else "held-out"
    return None


class AIHubAging(AgedFaces):
    """Latents of AI Hub 71415, for the diffusion model; see `AgedFaces` for batches and further arguments.

    Args:
        root: Folder of the delivery, of any depth: zips unopened or unpacked.
        vae: See `AgedFaces`.
        alignment: `ffhq` takes the labels' landmarks.
        kwargs: See `AgedFaces`.
    """

    def __init__(self, root: str, vae: str, *, alignment: Cut = "ffhq", **kwargs: Any) -> None:
        super().__init__(root, vae, alignment=alignment, **kwargs)

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `AIHubSource`."""
        return AIHubSource(self.root).read()
