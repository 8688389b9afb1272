"""What benchmarks of edits share: the product's own editor by the command line, JSON lines, tables."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser

from faceforward.diffusion.inversion import (
    DDIMInversion,
    DirectInversion,
    Inversion,
    NegativePromptInversion,
    NullTextInversion,
)
from faceforward.faces.detect import Detector
from faceforward.metrics.age import spearman
from faceforward.metrics.identity import IdentityDistance
from faceforward.metrics.intervals import Interval, mean_interval, statistic_interval
from faceforward.metrics.measure import MEASURES, NEAR, Measures, figures
from faceforward.metrics.thresholds import DLIB_RECOGNITION
from faceforward.modules.age_editor import AgeEditor

INVERSIONS = {
    "ddim": DDIMInversion,
    "negative-prompt": NegativePromptInversion,
    "direct": DirectInversion,
    "null-text": NullTextInversion,
}
SHORT = {  # what is changed often, under a name of its own
    "pretrained": "pretrained",
    "precision": "precision",
    "growth": "growth",
    "strength": "finisher.strength",
    "steps": "edit.steps",
    "guidance": "edit.guidance_scale",
    "cross-replace": "edit.cross_replace",
    "self-replace": "edit.self_replace",
    "self-side": "edit.self_side",
    "age-weight": "edit.age_weight",
    "blend-threshold": "edit.local_blend.threshold",
}
CLASSES = {
    "finisher": "faceforward.faces.detail.DetailTransfer",
    "inversion": "faceforward.diffusion.inversion.DirectInversion",
    "edit.local_blend": "faceforward.diffusion.blending.LocalBlend",
}


def inversion(name: str, steps: int, guidance: float) -> Inversion:
    """An inversion by its name, for edits at a guidance: null-text optimises for it."""
    guided = {"guidance_scale": guidance} if name == "null-text" else {}
    return INVERSIONS[name](steps=steps, **guided)


def add_arguments(parser: argparse.ArgumentParser, output: str) -> None:
    """Arguments of every benchmark that edits photographs.

    Args:
        parser: Gets them.
        output: File of JSON lines, when none is given.
    """
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any argument of AgeEditor, as infer.py's --model.init_args.KEY takes it; may be repeated: "
        "edit.self_replace=.2, finisher=faceforward.faces.finish.Enlarging, growth=0",
    )
    for name, key in SHORT.items():
        parser.add_argument(f"--{name}", help=f"short for --set {key}=...")
    parser.add_argument("--share", default="1/1", help="this process's share of the photographs, as in 2/3")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path(output), help="JSON lines")
    parser.add_argument("--pictures", type=Path, help="folder for one row of pictures per photograph")


def changes(args: argparse.Namespace) -> list[str]:
    """What differs from the product's own settings, KEY=VALUE each."""
    given = {key: getattr(args, name.replace("-", "_")) for name, key in SHORT.items()}
    asked = [f"{key}={value}" for key, value in given.items() if value is not None] + args.set
    for key, kind in CLASSES.items():  # a value of a class is said after the class
        if any(change.startswith(f"{key}.") for change in asked) and not any(
            change.startswith(f"{key}=") for change in asked
        ):
            asked.insert(0, f"{key}={kind}")
    return asked


def editor(changed: Sequence[str], *, detector: Detector | None = None, name: str | None = None) -> AgeEditor:
    """The product's editor.

    Args:
        changed: KEY=VALUE each.
        detector: Finds faces; None takes the product's.
        name: Of another inversion, over the edit's own steps.
    """
    parser = ArgumentParser(prog="--set", parser_mode="omegaconf+")
    parser.add_class_arguments(AgeEditor)
    asked = ["--target_ages=[50]", *(f"--{change}" for change in changed)]
    values = vars(parser.instantiate_classes(parser.parse_args(asked)))
    if detector is not None:
        values["detector"] = detector
    made = AgeEditor(**values)
    if name is None:
        return made
    other = inversion(name, made.edit_settings.steps, made.edit_settings.guidance_scale)
    return AgeEditor(**values | {"inversion": other})


