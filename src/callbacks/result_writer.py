"""Everything that infer.py leaves of ageing on disk: the cases, the manifest and the report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from faceforward.callbacks.earlier import There
from faceforward.callbacks.photo_writer import OutputError, PhotoWriter
from faceforward.report.case import RESULT, kept_of, read_case, sweep, write_case
from faceforward.report.kept import intact
from faceforward.report.page import REPORT, write_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lightning import LightningModule, Trainer

    from faceforward.datamodules.listing import Entry
    from faceforward.datamodules.photos import Photos
    from faceforward.records import CaseResult

logger = logging.getLogger(__name__)

__all__ = ["OutputError", "ResultWriter"]


class ResultWriter(PhotoWriter):
    """Writes `cases/<id>/`, `manifest.jsonl` and `report.html`.

    Ages that are asked for later are added to those of a case; the ones that are there are not made again.

    Args:
        output: The folder of results.
        overwrite: Do again what is there of the photographs and ages that are asked for.
        visible_mark: Whether the pictures in `aged/` and `photo/` say at their lower edge what they are, as
            metadata are lost in messengers; what is there already stays as it was made.

    Example:
        >>> ResultWriter("out").overwrite
        False
    """

    page, contents = REPORT, "their estimates"

    def __init__(self, output: str, *, overwrite: bool = False, visible_mark: bool = True) -> None:
        super().__init__(output, overwrite=overwrite)
        self.visible_mark = visible_mark

    @property
    def cases(self) -> Path:
        """The folder that has one folder per case."""
        return self.output / "cases"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say which of the results that are there already were made with the other setting of the mark.

        Raises:
            ConfigurationError: See `PhotoWriter.setup`.
        """
        super().setup(trainer, pl_module, stage)
        other = [
            case for case, old in self._reused.items() if old.get("visible_mark") is not self.visible_mark
        ]
        if other:
            logger.warning(
                "%d results of an earlier run, such as %s, are kept %s a visible mark: --overwrite makes "
                "them anew",
                len(other),
                other[0],
                "without" if self.visible_mark else "with",
            )

    def folders(self) -> list[Path]:
        """That of the cases."""
        return [self.cases]

    def sweep(self) -> None:
        """Remove what a killed run left; a case that was being replaced gets its old folder back."""
        sweep(self.cases)

    def settings(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> dict[str, Any]:
        """The module's, with what is known about the photograph."""
        facts = entry.facts
        return pl_module.settings(  # type: ignore[operator,no-any-return]
            age=facts.age, gender=facts.gender, targets=facts.targets, face=facts.face or photos.face
        )

    def place(self, entry: Entry) -> Path:
        """The case's folder."""
        return self.cases / entry.id

    def read(self, entry: Entry) -> dict[str, Any] | None:
        """The content of result.json."""
        return read_case(self.place(entry))

    def records(self) -> Iterator[dict[str, Any]]:
        """Of every case that has pictures; one that is damaged is left to a run over its photograph."""
        for folder in sorted(self.cases.iterdir()):
            record = None if folder.name.startswith(".") else intact(folder, RESULT)
            if record is not None and record["ages"] and not record["damaged"]:
                yield record | {"id": folder.name}

    def there(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> There | str | None:
        """Which of the target ages are there, of the same photograph under the same settings."""
        old = intact(self.place(entry), RESULT)
        if old is None:
            return None
        settings = self.settings(pl_module, photos, entry)
        same = kept_of(self.place(entry), settings, self._sha256(entry))
        if same is None:
            return self.otherwise(old, settings, entry)
        wanted = tuple(settings["targets"])
        missing = [age for age in wanted if same["damaged"] or str(age) not in same["ages"]]
        return There(same, wanted, tuple(missing))

    def not_named(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> str | None:
        """Ages that were made otherwise and are not asked for cannot stay beside the new ones."""
        old = intact(self.place(entry), RESULT) or {"ages": {}}
        wanted = self.settings(pl_module, photos, entry)["targets"]
        lost = [age for age in old["ages"] if int(age) not in wanted]
        if not lost:
            return None
        every = ",".join(map(str, sorted({*wanted, *map(int, old["ages"])})))
        return (
            f"holds ages made otherwise that --overwrite does not name ({', '.join(lost)}): name them too, "
            f"--target_ages '[{every}]', or give another --output"
        )

    def write(self, result: CaseResult, *, input_sha256: str, key: str) -> dict[str, Any]:
        """Write the case's folder; ages that are added make its key another one than `key`."""
        return write_case(self.cases, result, input_sha256=input_sha256, visible_mark=self.visible_mark)

    def describe(self, record: dict[str, Any]) -> dict[str, Any]:
        """Age and gender in the photograph, the targets, and how long it took."""
        source = record["source"]
        return {
            "age": source["age"],
            "gender": source["gender"],
            "targets": [int(age) for age in record["ages"]],
            "seconds": record["seconds"],
        }

    def describe_rejected(self, entry: Entry, pl_module: Any) -> dict[str, Any]:
        """Age and gender are what the user knows."""
        return {
            "age": entry.facts.age,
            "gender": entry.facts.gender,
            "targets": list(entry.facts.targets or pl_module.target_ages),
            "seconds": None,
        }

    def finish(self) -> None:
        """Write the report."""
        write_report(self.output, self.ordered(self.lines))
