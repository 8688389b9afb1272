"""How far a reader of ages is off on real photographs, by age; `--search` moves its window.

`python benchmarks/estimator_error.py` (dlib's, around the ages 10 to 70), `--reader faceres --split val
--decades` (the other's, over all ages), `--reader faceres --fgnet` (FG-NET, found and cut out anew).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
import real_faces

from faceforward.faces.age import FACE_WINDOW, AgeEstimator, DlibAgeEstimator
from faceforward.faces.align import align
from faceforward.faces.crops import Window
from faceforward.faces.detect import default_detector, find_faces
from faceforward.faces.faceres import FACERES_WINDOW, FaceResAgeEstimator
from faceforward.faces.reading import read_photo

AGES = range(10, 71, 10)
READERS = {"dlib": (DlibAgeEstimator, FACE_WINDOW), "faceres": (FaceResAgeEstimator, FACERES_WINDOW)}
WINDOWS = {
    "dlib": [(y, side) for side in (0.52, 0.58, 0.61, 0.64, 0.70) for y in (0.57, 0.59, 0.6, 0.61, 0.63)],
    "faceres": [(0.5, 0.7), (0.55, 0.7), (0.6, 0.7), (0.55, 0.8), (0.55, 0.9), (0.52, 0.96), (0.5, 1.0)],
}
FGNET = real_faces.ARCHIVE.with_name("fgnet")


def main() -> int:
    """Measure and write a Markdown table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=tuple(READERS), default="dlib")
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--split", choices=("train", "val", "all"), default="train")
    parser.add_argument("--photos", type=int, default=80, help="photographs per age or decade")
    parser.add_argument(
        "--tolerance", type=int, default=2, help="years around each age that count as that age"
    )
    parser.add_argument("--decades", action="store_true", help="all ages, by decade")
    parser.add_argument("--fgnet", type=Path, nargs="?", const=FGNET, help="its folder; always by decade")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--search", action="store_true", help="measure a grid of windows around the fixed one"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    if options.fgnet:
        images, truth, _ = fgnet(options.fgnet, options.photos, options.seed)
        genders, groups = None, decades(truth)  # nobody wrote the genders down
    else:
        spans = [range(age - options.tolerance, age + options.tolerance + 1) for age in AGES]
        if options.decades:
            spans = [range(first, first + 10) for first in range(0, 90, 10)]
        drawn = real_faces.sample(options.archive, options.split, spans, options.photos, seed=options.seed)
        labels = [label for group in drawn for label in group]
        images = real_faces.pictures(options.archive, labels)
        truth = np.array([label.age for label in labels])
        genders = np.array([label.gender for label in labels])
        of = np.repeat(np.arange(len(spans)), [len(group) for group in drawn])
        groups = decades(truth) if options.decades else {str(a): of == i for i, a in enumerate(AGES)}

    reader, usual = READERS[options.reader]
    windows = [Window(0.5, *place) for place in WINDOWS[options.reader]] if options.search else [usual]
    rows = [measured(reader(window=window), images, truth, genders, groups) for window in windows]
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if options.json else _table(options.reader, rows))
    return 0


def fgnet(folder: Path, most: int, seed: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """FG-NET's photographs as the product takes them: the largest face, aligned, at 512 pixels.

    Args:
        folder: With `index.csv` and `photos/`.
        most: Photographs of a decade.
        seed: Of the draw.

    Returns:
        Crops `(512, 512, 3)` uint8 RGB, ages, and the people's numbers.
    """
    with (folder / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    ages = np.array([int(row["age"]) for row in rows])
    random, detector = np.random.default_rng(seed), default_detector()
    chosen = [np.flatnonzero(here) for here in decades(ages).values()]
    images, kept = [], []
    for index in np.sort(np.concatenate([random.permutation(places)[:most] for places in chosen])):
        photo = read_photo(folder / "photos" / rows[index]["file"])
        found, _ = find_faces(photo.pixels, detector)
        if found:
            images.append(align(photo.pixels, found[0].landmarks, 512)[0])
            kept.append(index)
    return images, ages[kept], np.array([int(row["person"]) for row in rows])[kept]


def decades(ages: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> which of the photographs belong there; empty decades are left out."""
    return {f"{first}-{first + 9}": ages // 10 * 10 == first for first in np.unique(ages // 10 * 10).tolist()}


def measured(
    reader: AgeEstimator,
    images: list[np.ndarray],
    truth: np.ndarray,
    genders: np.ndarray | None,
    groups: dict[str, np.ndarray],
) -> dict:
    """Everything about one reader on one sample, as JSON values."""
    estimates = reader.estimate(images)
    years = np.array([estimate.years for estimate in estimates])
    error = years - truth
    means = {name: float(np.abs(error[here]).mean()) for name, here in groups.items()}
    right = None
    if genders is not None:
        right = float(np.mean([e.gender == g for e, g in zip(estimates, genders, strict=True)]))
    return {
        "window": list(reader.window),
        "photographs": len(images),
        "in_group": {name: int(here.sum()) for name, here in groups.items()},
        "mae": means,
        "bias": {name: float(error[here].mean()) for name, here in groups.items()},
        "mean_mae": float(np.mean(list(means.values()))),
        "mae_of_all": float(np.abs(error).mean()),
        "bias_of_all": float(error.mean()),
        "correlation": float(np.corrcoef(years, truth)[0, 1]),
        "stated_std": float(np.mean([estimate.std for estimate in estimates])),
        "gender_accuracy": right,
    }


def _table(reader: str, rows: list[dict]) -> str:
    groups = rows[0]["mae"]
    lines = [
        f"{reader}, {rows[0]['photographs']} photographs; mean absolute error and (bias) in years",
        "",
        f"| window | {' | '.join(groups)} | mean of these | all | r | std stated | gender right |",
        "|---" * (len(groups) + 6) + "|",
        f"| photographs | {' | '.join(map(str, rows[0]['in_group'].values()))} | | | | | |",
    ]
    for row in rows:
        cells = [f"{row['mae'][name]:.1f} ({row['bias'][name]:+.1f})" for name in groups]
        window = "{:.2f} {:.2f} {:.2f}".format(*row["window"])
        gender = "not known" if row["gender_accuracy"] is None else f"{row['gender_accuracy']:.1%}"
        lines.append(
            f"| {window} | {' | '.join(cells)} | {row['mean_mae']:.2f} | {row['mae_of_all']:.2f} "
            f"({row['bias_of_all']:+.2f}) | {row['correlation']:.3f} | {row['stated_std']:.1f} | {gender} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
