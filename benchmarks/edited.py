"""What benchmarks of edits share: the product's own editor by the command line, JSON lines."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
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
from faceforward.faces.growth import warp
from faceforward.faces.identity import Embedder
from faceforward.faces.motion import at_side
from faceforward.metrics.measure import measure_case
from faceforward.modules.age_editor import AgeEditor
from faceforward.records import CaseResult

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
    "strength": "finisher.change.strength",
    "grown": "finisher.grown.strength",
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


PLAIN = ("stayed", "lingering", "sharpness", "distance")


def plain_sums(case: CaseResult, embedder: Embedder) -> list[dict[str, float | None]]:
    """What the same edits are when their change is added as it is, without detail transfer: `PLAIN` of each.

    It is the yardstick of double outlines: the change enlarged, on the crop after growth.
    """
    size, sums = len(case.face.pixels), {}
    for age, image in case.edit.images.items():
        field = case.edit.fields.get(age)
        crop = case.face.pixels if field is None else warp(case.face.pixels, field)
        change = at_side(image.astype(np.float32) - case.edit.references[age], size)
        sums[age] = np.rint(np.clip(crop + change, 0, 255)).astype(np.uint8)
    measured = measure_case(dataclasses.replace(case, aged=sums), readers=(), embedder=embedder).as_json()
    return [{name: picture[name] for name in PLAIN} for picture in measured["pictures"]]
