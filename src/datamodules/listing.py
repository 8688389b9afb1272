"""Which photographs the user means: a file, a folder, or a CSV that names them; and what is known of them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from faceforward.datamodules.people import Facts, read_facts, read_people
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import safe_id

if TYPE_CHECKING:
    from collections.abc import Sequence

CSV_NAME = "photos.csv"
LISTS = (".csv", ".tsv", ".txt")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
#: What cameras, telephones, and programs put beside photographs: never one itself.
SIDECARS = frozenset(
    {".json", ".aae", ".xmp", ".thm", ".xml", ".pp3", ".dop", ".cos", ".on1", ".lrv", ".wav", ".url", ".lnk"}
    | {".mp4", ".mov", ".m4v", ".avi", ".mpg", ".3gp", ".mts", ".webm", ".mkv", ".mp3", ".m4a"}
    | {".db", ".ini", ".dat", ".tmp", ".txt", ".md", ".html", ".htm", ".yaml", ".yml", ".csv", ".tsv"}
)
SIDE_FOLDERS = frozenset({"@eadir", "#recycle", "#snapshot", "__macosx", "$recycle.bin", "lost+found"})


@dataclass(frozen=True)
class Entry:
    """One photograph to be read, and what is known about it.

    Attributes:
        id: Case id, unique in the run.
        file: The file as the user named it.
        path: Where it is.
        facts: What the CSV says.
        problem: Why the line of the CSV cannot be used; None when it can.
        case: The case of an earlier run that the picture belongs to; None where it makes one of its own.
        which: `photograph`, or the age in years that an aged picture of an earlier run shows.
    """

    id: str
    file: str
    path: Path
    facts: Facts = field(default_factory=Facts)
    problem: str | None = None
    case: str | None = None
    which: str = "photograph"


def case_ids(names: Sequence[str]) -> list[str]:
    """Case ids of the files `names`, in their order.

    The stem in NFC, characters outside letters, digits, `-`, `_`, `.` replaced by `_`. Where two would be
    equal (also on file systems that know no case) each gets `-` and six hash digits of its name; where the
    names are equal too (a CSV may name a photograph twice, for two faces) of its name and its count.
    """
    stems = []
    for name in names:
        stem = safe_id(Path(name).stem)
        # A leading dot would hide the case's folder. File systems end at 255 bytes; Hangul takes 3 a letter.
        stem = re.sub(r"^\.", "_", stem).encode()[:150].decode(errors="ignore")
        stems.append(stem or "_")
    folded = [stem.casefold() for stem in stems]
    ids, taken = [], set()
    for name, stem in zip(names, stems, strict=True):
        count, case = 0, stem
        if folded.count(stem.casefold()) > 1:
            case = f"{stem}-{_digits(name)}"
        while case.casefold() in taken:
            count += 1
            case = f"{stem}-{_digits(f'{name} {count}')}"
        taken.add(case.casefold())
        ids.append(case)
    return ids


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:6]


def _find(folder: Path, name: str) -> Path:
    """Where the file that the CSV calls `name` is; Windows' separators and other normal forms are tried."""
    slashed = name.replace("\\", "/")
    for form in (name, slashed, unicodedata.normalize("NFC", slashed), unicodedata.normalize("NFD", slashed)):
        with suppress(OSError):  # a name that is too long, say: reading it will say so
            if (folder / form).exists():
                return folder / form
    return folder / name


