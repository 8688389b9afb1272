"""How near the descriptors of different people of one age band come: the source of the thresholds.

python benchmarks/impostors.py --photos 250 --side 512          photographs of 128 px, enlarged
python benchmarks/impostors.py --fgnet ../shared/data/fgnet     family albums: several photographs a person
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import fgnet_faces
import numpy as np
import real_faces
from scipy.spatial.distance import pdist, squareform
from tqdm import tqdm

from faceforward.faces.crops import resized
from faceforward.faces.identity import DlibEmbedder

BANDS = [*(range(start, start + 10) for start in range(0, 70, 10)), range(70, 200)]


def main() -> int:
    """Measure and write a Markdown table, or JSON with `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--split", choices=("train", "val", "all"), default="train")
    parser.add_argument("--fgnet", type=Path, help="folder of FG-NET, to take its photographs instead")
    parser.add_argument(
        "--photos", type=int, default=250, help="photographs per band; each is another person"
    )
    parser.add_argument("--side", type=int, default=128, help="of the crops, pixels")
    parser.add_argument(
        "--share", type=float, default=0.01, help="share of different pairs below the threshold"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    embedder = DlibEmbedder()
    generator = np.random.default_rng(options.seed)
    rows = []
    for band, (people, images) in tqdm(list(zip(BANDS, groups(options), strict=True)), desc="bands"):
        if len(people) < 20:
            sys.stderr.write(f"ages {band.start}+: {len(people)} photographs are too few, left out\n")
            continue
        apart = squareform(pdist(embedder.embed([resized(image, options.side) for image in images])))
        first, second = np.triu_indices(len(people), 1)
        different = people[first] != people[second]
        distances = apart[first, second][different]
        names, numbers = np.unique(people, return_inverse=True)
        members = [np.flatnonzero(numbers == number) for number in range(len(names))]
        resampled = []
        for _ in range(200):  # whole people are drawn again, pairs of a person with themselves left out
            drawn = np.concatenate(
                [members[number] for number in generator.integers(0, len(names), len(names))]
            )
            one, other = np.triu_indices(len(drawn), 1)
            one, other = drawn[one], drawn[other]
            resampled.append(np.quantile(apart[one, other][people[one] != people[other]], options.share))
        rows.append(
            {
                "from_age": band.start,
                "photographs": len(people),
                "people": len(names),
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


def groups(options: argparse.Namespace) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """For each band whom its photographs show, `(N,)`, and the crops."""
    if options.fgnet is None:
        for labels in real_faces.sample(
            options.archive, options.split, BANDS, options.photos, seed=options.seed
        ):
            yield np.arange(len(labels)), real_faces.pictures(options.archive, labels)
        return
    faces = fgnet_faces.read(options.fgnet)
    for band in BANDS:
        fitting = [face for face in faces if face.age in band]
        crops = fgnet_faces.crops(fitting, options.side)
        there = [place for place, crop in enumerate(crops) if crop is not None]
        yield np.array([fitting[place].person for place in there]), [crops[place] for place in there]


def _table(rows: list[dict], share: float) -> str:
    lines = [
        f"| from age | photographs | people | pairs | distance that {share:.0%} reach (95 %) | median "
        "| below 0.6 |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['from_age']} | {row['photographs']} | {row['people']} | {row['pairs']} | "
        f"{row['threshold']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {row['median']:.3f} | "
        f"{row['below_0.6']:.0%} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
