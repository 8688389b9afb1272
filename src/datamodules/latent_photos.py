"""What the data modules of labelled photographs share: splits, cached latents, weighted draws."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from faceforward.datamodules.draws import ordered_loader, training_loader
from faceforward.datamodules.face_crops import CropMaker
from faceforward.datamodules.labelled_collection import LabelledCollection, draw_weights, keep_people_together
from faceforward.datamodules.latent_cache import CachedMoments, LatentCache, LatentFacesDataset
from faceforward.datamodules.moments import image_size, refuse_other_latents, vae_weights
from faceforward.datamodules.sources import REJECTED, write_rejected
from faceforward.datamodules.splits import SPLITS, balance_weights, refuse_one_age
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.datamodules.sources import LabelledPhoto, Rejection
    from faceforward.datamodules.splits import Split

logger = logging.getLogger(__name__)
CAP = 10.0  # see `balance_weights` and benchmarks/README.md, "Balance of ages"


class LatentPhotos(LightningDataModule):
    """Latents of labelled photographs; a subclass says in `collections` where they come from.

    Batches: `moments` `(B, 2C, h, w)` (means, then log-variances, unscaled), `padding` `(B, h, w)` in [0, 1]
    (the share of each cell that is not photograph), `age` `(B,)`, `gender` list, `seed` `(B,)` int64 of all
    that is drawn for a sample. Photographs are decoded, cut out and encoded once, on the first rank, into a
    cache (see `LatentCache`); people are in one split only (see `split_by_identity`), in all collections.

    Args:
        vae: Autoencoder: diffusers `AutoencoderKL` folder, Stable Diffusion folder, or registry name.
        size: Side of the crops; None takes what the autoencoder was trained on.
        val_share: Share of the people in `val`.
        test_share: Share of the people in `test`.
        batch_size: Latents in a batch of each rank.
        balance: See `balance_weights`: 0 draws photographs evenly, 1 draws ages evenly.
        balance_cap: See `balance_weights`: how much more often than evenly a photograph is drawn at most.
        seed: Of the order and of every draw.
        num_workers: Processes that decode photographs for the cache, and that read latents.
        cache_dir: Where latents are kept.
        cache_per_node: Whether `cache_dir` is a disk of each node's own, so that each node has to fill it.
        rejected: Where what cannot be used is listed; None: `rejected.csv` in the run's folder.

    Raises:
        ConfigurationError: `balance` or `balance_cap` is out of range, or there is no autoencoder.
    """

    def __init__(
        self,
        vae: str,
        *,
        size: int | None = None,
        val_share: float = 0.05,
        test_share: float = 0.05,
        batch_size: int = 8,
        balance: float = 0.0,
        balance_cap: float | None = CAP,
        seed: int = 0,
        num_workers: int = 0,
        cache_dir: str = "~/.cache/faceforward/latents",
        cache_per_node: bool = False,
        rejected: str | None = None,
    ) -> None:
        super().__init__()
        balance_weights([], balance, balance_cap)
        self.autoencoder = vae_weights(vae)  # weights of the autoencoder that the latents are of
        self.size = size or image_size(self.autoencoder)
        self.val_share = val_share
        self.test_share = test_share
        self.batch_size = batch_size
        self.balance = balance
        self.balance_cap = balance_cap
        self.seed = seed
        self.num_workers = num_workers
        self.cache_dir = Path(cache_dir).expanduser()
        self.prepare_data_per_node = cache_per_node
        self.rejected = Path(rejected) if rejected else None
        self.datasets: dict[str, LatentFacesDataset] = {}
        self._parts: list[list[int]] = []  # ages of the training photographs of each collection
        self._read: tuple[list[dict[Split, list[LabelledPhoto]]], list[Rejection]] | None = None

    @property
    def collections(self) -> list[LabelledCollection]:
        """Where the photographs come from."""
        raise NotImplementedError

    @property
    def where(self) -> str:
        """All collections, for messages."""
        return ", ".join(collection.where for collection in self.collections)

    def cache(self, collection: LabelledCollection) -> LatentCache:
        """Where the latents of a collection are."""
        crops = CropMaker(self.size, collection.alignment, collection.min_face)
        return LatentCache(self.cache_dir, self.autoencoder, crops)

    def photos(self) -> tuple[list[dict[Split, list[LabelledPhoto]]], list[Rejection]]:
        """All splits of each collection, before any picture is opened, and what labels alone rule out.

        Raises:
            ConfigurationError: A collection cannot be used as asked.
        """
        read = [collection.split(self.val_share, self.test_share) for collection in self.collections]
        keep_people_together([splits for splits, _ in read])
        return [splits for splits, _ in read], [item for _, rejected in read for item in rejected]

    def _needed(self, stage: str) -> list[Split]:
        """The splits that a stage reads."""
        if stage != "fit":
            return ["test" if stage == "test" else "val"]
        return ["train"] if self.trainer and not self.trainer.limit_val_batches else ["train", "val"]

    def _check(self, split: Split, photos: Sequence[LabelledPhoto]) -> None:
        if not photos and split == "train":
            raise ConfigurationError(
                f"{self.where} has no photograph left for the split 'train': give more people, wider "
                "data.init_args.filters, smaller data.init_args.val_share and test_share (now "
                f"{self.val_share} val, {self.test_share} test), or people whom the collection does not hold "
                "out (AI Hub: the folder Training)"
            )
        if not photos:
            share = "test_share" if split == "test" else "val_share"
            raise ConfigurationError(
                f"{self.where} has no photograph left for the split {split!r}: give more people, wider "
                f"data.init_args.filters, or a larger data.init_args.{share} (now {self.test_share} test, "
                f"{self.val_share} val)"
                + ("; trainer.limit_val_batches 0 trains without val" if split == "val" else "")
            )
        if split == "train":
            refuse_one_age([photo.age for photo in photos], self.where)

    def prepare_data(self) -> None:
        """Encode what is not in the cache, and list what cannot be used; Lightning calls it on one rank.

        Without a trainer, that says what it is about to do, all three splits are encoded.

        Raises:
            ConfigurationError: A collection cannot be used as asked, the model has another autoencoder, or
                the cache cannot be written.
        """
        refuse_other_latents(self.trainer and self.trainer.lightning_module, self.autoencoder)
        stage = self.trainer.state.fn.value if self.trainer and self.trainer.state.fn else None
        self._read = parts, rejected = self.photos()
        needed = self._needed(stage or "fit")
        for split in needed:
            self._check(split, [photo for splits in parts for photo in splits[split]])
        bad: list[Rejection] = []
        count = 0
        for collection, splits in zip(self.collections, parts, strict=True):
            wanted = [photo for split in (needed if stage else SPLITS) for photo in splits[split]]
            bad += self.cache(collection).fill(wanted, num_workers=self.num_workers)
            count += len(wanted)
        if self.trainer and self.trainer.global_rank:
            return  # the first rank of another node, which has filled its own cache
        folder = Path(self.trainer.default_root_dir) if self.trainer else self.cache_dir
        write_rejected(self.rejected or folder / REJECTED, [*rejected, *bad], count - len(bad))

    def setup(self, stage: str) -> None:
        """Find the latents of the splits that the stage reads.

        Raises:
            ConfigurationError: A split is empty, or its latents are not in the cache.
        """
        parts, _ = self._read or self.photos()
        caches = [self.cache(collection) for collection in self.collections]
        for split in self._needed(stage):
            known = [cache.known(splits[split]) for cache, splits in zip(caches, parts, strict=True)]
            labels = list(chain.from_iterable(own for own, _ in known))
            if not labels and any(splits[split] for splits in parts):
                raise ConfigurationError(
                    f"no latent of the split {split!r} of {self.where} is in {self.cache_dir}: none of its "
                    "photographs can be used, or the disk is this node's own (then set "
                    "data.init_args.cache_per_node true)"
                )
            self._check(split, labels)
            places = chain.from_iterable(moments.places for _, moments in known)
            self.datasets[split] = LatentFacesDataset(
                CachedMoments(list(places)), labels, mirror=split == "train"
            )
            if split == "train":
                self._parts = [[photo.age for photo in own] for own, _ in known]
            for collection, (own, _) in zip(self.collections, known, strict=True):
                people = len({photo.identity for photo in own})
                logger.info(
                    "%s: %d photographs of %d people in %s", collection.where, len(own), people, split
                )

    def weights(self) -> list[float] | None:
        """How often each training photograph is drawn; None draws all evenly."""
        shares = [collection.share for collection in self.collections]
        return draw_weights(self._parts, shares, self.balance, self.balance_cap)

    def _loading(self) -> dict[str, Any]:
        return {"num_workers": self.num_workers, "persistent_workers": self.num_workers > 0}

    def train_dataloader(self) -> DataLoader:
        """Shuffled or weighted batches; the last incomplete one is dropped."""
        dataset, weights = self.datasets["train"], self.weights()
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
