"""What a cap on the balance of ages does: how often the rarest photographs are drawn, and what rare ages get.

AI Hub 71415's labels are simulated, since they cannot be had without an application: 1,005 people with 45
photographs each, ages even from birth to now, now even from 20 to 65 for all but five people of 75, which
makes about 18 photographs at 70 and older. `--archive` takes the ages of zips with `labels.csv` instead.

    python benchmarks/balance.py
    python benchmarks/balance.py --archive ../shared/data/faces-128.zip
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from faceforward.datamodules.labelled_folder import FolderSource
from faceforward.datamodules.sources import LabelledPhoto
from faceforward.datamodules.splits import balance_weights

PEOPLE, OLD_PEOPLE, PHOTOS = 1000, 5, 45
OLD = 70
CAPS = (None, 40.0, 20.0, 10.0, 5.0, 2.0)


def simulated(seed: int) -> np.ndarray:
    """Ages of AI Hub's photographs, `(45225,)` years."""
    rng = np.random.default_rng(seed)
    now = np.concatenate([rng.integers(20, 66, PEOPLE), np.full(OLD_PEOPLE, 75)])
    return np.floor(rng.random((len(now), PHOTOS)) * (now[:, None] + 1)).astype(int).ravel()


def main() -> int:
    """Write a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, nargs="+", help="zips whose ages are taken")
    parser.add_argument("--balance", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    options = parser.parse_args()
    if options.archive:
        photos = [item for path in options.archive for item in FolderSource(path).read()]
        given = [p.age for p in photos if isinstance(p, LabelledPhoto) and p.given == "train"]
        ages = np.array(given)
    else:
        ages = simulated(options.seed)
    old, young = ages >= OLD, ages < 10
    write = sys.stdout.write
    write(f"{len(ages)} photographs, {old.sum()} of people of {OLD} and older, {young.sum()} under 10\n\n")
    write(
        "| balance | cap | most often drawn, times even | share of draws at 70 and older | under 10 "
        "| photographs that count |\n|---|---|---|---|---|---|\n"
    )
    for balance in options.balance:
        for cap in CAPS:
            weights = np.array(balance_weights(ages.tolist(), balance, cap))
            share = weights / weights.sum()
            write(
                f"| {balance:g} | {'none' if cap is None else f'{cap:g}'} | {weights.max():.1f} "
                f"| {share[old].sum():.2%} | {share[young].sum():.1%} | {1 / (share**2).sum():.0f} |\n"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
