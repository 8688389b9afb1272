"""Crops with camera labels, what 3D generators learn from."""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning import LightningDataModule
from PIL import Image, UnidentifiedImageError
from torch.utils.data import DataLoader, Dataset

from faceforward.checks import at_least
from faceforward.datamodules.camera_labels import NAMES, labels_in, read_labels
from faceforward.datamodules.draws import Draw, as_draw, ordered_loader, training_loader
from faceforward.datamodules.splits import place_of
from faceforward.datamodules.stored_files import StoredFile
from faceforward.eg3d import cameras
from faceforward.errors import ConfigurationError, UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

logger = logging.getLogger(__name__)

ENDINGS = re.compile(r"(_\d\d)?(_mirror)?$")  # of pictures that EG3D's preparation makes of one photograph
BIN = 5.0  # degrees of yaw that are counted together


class CropStore:
    """Pictures and labels of a folder or zip, as EG3D passes them around: files and a `dataset.json`.

    Args:
        root: The folder or zip; labels in any form that `read_labels` takes, of a zip a JSON file in it. All
            of a zip may be in one folder.
            Names in the labels are relative to it, or to a folder `crops` in it; without an ending, .png and
            .jpg are tried.

    Raises:
        ConfigurationError: There is none, it has no labels, or lacks pictures that they name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if root.is_dir():
            labels, files = read_labels(root), self._listed(root)
        elif zipfile.is_zipfile(root):
            labels, files = self._zipped(root)
        else:
            raise ConfigurationError(f"{root} is no folder and no zip of crops with a dataset.json")
        places = {name: _place(name, files) for name in labels}
        lacking = [name for name, place in places.items() if place is None]
        if lacking:
            raise ConfigurationError(
                f"{root} lacks {len(lacking)} of the {len(labels)} pictures that its labels name, the first "
                f"is {lacking[0]}: put them there, or take them out of the labels"
            )
        self.labels: dict[str, torch.Tensor] = labels
        self._files = {name: files[place] for name, place in places.items() if place is not None}

    @staticmethod
    def _listed(root: Path) -> dict[str, StoredFile]:
        names = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        return {name: StoredFile(str(path), name) for name, path in names.items()}

    @staticmethod
    def _zipped(root: Path) -> tuple[dict[str, torch.Tensor], dict[str, StoredFile]]:
        with zipfile.ZipFile(root) as opened:
            files = {
                info.filename: StoredFile(
                    str(root), info.filename, info.filename, info.file_size, info.CRC, info.header_offset
                )
                for info in opened.infolist()
                if not info.is_dir() and not info.filename.startswith("__MACOSX/")
            }
            top = _top(files)
            name = next((top + name for name in NAMES if top + name in files), None)
            if name is None:
                raise ConfigurationError(f"{root} holds none of {', '.join(NAMES)}: the crops need labels")
            try:
                content = json.loads(opened.read(name))
            # A RuntimeError: it is encrypted, or nested without an end.
            except (ValueError, RuntimeError, zipfile.BadZipFile) as error:
                raise ConfigurationError(f"{name} in {root} cannot be read: {error}") from error
        shown = {name.removeprefix(top): file for name, file in files.items()}
        return labels_in(content, f"{name} in {root}"), shown

    def pixels(self, name: str, size: int) -> np.ndarray:
        """A picture, `(size, size, 3)` uint8 RGB; safe in any process and thread.

        Raises:
            ConfigurationError: It cannot be read, or is not square.
        """
        file = self._files[name]
        try:
            with Image.open(io.BytesIO(file.read())) as opened:
                image = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, UnusablePhotoError, ValueError) as error:
            raise ConfigurationError(f"{file.shown} in {self.root} cannot be read: {error}") from error
        if image.width != image.height:
            raise ConfigurationError(
                f"{file.shown} in {self.root} is {image.width} x {image.height}: labels are for squares"
            )
        if image.width != size:
            image = image.resize((size, size), Image.Resampling.LANCZOS)
        return np.asarray(image)


def _top(names: Collection[str]) -> str:
    """`faces/` where all files of a zip are in one folder `faces` without which no labels are found."""
    tops = {name.split("/", 1)[0] for name in names}
    inside = len(tops) == 1 and all("/" in name for name in names)
    return f"{tops.pop()}/" if inside else ""


def _place(name: str, files: Collection[str]) -> str | None:
    stems = (name, f"crops/{name}")
    choices = [*stems, *(f"{stem}{ending}" for stem in stems for ending in (".png", ".jpg", ".jpeg"))]
    return next((choice for choice in choices if choice in files), None)


def photograph_of(name: str) -> str:
    """What pictures of one photograph have in common in EG3D's layout, where their split follows from.

    Its preparation leaves `NAME_mirror.png` beside `NAME.png`, and `NAME_00.png`, `NAME_01.png` of the faces
    in one photograph.

    Example:
        >>> photograph_of("00000/img00000007_01_mirror.png")
        '00000/img00000007'
    """
    stem = str(PurePosixPath(name).with_suffix(""))
    return ENDINGS.sub("", stem) or stem


class CropDataset(Dataset):
    """Pictures with the cameras that see them, mirrored or not as a draw says.

    Args:
        store: Where they lie.
        names: Which of them.
        size: Side of the pictures.
        mirror: Mirror half of the draws, with their cameras.
        in_memory: Keep decoded pictures, as bytes.
    """

    def __init__(
        self, store: CropStore, names: Sequence[str], size: int, *, mirror: bool, in_memory: bool
    ) -> None:
        self.store, self.names, self.size, self.mirror = store, list(names), size, mirror
        self.labels = cameras.at_radius(torch.stack([store.labels[name] for name in names]))
        self._kept: dict[int, np.ndarray] | None = {} if in_memory else None

    def __len__(self) -> int:
        return len(self.names)

    def _pixels(self, index: int) -> np.ndarray:
        if self._kept is None:
            return self.store.pixels(self.names[index], self.size)
        if index not in self._kept:
            self._kept[index] = self.store.pixels(self.names[index], self.size)
        return self._kept[index]

    def pair(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A picture `(3, S, S)` in [-1, 1] and its camera `(25,)`, not mirrored."""
        pixels = torch.from_numpy(self._pixels(index).copy())
        return pixels.permute(2, 0, 1).float() / 127.5 - 1, self.labels[index]

    def __getitem__(self, place: Draw | int) -> dict[str, Any]:
        draw = as_draw(place)
        image, camera = self.pair(draw.index)
        if self.mirror and draw.seed % 2:
            image, camera = image.flip(-1), cameras.mirrored(camera)
        return {
            "image": image,
            "camera": camera,
            "seed": draw.seed,
            "file": self.names[draw.index],
            "gender": None,
        }