def key_of(made: AgeEditor) -> str:
    """One short hash of all that decides a picture beside the photograph and its targets."""
    settings = made.settings(age=None, gender=None, targets=None, face=None)
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of earlier runs; the last is left out where a run was killed while it wrote it."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            sys.stderr.write(f"{path}: a line that was not finished is left out\n")
    return rows


def write_line(path: Path, row: dict[str, Any]) -> None:
    """Append one line, in one write, so that several processes may fill one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row, allow_nan=False) + "\n")


def share_of(items: Sequence[Any], share: str) -> Sequence[Any]:
    """The part of a list that a process does: `2/3` is every third from the second on."""
    place, count = map(int, share.split("/"))
    return items[place - 1 :: count]


def report_measures(
    photos: Sequence[Measures],
    people: Sequence[Any],
    *,
    near: float = NEAR,
    thresholds: Mapping[int, float] = DLIB_RECOGNITION,
) -> None:
    """Print ages by every reader, identity, and what is kept, with 95 % intervals over people.

    Args:
        photos: What was measured.
        people: Whom each shows.
        near: Years within which identity and sharpness are asked for.
        thresholds: Impostor distances by age.
    """
    found = figures(photos, near=near)
    pictures = [
        (person, photo, p) for person, photo in zip(people, photos, strict=True) for p in photo.pictures
    ]
    whose = [person for person, _, _ in pictures]
    targets = np.array([p.target for _, _, p in pictures], dtype=np.float64)
    for reader in dict.fromkeys(name for _, _, p in pictures for name in p.years):
        read = np.array([p.years[reader] for _, _, p in pictures])
        mae = mean_interval(np.abs(read - targets), whose, over="photographs")
        bias = mean_interval(read - targets, whose, over="photographs")
        _say(f"age by {reader}: MAE {mae:.2f}, bias {bias:+.2f} years over {mae.count} pictures")
        if len(set(targets)) > 1:
            order = statistic_interval(
                lambda places, read=read: float(
                    spearman(torch.from_numpy(read[places]), torch.from_numpy(targets[places]))
                ),
                whose,
                rounds=500,
            )
            _say(f"  Spearman {order:.3f} over pictures")
        decades = [
            f"{start}: {found[f'age/{reader}/mae/{start}']:.1f}, {found[f'age/{reader}/bias/{start}']:+.1f}"
            for start in range(0, 100, 10)
            if f"age/{reader}/mae/{start}" in found
        ]
        _say(f"  by target's decade, MAE and bias:  {'   '.join(decades)}")
        real = [abs(photo.years[reader] - photo.age) for photo in photos]
        _say(f"  its error on the photographs themselves: MAE {mean_interval(real, people):.2f}")
    close = [(person, p) for person, photo, p in pictures if abs(p.target - photo.age) <= near]
    if close:
        passing = IdentityDistance(thresholds=thresholds).passing(
            torch.tensor([p.distance for _, p in close]), torch.tensor([p.target for _, p in close])
        )[1]
        names = [person for person, _ in close]
        _say(
            f"identity within {near:g} years: below the 1 % impostor distance "
            f"{mean_interval(passing.double().numpy(), names, over='photographs'):.3f}, distance "
            f"{mean_interval([p.distance for _, p in close], names, over='photographs'):.3f}, n {len(close)}"
        )
    for name in MEASURES:
        for label, chosen in ((f"within {near:g} years", close), ("all", [(w, p) for w, _, p in pictures])):
            kept = [(w, getattr(p, name)) for w, p in chosen if math.isfinite(getattr(p, name))]
            if kept:
                values = [value for _, value in kept]
                mean = mean_interval(values, [w for w, _ in kept], over="photographs")
                _say(f"{name}, {label}: mean {mean:.3f}, median {np.median(values):.3f}, n {len(kept)}")


def table(
    title: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Interval | float | str]]]
) -> None:
    """Print a Markdown table; intervals with their ends."""
    _say(f"\n| {title} | {' | '.join(columns)} |")
    _say("|---" * (len(columns) + 1) + "|")
    for name, cells in rows:
        _say(f"| {name} | {' | '.join(c if isinstance(c, str) else f'{c:.2f}' for c in cells)} |")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
