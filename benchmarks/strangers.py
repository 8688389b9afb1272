"""How near strangers come to one person's photograph: the source of `src/metrics/strangers.json`.

    python benchmarks/strangers.py --write      measures, and writes the table that verdicts are made by

To each photograph of two data sets (All-Age-Faces: one photograph a person, mostly East Asian; FG-NET: family
albums, mostly European) the distance is found that 1 % of the people of an age come within, in the data set
whose people are nearer to it. It follows from how far the photograph's descriptor lies from the mean one of
that age in each data set: the further out, the fewer neighbours. The plane through both data sets, which
count alike, is the table, shifted and stretched so that in each 1 % of the pairs of different people of that
age pass. Then it is tried on pairs with years between them: of different people, and of one person.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import fgnet_faces
import numpy as np
import real_faces
from impostors import BANDS

from faceforward.faces.crops import resized
from faceforward.faces.identity import DlibEmbedder
from faceforward.metrics.strangers import FILE, FORMAT, Strangers

SHARE = 0.01  # of strangers
TARGETS = (0, 10, 20, 30)  # first age of each row
SIDE = 512
GAPS = ((0, 5), (5, 10), (10, 20), (20, 30), (30, 70))  # years between two photographs of a person


@dataclass(frozen=True)
class People:
    """Photographs of a data set.

    Attributes:
        name: Of the data set.
        descriptors: `(N, 128)`.
        ages: `(N,)` years.
        who: `(N,)`, equal for photographs of one person.
        genders: `(N,)`; empty where not known.
    """

    name: str
    descriptors: np.ndarray
    ages: np.ndarray
    who: np.ndarray
    genders: np.ndarray

    def of(self, chosen: np.ndarray) -> People:
        """Some of them."""
        parts = (each[chosen] for each in (self.descriptors, self.ages, self.who, self.genders))
        return People(self.name, *parts)

    def mean(self) -> np.ndarray:
        """Mean descriptor; each person counts as one."""
        return np.mean([self.descriptors[self.who == each].mean(0) for each in np.unique(self.who)], axis=0)


def main() -> int:
    """Measure, print, and write with `--write`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=120, help="of All-Age-Faces for each ten years of age")
    parser.add_argument("--fgnet", type=Path, default=fgnet_faces.FOLDER)
    parser.add_argument("--descriptors", type=Path, help="a .npz to keep them in, and to take them from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {FILE}")
    options = parser.parse_args()

    sets = described(options)
    rows = [row_of(first, last, sets) for first, last in zip(TARGETS, (*TARGETS[1:], 200), strict=True)]
    table = {"format": FORMAT, "embedder": DlibEmbedder.name, "share": SHARE, "rows": rows}
    if options.write:
        FILE.write_text(json.dumps(table, indent=None, separators=(",", ":")) + "\n", encoding="utf-8")
    for row in rows:
        sys.stdout.write(
            f"from {row['from_age']:2}: limit {row['offset']:.3f} + {row['slopes'][0]:.3f} r1 + "
            f"{row['slopes'][1]:.3f} r2; a photograph's own limit is off by {row['error']:.3f} (standard "
            "deviation)\n"
        )
    tried(Strangers.from_json(table), sets)
    return 0


def described(options: argparse.Namespace) -> list[People]:
    """Both data sets."""
    if options.descriptors and options.descriptors.is_file():
        kept = np.load(options.descriptors)
        names = ("descriptors", "ages", "who", "genders")
        return [
            People(name, *(kept[f"{name}_{each}"] for each in names)) for name in ("All-Age-Faces", "FG-NET")
        ]
    embedder = DlibEmbedder()
    faces = fgnet_faces.read(options.fgnet)
    crops = fgnet_faces.crops(faces, SIDE)
    seen = [place for place, crop in enumerate(crops) if crop is not None]
    album = People(
        "FG-NET",
        embedder.embed([crops[place] for place in seen]),
        np.array([faces[place].age for place in seen]),
        np.array([faces[place].person for place in seen]),
        np.full(len(seen), ""),
    )
    drawn = real_faces.sample(real_faces.ARCHIVE, "train", BANDS, options.photos, seed=options.seed)
    labels = [label for band in drawn for label in band]
    pictures = real_faces.pictures(real_faces.ARCHIVE, labels)
    web = People(
        "All-Age-Faces",
        embedder.embed([resized(picture, SIDE) for picture in pictures]),
        np.array([label.age for label in labels]),
        np.arange(len(labels)),
        np.array([str(label.gender) for label in labels]),
    )
    if options.descriptors:
        kept = {f"{each.name}_{key}": value for each in (web, album) for key, value in vars(each).items()}
        np.savez(options.descriptors, **{key: v for key, v in kept.items() if not key.endswith("_name")})
    return [web, album]


