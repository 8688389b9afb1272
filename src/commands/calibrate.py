"""`faceforward evaluate --calibrate`: how far the readers of age are off on real photographs, as a table."""

from __future__ import annotations

import json
import logging
import shlex
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from faceforward.atomic import write_atomically
from faceforward.datamodules.face_crops import CropMaker, Cut
from faceforward.datamodules.labelled_folder import FolderSource
from faceforward.datamodules.sources import LabelledPhoto, collect
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.metrics.calibration import Calibration, buckets, calibrate
from faceforward.pretrained import folder_of, sha256_of
from faceforward.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from faceforward.faces.age import AgeEstimator

logger = logging.getLogger(__name__)

SIDE = 512  # of crops that a detector cuts out, pixels
AT_ONCE = 32  # photographs that are in memory together


def hashes(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Network's name -> file -> SHA-256, of those that the registry knows.

    Args:
        names: Of readers, embedders, meshes.
    """
    found = {}
    for name in names:
        folder = folder_of(REGISTRY[name]) if name in REGISTRY else None
        if folder is not None:
            files = [file for file in REGISTRY[name].files if (folder / file).is_file()]
            found[name] = {file: sha256_of(folder / file) for file in files}
    return found


def draw(photos: Sequence[LabelledPhoto], most: int, *, seed: int = 0) -> list[LabelledPhoto]:
    """At most so many photographs for each age of the table, in the collection's order.

    Args:
        photos: To draw from.
        most: For each age.
        seed: Of the draw.
    """
    places = buckets([photo.age for photo in photos])
    kept: list[int] = []
    for bucket in np.unique(places[places >= 0]):
        here = np.flatnonzero(places == bucket)
        kept += np.random.default_rng([seed, int(bucket)]).permutation(here)[:most].tolist()
    return [photos[place] for place in sorted(kept)]


def measure_readers(
    photos: Sequence[LabelledPhoto], readers: Sequence[AgeEstimator], alignment: Cut
) -> tuple[dict[str, list[float]], list[LabelledPhoto]]:
    """Readings of real photographs, a few in memory at a time.

    Args:
        photos: With their ages.
        readers: Read ages.
        alignment: `none` for aligned crops; see `CropMaker`.

    Returns:
        Reader's name -> years, and the photographs that could be read, in the same order.
    """
    maker = CropMaker(SIDE, alignment)
    read: defaultdict[str, list[float]] = defaultdict(list)
    used: list[LabelledPhoto] = []
    for start in tqdm(range(0, len(photos), AT_ONCE), desc="photographs"):
        crops = []
        for photo in photos[start : start + AT_ONCE]:
            try:
                crops.append(maker(photo).pixels)
            except UnusablePhotoError as error:
                logger.warning("%s is left out: %s", photo.file.shown, error)
                continue
            used.append(photo)
        for reader in readers:
            read[reader.name] += [estimate.years for estimate in reader.estimate(crops)]
    return dict(read), used


def write_calibration(
    root: Path,
    output: Path,
    readers: Sequence[AgeEstimator],
    *,
    photos: int = 250,
    split: str | None = None,
    alignment: Cut = "none",
    source: str | None = None,
) -> Calibration:
    """Measure the readers on a labelled folder and write the table: numbers only, no picture, no name.

    Args:
        root: See `FolderSource`.
        output: The JSON file.
        readers: Read ages.
        photos: At most so many for each age of the table.
        split: Only photographs that the collection gives to this split; None takes all.
        alignment: See `measure_readers`.
        source: What the photographs are, in words; None says the folder's name.

    Raises:
        ConfigurationError: The folder cannot be used, or has too few photographs of every age.
        OSError: The table cannot be written.
    """
    if not output.parent.is_dir():
        raise ConfigurationError(f"there is no folder {output.parent} for the table {output.name}: make it")
    found, rejected = collect(FolderSource(root).read(), str(root))
    chosen = draw([photo for photo in found if split in (None, photo.given)], photos)
    if not chosen:
        raise ConfigurationError(f"{root} has no photograph with an age in split {split}: give another")
    read, used = measure_readers(chosen, readers, alignment)
    logger.info("%d photographs read, %d not usable", len(used), len(chosen) - len(used) + len(rejected))
    options = ["--calibrate", root.name, "--photos", str(photos), "--alignment", alignment]
    options += ["--split", split] if split else []
    table = calibrate(
        read,
        [photo.age for photo in used],
        [photo.identity for photo in used],
        source=source or f"{len(used)} photographs of {root.name}",
        command=f"faceforward evaluate {shlex.join(options)}",
        networks=hashes(reader.name for reader in readers),
    )
    write_atomically(output, json.dumps(table.as_json(), indent=1) + "\n")
    return table
