"""How sure a figure is: bootstrap intervals that resample people, and paired differences.

The interval is the BCa bootstrap (Efron, "Better bootstrap confidence intervals", JASA 1987): percentiles of
the drawn figures, moved for skew and bias. Its levels are widened as Hesterberg gives it for few people
("What teachers should know about the bootstrap", The American Statistician 2015, section 3.4): as much as a t
interval is wider than one that takes the normal distribution's quantile and divides by n instead of n - 1. It
stays within a figure's range, unlike the studentised bootstrap. How often it holds the true figure at the
sizes used here is measured by `benchmarks/interval_coverage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Over = Literal["people", "photographs"]
AT_ONCE = 1 << 22  # drawn numbers that are held in memory together


@dataclass(frozen=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: The figure.
        low: Lower end; nan where there is only one person, which tells nothing of others.
        high: Upper end, likewise.
        people: How many people it rests on.
        count: How many values (photographs, edits).
    """

    value: float
    low: float
    high: float
    people: int
    count: int

    def __format__(self, spec: str) -> str:
        """`value (low to high)`, each number in the format that is given."""
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def mean_interval(
    values: Sequence[float] | np.ndarray,
    people: Sequence[Hashable],
    *,
    over: Over = "people",
    rounds: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A mean with its interval, whole people drawn anew.

    Args:
        values: `(N,)` finite numbers, one for each photograph or edit.
        people: `(N,)` whom each is of. Where every photograph is of another person, number them.
        over: `people`: the mean of each person's mean, so that all people weigh the same; `photographs`: the
            mean of all values.
        rounds: How often people are drawn.
        level: Share of such intervals that hold the true figure.
        seed: Of the draws.

    Raises:
        ValueError: There are no values, their number is not that of `people`, or one is not a number.
    """
    values, groups = _checked(values, people)
    sums: np.ndarray = np.bincount(groups, values)
    counts: np.ndarray = np.bincount(groups).astype(np.float64)
    if over == "people":
        sums, counts = sums / counts, np.ones_like(counts)
    drawn = np.concatenate(
        [sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in _draws(len(sums), rounds, seed)]
    )
    value = float(sums.sum() / counts.sum())
    without = None
    if len(sums) > 1:
        without = (sums.sum() - sums) / (counts.sum() - counts)
    low, high = _ends(drawn, value, without, level)
    return Interval(value, low, high, len(sums), len(values))


def difference_interval(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    people: Sequence[Hashable],
    *,
    over: Over = "people",
    rounds: int = 4000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of `a - b`, two conditions over the same photographs, with its interval.

    What makes a photograph hard is in both and falls out of the difference: the interval is narrower than
    what two intervals beside each other suggest.

    Args:
        a: `(N,)` of one condition.
        b: `(N,)` of the other, in the same order of photographs.
        people: As `mean_interval`, and so are the rest.
        over: See there.
        rounds: See there.
        level: See there.
        seed: See there.

    Raises:
        ValueError: The conditions differ in number; or see `mean_interval`.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(
            f"{a.shape} values of one condition and {b.shape} of the other: a paired difference takes the "
            "same photographs in the same order"
        )
    return mean_interval(a - b, people, over=over, rounds=rounds, level=level, seed=seed)


def contrast_interval(
    values: Sequence[float] | np.ndarray,
    people: Sequence[Hashable],
    first: np.ndarray,
    second: np.ndarray,
    *,
    rounds: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean over some photographs less that over others, whole people drawn anew.

    The groups may share people (photographs of one person at several ages), who are then drawn for both.

    Args:
        values: `(N,)` finite numbers.
        people: `(N,)` whom each is of.
        first: `(N,)` bool: the first group.
        second: `(N,)` bool: the other.
        rounds: As `mean_interval`, and so are the rest.
        level: See there.
        seed: See there.

    Raises:
        ValueError: A group is empty; or see `mean_interval`.
    """
    values, groups = _checked(values, people)
    if not first.any() or not second.any():
        raise ValueError("one of the groups is empty: a difference needs photographs of both")
    used = first | second
    _, groups = np.unique(groups[used], return_inverse=True)
    parts = [
        (np.bincount(groups, values[used] * chosen), np.bincount(groups, chosen.astype(np.float64)))
        for chosen in (first[used], second[used])
    ]

    def difference(sums: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without people of one group is nan
            return sums[0] / counts[0] - sums[1] / counts[1]

    sums, counts = [part[0] for part in parts], [part[1] for part in parts]
    drawn = np.concatenate(
        [
            difference([s[each].sum(axis=1) for s in sums], [c[each].sum(axis=1) for c in counts])
            for each in _draws(len(sums[0]), rounds, seed)
        ]
    )
    value = float(difference([s.sum() for s in sums], [c.sum() for c in counts]))
    without = None
    if len(sums[0]) > 1:
        without = difference([s.sum() - s for s in sums], [c.sum() - c for c in counts])
    low, high = _ends(drawn, value, without, level)
    return Interval(value, low, high, len(sums[0]), int(used.sum()))


def statistic_interval(
    statistic: Callable[[np.ndarray], float],
    people: Sequence[Hashable],
    *,
    rounds: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Any figure of the photographs with its interval, whole people drawn anew.

    Args:
        statistic: Takes `(M,)` places of photographs, repeated as drawn, and gives the figure; nan where the
            drawn photographs do not have it, and the draw is left out.
        people: `(N,)` whom each photograph is of.
        rounds: How often people are drawn.
        level: Share of such intervals that hold the true figure.
        seed: Of the draws.

    Raises:
        ValueError: There are no photographs.

    Example:
        >>> import numpy as np
        >>> from faceforward.metrics.intervals import statistic_interval
        >>> values = np.array([1.0, 3.0, 4.0, 8.0])
        >>> found = statistic_interval(lambda places: np.median(values[places]), people=[1, 2, 2, 3])
        >>> found.value, found.people, found.low <= 3.5 <= found.high
        (3.5, 3, True)
    """
    _, groups = _checked(np.zeros(len(people)), people)
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    drawn = [
        statistic(np.concatenate([members[place] for place in places]))
        for block in _draws(len(members), rounds, seed)
        for places in block
    ]
    without = None
    if len(members) > 1:
        without = np.array([statistic(np.flatnonzero(groups != group)) for group in range(len(members))])
    value = float(statistic(np.arange(len(groups))))
    low, high = _ends(np.array(drawn, dtype=np.float64), value, without, level)
    return Interval(value, low, high, len(members), len(groups))


def _checked(
    values: Sequence[float] | np.ndarray, people: Sequence[Hashable]
) -> tuple[np.ndarray, np.ndarray]:
    """`(N,)` float64 values and `(N,)` numbers of the people from 0 on, or an error."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) != len(people) or len(values) == 0:
        raise ValueError(f"{values.shape} values for {len(people)} people: give one person for each value")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{int((~np.isfinite(values)).sum())} of {len(values)} values are not numbers: leave those "
            "photographs out of all conditions, and say how many there are"
        )
    numbers: dict[Hashable, int] = {}
    return values, np.array([numbers.setdefault(person, len(numbers)) for person in people])


def _draws(people: int, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """`(rounds, people)` places drawn with repetition, in blocks of rounds."""
    generator = np.random.default_rng(seed)
    block = max(1, AT_ONCE // people)
    for start in range(0, rounds, block):
        yield generator.integers(people, size=(min(block, rounds - start), people), dtype=np.int32)


def _ends(drawn: np.ndarray, value: float, without: np.ndarray | None, level: float) -> tuple[float, float]:
    """The interval's ends (Efron 1987, equations 2.3 and 6.6, at widened levels).

    Args:
        drawn: `(rounds,)` figures of the drawn people; nan ones are left out.
        value: The figure of all people.
        without: `(P,)` the figure with each person left out, for the acceleration; None with one person.
        level: Share of such intervals that hold the true figure.
    """
    drawn = drawn[np.isfinite(drawn)]
    if without is None or len(drawn) == 0 or not np.isfinite(value):
        return float("nan"), float("nan")
    people, rounds = len(without), len(drawn)
    # Draws that equal the figure count half, so that shares, which are coarse, are not moved by it.
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    bias = stats.norm.ppf(np.clip(below, 0.5 / rounds, 1 - 0.5 / rounds))
    apart = np.nan_to_num(np.nanmean(without) - without)
    spread = np.square(apart).sum() ** 1.5
    acceleration = np.power(apart, 3).sum() / (6 * spread) if spread > 0 else 0.0
    wide = -stats.t.ppf((1 - level) / 2, people - 1) * np.sqrt(people / (people - 1))
    moved = bias + np.array([-wide, wide])
    levels = stats.norm.cdf(bias + moved / np.maximum(1 - acceleration * moved, 1e-3))
    low, high = np.quantile(drawn, levels)
    return float(low), float(high)