def yaw_weights(labels: torch.Tensor, most: float) -> list[float]:
    """How often to draw each camera, so that rare yaws are learnt as well as frequent ones.

    The training photographs of EG3D's released models were rebalanced by yaw (arXiv 2112.07945, supplement);
    there they were doubled, here they are drawn more often.

    Args:
        labels: `(N, 25)`.
        most: Of the weights; the most frequent five degrees of yaw, left and right together, have 1.

    Returns:
        N numbers in 1 .. `most`.
    """
    bins = (cameras.angles(cameras.pose(labels))[:, 0].abs() / BIN).long()
    counts = bins.bincount()
    return (counts.max() / counts[bins]).clamp(max=most).tolist()


class CameraCrops(LightningDataModule):
    """Camera-labelled crops for EG3D and what builds on it.

    Batches: `image` `(B, 3, S, S)` in [-1, 1], `camera` `(B, 25)` at radius 2.7, `seed` `(B,)` of everything
    that is drawn for a sample, `file` a list. A picture is mirrored, with its camera, in half of the draws.

    Args:
        root: Folder or zip; see `CropStore`. `faceforward infer cameras` writes such folders.
        val_root: Another one for validation; None holds `val_share` of `root` out, by the hash of names
            without what EG3D's preparation adds, so that a picture and its mirror image stay together.
        val_share: Of the pictures.
        size: Side of the pictures.
        batch_size: Of each rank.
        mirror: Whether to mirror at all.
        in_memory: Keep decoded pictures in memory: for small ones.
        rebalance: How many times as often a turned head may be drawn as a frontal one, so that yaws become
            about equally frequent, see `yaw_weights`; 1 draws all alike.
        seed: Of the order and the draws.
        num_workers: Processes that decode.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    def __init__(
        self,
        root: str,
        *,
        val_root: str | None = None,
        val_share: float = 0.02,
        size: int = 512,
        batch_size: int = 4,
        mirror: bool = True,
        in_memory: bool = False,
        rebalance: float = 1.0,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        at_least(1, size=size, batch_size=batch_size, rebalance=rebalance)
        at_least(0, num_workers=num_workers, val_share=val_share)
        self.root = Path(root)
        self.val_root = Path(val_root) if val_root else None
        self.val_share = val_share
        self.size = size
        self.batch_size = batch_size
        self.mirror = mirror
        self.in_memory = in_memory
        self.rebalance = rebalance
        self.seed = seed
        self.num_workers = num_workers
        self.datasets: dict[str, CropDataset] = {}

    def setup(self, stage: str) -> None:
        """Read the labels and divide the pictures.

        Raises:
            ConfigurationError: There are none, or none for one of the splits.
        """
        store = CropStore(self.root)
        if self.val_root is not None:
            held = CropStore(self.val_root)
            self._divide(store, list(store.labels), held, list(held.labels))
            return
        names: Mapping[bool, list[str]] = {False: [], True: []}
        for name in store.labels:
            names[place_of(photograph_of(name)) < self.val_share].append(name)
        self._divide(store, names[False], store, names[True])

    def _divide(self, store: CropStore, train: list[str], held: CropStore, val: list[str]) -> None:
        for split, where, names in (("train", store, train), ("val", held, val)):
            needed = split == "train" or not self.trainer or self.trainer.limit_val_batches
            if not names and needed:
                raise ConfigurationError(
                    f"{where.root} leaves no picture for the split {split!r}: give more, another "
                    f"data.init_args.val_share (now {self.val_share}), or data.init_args.val_root"
                )
            if names:
                self.datasets[split] = CropDataset(
                    where, names, self.size, mirror=self.mirror and split == "train", in_memory=self.in_memory
                )
                logger.info("%s: %d pictures in %s", where.root, len(names), split)

    def _loading(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches, or turned heads more often; the last incomplete one is dropped."""
        dataset = self.datasets["train"]
        weights = yaw_weights(dataset.labels, self.rebalance) if self.rebalance > 1 else None
        return training_loader(
            self.trainer, dataset, self.batch_size, seed=self.seed, weights=weights, **self._loading()
        )

    def val_dataloader(self) -> DataLoader:
        """The val split in order."""
        return ordered_loader(self.datasets["val"], self.batch_size, seed=self.seed, **self._loading())
