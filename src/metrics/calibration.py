"""What readers of age say of real photographs, and with it the readings of pictures corrected.

A reader that takes true 70-year-olds for 62 rates a model that overshoots by eight years above a perfect one.
So its own bias is measured once on real photographs, age by age, and taken off: the corrected error of a
picture is `reading - target - bias(target)`, which is zero on average where pictures look to the reader as
people of that age do.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from faceforward.errors import ConfigurationError
from faceforward.metrics.intervals import mean_interval

FORMAT = "faceforward-age-calibration-1"
SHIPPED = "calibration.json"  # beside this module
STEP, TOLERANCE = 5, 2  # years: between the ages of the table, and around each of them
FEWEST = 20  # photographs that an age of the table rests on at least


@dataclass(frozen=True)
class AgePoint:
    """A reader at one age.

    Attributes:
        age: Mean true age of the photographs, years.
        count: Photographs.
        people: People on them.
        bias: Mean of reading - true age, years.
        low: Lower end of its 95 % interval over people.
        high: Upper end.
        mae: Mean absolute error, years.
        spread: Mean absolute error once the bias is taken off: what a perfect picture still shows.
    """

    age: float
    count: int
    people: int
    bias: float
    low: float
    high: float
    mae: float
    spread: float


@dataclass(frozen=True)
class Calibration:
    """Readers' tables; between two of its ages a table is a line, beyond its ends it stays what it is there.

    Attributes:
        readers: Reader's name -> its table, ages ascending.
        source: Photographs that it was measured on, in words.
        command: How it was made.
        networks: Reader's name -> file -> SHA-256.

    Example:
        >>> from faceforward.metrics.calibration import AgePoint, Calibration
        >>> points = tuple(AgePoint(a, 50, 50, b, b, b, 9.0, 6.0) for a, b in ((20.0, 2.0), (60.0, -6.0)))
        >>> Calibration({"reader": points}).bias("reader", [20, 40, 80]).tolist()
        [2.0, -2.0, -6.0]
    """

    readers: Mapping[str, tuple[AgePoint, ...]]
    source: str = ""
    command: str = ""
    networks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, points in self.readers.items():
            ages = [point.age for point in points]
            if not points or ages != sorted(set(ages)):
                raise ConfigurationError(
                    f"the calibration of {name} has the ages {ages}: give at least one, ascending"
                )
            if not all(math.isfinite(value) for point in points for value in asdict(point).values()):
                raise ConfigurationError(f"the calibration of {name} holds a value that is not a number")

    def bias(self, reader: str, ages: Sequence[float] | np.ndarray) -> np.ndarray:
        """What the reader adds to true ages, `(N,)` years.

        Args:
            reader: One of `readers`.
            ages: `(N,)` true (or asked for) ages, years.
        """
        return self._between(reader, ages, "bias")

    def spread(self, reader: str, ages: Sequence[float] | np.ndarray) -> np.ndarray:
        """Mean absolute corrected error on real photographs of these ages, `(N,)` years; see `AgePoint`."""
        return self._between(reader, ages, "spread")

    def corrected(self, reader: str, read: np.ndarray, ages: np.ndarray) -> np.ndarray:
        """Errors against what the reader says of real people of these ages, `(N,)` years, signed.

        Args:
            reader: One of `readers`.
            read: `(N,)` readings, years.
            ages: `(N,)` ages asked for, years.
        """
        return np.asarray(read, dtype=np.float64) - ages - self.bias(reader, ages)

    def _between(self, reader: str, ages: Sequence[float] | np.ndarray, name: str) -> np.ndarray:
        points = self.readers[reader]
        known = [point.age for point in points]
        return np.interp(np.asarray(ages, dtype=np.float64), known, [getattr(p, name) for p in points])

    def as_json(self) -> dict[str, Any]:
        """JSON values, read back by `from_json`."""
        tables = {
            name: [{key: round(value, 3) for key, value in asdict(point).items()} for point in points]
            for name, points in self.readers.items()
        }
        networks = {name: dict(files) for name, files in self.networks.items()}
        about = {"format": FORMAT, "source": self.source, "command": self.command, "networks": networks}
        return about | {"readers": tables}

    @classmethod
    def from_json(cls, values: Any, where: str = "the calibration") -> Calibration:
        """What `as_json` wrote.

        Args:
            values: Of the file.
            where: The file, for messages.

        Raises:
            ConfigurationError: It is not of this form.
        """
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ConfigurationError(
                f"{where} is not a table that faceforward evaluate --calibrate wrote ({FORMAT}): make one, "
                "or leave --calibration out for the one that comes with the package"
            )
        try:
            readers = {
                name: tuple(AgePoint(**point) for point in points)
                for name, points in values["readers"].items()
            }
            about = {name: values.get(name, "") for name in ("source", "command")}
            return cls(readers, networks=values.get("networks", {}), **about)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"{where} is damaged ({error}): make it anew with --calibrate"
            ) from error

    def sha256(self) -> str:
        """Of the content, whatever its layout in a file."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()


