"""The photographs that infer.py reads: a file, a folder, or a CSV that names them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import logging
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from faceforward.datamodules.people import Facts, read_facts, read_people
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import read_photo, safe_id
from faceforward.records import Photo, Rejected

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import torch

logger = logging.getLogger(__name__)

CSV_NAME = "photos.csv"
ON_ACCELERATOR = 4  # photographs in a group; 8 targets of each, both prompts, fill a UNet's batch of 72


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


@dataclass(frozen=True)
class Reused:
    """A photograph whose result an earlier run made under the same settings: nothing is left to do.

    Attributes:
        id: Case id.
        file: The file as the user named it.
    """

    id: str
    file: str


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
    """Where the file that the CSV calls `name` is; it may be normalised otherwise than the disk's name is."""
    for form in (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)):
        with suppress(OSError):  # a name that is too long, say: reading it will say so
            if (folder / form).exists():
                return folder / form
    return folder / name


def list_photos(
    photos: str | Path, *, output: str | Path | None = None, today: datetime.date | None = None
) -> list[Entry]:
    """Every photograph that the user means, in a fixed order; nothing is opened but the CSV.

    Args:
        photos: An image file, a CSV file (paths in it are relative to its folder), or a folder: not recursed,
            each entry that is not hidden counts, and `photos.csv` inside it gives what is known.
        output: The folder of results; where it lies in the folder of photographs it is none of them.
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
        rows, files = _listed(root, None if output is None else _absolute(Path(output)))
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
        entries.append(Entry(id=row["file"], file=shown, path=path, facts=facts, problem=problem))
    named = {_absolute(entry.path) for entry in entries}
    entries += [
        Entry(id=path.name, file=str(path), path=path) for path in files if _absolute(path) not in named
    ]
    if not entries:
        raise ConfigurationError(f"--photos {root}: the folder is empty; put photographs into it")
    ids = case_ids([entry.id for entry in entries])
    return [dataclasses.replace(entry, id=case) for entry, case in zip(entries, ids, strict=True)]


def _listed(root: Path, output: Path | None) -> tuple[list[dict[str, str]], list[Path]]:
    """The lines of the CSV, and the files of the folder or the one file."""
    if not root.is_dir():
        if root.suffix.lower() == ".csv" and root.is_file():
            return read_people(root), []
        if root.exists() or root.is_symlink():
            return [], [root]
        raise ConfigurationError(f"--photos {root}: there is no such file or folder")
    if output == _absolute(root):
        raise ConfigurationError(
            f"--output {root} is the folder of the photographs: give one of its own, so that no result is "
            "taken for a photograph"
        )
    files = [
        path
        for path in sorted(root.iterdir())
        if not path.name.startswith(".") and path.name != CSV_NAME and _absolute(path) != output
    ]
    return (read_people(root / CSV_NAME) if (root / CSV_NAME).is_file() else []), files


def _absolute(path: Path) -> Path:
    """Without `..` and links of folders, but a link to a photograph is a photograph of its own."""
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


class PhotoDataset(Dataset):
    """Photographs, read when asked for.

    Args:
        entries: What to read.
        face: Which face to take where the CSV does not say, 1 = the largest.
        reused: Ids that need not be read, because their result is there.
        targets: Target ages of photographs of which the others are there, by id.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        face: int | None = None,
        reused: Collection[str] = (),
        targets: Mapping[str, tuple[int, ...]] | None = None,
    ) -> None:
        self.entries = list(entries)
        self.face = face
        self.reused = frozenset(reused)
        self.targets = dict(targets or {})

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Photo | Rejected | Reused:
        entry = self.entries[index]
        if entry.problem is not None:
            return Rejected(entry.id, entry.file, "skipped", entry.problem)
        if entry.id in self.reused:
            return Reused(entry.id, entry.file)
        try:
            photo = read_photo(entry.path, id=entry.id)
        except UnusablePhotoError as error:
            return Rejected(entry.id, entry.file, "skipped", str(error))
        except Exception as error:  # the last line: whatever a file does to a decoder becomes its record
            logger.exception("reading %s failed", entry.path)
            return Rejected(
                entry.id, entry.file, "failed", f"reading it failed: {type(error).__name__}: {error}"
            )
        facts = entry.facts
        return dataclasses.replace(
            photo,
            file=entry.file,
            age=facts.age,
            gender=facts.gender,
            targets=self.targets.get(entry.id, facts.targets),
            face=facts.face or self.face,
        )


