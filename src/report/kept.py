"""What a case's folder holds already and keeps, when further ages of the same photograph are added to it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from faceforward.records import AgeEstimate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from faceforward.records import CaseResult

VIEWS = "views/"  # of `faceforward.callbacks.view_writer`
PICTURES = ("file", "raw", "photo")  # of one age, in the record


def intact(folder: Path, name: str) -> dict[str, Any] | None:
    """The record of a case with those ages alone whose pictures are all there.

    Args:
        folder: Of the case.
        name: Of the record in it.

    Returns:
        The record; its `damaged` says whether a file is gone that is not of an age. None where there is no
        record of this package.
    """
    try:
        record: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
        gone = {file for file, size in record["files"].items() if _size(folder / file) != size}
        of_ages = {edit[kind] for edit in record["ages"].values() for kind in PICTURES}
        record["ages"] = {
            str(int(age)): edit
            for age, edit in record["ages"].items()
            if not gone & {edit[kind] for kind in PICTURES}
        }
        texts = [record[key] for key in ("file", "input_sha256", "settings_sha256")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    record["damaged"] = bool(gone - of_ages)
    return record if all(isinstance(text, str) for text in texts) else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def with_kept(result: CaseResult, record: Mapping[str, Any], folder: Path) -> CaseResult:
    """The case with the ages of an earlier run beside those of this one.

    Args:
        result: What was made now.
        record: Of the earlier run, with the ages that are kept.
        folder: Where it lies.

    Raises:
        OSError: A picture cannot be read.
    """
    ages = {int(age): edit for age, edit in record["ages"].items()}
    pictures = {}
    for age, edit in ages.items():
        with Image.open(folder / edit["file"]) as image:
            pictures[age] = np.asarray(image.convert("RGB"))
    prompts = {age: edit["prompt"] for age, edit in ages.items()}
    known = {age: edit["identity_distance"] for age, edit in ages.items()}
    limits = {age: edit.get("identity_limit") for age, edit in ages.items()}
    return dataclasses.replace(
        result,
        aged=dict(sorted({**pictures, **result.aged}.items())),
        edit=dataclasses.replace(
            result.edit,
            target_prompts={**prompts, **result.edit.target_prompts},
            unet_evaluations=result.edit.unet_evaluations + record["unet_evaluations"],
        ),
        estimates={**_estimates(ages, "estimated_age"), **result.estimates},
        judged={**_estimates(ages, "judged_age"), **result.judged},
        identity={**{age: far for age, far in known.items() if far is not None}, **result.identity},
        identity_limits={
            **{age: limit for age, limit in limits.items() if limit is not None},
            **result.identity_limits,
        },
        seconds=result.seconds + (record["seconds"] or 0.0),
        settings=result.settings | {"targets": sorted({*ages, *result.aged})},
    )


def _estimates(ages: Mapping[int, Mapping[str, Any]], name: str) -> dict[int, AgeEstimate]:
    return {
        age: AgeEstimate(
            years=edit[name]["years"],
            std=edit[name]["std"],
            gender=edit[name]["gender"],
            gender_probability=edit[name]["gender_probability"],
            estimator=edit[name]["estimator"],
        )
        for age, edit in ages.items()
        if edit.get(name)
    }


def carry_over(old: Path, new: Path, *, record: str, kept: Mapping[str, Any], input_sha256: str) -> list[str]:
    """Put into a new folder what stays of the old one: pictures of kept ages, and what others laid there.

    Args:
        old: The folder that will be replaced; it may not be there.
        new: The one that takes its place.
        record: Name of the record, which says what was written with it.
        kept: The ages that stay, by name, with their part of the record.
        input_sha256: Of the photograph's file: views of another one do not stay.

    Returns:
        The files of kept ages, relative to the folder.

    Raises:
        OSError: They cannot be put there.
    """
    files = [edit[kind] for edit in kept.values() for kind in PICTURES]
    try:
        before = json.loads((old / record).read_text(encoding="utf-8"))
        written, same = {*before["files"], record}, before["input_sha256"] == input_sha256
    except (OSError, ValueError, KeyError, TypeError):
        written, same = {record}, True
    for path in sorted(old.rglob("*")) if old.is_dir() else []:
        name = path.relative_to(old).as_posix()
        left = name in written and name not in files
        if path.is_dir() or left or (new / name).exists() or (name.startswith(VIEWS) and not same):
            continue
        (new / PurePosixPath(name).parent).mkdir(parents=True, exist_ok=True)
        _link_or_copy(path, new / name)
    return files


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same file, where the file system knows such; else a copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
