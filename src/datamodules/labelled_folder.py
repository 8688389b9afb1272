"""Folders of photographs with ages: FADING's form, a CSV, and what `faceforward prepare` writes."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.datamodules.aged_faces import AgedFaces
from faceforward.datamodules.face_crops import Cut
from faceforward.datamodules.index import INDEX, read_index
from faceforward.datamodules.people import read_people
from faceforward.datamodules.sources import (
    LabelledPhoto,
    age_of,
    gender_of,
    given_split,
    name_of,
    whole_number,
)
from faceforward.datamodules.stored_files import Rejection, stored
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

logger = logging.getLogger(__name__)

AGES = "training_ages.npy"
IMAGES = "training_images"
CSV = "labels.csv"
COLUMNS = ("file", "age", "gender", "identity", "split")


class FolderSource:
    """Reads the labels of a folder, in the first of these forms that it has.

    - `index.parquet` and `training_images/`, as `faceforward prepare` writes them;
    - `training_ages.npy` and `training_images/`, FADING's form: text `[[name, age], ...]`. Nothing is known
      about persons: each photograph counts as a person of its own, so that one person may be in two splits;
    - `labels.csv`: `file, age` and, if known, `gender, identity, split` (train, val, test); files are
      relative to it. Without `identity` the same holds; 895, 0895 and 895.0 are one person.

    Args:
        root: The folder, or the CSV file itself.
    """

    name = "folder"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `Source.read`.

        Raises:
            ConfigurationError: There is no such folder, or no labels in a form that is known.
        """
        root = self.root
        if not root.exists():
            raise ConfigurationError(
                f"the folder {root} does not exist: give another as --data.init_args.root"
            )
        if root.is_file():
            yield from _photos(read_people(root, COLUMNS), root.parent)
        elif (root / INDEX).is_file():
            rows = read_index(root / INDEX, ("name", *COLUMNS[1:]))
            rows = [{**row, "file": row["name"]} for row in rows]
            yield from _with_unlabelled(rows, root / IMAGES)
        elif (root / AGES).is_file():
            yield from _with_unlabelled(read_ages(root / AGES), root / IMAGES)
        elif (root / CSV).is_file():
            yield from _photos(read_people(root / CSV, COLUMNS), root)
        else:
            raise ConfigurationError(
                f"there are no labels in {root}: it needs {AGES} beside {IMAGES}/, or {CSV} with "
                f"{', '.join(COLUMNS)}, or what `faceforward prepare` wrote"
            )


def read_ages(path: Path) -> list[dict[str, Any]]:
    """Rows of FADING's array of names and ages.

    Raises:
        ConfigurationError: It is no array of texts `[[name, age], ...]`.
    """
    try:
        array = np.load(path, allow_pickle=False)
        if isinstance(array, np.ndarray) and array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8")
    except (OSError, ValueError, EOFError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error}); pickled objects may run code and are not opened: save the "
            "labels as text, numpy.save(path, numpy.array(rows, dtype=str))"
        ) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind != "U":
        raise ConfigurationError(
            f"{path} is no array of texts [[name, age], ...], such as [['00007.jpg', '1']]"
        )
    width = array.dtype.itemsize // 4
    return [
        {"file": str(name), "age": str(age), "cut": len(name) == width and not PurePosixPath(name).suffix}
        for name, age in array
    ]


def _photos(rows: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[LabelledPhoto | Rejection]:
    for row in _one_form(rows):
        shown = str(row["file"])
        try:
            yield _photo(row, folder)
        except UnusablePhotoError as error:
            cut = (
                " The name has been cut off: the array's text is too narrow for it." if row.get("cut") else ""
            )
            yield Rejection(shown, f"{error}{cut}")


def _one_form(rows: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows in which a person whose number is written in several ways has the most usual of them."""
    forms: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for row in rows:
        person = str(row.get("identity") or "")
        number = whole_number(person)
        if number is not None:
            forms[number][person] += 1
    usual = {
        form: max(sorted(counts), key=counts.__getitem__) for counts in forms.values() for form in counts
    }
    for row in rows:
        person = str(row.get("identity") or "")
        yield {**row, "identity": usual.get(person, person)}


def _photo(row: Mapping[str, Any], folder: Path) -> LabelledPhoto:
    shown = str(row["file"])
    if not shown:
        raise UnusablePhotoError("the line names no file")
    file = stored(folder / shown, shown)
    path = PurePosixPath(shown.replace("\\", "/"))
    name = name_of(str(path.parent / path.stem))
    return LabelledPhoto(
        name=name,
        file=file,
        age=age_of(row["age"] if row.get("age") is not None else ""),
        identity=str(row.get("identity") or name),
        gender=gender_of(row.get("gender")),
        given=given_split(row.get("split")),
    )


def _with_unlabelled(rows: list[dict[str, Any]], folder: Path) -> Iterator[LabelledPhoto | Rejection]:
    """Labels of a folder that should hold nothing else."""
    yield from _photos(rows, folder)
    named = {str(row["file"]) for row in rows}
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.name not in named and not path.name.startswith("."):
            yield Rejection(path.name, "there is no label for this picture")


class LabelledFolder(AgedFaces):
    """Latents of a folder of photographs, for the diffusion model; see `AgedFaces` for batches and arguments.

    Args:
        root: Folder or CSV; see `FolderSource`.
        vae: See `AgedFaces`.
        alignment: `none` takes the pictures for aligned crops, as FADING's and `faceforward prepare`'s are.
        kwargs: See `AgedFaces`.
    """

    def __init__(self, root: str, vae: str, *, alignment: Cut = "none", **kwargs: Any) -> None:
        super().__init__(root, vae, alignment=alignment, **kwargs)

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `FolderSource`."""
        return FolderSource(self.root).read()
