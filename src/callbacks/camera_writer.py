"""Everything that `infer cameras` leaves on disk: crops, overlays, records, the manifest and dataset.json."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from faceforward.atomic import atomic_file, write_atomically
from faceforward.callbacks.photo_writer import PhotoWriter
from faceforward.datamodules.camera_labels import DATASET, write_labels
from faceforward.eg3d import cameras
from faceforward.faces.camera import overlay
from faceforward.report.metadata import Mark, write_png
from faceforward.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lightning import LightningModule

    from faceforward.datamodules.listing import Entry
    from faceforward.datamodules.photos import Photos
    from faceforward.faces.camera import CameraResult

CROPS, OVERLAYS, RECORDS = "crops", "overlays", "cameras"


class CameraWriter(PhotoWriter):
    """Writes `crops/<id>.png`, `overlays/<id>.png`, `cameras/<id>.json`, `manifest.jsonl` and `dataset.json`.

    `dataset.json` is EG3D's and GOAE's: `{"labels": [["crops/<id>.png", [25 numbers]], ...]}`, of all
    photographs in the folder that have a camera. Crops are photographs and are marked as such; nothing of a
    photograph's own metadata is written.

    Args:
        output: The folder of results.
        overwrite: Do again what is there of the photographs that are asked for.

    Example:
        >>> CameraWriter("out").page
        'dataset.json'
    """

    page, contents = DATASET, "their cameras"

    def folders(self) -> list[Path]:
        """Of crops, overlays and records."""
        return [self.output / name for name in (CROPS, OVERLAYS, RECORDS)]

    def settings(self, pl_module: LightningModule, photos: Photos, entry: Entry) -> dict[str, Any]:
        """The module's, and which face is taken."""
        return pl_module.settings(face=entry.facts.face or photos.face)  # type: ignore[operator,no-any-return]

    def place(self, entry: Entry) -> Path:
        """The photograph's record."""
        return self.output / RECORDS / f"{entry.id}.json"

    def read(self, entry: Entry) -> dict[str, Any] | None:
        """The record, if the pictures that it names are there."""
        return self._complete(self.place(entry))

    def _complete(self, file: Path) -> dict[str, Any] | None:
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            complete = all(
                (self.output / name).stat().st_size == size for name, size in record["files"].items()
            )
            complete = complete and len(record["label"]) == cameras.LABEL and "settings_sha256" in record
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if complete else None

    def records(self) -> Iterator[dict[str, Any]]:
        """Of every photograph in the folder that has a camera."""
        for file in sorted((self.output / RECORDS).glob("*.json")):
            record = None if file.name.startswith(".") else self._complete(file)
            if record is not None:
                yield record | {"id": file.stem}

    def write(self, result: CameraResult, *, input_sha256: str, key: str) -> dict[str, Any]:
        """Write the pictures, then the record: without it they do not count.

        Raises:
            OSError: The disk is full or cannot be written.
        """
        case = result.photo.id
        record_file = self.output / RECORDS / f"{case}.json"
        record_file.unlink(missing_ok=True)  # of the pictures that are about to be replaced
        pictures = {
            f"{CROPS}/{case}.png": (result.estimate.crop, "The crop that a camera was estimated for."),
            f"{OVERLAYS}/{case}.png": (
                overlay(result.estimate),
                "The crop with landmarks and the head's axes.",
            ),
        }
        for file, (pixels, text) in pictures.items():
            with atomic_file(self.output / file) as temporary:
                write_png(temporary, pixels, Mark("photograph", text))
        record = describe(result) | {"input_sha256": input_sha256, "settings_sha256": key}
        record["files"] = {file: (self.output / file).stat().st_size for file in pictures}
        write_atomically(record_file, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        return record

    def describe(self, record: dict[str, Any]) -> dict[str, Any]:
        """Where the crop is, where the camera stands, and how well the landmarks fit."""
        names = ("crop", "yaw", "pitch", "roll", "landmarks", "residual", "notes", "seconds")
        return {name: record[name] for name in names}

    def describe_rejected(self, entry: Entry, pl_module: Any) -> dict[str, Any]:
        """Nothing is known."""
        names = ("crop", "yaw", "pitch", "roll", "landmarks", "residual")
        return {**dict.fromkeys(names), "notes": [], "seconds": None}

    def finish(self) -> None:
        """Write dataset.json."""
        done = [line["id"] for line in self.ordered(self.lines) if line["status"] == "done"]
        records = [self._complete(self.output / RECORDS / f"{case}.json") for case in done]
        found = {record["crop"]: torch.tensor(record["label"]) for record in records if record is not None}
        write_labels(found, self.output / DATASET)


def describe(result: CameraResult) -> dict[str, Any]:
    """Everything about a camera as JSON values: the content of `cameras/<id>.json`.

    `crop_to_photograph` is the 3x3 matrix between pixel indices of the crop and of the photograph; `residual`
    is in sides of the crop, `uncertainty`, `refined` and the angles in degrees.
    """
    found = result.estimate
    yaw, pitch, roll = cameras.angles(cameras.pose(found.label)).tolist()
    return {
        "id": result.photo.id,
        "file": result.photo.file,
        "made": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "faceforward": __version__,
        "seconds": round(result.seconds, 3),
        "crop": f"{CROPS}/{result.photo.id}.png",
        "label": [round(number, 7) for number in found.label.tolist()],
        "yaw": round(yaw, 2),
        "pitch": round(pitch, 2),
        "roll": round(roll, 2),
        "detector": result.detector,
        "score": round(result.detection.score, 4),
        "landmarks": found.landmarks,
        "residual": round(found.residual, 5),
        "uncertainty": round(found.uncertainty, 2),
        "refined": None if found.refined is None else round(found.refined, 2),
        "points": np.asarray(found.points, dtype=float).round(2).tolist(),
        "crop_to_photograph": found.alignment.matrix.round(6).tolist(),
        "notes": list(result.notes),
        "settings": result.settings,
    }
