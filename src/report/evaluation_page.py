"""The page of an evaluation: one HTML file that needs nothing else."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from faceforward.atomic import atomic_file
from faceforward.report.evaluation_examples import examples
from faceforward.report.evaluation_figures import charts
from faceforward.report.evaluation_words import NOTHING, order, said, verdict, words
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.metrics.calibration import Calibration
    from faceforward.report.evaluation_files import FolderResult

PAGE = "report.html"
SECTIONS = (
    ("Age", ("age/", "photographs/")),
    ("Identity", ("identity/",)),
    ("Finding the person in the gallery", ("retrieval/",)),
    ("What is kept of the photograph", ("keeping/",)),
    ("Against the gallery's photographs of the same ages", ("kernel/",)),
)
GROUPS = {
    "gender": "Gender",
    "age": "Age in the photograph",
    "gap": "Years between photograph and target",
    "decade": "Age asked for",
}


def write_page(
    output: Path,
    results: list[FolderResult],
    document: dict[str, Any],
    *,
    calibration: Calibration | None,
    bands: list[dict[str, Any]],
) -> Path:
    """Write `report.html`.

    Args:
        output: The folder.
        results: Of the folders that were measured.
        document: The content of metrics.json.
        calibration: That was used.
        bands: Of `identity_bands`.

    Raises:
        OSError: It cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("faceforward", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    path = output / PAGE
    with (
        atomic_file(path) as partial,
        partial.open("w", encoding="utf-8", errors="backslashreplace") as stream,
    ):
        stream.writelines(
            environment.get_template("evaluation.html.j2").generate(
                made=datetime.datetime.now().astimezone(),
                version=__version__,
                document=document,
                folders=document["folders"],
                sections=[(title, _table(document, prefixes)) for title, prefixes in SECTIONS],
                charts=charts(results, document, calibration, bands),
                groups=[(title, _groups(document, kind)) for kind, title in GROUPS.items()],
                gaps=_gaps(document),
                examples=[(result.folder.name, examples(result, calibration)) for result in results],
                bands=bands,
            )
        )
    return path


def _table(document: dict[str, Any], prefixes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of one section: a figure of all folders, and the differences."""
    folders, rows = document["folders"], []
    names = dict.fromkeys(name for folder in folders.values() for name in folder["figures"])
    for name in sorted(names, key=order):
        if not name.startswith(prefixes):
            continue
        word = words(name)
        values = [folder["figures"].get(name) for folder in folders.values()]
        differences = [comparison["differences"].get(name) for comparison in document["comparisons"]]
        rows.append(
            {
                "name": name,
                "label": word.label,
                "better": word.better,
                "values": [(said(value, word), value["count"] if value else 0) for value in values],
                "differences": [
                    (said(d, word, sign=True), verdict(d, word)) if d else (NOTHING, "") for d in differences
                ],
            }
        )
    return rows


def _groups(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Tables of one kind of group, one for each folder."""
    tables = []
    for name, folder in document["folders"].items():
        cells = folder["groups"].get(kind, {})
        kept = {cell: each for cell, each in cells.items() if not each["left_out"]}
        figures = dict.fromkeys(figure for each in kept.values() for figure in each["figures"])
        rows = [
            (
                words(figure).label,
                [said(each["figures"].get(figure), words(figure)) for each in kept.values()],
            )
            for figure in figures
        ]
        left_out = [f"{cell} ({each['people']})" for cell, each in cells.items() if each["left_out"]]
        heads = [f"{cell} ({each['people']} people)" for cell, each in kept.items()]
        if cells:
            tables.append({"folder": name, "heads": heads, "rows": rows, "left_out": left_out})
    return tables


def _gaps(document: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Differences between groups whose interval leaves out zero, the largest against its width first."""
    found = []
    for name, folder in document["folders"].items():
        for kind, gaps in folder["largest_gaps"].items():
            for gap in gaps:
                d, word = gap["difference"], words(gap["figure"])
                if kind == "decade" or d["low"] is None or d["low"] <= 0 <= d["high"]:
                    continue
                size = abs(d["value"]) / max(d["high"] - d["low"], 1e-9)
                row = (name, GROUPS[kind], word.label, f"{gap['more']} above {gap['less']}")
                found.append((size, (*row, said(d, word, sign=True))))
    return [row for _, row in sorted(found, reverse=True)[:12]]
