"""Files where they lie: on disk, or inside zips that are never unpacked."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from faceforward.errors import UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 400_000_000  # of one file; the pixels of the largest photograph that is read, uncompressed
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".egg", ".alz")
OPEN_ZIPS = 16  # kept open in each process: a zip of 45,000 members takes a second to open
ZIP_FAULTS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    RuntimeError,
    KeyError,
    ValueError,
)


class Rejection(NamedTuple):
    """Something that cannot be used, and why.

    Attributes:
        file: As the user knows it, relative to the collection's root.
        reason: In words.
    """

    file: str
    reason: str


@dataclass(frozen=True)
class StoredFile:
    """A file on disk, or a member of a zip.

    Attributes:
        path: Of the file, or of the zip.
        shown: As the user knows it: relative to the collection's root, with the member behind the zip.
        member: Name inside the zip, as it is there; None for a file on disk.
        size: Bytes of the content.
        stamp: CRC-32 of a member, time of the last change of a file: with the size it tells whether the
            content is still the same.
        offset: Where the member starts in its zip: a zip may hold several of one name.
    """

    path: str
    shown: str
    member: str | None = None
    size: int = 0
    stamp: int = 0
    offset: int = 0

    @property
    def stem(self) -> str:
        """Name without folders and suffix."""
        return PurePosixPath(self.shown).stem

    @property
    def suffix(self) -> str:
        """`.png`, in small letters."""
        return PurePosixPath(self.shown).suffix.lower()

    def read(self, limit: int = MAX_BYTES) -> bytes:
        """The content; safe in any process and thread.

        Args:
            limit: Most bytes; a zip may promise little and hold much.

        Raises:
            UnusablePhotoError: It cannot be read, or is larger.
        """
        try:
            if self.member is None:
                with Path(self.path).open("rb") as stream:
                    data = stream.read(limit + 1)
            else:
                data = _read_member(self.path, self.member, self.offset, limit + 1)
        except ZIP_FAULTS as error:
            reason = getattr(error, "strerror", None) or error
            where = "in its zip " if self.member is not None else ""
            raise UnusablePhotoError(f"The file cannot be read {where}({reason}).") from error
        if len(data) > limit:
            raise UnusablePhotoError(f"The file holds more than {limit} bytes.")
        return data


def stored(path: Path, shown: str) -> StoredFile:
    """The record of a file on disk.

    Raises:
        UnusablePhotoError: There is no such regular file.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        why = error.strerror if isinstance(error, OSError) else error
        raise UnusablePhotoError(f"There is no such file ({why}).") from error
    if not path.is_file():
        raise UnusablePhotoError("This is no regular file.")
    return StoredFile(str(path), shown, None, status.st_size, status.st_mtime_ns)


def walk(root: Path) -> Iterator[StoredFile | Rejection]:
    """Every file under a folder, and every member of every zip in it, in a fixed order; hidden ones left out.

    Files on disk come before the members of zips, so that what is unpacked is met first. Links are followed.

    Args:
        root: The folder; it may be a single zip.
    """
    zips: list[tuple[Path, str]] = []
    if root.is_file():
        zips.append((root, root.name))
    faults: list[OSError] = []
    visited: set[str] = set()
    for folder, folders, names in os.walk(root, onerror=faults.append, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            if name.startswith("."):
                continue
            if path.suffix.lower() == ".zip":
                zips.append((path, shown))
            elif name.lower().endswith(ARCHIVES):
                yield Rejection(shown, "an archive that is no zip: unpack it")
            elif ".zip.part" in name.lower():
                yield Rejection(shown, "a part of a zip: put the parts together (cat X.zip.part* > X.zip)")
            else:
                try:
                    yield stored(path, shown)
                except UnusablePhotoError as error:
                    yield Rejection(shown, str(error))
    for fault in faults:
        yield Rejection(str(fault.filename), f"the folder cannot be listed: {fault.strerror}")
    for path, shown in zips:
        yield from _members(path, shown)


def _members(path: Path, shown: str) -> Iterator[StoredFile | Rejection]:
    try:
        with zipfile.ZipFile(path) as opened:
            infos = opened.infolist()
    except ZIP_FAULTS as error:
        yield Rejection(shown, f"the zip cannot be opened ({error}): download it again")
        return
    for info in infos:
        parts = [part for part in info.filename.replace("\\", "/").split("/") if part]
        if info.is_dir() or not parts or "__MACOSX" in parts or parts[-1].startswith("."):
            continue
        member = "/".join([shown, *parts])
        if parts[-1].lower().endswith(ARCHIVES):
            yield Rejection(member, "an archive inside an archive: unpack the outer one")
        else:
            yield StoredFile(str(path), member, info.filename, info.file_size, info.CRC, info.header_offset)


class _OpenZip:
    """A zip whose members are found by name and place: by name alone the last of several would be met."""

    def __init__(self, path: str) -> None:
        self.file = zipfile.ZipFile(path)
        self.members = {(info.filename, info.header_offset): info for info in self.file.infolist()}

    def open(self, member: str, offset: int) -> IO[bytes]:
        if (member, offset) not in self.members:
            raise zipfile.BadZipFile(f"{member} is not where it was: the zip has been changed")
        return self.file.open(self.members[member, offset])


class _OpenZips:
    """The zips that this process has open, those read last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: OrderedDict[tuple[str, int, int], _OpenZip] = OrderedDict()

    def read(self, path: str, member: str, offset: int, limit: int) -> bytes:
        status = Path(path).stat()
        key = (path, status.st_size, status.st_mtime_ns)  # a zip that was replaced is opened anew
        with self.lock:
            if key not in self.files:
                self.files[key] = _OpenZip(path)
            self.files.move_to_end(key)
            while len(self.files) > OPEN_ZIPS:
                self.files.popitem(last=False)[1].file.close()
            with self.files[key].open(member, offset) as stream:
                return stream.read(limit)


_open_zips = _OpenZips()


def _read_member(path: str, member: str, offset: int, limit: int) -> bytes:
    return _open_zips.read(path, member, offset, limit)


def _forget() -> None:
    """A forked child shares the parent's file positions: it must open its zips itself."""
    global _open_zips
    _open_zips = _OpenZips()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
