"""Folders of photographs with ages: FADING's form, a CSV, and what `faceforward prepare` writes."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.datamodules.aged_faces import AgedFaces
from faceforward.datamodules.face_crops import Cut
from faceforward.datamodules.index import INDEX, read_index
from faceforward.datamodules.packed import COLUMNS, LABELS, unpack_labels
from faceforward.datamodules.people import read_people
from faceforward.datamodules.sources import (
    PADDING,
    LabelledPhoto,
    age_of,
    gender_of,
    given_split,
    name_of,
    whole_number,
)
from faceforward.datamodules.stored_files import Rejection, StoredFile, stored
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

logger = logging.getLogger(__name__)

AGES = "training_ages.npy"
IMAGES = "training_images"
#: Finds a photograph by the name that its label says, and its padding, if it has one.
Finder = Callable[[str], tuple[StoredFile, StoredFile | None]]


class FolderSource:
    """Reads the labels of a folder, in the first of these forms that it has.

    - `index.parquet` and `training_images/`, as `faceforward prepare` writes them;
    - `training_ages.npy` and `training_images/`, FADING's form: text `[[name, age], ...]`. Nothing is known
      about persons: each photograph counts as a person of its own, so that one person may be in two splits;
    - `labels.csv`: `file, age` and, if known, `gender, identity, split` (train, val, test); files are
      relative to it. Without `identity` the same holds; 895, 0895 and 895.0 are one person. It may also be
      the top of one zip with the pictures, which stays packed.

    Of pictures that are aligned crops a folder `padding` may say where they show no photograph: see
    `LabelledPhoto.padding`; `padding/a/b.png` belongs to `a/b.jpg`.

    Args:
        root: The folder, the CSV file itself, or the zip.
    """

    name = "folder"

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """See `Source.read`.

        Raises:
            ConfigurationError: There is no such folder, or no labels in a form that is known.
        """
        root = self.root
        if not root.exists():
            raise ConfigurationError(
                f"the folder or zip {root} does not exist: give another as --data.init_args.root, or as root "
                "of its source in data.init_args.collections"
            )
        if root.is_file() and root.suffix.lower() == ".zip":
            rows, files = unpack_labels(root)
            yield from _photos(rows, partial(_member, files))
        elif root.is_file():
            yield from _photos(read_people(root, COLUMNS), partial(_files, root.parent, root.parent))
        elif (root / INDEX).is_file():
            indexed = read_index(root / INDEX, ("name", *COLUMNS[1:]))
            indexed = [{**row, "file": row["name"]} for row in indexed]
            yield from _with_unlabelled(indexed, root)
        elif (root / AGES).is_file():
            yield from _with_unlabelled(read_ages(root / AGES), root)
        elif (root / LABELS).is_file():
            yield from _photos(read_people(root / LABELS, COLUMNS), partial(_files, root, root))
        else:
            raise ConfigurationError(
                f"there are no labels in {root}: it needs {AGES} beside {IMAGES}/, or {LABELS} with "
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


def _padding_name(shown: str) -> str:
    return str(PurePosixPath(PADDING, shown.replace("\\", "/")).with_suffix(".png"))


def _files(images: Path, root: Path, shown: str) -> tuple[StoredFile, StoredFile | None]:
    """A photograph on disk; a CSV from Windows may separate folders otherwise."""
    if "\\" in shown and not (images / shown).exists():
        shown = shown.replace("\\", "/")
    file, padding = stored(images / shown, shown), root / _padding_name(shown)
    return file, stored(padding, _padding_name(shown)) if padding.is_file() else None


def _member(files: Mapping[str, StoredFile], shown: str) -> tuple[StoredFile, StoredFile | None]:
    """A photograph in a zip."""
    shown = shown if shown in files else shown.replace("\\", "/")
    if shown not in files:
        raise UnusablePhotoError("The zip has no such file.")
    return files[shown], files.get(_padding_name(shown))


def _photos(rows: Sequence[Mapping[str, Any]], find: Finder) -> Iterator[LabelledPhoto | Rejection]:
    for row in _one_form(rows):
        shown = str(row["file"])
        try:
            yield _photo(row, find)
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


def _photo(row: Mapping[str, Any], find: Finder) -> LabelledPhoto:
    shown = str(row["file"])
    if not shown:
        raise UnusablePhotoError("the line names no file")
    file, padding = find(shown)
    path = PurePosixPath(shown.replace("\\", "/"))
    name = name_of(str(path.parent / path.stem))
    return LabelledPhoto(
        name=name,
        file=file,
        age=age_of(row["age"] if row.get("age") is not None else ""),
        identity=str(row.get("identity") or name),
        gender=gender_of(row.get("gender")),
        given=given_split(row.get("split")),
        padding=padding,
    )


def _with_unlabelled(rows: list[dict[str, Any]], root: Path) -> Iterator[LabelledPhoto | Rejection]:
    """Labels of `training_images`, which should hold nothing else."""
    folder = root / IMAGES
    yield from _photos(rows, partial(_files, folder, root))
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