def read_calibration(path: Path) -> Calibration:
    """Read a table.

    Raises:
        ConfigurationError: There is no such file, or it is not a table.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the calibration {path} cannot be read: {error}") from error
    return Calibration.from_json(values, str(path))


@cache
def shipped_calibration() -> Calibration:
    """The table that comes with the package; its `source` and `command` say how it was made."""
    text = resources.files("faceforward.metrics").joinpath(SHIPPED).read_text(encoding="utf-8")
    return Calibration.from_json(json.loads(text), SHIPPED)


def buckets(ages: Sequence[float] | np.ndarray, step: int = STEP, tolerance: float = TOLERANCE) -> np.ndarray:
    """The age of the table that photographs belong to, `(N,)`; -1 for those between two of them.

    Args:
        ages: `(N,)` true ages, years.
        step: Years between the table's ages, from 0 on.
        tolerance: Years around each that count as that age.
    """
    ages = np.asarray(ages, dtype=np.float64)
    nearest = np.rint(ages / step) * step
    return np.where(np.abs(ages - nearest) <= tolerance, nearest, -1).astype(np.int64)


def calibrate(
    readings: Mapping[str, Sequence[float]],
    ages: Sequence[float],
    people: Sequence[Hashable],
    *,
    step: int = STEP,
    tolerance: float = TOLERANCE,
    fewest: int = FEWEST,
    **about: Any,
) -> Calibration:
    """Make the table of readings of real photographs.

    Args:
        readings: Reader's name -> `(N,)` ages that it reads, years.
        ages: `(N,)` true ages, years.
        people: `(N,)` whom each photograph shows.
        step: See `buckets`.
        tolerance: See `buckets`.
        fewest: Photographs that an age rests on at least; ages with fewer are left out.
        about: `source`, `command` and `networks` of `Calibration`.

    Raises:
        ConfigurationError: No age has enough photographs.
    """
    true, places = np.asarray(ages, dtype=np.float64), buckets(ages, step, tolerance)
    chosen = [
        here
        for bucket in np.unique(places[places >= 0])
        if (here := np.flatnonzero(places == bucket)).size >= fewest
    ]
    if not chosen:
        raise ConfigurationError(
            f"{len(true)} photographs, and at no age {fewest} of them within {tolerance:g} years: give more"
        )
    tables = {}
    for name, years in readings.items():
        error = np.asarray(years, dtype=np.float64) - true
        tables[name] = tuple(
            _point(true[here], error[here], [people[int(i)] for i in here]) for here in chosen
        )
    return Calibration(tables, **about)


def _point(true: np.ndarray, error: np.ndarray, people: Sequence[Hashable]) -> AgePoint:
    found = mean_interval(error, people, over="photographs")
    return AgePoint(
        age=float(true.mean()),
        count=len(true),
        people=found.people,
        bias=found.value,
        low=found.low,
        high=found.high,
        mae=float(np.abs(error).mean()),
        spread=float(np.abs(error - found.value).mean()),
    )
