"""How often the gender read off a face is right, by age, in colour and in grey, and what a rule leaves.

    python benchmarks/gender.py --photos 200
    python benchmarks/gender.py --fgnet

Train photographs, each as it is and made grey as old prints are. For each band of ages: the share read
rightly by dlib's network, by FaceRes, and where both agree; then, for a least probability, the share that is
still used and, in brackets, the share of that which is wrong. With both readers the smaller probability
counts, and the gender stays open where they disagree. The constants of faces/face.py come from here.
`--fgnet`: scans of family albums, where nobody wrote genders down. Taken are the people whom both readers are
sure of over their photographs as adults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import real_faces
from estimator_error import FGNET, fgnet

from faceforward.faces.age import AgeEstimator, DlibAgeEstimator
from faceforward.faces.faceres import FaceResAgeEstimator

BANDS = (range(0, 6), range(6, 10), range(10, 13), range(13, 18), range(18, 60), range(60, 120))
LEAST = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


def main() -> int:
    """Measure and write two Markdown tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--photos", type=int, default=200, help="photographs per band of ages")
    parser.add_argument("--fgnet", type=Path, nargs="?", const=FGNET, help="its folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    readers: tuple[AgeEstimator, ...] = (DlibAgeEstimator(), FaceResAgeEstimator())
    if options.fgnet:
        images, ages, people = fgnet(options.fgnet, options.photos, options.seed)
        male = np.array([[males(reader, images) for reader in readers]])
        true, known = by_adults(male[0], ages, people)
        sys.stdout.write(report(["its own colours"], male[..., known], true[known], ages[known]))
        return 0
    groups = real_faces.sample(options.archive, "train", BANDS, options.photos, seed=options.seed)
    labels = [label for group in groups for label in group]
    colour = real_faces.pictures(options.archive, labels)
    true = np.array([label.gender == "male" for label in labels])
    ages = np.array([label.age for label in labels])
    seen = {"colour": colour, "grey": [grey(image) for image in colour]}
    male = np.array([[males(reader, images) for reader in readers] for images in seen.values()])
    sys.stdout.write(report(list(seen), male, true, ages))
    return 0


def grey(image: np.ndarray) -> np.ndarray:
    """The picture without colours (Rec. 601 luma), `(S, S, 3)` uint8."""
    luma = np.rint(image @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=2)


def males(reader: AgeEstimator, images: list[np.ndarray]) -> list[float]:
    """How likely each face is a man's or boy's to a reader."""
    probabilities = []
    for estimate in reader.estimate(images):
        assert estimate.gender_probability is not None
        sure = estimate.gender_probability
        probabilities.append(sure if estimate.gender == "male" else 1 - sure)
    return probabilities


def by_adults(male: np.ndarray, ages: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each photograph shows a man, taken from its person's photographs as an adult.

    Args:
        male: `(readers, N)`, probabilities.
        ages: `(N,)` years.
        people: `(N,)` numbers of people.

    Returns:
        That, and of which photographs it is known: of people with two photographs from 18 years on at least
        whose mean is below .25 or above .75; both `(N,)` bool.
    """
    mean = np.full(len(ages), 0.5)
    for person in np.unique(people):
        grown = (people == person) & (ages >= 18)
        if grown.sum() >= 2:
            mean[people == person] = male[:, grown].mean()
    return mean > 0.5, np.abs(mean - 0.5) > 0.25


def report(kinds: list[str], male: np.ndarray, true: np.ndarray, ages: np.ndarray) -> str:
    """Both tables.

    Args:
        kinds: How the photographs were shown.
        male: `(kinds, readers, N)`, probabilities.
        true: `(N,)` bool: it is a man or boy.
        ages: `(N,)` years.
    """
    right = (male > 0.5) == true
    agree = (male[:, 0] > 0.5) == (male[:, 1] > 0.5)
    sure = np.where(agree, np.maximum(male, 1 - male).min(axis=1), 0.0)
    sure_alone = np.maximum(male[:, 0], 1 - male[:, 0])
    lines = [
        "| ages | photographs | shown in | dlib right | of women and girls | of men and boys "
        "| FaceRes right | they agree | and are right then |",
        "|---" * 9 + "|",
    ]
    rules = [
        f"| ages | shown in | {' | '.join(f'{p:g}' for p in LEAST)} |",
        "|---" * (2 + len(LEAST)) + "|",
    ]
    for band in BANDS:
        here = np.isin(ages, band)
        name = f"{band.start}-{band.stop - 1}" if band.stop < 100 else f"{band.start}+"
        for kind, label in enumerate(kinds):
            dlib, other, both = right[kind, 0], right[kind, 1], agree[kind]
            women, men = dlib[here & ~true], dlib[here & true]
            cells = [dlib[here], women, men, other[here], both[here], dlib[here & both]]
            lines.append(f"| {name} | {here.sum()} | {label} | {' | '.join(map(share, cells))} |")
            for rule, by in (("both", sure[kind]), ("dlib alone", sure_alone[kind])):
                cells = [used(by[here] >= least, dlib[here]) for least in LEAST]
                rules.append(f"| {name} | {label}, {rule} | {' | '.join(cells)} |")
    title = "used (and wrong of these) at a least probability"
    return "\n".join([*lines, "", title, "", *rules]) + "\n"


def share(right: np.ndarray) -> str:
    """The share of those that are right."""
    return f"{right.mean():.1%}" if len(right) else "none"


def used(taken: np.ndarray, right: np.ndarray) -> str:
    """The share that a rule takes and, in brackets, the share of that which is wrong."""
    wrong = 1 - right[taken].mean() if taken.any() else 0.0
    return f"{taken.mean():.0%} ({wrong:.1%})"


if __name__ == "__main__":
    sys.exit(main())
