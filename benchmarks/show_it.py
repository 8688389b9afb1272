"""What each part of ageing brings, over val photographs and FG-NET's half, every figure with its interval.

    python benchmarks/show_it.py --precision bfloat16 --photos 8 --minutes 90     goes on where it was ended
    python benchmarks/show_it.py --photos 8 --minutes 0 --page runs/show_it.html  what is there, as a page

Val photographs of faces-128 are aged to 10, 30, 50 and 70, FG-NET's children (4 to 12 years) to the last age
of the person, by the product's editor with one setting changed at a time. The photographs come in turn from
both, two of each together, so that a run that is ended has every configuration of the same photographs; each
configuration of a photograph is a line in a JSON lines file. Differences to the product are paired.

FG-NET's gallery, described by `python benchmarks/fgnet.py --unchanged`, gives the distances to later
photographs of the person. Under six people figures stand without intervals.
"""

from __future__ import annotations

import argparse
import html
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import edited
import fgnet_faces
import numpy as np
import real_faces
import torch

from faceforward.errors import UnusablePhotoError
from faceforward.faces.age import DlibAgeEstimator
from faceforward.faces.face import take_face
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.faces.finish import LEAST_SIDE, MOST_SIDE
from faceforward.metrics.calibration import shipped_calibration
from faceforward.metrics.columns import Columns, MeasuredCase, picture_columns
from faceforward.metrics.finding import RealPhotos
from faceforward.metrics.intervals import Interval
from faceforward.metrics.measure import Measures, measure, measure_case
from faceforward.modules.age_editor import AgeEditor
from faceforward.records import Photo
from faceforward.report.evaluation_pictures import with_later

PRODUCT, UNCHANGED, BASE = "product", "no edit", "base"
CONFIGURATIONS: dict[str, tuple[list[str], str | None]] = {  # KEY=VALUE each, and another inversion
    UNCHANGED: ([], None),
    PRODUCT: ([], None),
    "DDIM inversion": ([], "ddim"),
    "negative-prompt inversion": ([], "negative-prompt"),
    "null-text inversion": ([], "null-text"),
    "5 steps": (["edit.steps=5"], None),
    "10 steps": (["edit.steps=10"], None),
    "20 steps": (["edit.steps=20"], None),
    "no detail transfer": (["finisher=faceforward.faces.finish.Enlarging"], None),
    "no growth": (["growth=0"], None),
}
TARGETS = (10, 30, 50, 70)
SHOWN = {
    "age/dlib-age-gender/calibrated_mae": ("age error, dlib, calibrated, years", 1),
    "age/faceres/calibrated_mae": ("age error, FaceRes, calibrated, years", 1),
    "identity/distance": ("distance to the photograph", 3),
    "identity/later/gained": ("nearer to later photographs than the unchanged by", 3),
    "keeping/sharpness": ("fine detail (1 is the photograph's)", 2),
    "keeping/psnr_outside": ("background, dB", 1),
    "seconds": ("seconds a photograph", 1),
}
FOLDERS = ("faces-128", "FG-NET")
FEWEST = 6  # people, below which a figure is shown without an interval


@dataclass(frozen=True)
class Subject:
    """A photograph that is aged.

    Attributes:
        folder: Where it is from.
        name: Of its file.
        person: Whom it shows.
        photo: With its targets.
        aligned: It is an FFHQ-aligned crop.
    """

    folder: str
    name: str
    person: str
    photo: Photo
    aligned: bool


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, default=real_faces.ARCHIVE)
    parser.add_argument("--fgnet", type=Path, default=fgnet_faces.FOLDER)
    parser.add_argument("--gallery", type=Path, default=Path("runs/fgnet-unchanged.jsonl"))
    parser.add_argument("--photos", type=int, default=8, help="half of them from each folder")
    parser.add_argument("--minutes", type=float, default=90, help="nothing is begun after them")
    parser.add_argument("--base", help="a model before it was specialised, to show beside the others")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=Path("runs/show_it.jsonl"))
    parser.add_argument("--page", type=Path, help="the table as HTML; numbers only")
    return parser.parse_args()


