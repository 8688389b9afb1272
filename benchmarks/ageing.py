"""How well edits of real photographs show the age asked for, keep the person, and stay photographs.

    python benchmarks/ageing.py                       all 267 val photographs, targets 10..70, embedded model
    python benchmarks/ageing.py --photos 24 --inversions direct,negative-prompt,ddim,null-text
    python benchmarks/ageing.py --source aihub        originals above 128 px, for sharpness and outlines
    python benchmarks/ageing.py --archive /data/aihub    the same of a folder as AI Hub delivers it

Every figure is taken on what people look at (`aged/<age>.png`), made by the product's own editor.
Each photograph is a line in a JSON lines file, so a run that was ended goes on where it was, and processes
with `--share 1/2` and `--share 2/2` may fill one file; a run without shares then reports it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edit_report
import edited
import numpy as np
import real_faces
import torch
from PIL import Image
from tqdm import tqdm

from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.age import AgeEstimator, DlibAgeEstimator
from faceforward.faces.crops import resized
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.metrics.intervals import mean_interval
from faceforward.metrics.measure import NEAR, Measures, measure_case
from faceforward.modules.age_editor import AgeEditor
from faceforward.records import Photo

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """One photograph that is to be aged.

    Attributes:
        file: Its name.
        read: Reads it, with its age and gender.
    """

    file: str
    read: Callable[[], Photo]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=("faces-128", "aihub"), default="faces-128")
    parser.add_argument(
        "--archive", type=Path, default=real_faces.ARCHIVE, help="zip of aligned faces, or AI Hub's folder"
    )
    parser.add_argument("--split", choices=("train", "val"), default="val", help="of faces-128")
    parser.add_argument("--photos", type=int, default=None, help="spread evenly over them; default all")
    parser.add_argument("--targets", default="10,20,30,40,50,60,70")
    parser.add_argument("--inversions", default="direct")
    parser.add_argument("--near", type=int, default=NEAR, help="years within which identity is asked for")
    edited.add_arguments(parser, "runs/ageing.jsonl")
    args = parser.parse_args()
    if args.archive.is_dir():
        args.source = "aihub"
    return args


def sources(args: argparse.Namespace) -> list[Source]:
    """The photographs, as the product reads them, with what is known of them."""
    targets = tuple(int(age) for age in args.targets.split(","))
    if args.source == "aihub":
        found = real_faces.aihub(args.photos, *([args.archive] if args.archive.is_dir() else []))
        return [Source(each.name, lambda each=each: real_faces.aihub_photo(each, targets)) for each in found]
    labels = real_faces.evenly(args.archive, args.split, args.photos)

    def read(label: real_faces.LabelledFace) -> Photo:
        pixels = real_faces.pictures(args.archive, [label])[0]
        return Photo(label.file, label.file, pixels, float(label.age), label.gender, targets)

    return [Source(label.file, lambda label=label: read(label)) for label in labels]


def measure(args: argparse.Namespace, photos: Sequence[Source]) -> list[Row]:
    """Age every photograph with every inversion; a row for each, in the order of the inversions."""
    readers = [DlibAgeEstimator(), FaceResAgeEstimator()]
    detector = real_faces.AlignedCropDetector() if args.source == "faces-128" else None
    rows: list[Row] = []
    for name in args.inversions.split(","):
        # Direct inversion is the product's own, which --set may have changed.
        made = edited.editor(edited.changes(args), detector=detector, name=None if name == "direct" else name)
        key = f"{edited.key_of(made)} {args.targets}"
        done = {row["file"]: row for row in edited.read_lines(args.output) if row["key"] == key}
        for photo in tqdm(edited.share_of(photos, args.share), desc=name):
            if photo.file not in done:
                done[photo.file] = {"key": key, "inversion": name, "file": photo.file} | one(
                    args, made, photo, readers, name
                )
                edited.write_line(args.output, done[photo.file])
        rows += [done[photo.file] for photo in photos if photo.file in done]
    return rows


def one(
    args: argparse.Namespace, editor: AgeEditor, photo: Source, readers: Sequence[AgeEstimator], name: str
) -> Row:
    """Age and measure one photograph; where no face is found, the reason."""
    try:
        case = editor.age(photo.read())
    except UnusablePhotoError as error:
        return {"reason": str(error)}
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        shown = [resized(picture, 512) for picture in (case.face.pixels, *case.aged.values())]
        row = Image.fromarray(np.concatenate(shown, axis=1))
        row.save(args.pictures / f"{Path(photo.file).stem}-{name}.png")
    # An edit under its own prompt that comes back to the last bit has no PSNR, which JSON has no number for.
    psnr = float(case.edit.inversion_psnr)
    return measure_case(case, readers=readers, embedder=editor.embedder).as_json() | {
        "plain": edited.plain_sums(case, editor.embedder),
        "psnr": psnr if np.isfinite(psnr) else None,
        "native_side": round(case.face.alignment.scale * case.face.alignment.size, 1),
        "seconds": round(case.seconds, 2),
        "evaluations": case.edit.unet_evaluations,
    }


def report(rows: Sequence[Row], near: float) -> None:
    """Print the figures of each inversion; every photograph is of another person."""
    for name in dict.fromkeys(row["inversion"] for row in rows):
        every = [row for row in rows if row["inversion"] == name]
        mine = [row for row in every if "reason" not in row]
        names = ("age", "years", "descriptor", "pictures")
        photos = [Measures.from_json({key: row[key] for key in names}) for row in mine]
        sys.stdout.write(f"\n{name}: {len(every)} photographs, {len(every) - len(mine)} without a face\n")
        if not mine:
            continue
        edit_report.report_measures(photos, [row["file"] for row in mine], near=near)
        edit_report.report_plain(mine, [row["file"] for row in mine])
        for field, text in (
            ("psnr", "edit under its own prompt against the autoencoder's picture, dB"),
            ("seconds", "seconds a photograph"),
            ("evaluations", "UNet sample evaluations a photograph"),
        ):
            values = [row[field] for row in mine if row[field] is not None]
            if values:
                sys.stdout.write(f"{text}: {mean_interval(values, range(len(values))):.2f}\n")


def main() -> int:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    try:
        photos = sources(args)
    except ConfigurationError as error:
        sys.stderr.write(f"ageing: {error}\n")
        return 2
    rows = measure(args, photos)
    if args.share == "1/1":
        report(rows, args.near)
    return 0


if __name__ == "__main__":
    sys.exit(main())
