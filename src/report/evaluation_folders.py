"""Folders of aged pictures that exist already, by this or any program, and what is known of their sources."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from faceforward.errors import ConfigurationError
from faceforward.faces.reading import IMAGE_SUFFIXES
from faceforward.report.evaluation_sources import OLDEST, SOURCES, SourceFacts, read_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

logger = logging.getLogger(__name__)


class Failure(NamedTuple):
    """A picture, or a photograph with all its pictures, that could not be measured.

    Attributes:
        case: Its name.
        target: Of the picture, years; None where the photograph itself fails.
        reason: In words.
    """

    case: str
    target: int | None
    reason: str


@dataclass(frozen=True)
class AgedCase:
    """One photograph with its aged pictures on disk.

    Attributes:
        case: Name of its folder.
        source: The photograph, or its crop.
        aged: Target age -> picture.
        facts: What is known; `file` is `source`.
        original: Name of the photograph's own file, by which a gallery may know the person; may be empty.
        aligned: The pictures are crops that lie over each other, as this program's are.
        own: This program made them: words may stand at their lower edge (`visible_mark`).
        native: Side of the crop in the photograph's own pixels; infinite where unknown.
        estimated: Nobody gave the age: a reader's estimate stands for it.
        digest: SHA-256 of the photograph's file where the program wrote it down.
        failures: What is wrong with its files.
    """

    case: str
    source: Path
    aged: Mapping[int, Path]
    facts: SourceFacts
    original: str = ""
    aligned: bool = False
    own: bool = False
    native: float = float("inf")
    estimated: bool = False
    digest: str = ""
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class AgedFolder:
    """A folder of cases.

    Attributes:
        name: By which figures are called; unique among folders that are compared.
        path: Where it is.
        cases: In the order of their names.
        failures: Photographs without a case.
    """

    name: str
    path: Path
    cases: tuple[AgedCase, ...]
    failures: tuple[Failure, ...] = field(default=())


def read_folder(path: Path, name: str, sources: Mapping[str, SourceFacts]) -> AgedFolder:
    """List a folder's cases; no picture is opened.

    Args:
        path: With `cases/<id>/` as `infer age` writes it, or `<id>/`, each with `face.png` and
            `aged/<age>.png`, or with `<age>.png` and the source in a CSV.
        name: By which its figures are called.
        sources: Of `read_sources`; `sources.csv` in the folder counts too.

    Raises:
        ConfigurationError: There is no case in it, or its CSV is none.
    """
    if not path.is_dir():
        raise ConfigurationError(f"{path} is not a folder: give one that holds cases/ or <id>/<age>.png")
    if (path / SOURCES).is_file():
        sources = {**read_sources(path / SOURCES), **sources}
    root = path / "cases" if (path / "cases").is_dir() else path
    cases, failures = [], list(_rejected(path))
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        case = _case(folder, sources.get(folder.name, SourceFacts()))
        if isinstance(case, Failure):
            failures.append(case)
        elif case is not None:
            cases.append(case)
    there = {case.case for case in cases} | {failure.case for failure in failures}
    failures += [
        Failure(case, None, "the CSV names it, and the folder has no pictures of it")
        for case in sources
        if case not in there and not (root / case).is_dir()
    ]
    if not cases:
        why = f": {failures[0].case}: {failures[0].reason}" if failures else ""
        raise ConfigurationError(
            f"{path} holds no aged picture with its source{why}. It takes cases/<id>/face.png with "
            f"aged/<age>.png, or <id>/<age>.png with the sources in {SOURCES} or --source-csv"
        )
    return AgedFolder(name, path, tuple(cases), tuple(failures))


def _case(folder: Path, facts: SourceFacts) -> AgedCase | Failure | None:
    """A case; None where the folder holds no picture at all."""
    inside = folder / "aged" if (folder / "aged").is_dir() else folder
    pictures = [
        file
        for file in sorted(inside.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    crop = folder / "face.png"
    if inside == folder:
        pictures = [file for file in pictures if file != crop]
    if not pictures:
        return None
    result = _result(folder)
    if facts.file is None and not crop.is_file():
        return Failure(
            folder.name, None, f"its source is not known: no face.png, no `file` in {SOURCES} or --source-csv"
        )
    aged: dict[int, Path] = {}
    failures = []
    for file in pictures:
        match = re.fullmatch(r"0*(\d{1,3})", file.stem)
        if match is None or int(match[1]) > OLDEST or int(match[1]) in aged:
            failures.append(Failure(folder.name, None, f"{file.name} is not called after an age of its own"))
        else:
            aged[int(match[1])] = file
    told = result.get("source", {})
    age = facts.age if facts.age is not None else told.get("age")
    estimated = facts.age is None and age is not None and told.get("age_origin") != "given"
    given = told.get("gender") if told.get("gender_origin") == "given" else None
    source = crop if crop.is_file() else facts.file
    assert source is not None  # one of the two is there
    return AgedCase(
        case=folder.name,
        source=source,
        aged=aged,
        facts=SourceFacts(source, facts.person, age, facts.gender or given),
        original=Path(str(result.get("file", "")) or facts.file or "").name,
        aligned=bool(result) and crop.is_file(),
        own=bool(result) and crop.is_file(),
        native=_native(result.get("face", {})),
        estimated=estimated,
        digest=str(result.get("input_sha256", "")),
        failures=tuple(failures),
    )


def _result(folder: Path) -> dict[str, Any]:
    """The content of this program's `result.json`; empty where there is none."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return result if isinstance(result, dict) and isinstance(result.get("source"), dict) else {}


def _native(face: Mapping[str, Any]) -> float:
    """Side of the crop in the photograph's own pixels."""
    try:
        (a, _, _), (b, _, _), _ = face["crop_to_photograph"]
        return float((a**2 + b**2) ** 0.5 * face["crop_side"])
    except (KeyError, TypeError, ValueError):
        return float("inf")


def _rejected(path: Path) -> Iterable[Failure]:
    """Photographs that this program's manifest has without a result."""
    try:
        lines = (path / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["status"] != "done":
                yield Failure(str(entry["id"]), None, str(entry.get("reason", entry["status"])))
        except (ValueError, KeyError, TypeError):
            yield Failure("manifest.jsonl", None, "a line of it cannot be read")


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names of folders, each once: the last part of the path, with more where two are equal.

    Raises:
        ConfigurationError: A folder is given twice.
    """
    full = [path.resolve() for path in paths]
    if len(set(full)) < len(full):
        raise ConfigurationError("a folder is given twice: a comparison takes different ones")
    for depth in range(1, max(len(path.parts) for path in full) + 1):
        names = ["/".join(path.parts[-depth:]) for path in full]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in full]
