"""Crops of a labelled collection on disk, made in several processes and not made twice."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from faceforward.atomic import atomic_file, write_atomically
from faceforward.datamodules.face_crops import CropMaker, one_thread
from faceforward.datamodules.stored_files import Rejection
from faceforward.errors import UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from faceforward.datamodules.sources import LabelledPhoto

logger = logging.getLogger(__name__)

JPEG = {"quality": 95, "subsampling": 0}  # full colour resolution: lips and eyes keep their edges
PNG = {"compress_level": 3}  # a tenth larger than the usual 6, in a third of the time
AT_ONCE = 4  # photographs that a process is handed at a time


@dataclass(frozen=True)
class CropWriter:
    """Writes the crop of a photograph; may be sent to other processes.

    Attributes:
        folder: Where crops go.
        crops: Makes them.
        suffix: `.jpg` or `.png`.
        padding: Folder for grey PNGs of the same name that are white where a crop is no photograph; crops
            without such a part have none. None writes none.
    """

    folder: Path
    crops: CropMaker
    suffix: str = ".jpg"
    padding: Path | None = None

    def file_of(self, photo: LabelledPhoto) -> str:
        """Name of the crop."""
        return f"{photo.name}{self.suffix}"

    def padding_of(self, photo: LabelledPhoto) -> str:
        """Name of the picture of its padding."""
        return f"{photo.name}.png"

    def key_of(self, photo: LabelledPhoto) -> str:
        """What tells whether a crop that is there is the one that would be made."""
        text = json.dumps(
            [photo.key, self.crops.size, self.crops.recipe, self.suffix, self.padding is not None]
        )
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()

    def write(self, photo: LabelledPhoto) -> dict[str, Any] | Rejection:
        """Make the crop; it appears complete or not at all.

        Returns:
            Bytes of the file and quality figures, or why there is no crop.

        Raises:
            OSError: It cannot be written.
        """
        try:
            crop, quality = self.crops.measured(photo)
        except UnusablePhotoError as error:
            return Rejection(photo.file.shown, str(error))
        except Exception as error:  # the last line: whatever a file does to a decoder becomes its rejection
            logger.exception("the crop of %s failed", photo.file.shown)
            return Rejection(photo.file.shown, f"making the crop failed: {type(error).__name__}: {error}")
        target = self.folder / self.file_of(photo)
        try:
            self._write_padding(photo, crop.padding)
            with atomic_file(target) as temporary:
                if self.suffix == ".png":
                    Image.fromarray(crop.pixels).save(temporary, "PNG", **PNG)
                else:
                    Image.fromarray(crop.pixels).save(temporary, "JPEG", **JPEG)
                size = temporary.stat().st_size
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # the others are the disk's, not this photograph's
                raise
            return Rejection(photo.file.shown, f"the name of its crop is too long for a file: {target.name}")
        return {
            "bytes": size,
            "padding": float(crop.padding.mean()) / 255,
            **vars(quality),
            "warnings": " ".join(quality.warnings) or None,
        }

    def _write_padding(self, photo: LabelledPhoto, padding: np.ndarray) -> None:
        if self.padding is None:
            return
        target = self.padding / self.padding_of(photo)
        if not padding.any():
            target.unlink(missing_ok=True)  # of an earlier run
            return
        with atomic_file(target) as temporary:
            Image.fromarray(padding).save(temporary, "PNG")

    def write_all(
        self, photos: Sequence[LabelledPhoto], processes: int
    ) -> Iterator[dict[str, Any] | Rejection]:
        """What `write` returns for each photograph, in their order.

        Args:
            photos: Whose crops are made.
            processes: 1 works in this process.

        Raises:
            OSError: A crop cannot be written.
        """
        if processes == 1:
            yield from map(self.write, photos)
            return
        # Forked children would share this process's threads and detector in whatever state they are.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, _start, (self,)) as pool:
            yield from pool.map(_work, photos, chunksize=AT_ONCE)


_writer: CropWriter


def _start(writer: CropWriter) -> None:
    global _writer
    _writer = writer
    one_thread()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes: they would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(photo: LabelledPhoto) -> dict[str, Any] | Rejection:
    return _writer.write(photo)


class Journal:
    """What was made, one line for each crop as it is done: a killed run goes on from there.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        if path.is_file():
            for text in path.read_text(encoding="utf-8").splitlines():
                try:
                    line = json.loads(text)
                    whole = {"file", "key", "made"} <= line.keys()
                    # A name with a folder in it is not ours: `keep` would delete what lies elsewhere.
                    if whole and Path(line["file"]).name == line["file"]:
                        self.lines[line["file"]] = line
                except (ValueError, KeyError, TypeError, AttributeError):
                    logger.info("%s has a line that was cut off by a kill", path)

    def done(self, writer: CropWriter, photo: LabelledPhoto) -> bool:
        """Whether the crop is there as it would be made now."""
        line = self.lines.get(writer.file_of(photo))
        if line is None or line["key"] != writer.key_of(photo):
            return False
        try:
            if writer.padding is not None and line["made"]["padding"]:
                (writer.padding / writer.padding_of(photo)).stat()
            return (writer.folder / line["file"]).stat().st_size == line["made"]["bytes"]
        except OSError:
            return False

    def add(self, writer: CropWriter, photo: LabelledPhoto, made: dict[str, Any]) -> None:
        """Note a crop that was just made."""
        line = {"file": writer.file_of(photo), "key": writer.key_of(photo), "made": made}
        self.lines[writer.file_of(photo)] = line
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def keep(self, files: set[str], folder: Path, padding: Path | None = None) -> None:
        """Forget other crops than `files`, and remove those that an earlier run made, with their padding."""
        old = self.lines.keys() - files
        if old:
            logger.warning("%d crops of an earlier run that are not asked for now are removed", len(old))
        for file in old:
            (folder / file).unlink(missing_ok=True)
            if padding is not None:
                (padding / Path(file).with_suffix(".png")).unlink(missing_ok=True)
            del self.lines[file]
        text = "".join(json.dumps(line) + "\n" for line in self.lines.values())
        write_atomically(self.path, text)
