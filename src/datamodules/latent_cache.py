"""Moments of the autoencoder, made once for each photograph and kept in shards."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from faceforward.atomic import atomic_file, remove_leftovers
from faceforward.datamodules.draws import Draw, as_draw
from faceforward.datamodules.face_crops import Crop, CropMaker, one_thread
from faceforward.datamodules.moments import encode_batch, load_vae
from faceforward.datamodules.stored_files import Rejection
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.pretrained import sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faceforward.datamodules.sources import LabelledPhoto

logger = logging.getLogger(__name__)

SHARD = 256  # photographs; 32 MiB at Stable Diffusion's size: what a killed run loses at most
FORMAT = 2  # raised when crops or moments are computed otherwise
PIXELS = 16 * 128 * 128  # in one batch of the autoencoder on a CPU: about 1 GiB of its values
STALE = 86400  # seconds after which a temporary file belongs to a killed run


class _Crops(Dataset):
    """Crops, or why there is none."""

    def __init__(self, photos: Sequence[LabelledPhoto], crops: CropMaker) -> None:
        self.photos = photos
        self.crops = crops

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> tuple[int, Crop | str]:
        try:
            return index, self.crops(self.photos[index])
        except UnusablePhotoError as error:
            return index, str(error)
        except Exception as error:  # the last line: whatever a file does to a decoder becomes its rejection
            logger.exception("the crop of %s failed", self.photos[index].file.shown)
            return index, f"making the crop failed: {type(error).__name__}: {error}"


class CachedMoments:
    """Moments and padding of some photographs, read from memory-mapped shards when asked for.

    Args:
        places: Shard and row of each photograph.
    """

    def __init__(self, places: Sequence[tuple[Path, int]]) -> None:
        self.places = list(places)
        self._open: dict[Path, tuple[Any, Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files: each process maps them itself."""
        return {**vars(self), "_open": {}}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> torch.Tensor:
        """`(2C, h, w)` float16 of photograph `key[0]`, mirrored if `key[1]` is 1."""
        index, mirrored = key
        shard, row = self.places[index]
        return self._slices(shard)[0][row, mirrored]

    def padding(self, index: int, mirrored: int) -> torch.Tensor:
        """The share of each cell that is no photograph, `(h, w)` float32 in [0, 1]; see `Crop.cells`."""
        shard, row = self.places[index]
        cells = self._slices(shard)[1][row].float() / 255
        return cells.flip(-1) if mirrored else cells

    def _slices(self, shard: Path) -> tuple[Any, Any]:
        if shard not in self._open:
            opened = safe_open(shard, framework="pt").__enter__()
            self._open[shard] = opened.get_slice("moments"), opened.get_slice("padding")
        return self._open[shard]


class LatentFacesDataset(Dataset):
    """Moments and padding with their labels; a `Draw`'s seed says which mirror image is served.

    Args:
        moments: Of N photographs.
        labels: N of them.
        mirror: False serves the pictures as they are.
    """

    def __init__(
        self, moments: CachedMoments, labels: Sequence[LabelledPhoto], *, mirror: bool = True
    ) -> None:
        self.moments = moments
        self.labels = list(labels)
        self.mirror = mirror

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: Draw | int) -> dict[str, Any]:
        draw = as_draw(place)
        label, mirrored = self.labels[draw.index], draw.seed % 2 if self.mirror else 0
        return {
            "moments": self.moments[draw.index, mirrored].float(),
            "padding": self.moments.padding(draw.index, mirrored),
            "age": label.age,
            "gender": label.gender,
            "seed": draw.seed,
        }


