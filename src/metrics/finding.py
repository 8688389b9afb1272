"""Real photographs of people at other ages: who is found among them, and how alike real people are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from faceforward.faces.identity import distance
from faceforward.metrics.columns import Columns, MeasuredCase
from faceforward.metrics.retrieval import CLOSE, Gallery, fused, missed, ranks

ADULT = 18  # years, from which on a photograph belongs to a person's template
LATER = 3  # years between a target and a real photograph that it is compared with
GAPS = ((0, 5), (6, 10), (11, 20), (21, 120))  # years between two photographs, both ends inside
CONDITIONS = ("unchanged", "aged", "both")
MOST_PAIRED = 3000  # photographs whose pairs make the bands; four and a half million pairs
FEWEST_PAIRS = 100  # that a band rests on at least


@dataclass(frozen=True, eq=False)
class RealPhotos:
    """Described photographs of people.

    Attributes:
        people: `(N,)` whom each shows.
        ages: `(N,)` float64 years; nan where unknown.
        descriptors: `(N, D)`.
    """

    people: Sequence[Hashable]
    ages: np.ndarray
    descriptors: np.ndarray

    @cached_property
    def places(self) -> dict[Hashable, np.ndarray]:
        """Person -> rows."""
        found: dict[Hashable, list[int]] = {}
        for place, person in enumerate(self.people):
            found.setdefault(person, []).append(place)
        return {person: np.array(rows) for person, rows in found.items()}

    def later(
        self, person: Hashable, age: float, target: int, probes: np.ndarray, years: float = LATER
    ) -> np.ndarray | None:
        """Distances to the nearest real photograph of a person at an age.

        Args:
            person: Whom to compare with.
            age: In the photograph that was aged, years: only later ones count.
            target: The age.
            probes: `(K, D)` descriptors.
            years: Around the target.

        Returns:
            `(K,)` distances, or None where there is no such photograph.
        """
        rows = self.places.get(person)
        if rows is None or not math.isfinite(age):
            return None
        rows = rows[(np.abs(self.ages[rows] - target) <= years) & (self.ages[rows] > age)]
        if len(rows) == 0:
            return None
        return distance(probes[:, None], self.descriptors[rows][None]).min(axis=1)

    def gallery(
        self, latest: Mapping[Hashable, float], adult: float = ADULT
    ) -> tuple[Gallery, dict[Hashable, float]]:
        """One template for each person: the mean of their photographs from an age on.

        Args:
            latest: Person who is looked for -> age in their last photograph that is aged: only later ones
                make their template.
            adult: Age from which on photographs count.

        Returns:
            The gallery, and person -> mean age of the photographs in their template.

        Raises:
            ValueError: Fewer than two people have such photographs.
        """
        least = np.array([max(adult, np.nextafter(latest.get(p, -1.0), np.inf)) for p in self.people])
        rows = np.flatnonzero(self.ages >= least)
        people = [self.people[int(row)] for row in rows]
        ages: dict[Hashable, list[float]] = {}
        for row in rows:
            ages.setdefault(self.people[int(row)], []).append(float(self.ages[row]))
        found = {person: float(np.mean(each)) for person, each in ages.items()}
        return Gallery.of(self.descriptors[rows], people), found


def last_ages(cases: Iterable[MeasuredCase]) -> dict[Hashable, float]:
    """Person -> age in their last photograph that was aged, of all folders that are compared."""
    latest: dict[Hashable, float] = {}
    for case in cases:
        if math.isfinite(case.measures.age):
            latest[case.person] = max(latest.get(case.person, -1.0), case.measures.age)
    return latest


def retrieval_columns(
    cases: Sequence[MeasuredCase], photos: RealPhotos, latest: Mapping[Hashable, float], adult: float = ADULT
) -> tuple[Columns | None, int, int]:
    """Look for the people of aged pictures: one picture of each photograph, the one nearest their age now.

    `retrieval/<condition>/rank1`, `rank5`, `mean_rank`, `fnmr` (see `missed`) for the `unchanged`
    photograph, the `aged` picture and the mean of `both`; `retrieval/<condition>/gained/...` of the last two
    is their difference to the unchanged photograph's.

    Args:
        cases: Of one folder.
        photos: The gallery.
        latest: See `last_ages`.
        adult: Age from which on photographs make a template.

    Returns:
        The columns, None where nobody can be looked for; people in the gallery; photographs whose person has
        no template.
    """
    try:
        gallery, now = photos.gallery(latest, adult)
    except ValueError:
        return None, 0, len(cases)
    known = [case for case in cases if case.person in now and case.person in latest]
    if not known:
        return None, len(gallery.people), len(cases)
    nothing = np.full(gallery.templates.shape[1], np.nan)
    chosen: list[int] = []
    probes: dict[str, list[np.ndarray]] = {name: [] for name in CONDITIONS}
    for case in known:
        pictures = {picture.target: picture for picture in case.measures.pictures}
        targets = [*pictures, *case.failed]
        target = min(targets, key=lambda t: (abs(t - now[case.person]), t)) if targets else -1
        own = case.measures.descriptor
        aged = pictures[target].descriptor if target in pictures else nothing
        chosen.append(target)
        for name, probe in zip(CONDITIONS, (own, aged, fused(own, aged)), strict=True):
            probes[name].append(probe)
    own_rows = gallery.rows([case.person for case in known])
    values: dict[str, np.ndarray] = {}
    for name in CONDITIONS:
        apart = gallery.distances(np.stack(probes[name]))
        places = ranks(apart, own_rows)
        found = {f"rank{most}": (places <= most).astype(np.float64) for most in CLOSE}
        found |= {"mean_rank": places, "fnmr": missed(apart, own_rows).astype(np.float64)}
        values |= {f"retrieval/{name}/{figure}": value for figure, value in found.items()}
    for name in CONDITIONS[1:]:
        for figure in ("rank1", "rank5", "mean_rank", "fnmr"):
            gained = values[f"retrieval/{name}/{figure}"] - values[f"retrieval/unchanged/{figure}"]
            values[f"retrieval/{name}/gained/{figure}"] = gained
    age = np.array([case.measures.age for case in known])
    target = np.array(chosen, dtype=np.float64)
    columns = Columns(
        [(case.case, -1) for case in known],
        [case.person for case in known],
        values,
        {"target": target, "age": age, "gap": target - age},
        np.array([case.gender or "" for case in known], dtype=str),
        over="people",
    )
    return columns, len(gallery.people), len(cases) - len(known)


def rank_curve(ranks_found: np.ndarray, people: int) -> list[float]:
    """Share of probes whose person is among the first k, for k = 1 to `people` (the CMC curve).

    Args:
        ranks_found: `(N,)` ranks.
        people: In the gallery.
    """
    return [float((ranks_found <= k).mean()) for k in range(1, people + 1)]


def identity_bands(photos: RealPhotos, *, seed: int = 0) -> list[dict[str, float | str]]:
    """How far real photographs are apart, by the years between them: of one person, and of two people.

    Args:
        photos: Of whom.
        seed: Of the draw where there are very many.

    Returns:
        For each span of `GAPS` and each of `same` and `different` with at least `FEWEST_PAIRS` pairs: `kind`,
        `from`, `to` (years), `pairs`, and the quantiles `p1`, `p5`, `p50`, `p95`, `p99` of the distance.
    """
    rows = np.flatnonzero(np.isfinite(photos.ages))
    rows = np.random.default_rng(seed).permutation(rows)[:MOST_PAIRED]
    numbers: dict[Hashable, int] = {}
    person = np.array([numbers.setdefault(photos.people[int(row)], len(numbers)) for row in rows])
    ages, described = photos.ages[rows], photos.descriptors[rows].astype(np.float64)
    parts: dict[tuple[str, int], list[np.ndarray]] = {}
    for place in range(len(rows) - 1):
        apart = distance(described[place + 1 :], described[place]).astype(np.float32)
        gap = np.abs(ages[place + 1 :] - ages[place])
        same = person[place + 1 :] == person[place]
        for number, (_, last) in enumerate(GAPS):
            before = GAPS[number - 1][1] if number else -1
            here = (gap > before) & (gap <= last)
            parts.setdefault(("same", number), []).append(apart[here & same])
            parts.setdefault(("different", number), []).append(apart[here & ~same])
    found: list[dict[str, float | str]] = []
    for (kind, number), pieces in sorted(parts.items()):
        values = np.concatenate(pieces)
        if len(values) < FEWEST_PAIRS:
            continue
        quantiles = {f"p{q}": round(float(np.percentile(values, q)), 4) for q in (1, 5, 50, 95, 99)}
        span = {"from": GAPS[number][0], "to": GAPS[number][1]}
        found.append({"kind": kind, **span, "pairs": len(values), **quantiles})
    return found
