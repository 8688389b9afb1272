"""Tables of benchmarks of edits, every figure with a 95 % interval over people."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from edited import PLAIN

from faceforward.metrics.age import spearman
from faceforward.metrics.identity import IdentityDistance
from faceforward.metrics.intervals import Interval, mean_interval, statistic_interval
from faceforward.metrics.measure import MEASURES, NEAR, Measures, figures
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
    """Print ages by every reader, identity, and what is kept, with 95 % intervals over people.

    Args:
        photos: What was measured.
        people: Whom each shows.
        near: Years within which identity and sharpness are asked for.
        thresholds: Impostor distances by age.
    """
    found = figures(photos, near=near)
    pictures = [
        (person, photo, p) for person, photo in zip(people, photos, strict=True) for p in photo.pictures
    ]
    whose = [person for person, _, _ in pictures]
    targets = np.array([p.target for _, _, p in pictures], dtype=np.float64)
    for reader in dict.fromkeys(name for _, _, p in pictures for name in p.years):
        read = np.array([p.years[reader] for _, _, p in pictures])
        mae = mean_interval(np.abs(read - targets), whose, over="photographs")
        bias = mean_interval(read - targets, whose, over="photographs")
        _say(f"age by {reader}: MAE {mae:.2f}, bias {bias:+.2f} years over {mae.count} pictures")
        if len(set(targets)) > 1:
            order = statistic_interval(
                lambda places, read=read: float(
                    spearman(torch.from_numpy(read[places]), torch.from_numpy(targets[places]))
                ),
                whose,
                rounds=500,
            )
            _say(f"  Spearman {order:.3f} over pictures")
        decades = [
            f"{start}: {found[f'age/{reader}/mae/{start}']:.1f}, {found[f'age/{reader}/bias/{start}']:+.1f}"
            for start in range(0, 100, 10)
            if f"age/{reader}/mae/{start}" in found
        ]
        _say(f"  by target's decade, MAE and bias:  {'   '.join(decades)}")
        real = [abs(photo.years[reader] - photo.age) for photo in photos]
        _say(f"  its error on the photographs themselves: MAE {mean_interval(real, people):.2f}")
    close = [(person, p) for person, photo, p in pictures if abs(p.target - photo.age) <= near]
    if close:
        passing = IdentityDistance(thresholds=thresholds).passing(
            torch.tensor([p.distance for _, p in close]), torch.tensor([p.target for _, p in close])
        )[1]
        names = [person for person, _ in close]
        _say(
            f"identity within {near:g} years: below the 1 % impostor distance "
            f"{mean_interval(passing.double().numpy(), names, over='photographs'):.3f}, distance "
            f"{mean_interval([p.distance for _, p in close], names, over='photographs'):.3f}, n {len(close)}"
        )
    for name in MEASURES:
        for label, chosen in ((f"within {near:g} years", close), ("all", [(w, p) for w, _, p in pictures])):
            kept = [(w, getattr(p, name)) for w, p in chosen if math.isfinite(getattr(p, name))]
            if kept:
                values = [value for _, value in kept]
                mean = mean_interval(values, [w for w, _ in kept], over="photographs")
                _say(f"{name}, {label}: mean {mean:.3f}, median {np.median(values):.3f}, n {len(kept)}")


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
