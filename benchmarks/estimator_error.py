"""How far the age estimator is off on real photographs, by age; `--search` moves what it looks at."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import real_faces

from faceforward.faces.age import FACE_WINDOW, DlibAgeEstimator
from faceforward.faces.crops import Window

AGES = range(10, 71, 10)


def main() -> int:
    """Measure and write a Markdown table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--split", choices=("train", "val", "all"), default="train")
    parser.add_argument("--photos", type=int, default=80, help="photographs per age")
    parser.add_argument(
        "--tolerance", type=int, default=2, help="years around each age that count as that age"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--search", action="store_true", help="measure a grid of windows around the fixed one"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    spans = [range(age - options.tolerance, age + options.tolerance + 1) for age in AGES]
    groups = real_faces.sample(options.archive, options.split, spans, options.photos, seed=options.seed)
    labels = [label for group in groups for label in group]
    images = real_faces.pictures(options.archive, labels)
    group = np.repeat(list(AGES), [len(members) for members in groups])
    truth = np.array([label.age for label in labels])
    genders = np.array([label.gender for label in labels])

    windows = [FACE_WINDOW]
    if options.search:
        windows = [
            Window(0.5, y, side)
            for side in (0.52, 0.58, 0.61, 0.64, 0.70)
            for y in (0.57, 0.59, 0.6, 0.61, 0.63)
        ]
    rows = []
    for window in windows:
        estimates = DlibAgeEstimator(threads=2, window=window).estimate(images)
        years = np.array([estimate.years for estimate in estimates])
        error = years - truth
        means = {int(age): float(np.abs(error[group == age]).mean()) for age in AGES}
        rows.append(
            {
                "window": list(window),
                "photographs": len(labels),
                "mae": means,
                "mean_mae": float(np.mean(list(means.values()))),
                "bias": {int(age): float(error[group == age].mean()) for age in AGES},
                "stated_std": float(np.mean([estimate.std for estimate in estimates])),
                "gender_accuracy": float(
                    np.mean([e.gender == g for e, g in zip(estimates, genders, strict=True)])
                ),
            }
        )
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if options.json else _table(rows))
    return 0


def _table(rows: list[dict]) -> str:
    lines = [
        f"{rows[0]['photographs']} photographs; mean absolute error and (bias) in years",
        "",
        "| window | " + " | ".join(map(str, AGES)) + " | mean | std stated | gender right |",
        "|---" * (len(AGES) + 4) + "|",
    ]
    for row in rows:
        cells = [f"{row['mae'][age]:.1f} ({row['bias'][age]:+.1f})" for age in AGES]
        window = "{:.2f} {:.2f} {:.2f}".format(*row["window"])
        rest = f"{row['mean_mae']:.2f} | {row['stated_std']:.1f} | {row['gender_accuracy']:.1%}"
        lines.append(f"| {window} | {' | '.join(cells)} | {rest} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
