"""Aligned face photographs with ages from one zip: JPEGs and a `labels.csv` beside them."""

from __future__ import annotations

import csv
import io
import logging
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning import LightningDataModule
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.records import Gender

logger = logging.getLogger(__name__)

Split = Literal["train", "val"]


@dataclass(frozen=True)
class LabelledFace:
    """One line of `labels.csv`.

    Attributes:
        file: Name inside the zip.
        age: Years.
        gender: `female` or `male`.
        split: `train` or `val`.
    """

    file: str
    age: int
    gender: Gender
    split: Split


def read_labels(archive: Path, *, exclude: Path | None = None) -> list[LabelledFace]:
    """Read `labels.csv` (`file,age,gender,split`) inside a zip of aligned faces.

    Args:
        archive: The zip.
        exclude: CSV with a column `faces_128_file`: photographs to leave out.

    Raises:
        ConfigurationError: The zip or its labels are missing or not of this form, or `exclude` is not.
    """
    if not archive.is_file():
        raise ConfigurationError(
            f"{archive} does not exist; give the zip of aligned faces as data.init_args.archive"
        )
    left_out = set() if exclude is None else _left_out(exclude)
    try:
        with zipfile.ZipFile(archive) as opened, opened.open("labels.csv") as raw:
            rows = list(csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline="")))
        labels = [LabelledFace(row["file"], int(row["age"]), row["gender"], row["split"]) for row in rows]  # type: ignore[arg-type]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ConfigurationError(
            f"{archive} holds no labels.csv with file,age,gender,split: {error}"
        ) from error
    return [label for label in labels if label.file not in left_out]


def _left_out(listing: Path) -> set[str]:
    try:
        with listing.open(newline="", encoding="utf-8") as stream:
            return {row["faces_128_file"] for row in csv.DictReader(stream)}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise ConfigurationError(
            f"{listing} is no CSV with the column faces_128_file ({error}): give another as "
            "data.init_args.exclude, or null to leave nothing out"
        ) from error


def refuse_empty(archive: Path, split: str, labels: Sequence[LabelledFace]) -> None:
    """See that a split holds photographs.

    Raises:
        ConfigurationError: It holds none.
    """
    if not labels:
        raise ConfigurationError(
            f"{archive} has no photograph of split {split!r}: its labels.csv has to hold train and val, also "
            "without what data.init_args.exclude names"
        )


class AlignedFacesDataset(Dataset):
    """Pictures of one split, decoded when asked for.

    Args:
        archive: The zip; its bytes are read once.
        labels: The lines to serve.
        size: Side that the pictures must have.

    Raises:
        ConfigurationError: The zip lacks a picture that its labels name.
    """

    def __init__(self, archive: Path, labels: Sequence[LabelledFace], size: int) -> None:
        self.labels = list(labels)
        self.size = size
        with zipfile.ZipFile(archive) as opened:
            lacking = sorted({label.file for label in self.labels} - set(opened.namelist()))
            if lacking:
                raise ConfigurationError(
                    f"{archive} lacks {len(lacking)} pictures that its labels.csv names, first {lacking[0]}: "
                    "take the whole archive, or leave them out with data.init_args.exclude"
                )
            self._bytes = [opened.read(label.file) for label in self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, index: int) -> np.ndarray:
        """Picture `index`, `(S, S, 3)` uint8 RGB.

        Raises:
            ConfigurationError: The picture has another size.
        """
        with Image.open(io.BytesIO(self._bytes[index])) as image:
            pixels = np.asarray(image.convert("RGB"))
        if pixels.shape != (self.size, self.size, 3):
            name = self.labels[index].file
            raise ConfigurationError(
                f"{name} is {pixels.shape[1]}x{pixels.shape[0]}, not {self.size}x{self.size}"
            )
        return pixels

    def __getitem__(self, index: int) -> dict[str, Any]:
        label = self.labels[index]
        image = torch.from_numpy(self.pixels(index).copy()).permute(2, 0, 1).float() / 127.5 - 1
        return {"image": image, "age": label.age, "gender": label.gender, "file": label.file}


class AlignedFaces(LightningDataModule):
    """Pixels of aligned faces, for the autoencoder.

    Batches: `image` `(B, 3, S, S)` in [-1, 1], `age` `(B,)`, `gender` and `file` lists.

    Args:
        archive: Zip of JPEGs with `labels.csv`.
        exclude: CSV whose column `faces_128_file` names photographs to leave out of training.
        size: Side of the pictures.
        batch_size: Pictures in a batch.
        num_workers: Processes that decode.
    """

    def __init__(
        self,
        archive: str,
        *,
        exclude: str | None = None,
        size: int = 128,
        batch_size: int = 12,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        self.archive = Path(archive)
        self.exclude = Path(exclude) if exclude else None
        self.size = size
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.datasets: dict[str, AlignedFacesDataset] = {}

    def setup(self, stage: str) -> None:
        """Read the labels and the compressed pictures of both splits.

        Raises:
            ConfigurationError: A split is empty.
        """
        labels = read_labels(self.archive, exclude=self.exclude)
        for split in ("train", "val"):
            chosen = [label for label in labels if label.split == split]
            refuse_empty(self.archive, split, chosen)
            self.datasets[split] = AlignedFacesDataset(self.archive, chosen, self.size)
            logger.info("%s: %d photographs of split %s", self.archive, len(chosen), split)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches; the last incomplete one is dropped."""
        return DataLoader(
            self.datasets["train"],
            self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.num_workers,
        )

    def val_dataloader(self) -> DataLoader:
        """The val split in order."""
        return DataLoader(self.datasets["val"], self.batch_size, num_workers=self.num_workers)
