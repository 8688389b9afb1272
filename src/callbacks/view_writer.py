"""Everything that `infer views` leaves on disk: the folders of views and the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceforward.atomic import recover_folders, remove_leftovers
from faceforward.callbacks.manifest import read_lines
from faceforward.callbacks.photo_writer import MANIFEST, PhotoWriter
from faceforward.report.views import read_views, write_views

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lightning import LightningModule

    from faceforward.datamodules.listing import Entry
    from faceforward.datamodules.photos import Photos
    from faceforward.modules.view_synthesizer import ViewResult


class ViewWriter(PhotoWriter):
    """Writes `cases/<id>/views/<which>/` and a manifest.

    `which` is `photograph`, or the target age where the picture is an aged one of an earlier run.

    Args:
        output: The folder of results; that of the earlier run where its aged pictures are turned.
        overwrite: Do again what is there of the pictures that are asked for.

    Example:
        >>> ViewWriter("out").page
        'cases'
    """

    page, contents = "cases", "their views"

    @property
    def cases(self) -> Path:
        """The folder that has one folder for each case."""
        return self.output / "cases"

    def folders(self) -> list[Path]:
        """Where the cases lie."""
        return [self.cases]

    @property
    def manifest_name(self) -> str:
        """Beside the results of `infer age` views have a list of their own."""
        return f"views-{MANIFEST}" if self._aged or self._beside_others() else MANIFEST

    @property
    def _aged(self) -> bool:
        return any(entry.case is not None for entry in self._entries.values())

    def _beside_others(self) -> bool:
        try:
            lines = read_lines(self.output / MANIFEST).values()
        except OSError:
            return False
        return bool(lines) and not any("which" in line for line in lines)

    def sweep(self) -> None:
        """Remove what a killed run left; folders that were being replaced get their old content back."""
        for folder in self.cases.glob("*/views"):
            recover_folders(folder)
            remove_leftovers(folder)

    def settings(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> dict[str, Any]:
        """The module's, and which face is taken."""
        return pl_module.settings(face=entry.facts.face or photos.face)  # type: ignore[operator,no-any-return]

    def place(self, entry: Entry) -> Path:
        """The folder of the views."""
        return self.cases / (entry.case or entry.id) / "views" / entry.which

    def read(self, entry: Entry) -> dict[str, Any] | None:
        """The content of views.json."""
        return read_views(self.place(entry))

    def records(self) -> Iterator[dict[str, Any]]:
        """Of the folders of views of this kind, photographs or aged pictures."""
        for folder in sorted(self.cases.glob("*/views/*")):
            record = None if folder.name.startswith(".") else read_views(folder)
            if record is not None and (self._beside_others() or (folder.name != "photograph") == self._aged):
                yield record

    def write(self, result: ViewResult, *, input_sha256: str, key: str) -> dict[str, Any]:
        """Write the folder of the views."""
        entry = self._entries[result.photo.id]
        return write_views(self.place(entry), result, which=entry.which, input_sha256=input_sha256, key=key)

    def describe(self, record: dict[str, Any]) -> dict[str, Any]:
        """Which picture was turned, by which head, and how long it took."""
        return {name: record[name] for name in ("which", "head", "psnr", "notes", "seconds")}

    def describe_rejected(self, entry: Entry, pl_module: Any) -> dict[str, Any]:
        """Nothing is known but which picture it was."""
        return {"which": entry.which, "head": None, "psnr": None, "notes": [], "seconds": None}

    def finish(self) -> None:
        """Nothing sums the views up: each folder has its sheet."""
