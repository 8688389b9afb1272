"""The photographs that infer.py reads, one at a time or in groups."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader, Dataset

from faceforward.datamodules.listing import Entry, known, list_photos
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.reading import read_photo
from faceforward.records import Photo, Rejected

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import torch

logger = logging.getLogger(__name__)

ON_ACCELERATOR = 4  # photographs in a group; 8 targets of each, both prompts, fill a UNet's batch of 72


@dataclass(frozen=True)
class Reused:
    """A photograph whose result an earlier run made under the same settings: nothing is left to do.

    Attributes:
        id: Case id.
        file: The file as the user named it.
    """

    id: str
    file: str


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


@rank_zero_only
def _say_left_out(beside: Sequence[str]) -> None:
    kinds = Counter(Path(name).suffix.lower() or name for name in beside)
    logger.info(
        "left out as other programs' files, not photographs: %s",
        ", ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items())),
    )


class Photos(LightningDataModule):
    """Photographs for prediction, one at a time or in groups.

    Args:
        photos: An image file, a folder, or a CSV file; see `list_photos`.
        face: Which face to take where the CSV does not say, 1 = the largest; None takes the largest.
        output: The folder of results, which is not a photograph.
        recursive: Also take photographs in folders inside the folder.
        age: Age in the photograph in years, where `photos` is a single one.
        gender: Likewise, `female` or `male`.
        num_workers: Processes that read ahead of the model; 0 reads in the main process.
        group: Photographs that the model gets at once, where it can take several. Groups follow the order of
            the list, so that the same list always forms the same ones. 1 gives single photographs, not lists;
            None takes 1 on a CPU, where groups win nothing, and elsewhere `ON_ACCELERATOR`, or fewer so that
            every process has some.

    Raises:
        ConfigurationError: As `list_photos`; `face` or `group` is not positive; `age` or `gender` is none, or
            given for several photographs.
    """

    def __init__(
        self,
        photos: str,
        *,
        face: int | None = None,
        output: str | None = None,
        recursive: bool = False,
        age: float | None = None,
        gender: str | None = None,
        num_workers: int = 0,
        group: int | None = None,
    ) -> None:
        super().__init__()
        if face is not None and face < 1:
            raise ConfigurationError(f"--face {face}: faces are counted from 1, the largest")
        if group is not None and group < 1:
            raise ConfigurationError(f"data.init_args.group is {group}: give 1 or more photographs")
        beside: list[str] = []
        self.entries = self.listed(photos, output=output, recursive=recursive, beside=beside)
        if beside:
            _say_left_out(beside)
        if age is not None or gender is not None:
            self.entries = [known(self.entries, Path(photos), age=age, gender=gender)]
        self.face = face
        self.num_workers = num_workers
        self.group = group
        self.reused: frozenset[str] = frozenset()
        self.targets: dict[str, tuple[int, ...]] = {}

    @staticmethod
    def listed(
        photos: str | Path,
        *,
        output: str | Path | None = None,
        recursive: bool = False,
        beside: list[str] | None = None,
    ) -> list[Entry]:
        """The photographs that the user means; see `list_photos`."""
        return list_photos(photos, output=output, recursive=recursive, beside=beside)

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
