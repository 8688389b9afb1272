"""How near the descriptors of different people of one age band come: the source of the thresholds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import real_faces
from scipy.spatial.distance import pdist, squareform
from tqdm import tqdm

from faceforward.faces.identity import DlibEmbedder

BANDS = [*(range(start, start + 10) for start in range(0, 70, 10)), range(70, 200)]


def main() -> int:
    """Measure and write a Markdown table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--split", choices=("train", "val", "all"), default="train")
    parser.add_argument(
        "--photos", type=int, default=250, help="photographs per band; each is another person"
    )
    parser.add_argument(
        "--share", type=float, default=0.01, help="share of different pairs below the threshold"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    embedder = DlibEmbedder()
    generator = np.random.default_rng(options.seed)
    rows = []
    groups = real_faces.sample(options.archive, options.split, BANDS, options.photos, seed=options.seed)
    for band, labels in tqdm(list(zip(BANDS, groups, strict=True)), desc="bands"):
        if len(labels) < 20:
            sys.stderr.write(f"ages {band.start}+: {len(labels)} photographs are too few, left out\n")
            continue
        apart = squareform(pdist(embedder.embed(real_faces.pictures(options.archive, labels))))
        pairs = np.triu_indices(len(labels), 1)
        resampled = []
        for _ in range(200):  # whole photographs are drawn again, pairs of a photograph with itself left out
            drawn = generator.integers(0, len(labels), len(labels))
            both = drawn[pairs[0]], drawn[pairs[1]]
            resampled.append(np.quantile(apart[both][both[0] != both[1]], options.share))
        distances = apart[pairs]
        rows.append(
            {
                "from_age": band.start,
                "photographs": len(labels),
                "pairs": len(distances),
                "threshold": float(np.quantile(distances, options.share)),
                "low": float(np.quantile(resampled, 0.025)),
                "high": float(np.quantile(resampled, 0.975)),
                "median": float(np.median(distances)),
                "below_0.6": float((distances < 0.6).mean()),
            }
        )
    sys.stdout.write(json.dumps(rows, indent=2) + "\n" if options.json else _table(rows, options.share))
    return 0


def _table(rows: list[dict], share: float) -> str:
    lines = [
        f"| from age | photographs | pairs | distance that {share:.0%} reach (95 %) | median | below 0.6 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['from_age']} | {row['photographs']} | {row['pairs']} | {row['threshold']:.3f} "
        f"({row['low']:.3f}-{row['high']:.3f}) | {row['median']:.3f} | {row['below_0.6']:.0%} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
