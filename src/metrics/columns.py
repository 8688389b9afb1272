"""What was measured of many pictures as columns of numbers, of which every figure is a mean."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from faceforward.metrics.identity import IdentityDistance
from faceforward.metrics.intervals import Interval, Over, difference_interval, mean_interval
from faceforward.metrics.measure import MEASURES, NEAR
from faceforward.metrics.thresholds import DLIB_RECOGNITION

if TYPE_CHECKING:
    from faceforward.metrics.calibration import Calibration
    from faceforward.metrics.measure import Measures
    from faceforward.records import Gender

IDENTICAL = 100.0  # dB that stand for the infinite PSNR of pixels in which nothing changed


@dataclass(frozen=True, eq=False)
class MeasuredCase:
    """One photograph, measured, and what is known of it.

    Attributes:
        case: Its name; equal in two folders that are compared.
        person: Whom it shows.
        gender: As given; None where nobody knows.
        measures: Of the photograph and its aged pictures; `age` is nan where it is not known.
        failed: Target ages whose pictures could not be measured.
        later: Target age -> descriptor distances of the aged picture and of the unchanged photograph to the
            nearest real photograph of the person at that age; absent where there is none.
        estimated: The age is a reader's estimate: it serves for the years between, and judges no reader.
    """

    case: str
    person: Hashable
    gender: Gender | None
    measures: Measures
    failed: tuple[int, ...] = ()
    later: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    estimated: bool = False


@dataclass(frozen=True, eq=False)
class Columns:
    """Numbers of many pictures, or of many photographs.

    Attributes:
        keys: `(N,)` case and, of pictures, target: what is the same in two folders.
        people: `(N,)` whom each shows.
        values: Figure's name -> `(N,)` float64; nan where it was not measured.
        facts: `target`, `age`, `gap` (target - age) -> `(N,)` float64, nan where unknown; of photographs the
            target is that of the picture which was looked for.
        genders: `(N,)` female, male or empty.
        over: What weighs the same in a mean; see `mean_interval`.
    """

    keys: Sequence[tuple[str, int]]
    people: Sequence[Hashable]
    values: Mapping[str, np.ndarray]
    facts: Mapping[str, np.ndarray]
    genders: np.ndarray
    over: Over = "photographs"

    def __len__(self) -> int:
        return len(self.keys)

    def figure(self, name: str, chosen: np.ndarray | None = None, *, rounds: int = 2000) -> Interval | None:
        """The mean of a column with its interval; None where no picture has it.

        Args:
            name: Of the column.
            chosen: `(N,)` bool: over these alone.
            rounds: See `mean_interval`.
        """
        values = self.values[name]
        here = np.isfinite(values) if chosen is None else np.isfinite(values) & chosen
        if not here.any():
            return None
        people = [self.people[int(place)] for place in np.flatnonzero(here)]
        return mean_interval(values[here], people, over=self.over, rounds=rounds)

    def figures(self, chosen: np.ndarray | None = None) -> dict[str, Interval]:
        """Name -> figure of every column that has one; see `figure`."""
        found = {name: self.figure(name, chosen) for name in self.values}
        return {name: interval for name, interval in found.items() if interval is not None}

    def without(self, cases: Collection[str]) -> Columns:
        """The same without some cases."""
        kept = np.array([case not in cases for case, _ in self.keys], dtype=bool)
        if kept.all():
            return self
        places = np.flatnonzero(kept).tolist()
        return Columns(
            [self.keys[place] for place in places],
            [self.people[place] for place in places],
            {name: values[kept] for name, values in self.values.items()},
            {name: values[kept] for name, values in self.facts.items()},
            self.genders[kept],
            self.over,
        )

    def differences(self, other: Columns) -> dict[str, Interval]:
        """Name -> mean of `self - other` over the keys that both have a number of, paired.

        Args:
            other: The same of another folder.
        """
        places = {key: place for place, key in enumerate(other.keys)}
        common = [(here, places[key]) for here, key in enumerate(self.keys) if key in places]
        if not common:
            return {}
        ours, theirs = (np.array(each) for each in zip(*common, strict=True))
        found = {}
        for name in self.values:
            if name not in other.values:
                continue
            a, b = self.values[name][ours], other.values[name][theirs]
            both = np.isfinite(a) & np.isfinite(b)
            if both.any():
                people = [self.people[int(place)] for place in ours[both]]
                found[name] = difference_interval(a[both], b[both], people, over=self.over)
        return found


def picture_columns(
    cases: Sequence[MeasuredCase],
    calibration: Calibration | None = None,
    *,
    near: float = NEAR,
    thresholds: Mapping[int, float] | None = DLIB_RECOGNITION,
) -> Columns:
    """Columns of aged pictures, those that failed without numbers.

    `age/<reader>/mae`, `bias` and, where the calibration knows the reader, `calibrated_mae`,
    `calibrated_bias`, `floor` (the calibrated MAE of real photographs of that age); `identity/distance`,
    `identity/near/distance`, `identity/near/share` (within `near` years: passing for the person, as
    `IdentityDistance` has it); `identity/later/aged`, `/unchanged`, `/gained` (unchanged - aged: positive
    where ageing helped); `keeping/gender/<reader>` (1 where the reader sees the given gender),
    `keeping/women/<reader>` (change of the probability of a woman), `keeping/<name>` of `MEASURES`.

    Args:
        cases: Of one folder.
        calibration: Of the readers; None gives raw figures alone.
        near: Years.
        thresholds: See `IdentityDistance`; None for another embedder than its own.
    """
    rows = [(case, picture) for case in cases for picture in case.measures.pictures]
    keys = [(case.case, picture.target) for case, picture in rows]
    lost = [(case, target) for case in cases for target in case.failed]
    keys += [(case.case, target) for case, target in lost]
    everybody = [case for case, _ in rows] + [case for case, _ in lost]
    count = len(keys)
    target = np.array([key[1] for key in keys], dtype=np.float64)
    age = np.array([case.measures.age for case in everybody], dtype=np.float64)
    values: dict[str, np.ndarray] = {}

    def put(name: str, place: int, value: float) -> None:
        values.setdefault(name, np.full(count, np.nan))[place] = value

    for place, (case, picture) in enumerate(rows):
        for reader, years in picture.years.items():
            error = years - picture.target
            put(f"age/{reader}/mae", place, abs(error))
            put(f"age/{reader}/bias", place, error)
        put("identity/distance", place, picture.distance)
        if picture.target in case.later:
            aged, unchanged = case.later[picture.target]
            put("identity/later/aged", place, aged)
            put("identity/later/unchanged", place, unchanged)
            put("identity/later/gained", place, unchanged - aged)
        for reader, share in picture.women.items():
            if case.gender is not None:
                put(f"keeping/gender/{reader}", place, float((share > 0.5) == (case.gender == "female")))
            if reader in case.measures.women:
                put(f"keeping/women/{reader}", place, share - case.measures.women[reader])
        for name in MEASURES[1:]:
            value = getattr(picture, name)
            if not math.isnan(value):
                put(f"keeping/{name}", place, min(value, IDENTICAL))
    _calibrated(values, target, calibration)
    _near(values, target, age, near, thresholds)
    return Columns(
        keys,
        [case.person for case in everybody],
        values,
        {"target": target, "age": age, "gap": target - age},
        np.array([case.gender or "" for case in everybody], dtype=str),
    )


def _calibrated(values: dict[str, np.ndarray], target: np.ndarray, calibration: Calibration | None) -> None:
    """Add the calibrated columns."""
    for name in [name for name in values if name.startswith("age/") and name.endswith("/bias")]:
        reader = name.split("/")[1]
        if calibration is None or reader not in calibration.readers:
            continue
        error = values[name] - calibration.bias(reader, target)
        values[f"age/{reader}/calibrated_mae"] = np.abs(error)
        values[f"age/{reader}/calibrated_bias"] = error
        floor = calibration.spread(reader, target)
        values[f"age/{reader}/floor"] = np.where(np.isfinite(error), floor, np.nan)


def _near(
    values: dict[str, np.ndarray],
    target: np.ndarray,
    age: np.ndarray,
    near: float,
    thresholds: Mapping[int, float] | None,
) -> None:
    """Add identity where target and photograph are few years apart."""
    if "identity/distance" not in values:
        return
    distances = values["identity/distance"]
    close = np.isfinite(distances) & (np.abs(target - age) <= near)
    values["identity/near/distance"] = np.where(close, distances, np.nan)
    if thresholds is not None:
        passing = IdentityDistance(thresholds=thresholds).passing(
            torch.from_numpy(np.nan_to_num(distances)), torch.from_numpy(target)
        )[1]
        values["identity/near/share"] = np.where(close, passing.double().numpy(), np.nan)


def photograph_columns(cases: Sequence[MeasuredCase], calibration: Calibration | None = None) -> Columns:
    """Columns of the photographs themselves: what the readers say of them, `photographs/<reader>/...`.

    Args:
        cases: Of one folder; those whose age is not known or only estimated have no numbers.
        calibration: See `picture_columns`.
    """
    age = np.array([case.measures.age for case in cases], dtype=np.float64)
    values: dict[str, np.ndarray] = {}
    for place, case in enumerate(cases):
        if case.estimated:
            continue
        for reader, years in case.measures.years.items():
            bias = f"photographs/{reader}/bias"
            values.setdefault(bias, np.full(len(cases), np.nan))[place] = years - case.measures.age
    for name in list(values):
        reader = name.split("/")[1]
        values[f"photographs/{reader}/mae"] = np.abs(values[name])
        if calibration is not None and reader in calibration.readers:
            error = values[name] - calibration.bias(reader, np.nan_to_num(age))
            values[f"photographs/{reader}/calibrated_mae"] = np.abs(error)
            values[f"photographs/{reader}/calibrated_bias"] = error
    return Columns(
        [(case.case, -1) for case in cases],
        [case.person for case in cases],
        values,
        {"target": np.full(len(cases), np.nan), "age": age, "gap": np.full(len(cases), np.nan)},
        np.array([case.gender or "" for case in cases], dtype=str),
    )