class LatentCache:
    """The moments of one autoencoder at one size and alignment, in a folder of their own.

    Every photograph is kept under a key of its name, content and landmarks: what changed, and what is new, is
    encoded, the rest stays. A shard appears complete or not at all, so that a killed run goes on after its
    last one. Only one process of a run may `fill`; any number may read.

    Args:
        root: Folder of all caches.
        weights: Of the autoencoder; see `vae_weights`.
        crops: Makes the crops that are encoded.
    """

    def __init__(self, root: Path, weights: Path, crops: CropMaker) -> None:
        self.weights = weights
        self.crops = crops
        settings = [FORMAT, sha256_of(weights), crops.size, crops.recipe]
        self.folder = root / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]

    def places(self) -> dict[str, tuple[Path, int]]:
        """Key -> shard and row of everything that is there."""
        found = {}
        for shard in sorted(self.folder.glob("*.safetensors")):
            try:
                with safe_open(shard, framework="pt") as opened:
                    keys = json.loads(opened.metadata()["keys"])
            except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
                logger.warning("%s is damaged (%s): its photographs are encoded again", shard, error)
                continue
            found.update({key: (shard, row) for row, key in enumerate(keys)})
        return found

    def known(self, photos: Iterable[LabelledPhoto]) -> tuple[list[LabelledPhoto], CachedMoments]:
        """The photographs whose moments are there, in their order, and the moments."""
        places = self.places()
        there = [photo for photo in photos if photo.key in places]
        return there, CachedMoments([places[photo.key] for photo in there])

    def fill(
        self, photos: Iterable[LabelledPhoto], *, num_workers: int = 0, shard: int = SHARD
    ) -> list[Rejection]:
        """Encode what is missing.

        Args:
            photos: All that are needed.
            num_workers: Processes that decode and cut out.
            shard: Photographs in a shard.

        Returns:
            Photographs that cannot be used. They are tried again each time.

        Raises:
            ConfigurationError: The cache cannot be written.
        """
        places = self.places()
        missing = [photo for photo in photos if photo.key not in places]
        if not missing:
            return []
        logger.info("%d photographs are encoded once, into %s", len(missing), self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder, older=STALE)  # a run beside this one keeps what it is writing
            return self._encode(missing, num_workers, shard)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigurationError(
                f"the latents cannot be written to {self.folder}: {why}. Make room, or "
                "give another folder as data.init_args.cache_dir; what is complete is kept"
            ) from error

    def _encode(self, photos: Sequence[LabelledPhoto], num_workers: int, shard: int) -> list[Rejection]:
        pixels = PIXELS * (8 if torch.cuda.is_available() else 1)
        batch_size = max(1, pixels // self.crops.size**2)
        loader = DataLoader(
            _Crops(photos, self.crops),
            batch_size,
            num_workers=num_workers,
            collate_fn=list,
            worker_init_fn=one_thread,
            # Forked children would hang in OpenCV, whose threads stay behind.
            multiprocessing_context="spawn" if num_workers else None,
        )
        vae = None
        rejected: list[Rejection] = []
        keys: list[str] = []
        rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        for batch in tqdm(loader, desc="latents", unit="batch", mininterval=5):
            good = [(photos[index], crop) for index, crop in batch if not isinstance(crop, str)]
            rejected += [
                Rejection(photos[index].file.shown, crop) for index, crop in batch if isinstance(crop, str)
            ]
            if not good:
                continue
            vae = vae or load_vae(self.weights)
            images = torch.stack([torch.from_numpy(crop.pixels) for _, crop in good]).permute(0, 3, 1, 2)
            moments = encode_batch(vae, images.float() / 127.5 - 1)
            finite = moments.isfinite().flatten(1).all(dim=1).tolist()
            for (photo, crop), row, usable in zip(good, moments, finite, strict=True):
                if usable:
                    keys.append(photo.key)
                    rows.append((row, torch.from_numpy(crop.cells(*row.shape[-2:]))))
                else:
                    rejected.append(Rejection(photo.file.shown, "the autoencoder gives no finite latent"))
            while len(rows) >= shard:
                self._write(keys[:shard], rows[:shard])
                del keys[:shard], rows[:shard]
        if rows:
            self._write(keys, rows)
        return rejected

    def _write(self, keys: Sequence[str], rows: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24]
        with atomic_file(self.folder / f"{name}.safetensors") as temporary:
            moments, padding = (torch.stack(list(column)) for column in zip(*rows, strict=True))
            save_file({"moments": moments, "padding": padding}, temporary, {"keys": json.dumps(keys)})