def subjects(args: argparse.Namespace) -> list[Subject]:
    """Photographs of both folders in turn, spread evenly over each."""
    labels = real_faces.evenly(args.archive, "val", (args.photos + 1) // 2)
    val = [
        Subject(
            FOLDERS[0],
            label.file,
            label.file,
            Photo(label.file, label.file, pixels, float(label.age), label.gender, TARGETS),
            True,
        )
        for label, pixels in zip(labels, real_faces.pictures(args.archive, labels), strict=True)
    ]
    everybody = fgnet_faces.read(args.fgnet)
    children = fgnet_faces.children(everybody)
    places = np.linspace(0, len(children) - 1, args.photos // 2).round().astype(int)
    album = [
        Subject(FOLDERS[1], face.file.name, str(face.person), face.photo((last,)), False)
        for face in (children[place] for place in places)
        for last in (fgnet_faces.last_age(everybody, face.person),)
    ]
    return [each for each in chain(*zip_longest(val, album)) if each is not None]


def row_of(subject: Subject, editor: AgeEditor, readers: Sequence[Any], *, unchanged: bool) -> dict[str, Any]:
    """Age and measure one photograph; where no face is found, the reason."""
    start = time.perf_counter()
    try:
        if unchanged:
            crop = take_face(subject.photo, editor.detector, size=(LEAST_SIDE, MOST_SIDE)).pixels
            found = measure(
                crop,
                dict.fromkeys(subject.photo.targets or (), crop),
                age=float(subject.photo.age or math.nan),
                readers=readers,
                embedder=editor.embedder,
            )
            seconds = 0.0
        else:
            case = editor.age(subject.photo)
            seconds = time.perf_counter() - start
            found = measure_case(case, readers=readers, embedder=editor.embedder)
    except UnusablePhotoError as error:
        return {"reason": str(error)}
    return {"measures": found.as_json(), "seconds": round(seconds, 2)}


def fill(args: argparse.Namespace, wanted: Sequence[Subject]) -> None:
    """Do what is missing until the time is over, four photographs together."""
    end = time.monotonic() + 60 * args.minutes
    done = {(row["configuration"], row["name"]) for row in edited.read_lines(args.output)}
    readers = [DlibAgeEstimator(), FaceResAgeEstimator()]
    configurations = dict(CONFIGURATIONS)
    if args.base:
        configurations[BASE] = ([f"pretrained={args.base}"], None)
    for start in range(0, len(wanted), 4):
        for name, (changed, inversion) in configurations.items():
            missing = [each for each in wanted[start : start + 4] if (name, each.name) not in done]
            if not missing or time.monotonic() > end:
                continue
            make = partial(edited.editor, [f"precision={args.precision}", *changed], name=inversion)
            editors = {aligned: make(detector=real_faces.AlignedCropDetector() if aligned else None)
                       for aligned in {each.aligned for each in missing}}  # fmt: skip
            for subject in missing:
                if time.monotonic() > end:
                    break
                row = row_of(subject, editors[subject.aligned], readers, unchanged=name == UNCHANGED)
                about = {"folder": subject.folder, "name": subject.name, "person": subject.person}
                edited.write_line(args.output, {"configuration": name, **about, **row})
                sys.stderr.write(f"{name}: {subject.name} {row.get('seconds', row.get('reason'))}\n")


def columns_of(rows: Sequence[dict[str, Any]], real: RealPhotos | None) -> Columns:
    """The figures' columns of one configuration."""
    cases = [
        MeasuredCase(row["name"], row["person"], None, Measures.from_json(row["measures"])) for row in rows
    ]
    if real is not None:
        cases = [with_later(case, real) for case in cases]
    columns = picture_columns(cases, shipped_calibration())
    seconds = {row["name"]: row["seconds"] for row in rows}
    columns.values["seconds"] = np.array([seconds[case] for case, _ in columns.keys])  # type: ignore[index]
    return columns


def gallery(path: Path) -> RealPhotos | None:
    """FG-NET's described photographs, where they are there."""
    rows = [row for row in edited.read_lines(path) if row["descriptor"] is not None]
    if not rows:
        return None
    ages = np.array([float(row["age"]) for row in rows])
    descriptors = np.array([row["descriptor"] for row in rows])
    return RealPhotos([str(row["person"]) for row in rows], ages, descriptors)


def tables(args: argparse.Namespace) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, heads and rows for each folder: the figures, and the differences to the product."""
    every, real = edited.read_lines(args.output), gallery(args.gallery)
    found = []
    for folder in FOLDERS:
        mine = [row for row in every if row["folder"] == folder and "reason" not in row]
        names = [n for n in (*CONFIGURATIONS, BASE) if any(row["configuration"] == n for row in mine)]
        columns = {
            name: columns_of(
                [row for row in mine if row["configuration"] == name], real if folder == FOLDERS[1] else None
            )
            for name in names
        }
        own = columns.get(PRODUCT)
        lines = []
        for name in names:
            figures = columns[name].figures()
            apart = columns[name].differences(own) if own is not None and name != PRODUCT else {}
            photographs = len({case for case, _ in columns[name].keys})
            cells = [f"{name} ({photographs} photographs, {len(columns[name])} pictures)"]
            cells += [_cell(figures.get(key), apart.get(key), digits) for key, (_, digits) in SHOWN.items()]
            lines.append(cells)
        failed = sum(row["folder"] == folder and "reason" in row for row in every)
        title = f"{folder}: figure, and its difference to the product; {failed} edits without a face"
        if lines:
            found.append((title, ["", *(text for text, _ in SHOWN.values())], lines))
    return found


def _cell(figure: Interval | None, apart: Interval | None, digits: int) -> str:
    if figure is None:
        return "-"
    if figure.people < FEWEST:  # no interval that means anything
        text = f"{figure.value:.{digits}f}"
        return text if apart is None else f"{text}; {apart.value:+.{digits}f}"
    text = format(figure, f".{digits}f")
    return text if apart is None else f"{text}; {apart:+.{digits}f}"


def main() -> int:
    """Age, measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    fill(args, subjects(args))
    found = tables(args)
    for title, heads, lines in found:
        rows = [heads, ["---"] * len(heads), *lines]
        sys.stdout.write(f"\n{title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows))
    if args.page:
        parts = [
            f"<h2>{html.escape(title)}</h2><table border=1 cellpadding=4>"
            + "".join(
                "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                for row in [heads, *lines]
            )
            + "</table>"
            for title, heads, lines in found
        ]
        page = "<!doctype html><meta charset=utf-8><title>What each part brings</title>" + "".join(parts)
        args.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
