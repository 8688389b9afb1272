"""How near a stranger's face may come to one person's, told from that person's own descriptor.

Descriptors of different people do not lie evenly: dlib's network crowds East Asian faces and children
together and sets European adults far apart. One limit for all is too strict for some and too lax for others.
But how near the nearest strangers of an age come to a face follows from how far its descriptor lies from the
mean descriptors of people of that age in the two data sets that were measured (All-Age-Faces and FG-NET).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = "faceforward-strangers-1"
FILE = Path(__file__).with_name("strangers.json")


@dataclass(frozen=True)
class Neighbourhood:
    """People of some ages.

    Attributes:
        from_age: The first of them, years.
        means: Their mean descriptors in each data set, `(2, D)`.
        offset: Limit at no distance from either.
        slopes: What the distances from them add, `(2,)`.
    """

    from_age: int
    means: np.ndarray
    offset: float
    slopes: np.ndarray

    def limit(self, descriptor: np.ndarray) -> float:
        """The distance from `descriptor`, `(D,)`, that few strangers of these ages come within."""
        return self.offset + float(self.slopes @ np.linalg.norm(descriptor - self.means, axis=1))


@dataclass(frozen=True)
class Strangers:
    """The table, by the age of the strangers.

    Measured with: python benchmarks/strangers.py --write

    Attributes:
        embedder: Name of the network whose descriptors it is for.
        share: Of strangers that come within a limit.
        rows: In the order of their ages, the first from 0 on.
    """

    embedder: str
    share: float
    rows: tuple[Neighbourhood, ...]

    def limit(self, age: float | None, *descriptors: np.ndarray) -> float:
        """The distance of two descriptors from which on a stranger could be as near.

        Args:
            age: Of the strangers, years; None takes the age with the nearest of them.
            descriptors: `(D,)`, of the photograph and of the picture: the one with nearer neighbours decides.
        """
        if age is None:
            return min(self.limit(row.from_age, *descriptors) for row in self.rows)
        row = max((each for each in self.rows if each.from_age <= max(age, 0)), key=lambda r: r.from_age)
        return min(row.limit(np.asarray(each, dtype=np.float64)) for each in descriptors)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Strangers:
        """The table as `benchmarks/strangers.py` writes it.

        Raises:
            ValueError: It is of another format.
        """
        if content.get("format") != FORMAT:
            raise ValueError(f"the table of strangers is not of the format {FORMAT}")
        rows = (
            Neighbourhood(row["from_age"], np.array(row["means"]), row["offset"], np.array(row["slopes"]))
            for row in content["rows"]
        )
        return cls(content["embedder"], content["share"], tuple(rows))


@cache
def shipped_strangers() -> Strangers:
    """The table that travels with the package, for `DlibEmbedder`."""
    return Strangers.from_json(json.loads(FILE.read_text(encoding="utf-8")))


def stranger_limits(
    embedder: str, photograph: np.ndarray, pictures: Mapping[int, np.ndarray]
) -> dict[int, float]:
    """For each picture of a person at an age the distance from which on it could be a stranger of that age.

    Args:
        embedder: Name of the network.
        photograph: Its descriptor of the photograph, `(D,)`.
        pictures: Age in years -> descriptor of the picture, `(D,)`.

    Returns:
        Age -> limit; empty for networks that were not measured.
    """
    table = shipped_strangers()
    if embedder != table.embedder:
        return {}
    return {age: table.limit(age, photograph, picture) for age, picture in pictures.items()}
