"""Does an aged child find its adult self? FG-NET's photographs at 4 to 12, each aged to their last age.

    python benchmarks/fgnet.py --unchanged                  no edit: the figures that an edit has to keep
    python benchmarks/fgnet.py                              all 102 photographs, the product's settings
    python benchmarks/fgnet.py --set edit.self_replace=.2 --growth 0 --output runs/b.jsonl

The gallery is one template for each person with photographs from 18 on (faceforward.metrics.retrieval).
Pictures are described as crops in the frame that the photograph was aligned in: gallery, photograph and aged
picture alike. Each photograph is a line in a JSON lines file, so that a run that was ended goes on; processes
with `--share 1/2` and `--share 2/2` may fill one file, and a run without shares then reports it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import edit_report
import edited
import fgnet_faces
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from faceforward.errors import UnusablePhotoError
from faceforward.faces.age import AgeEstimator, DlibAgeEstimator
from faceforward.faces.crops import resized
from faceforward.faces.detect import default_detector
from faceforward.faces.face import take_face
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.faces.finish import LEAST_SIDE, MOST_SIDE
from faceforward.faces.identity import DlibEmbedder
from faceforward.metrics.intervals import Interval, difference_interval, mean_interval, statistic_interval
from faceforward.metrics.measure import Measures, measure_case
from faceforward.metrics.retrieval import Gallery, chance, fused, missed, ranks
from faceforward.metrics.thresholds import DLIB_FAMILY_ALBUMS

Row = dict[str, Any]
CHOICES: dict[str, Callable[[Row], tuple]] = {
    "youngest": lambda row: (row["age"], row["file"]),
    "nearest 8": lambda row: (abs(row["age"] - 8), row["file"]),
    "oldest": lambda row: (-row["age"], row["file"]),
}
COLUMNS = ("rank 1", "rank 5", "mean rank", "missed at 1e-3")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fgnet", type=Path, default=fgnet_faces.FOLDER)
    parser.add_argument("--photos", type=int, help="spread evenly over the people's photographs; default all")
    parser.add_argument("--unchanged", action="store_true", help="describe the photographs, edit none")
    parser.add_argument("--gallery", type=Path, default=Path("runs/fgnet-unchanged.jsonl"))
    parser.add_argument(
        "--against", type=Path, help="JSON lines of other settings, compared photograph by photograph"
    )
    edited.add_arguments(parser, "runs/fgnet.jsonl")
    return parser.parse_args()


def describe(args: argparse.Namespace, faces: Sequence[fgnet_faces.FGNetFace]) -> dict[str, Row]:
    """File name -> descriptor and readings of every photograph that is needed, none edited."""
    done = {row["file"]: row for row in edited.read_lines(args.gallery)}
    detector, embedder = default_detector(), DlibEmbedder()
    readers = readers_of()
    for face in tqdm(edited.share_of(faces, args.share), desc="photographs"):
        if face.file.name in done:
            continue
        row: Row = {"file": face.file.name, "person": face.person, "age": face.age}
        try:
            crop = take_face(face.photo(), detector, size=(LEAST_SIDE, MOST_SIDE)).pixels
            row["descriptor"] = [round(float(value), 6) for value in embedder.embed([crop])[0]]
            row["years"] = {reader.name: reader.estimate([crop])[0].years for reader in readers}
        except UnusablePhotoError as error:
            row |= {"descriptor": None, "reason": str(error)}
        edited.write_line(args.gallery, row)
        done[face.file.name] = row
    return done


def readers_of() -> list[AgeEstimator]:
    """Both readers of age."""
    return [DlibAgeEstimator(), FaceResAgeEstimator()]


def measure(
    args: argparse.Namespace, faces: Sequence[fgnet_faces.FGNetFace], last: dict[int, int]
) -> list[Row]:
    """Age every photograph to its person's last age; a row for each."""
    editor = edited.editor(edited.changes(args))
    key = edited.key_of(editor)
    rows = {row["file"]: row for row in edited.read_lines(args.output) if row["key"] == key}
    readers = readers_of()
    for face in tqdm(edited.share_of(faces, args.share), desc="aged"):
        if face.file.name in rows:
            continue
        row: Row = {"key": key, "file": face.file.name, "person": face.person, "age": face.age}
        try:
            case = editor.age(face.photo(targets=(last[face.person],)))
        except UnusablePhotoError as error:
            row["reason"] = str(error)
        else:
            row |= measure_case(case, readers=readers, embedder=editor.embedder).as_json()
            row["plain"] = edited.plain_sums(case, editor.embedder)
            row |= {"seconds": round(case.seconds, 2), "scale": round(case.face.alignment.scale, 4)}
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                shown = [resized(picture, 512) for picture in (case.face.pixels, *case.aged.values())]
                Image.fromarray(np.concatenate(shown, axis=1)).save(args.pictures / f"{face.file.stem}.png")
        edited.write_line(args.output, row)
        rows[face.file.name] = row
    return [rows[face.file.name] for face in faces if face.file.name in rows]


def found_of(gallery: Gallery, probes: Sequence[np.ndarray], people: Sequence[int]) -> dict[str, np.ndarray]:
    """Column -> value of each probe."""
    own, distances = gallery.rows(people), gallery.distances(np.stack(probes))
    places = ranks(distances, own)
    values = (places <= 1, places <= 5, places, missed(distances, own))
    return {name: np.asarray(value, dtype=np.float64) for name, value in zip(COLUMNS, values, strict=True)}


