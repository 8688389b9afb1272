"""Figures by group of people: who is served worse, and by how much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from faceforward.metrics.finding import GAPS
from faceforward.metrics.intervals import Interval, contrast_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceforward.metrics.columns import Columns

FEWEST = 20  # people; smaller cells are named and left out
AGES = ((0, 5), (6, 12), (13, 19), (20, 120))  # years in the photograph, both ends inside


class Cell(NamedTuple):
    """One group.

    Attributes:
        name: `female`, `0-5`, `20 and more`.
        people: In it.
        figures: Name -> figure; None where there are fewer than `FEWEST` people.
    """

    name: str
    people: int
    figures: dict[str, Interval] | None


class Gap(NamedTuple):
    """The largest difference between two groups in one figure.

    Attributes:
        figure: Which.
        high: The group that has more.
        low: The other.
        difference: `high - low`. The two were chosen because they differ most, which makes it look larger
            than it is: an interval that holds zero shows nothing, one that does not is a hint.
    """

    figure: str
    high: str
    low: str
    difference: Interval


def members(columns: Columns) -> dict[str, dict[str, np.ndarray]]:
    """Kind of group (`gender`, `age`, `gap`, `decade`) -> group -> `(N,)` bool."""
    age, gap, target = (columns.facts[name] for name in ("age", "gap", "target"))
    with np.errstate(invalid="ignore"):
        decade = np.floor(target / 10) * 10
    return {
        "gender": {name: columns.genders == name for name in ("female", "male")},
        "age": dict(_spans(np.floor(age), AGES)),
        "gap": dict(_spans(np.abs(gap), GAPS)),
        "decade": {
            f"{start:.0f}-{start + 9:.0f}": decade == start for start in np.unique(decade[decade >= 0])
        },
    }


def _spans(values: np.ndarray, spans: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, np.ndarray]]:
    before = -math.inf
    for first, last in spans:
        name = f"{first} and more" if last >= 100 else f"{first}-{last}"
        with np.errstate(invalid="ignore"):
            yield name, (values > before) & (values <= last)
        before = last


def by_group(columns: Columns, names: list[str]) -> dict[str, list[Cell]]:
    """The figures of each group.

    Args:
        columns: Of pictures or photographs.
        names: Of the columns that are wanted.

    Returns:
        Kind of group -> its groups that occur; kinds with a single group that is everybody are kept.
    """
    found: dict[str, list[Cell]] = {}
    for kind, groups in members(columns).items():
        for name, here in groups.items():
            people = len({columns.people[int(place)] for place in np.flatnonzero(here)})
            if not people:
                continue
            figures = None
            if people >= FEWEST:
                each = {column: columns.figure(column, here) for column in names if column in columns.values}
                figures = {column: value for column, value in each.items() if value is not None}
            found.setdefault(kind, []).append(Cell(name, people, figures))
    return found


def largest_gaps(columns: Columns, cells: dict[str, list[Cell]]) -> dict[str, list[Gap]]:
    """The two groups that are farthest apart, by kind and figure.

    Args:
        columns: As `by_group` had them.
        cells: What it gave.
    """
    where = members(columns)
    found: dict[str, list[Gap]] = {}
    for kind, groups in cells.items():
        kept = {cell.name: cell.figures for cell in groups if cell.figures}
        for name in dict.fromkeys(name for figures in kept.values() for name in figures):
            values = {group: figures[name].value for group, figures in kept.items() if name in figures}
            if len(values) < 2:
                continue
            high, low = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
            column = columns.values[name]
            known = np.flatnonzero(np.isfinite(column))
            difference = contrast_interval(
                column[known],
                [columns.people[int(place)] for place in known],
                where[kind][high][known],
                where[kind][low][known],
            )
            found.setdefault(kind, []).append(Gap(name, high, low, difference))
    return found


def as_json(interval: Interval) -> dict[str, Any]:
    """`value`, `low`, `high`, `people`, `count`; what is not a number is None."""
    ends = {name: getattr(interval, name) for name in ("value", "low", "high")}
    numbers = {name: round(v, 6) if math.isfinite(v) else None for name, v in ends.items()}
    return numbers | {"people": interval.people, "count": interval.count}
