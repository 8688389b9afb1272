"""Samples of real photographs with known ages, for the benchmarks."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from faceforward.datamodules.aligned_faces import LabelledFace, read_labels

ARCHIVE = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "faces-128.zip"


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
