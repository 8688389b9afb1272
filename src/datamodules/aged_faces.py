"""Latents of any labelled collection, for the diffusion model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from faceforward.datamodules.draws import ordered_loader, training_loader
from faceforward.datamodules.face_crops import CropMaker, Cut
from faceforward.datamodules.latent_cache import LatentCache
from faceforward.datamodules.latent_faces import LatentFacesDataset
from faceforward.datamodules.moments import image_size, refuse_other_latents, vae_weights
from faceforward.datamodules.sources import REJECTED, collect, write_rejected
from faceforward.datamodules.splits import (
    EVERYONE,
    SPLITS,
    Filters,
    balance_weights,
    refuse_one_age,
    split_by_identity,
)
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faceforward.datamodules.sources import LabelledPhoto, Rejection
    from faceforward.datamodules.splits import Split

logger = logging.getLogger(__name__)


class AgedFaces(LightningDataModule):
    """What every labelled collection shares; a subclass says in `read` how its labels are read.

    Batches: `moments` `(B, 2C, h, w)` (means, then log-variances, unscaled), `age` `(B,)`, `gender` list,
    `seed` `(B,)` int64 of all that is drawn for a sample. Photographs are decoded, cut out and encoded once,
    on the first rank, into a cache (see `LatentCache`); people are in one split only (see
    `split_by_identity`).

    Args:
        root: The collection.
        vae: Autoencoder: diffusers `AutoencoderKL` folder, Stable Diffusion folder, or registry name.
        size: Side of the crops; None takes what the autoencoder was trained on.
        alignment: `ffhq` cuts out as FFHQ does, by the label's landmarks; `detector` by a detector's; `none`
            takes square pictures as they are.
        filters: Which photographs are used.
        val_share: Share of the people in `val`.
        test_share: Share of the people in `test`.
        batch_size: Latents in a batch of each rank.
        balance: See `balance_weights`: 0 draws photographs evenly, 1 draws ages evenly.
        seed: Of the order and of every draw.
        num_workers: Processes that decode photographs for the cache, and that read latents.
        cache_dir: Where latents are kept.
        cache_per_node: Whether `cache_dir` is a disk of each node's own, so that each node has to fill it.
        rejected: Where what cannot be used is listed; None: `rejected.csv` in the run's folder.

    Raises:
        ConfigurationError: `balance` is not in [0, 1], or there is no autoencoder.
    """

    def __init__(
        self,
        root: str,
        vae: str,
        *,
        size: int | None = None,
        alignment: Cut = "ffhq",
        filters: Filters = EVERYONE,
        val_share: float = 0.05,
        test_share: float = 0.05,
        batch_size: int = 8,
        balance: float = 0.0,
        seed: int = 0,
        num_workers: int = 0,
        cache_dir: str = "~/.cache/faceforward/latents",
        cache_per_node: bool = False,
        rejected: str | None = None,
    ) -> None:
        super().__init__()
        balance_weights([], balance)
        weights = vae_weights(vae)
        self.root = root
        self.filters = filters
        self.val_share = val_share
        self.test_share = test_share
        self.batch_size = batch_size
        self.balance = balance
        self.seed = seed
        self.num_workers = num_workers
        self.prepare_data_per_node = cache_per_node
        self.rejected = Path(rejected) if rejected else None
        crops = CropMaker(size or image_size(weights), alignment)
        self.cache = LatentCache(Path(cache_dir).expanduser(), weights, crops)
        self.datasets: dict[str, LatentFacesDataset] = {}
        self._read: tuple[dict[Split, list[LabelledPhoto]], list[Rejection]] | None = None

    @property
    def autoencoder(self) -> Path:
        """Weights of the autoencoder that the latents are of."""
        return self.cache.weights

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """Photographs and rejections of the collection, as `Source.read`."""
        raise NotImplementedError

    def _photos(self) -> tuple[dict[Split, list[LabelledPhoto]], list[Rejection]]:
        """All splits, before any picture is opened, and what their labels alone rule out."""
        photos, rejected = collect(self.read(), self.root)
        if self.cache.crops.alignment == "ffhq" and not any(photo.landmarks for photo in photos):
            raise ConfigurationError(
                f"{self.root} gives no landmarks: set data.init_args.alignment to detector (finds the face) "
                "or none (the pictures are aligned crops already)"
            )
        splits = split_by_identity(
            photos, val_share=self.val_share, test_share=self.test_share, filters=self.filters
        )
        return splits, rejected

    def _needed(self, stage: str) -> list[Split]:
        """The splits that a stage reads."""
        if stage != "fit":
            return ["test" if stage == "test" else "val"]
        return ["train"] if self.trainer and not self.trainer.limit_val_batches else ["train", "val"]

    def _check(self, split: Split, photos: Sequence[LabelledPhoto]) -> None:
        if not photos and split == "train":
            raise ConfigurationError(
                f"{self.root} has no photograph left for the split 'train': give more people, wider "
                "data.init_args.filters, smaller data.init_args.val_share and test_share (now "
                f"{self.val_share} val, {self.test_share} test), or people whom the collection does not hold "
                "out (AI Hub: the folder Training)"
            )
        if not photos:
            share = "test_share" if split == "test" else "val_share"
            raise ConfigurationError(
                f"{self.root} has no photograph left for the split {split!r}: give more people, wider "
                f"data.init_args.filters, or a larger data.init_args.{share} (now {self.test_share} test, "
                f"{self.val_share} val)"
                + ("; trainer.limit_val_batches 0 trains without val" if split == "val" else "")
            )
        if split == "train":
            refuse_one_age([photo.age for photo in photos], self.root)

    def prepare_data(self) -> None:
        """Encode what is not in the cache, and list what cannot be used; Lightning calls it on one rank.

        Without a trainer, that says what it is about to do, all three splits are encoded.

        Raises:
            ConfigurationError: The collection cannot be used as asked, the model has another autoencoder, or
                the cache cannot be written.
        """
        refuse_other_latents(self.trainer and self.trainer.lightning_module, self.autoencoder)
        stage = self.trainer.state.fn.value if self.trainer and self.trainer.state.fn else None
        self._read = splits, rejected = self._photos()
        needed = self._needed(stage or "fit")
        for split in needed:
            self._check(split, splits[split])
        wanted = [photo for split in (needed if stage else SPLITS) for photo in splits[split]]
        bad = self.cache.fill(wanted, num_workers=self.num_workers)
        if self.trainer and self.trainer.global_rank:
            return  # the first rank of another node, which has filled its own cache
        folder = Path(self.trainer.default_root_dir) if self.trainer else self.cache.folder
        write_rejected(self.rejected or folder / REJECTED, [*rejected, *bad], len(wanted) - len(bad))

    def setup(self, stage: str) -> None:
        """Find the latents of the splits that the stage reads.

        Raises:
            ConfigurationError: A split is empty, or its latents are not in the cache.
        """
        splits, _ = self._read or self._photos()
        for split in self._needed(stage):
            labels, moments = self.cache.known(splits[split])
            if splits[split] and not labels:
                raise ConfigurationError(
                    f"no latent of the split {split!r} of {self.root} is in {self.cache.folder}: none of its "
                    "photographs can be used, or the disk is this node's own (then set "
                    "data.init_args.cache_per_node true)"
                )
            self._check(split, labels)
            self.datasets[split] = LatentFacesDataset(moments, labels, mirror=split == "train")
            people = len({label.identity for label in labels})
            logger.info("%s: %d photographs of %d people in %s", self.root, len(labels), people, split)

    def _loading(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}

    def train_dataloader(self) -> DataLoader:
        """Shuffled or age-balanced batches; the last incomplete one is dropped."""
        dataset = self.datasets["train"]
        weights = balance_weights([label.age for label in dataset.labels], self.balance)
        return training_loader(
            self.trainer, dataset, self.batch_size, seed=self.seed, weights=weights, **self._loading()
        )

    def _in_order(self, split: Split) -> DataLoader:
        return ordered_loader(self.datasets[split], self.batch_size, seed=self.seed, **self._loading())

    def val_dataloader(self) -> DataLoader:
        """The val split in order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader:
        """The test split in order."""
        return self._in_order("test")
