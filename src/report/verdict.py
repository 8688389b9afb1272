"""Whether an estimate may be used: its likeness, age and gender held against limits that were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from faceforward.faces.face import read_gender
from faceforward.faces.identity import DlibEmbedder
from faceforward.metrics.calibration import shipped_calibration
from faceforward.metrics.thresholds import DLIB_RECOGNITION
from faceforward.records import AgeEstimate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from faceforward.records import CaseResult, Gender

#: How many of the readers' own mean errors on real photographs of that age the reading may lie off. Of
#: errors that are normal, twice their mean absolute value holds 89 %.
SPREADS = 2.0
FAR = 20.0  # years, for readers whose errors on real photographs were not measured
DO_NOT_USE, ESTIMATE = "do not use", "estimate"


@dataclass(frozen=True)
class Fault:
    """Why an estimate is not to be used.

    Attributes:
        kind: What is wrong with it.
        short: In a few words, for a label on a picture.
        text: In a sentence, with the figure and its limit.
    """

    kind: Literal["likeness", "age", "gender"]
    short: str
    text: str


def faults_of(
    target: int,
    *,
    distance: float | None,
    readings: Sequence[AgeEstimate],
    gender: Gender | None,
    embedder: str,
    limit: float | None = None,
) -> tuple[Fault, ...]:
    """Hold one estimate against its limits; what was not measured is not judged.

    Args:
        target: The age that it was asked to show, years.
        distance: Of its face descriptor to the photograph's.
        readings: What the readers of age see in it, at most two, the one that chooses first.
        gender: Of the person, as it was given or read surely off the photograph.
        embedder: Name of the network that `distance` is by; the limits are of `DlibEmbedder`.
        limit: Of `distance`, for this person (`faceforward.metrics.strangers`); None takes the age's.

    Returns:
        Its faults, the gravest first; none when it stays within all limits.
    """
    faults = []
    limit = likeness_limit(target) if limit is None else limit
    if distance is not None and embedder == DlibEmbedder.name and not distance < limit:
        faults.append(
            Fault(
                "likeness",
                "likeness lost",
                f"it does not look like the person in the photograph any more (distance {distance:.3f}; from "
                f"{limit:.3f} on one in a hundred strangers of that age is as near)",
            )
        )
    read, _ = read_gender(float(target), *readings[:2]) if readings else (None, ())
    if gender is not None and read is not None and read != gender:
        faults.append(Fault("gender", f"reads {read}", f"its face reads {read}, and the person is {gender}"))
    if readings:
        off, most = age_error(target, {each.estimator: each.years for each in readings})
        if abs(off) > most:
            years = float(np.mean([each.years for each in readings]))
            faults.append(
                Fault(
                    "age",
                    f"looks {years:.0f}, not {target}",
                    f"it looks {years:.0f} to the programs that read ages off faces, which is more than "
                    f"{most:.0f} years away from what they say of people of that age",
                )
            )
    return tuple(faults)


def likeness_limit(age: float) -> float:
    """The descriptor distance that 1 % of pairs of different people of this age reach (`thresholds`).

    Of mostly East Asian people, whom the network crowds together: for others it is too strict. Results that
    come with limits of their own are held against these.
    """
    return DLIB_RECOGNITION[max(first for first in DLIB_RECOGNITION if first <= max(age, 0))]


def age_error(target: int, readings: Mapping[str, float]) -> tuple[float, float]:
    """How far readings lie from what the readers say of real people of an age, and how far they may.

    Each reader's own bias at that age is taken off; two readers count by the inverse square of their errors.

    Args:
        target: The age asked for, years.
        readings: Reader's name -> what it reads, years.

    Returns:
        The signed error and its limit, both in years.
    """
    table = shipped_calibration()
    known = [name for name in readings if name in table.readers]
    if not known:
        return float(np.mean(list(readings.values()))) - target, FAR
    errors = [float(table.corrected(n, np.array([readings[n]]), np.array([target]))[0]) for n in known]
    spreads = np.array([float(table.spread(name, [target])[0]) for name in known])
    weights = spreads**-2 / (spreads**-2).sum()
    return float(weights @ np.array(errors)), SPREADS * float(weights @ spreads)


def faults_of_result(result: CaseResult) -> dict[int, tuple[Fault, ...]]:
    """The faults of every estimate of a case, by its age."""
    return {
        age: faults_of(
            age,
            distance=result.identity.get(age),
            readings=[e for e in (result.estimates.get(age), result.judged.get(age)) if e is not None],
            gender=result.face.gender,
            embedder=str(result.settings.get("embedder", "")),
            limit=result.identity_limits.get(age),
        )
        for age in sorted(result.aged)
    }


def faults_of_record(record: Mapping[str, Any]) -> dict[int, tuple[Fault, ...]]:
    """The same from the content of result.json, which may be of a version that did not judge."""
    faults = {}
    for age, edit in record["ages"].items():
        both = [edit[name] for name in ("estimated_age", "judged_age") if edit.get(name)]
        readings = [
            AgeEstimate(
                each["years"],
                each.get("std") or 0.0,
                gender=each.get("gender"),
                gender_probability=each.get("gender_probability"),
                estimator=each.get("estimator", ""),
            )
            for each in both
        ]
        faults[int(age)] = faults_of(
            int(age),
            distance=edit.get("identity_distance"),
            readings=readings,
            gender=record["source"].get("gender"),
            embedder=str(record.get("settings", {}).get("embedder", "")),
            limit=edit.get("identity_limit"),
        )
    return faults


def as_json(faults: Sequence[Fault]) -> dict[str, Any]:
    """What result.json says of one estimate: `verdict`, and why where it is not to be used."""
    return {
        "verdict": DO_NOT_USE if faults else ESTIMATE,
        "faults": [{"kind": fault.kind, "text": fault.text} for fault in faults],
    }
