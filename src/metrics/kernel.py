"""How far aged pictures as a whole are from real photographs of the same ages: the kernel distance (KID)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats
from torchmetrics.image.kid import poly_mmd

from faceforward.metrics.intervals import Interval

if TYPE_CHECKING:
    from faceforward.metrics.columns import MeasuredCase
    from faceforward.metrics.finding import RealPhotos

FEWEST = 20  # people on either side
MOST = 1000  # descriptors on either side, as the field takes subsets of 1,000
PARTS = 20  # that people are divided into for the jackknife
LEVEL = 0.95


def kernel_distance(
    real: np.ndarray,
    aged: np.ndarray,
    real_people: Sequence[Hashable],
    aged_people: Sequence[Hashable],
    *,
    seed: int = 0,
) -> Interval | None:
    """KID (Binkowski et al., ICLR 2018) of two sets of descriptors, with its interval.

    The unbiased squared MMD under the kernel `(x.y / d + 1)^3`, by torchmetrics, of descriptors that are
    brought to length `sqrt(d)` first, so that `x.y / d` is their cosine: for short descriptors the kernel
    would be flat otherwise. Values of other networks, Inception's above all, mean something else.

    The interval leaves out a twentieth of the people at a time, on both sides together (the delete-a-group
    jackknife with a t quantile): the bootstrap draws people twice, whose equal pictures an unbiased estimate
    must not see.

    Args:
        real: `(N, D)` finite descriptors of real photographs.
        aged: `(M, D)` of aged pictures.
        real_people: `(N,)` whom each shows.
        aged_people: `(M,)` likewise.
        seed: Of the division, and of the draw where there are more than `MOST`.

    Returns:
        The distance, which may be below 0 where there is none; `people` and `count` are of the aged pictures.
        None where either side has fewer than `FEWEST` people.
    """
    random = np.random.default_rng(seed)
    sides = []
    for descriptors, people in ((real, real_people), (aged, aged_people)):
        places = random.permutation(len(descriptors))[:MOST]
        x = np.asarray(descriptors, dtype=np.float64)[places]
        x *= math.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)
        sides.append((torch.from_numpy(x), [people[int(place)] for place in places]))
    everybody = list(dict.fromkeys(person for _, people in sides for person in people))
    if min(len(set(people)) for _, people in sides) < FEWEST:
        return None
    parts = dict(zip(everybody, random.permutation(len(everybody)) % PARTS, strict=True))
    groups = [np.array([parts[person] for person in people]) for _, people in sides]
    whole = _distance(*(x for x, _ in sides))
    without = [
        _distance(*(x[torch.from_numpy(group != part)] for (x, _), group in zip(sides, groups, strict=True)))
        for part in range(PARTS)
    ]
    error = math.sqrt((PARTS - 1) / PARTS * float(np.square(np.array(without) - np.mean(without)).sum()))
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, PARTS - 1)) * error
    aged_side = sides[1][1]
    return Interval(whole, whole - reach, whole + reach, len(set(aged_side)), len(aged_side))


def kernel_figures(
    cases: Sequence[MeasuredCase], photos: RealPhotos, embedder: str, *, seed: int = 0
) -> dict[str, Interval]:
    """`kernel/<embedder>/<decade>`: aged pictures of each decade against real photographs of these ages.

    Args:
        cases: Of one folder.
        photos: The gallery.
        embedder: Name of the network that made the descriptors.
        seed: See `kernel_distance`.

    Returns:
        Of the decades for which both have enough people.
    """
    pictures = [(case.person, picture) for case in cases for picture in case.measures.pictures]
    found = {}
    for decade in sorted({picture.target // 10 * 10 for _, picture in pictures}):
        here = np.flatnonzero((photos.ages >= decade) & (photos.ages < decade + 10))
        chosen = [(person, p.descriptor) for person, p in pictures if p.target // 10 * 10 == decade]
        if not len(here):
            continue
        apart = kernel_distance(
            photos.descriptors[here],
            np.stack([descriptor for _, descriptor in chosen]),
            [photos.people[int(place)] for place in here],
            [person for person, _ in chosen],
            seed=seed,
        )
        if apart is not None:
            found[f"kernel/{embedder}/{decade}"] = apart
    return found


def _distance(real: torch.Tensor, aged: torch.Tensor) -> float:
    """Unbiased squared MMD of descriptors, all of the smaller side and as many of the other."""
    size = min(len(real), len(aged))
    return float(poly_mmd(real[:size], aged[:size]))
