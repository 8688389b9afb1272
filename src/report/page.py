"""The report over all cases: one HTML file that needs nothing else, for a family and for a detective."""

from __future__ import annotations

import base64
import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from faceforward.atomic import atomic_file
from faceforward.report.case import RESULT, aged_kind
from faceforward.report.kept import intact
from faceforward.report.metadata import Mark, jpeg_bytes
from faceforward.report.readings import readings_of, said
from faceforward.report.verdict import faults_of_record
from faceforward.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPORT = "report.html"
CHILD = 16  # below it the head still grows
ADULT = 18

#: What the ways of making the pictures mean for who looks at them.
MAKING = {
    "detail-transfer": "The model supplies the change of age alone; it is carried onto the photograph, which "
    "supplies everything else.",
    "enlarging": "The model's own small picture, enlarged by a network: nothing in it is the photograph's.",
}


def write_report(output: Path, lines: list[dict[str, Any]]) -> Path:
    """Write `report.html` from the manifest's lines and the case folders.

    Args:
        output: The folder of results.
        lines: Of the manifest.

    Returns:
        The file.

    Raises:
        OSError: The disk is full or cannot be written, or a case folder has gone.
    """
    path = output / REPORT
    # Many photographs in one file must still open on a phone.
    side = 400 if len(lines) <= 20 else 220
    made = datetime.datetime.now().astimezone()
    rejected = [line for line in lines if line["status"] != "done"]
    models: dict[str, dict[str, Any]] = {}
    environment = Environment(
        loader=PackageLoader("faceforward", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    with (
        atomic_file(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        # Generated piece by piece: a thousand cases need not fit into memory.
        stream.writelines(
            environment.get_template("page.html.j2").generate(
                made=made,
                version=__version__,
                lines=lines,
                cases=_cases(output, lines, side, models),
                models=models,
                rejected=rejected,
                done=len(lines) - len(rejected),
            )
        )
    return path


def _cases(
    output: Path, lines: list[dict[str, Any]], side: int, models: dict[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What the template shows of each case; collects the models that made them on the way."""
    for line in lines:
        folder = output / "cases" / line["id"]
        result = intact(folder, RESULT)
        if result is None or result["damaged"]:
            if line["status"] == "done":
                raise FileNotFoundError(f"{folder} is not complete any more")
            continue  # else an earlier run has made them, and this one found the photograph unusable
        model = result["settings"]["model"]
        models[model["sha256"]] = model
        kind = aged_kind(result["settings"])
        faults = faults_of_record(result)
        pictures = [
            {
                "age": int(age),
                "readings": readings_of(edit),
                "said": said(readings_of(edit)),
                "distance": edit["identity_distance"],
                "faults": [fault.short for fault in faults[int(age)]],
                "picture": _embed(
                    folder / edit["file"], Mark(kind, f"Estimate at age {age}.", model["name"]), side
                ),
            }
            for age, edit in result["ages"].items()
        ]
        yield {
            "file": line["file"],
            "name": PurePath(line["file"]).name,
            "reused": line["reused"] or line["status"] != "done",
            "result": result,
            "source": result["source"],
            "said": said(readings_of(result["source"])),
            "making": MAKING.get(result["settings"].get("finisher", "")),
            "readers": list(dict.fromkeys(name for picture in pictures for name in picture["readings"])),
            "photograph": _embed(folder / "face.png", Mark("photograph", ""), side),
            "pictures": pictures,
            "cautions": cautions(result),
        }


def cautions(result: dict[str, Any]) -> list[str]:
    """What a reader of this case must know, in words.

    Args:
        result: The content of result.json.
    """
    source, face = result["source"], result["face"]
    sentences = [*source["notes"], *face["notes"], *face["warnings"]]
    if face["others"]:
        sentences.append(
            "Please check that the right face was taken; another one can be asked for by its number."
        )
    if source["age_origin"] == "estimated":
        sentences.append(
            "The age in the photograph was not given. It was estimated from the picture, which is often "
            "wrong by several years; give the true age if it is known."
        )
    if source["age"] < CHILD and any(int(age) >= ADULT for age in result["ages"]):
        sentences.append(
            "The photograph shows a child. How its face grows is drawn after the mean of many people, not "
            "after this one, so the estimates as an adult are the least certain ones."
        )
    sentences += [
        f"Do not use the picture at {age}: {'; '.join(fault.text for fault in faults)}."
        for age, faults in faults_of_record(result).items()
        if faults
    ]
    return sentences


def _embed(path: Path, mark: Mark, side: int) -> Markup:
    """A picture as a data URI; the text is base64 and safe."""
    with Image.open(path) as image:
        data = jpeg_bytes(np.asarray(image.convert("RGB")), mark, side=side)
    return Markup("data:image/jpeg;base64,") + Markup(base64.b64encode(data).decode())
