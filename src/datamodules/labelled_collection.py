"""A collection of a run: where its labels come from, how its faces are cut out, how often they are drawn."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceforward.datamodules.face_crops import Cut
from faceforward.datamodules.sources import Source, collect
from faceforward.datamodules.splits import EVERYONE, SPLITS, Filters, balance_weights, split_by_identity
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceforward.datamodules.sources import LabelledPhoto, Rejection
    from faceforward.datamodules.splits import Split


@dataclass(frozen=True, eq=False)
class LabelledCollection:
    """A source of labelled photographs and its part in a run.

    Attributes:
        source: Reads its labels.
        alignment: How faces are cut out; see `CropMaker`.
        filters: Which photographs are used.
        share: How much of the training is drawn from it, in proportion to the shares of the others; None, for
            all of them, draws from each as much as it has.
        min_face: See `CropMaker`.

    Raises:
        ConfigurationError: `share` is not above 0.
    """

    source: Source
    alignment: Cut = "none"
    filters: Filters = EVERYONE
    share: float | None = None
    min_face: int | None = None

    def __post_init__(self) -> None:
        if self.share is not None and self.share <= 0:
            raise ConfigurationError(
                f"share is {self.share}; give a number above 0, or leave the collection out"
            )

    @property
    def where(self) -> str:
        """The collection, for messages."""
        return str(getattr(self.source, "root", self.source.name))

    def split(
        self, val_share: float, test_share: float
    ) -> tuple[dict[Split, list[LabelledPhoto]], list[Rejection]]:
        """All splits, before any picture is opened, and what its labels alone rule out.

        Raises:
            ConfigurationError: It cannot be used as asked.
        """
        photos, rejected = collect(self.source.read(), self.where)
        if self.alignment == "ffhq" and not any(photo.landmarks for photo in photos):
            raise ConfigurationError(
                f"{self.where} gives no landmarks: set data.init_args.alignment to detector (finds the face) "
                "or none (the pictures are aligned crops already)"
            )
        splits = split_by_identity(photos, val_share=val_share, test_share=test_share, filters=self.filters)
        return splits, rejected


def keep_people_together(collections: Sequence[dict[Split, list[LabelledPhoto]]]) -> None:
    """See that nobody is in several splits of several collections: all goes to the last of train, val, test.

    A person is known by an id that is not the photograph's own name. Two collections that use the same id
    for different people lose nothing but a place in training by it.

    Args:
        collections: Split -> photographs of each collection; changed in place.
    """
    last: defaultdict[str, int] = defaultdict(int)
    for splits in collections:
        for number, split in enumerate(SPLITS):
            for photo in splits[split]:
                if photo.identity != photo.name:
                    last[photo.identity] = max(last[photo.identity], number)
    for splits in collections:
        moved: dict[Split, list[LabelledPhoto]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            for photo in splits[split]:
                moved[SPLITS[last[photo.identity]] if photo.identity in last else split].append(photo)
        splits.update(moved)


def draw_weights(
    ages: Sequence[Sequence[int]],
    shares: Sequence[float | None],
    balance: float,
    cap: float | None,
) -> list[float] | None:
    """Weights for drawing photographs of several collections.

    Ages are balanced over all collections together; shares then say how much of the training each of them
    gets, whatever that makes of the bound `cap` on single photographs.

    Args:
        ages: Of the photographs of each collection, years.
        shares: Of each collection: all of them numbers, or all None.
        balance: See `balance_weights`.
        cap: See `balance_weights`.

    Returns:
        One weight for each photograph, collection after collection; None where all would be equal.

    Raises:
        ConfigurationError: Some collections have a share and others none; see `balance_weights` too.
    """
    together = [age for own in ages for age in own]
    weights = balance_weights(together, balance, cap)
    given = [share for share in shares if share is not None]
    if not given:
        return weights
    if len(given) < len(shares):
        raise ConfigurationError(
            f"{len(given)} of {len(shares)} collections have a share: give every one of them a share, or none"
        )
    scaled = np.ones(len(together)) if weights is None else np.array(weights)
    start = 0
    for own, share in zip(ages, given, strict=True):
        part = scaled[start : start + len(own)]
        part *= share / sum(given) * len(together) / max(part.sum(), 1e-12)
        start += len(own)
    return scaled.tolist()
