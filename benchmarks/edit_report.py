"""Tables of benchmarks of edits, every figure with a 95 % interval over people."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from edited import PLAIN

from faceforward.metrics.age import spearman
from faceforward.metrics.calibration import shipped_calibration
from faceforward.metrics.columns import MeasuredCase, photograph_columns, picture_columns
from faceforward.metrics.intervals import Interval, mean_interval, statistic_interval
from faceforward.metrics.measure import NEAR, Measures
from faceforward.metrics.thresholds import DLIB_RECOGNITION


def report_plain(rows: Sequence[dict[str, Any]], people: Sequence[Any]) -> None:
    """Print double outlines beside those of plain sums, over the pictures that have both."""
    for name in PLAIN:
        both = [
            (person, picture[name], plain[name])
            for person, row in zip(people, rows, strict=True)
            for picture, plain in zip(row["pictures"], row["plain"], strict=True)
            if picture[name] is not None and plain[name] is not None
        ]
        if both:
            whose, ours, theirs = zip(*both, strict=True)
            _say(
                f"{name}: {mean_interval(ours, whose, over='photographs'):.3f}, of the plain sum "
                f"{mean_interval(theirs, whose, over='photographs'):.3f}, n {len(both)}"
            )


def report_measures(
    photos: Sequence[Measures],
    people: Sequence[Any],
    *,
    near: float = NEAR,
    thresholds: Mapping[int, float] = DLIB_RECOGNITION,
) -> None:
    """Print every figure that `faceforward evaluate` has, with 95 % intervals over people.

    Args:
        photos: What was measured.
        people: Whom each shows.
        near: Years within which identity is asked for, and what is kept is told a second time.
        thresholds: Impostor distances by age.
    """
    cases = [
        MeasuredCase(str(place), person, None, photo)
        for place, (person, photo) in enumerate(zip(people, photos, strict=True))
    ]
    table = shipped_calibration()
    columns = picture_columns(cases, table, near=near, thresholds=thresholds)
    target, close = columns.facts["target"], np.abs(columns.facts["gap"]) <= near
    for name, found in columns.figures().items():
        within = columns.figure(name, close) if name.startswith("keeping/") else None
        beside = "" if within is None else f"; within {near:g} years {within:.3f}, n {within.count}"
        _say(f"{name}: {found:.3f}, n {found.count}{beside}")
        if name.startswith("age/") and name.endswith("/bias"):
            read = target + columns.values[name]
            if len(set(target)) > 1:
                order = statistic_interval(
                    lambda places, read=read: float(
                        spearman(torch.from_numpy(read[places]), torch.from_numpy(target[places]))
                    ),
                    columns.people,
                    rounds=500,
                )
                _say(f"{name.removesuffix('bias')}spearman: {order:.3f} over pictures")
        if name.startswith("age/") and name.endswith(("/mae", "/bias")):
            decades = np.floor(target / 10) * 10
            values = columns.values[name]
            each = [f"{start:.0f}: {values[decades == start].mean():+.1f}" for start in np.unique(decades)]
            _say(f"  by the target's decade:  {'   '.join(each)}")
    for name, found in photograph_columns(cases, table).figures().items():
        _say(f"{name}: {found:.2f}, n {found.count}")


def table(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Interval | float | str]]]
) -> None:
    """Print a Markdown table; intervals with their ends."""
    _say(f"\n| {title} | {' | '.join(columns)} |")
    _say("|---" * (len(columns) + 1) + "|")
    for name, cells in rows:
        _say(f"| {name} | {' | '.join(c if isinstance(c, str) else f'{c:.2f}' for c in cells)} |")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
