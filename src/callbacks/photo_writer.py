"""What the writers of infer.py have in common: one record and one line of the manifest per photograph."""

from __future__ import annotations

import logging
import shutil
import signal
from abc import abstractmethod
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, LightningModule, Trainer

from faceforward.atomic import remove_leftovers, write_atomically
from faceforward.callbacks.earlier import AGES, There, differing, earlier_lines, from_flags, refuse_loss
from faceforward.callbacks.manifest import (
    OutputError,
    append_line,
    part_of,
    parts,
    read_lines,
    refuse_unshared,
    wait_for_ranks,
    write_lines,
)
from faceforward.callbacks.ranks import gather, share, together
from faceforward.datamodules.photos import Photos, Reused
from faceforward.errors import ConfigurationError
from faceforward.pretrained import sha256_of
from faceforward.records import Rejected
from faceforward.report.case import settings_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from faceforward.datamodules.listing import Entry

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
NOTHING = torch.zeros(1 + 2 * AGES, dtype=torch.uint8)  # flags of a photograph without an earlier result
PROMISED = ("file", "input_sha256", "settings_sha256")  # texts that every record holds


class PhotoWriter(Callback):
    """Writes each result as it comes; what is there under the same settings is not done again.

    What the folder holds stays and is listed, also of photographs that are not part of this run; a result
    that would be replaced ends the run before it starts, unless `overwrite` names it.

    A result appears complete or not at all, so a killed run goes on where it was. The manifest gets a line
    after each photograph and its order at the end; with several ranks each keeps its own until the first one
    merges them, for which the others do not wait.

    A writer of a kind of result says how one is written, read again and told in a line. A record, as `write`
    returns it and `read` finds it, holds at least `file`, `input_sha256` and `settings_sha256`.

    Args:
        output: The folder of results.
        overwrite: Do again what is there of the photographs and ages that are asked for.
    """

    #: What is left to look at when the run is over, in the folder of results, and what it holds.
    page: str
    contents: str

    def __init__(self, output: str, *, overwrite: bool = False) -> None:
        self.output = Path(output)
        self.overwrite = overwrite
        self.lines: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, Entry] = {}
        self._hashes: dict[str, str] = {}
        self._reused: dict[str, dict[str, Any]] = {}
        self._others: dict[str, dict[str, Any]] = {}  # lines of what else the folder holds
        self._begun = False  # whether this run's manifest has its first line

    @abstractmethod
    def folders(self) -> list[Path]:
        """The folders that results lie in; half-made files in them are swept before a run."""

    @abstractmethod
    def settings(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> dict[str, Any]:
        """What decides the result of a photograph beside its pixels."""

    @abstractmethod
    def place(self, entry: Entry) -> Path:
        """Where the record of a photograph is, for messages."""

    @abstractmethod
    def read(self, entry: Entry) -> dict[str, Any] | None:
        """The record of a complete result, or None."""

    @abstractmethod
    def records(self) -> Iterator[dict[str, Any]]:
        """The records of all complete results in the folder, each with its `id`."""

    @abstractmethod
    def write(self, result: Any, *, input_sha256: str, key: str) -> dict[str, Any]:
        """Write a result, whole or not at all, and return its record."""

    @abstractmethod
    def describe(self, record: dict[str, Any]) -> dict[str, Any]:
        """What the manifest's line says of a result, beside id, file, status, reason and reused."""

    @abstractmethod
    def describe_rejected(self, entry: Entry, pl_module: Any) -> dict[str, Any]:
        """The same for a photograph without a result."""

    @abstractmethod
    def finish(self) -> None:
        """Write what sums up all photographs of the run, from `lines`."""

    def sweep(self) -> None:
        """Remove what a killed run left half done."""
        for folder in self.folders():
            remove_leftovers(folder)

    def manifest(self, trainer: Trainer) -> Path:
        """The manifest that this rank lengthens."""
        whole = self.output / self.manifest_name
        return whole if trainer.world_size == 1 else part_of(whole, trainer.global_rank, finished=False)

    @property
    def manifest_name(self) -> str:
        """The manifest's file in the folder of results."""
        return MANIFEST

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Prepare the folder and find out which photographs have their result.

        Raises:
            ConfigurationError: The folder cannot be written, or holds the result of another photograph.
        """
        photos: Any = getattr(trainer, "datamodule", None)
        if stage != "predict" or not isinstance(photos, Photos):
            raise ConfigurationError(
                f"{type(self).__name__} works in infer.py, on faceforward.datamodules.photos.Photos"
            )
        self.lines, self._entries = {}, {entry.id: entry for entry in photos.entries}
        with together(trainer, "preparing the folder of results"):
            if trainer.is_global_zero:
                self.prepare()
        refuse_unshared(trainer, self.output)
        self._begun = False
        # Each rank reads and hashes its share alone: all need to know what is left, not why.
        mine = share(len(photos.entries), trainer)
        there: dict[str, There] = {}
        with together(trainer, "looking for results that are there"):
            if trainer.is_global_zero:
                self._others = earlier_lines(
                    self.output / self.manifest_name,
                    photos.entries,
                    fields=self.describe_rejected(photos.entries[0], pl_module),
                    found=partial(self.found, beside=self._entries),
                )
            losses = []
            for entry in (photos.entries[place] for place in mine):
                old = self._earlier(pl_module, photos, entry)
                if isinstance(old, There):
                    there[entry.id] = old
                elif old is not None:
                    losses.append((self.place(entry), old))
            refuse_loss(losses, self.output)
        rows = [
            there[case].flags() if (case := photos.entries[place].id) in there else NOTHING for place in mine
        ]
        flags = torch.stack(rows) if rows else torch.zeros(0, len(NOTHING), dtype=torch.uint8)
        known = map(from_flags, gather(trainer, flags, len(photos.entries)))
        plans = {entry.id: plan for entry, plan in zip(photos.entries, known, strict=True) if plan}
        # As the first rank read them: it may be writing the manifest before another one looks.
        skipped = trainer.strategy.broadcast(sorted(self._skipped()) if trainer.is_global_zero else [])
        left = photos.leave_out(
            {case for case, (_, lacking) in plans.items() if not lacking},
            unusable=set(skipped),
            targets={case: ages for case, ages in plans.items() if ages[0]},
        )
        self._reused = {case: old.record for case, old in there.items() if case in left}
        if left and trainer.is_global_zero:
            logger.info("%d of %d photographs have their result already", len(left), len(photos.entries))

    def there(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> There | str | None:
        """What is there of a photograph under the same settings, or why what is there is of no use.

        Returns:
            What is there; what stands against using it, in words; None where nothing is there.
        """
        old = self.read(entry)
        if old is None or not all(isinstance(old.get(name), str) for name in PROMISED):
            return None
        settings = self.settings(pl_module, photos, entry)
        if settings_key(settings, self._sha256(entry)) == old["settings_sha256"]:
            return There(old)
        return self.otherwise(old, settings, entry)

    def otherwise(self, old: dict[str, Any], settings: dict[str, Any], entry: Entry) -> str:
        """How a result that is there was made otherwise, in words."""
        if self._sha256(entry) != old["input_sha256"]:
            if entry.file != old["file"]:
                return f"holds the result of another photograph, {old['file']}"
            return f"holds the result of an earlier content of {old['file']}"
        return f"was made under other settings: {differing(old.get('settings') or {}, settings)}"

    def _earlier(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> There | str | None:
        """As `there`, with what `--overwrite` means; a text is why the run must not start."""
        if entry.problem is not None or not entry.path.is_file():
            return None
        old = self.there(pl_module, photos, entry)
        if self.overwrite:
            return self.not_named(pl_module, photos, entry) if isinstance(old, str) else None
        if isinstance(old, str):
            return (
                f"{old}. Give another --output; or --overwrite, with --photos naming the photographs alone "
                "that are to be replaced"
            )
        return old

    def not_named(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> str | None:
        """What `--overwrite` would remove without putting anything in its place, in words."""
        return None

    def found(self, *, beside: Collection[str]) -> dict[str, dict[str, Any]]:
        """The manifest's lines of the results in the folder that are of other cases than those."""
        there = {}
        for record in self.records():
            case = record["id"]
            if case not in beside:
                line = {"id": case, "file": record["file"], "status": "done", "reason": None, "reused": True}
                there[case] = line | self.describe(record)
        return there

    def _skipped(self) -> set[str]:
        """The cases that an earlier run skipped, by its manifest."""
        try:
            lines = read_lines(self.output / self.manifest_name).values()
        except OSError:  # there is none: those photographs are tried again
            return set()
        return {line["id"] for line in lines if line.get("status") == "skipped"}

    def prepare(self) -> None:
        """Make the folders, see that they can be written, and remove what a killed run left.

        Raises:
            ConfigurationError: They cannot be written.
        """
        try:
            for folder in self.folders():
                folder.mkdir(parents=True, exist_ok=True)
            self.sweep()
            remove_leftovers(self.output)
            for left in parts(self.output / self.manifest_name):
                left.unlink()
            write_atomically(self.output / ".writable", "")
            (self.output / ".writable").unlink()
        except OSError as error:
            raise ConfigurationError(f"--output {self.output} cannot be written: {error}") from error

    def _sha256(self, entry: Entry) -> str:
        if entry.id not in self._hashes:
            self._hashes[entry.id] = sha256_of(entry.path)
        return self._hashes[entry.id]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one result and its line, or those of a group.

        Raises:
            OutputError: The disk is full or cannot be written any more.
        """
        for output in outputs if isinstance(outputs, list) else [outputs]:
            self._put(trainer, pl_module, output)
        if trainer.received_sigterm:  # Lightning itself looks at it in fit only
            raise SystemExit(128 + signal.SIGTERM)

    def _put(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        try:
            if isinstance(outputs, Rejected):
                line = self._line(outputs.id, outputs.status, outputs.reason)
                line |= self.describe_rejected(self._entries[outputs.id], pl_module)
                logger.warning("%s: %s: %s", outputs.file, outputs.status, outputs.reason)
            elif isinstance(outputs, Reused):
                record = self._reused.get(outputs.id) or self.read(self._entries[outputs.id]) or {}
                line = self._line(outputs.id, reused=True) | self.describe(record)
            else:
                case = outputs.photo.id
                sha256 = self._sha256(self._entries[case])
                key = settings_key(outputs.settings, sha256)
                record = self.write(outputs, input_sha256=sha256, key=key)
                line = self._line(case) | self.describe(record)
            self.lines[line["id"]] = line
            if self._begun:
                append_line(self.manifest(trainer), line)
            else:  # what an earlier run left is replaced
                self._write_manifest(self.manifest(trainer), self.lines)
                self._begun = True
        except OSError as error:
            free = shutil.disk_usage(self.output).free / 1e6 if self.output.exists() else 0
            raise OutputError(
                f"{self.output} cannot be written: {error} ({free:.0f} MB free). What is complete is kept: "
                "make room and run the same command again"
            ) from error

    def _line(
        self, case: str, status: str = "done", reason: str | None = None, *, reused: bool = False
    ) -> dict[str, Any]:
        file = self._entries[case].file
        return {"id": case, "file": file, "status": status, "reason": reason, "reused": reused}

    def _write_manifest(self, path: Path, lines: dict[str, dict[str, Any]]) -> None:
        """In the order in which the photographs were listed."""
        write_lines(path, self.ordered(lines))

    def ordered(self, lines: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Lines of this run as the photographs were listed, then those of what else the folder holds."""
        return [lines[case] for case in self._entries if case in lines] + list(self._others.values())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' manifests and sum up, while the other ranks leave.

        Raises:
            OutputError: The disk is full or cannot be written any more, or another rank came to no end.
        """
        whole, ranks = self.output / self.manifest_name, trainer.world_size
        try:
            if ranks > 1:
                write_lines(part_of(whole, trainer.global_rank, finished=True), self.lines.values())
                part_of(whole, trainer.global_rank, finished=False).unlink(missing_ok=True)
            if not trainer.is_global_zero:
                return
            finished = wait_for_ranks(whole, ranks) if ranks > 1 else []
            for part in finished:
                self.lines |= read_lines(part)
            self._write_manifest(whole, self.lines)
            self.finish()
            for part in finished:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.output} cannot be written: {error}; make room and run it again"
            ) from error

    def stopped(self, trainer: Trainer) -> None:
        """List and sum up what is there when a run was ended from outside; other ranks may still be at work.

        Args:
            trainer: Of the run.
        """
        if not (trainer.is_global_zero and self._begun):
            return
        whole = self.output / self.manifest_name
        try:
            for part in parts(whole):
                self.lines |= read_lines(part)
            self._others |= self.found(beside=self.lines)
            self._write_manifest(whole, self.lines)
            self.finish()
        except OSError as error:
            logger.warning("%s could not be written: %s", whole, error)