def conditions(
    rows: Sequence[Row], plain: dict[str, Row], gallery: Gallery
) -> dict[str, dict[str, np.ndarray]]:
    """Condition -> column -> value of each photograph; a picture without a face is one that finds nobody."""
    people = [row["person"] for row in rows]
    nothing = np.full(gallery.templates.shape[1], np.nan)

    def descriptor(values: Any) -> np.ndarray:
        return nothing if values is None else np.asarray(values, dtype=np.float64)

    unchanged = [descriptor(plain[row["file"]]["descriptor"]) for row in rows]
    probes = {"unchanged": unchanged}
    if all("key" in row for row in rows):
        aged = [descriptor(row["pictures"][0]["descriptor"] if "pictures" in row else None) for row in rows]
        probes |= {"aged": aged, "mean of both": [fused(a, b) for a, b in zip(unchanged, aged, strict=True)]}
    return {name: found_of(gallery, each, people) for name, each in probes.items()}


def ratio(a: np.ndarray, b: np.ndarray, people: Sequence[int]) -> Interval:
    """Mean rank over mean rank, both as means over people."""
    names, own = np.unique(people, return_inverse=True)

    def mean(values: np.ndarray, places: np.ndarray) -> float:
        # A person who was drawn twice counts twice: the mean over draws is that of the persons' own means.
        weight = np.bincount(own, minlength=len(names)).astype(np.float64)
        return float((values[places] / weight[own[places]]).sum())

    return statistic_interval(lambda places: mean(a, places) / mean(b, places), list(people), rounds=2000)


def report(rows: Sequence[Row], plain: dict[str, Row], gallery: Gallery) -> None:
    """Print all tables."""
    by_person: dict[int, list[Row]] = {}
    for row in rows:
        by_person.setdefault(row["person"], []).append(row)
    groups = {"all": list(rows)}
    groups |= {name: [min(each, key=key) for each in by_person.values()] for name, key in CHOICES.items()}
    for name, chosen in groups.items():
        found = conditions(chosen, plain, gallery)
        people = [row["person"] for row in chosen]
        lines = [(n, [mean_interval(values[c], people) for c in COLUMNS]) for n, values in found.items()]
        luck = chance(len(gallery.people))
        lines.append(("chance", [luck["rank1"], luck["rank5"], luck["mean_rank"], "-"]))
        for other in [n for n in found if n != "unchanged"]:
            cells = [difference_interval(found[other][c], found["unchanged"][c], people) for c in COLUMNS]
            lines.append((f"{other} - unchanged", cells))
            times = ratio(found[other]["mean rank"], found["unchanged"]["mean rank"], people)
            lines.append((f"{other} / unchanged", ["-", "-", f"{times:.2f}", "-"]))
        edit_report.table(f"{name}: {len(chosen)} photographs of {len(set(people))} people", COLUMNS, lines)


def compare(rows: Sequence[Row], other: Sequence[Row], plain: dict[str, Row], gallery: Gallery) -> None:
    """Print differences between two settings over the photographs that both have."""
    before = {row["file"]: row for row in other}
    here = [row for row in rows if row["file"] in before]
    found, was = (
        conditions(here, plain, gallery),
        conditions([before[r["file"]] for r in here], plain, gallery),
    )
    people = [row["person"] for row in here]
    lines = []
    for name in ("aged", "mean of both"):
        lines.append((name, [difference_interval(found[name][c], was[name][c], people) for c in COLUMNS]))
    edit_report.table(f"these settings - the others, {len(here)} photographs", COLUMNS, lines)


def main() -> int:
    """Measure and print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    everybody = fgnet_faces.read(args.fgnet)
    grown, children = fgnet_faces.adults(everybody), fgnet_faces.children(everybody)
    if args.photos is not None:
        children = [children[i] for i in np.linspace(0, len(children) - 1, args.photos).round().astype(int)]
    plain = describe(args, [*grown, *children])
    rows: list[Row] = [plain[face.file.name] for face in children if face.file.name in plain]
    if not args.unchanged:
        last = {face.person: fgnet_faces.last_age(everybody, face.person) for face in children}
        rows = measure(args, children, last)
    if args.share != "1/1":
        return 0
    templates = [plain[face.file.name] for face in grown if plain[face.file.name]["descriptor"] is not None]
    gallery = Gallery.of(
        np.array([row["descriptor"] for row in templates]), [row["person"] for row in templates]
    )
    failed = [row for row in rows if "reason" in row]
    sys.stdout.write(
        f"{len(rows)} photographs of {len({row['person'] for row in rows})} people, "
        f"{len(failed)} without a result; "
        f"gallery: {len(gallery.people)} people, {len(templates)} photographs from {fgnet_faces.ADULT} on\n"
    )
    report(rows, plain, gallery)
    if not args.unchanged:
        aged = [row for row in rows if "pictures" in row]
        names = ("age", "years", "descriptor", "pictures")
        photos = [Measures.from_json({name: row[name] for name in names}) for row in aged]
        sys.stdout.write("\n")
        people = [row["person"] for row in aged]
        edit_report.report_measures(photos, people, thresholds=DLIB_FAMILY_ALBUMS)
        edit_report.report_plain(aged, people)
    if args.against:
        compare(rows, edited.read_lines(args.against), plain, gallery)
    return 0


if __name__ == "__main__":
    sys.exit(main())
