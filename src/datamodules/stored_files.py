"""Files where they lie: on disk, or inside zips that are never unpacked."""

from __future__ import annotations

import io
import os
import threading
import zipfile
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from faceforward.datamodules.split_zips import SPANNED, part_of_zip, split_zip
from faceforward.errors import UnusablePhotoError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 400_000_000  # of one file; the pixels of the largest photograph that is read, uncompressed
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".egg", ".alz")
DEFLATE64 = 9  # the method of a zip's member, which Windows uses for large ones
UTF8 = 0x800  # flag of a member whose name is UTF-8; without it Korean Windows writes cp949
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
        path: Of the file, or of the zip; of a zip in parts, of the first of them.
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
        zips.append((root, part_of_zip(root.name) or root.name))
    faults: list[OSError] = []
    visited: set[str] = set()
    for folder, folders, names in os.walk(root, onerror=faults.append, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        split: dict[str, Path] = {}
        for name in sorted(names):
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            if name.startswith("."):
                continue
            whole = part_of_zip(name)
            if whole is not None and path.is_file():
                if whole in names:
                    yield Rejection(shown, f"a part of {whole}, which is there as a whole")
                elif whole not in split:
                    split[whole] = path
                    zips.append((path, Path(folder, whole).relative_to(root).as_posix()))
            elif SPANNED.match(name):
                yield Rejection(
                    shown,
                    "a part of a spanned zip: join them with `zip -s 0 X.zip --out WHOLE.zip`, or unpack it",
                )
            elif path.suffix.lower() == ".zip":
                zips.append((path, shown))
            elif name.lower().endswith(ARCHIVES):
                yield Rejection(shown, "an archive that is no zip: unpack it")
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
        with open_zip(path) as opened:
            infos = opened.infolist()
    except UnusablePhotoError as error:
        yield Rejection(shown, f"the zip is not complete: {error}")
        return
    except ZIP_FAULTS as error:
        yield Rejection(shown, f"the zip cannot be opened ({error}): download it again")
        return
    for info in infos:
        parts = [part for part in name_in_zip(info).replace("\\", "/").split("/") if part]
        if info.is_dir() or not parts or "__MACOSX" in parts or parts[-1].startswith("."):
            continue
        member = "/".join([shown, *parts])
        if parts[-1].lower().endswith(ARCHIVES):
            yield Rejection(member, "an archive inside an archive: unpack the outer one")
        elif info.compress_type == DEFLATE64:
            yield Rejection(
                member,
                "compressed with Deflate64, as Windows does: unpack the zip (7-Zip and Windows can) and give "
                "the folder",
            )
        else:
            yield StoredFile(str(path), member, info.filename, info.file_size, info.CRC, info.header_offset)


def open_zip(path: Path | str) -> zipfile.ZipFile:
    """Open a zip, also one in parts.

    Args:
        path: The zip, or the first of its parts.

    Raises:
        UnusablePhotoError: A part is missing.
        OSError: It cannot be read.
        zipfile.BadZipFile: It is damaged, or another kind of file.
    """
    split = split_zip(Path(path))
    return zipfile.ZipFile(path if split is None else io.BufferedReader(split.open()))


def name_in_zip(info: zipfile.ZipInfo) -> str:
    """A member's name as its maker wrote it: Python takes all names without the UTF-8 flag for cp437.

    Korean Windows writes cp949 there, other programs UTF-8 without the flag.
    """
    if info.flag_bits & UTF8 or info.filename.isascii():
        return info.filename
    try:
        raw = info.filename.encode("cp437")
    except UnicodeEncodeError:  # another name stands in an extra field, which Python has read
        return info.filename
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


class _OpenZip:
    """A zip whose members are found by name and place: by name alone the last of several would be met."""

    def __init__(self, path: str) -> None:
        self.file = open_zip(path)
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
        key = (path, *_stamp(path))  # a zip that was replaced is opened anew
        with self.lock:
            if key not in self.files:
                self.files[key] = _OpenZip(path)
            self.files.move_to_end(key)
            while len(self.files) > OPEN_ZIPS:
                self.files.popitem(last=False)[1].file.close()
            with self.files[key].open(member, offset) as stream:
                return stream.read(limit)


def _stamp(path: str) -> tuple[int, int]:
    split = split_zip(Path(path))
    if split is not None:
        return split.stamp
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


_open_zips = _OpenZips()


def _read_member(path: str, member: str, offset: int, limit: int) -> bytes:
    return _open_zips.read(path, member, offset, limit)


def _forget() -> None:
    """A forked child shares the parent's file positions: it must open its zips itself."""
    global _open_zips
    _open_zips = _OpenZips()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