def apart(one: People, other: People) -> np.ndarray:
    """Distances `(N, M)`; NaN between photographs of one person."""
    squares = (one.descriptors**2).sum(1)[:, None] + (other.descriptors**2).sum(1)
    distances = np.sqrt(np.maximum(squares - 2 * one.descriptors @ other.descriptors.T, 0))
    same = (one.who[:, None] == other.who) & (one.name == other.name)
    return np.where(same, np.nan, distances)


def nearest(people: People, strangers: list[People]) -> np.ndarray:
    """For each photograph the distance that `SHARE` of strangers come within, of the set that is nearer.

    Where the gender is known, of strangers of the same one.
    """
    found = []
    for each in strangers:
        distances = apart(people, each)
        if people.genders[0] and each.genders[0]:
            distances = np.where(people.genders[:, None] == each.genders, distances, np.nan)
        found.append(np.nanquantile(distances, SHARE, axis=1))
    return np.min(found, axis=0)


def row_of(first: int, last: int, sets: list[People]) -> dict:
    """One row of the table: the mean descriptors at that age, and the plane."""
    there = [each.of((each.ages >= first) & (each.ages < last)) for each in sets]
    means = np.stack([each.mean() for each in there])
    radii = np.concatenate([np.linalg.norm(each.descriptors[:, None] - means, axis=2) for each in sets])
    limits = np.concatenate([nearest(each, there) for each in sets])
    weights = np.concatenate([np.full(len(each.ages), len(each.ages) ** -0.5) for each in sets])
    columns = np.column_stack([np.ones(len(radii)), radii])
    plane, *_ = np.linalg.lstsq(columns * weights[:, None], limits * weights, rcond=None)
    table = Strangers.from_json(
        {
            "format": FORMAT,
            "embedder": "",
            "share": SHARE,
            "rows": [{"from_age": 0, "offset": plane[0], "slopes": plane[1:], "means": means}],
        }
    )
    shift, stretch = levelled([pairs(table, first, each, each) for each in there])
    return {
        "from_age": first,
        "offset": round(float(shift + stretch * plane[0]), 4),
        "slopes": [round(float(stretch * slope), 4) for slope in plane[1:]],
        "error": round(float(np.std(limits - columns @ plane)), 4),
        "means": [[round(float(value), 4) for value in mean] for mean in means],
    }


def levelled(sets: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Shift and stretch of limits with which `SHARE` of the pairs of either set pass.

    Args:
        sets: Distances and limits of pairs, of two data sets.
    """

    def shifts(stretch: float) -> np.ndarray:
        return np.array([np.quantile(distances - stretch * limits, SHARE) for distances, limits in sets])

    tried = np.linspace(0.3, 2, 171)
    stretch = min(tried, key=lambda each: abs(np.diff(shifts(each))[0]))
    return float(shifts(stretch).min()), float(stretch)


def pairs(table: Strangers, age: int, one: People, other: People) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the pairs of different people of two groups, and the limits of these."""
    distances = apart(one, other)
    rows = [each for each in np.ndindex(*distances.shape) if one is not other or each[0] < each[1]]
    rows = [each for each in rows if not np.isnan(distances[each])]
    limits = [table.limit(age, one.descriptors[a], other.descriptors[b]) for a, b in rows]
    return np.array([distances[each] for each in rows]), np.array(limits)


def tried(table: Strangers, sets: list[People]) -> None:
    """Print how many pairs pass: of different people, and of one person over the years."""
    for people in sets:
        bands = [
            people.of((people.ages >= a) & (people.ages < b))
            for a, b in zip(TARGETS, (*TARGETS[1:], 200), strict=True)
        ]
        for age, target in zip(TARGETS, bands, strict=True):
            for before, source in zip(TARGETS, bands, strict=True):
                if before <= age:
                    distances, limits = pairs(table, age, source, target)
                    sys.stdout.write(
                        f"{people.name}: photograph from {before} on, stranger from {age} on: limit "
                        f"{np.median(limits):.3f} (median), {(distances < limits).mean():.2%} pass\n"
                    )
    album = sets[1]
    one, other = np.nonzero((album.who[:, None] == album.who) & (album.ages[:, None] < album.ages))
    gaps = album.ages[other] - album.ages[one]
    far = np.linalg.norm(album.descriptors[one] - album.descriptors[other], axis=1)
    limits = np.array(
        [table.limit(album.ages[b], *album.descriptors[[a, b]]) for a, b in zip(one, other, strict=True)]
    )
    for first, last in GAPS:
        mine = (gaps >= first) & (gaps < last)
        sys.stdout.write(
            f"one person, {first} to {last} years apart: {mine.sum()} pairs, distance "
            f"{np.median(far[mine]):.3f}, limit {np.median(limits[mine]):.3f} (medians), "
            f"{(far < limits)[mine].mean():.0%} pass\n"
        )


if __name__ == "__main__":
    sys.exit(main())
