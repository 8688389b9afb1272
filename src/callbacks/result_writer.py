"""Everything that infer.py leaves of ageing on disk: the cases, the manifest and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceforward.callbacks.photo_writer import OutputError, PhotoWriter
from faceforward.report.case import read_case, sweep, write_case
from faceforward.report.page import REPORT, write_report

if TYPE_CHECKING:
    from pathlib import Path

    from lightning import LightningModule

    from faceforward.datamodules.photos import Entry, Photos
    from faceforward.records import CaseResult

__all__ = ["OutputError", "ResultWriter"]


class ResultWriter(PhotoWriter):
    """Writes `cases/<id>/`, `manifest.jsonl` and `report.html`.

    Args:
        output: The folder of results.
        overwrite: Do again what is there.

    Example:
        >>> ResultWriter("out").overwrite
        False
    """

    page, contents = REPORT, "their estimates"

    @property
    def cases(self) -> Path:
        """The folder that has one folder per case."""
        return self.output / "cases"

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

    def write(self, result: CaseResult, *, input_sha256: str, key: str) -> dict[str, Any]:
        """Write the case's folder."""
        return write_case(self.cases, result, input_sha256=input_sha256, key=key)

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
        write_report(self.output, [self.lines[case] for case in self._entries])