def list_photos(
    photos: str | Path,
    *,
    output: str | Path | None = None,
    recursive: bool = False,
    beside: list[str] | None = None,
    today: datetime.date | None = None,
) -> list[Entry]:
    """Every photograph that the user means, in a fixed order; nothing is opened but the CSV.

    Args:
        photos: An image file, a CSV file (paths in it are relative to its folder), or a folder: each entry
            counts that is not hidden and not one that other programs keep beside photographs (`SIDECARS`),
            and `photos.csv` inside it gives what is known.
        output: The folder of results; where it lies in the folder of photographs it is none of them.
        recursive: Also take the photographs in folders inside the folder; else a folder in it is a photograph
            that cannot be read.
        beside: Gets the names of what was left out as other programs' files.
        today: The day that the target `today` in the CSV refers to; default the current one.

    Raises:
        ConfigurationError: There is nothing at that path, nothing in the folder, the CSV is not one, or the
            results would lie among the photographs.
    """
    if not str(photos):
        raise ConfigurationError("--photos is empty: give a photograph, a folder of them, or a CSV")
    root = Path(photos)
    today = today or datetime.datetime.now().astimezone().date()
    try:
        rows, files = _listed(
            root,
            None if output is None else _absolute(Path(output)),
            recursive,
            [] if beside is None else beside,
        )
    except OSError as error:
        raise ConfigurationError(f"--photos {root} cannot be read: {error}") from error
    folder = root if root.is_dir() else root.parent

    entries = []
    for row in rows:
        path, facts, problem = _find(folder, row["file"]), Facts(), None
        try:
            facts = read_facts(row, today=today)
        except UnusablePhotoError as error:
            problem = str(error)
        if not row["file"]:
            problem = "the CSV line names no file"
        shown = str(path) if root.is_dir() else row["file"]
        name = row["file"] if str(path).endswith(row["file"]) else row["file"].replace("\\", "/")
        entries.append(Entry(id=name, file=shown, path=path, facts=facts, problem=problem))
    named = {_absolute(entry.path) for entry in entries}
    entries += [
        Entry(id=path.relative_to(folder).as_posix(), file=str(path), path=path)
        for path in files
        if _absolute(path) not in named
    ]
    if not entries:
        inside = "" if recursive else ", or add --recursive where they lie in folders inside it"
        raise ConfigurationError(
            f"--photos {root}: there is no photograph in the folder; put some into it{inside}"
            if any(root.iterdir())
            else f"--photos {root}: the folder is empty; put photographs into it"
        )
    ids = case_ids([entry.id for entry in entries])
    return [dataclasses.replace(entry, id=case) for entry, case in zip(entries, ids, strict=True)]


def _listed(
    root: Path, output: Path | None, recursive: bool, beside: list[str]
) -> tuple[list[dict[str, str]], list[Path]]:
    """The lines of the CSV, and the files of the folder or the one file."""
    if not root.is_dir():
        if root.suffix.lower() in LISTS and root.is_file():
            return read_people(root), []
        if root.suffix.lower() in SPREADSHEETS and root.is_file():
            raise ConfigurationError(
                f"--photos {root} is a spreadsheet: save it as 'CSV UTF-8 (comma delimited)', and give that"
            )
        if root.exists() or root.is_symlink():
            return [], [root]
        raise ConfigurationError(f"--photos {root}: there is no such file or folder")
    if output == _absolute(root):
        raise ConfigurationError(
            f"--output {root} is the folder of the photographs: give one of its own, so that no result is "
            "taken for a photograph"
        )
    files: list[Path] = []
    folders, seen = [root], set()
    while folders:
        folder = folders.pop(0)
        if folder.resolve() in seen:  # a link back up
            continue
        seen.add(folder.resolve())
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path == root / CSV_NAME or _absolute(path) == output:
                continue
            is_folder = path.is_dir()
            if path.name.lower() in SIDE_FOLDERS if is_folder else path.suffix.lower() in SIDECARS:
                beside.append(path.relative_to(root).as_posix())
            elif is_folder and recursive:
                folders.append(path)
            else:
                files.append(path)
    return (read_people(root / CSV_NAME) if (root / CSV_NAME).is_file() else []), files


def _absolute(path: Path) -> Path:
    """Without `..` and links of folders, but a link to a photograph is a photograph of its own."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def known(entries: Sequence[Entry], photos: Path, *, age: float | None, gender: str | None) -> Entry:
    """The single photograph with what the command line says of it.

    Raises:
        ConfigurationError: There are several, or what is said cannot be.
    """
    if len(entries) != 1 or photos.suffix.lower() in LISTS:
        raise ConfigurationError(
            "--age and --gender are of a single photograph: for several write a photos.csv into their "
            "folder, with a first line file,age,gender and a line for each"
        )
    try:
        given = read_facts(
            {"age": "" if age is None else str(age), "gender": gender or ""}, today=datetime.date.today()
        )
    except UnusablePhotoError as error:
        raise ConfigurationError(str(error).replace("the CSV says", "the command line says")) from error
    facts = entries[0].facts
    return dataclasses.replace(
        entries[0],
        facts=dataclasses.replace(
            facts,
            age=facts.age if given.age is None else given.age,
            gender=given.gender or facts.gender,
        ),
    )
