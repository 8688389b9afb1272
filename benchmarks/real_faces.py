"""Samples of real photographs with known ages, for the benchmarks."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from faceforward.datamodules.aihub import AIHubSource
from faceforward.datamodules.aligned_faces import LabelledFace, read_labels
from faceforward.datamodules.sources import LabelledPhoto
from faceforward.errors import ConfigurationError
from faceforward.faces.reading import read_photo
from faceforward.records import Detection, Photo

__all__ = [
    "ARCHIVE",
    "AlignedCropDetector",
    "LabelledFace",
    "aihub",
    "aihub_photo",
    "evenly",
    "pictures",
    "sample",
]

ARCHIVE = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "faces-128.zip"
AIHUB = ARCHIVE.with_name("aihub-sample")


def sample(
    archive: Path, split: str, ages: Sequence[range], count: int, *, seed: int = 0
) -> list[list[LabelledFace]]:
    """Draw up to `count` photographs for each range of ages, without repetition."""
    labels = [label for label in read_labels(archive) if split in (label.split, "all")]
    drawn = []
    for span in ages:
        fitting = [label for label in labels if label.age in span]
        order = np.random.default_rng([seed, span.start]).permutation(len(fitting))[:count]
        drawn.append([fitting[index] for index in order])
    return drawn


def evenly(archive: Path, split: str, count: int | None = None) -> list[LabelledFace]:
    """Photographs of a split, spread evenly over it; all of them where no count is given."""
    labels = [label for label in read_labels(archive) if label.split == split]
    places = np.linspace(0, len(labels) - 1, len(labels) if count is None else count)
    return [labels[place] for place in places.round().astype(int)]


def pictures(archive: Path, labels: Sequence[LabelledFace]) -> list[np.ndarray]:
    """Decode photographs: `(128, 128, 3)` uint8 RGB each."""
    with zipfile.ZipFile(archive) as opened:
        return [
            np.asarray(Image.open(io.BytesIO(opened.read(label.file))).convert("RGB")) for label in labels
        ]


class AlignedCropDetector:
    """Takes a picture for what it is: a crop that was aligned like FFHQ before.

    `alignment_of` these landmarks is the whole picture, so a crop of the archive is not aligned twice.
    """

    name = "aligned-crop"

    def detect(self, image: np.ndarray) -> list[Detection]:
        """One face, `image` being a square `(S, S, 3)` uint8 RGB crop."""
        across, down = 1 / 4, 1 / 3.6  # twice and 1.8 times of which are half a side
        eyes = 0.5 - 0.1 * down
        x, y = 0.5 + across * np.array([-0.5, 0.5, 0, -0.4, 0.4]), eyes + down * np.array([0, 0, 0.6, 1, 1])
        landmarks = np.stack([x, y], axis=1) * len(image) - 0.5
        box = np.array([0.22, 0.25, 0.78, 0.9]) * len(image)
        return [Detection(tuple(box.tolist()), landmarks, 1.0)]


def aihub(count: int | None = None, root: Path = AIHUB) -> list[LabelledPhoto]:
    """Original photographs as AI Hub delivers them, spread evenly; of the sample the model has seen most.

    Raises:
        ConfigurationError: There are none in the folder.
    """
    found = AIHubSource(root).read()
    photos = sorted((each for each in found if isinstance(each, LabelledPhoto)), key=lambda each: each.name)
    if not photos:
        raise ConfigurationError(f"{root} has no photographs in AI Hub's form")
    places = np.linspace(0, len(photos) - 1, len(photos) if count is None else count)
    return [photos[place] for place in places.round().astype(int)]


def aihub_photo(labelled: LabelledPhoto, targets: tuple[int, ...]) -> Photo:
    """One of them, with what is known of it."""
    photo = read_photo(Path(labelled.file.path))
    return replace(photo, age=float(labelled.age), gender=labelled.gender, targets=targets)
