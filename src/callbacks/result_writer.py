"""Everything that infer.py leaves on disk: the cases, the manifest and the report."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning import Callback, LightningModule, Trainer

from faceforward.atomic import remove_leftovers, write_atomically
from faceforward.datamodules.photos import Photos, Reused
from faceforward.errors import ConfigurationError, FaceforwardError
from faceforward.pretrained import sha256_of
from faceforward.records import CaseResult, Rejected
from faceforward.report.case import read_case, settings_key, sweep, write_case
from faceforward.report.page import write_report

if TYPE_CHECKING:
    from faceforward.datamodules.photos import Entry

logger = logging.getLogger(__name__)

MANIFEST = "manifest.jsonl"


class OutputError(FaceforwardError):
    """Results cannot be written: the run stops, what is complete stays."""


class ResultWriter(Callback):
    """Writes each result as it comes; what is there under the same settings is not done again.

    A case folder appears complete or not at all, so a killed run goes on where it was. The manifest is
    rewritten after each photograph; with several ranks each keeps its own until they are merged at the end.

    Args:
        output: The folder of results.
        overwrite: Do again what is there.

    Example:
        >>> ResultWriter("out").overwrite
        False
    """

    def __init__(self, output: str, *, overwrite: bool = False) -> None:
        self.output = Path(output)
        self.overwrite = overwrite
        self.lines: dict[str, dict[str, Any]] = {}
        self._entries: dict[str, Entry] = {}
        self._hashes: dict[str, str] = {}
        self._reused: dict[str, dict[str, Any]] = {}

    @property
    def cases(self) -> Path:
        """The folder that has one folder per case."""
        return self.output / "cases"

    def manifest(self, trainer: Trainer) -> Path:
        """The manifest that this rank writes."""
        return self.output / (
            MANIFEST if trainer.world_size == 1 else f"manifest.rank{trainer.global_rank}.jsonl"
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Prepare the folder and find out which photographs have their result.

        Raises:
            ConfigurationError: The folder cannot be written, or holds the case of another photograph.
        """
        photos: Any = getattr(trainer, "datamodule", None)
        if stage != "predict" or not isinstance(photos, Photos):
            raise ConfigurationError(
                "ResultWriter works in infer.py, on faceforward.datamodules.photos.Photos"
            )
        self.lines, self._entries = {}, {entry.id: entry for entry in photos.entries}
        if trainer.is_global_zero:
            self.prepare()
        trainer.strategy.barrier("output folder")
        self._reused = {}
        for entry in photos.entries:
            old = None if self.overwrite else read_case(self.cases / entry.id)
            if old is None or entry.problem is not None or not entry.path.is_file():
                continue
            key = settings_key(self._settings(pl_module, photos, entry), self._sha256(entry))
            if key == old["settings_sha256"]:
                self._reused[entry.id] = old
            elif entry.file != old["file"] and self._sha256(entry) != old["input_sha256"]:
                raise ConfigurationError(
                    f"{self.cases / entry.id} holds the result of another photograph, {old['file']}; "
                    "give another --output, or --overwrite to replace it"
                )
        photos.leave_out(self._reused)
        if self._reused:
            logger.info(
                "%d of %d photographs have their result already", len(self._reused), len(photos.entries)
            )

    def prepare(self) -> None:
        """Make the folder, see that it can be written, and remove what a killed run left.

        Raises:
            ConfigurationError: It cannot be written.
        """
        try:
            self.cases.mkdir(parents=True, exist_ok=True)
            sweep(self.cases)
            remove_leftovers(self.output)
            for left in self.output.glob("manifest.rank*.jsonl"):
                left.unlink()
            write_atomically(self.output / ".writable", "")
            (self.output / ".writable").unlink()
        except OSError as error:
            raise ConfigurationError(f"--output {self.output} cannot be written: {error}") from error

    @staticmethod
    def _settings(pl_module: LightningModule, photos: Photos, entry: Entry) -> dict[str, Any]:
        facts = entry.facts
        return pl_module.settings(  # type: ignore[operator,no-any-return]
            age=facts.age, gender=facts.gender, targets=facts.targets, face=facts.face or photos.face
        )

    def _sha256(self, entry: Entry) -> str:
        if entry.id not in self._hashes:
            self._hashes[entry.id] = sha256_of(entry.path)
        return self._hashes[entry.id]

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: CaseResult | Rejected | Reused,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write one result and its line.

        Raises:
            OutputError: The disk is full or cannot be written any more.
        """
        try:
            if isinstance(outputs, CaseResult):
                entry = self._entries[outputs.photo.id]
                sha256 = self._sha256(entry)
                key = settings_key(outputs.settings, sha256)
                line = done(
                    write_case(self.cases, outputs, input_sha256=sha256, key=key), entry, reused=False
                )
            elif isinstance(outputs, Reused):
                line = done(self._reused[outputs.id], self._entries[outputs.id], reused=True)
            else:
                line = rejected(outputs, self._entries[outputs.id], pl_module)
                logger.warning("%s: %s: %s", outputs.file, outputs.status, outputs.reason)
            self.lines[line["id"]] = line
            self._write_manifest(self.manifest(trainer), self.lines)
        except OSError as error:
            free = shutil.disk_usage(self.output).free / 1e6 if self.output.exists() else 0
            raise OutputError(
                f"{self.output} cannot be written: {error} ({free:.0f} MB free). What is complete is kept: "
                "make room and run the same command again"
            ) from error

    def _write_manifest(self, path: Path, lines: dict[str, dict[str, Any]]) -> None:
        """In the order in which the photographs were listed."""
        ordered = [lines[case] for case in self._entries if case in lines]
        write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ordered))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks' manifests and write the report."""
        trainer.strategy.barrier("manifests")
        if trainer.is_global_zero:
            try:
                if trainer.world_size > 1:
                    parts = sorted(self.output.glob("manifest.rank*.jsonl"))
                    merged = [
                        json.loads(text) for part in parts for text in part.read_text("utf-8").splitlines()
                    ]
                    self.lines = {line["id"]: line for line in merged}
                    self._write_manifest(self.output / MANIFEST, self.lines)
                    for part in parts:
                        part.unlink()
                write_report(self.output, [self.lines[case] for case in self._entries])
            except OSError as error:
                raise OutputError(
                    f"{self.output} cannot be written: {error}; make room and run it again"
                ) from error
        trainer.strategy.barrier("report")


def done(result: dict[str, Any], entry: Entry, *, reused: bool) -> dict[str, Any]:
    """The manifest's line of a photograph that has a result, from its result.json."""
    source = result["source"]
    return {
        "id": entry.id,
        "file": entry.file,
        "status": "done",
        "reason": None,
        "reused": reused,
        "age": source["age"],
        "gender": source["gender"],
        "targets": [int(age) for age in result["ages"]],
        "seconds": result["seconds"],
    }


def rejected(record: Rejected, entry: Entry, pl_module: Any) -> dict[str, Any]:
    """The manifest's line of a photograph without a result; age and gender are what the user knows."""
    return {
        "id": record.id,
        "file": record.file,
        "status": record.status,
        "reason": record.reason,
        "reused": False,
        "age": entry.facts.age,
        "gender": entry.facts.gender,
        "targets": list(entry.facts.targets or pl_module.target_ages),
        "seconds": None,
    }
