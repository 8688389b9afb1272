"""What the writers of infer.py have in common: one record and one line of the manifest per photograph."""

from __future__ import annotations

import json
import logging
import shutil
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from faceforward.atomic import remove_leftovers, write_atomically
from faceforward.datamodules.photos import Photos, Reused
from faceforward.errors import ConfigurationError, FaceforwardError
from faceforward.pretrained import sha256_of
from faceforward.records import Rejected
from faceforward.report.case import settings_key

if TYPE_CHECKING:
    from faceforward.datamodules.photos import Entry

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"
PROMISED = ("file", "input_sha256", "settings_sha256")  # texts that every record holds


class OutputError(FaceforwardError):
    """Results cannot be written: the run stops, what is complete stays."""


class PhotoWriter(Callback):
    """Writes each result as it comes; what is there under the same settings is not done again.

    A result appears complete or not at all, so a killed run goes on where it was. The manifest is rewritten
    after each photograph; with several ranks each keeps its own until they are merged at the end.

    A writer of a kind of result says how one is written, read again and told in a line. A record, as `write`
    returns it and `read` finds it, holds at least `file`, `input_sha256` and `settings_sha256`.

    Args:
        output: The folder of results.
        overwrite: Do again what is there.
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
        """The manifest that this rank writes."""
        rank = "" if trainer.world_size == 1 else f".rank{trainer.global_rank}"
        return self.output / self.manifest_name.replace(".jsonl", f"{rank}.jsonl")

    @property
    def manifest_name(self) -> str:
        """The manifest's file in the folder of results."""
        return MANIFEST

    @property
    def _manifests_of_ranks(self) -> str:
        return self.manifest_name.replace(".jsonl", ".rank*.jsonl")

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
        if trainer.is_global_zero:
            self.prepare()
        trainer.strategy.barrier("output folder")
        self._reused = {}
        for entry in photos.entries:
            old = None if self.overwrite else self.read(entry)
            foreign = old is not None and not all(isinstance(old.get(name), str) for name in PROMISED)
            if old is None or foreign or entry.problem is not None or not entry.path.is_file():
                continue
            key = settings_key(self.settings(pl_module, photos, entry), self._sha256(entry))
            if key == old["settings_sha256"]:
                self._reused[entry.id] = old
            elif entry.file != old["file"] and self._sha256(entry) != old["input_sha256"]:
                raise ConfigurationError(
                    f"{self.place(entry)} holds the result of another photograph, {old['file']}; "
                    "give another --output, or --overwrite to replace it"
                )
        left = photos.leave_out(self._reused, unusable=self._skipped())
        self._reused = {case: record for case, record in self._reused.items() if case in left}
        if self._reused:
            logger.info(
                "%d of %d photographs have their result already", len(self._reused), len(photos.entries)
            )

    def _skipped(self) -> set[str]:
        """The cases that an earlier run skipped, by its manifest."""
        try:
            lines = (self.output / self.manifest_name).read_text(encoding="utf-8").splitlines()
            return {line["id"] for line in map(json.loads, lines) if line["status"] == "skipped"}
        except (OSError, ValueError, KeyError, TypeError):
            return set()  # there is none, or not a whole one: those photographs are tried again

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
            for left in self.output.glob(self._manifests_of_ranks):
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

    def _put(self, trainer: Trainer, pl_module: LightningModule, outputs: Any) -> None:
        try:
            if isinstance(outputs, Rejected):
                line = self._line(outputs.id, outputs.status, outputs.reason)
                line |= self.describe_rejected(self._entries[outputs.id], pl_module)
                logger.warning("%s: %s: %s", outputs.file, outputs.status, outputs.reason)
            elif isinstance(outputs, Reused):
                line = self._line(outputs.id, reused=True) | self.describe(self._reused[outputs.id])
            else:
                case = outputs.photo.id
                sha256 = self._sha256(self._entries[case])
                key = settings_key(outputs.settings, sha256)
                record = self.write(outputs, input_sha256=sha256, key=key)
                line = self._line(case) | self.describe(record)
            self.lines[line["id"]] = line
            self._write_manifest(self.manifest(trainer), self.lines)
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
        ordered = [lines[case] for case in self._entries if case in lines]
        write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ordered))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' manifests and sum up.

        Raises:
            OutputError: The disk is full or cannot be written any more.
        """
        trainer.strategy.barrier("manifests")
        if trainer.is_global_zero:
            try:
                if trainer.world_size > 1:
                    parts = sorted(self.output.glob(self._manifests_of_ranks))
                    merged = [
                        json.loads(text) for part in parts for text in part.read_text("utf-8").splitlines()
                    ]
                    self.lines = {line["id"]: line for line in merged}
                    self._write_manifest(self.output / self.manifest_name, self.lines)
                    for part in parts:
                        part.unlink()
                self.finish()
            except OSError as error:
                raise OutputError(
                    f"{self.output} cannot be written: {error}; make room and run it again"
                ) from error
        trainer.strategy.barrier("report")
