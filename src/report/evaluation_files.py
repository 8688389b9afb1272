"""What an evaluation leaves on disk: `metrics.json` and a table with one row for each picture."""

from __future__ import annotations

import csv
import datetime
import importlib.metadata
import math
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.atomic import atomic_file
from faceforward.errors import ConfigurationError
from faceforward.metrics.age import spearman
from faceforward.metrics.groups import as_json, by_group, largest_gaps
from faceforward.metrics.intervals import Interval, statistic_interval
from faceforward.metrics.retrieval import chance
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.metrics.calibration import Calibration
    from faceforward.metrics.columns import Columns, MeasuredCase
    from faceforward.report.evaluation_folders import AgedFolder, Failure

SCHEMA = 1
PACKAGES = ("torch", "torchmetrics", "onnxruntime", "numpy", "scipy", "opencv-contrib-python-headless")
IN_GROUPS = ("mae", "bias", "calibrated_mae", "calibrated_bias")
SHOWN = 200  # failures that are named one by one; all are counted


@dataclass(frozen=True, eq=False)
class FolderResult:
    """Everything about one folder.

    Attributes:
        folder: Which.
        cases: What was measured.
        failures: What was not.
        pictures: Of `picture_columns`.
        photographs: Of `photograph_columns`.
        retrieval: Of `retrieval_columns`; None without a gallery or where nobody is in it.
        gallery_people: People in the gallery.
        without_template: Photographs whose person is not in the gallery at a later age.
        kernel: Of `kernel_figures`.
    """

    folder: AgedFolder
    cases: list[MeasuredCase]
    failures: list[Failure]
    pictures: Columns
    photographs: Columns
    retrieval: Columns | None
    gallery_people: int = 0
    without_template: int = 0
    kernel: Mapping[str, Interval] = field(default_factory=dict)

    def figures(self) -> dict[str, Interval]:
        """Every figure, by its name."""
        found = self.pictures.figures() | self.photographs.figures() | self.orders() | dict(self.kernel)
        return found | ({} if self.retrieval is None else self.retrieval.figures())

    def orders(self) -> dict[str, Interval]:
        """Spearman's rank correlation of the age asked for and the age read, `age/<reader>/spearman`."""
        import torch

        found = {}
        target = self.pictures.facts["target"]
        for name, error in self.pictures.values.items():
            if not (name.startswith("age/") and name.endswith("/bias")):
                continue
            here = np.flatnonzero(np.isfinite(error))
            asked, read = target[here], target[here] + error[here]
            if len(set(asked.tolist())) < 2:
                continue

            def order(places: np.ndarray, asked: np.ndarray = asked, read: np.ndarray = read) -> float:
                return float(spearman(torch.from_numpy(read[places]), torch.from_numpy(asked[places])))

            people = [self.pictures.people[int(place)] for place in here]
            found[f"{name.removesuffix('bias')}spearman"] = statistic_interval(order, people, rounds=200)
        return found


def group_names(columns: Columns) -> list[str]:
    """The columns that are told by group."""
    readers = [name for name in columns.values if name.startswith("age/") and name.endswith(IN_GROUPS)]
    others = ("identity/distance", "identity/near/distance", "identity/near/share", "identity/later/gained")
    keeping = [name for name in columns.values if name.startswith(("keeping/gender/", "keeping/women/"))]
    found = [name for name in columns.values if name.startswith("retrieval/")]
    return [*readers, *(name for name in others if name in columns.values), *keeping, *found]


def folder_json(result: FolderResult) -> dict[str, Any]:
    """The figures of one folder as JSON values."""
    groups: dict[str, dict[str, Any]] = {}
    gaps: dict[str, list[dict[str, Any]]] = {}
    for columns in filter(None, (result.pictures, result.retrieval)):
        cells = by_group(columns, group_names(columns))
        for kind, each in cells.items():
            for cell in each:
                entry = groups.setdefault(kind, {}).setdefault(cell.name, {"people": cell.people})
                entry["people"] = max(entry["people"], cell.people)
                if cell.figures is not None:
                    found = {name: as_json(value) for name, value in cell.figures.items()}
                    entry["figures"] = entry.get("figures", {}) | found
        for kind, found_gaps in largest_gaps(columns, cells).items():
            gaps.setdefault(kind, []).extend(
                {"figure": g.figure, "more": g.high, "less": g.low, "difference": as_json(g.difference)}
                for g in found_gaps
            )
    for kind in groups.values():
        for entry in kind.values():
            entry["left_out"] = "figures" not in entry
    return {
        "path": str(result.folder.path),
        "photographs": len(result.cases),
        "pictures": sum(len(case.measures.pictures) for case in result.cases),
        "people": len({case.person for case in result.cases}),
        "without_age": sum(not math.isfinite(case.measures.age) for case in result.cases),
        "estimated_age": sum(case.estimated for case in result.cases),
        "without_template": result.without_template,
        "failed": {
            "photographs": sum(failure.target is None for failure in result.failures),
            "pictures": sum(failure.target is not None for failure in result.failures),
            "reasons": dict(Counter(failure.reason for failure in result.failures).most_common(20)),
            "first": [failure._asdict() for failure in result.failures[:SHOWN]],
        },
        "figures": {name: as_json(value) for name, value in result.figures().items()},
        "groups": groups,
        "largest_gaps": gaps,
    }