class Groups(Dataset):
    """Samples of another dataset, several at once: always the same ones, in their order.

    Args:
        dataset: Gives the samples.
        size: Samples in a group; the last group may be smaller.
    """

    def __init__(self, dataset: PhotoDataset, size: int) -> None:
        self.dataset = dataset
        self.size = size

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.size)

    def __getitem__(self, index: int) -> list[Photo | Rejected | Reused]:
        start = index * self.size
        return [self.dataset[place] for place in range(start, min(start + self.size, len(self.dataset)))]


def _to_make(plans: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    """The ages to make of the photographs of one group, from those asked for and those lacking of each.

    Where all were asked for the same they get the same, also in a group that was cut off in the middle.
    """
    alike = len({wanted for wanted, _ in plans.values()}) == 1
    every = {age for _, lacking in plans.values() for age in lacking}
    return {
        case: tuple(age for age in wanted if age in every) if alike and every else lacking or wanted
        for case, (wanted, lacking) in plans.items()
    }


class Photos(LightningDataModule):
    """Photographs for prediction, one at a time or in groups.

    Args:
        photos: An image file, a folder, or a CSV file; see `list_photos`.
        face: Which face to take where the CSV does not say, 1 = the largest; None takes the largest.
        output: The folder of results, which is not a photograph.
        num_workers: Processes that read ahead of the model; 0 reads in the main process.
        group: Photographs that the model gets at once, where it can take several. Groups follow the order of
            the list, so that the same list always forms the same ones. 1 gives single photographs, not lists;
            None takes 1 on a CPU, where groups win nothing, and elsewhere `ON_ACCELERATOR`, or fewer so that
            every process has some.

    Raises:
        ConfigurationError: As `list_photos`; `face` or `group` is not positive.
    """

    def __init__(
        self,
        photos: str,
        *,
        face: int | None = None,
        output: str | None = None,
        num_workers: int = 0,
        group: int | None = None,
    ) -> None:
        super().__init__()
        if face is not None and face < 1:
            raise ConfigurationError(f"--face {face}: faces are counted from 1, the largest")
        if group is not None and group < 1:
            raise ConfigurationError(f"data.init_args.group is {group}: give 1 or more photographs")
        self.entries = self.listed(photos, output=output)
        self.face = face
        self.num_workers = num_workers
        self.group = group
        self.reused: frozenset[str] = frozenset()
        self.targets: dict[str, tuple[int, ...]] = {}

    @staticmethod
    def listed(photos: str | Path, *, output: str | Path | None = None) -> list[Entry]:
        """The photographs that the user means; see `list_photos`."""
        return list_photos(photos, output=output)

    @property
    def group_size(self) -> int:
        """Photographs in a group."""
        if self.group is not None:
            return self.group
        trainer = self.trainer
        if trainer is None or trainer.strategy.root_device.type == "cpu":
            return 1
        return max(1, min(ON_ACCELERATOR, len(self.entries) // trainer.world_size))

    def leave_out(
        self,
        ids: Collection[str],
        *,
        unusable: Collection[str] = (),
        targets: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] | None = None,
    ) -> frozenset[str]:
        """Do not read these photographs: their result is there. Each still yields a `Reused`.

        A group that is not complete is done again as a whole, since what a picture gets from its batch may
        differ in the last bit.

        Args:
            ids: Cases whose result is there.
            unusable: Cases that an earlier run skipped: they have no part in a batch.
            targets: The ages asked for and those that are not there yet, of cases that have some of them;
                the latter alone are made.

        Returns:
            The cases that are left out.
        """
        left: set[str] = set()
        plans, self.targets = targets or {}, {}
        for start in range(0, len(self.entries), self.group_size):
            group = {entry.id for entry in self.entries[start : start + self.group_size]}
            if group <= {*ids, *unusable}:
                left |= group & set(ids)
            else:
                self.targets |= _to_make({case: plans[case] for case in group & plans.keys()})
        self.reused = frozenset(left)
        return self.reused

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Records stay where they are; the stages move what they need."""
        return batch

    def predict_dataloader(self) -> DataLoader:
        """`Photo`, `Rejected` or `Reused`, each once, in the order of `entries`; lists of them for groups."""
        photos = PhotoDataset(self.entries, face=self.face, reused=self.reused, targets=self.targets)
        dataset = photos if self.group_size == 1 else Groups(photos, self.group_size)
        return DataLoader(dataset, batch_size=None, num_workers=self.num_workers)
