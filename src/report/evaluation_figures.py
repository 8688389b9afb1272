"""The charts of an evaluation: what was measured, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.metrics.finding import CONDITIONS, rank_curve
from faceforward.report.evaluation_charts import Band, Line, chart
from faceforward.report.evaluation_words import CONDITIONS as CALLED
from faceforward.report.readings import short

if TYPE_CHECKING:
    from markupsafe import Markup

    from faceforward.metrics.calibration import Calibration
    from faceforward.report.evaluation_files import FolderResult

MOST_POINTS = 1500  # of a cloud: more cannot be told apart


def charts(
    results: list[FolderResult],
    document: dict[str, Any],
    calibration: Calibration | None,
    bands: list[dict[str, Any]],
) -> list[tuple[str, Markup]]:
    """Title and drawing of every chart that has something to show."""
    readers = dict.fromkeys(
        name.split("/")[1] for result in results for name in result.pictures.values if name.startswith("age/")
    )
    found = []
    for reader in readers:
        found.append((f"Age asked for and age read by {short(reader)}", _asked(results, reader, calibration)))
    for reader in readers:
        kind = "calibrated_mae" if calibration and reader in calibration.readers else "mae"
        title = f"Error by the age asked for, {short(reader)}"
        found.append((f"{title}{', calibrated' if kind != 'mae' else ''}", _by_decade(results, reader, kind)))
    found.append(("Distance to the photograph by years between", _identity(results, bands)))
    found.append(("Who is found: share of people among the first k", _ranks(results, document)))
    return [(title, drawing) for title, drawing in found if drawing]


def _asked(results: list[FolderResult], reader: str, calibration: Calibration | None) -> Markup:
    lines = []
    for number, result in enumerate(results):
        columns, name = result.pictures, f"age/{reader}/bias"
        if name not in columns.values:
            continue
        target, error = columns.facts["target"], columns.values[name]
        known = np.flatnonzero(np.isfinite(error))
        drawn = known[np.linspace(0, len(known) - 1, min(len(known), MOST_POINTS)).astype(int)]
        cloud = [(float(target[k]), float(target[k] + error[k])) for k in drawn]
        if len(results) == 1:
            lines.append(Line("", cloud, cloud=True, colour=number))
        points, ends = [], []
        for age in np.unique(target[known]):
            figure = columns.figure(name, target == age, rounds=500)
            if figure is not None:
                points.append((float(age), float(age + figure.value)))
                ends.append((float(age + figure.low), float(age + figure.high)))
        lines.append(Line(result.folder.name, points, ends, colour=number))
    if calibration is not None and reader in calibration.readers:
        real = [(point.age, point.age + point.bias) for point in calibration.readers[reader]]
        lines.append(Line("real photographs", real, dashed=True, colour=5))
    return chart(lines, x="age asked for, years", y="age read, years", diagonal=True)


def _by_decade(results: list[FolderResult], reader: str, kind: str) -> Markup:
    lines, floor = [], {}
    for result in results:
        columns, name = result.pictures, f"age/{reader}/{kind}"
        if name not in columns.values:
            continue
        decade = np.floor(columns.facts["target"] / 10) * 10
        points, ends = [], []
        for start in np.unique(decade[np.isfinite(columns.values[name])]):
            figure = columns.figure(name, decade == start, rounds=500)
            if figure is None:
                continue
            points.append((float(start + 5), figure.value))
            ends.append((figure.low, figure.high))
            best = f"age/{reader}/floor"
            if best in columns.values:
                floor[float(start + 5)] = float(np.nanmean(columns.values[best][decade == start]))
        lines.append(Line(result.folder.name, points, ends))
    if floor:
        lines.append(Line("real photographs", sorted(floor.items()), dashed=True, colour=5))
    return chart(lines, x="age asked for, years", y="mean absolute error, years", least=0)


def _identity(results: list[FolderResult], bands: list[dict[str, Any]]) -> Markup:
    lines, farthest = [], 0.0
    for result in results:
        columns = result.pictures
        if "identity/distance" not in columns.values:
            continue
        gap = np.abs(columns.facts["gap"])
        points, ends = [], []
        for start in range(0, 90, 10):
            here = (gap >= start) & (gap < start + 10)
            figure = columns.figure("identity/distance", here, rounds=500)
            if figure is not None:
                points.append((float(gap[here].mean()), figure.value))
                ends.append((figure.low, figure.high))
        lines.append(Line(result.folder.name, points, ends))
        farthest = max([farthest, *(x for x, _ in points)])
    if not any(line.points for line in lines):
        return chart([], x="", y="")
    drawn = []
    for kind, colour in (("same", 2), ("different", 4)):
        boxes = [
            (b["from"], min(b["to"], max(farthest, b["from"] + 5)), b["p5"], b["p95"])
            for b in bands
            if b["kind"] == kind
        ]
        name = {"same": "one person, 5 to 95 %", "different": "two people, 5 to 95 %"}[kind]
        if boxes:
            drawn.append(Band(name, boxes, colour))
    return chart(
        lines, x="years between photograph and target", y="descriptor distance", bands=drawn, least=0
    )


def _ranks(results: list[FolderResult], document: dict[str, Any]) -> Markup:
    people = (document["gallery"] or {}).get("people", 0)
    lines, shown = [], False
    for number, result in enumerate(results):
        if result.retrieval is None:
            continue
        for condition in CONDITIONS:
            if condition == "unchanged" and shown:
                continue
            places = result.retrieval.values[f"retrieval/{condition}/mean_rank"]
            curve = rank_curve(places, people)[: max(10, min(people, 50))]
            name = CALLED[condition]
            if condition != "unchanged" and len(results) > 1:
                name = f"{result.folder.name}: {condition}"
            points = [(float(k), share) for k, share in enumerate(curve, start=1)]
            lines.append(
                Line(
                    name, points, colour=5 if condition == "unchanged" else 2 * number + (condition == "both")
                )
            )
            shown = shown or condition == "unchanged"
    if lines and people:
        last = len(lines[0].points)
        lines.append(Line("chance", [(1, 1 / people), (last, min(last / people, 1))], dashed=True, colour=5))
    return chart(lines, x="first k of the gallery", y="share found", least=0, most=1)