def comparison_json(first: FolderResult, other: FolderResult) -> dict[str, Any]:
    """What another folder has more than the first, over the pictures that both have, as JSON values.

    Raises:
        ConfigurationError: They have no photograph in common.
    """
    told = {case.case: case.digest for case in first.folder.cases}
    changed = {
        case.case
        for case in other.folder.cases
        if case.digest and told.get(case.case) not in (None, "", case.digest)
    }
    common = {case.case for case in other.cases} & {case.case for case in first.cases} - changed
    if not common:
        raise ConfigurationError(
            f"{first.folder.path} and {other.folder.path} have no photograph in common that both could be "
            "measured of: a comparison is paired over the same photographs, called the same in both"
        )
    figures: dict[str, Interval] = {}
    for ours, theirs in (
        (other.pictures, first.pictures),
        (other.photographs, first.photographs),
        (other.retrieval, first.retrieval),
    ):
        if ours is not None and theirs is not None:
            figures |= ours.without(changed).differences(theirs)
    keys = set(first.pictures.keys), set(other.pictures.keys)
    return {
        "first": first.folder.name,
        "other": other.folder.name,
        "photographs": len(common),
        "pictures": len(keys[0] & keys[1]),
        "only_in_one": len(keys[0] ^ keys[1]),
        "other_photographs_under_one_name": sorted(changed),
        "differences": {name: as_json(value) for name, value in figures.items()},
    }


def document(
    results: list[FolderResult],
    *,
    calibration: Calibration | None,
    networks: dict[str, dict[str, str]],
    gallery: dict[str, Any] | None,
) -> dict[str, Any]:
    """The content of `metrics.json`; docs/evaluation.md describes it.

    Args:
        results: Of the folders; the others are compared with the first.
        calibration: That was used.
        networks: Network's name -> file -> SHA-256.
        gallery: What is told of it; None where none was given.

    Raises:
        ConfigurationError: A folder has no photograph in common with the first.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES if _installed(name)}
    used = None
    if calibration is not None:
        used = calibration.as_json() | {"sha256": calibration.sha256()}
    if gallery is not None and gallery["people"]:
        gallery = gallery | {"chance": chance(gallery["people"])}
    comparisons = [comparison_json(results[0], other) for other in results[1:]]
    return {
        "schema": SCHEMA,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"faceforward": __version__, "python": platform.python_version(), **versions},
        "networks": networks,
        "calibration": used,
        "interval": "95 %, BCa bootstrap, whole people drawn anew",
        "gallery": gallery,
        "folders": {result.folder.name: folder_json(result) for result in results},
        "comparisons": comparisons,
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def rows_of(result: FolderResult) -> dict[str, list[Any]]:
    """Column -> value of each picture, those that failed too; no descriptors, which are biometric data."""
    pictures = result.pictures
    reasons = {(f.case, f.target): f.reason for f in result.failures if f.target is not None}
    rows: dict[str, list[Any]] = {
        "folder": [result.folder.name] * len(pictures),
        "case": [case for case, _ in pictures.keys],
        "person": [str(person) for person in pictures.people],
        "gender": pictures.genders.tolist(),
        "target": [target for _, target in pictures.keys],
        "age": pictures.facts["age"].tolist(),
        "failed": [reasons.get(key) for key in pictures.keys],
    }
    return rows | {name: values.tolist() for name, values in pictures.values.items()}


def write_rows(folder: Path, results: list[FolderResult]) -> Path:
    """Write `per_image.parquet`, or `per_image.csv` where the package pyarrow is not installed.

    Args:
        folder: Of the output.
        results: Of the folders.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
    """
    tables = [rows_of(result) for result in results]
    names = list(dict.fromkeys(name for table in tables for name in table))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for table in tables:
        count = len(table["case"])
        for name in names:
            values = table.get(name, [None] * count)
            columns[name] += [None if isinstance(v, float) and not math.isfinite(v) else v for v in values]
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        path = folder / "per_image.csv"
        with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            writer.writerows(zip(*columns.values(), strict=True))
        return path
    path = folder / "per_image.parquet"
    with atomic_file(path) as partial:
        pyarrow.parquet.write_table(pyarrow.table(columns), partial)
    return path
