"""Latents of labelled collections, one or several, for the diffusion model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceforward.datamodules.face_crops import Cut
from faceforward.datamodules.labelled_collection import LabelledCollection, draw_weights
from faceforward.datamodules.latent_photos import LatentPhotos
from faceforward.datamodules.splits import EVERYONE, Filters
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceforward.datamodules.sources import LabelledPhoto
    from faceforward.datamodules.stored_files import Rejection


class Collections(LatentPhotos):
    """Latents of several collections in one run; see `LatentPhotos` for batches and further arguments.

    Args:
        collections: One or more; each is filtered and cut out in its own way, and all share one cache.
        vae: See `LatentPhotos`.
        kwargs: See `LatentPhotos`.

    Raises:
        ConfigurationError: There is none, or some have a share and others none; see `LatentPhotos` too.
    """

    def __init__(self, collections: list[LabelledCollection], vae: str, **kwargs: Any) -> None:
        super().__init__(vae, **kwargs)
        if not collections:
            raise ConfigurationError("collections is empty: give at least one")
        draw_weights([[]] * len(collections), [c.share for c in collections], self.balance, self.balance_cap)
        self._collections = list(collections)

    @property
    def collections(self) -> list[LabelledCollection]:
        """As they were given."""
        return self._collections


class AgedFaces(LatentPhotos):
    """Latents of one collection; a subclass says in `read` how its labels are read.

    Args:
        root: The collection.
        vae: See `LatentPhotos`.
        alignment: `ffhq` cuts out as FFHQ does, by the label's landmarks; `detector` by a detector's; `none`
            takes square pictures as they are.
        filters: Which photographs are used.
        kwargs: See `LatentPhotos`.
    """

    name = "collection"

    def __init__(
        self, root: str, vae: str, *, alignment: Cut = "ffhq", filters: Filters = EVERYONE, **kwargs: Any
    ) -> None:
        super().__init__(vae, **kwargs)
        self.root = root
        self.alignment: Cut = alignment
        self.filters = filters

    def read(self) -> Iterator[LabelledPhoto | Rejection]:
        """Photographs and rejections of the collection, as `Source.read`."""
        raise NotImplementedError

    @property
    def collections(self) -> list[LabelledCollection]:
        """This one."""
        return [LabelledCollection(self, self.alignment, self.filters)]
