"""Which photographs of a collection are used, for what, and how often: filters, splits by person, weights."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from faceforward.datamodules.sources import OLDEST
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from faceforward.datamodules.sources import LabelledPhoto
    from faceforward.records import Gender

logger = logging.getLogger(__name__)

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
BIN = 5  # years: ages are balanced by bins of this width


@dataclass(frozen=True)
class Filters:
    """Which photographs to keep. What is left out by a filter is not bad and is not listed as rejected.

    Attributes:
        min_age: Years.
        max_age: Years.
        genders: None keeps all, also those of unknown gender.
        devices: How the photograph was taken (AI Hub: `digital`, `film` ...); None keeps all.
        exclude: CSV whose column `faces_128_file` or, without it, `file` names photographs to leave out.
        photos_per_person: Most photographs of one person; None keeps all.
        seed: Decides which ones these are.
    """

    min_age: int = 0
    max_age: int = OLDEST
    genders: list[Gender] | None = None
    devices: list[str] | None = None
    photos_per_person: int | None = None
    seed: int = 0
    exclude: str | None = None

    def __post_init__(self) -> None:
        if self.min_age > self.max_age:
            raise ConfigurationError(f"filters: min_age {self.min_age} is above max_age {self.max_age}")
        if self.photos_per_person is not None and self.photos_per_person < 1:
            raise ConfigurationError(
                f"filters: photos_per_person is {self.photos_per_person}; give 1 or more, or null for all"
            )

    def apply(self, photos: Sequence[LabelledPhoto]) -> list[LabelledPhoto]:
        """The photographs that pass, in their order.

        Raises:
            ConfigurationError: None does.
        """
        devices = None if self.devices is None else {device.lower() for device in self.devices}
        excluded = set() if self.exclude is None else listed(Path(self.exclude))
        kept = [
            photo
            for photo in photos
            if self.min_age <= photo.age <= self.max_age
            and (self.genders is None or photo.gender in self.genders)
            and (devices is None or photo.device in devices)
            and PurePosixPath(photo.file.shown).name not in excluded
        ]
        if self.photos_per_person is not None:
            kept = _few_of_each(kept, self.photos_per_person, self.seed)
        if not kept:
            known = sorted({str(photo.device) for photo in photos})
            raise ConfigurationError(
                f"none of the {len(photos)} photographs passes {self}; ages here are "
                f"{min(p.age for p in photos)} to {max(p.age for p in photos)}, devices {', '.join(known)}"
            )
        if len(kept) < len(photos):
            logger.info("%d of %d photographs pass %s", len(kept), len(photos), self)
        return kept


EVERYONE = Filters()


def listed(path: Path) -> set[str]:
    """The file names in the column `faces_128_file` or, without it, `file` of a CSV.

    Raises:
        ConfigurationError: It is not a CSV with such a column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            column = "faces_128_file" if "faces_128_file" in (reader.fieldnames or ()) else "file"
            return {row[column] for row in reader}
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise ConfigurationError(
            f"{path} is not a CSV with the column faces_128_file or file ({error}): give another list of "
            "photographs to exclude, or null to leave nothing out"
        ) from error


def _few_of_each(photos: Sequence[LabelledPhoto], count: int, seed: int) -> list[LabelledPhoto]:
    """`count` photographs of each person; which ones depends on nothing but their names and the seed."""
    people: defaultdict[str, list[LabelledPhoto]] = defaultdict(list)
    for photo in photos:
        people[photo.identity].append(photo)
    chosen = {
        photo.name
        for own in people.values()
        for photo in sorted(own, key=lambda photo: _digest(f"{seed} {photo.name}"))[:count]
    }
    return [photo for photo in photos if photo.name in chosen]


def _digest(text: str) -> int:
    raw = text.encode(errors="surrogatepass")  # JSON may hold halves of surrogate pairs
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")


def place_of(identity: str) -> float:
    """A person's fixed place in [0, 1): always the same, on every machine and whoever else is there."""
    return _digest(f"split {identity}") / 2**64


