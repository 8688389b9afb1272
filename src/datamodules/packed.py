"""Aligned crops in one zip: JPEGs, `labels.csv`, and where a crop is no photograph."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceforward.atomic import atomic_file
from faceforward.datamodules.people import parse_people
from faceforward.datamodules.sources import PADDING
from faceforward.datamodules.stored_files import StoredFile, walk
from faceforward.errors import ConfigurationError, UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Sequence

LABELS = "labels.csv"
COLUMNS = ("file", "age", "gender", "identity", "split")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal contents make equal zips


def pack(archive: Path, rows: Sequence[dict[str, Any]], images: Path, padding: Path) -> None:
    """Write crops, their padding and their labels into one zip, which `FolderSource` reads.

    Args:
        archive: The zip; it appears complete or not at all.
        rows: `name` (of the file in `images`), `age`, `gender`, `identity` and `split` of each crop.
        images: Folder of the crops.
        padding: Folder of grey PNGs; see `LabelledPhoto.padding`.

    Raises:
        OSError: A file cannot be read, or the zip cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "file": row["name"]} for row in rows)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(archive) as temporary, zipfile.ZipFile(temporary, "w") as opened:
        opened.writestr(zipfile.ZipInfo(LABELS, EPOCH), text.getvalue())
        for row in rows:
            mask = padding / Path(row["name"]).with_suffix(".png").name
            opened.writestr(zipfile.ZipInfo(row["name"], EPOCH), (images / row["name"]).read_bytes())
            if mask.is_file():
                opened.writestr(zipfile.ZipInfo(f"{PADDING}/{mask.name}", EPOCH), mask.read_bytes())


def unpack_labels(archive: Path) -> tuple[list[dict[str, str]], dict[str, StoredFile]]:
    """The lines of `labels.csv`, and every file of the zip by its name in it.

    Raises:
        ConfigurationError: It is not a zip with `labels.csv` at its top.
    """
    found = [file for file in walk(archive) if isinstance(file, StoredFile)]
    files = {file.shown.removeprefix(f"{archive.name}/"): file for file in found}
    if LABELS not in files:
        raise ConfigurationError(
            f"{archive} has no {LABELS} at its top ({', '.join(COLUMNS[:2])} and, if known, "
            f"{', '.join(COLUMNS[2:])}): pack it anew, or give a folder"
        )
    try:
        content = files[LABELS].read()
    except UnusablePhotoError as error:
        raise ConfigurationError(f"{archive}: {LABELS} cannot be read: {error}") from error
    return parse_people(content, archive / LABELS, COLUMNS), files
