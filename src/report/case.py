"""The folder of one case: written complete or not at all, and read again."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import math
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from faceforward.atomic import atomic_folder, recover_folders, remove_leftovers, write_atomically
from faceforward.faces.align import paste_back
from faceforward.faces.crops import resized
from faceforward.report.kept import carry_over, intact, with_kept
from faceforward.report.metadata import Kind, Mark, write_png
from faceforward.report.sheet import contact_sheet
from faceforward.report.verdict import Fault, as_json, faults_of_result
from faceforward.report.visible_mark import visibly_marked
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from faceforward.records import AgeEstimate, CaseResult, Detection

RESULT = "result.json"


def settings_key(settings: dict[str, Any], input_sha256: str) -> str:
    """One hash of everything that decides a result."""
    text = json.dumps({"settings": settings, "input": input_sha256}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def sweep(cases: Path) -> None:
    """Remove what a killed run left half done; a case that was being replaced gets its old folder back."""
    recover_folders(cases)
    remove_leftovers(cases)


def read_case(folder: Path) -> dict[str, Any] | None:
    """The result.json of a complete case, or None when it is none or a picture that it names is missing."""
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        complete = all((folder / name).stat().st_size == size for name, size in result["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return result if complete else None


def kept_of(folder: Path, settings: dict[str, Any], input_sha256: str) -> dict[str, Any] | None:
    """What an earlier run made of the same photograph under the same settings, whatever ages were asked for.

    Args:
        folder: Of the case.
        settings: Everything that decides a result now.
        input_sha256: Of the photograph's file.

    Returns:
        The record as `intact` gives it; None where there is none, or one made otherwise.
    """
    record = intact(folder, RESULT)
    if record is None:
        return None
    then = record["settings"]
    same = settings_key(settings | {name: then[name] for name in ("targets",) if name in then}, input_sha256)
    return record if same == record["settings_sha256"] else None


def write_case(
    cases: Path, result: CaseResult, *, input_sha256: str, visible_mark: bool = True
) -> dict[str, Any]:
    """Write the folder `cases/<id>`; a case id never starts with a dot, so a hidden one is no case.

    Ages that the folder holds already, made of the same photograph under the same settings, stay beside those
    of `result`; so does what is not of this function, such as views.

    Args:
        cases: The folder of all cases.
        result: What to write.
        input_sha256: Of the photograph's file.
        visible_mark: Whether the pictures in `aged/` and `photo/` say at their lower edge what they are.

    Returns:
        What result.json holds.

    Raises:
        OSError: The disk is full or cannot be written; nothing half done is left under the case's name.
    """
    final = cases / result.photo.id
    earlier = kept_of(final, result.settings, input_sha256)
    kept = {age: e for age, e in (earlier or {"ages": {}})["ages"].items() if int(age) not in result.aged}
    whole = with_kept(result, {**earlier, "ages": kept}, final) if earlier and kept else result
    with atomic_folder(final) as folder:
        for name in ("aged", "photo", "raw"):
            (folder / name).mkdir()
        _write_pictures(folder, result, faults_of_result(result), visible_mark=visible_mark)
        _write_sheet(folder, whole)
        content = describe(whole) | {
            "visible_mark": visible_mark,
            "input_sha256": input_sha256,
            "settings_sha256": settings_key(whole.settings, input_sha256),
        }
        content["ages"] |= kept  # as it was written, with what reading it again would lose
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        names |= set(carry_over(final, folder, record=RESULT, kept=kept, input_sha256=input_sha256))
        content["files"] = {name: (folder / name).stat().st_size for name in sorted(names)}
        write_atomically(folder / RESULT, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return content


def _write_pictures(
    folder: Path, result: CaseResult, faults: dict[int, tuple[Fault, ...]], *, visible_mark: bool
) -> None:
    def shown(pixels: np.ndarray, age: int) -> np.ndarray:
        fault = faults[age][0].short if faults[age] else ""
        return visibly_marked(pixels, age, fault=fault) if visible_mark else pixels

    model = result.settings.get("model", {}).get("name", "")
    edit = result.edit
    photograph = Mark("photograph", "The crop that the estimates start from.")
    crop, photo = result.face.pixels, result.photo.pixels
    kind = aged_kind(result.settings)
    for age, pixels in result.aged.items():
        unusable = " Do not use it: " + "; ".join(f.text for f in faults[age]) + "." if faults[age] else ""
        mark = Mark(kind, f"Estimate at age {age}.{unusable}", model)
        write_png(folder / "aged" / f"{age}.png", shown(pixels, age), mark)
        source = crop if pixels.shape == crop.shape else None
        whole = paste_back(photo, pixels, result.face.alignment, source=source)
        mark = Mark("edited", f"The photograph with the estimate at age {age} in it.{unusable}", model)
        write_png(folder / "photo" / f"{age}.png", shown(whole, age), mark)
    sides = [pixels.shape[0] for pixels in result.aged.values()]
    write_png(folder / "face.png", resized(crop, sides[0] if sides else crop.shape[0]), photograph)
    if edit.source is not None:
        write_png(folder / "raw" / "source.png", edit.source, photograph)
    for name, pixels in (("reconstruction", edit.reconstruction), ("inverted", edit.inverted)):
        mark = Mark("synthetic", "The photograph's crop as the model gives it back, without ageing.", model)
        write_png(folder / "raw" / f"{name}.png", pixels, mark)
    for age, pixels in edit.images.items():
        mark = Mark("synthetic", f"Estimate at age {age}, at the model's own size.", model)
        write_png(folder / "raw" / f"{age}.png", pixels, mark)


def _write_sheet(folder: Path, result: CaseResult) -> None:
    model = result.settings.get("model", {}).get("name", "")
    footer = (
        f"Synthetic estimates made by faceforward {__version__} with {model} on {_today()}. They show how "
        "the person could look, not how the person looks. No photographs, and no evidence of identity.",
    )
    mark = Mark("composite", "A photograph's crop beside estimates at other ages.", model)
    write_png(folder / "sheet.png", contact_sheet(result, footer=footer), mark)


def aged_kind(settings: dict[str, Any]) -> Kind:
    """What `aged/` holds: drawings of a model that were only enlarged, or the photograph, changed."""
    return "synthetic" if settings.get("finisher") == "enlarging" else "edited"


def _today() -> str:
    return datetime.datetime.now().astimezone().date().isoformat()


def describe(result: CaseResult) -> dict[str, Any]:
    """Everything about a case as JSON values: the content of result.json.

    Distances are descriptor distances to the crop, lower is more alike. They and the ages of the edited
    pictures are taken on what people see (`aged/`, before the visible mark). `identity_limit` is the distance
    that one in a hundred strangers of that age comes within. An estimate outside of a limit
    has the verdict "do not use" and the reasons (`faceforward.report.verdict`).
    `crop_to_photograph` is the 3x3 matrix between pixel indices of the face's crop of `crop_side` pixels and
    of the photograph.
    """
    face, edit, quality = result.face, result.edit, result.face.quality
    faults = faults_of_result(result)
    ages = {
        str(age): {
            **as_json(faults[age]),
            "file": f"aged/{age}.png",
            "raw": f"raw/{age}.png",
            "photo": f"photo/{age}.png",
            "prompt": edit.target_prompts[age],
            "estimated_age": _estimate(result.estimates.get(age)),
            "judged_age": _estimate(result.judged.get(age)),
            "identity_distance": _number(result.identity.get(age)),
            "identity_limit": _number(result.identity_limits.get(age)),
        }
        for age in sorted(result.aged)
    }
    versions = {
        name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers", "lightning")
    }
    return {
        "id": result.photo.id,
        "file": result.photo.file,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": _number(result.seconds),
        "source": {
            "age": _number(face.age),
            "age_origin": face.age_origin,
            "gender": face.gender,
            "gender_origin": face.gender_origin,
            "estimated_age": _estimate(face.estimate),
            "judged_age": _estimate(face.judged),
            "width": result.photo.pixels.shape[1],
            "height": result.photo.pixels.shape[0],
            "notes": list(result.photo.notes),
        },
        "face": {
            "detector": face.detector,
            "crop_side": face.pixels.shape[0],
            "crop_to_photograph": face.alignment.matrix.round(6).tolist(),
            **_detection(face.detection),
            "others": [_detection(other) for other in face.others],
            "quality": {
                name: _number(getattr(quality, name))
                for name in ("face_height", "sharpness", "exposure", "contrast", "roll", "yaw")
            },
            "warnings": list(quality.warnings),
            "notes": list(face.notes),
        },
        "inversion": {
            "prompt": edit.source_prompt,
            "psnr_db": _number(edit.inversion_psnr),
            "identity_distance_of_reconstruction": _number(result.reconstruction_identity),
        },
        "unet_evaluations": edit.unet_evaluations,
        "ages": ages,
        "settings": result.settings,
        "versions": {"faceforward": __version__, "python": platform.python_version(), **versions},
    }


def _number(value: float | None) -> float | None:
    """A JSON number; infinity (a perfect reconstruction's PSNR) and NaN have none."""
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


def _detection(detection: Detection) -> dict[str, Any]:
    return {
        "box": [_number(value) for value in detection.box],
        "landmarks": np.asarray(detection.landmarks, dtype=float).round(2).tolist(),
        "score": _number(detection.score),
    }


def _estimate(estimate: AgeEstimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    spread = {}
    if estimate.distribution is not None and estimate.support is not None:
        pairs = zip(estimate.support.tolist(), estimate.distribution.tolist(), strict=True)
        spread = {"distribution": {f"{age:g}": round(share, 4) for age, share in pairs if share >= 5e-4}}
    return {
        "years": _number(estimate.years),
        "std": _number(estimate.std),
        "gender": estimate.gender,
        "gender_probability": _number(estimate.gender_probability),
        "estimator": estimate.estimator,
        **spread,
    }
