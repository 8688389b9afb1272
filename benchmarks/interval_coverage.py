"""How often the 95 % intervals of `faceforward.metrics.intervals` hold the true figure, where it is known.

Each world draws people and their photographs: `shares` of photographs found (a person's own chance from 0 to
1, 1 to 8 photographs), `errors` in years (absolute values of a person's bias and a photograph's own), `ranks`
in a gallery (most people are found at once, some never), `differences` of two conditions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from faceforward.metrics.intervals import mean_interval

World = Callable[[np.random.Generator, np.ndarray], np.ndarray]
SIZES = (27, 267)
MOST = 8  # photographs of one person


def shares(generator: np.random.Generator, people: np.ndarray) -> np.ndarray:
    """A photograph is found or not."""
    chance = generator.beta(0.6, 0.5, people.max() + 1)
    return (generator.random(len(people)) < chance[people]).astype(np.float64)


def errors(generator: np.random.Generator, people: np.ndarray) -> np.ndarray:
    """Absolute errors of ages."""
    bias = generator.normal(0, 6, people.max() + 1)
    return np.abs(bias[people] + generator.normal(0, 8, len(people)))


def ranks(generator: np.random.Generator, people: np.ndarray) -> np.ndarray:
    """Ranks in a gallery of 32."""
    chance = generator.beta(0.6, 0.9, people.max() + 1)
    return np.minimum(generator.geometric(np.maximum(chance, 0.02)[people]), 32).astype(np.float64)


def differences(generator: np.random.Generator, people: np.ndarray) -> np.ndarray:
    """One condition's rank less the other's, photograph by photograph."""
    return ranks(generator, people) - ranks(generator, people)


def photographs(generator: np.random.Generator, people: int) -> np.ndarray:
    """Whom each photograph is of."""
    return np.repeat(np.arange(people), generator.integers(1, MOST + 1, people))


def main() -> int:
    """Simulate and write a Markdown table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for world in (shares, errors, ranks, differences):
        generator = np.random.default_rng([options.seed, 1])
        many = np.arange(400_000)
        truth = float(world(generator, many).mean())
        for size in SIZES:
            held, widths = 0, []
            for trial in tqdm(range(options.trials), desc=f"{world.__name__}, {size}", leave=False):
                generator = np.random.default_rng([options.seed, size, trial])
                people = photographs(generator, size)
                found = mean_interval(
                    world(generator, people), people.tolist(), rounds=options.rounds, seed=trial
                )
                held += found.low <= truth <= found.high
                widths.append(found.high - found.low)
            rows.append(
                {
                    "world": world.__name__,
                    "people": size,
                    "truth": truth,
                    "held": held / options.trials,
                    "width": float(np.mean(widths)),
                }
            )
    if options.json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return 0
    sys.stdout.write(
        "| world | people | true figure | intervals that hold it | mean width |\n|---|---|---|---|---|\n"
    )
    for row in rows:
        sys.stdout.write(
            f"| {row['world']} | {row['people']} | {row['truth']:.3f} | {row['held']:.1%} "
            f"| {row['width']:.3f} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