def split_by_identity(
    photos: Iterable[LabelledPhoto],
    *,
    val_share: float = 0.05,
    test_share: float = 0.05,
    filters: Filters = EVERYONE,
) -> dict[Split, list[LabelledPhoto]]:
    """Divide photographs so that every person is in one split only, the same whatever is filtered.

    What the collection gives is respected: a `train` person is never held out. `held-out` people are divided
    between val and test in the proportion of the shares, people without a split in proportion to all three.
    Where the collection gives nothing but `train`, or nothing but `held-out` (one half of it was downloaded),
    it is taken as giving nothing. Of a person who is given several splits all photographs go to the last of
    train, val, test.

    Args:
        photos: All of the collection, in any order, which each split keeps.
        val_share: Of the people.
        test_share: Of the people.
        filters: Applied once the people are divided, so that nobody changes the split with them.

    Returns:
        All three splits; one may be empty.

    Raises:
        ConfigurationError: The shares are no shares, or no photograph passes the filters.
    """
    if min(val_share, test_share) < 0 or val_share + test_share >= 1:
        raise ConfigurationError(
            f"val_share {val_share} and test_share {test_share} must be 0 or more and less than 1 together"
        )
    photos = list(photos)
    given: defaultdict[str, set[str]] = defaultdict(set)
    for photo in photos:
        if photo.given is not None:
            given[photo.identity].add(photo.given)
    everyone = {photo.identity for photo in photos}
    only = set().union(*given.values())
    if given.keys() == everyone and only in ({"train"}, {"held-out"}):
        logger.info("the collection gives no split but %s: its people are divided by their hash", *only)
        given.clear()
    torn = [identity for identity, splits in given.items() if len(splits) > 1]
    if torn:
        logger.warning("%d people are in several splits, the first is %s: one is taken", len(torn), torn[0])
    where = {
        identity: _split_of(identity, splits, val_share, test_share) for identity, splits in given.items()
    }
    result: dict[Split, list[LabelledPhoto]] = {split: [] for split in SPLITS}
    for photo in filters.apply(photos):
        if photo.identity not in where:
            where[photo.identity] = _split_of(photo.identity, set(), val_share, test_share)
        result[where[photo.identity]].append(photo)
    return result


def _split_of(identity: str, given: set[str], val_share: float, test_share: float) -> Split:
    for split in ("test", "val"):
        if split in given:
            return split  # type: ignore[return-value]
    place, held_out = place_of(identity), val_share + test_share
    if "held-out" in given:
        return "test" if place * held_out < test_share else "val"
    if given or place >= held_out:
        return "train"
    return "test" if place < test_share else "val"


def refuse_one_age(ages: Sequence[int], where: str | Path) -> None:
    """See that training photographs can teach something about ages.

    Args:
        ages: Of all of them, years.
        where: Where they come from, for the message.

    Raises:
        ConfigurationError: All are of one age.
    """
    if len(set(ages)) == 1:
        raise ConfigurationError(
            f"all {len(ages)} training photographs of {where} are {ages[0]} years old: nothing about ages "
            "can be learnt from one age; check the labels, and what data.init_args leaves out of them"
        )


def balance_weights(ages: Sequence[int], balance: float, cap: float | None = None) -> list[float] | None:
    """Weights for drawing photographs so that rare ages come more often.

    Without a cap, the few photographs of a very rare age are drawn hundreds of times as often as others, and
    the model learns these people instead of the age. With it no photograph, hence no person and no age, is
    drawn more than `cap` times as often as if all were drawn evenly.

    Args:
        ages: Of the photographs, years.
        balance: 0 draws photographs evenly, 1 draws ages evenly; between them a compromise (weights are the
            count of the age's five-year bin to the power -balance).
        cap: How much more often than evenly a photograph may be drawn; None sets no bound.

    Returns:
        One weight for each photograph, 1 on average; None where all would be equal.

    Raises:
        ConfigurationError: `balance` is not in [0, 1], or `cap` is below 1.
    """
    if not 0 <= balance <= 1:
        raise ConfigurationError(f"balance is {balance}; give a number from 0 to 1")
    if cap is not None and cap < 1:
        raise ConfigurationError(f"balance_cap is {cap}; give 1 or more, or null for no bound")
    if not balance or not ages:
        return None
    counts = Counter(age // BIN for age in ages)
    weights = np.array([counts[age // BIN] ** -balance for age in ages])
    return capped(weights, cap).tolist()


def capped(weights: np.ndarray, cap: float | None) -> np.ndarray:
    """Weights of mean 1, none above `cap`: what is cut off is shared out among the others.

    Args:
        weights: `(N,)`, positive.
        cap: At least 1; None cuts nothing.

    Returns:
        `(N,)` float64. Weights below the cap keep their proportions.
    """
    weights = weights / weights.mean()
    if cap is None:
        return weights
    at_cap = np.zeros(len(weights), dtype=bool)
    while (above := (weights > cap * (1 + 1e-12)) & ~at_cap).any():
        at_cap |= above
        weights[at_cap] = cap
        rest = ~at_cap
        if rest.any():
            weights[rest] *= (len(weights) - cap * at_cap.sum()) / weights[rest].sum()
    return weights
