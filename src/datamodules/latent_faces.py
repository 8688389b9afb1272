"""Aligned faces as latents: the autoencoder runs once, before training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import LightningDataModule
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from faceforward.atomic import atomic_file
from faceforward.datamodules.aligned_faces import (
    AlignedFacesDataset,
    LabelledFace,
    read_labels,
    refuse_empty,
)
from faceforward.datamodules.draws import Draw, as_draw, ordered_loader, training_loader
from faceforward.datamodules.moments import encode_batch, load_vae, refuse_other_latents
from faceforward.datamodules.splits import balance_weights, refuse_one_age
from faceforward.errors import ConfigurationError
from faceforward.pretrained import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKL

    from faceforward.datamodules.latent_cache import CachedMoments
    from faceforward.datamodules.sources import LabelledPhoto

logger = logging.getLogger(__name__)


def encode(vae: AutoencoderKL, dataset: AlignedFacesDataset, batch_size: int = 16) -> torch.Tensor:
    """Moments of every picture and of its mirror image.

    Returns:
        `(N, 2, 2C, h, w)` float16 on the CPU: picture, then mirrored; means, then log-variances.
    """
    parts = []
    for start in tqdm(range(0, len(dataset), batch_size), desc="latents", mininterval=5):
        images = torch.stack(
            [dataset[i]["image"] for i in range(start, min(start + batch_size, len(dataset)))]
        )
        parts.append(encode_batch(vae, images))
    return torch.cat(parts)


class LatentFacesDataset(Dataset):
    """Moments with their labels; a `Draw`'s seed says which mirror image is served.

    Args:
        moments: `(N, 2, 2C, h, w)`.
        labels: N lines.
        mirror: False serves the pictures as they are.
    """

    def __init__(
        self,
        moments: torch.Tensor | CachedMoments,
        labels: Sequence[LabelledFace] | Sequence[LabelledPhoto],
        *,
        mirror: bool = True,
    ) -> None:
        self.moments = moments
        self.labels = list(labels)
        self.mirror = mirror

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: Draw | int) -> dict[str, Any]:
        draw = as_draw(place)
        label = self.labels[draw.index]
        moments = self.moments[draw.index, draw.seed % 2 if self.mirror else 0]
        return {"moments": moments.float(), "age": label.age, "gender": label.gender, "seed": draw.seed}


class LatentFaces(LightningDataModule):
    """Latents of aligned faces, for the diffusion model.

    Batches: `moments` `(B, 2C, h, w)` (means, then log-variances, unscaled), `age` `(B,)`, `gender` list,
    `seed` `(B,)` int64 of all that is drawn for a sample.

    Args:
        archive: Zip of JPEGs with `labels.csv`.
        vae: diffusers `AutoencoderKL` folder that encodes them.
        exclude: CSV whose column `faces_128_file` names photographs to leave out.
        cache_dir: Where the latents are kept; a change of the autoencoder or the archive makes new ones.
        batch_size: Latents in a batch.
        balance: See `balance_weights`: 0 draws photographs evenly, 1 draws ages evenly.
        seed: Of the order and of every draw.
    """

    def __init__(
        self,
        archive: str,
        vae: str,
        *,
        exclude: str | None = None,
        cache_dir: str = "~/.cache/faceforward/latents",
        batch_size: int = 32,
        balance: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        balance_weights([], balance)
        self.archive = Path(archive)
        self.vae = Path(vae)
        self.exclude = Path(exclude) if exclude else None
        self.cache_dir = Path(cache_dir).expanduser()
        self.batch_size = batch_size
        self.balance = balance
        self.seed = seed
        self.datasets: dict[str, LatentFacesDataset] = {}

    @property
    def autoencoder(self) -> Path:
        """Weights of the autoencoder that the latents are of.

        Raises:
            ConfigurationError: They are not there.
        """
        weights = self.vae / "diffusion_pytorch_model.safetensors"
        if not weights.is_file():
            raise ConfigurationError(
                f"{self.vae} is no AutoencoderKL folder: {weights.name} is missing there"
            )
        return weights

    def _cache_file(self) -> Path:
        weights = self.autoencoder
        return self.cache_dir / f"{sha256_of(weights)[:16]}-{sha256_of(self.archive)[:16]}.safetensors"

    def prepare_data(self) -> None:
        """Encode the whole archive unless that was done with this autoencoder before.

        Raises:
            ConfigurationError: The model that is trained has another autoencoder, the archive cannot be used,
                or the cache cannot be written.
        """
        refuse_other_latents(self.trainer and self.trainer.lightning_module, self.autoencoder)
        labels = read_labels(self.archive)
        target = self._cache_file()
        if target.exists():
            return
        vae = load_vae(self.autoencoder)
        moments = encode(vae, AlignedFacesDataset(self.archive, labels, vae.config.sample_size))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(target) as temporary:
                save_file({"moments": moments}, temporary)
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(
                f"the latents cannot be written to {target}: {error}. Make room, or give another folder as "
                "data.init_args.cache_dir"
            ) from error

    def setup(self, stage: str) -> None:
        """Read the latents and split them.

        Raises:
            ConfigurationError: A split is empty, training knows one age only, or a test is asked for.
        """
        if stage == "test":
            raise ConfigurationError(
                f"{self.archive} is divided into train and val only: take train.py validate, or a data "
                "module with a test split (configs/data/)"
            )
        moments = load_file(self._cache_file())["moments"]
        everyone = read_labels(self.archive)
        kept = {label.file for label in read_labels(self.archive, exclude=self.exclude)}
        for split in ("train", "val"):
            rows = [i for i, label in enumerate(everyone) if label.split == split and label.file in kept]
            chosen = [everyone[i] for i in rows]
            refuse_empty(self.archive, split, chosen)
            if split == "train":
                refuse_one_age([label.age for label in chosen], self.archive)
            self.datasets[split] = LatentFacesDataset(moments[rows], chosen, mirror=split == "train")
            logger.info("%s: %d photographs of split %s", self.archive, len(chosen), split)

    def train_dataloader(self) -> DataLoader:
        """Shuffled or age-balanced batches; the last incomplete one is dropped."""
        dataset = self.datasets["train"]
        weights = balance_weights([label.age for label in dataset.labels], self.balance)
        return training_loader(self.trainer, dataset, self.batch_size, seed=self.seed, weights=weights)

    def val_dataloader(self) -> DataLoader:
        """The val split in order."""
        return ordered_loader(self.datasets["val"], self.batch_size, seed=self.seed)
